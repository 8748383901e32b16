//! Training, sampling, judging and resuming one run; what happens to it when something goes wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{genzoo, json, stderr, text, tiny_run};

#[test]
fn a_run_trains_samples_evaluates_and_resumes() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = tiny_run(dir.path());
    for file in ["run.json", "log.jsonl", "model.safetensors"] {
        assert!(run.join(file).exists(), "{file}");
    }
    // Without --resume a used folder is left alone; with it a finished run says so.
    let train = |extra: &[&str]| {
        let mut args =
            vec!["train", "realnvp", "--data", "moons", "--set", "train.batch=32", "--out", text(&run)];
        args.extend(extra);
        genzoo(&args)
    };
    let o = train(&["--steps", "5"]);
    assert_eq!((o.status.code(), stderr(&o).contains("--resume")), (Some(2), true), "{}", stderr(&o));
    let o = train(&["--steps", "5", "--resume"]);
    assert_eq!((o.status.code(), stderr(&o).contains("already has all")), (Some(0), true), "{}", stderr(&o));
    let o = train(&["--steps", "5", "--resume", "--seed", "1"]);
    assert_eq!(
        (o.status.code(), stderr(&o).contains("--seed: expected 0")),
        (Some(2), true),
        "{}",
        stderr(&o)
    );
    let o = train(&["--steps", "5", "--resume", "--set", "train.lr=0.5"]);
    assert_eq!((o.status.code(), stderr(&o).contains("train.lr")), (Some(2), true), "{}", stderr(&o));
    let o = train(&["--steps", "9", "--resume", "--json"]);
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    assert_eq!(json(&o)["train"]["steps"], 9);

    for name in ["s.png", "s.npy", "s.safetensors"] {
        let file = dir.path().join(name);
        let o = genzoo(&["sample", text(&run), "-n", "10", "--out", text(&file), "--json"]);
        assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
        assert_eq!(json(&o)["n"], 10);
        assert!(file.exists());
    }
    let o = genzoo(&["sample", text(&run), "--out", text(&dir.path().join("s.gif"))]);
    assert_eq!(
        (o.status.code(), stderr(&o).contains(".png, .npy or .safetensors")),
        (Some(2), true),
        "{}",
        stderr(&o)
    );
    let o = genzoo(&["sample", text(&run), "--set", "stepz=3", "--out", text(&dir.path().join("s.npy"))]);
    assert_eq!((o.status.code(), stderr(&o).contains("stepz")), (Some(2), true), "{}", stderr(&o));

    let o = genzoo(&["eval", text(&run), "--n-likelihood", "50", "--n-quality", "50", "--json"]);
    let row = json(&o);
    assert_eq!(row["likelihood"]["kind"], "exact", "{row}");
    assert_eq!(row["model"], "realnvp");
    let (a, b) = (dir.path().join("s.npy"), dir.path().join("s.safetensors"));
    let o = genzoo(&["compare", text(&a), text(&b), "--json"]);
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    assert!(json(&o)["metrics"].as_object().is_some_and(|m| !m.is_empty()));
}

#[test]
fn divergence_is_a_result() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let o = genzoo(&[
        "train",
        "realnvp",
        "--data",
        "moons",
        "--steps",
        "50",
        "--set",
        "train.batch=32",
        "--set",
        "train.lr=1e30",
        "--set",
        "train.clip=0",
        "--set",
        "train.warmup=0",
        "--out",
        text(&run),
    ]);
    assert_eq!((o.status.code(), stderr(&o).contains("diverged")), (Some(3), true), "{}", stderr(&o));
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("run.json")).expect("a record")).expect("JSON");
    assert_eq!(record["status"], "diverged");
    let out = dir.path().join("bench");
    let o = genzoo(&[
        "bench",
        "--models",
        "realnvp",
        "--data",
        "moons",
        "--steps",
        "50",
        "--set",
        "train.lr=1e30",
        "--set",
        "train.clip=0",
        "--set",
        "train.warmup=0",
        "--out",
        text(&out),
        "--json",
    ]);
    assert_eq!(o.status.code(), Some(3), "{}", stderr(&o));
    let rows = json(&o);
    let row = rows.as_array().and_then(|r| r.iter().find(|r| r["model"] == "realnvp")).expect("a row");
    assert_eq!(
        (&row["status"], &row["likelihood"]),
        (&serde_json::json!("diverged"), &serde_json::Value::Null)
    );
}

