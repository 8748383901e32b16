//! log Z and likelihoods of machines from files and of runs.

use std::fs;

use crate::{genzoo, json, stderr, text};

fn machine(name: &str) -> String {
    format!("{}/../ebm/tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"))
}

/// log Z and mean log-likelihoods that numpy summed over every state in float64, for its own machine and scikit-learn's.
#[test]
fn log_z_of_machines_from_other_software() {
    let train = format!("{}:train_data", machine("rbm_sklearn"));
    for (file, data, log_z, mean, rows) in [
        ("rbm_random", None, 20.023_044_189_437_208, -11.917_915_203_448_796, 20),
        ("rbm_sklearn", None, 17.377_634_718_078_166, -5.950_545_664_865_176, 20),
        ("rbm_sklearn", Some(&train), 17.377_634_718_078_166, -6.174_828_412_754_555, 400),
    ] {
        let file = machine(file);
        let mut args = vec!["logz", &file, "--json"];
        args.extend(data.iter().flat_map(|d| ["--data", d.as_str()]));
        let o = genzoo(&args);
        assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
        let got = json(&o);
        let number = |key: &str| got[key].as_f64().unwrap_or(f64::NAN);
        assert!((number("log_z") - log_z).abs() < 1e-10 && number("stderr") == 0.0, "{got}");
        assert!((number("mean_log_likelihood") - mean).abs() < 1e-10, "{got}");
        assert_eq!((got["method"].as_str(), got["rows"].as_u64()), (Some("enumeration"), Some(rows)));
    }
    let file = machine("rbm_random");
    let moments = ["--set", "path=moments"];
    for (method, set) in [
        ("ais", &[][..]),
        ("ais", &moments),
        ("reverse-ais", &[]),
        ("reverse-ais", &moments),
        ("importance", &[]),
        ("ti", &[]),
    ] {
        let o = genzoo(&[&["logz", &file, "--json", "--method", method], set].concat());
        assert_eq!(o.status.code(), Some(0), "{method}: {}", stderr(&o));
        let got = json(&o);
        let (log_z, error) = (got["log_z"].as_f64().unwrap_or(0.0), got["stderr"].as_f64().unwrap_or(0.0));
        assert!((log_z - 20.023_044_189).abs() < 4.0 * error + 0.01 && error < 0.2, "{got}");
        assert_eq!(got["method"].as_str(), Some(method));
    }
}

#[test]
fn log_z_of_a_run_is_that_of_its_weights() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let data = "glyphs{size=8,space=binary_static}";
    let sets = ["--set", "model.hidden=6", "--set", "model.chains=8", "--set", "train.batch=8"];
    let o = genzoo(
        &[&["train", "rbm-pcd", "--data", data, "--steps", "3", "--quiet", "--out", text(&run)], &sets[..]]
            .concat(),
    );
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    let exported = run.join("model.safetensors");
    let [a, b] = [&run, &exported].map(|p| genzoo(&["logz", text(p), "--json"]));
    assert_eq!((a.status.code(), b.status.code()), (Some(0), Some(0)), "{}{}", stderr(&a), stderr(&b));
    assert_eq!(json(&a)["log_z"], json(&b)["log_z"]);
    assert!(json(&a)["mean_log_likelihood"].is_number() && json(&b)["mean_log_likelihood"].is_null());
    let energy = dir.path().join("energy");
    let o = genzoo(&[
        "train",
        "pcd",
        "--data",
        "moons",
        "--steps",
        "3",
        "--quiet",
        "--set",
        "model.hidden=8",
        "--out",
        text(&energy),
    ]);
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    let o = genzoo(&["logz", text(&energy), "--json"]);
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    let exact = json(&o)["log_z"].as_f64().expect("a number");
    for method in ["importance", "ti", "ais"] {
        let o = genzoo(&["logz", text(&energy), "--json", "--method", method]);
        assert_eq!(o.status.code(), Some(0), "{method}: {}", stderr(&o));
        let (got, error) =
            (json(&o)["log_z"].as_f64().expect("a number"), json(&o)["stderr"].as_f64().expect("an error"));
        assert!((got - exact).abs() < 4.0 * error + 0.02, "{method}: {got} ± {error}, {exact}");
    }
}

#[test]
fn files_that_hold_no_machine_are_named() {
    use genzoo::core::{Device, Tensor, checkpoint::write_tensors};
    use std::collections::{BTreeMap, HashMap};
    let dir = tempfile::tempdir().expect("a folder");
    let t = |shape: (usize, usize), value: f64| Tensor::full(value, shape, &Device::Cpu).expect("a tensor");
    let flat = |n: usize| t((1, n), 0.5).squeeze(0).expect("a list");
    let write = |name: &str, tensors: Vec<(&str, Tensor)>| {
        let path = dir.path().join(name);
        let all: BTreeMap<_, _> = tensors.into_iter().map(|(n, t)| (n.to_string(), t)).collect();
        write_tensors(&path, &all, HashMap::new()).expect("a file");
        path
    };
    let whole = vec![("W", t((3, 2), 0.1)), ("b_v", flat(3)), ("b_h", flat(2))];
    let good = write("good.safetensors", whole.clone());
    let rows = write("rows.safetensors", vec![("x", t((4, 3), 0.5)), ("y", t((4, 2), 1.0))]);
    let named = |name: &str| format!("{}:{name}", rows.display());
    let torn = dir.path().join("torn.safetensors");
    fs::write(&torn, &fs::read(&good).expect("a file")[..60]).expect("a file");
    let cases: Vec<(std::path::PathBuf, Vec<String>, &str)> = vec![
        (write("none.safetensors", vec![("x", flat(2))]), vec![], "found x"),
        (write("part.safetensors", whole[..2].to_vec()), vec![], "expected a tensor b_h"),
        (
            write("turned.safetensors", vec![("W", t((2, 3), 0.1)), ("b_v", flat(3)), ("b_h", flat(2))]),
            vec![],
            "transpose it",
        ),
        (
            write("nan.safetensors", vec![("W", t((3, 2), f64::NAN)), ("b_v", flat(3)), ("b_h", flat(2))]),
            vec![],
            "'W' holds values that are not finite",
        ),
        (
            write("long.safetensors", vec![("W", t((3, 2), 0.1)), ("b_v", t((3, 3), 0.0)), ("b_h", flat(2))]),
            vec![],
            "b_v: expected a list",
        ),
        (torn, vec![], "torn.safetensors"),
        (dir.path().join("gone.safetensors"), vec![], "gone.safetensors"),
        (good.clone(), vec!["--data".into(), named("x")], "rows of 0 and 1, found 0.5"),
        (good.clone(), vec!["--data".into(), named("y")], "rows of 3 visible units"),
        (good.clone(), vec!["--method".into(), "aiss".into()], "did you mean 'ais'?"),
        (good.clone(), vec!["--method".into(), "ais".into(), "--set".into(), "chain=3".into()], "chains"),
    ];
    for (path, more, words) in cases {
        let o = genzoo(
            &[&["logz", text(&path)], &more.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
        );
        let message = stderr(&o);
        assert_eq!(o.status.code(), Some(2), "{path:?}: {message}");
        assert!(
            message.contains(words) && o.stdout.is_empty() && !message.contains("panicked"),
            "{path:?}: {message}"
        );
    }
}
