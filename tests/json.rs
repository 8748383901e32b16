//! The keys of the JSON outputs, held against the page that documents them (`crates/cli/JSON.md`): every key of an output
//! is on it, and every key on it that is always there is in an output.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PAGE: &str = include_str!("../crates/cli/JSON.md");

fn json(args: &[&str]) -> Value {
    let o = Command::new(env!("CARGO_BIN_EXE_genzoo")).args(args).output().expect("the binary runs");
    serde_json::from_slice(&o.stdout).unwrap_or_else(|e| {
        panic!("{args:?}: no JSON ({e}): {}", String::from_utf8_lossy(&o.stderr));
    })
}

/// The words between backticks.
fn ticked(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// Always-there and optional keys of the section whose title has these words.
fn documented(title: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let body = PAGE.split("\n## ").find(|s| s.lines().next().is_some_and(|l| l.contains(title)));
    let body = body.unwrap_or_else(|| panic!("a section '{title}'"));
    let (mut always, mut optional) = (BTreeSet::new(), BTreeSet::new());
    for line in body.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| key")) {
        let (keys, meaning) = line[2..].split_once(" | ").expect("two columns");
        for key in ticked(keys) {
            let may_lack = keys.contains(&format!("(`{key}`)"));
            let mut add = |key: String, lack: bool| {
                if lack {
                    optional.insert(key)
                } else {
                    always.insert(key)
                };
            };
            add(key.clone(), may_lack);
            // Elements of a list, and a budget, name their keys beside it; a kind of object has its own section.
            if key.ends_with("[]") || key == "budget" {
                for child in ticked(meaning).iter().filter(|c| !c.starts_with('<')) {
                    add(format!("{key}.{child}"), may_lack || meaning.contains(&format!("(`{child}`)")));
                }
            }
            for kind in ["measurement", "likelihood"].iter().filter(|k| meaning.contains(&format!("<{k}>"))) {
                let (inner, perhaps) = documented(&format!("A {kind}"));
                inner.into_iter().for_each(|k| add(format!("{key}.{k}"), may_lack));
                perhaps.into_iter().for_each(|k| add(format!("{key}.{k}"), true));
            }
        }
    }
    (always, optional)
}

/// The paths to all values, `*` for what is named freely.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let free = ["metrics", "quality", "machine"].iter().any(|k| at.ends_with(k));
                let key = if free { "*" } else { key };
                let path = if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
                found.insert(path.clone());
                paths(value, &path, found);
            }
        }
        Value::Array(list) => {
            if !list.is_empty() {
                found.insert(format!("{at}[]"));
            }
            list.iter().for_each(|v| paths(v, &format!("{at}[]"), found));
        }
        _ => {}
    }
}

/// `a` is on the page, or only leads to what is: `metrics` to `metrics.*`, `sweep` to `sweep[]`.
fn is_known(path: &str, known: &BTreeSet<String>) -> bool {
    let leads =
        |k: &String| k.strip_prefix(path).is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]"));
    known.contains(path) || known.iter().any(leads) || path.starts_with("machine.*")
}

fn holds(title: &str, outputs: &[Value]) {
    let (always, optional) = documented(title);
    let known: BTreeSet<String> = always.union(&optional).cloned().collect();
    let mut found = BTreeSet::new();
    outputs.iter().for_each(|o| paths(o, "", &mut found));
    for path in &found {
        assert!(is_known(path, &known), "{title}: {path} is not on the page");
    }
    for key in &always {
        assert!(is_known(key, &found), "{title}: {key} is on the page and in no output");
    }
}

fn sample(name: &str) -> String {
    format!("{}/../lab/tests/fixtures/metrics.npz:{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_names_every_key_and_no_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_string();
    let train = |model: &str, data: &str| {
        let run = text(&dir.path().join(model.replace('/', "-")));
        json(&["train", model, "--data", data, "--steps", "3", "--out", &run, "--json"]);
        run
    };
    let few = ["--n-likelihood", "20", "--n-quality", "24", "--json"];
    let vae = train("vae", "moons");
    let two = ["--likelihood", "iwae:k=2,rows=20", "--likelihood", "elbo:rows=20"];
    let quality = ["--metrics", "mmd2_unbiased"];
    let row = json(&[&["eval", &vae], &few[..], &two[..], &quality[..]].concat());
    let images = train("gaussian", "glyphs");
    let seen = json(&[&["eval", &images], &few[..], &["--metrics", "kid,class_tv"]].concat());
    holds("genzoo eval", &[row, seen]);
    let (real, fake) = (sample("unequal_x"), sample("unequal_y"));
    let names = "mmd2_unbiased,sinkhorn_cost";
    let raw = json(&["compare", &real, &fake, "--metrics", names, "--json"]);
    let dreamt = text(&dir.path().join("dreamt.npy"));
    json(&["sample", &images, "-n", "24", "--out", &dreamt, "--json"]);
    let judged =
        json(&["compare", &dreamt, &dreamt, "--features", "glyphs", "--metrics", "class_tv", "--json"]);
    holds("genzoo compare", &[raw, judged]);
    let machine = format!("{}/../ebm/tests/fixtures/rbm_sklearn.safetensors", env!("CARGO_MANIFEST_DIR"));
    holds("genzoo logz", &[json(&["logz", &machine, "--json"])]);
}

#[test]
fn the_page_is_within_reach() {
    let o =
        Command::new(env!("CARGO_BIN_EXE_genzoo")).args(["list", "json"]).output().expect("the binary runs");
    assert_eq!(String::from_utf8_lossy(&o.stdout).trim_end(), PAGE.trim_end());
}