/// Several likelihoods of one run: the first ranks, the others stand beside it, each with its options and rows.
#[test]
fn likelihoods_are_chosen_by_name_and_options() {
    let dir = tempfile::tempdir().expect("a folder");
    let train = |model: &str| {
        let run = dir.path().join(model);
        let o = genzoo(&["train", model, "--data", "moons", "--steps", "5", "--quiet", "--out", text(&run)]);
        assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
        run
    };
    let (vae, gan) = (train("vae"), train("ns-gan"));
    let eval = |run: &Path, more: &[&str]| {
        let fixed = ["eval", text(run), "--n-likelihood", "50", "--n-quality", "50"];
        genzoo(&[&fixed[..], more].concat())
    };
    let two = ["--likelihood", "iwae:k=20,rows=40", "--likelihood", "elbo:k=2,rows=30"];
    let row = json(&eval(&vae, &[&two[..], &["--json"]].concat()));
    for (l, method, n) in [(&row["likelihood"], "iwae(k=20)", 40), (&row["likelihoods"][0], "elbo(k=2)", 30)]
    {
        assert_eq!((l["method"].as_str(), l["n"].as_u64()), (Some(method), Some(n)), "{row}");
    }
    let table = String::from_utf8_lossy(&eval(&vae, &two).stdout).into_owned();
    assert!(table.contains("also") && table.contains("truth at most"), "{table}");
    let noisy = "ais:sigma=1,temperatures=20,chains=24,rows=30";
    let row = json(&eval(&gan, &["--likelihood", noisy, "--json"]));
    let l = &row["likelihood"];
    assert_eq!((l["kind"].as_str(), l["n"].as_u64()), (Some("lower_bound"), Some(30)), "{row}");
    let words = "ais(20 temperatures, 24 chains, hmc 5, sigma 1.000, gap ";
    assert!(l["method"].as_str().is_some_and(|m| m.starts_with(words)), "{row}");
    assert!(json(&eval(&gan, &["--json"]))["likelihood"].is_null(), "nothing is invented unasked");
    for (wrong, words) in [
        ("iwea", "did you mean 'iwae'"),
        ("ais:chain=3", "unknown key 'ais.chain', did you mean 'ais.chains'"),
        ("ais:transition=hcm", "did you mean 'hmc'"),
        ("iwae:k", "key=value"),
    ] {
        let o = eval(&vae, &["--likelihood", wrong]);
        assert_eq!((o.status.code(), stderr(&o).contains(words)), (Some(2), true), "{}", stderr(&o));
    }
    let listed = String::from_utf8_lossy(&genzoo(&["list", "densities"]).stdout).into_owned();
    for name in ["gan/ns-gan ais", "vae/vae ais", "vae/vae iwae", "ebm/pcd ais"] {
        assert!(listed.contains(name), "{listed}");
    }
}

#[test]
fn a_budget_in_examples_becomes_whole_steps() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("bench");
    let o = genzoo(&[
        "bench",
        "--models",
        "linear",
        "--data",
        "moons",
        "--examples",
        "100",
        "--set",
        "train.batch=32",
        "--set",
        "sample.steps=2",
        "--sweep",
        "--json",
        "--out",
        text(&out),
    ]);
    assert!(matches!(o.status.code(), Some(0 | 3)), "{}", stderr(&o));
    let rows = json(&o);
    let row = rows.as_array().and_then(|r| r.iter().find(|r| r["model"] == "linear")).expect("a row");
    assert_eq!(row["budget"], serde_json::json!({"examples": 100}));
    assert_eq!((&row["train"]["steps"], &row["train"]["examples"]), (&4.into(), &128.into()));
    let sweep = row["sweep"].as_array().expect("the samplers of a flow of velocities have steps");
    assert!(sweep.len() > 2 && sweep.iter().all(|p| p["quality"].as_object().is_some_and(|q| q.len() == 1)));
    let o = genzoo(&["bench", "--examples", "9", "--steps", "9", "--out", text(&out)]);
    assert_eq!(o.status.code(), Some(2), "one budget at a time");
}

