//! The house's invariants, read from `cargo metadata` and from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 6] = ["ebm", "vae", "gan", "flow", "diffusion", "interpolant"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

/// Sources of a crate without their test modules, as (path, line number, line).
fn lines(krate: &str) -> Vec<(PathBuf, usize, String)> {
    let mut out = Vec::new();
    let mut folders = vec![root().join("crates").join(krate).join("src")];
    while let Some(dir) = folders.pop() {
        for entry in fs::read_dir(&dir).expect("a source folder is readable").flatten() {
            let path = entry.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_string();
            if path.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.starts_with("test") && !name.ends_with("_tests.rs") {
                let text = fs::read_to_string(&path).expect("a source is readable");
                for (i, line) in text.lines().enumerate() {
                    if line.trim_start().starts_with("#[cfg(test)]") {
                        break; // tests come last in a file
                    }
                    out.push((path.clone(), i + 1, line.to_string()));
                }
            }
        }
    }
    out
}

/// Lines of code (no comments) in which one of `words` stands.
fn found(krate: &str, words: &[&str], except: &[&str]) -> Vec<String> {
    lines(krate)
        .into_iter()
        .filter(|(p, _, l)| {
            let code = l.split("//").next().unwrap_or_default();
            let file = p.to_string_lossy().replace('\\', "/");
            words.iter().any(|w| code.contains(w)) && !except.iter().any(|e| file.contains(e))
        })
        .map(|(p, i, l)| format!("{}:{i}: {}", p.display(), l.trim()))
        .collect()
}

#[track_caller]
fn none(rule: &str, hits: &[String]) {
    assert!(hits.is_empty(), "{rule}\n{}", hits.join("\n"));
}

#[test]
fn arrows_of_use_point_one_way() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_string();
    let uses: BTreeMap<String, BTreeSet<String>> = metadata["packages"]
        .as_array()
        .expect("a list of packages")
        .iter()
        .map(|p| {
            // A normal dependency has no kind.
            let normal = p["dependencies"].as_array().into_iter().flatten().filter(|d| d["kind"].is_null());
            let names = normal.map(|d| text(&d["name"])).filter(|n| n.starts_with("genzoo")).collect();
            (text(&p["name"]), names)
        })
        .collect();
    let allowed: BTreeMap<&str, Vec<&str>> = {
        let mut m = BTreeMap::from([
            ("genzoo-kernels", vec![]),
            ("genzoo-testkit", vec![]),
            ("genzoo-core", vec!["genzoo-kernels"]),
            ("genzoo-numerics", vec!["genzoo-core", "genzoo-kernels"]),
            ("genzoo-lab", vec!["genzoo-core", "genzoo-numerics", "genzoo-kernels"]),
        ]);
        for f in [
            "genzoo-ebm",
            "genzoo-vae",
            "genzoo-gan",
            "genzoo-flow",
            "genzoo-diffusion",
            "genzoo-interpolant",
        ] {
            m.insert(f, vec!["genzoo-core", "genzoo-numerics", "genzoo-kernels"]);
        }
        m
    };
    for (krate, may) in allowed {
        let does = uses.get(krate).unwrap_or_else(|| panic!("{krate} is a member of the workspace"));
        let wrong: Vec<_> = does.iter().filter(|d| !may.contains(&d.as_str())).collect();
        assert!(wrong.is_empty(), "{krate} may use {may:?}, but uses {wrong:?}");
    }
}

#[test]
fn no_family_names_a_data_set_a_metric_a_path_or_a_file() {
    let names = genzoo_lab::data::DATASETS.iter().map(|d| format!("\"{}", d.name));
    let names: Vec<String> = names.chain(["\"mnist".to_string()]).collect();
    let mut words: Vec<&str> = names.iter().map(String::as_str).collect();
    words.extend(["std::fs", "std::path", "File::", "genzoo_lab"]);
    for family in FAMILIES {
        none(&format!("{family} must not know data sets, files or the lab"), &found(family, &words, &[]));
    }
}

