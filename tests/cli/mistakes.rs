//! What cannot work is named at once: exit code 2, one line, nothing left behind.

use std::fs;
use std::path::Path;

use crate::{genzoo, json, stderr, text};

/// Each mistake gives exit code 2, one line on stderr with the words below, nothing on stdout, and no panic.
#[test]
fn mistakes_are_named_and_cost_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("never");
    let (out, bad) = (text(&out), dir.path().join("bad.toml"));
    fs::write(&bad, "[model]\nwidht = 3\n").expect("a file");
    let torn = dir.path().join("torn.toml");
    fs::write(&torn, "[model\n").expect("a file");
    let cases: &[(&[&str], &str)] = &[
        (
            &["train", "realnpv", "--data", "moons", "--out", out],
            "unknown model 'realnpv', did you mean 'realnvp'?",
        ),
        (&["train", "realnvp", "--data", "moon", "--out", out], "did you mean 'moons'?"),
        (&["train", "realnvp", "--data", "gaussians8{radus=1}", "--out", out], "radus"),
        (&["train", "realnvp", "--data", "gaussians8{sd=-1}", "--out", out], "sd"),
        (&["train", "realnvp", "--data", "gaussians8{", "--out", out], "gaussians8{"),
        (
            &["train", "realnvp", "--data", "moons", "--set", "train.lrr=1", "--out", out],
            "unknown key 'train.lrr', did you mean 'train.lr'?",
        ),
        (
            &["train", "realnvp", "--data", "moons", "--set", "train.lr=fast", "--out", out],
            "train.lr: expected a number",
        ),
        (
            &["train", "realnvp", "--data", "moons", "--set", "train.lr=-1", "--out", out],
            "train.lr: expected a number > 0",
        ),
        (&["train", "realnvp", "--data", "moons", "--set", "train.batch=0", "--out", out], "train.batch"),
        (&["train", "realnvp", "--data", "moons", "--set", "train.steps=-5", "--out", out], "train.steps"),
        (
            &["train", "realnvp", "--data", "moons", "--set", "nonsense", "--out", out],
            "--set: expected key=value",
        ),
        (
            &["train", "realnvp", "--data", "moons", "--seconds", "-1", "--out", out],
            "--seconds: expected a number > 0",
        ),
        (
            &["train", "realnvp", "--data", "moons", "--seconds", "nan", "--out", out],
            "--seconds: expected a number > 0",
        ),
        (&["train", "realnvp", "--data", "moons", "--recipe", text(&bad), "--out", out], "model.widht"),
        (&["train", "realnvp", "--data", "moons", "--recipe", text(&torn), "--out", out], "torn.toml"),
        (
            &["train", "realnvp", "--data", "moons", "--recipe", "/nowhere.toml", "--out", out],
            "/nowhere.toml",
        ),
        (&["train", "realnvp", "--data", "moons", "--threads", "0", "--out", out], "--threads"),
        (
            &["train", "realnvp", "--data", "moons", "--device", "abacus", "--out", out],
            "--device: expected cpu",
        ),
        (&["train", "realnvp", "--data", "glyphs{size=14,space=binary_static}", "--out", out], "space"),
        (&["train", "realnvp", "--data", "mnist", "--out", out], "mnist"),
        (&["sample", "/nowhere", "--out", "x.png"], "found nothing there"),
        (&["sample", text(dir.path()), "--out", "x.png"], "no run.json"),
        (&["eval", text(dir.path())], "no run.json"),
        (&["report", text(dir.path())], "neither rows.jsonl"),
        (&["bench", "fast", "--out", out], "unknown suite 'fast'"),
        (&["bench", "--models", "realnvp,vea", "--out", out], "did you mean 'vae'?"),
        (&["bench", "--data", "moonz", "--out", out], "did you mean 'moons'?"),
        (&["compare", "/nowhere.npy", "/nowhere.npy"], "/nowhere.npy"),
        (&["check", "nobody"], "unknown model 'nobody'"),
        (&["data", "fetch", "moonz"], "moonz"),
        (&["judge", "eval", "mnits"], "did you mean 'mnist'?"),
        (&["judge", "eval", "inception"], "none are bundled"),
        (&["judge", "eval", "glyphs", "--weights", "/nowhere.safetensors"], "/nowhere.safetensors"),
        (&["judge", "train", "mnist", "--out", out], "mnist"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["list", "everything"], "invalid value"),
    ];
    for (args, words) in cases {
        let o = genzoo(args);
        let said = stderr(&o);
        assert_eq!(o.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?} should mention '{words}': {said}");
        assert!(o.stdout.is_empty() && !said.contains("panicked"), "{args:?}: {said}");
    }
    assert!(!Path::new(out).exists(), "a mistake left a folder behind");
}

#[test]
fn lists_are_complete_as_text_and_json() {
    for what in ["models", "datasets", "metrics", "samplers", "densities", "suites"] {
        let o = genzoo(&["list", what, "--json"]);
        assert!(json(&o).as_array().is_some_and(|a| a.len() > 2), "{what}");
        assert!(!genzoo(&["list", what]).stdout.is_empty());
    }
    let o = genzoo(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&o.stdout).contains("_genzoo"));
    let help = genzoo(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("genzoo bench"));
}