#[test]
fn other_data_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = tiny_run(dir.path());
    let ood = |data: &str| genzoo(&["eval", text(&run), "--ood", data, "--n-likelihood", "300", "--json"]);
    let o = ood("gaussians8{radius=40}");
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    let found = json(&o);
    let rows = found["detections"].as_array().expect("a list");
    assert_eq!(rows.len(), 3);
    assert!(rows[0]["auroc"]["value"].as_f64().expect("a number") > 0.99, "{found}");
    assert_eq!((&rows[1]["dataset"], &rows[2]["dataset"]), (&"marginals".into(), &"uniform".into()));
    assert!(rows[2]["auroc"]["stderr"].as_f64().expect("a number") > 0.0 && rows[2]["n_out"] == 300);
    assert!(run.join("ood.json").is_file());
    let o = ood("glyphs");
    assert_eq!(o.status.code(), Some(2), "{}", stderr(&o));
    assert!(stderr(&o).contains("glyphs"), "{}", stderr(&o));
}

#[test]
fn damaged_runs_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = tiny_run(dir.path());
    let out = dir.path().join("s.npy");
    let sample = || genzoo(&["sample", text(&run), "--weights", "raw", "--out", text(&out)]);
    let weights = run.join("model.safetensors");
    let good = fs::read(&weights).expect("weights");
    for bad in [&good[..good.len() / 2], &good[..4], b"not a safetensors file at all".as_slice()] {
        fs::write(&weights, bad).expect("a file");
        let o = sample();
        assert_eq!(o.status.code(), Some(2), "{}", stderr(&o));
        assert!(
            stderr(&o).contains("model.safetensors") && !stderr(&o).contains("panicked"),
            "{}",
            stderr(&o)
        );
    }
    fs::write(&weights, &good).expect("a file");
    assert_eq!(sample().status.code(), Some(0));
    for text in ["", "{}", "{\"schema\": 99}", "[1,2"] {
        fs::write(run.join("run.json"), text).expect("a file");
        let o = sample();
        assert_eq!(o.status.code(), Some(2), "{text}: {}", stderr(&o));
        assert!(stderr(&o).contains("run.json"), "{}", stderr(&o));
    }
}

/// A disk that refuses: error code 4, the old checkpoint intact, no half-written file.
#[cfg(unix)]
#[test]
fn a_full_disk_costs_nothing_that_was_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = tiny_run(dir.path());
    let before = genzoo::core::checkpoint::list(&run.join("checkpoints")).expect("a list");
    // A limit on file size, with its signal ignored, makes writes fail like a full disk.
    let line = format!(
        "trap '' XFSZ; ulimit -f 8; exec '{}' train realnvp --data moons --steps 500 --set train.batch=32 --quiet --resume --out '{}'",
        env!("CARGO_BIN_EXE_genzoo"),
        text(&run)
    );
    let o = Command::new("bash").args(["-c", &line]).output().expect("bash runs");
    assert_eq!(o.status.code(), Some(4), "{}", stderr(&o));
    assert!(stderr(&o).contains("cannot write"), "{}", stderr(&o));
    assert_eq!(genzoo::core::checkpoint::list(&run.join("checkpoints")).expect("a list"), before);
    let litter = fs::read_dir(run.join("checkpoints")).expect("a folder").flatten();
    assert_eq!(litter.filter(|e| e.path().extension().is_some_and(|x| x == "tmp")).count(), 0);
    let o = Command::new("bash")
        .args(["-c", &format!("exec '{}' list models > /dev/full", env!("CARGO_BIN_EXE_genzoo"))])
        .output()
        .expect("bash runs");
    assert_eq!(o.status.code(), Some(4), "{}", stderr(&o));
}