#[test]
fn only_noise_draws_random_numbers() {
    let words = [
        "rand_chacha",
        "rand::",
        "thread_rng",
        "rand_core::",
        "Tensor::randn",
        "Tensor::rand(",
        "fastrand",
        "SmallRng",
    ];
    for krate in ["kernels", "numerics", "lab", "cli"].iter().chain(&FAMILIES) {
        none(&format!("{krate} must take a Noise"), &found(krate, &words, &[]));
    }
    none("core draws in noise.rs alone", &found("core", &words, &["/noise.rs"]));
}

#[test]
fn only_checkpoint_lab_and_cli_touch_the_disk() {
    let words = ["std::fs", "fs::read", "fs::write", "File::open", "File::create", "OpenOptions"];
    for krate in ["numerics"].iter().chain(&FAMILIES) {
        none(&format!("{krate} must not touch the disk"), &found(krate, &words, &[]));
    }
    none("core touches the disk in checkpoint.rs alone", &found("core", &words, &["/checkpoint.rs"]));
}

#[test]
fn only_the_cli_prints() {
    let words = ["println!", "eprintln!", "print!(", "eprint!(", "stdout()", "stderr()"];
    for krate in ["kernels", "core", "numerics", "lab"].iter().chain(&FAMILIES) {
        none(&format!("{krate} must not print"), &found(krate, &words, &[]));
    }
}

#[test]
fn unsafe_lives_in_kernels() {
    for krate in ["core", "numerics", "lab", "cli", "testkit"].iter().chain(&FAMILIES) {
        none(&format!("{krate} must be safe"), &found(krate, &["unsafe ", "unsafe{"], &[]));
    }
}

#[test]
fn versions_stand_once_in_the_workspace_table() {
    for entry in fs::read_dir(root().join("crates")).expect("crates are readable").flatten() {
        let path = entry.path().join("Cargo.toml");
        let text = fs::read_to_string(&path).expect("a manifest is readable");
        let table: toml::Table = text.parse().expect("a manifest is TOML");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in table.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                let shared = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(shared, "{}: {name} must say `workspace = true`", path.display());
            }
        }
    }
}

#[test]
fn every_model_has_a_card_a_citation_and_a_row_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    for entry in genzoo::models() {
        let (family, name) = (entry.info.family.name(), entry.info.name);
        let card = root().join("models").join(family).join(name).join("README.md");
        assert!(card.exists(), "{family}/{name} needs a card at {}", card.display());
        assert!(
            !entry.info.citation.is_empty() && !entry.info.summary.is_empty(),
            "{family}/{name} cites and describes"
        );
        assert!(readme.contains(&format!("{family}/{name}")), "the README lists {family}/{name}");
    }
}

#[test]
fn every_recipe_belongs_to_a_model_and_resolves() {
    for entry in genzoo::models() {
        let folder = root().join("models").join(entry.info.family.name()).join(entry.info.name);
        for file in fs::read_dir(&folder).expect("a model's folder is readable").flatten() {
            let path = file.path();
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            // Of all sets of a name, or of one with parameters that a suite trains on.
            let suites = genzoo_lab::suite::SUITES.iter();
            let mut named = suites.flat_map(|s| s.datasets.iter().copied().chain(s.fallback));
            let known = genzoo_lab::data::DATASETS.iter().any(|d| d.name == name)
                || named.any(|d| genzoo_lab::row::folder_name(d) == name);
            assert!(known, "{}: no data set {name}", path.display());
            let text = fs::read_to_string(&path).expect("a recipe is readable");
            let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let image = genzoo_core::DataSpec {
                shape: vec![1, 28, 28],
                space: genzoo_core::Space::U8,
                classes: Some(10),
                range: Some((0.0, 1.0)),
            };
            let toy = genzoo_core::DataSpec {
                shape: vec![2],
                space: genzoo_core::Space::Continuous,
                classes: None,
                range: None,
            };
            let fits = [image, toy].iter().any(|spec| {
                genzoo_core::Recipe::defaults(entry, spec).and_then(|mut r| r.overlay(&table)).is_ok()
            });
            assert!(fits, "{}: it fits neither points nor images", path.display());
        }
    }
}
