//! The binary as a user meets it: exit codes, messages, JSON, files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn genzoo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_genzoo"))
        .args(args)
        .env_remove("GENZOO_DATA")
        .env_remove("GENZOO_REQUEUE")
        .env("COLUMNS", "100")
        .output()
        .expect("the binary runs")
}

fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn json(o: &Output) -> serde_json::Value {
    serde_json::from_slice(&o.stdout)
        .unwrap_or_else(|e| panic!("stdout is not JSON ({e}): {}", String::from_utf8_lossy(&o.stdout)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn tiny_run(dir: &Path) -> std::path::PathBuf {
    let run = dir.join("run");
    let o = genzoo(&[
        "train",
        "realnvp",
        "--data",
        "moons",
        "--steps",
        "5",
        "--set",
        "train.batch=32",
        "--quiet",
        "--out",
        text(&run),
    ]);
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    run
}

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

/// An array of the samples whose metrics other software computed.
fn sample(name: &str) -> String {
    format!("{}/../lab/tests/fixtures/metrics.npz:{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn files_of_other_software_are_compared() {
    let (real, fake, theta) = (sample("unequal_x"), sample("unequal_y"), sample("unequal_projections"));
    let names = "mmd2_unbiased,w2,sliced_w2,sinkhorn_cost,coverage";
    let o = genzoo(&[
        "compare",
        &real,
        &fake,
        "--metrics",
        names,
        "--bandwidth",
        "2",
        "--k",
        "3",
        "--eps",
        "2",
        "--projections",
        &theta,
        "--json",
    ]);
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    let answer = json(&o);
    assert_eq!((&answer["n_real"], &answer["n_fake"]), (&150.into(), &100.into()));
    let original: serde_json::Value =
        serde_json::from_str(include_str!("../crates/lab/tests/fixtures/metrics.json")).expect("JSON");
    for name in names.split(',') {
        let (m, want) =
            (&answer["metrics"][name], original["unequal"]["values"][name].as_f64().expect("a value"));
        let got = m["value"].as_f64().expect("a value");
        assert!((got / want - 1.0).abs() < 1e-6, "{name}: {got} {want}");
        for key in ["stderr", "n", "n_real", "floor", "floor_n", "seconds"] {
            assert!(m[key].is_number(), "{name}: {key} of {m}");
        }
    }
    // The training rows open the metrics of memorisation: here the fake file is a copy of them.
    let o = genzoo(&["compare", &real, &fake, "--train", &fake, "--metrics", "authenticity", "--json"]);
    assert_eq!(json(&o)["metrics"]["authenticity"]["value"], 0.0, "{}", stderr(&o));
    let o = genzoo(&["compare", &real, &fake, "--metrics", "frechet,precision"]);
    let table = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(
        table.contains("frechet") && table.contains("floor") && table.contains("100 of 150 real"),
        "{table}"
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let (real, fake) = (sample("plane_x"), sample("plane_y"));
    let (archive, _) = real.rsplit_once(':').expect("a name");
    let wide = sample("wide_y");
    let cases: &[(&[&str], &str)] = &[
        (&[archive, &fake], "pick one with"),
        (&[&real, &wide], "rows of shape [2]"),
        (&[&real, &fake, "--metrics", "mmd2"], "did you mean 'mmd2_unbiased'"),
        (&[&real, &fake, "--metrics", "c_t"], "--train FILE"),
        (&[&real, &fake, "--features", "inception"], ".npy"),
        (&[&real, &fake, "--metrics", "mmd2_biased", "--bandwidth", "-1"], "--bandwidth"),
        (&[&real, &fake, "--metrics", "sinkhorn_cost", "--eps", "0"], "--eps"),
        (&[&real, &fake, "--projections", "/nowhere.npy"], "/nowhere.npy"),
        (&[&real, &fake, "--projections", &real], "unit vectors"),
    ];
    for (args, words) in cases {
        let o = genzoo(&[&["compare"], *args].concat());
        let said = stderr(&o);
        assert_eq!(o.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.contains(words) && !said.contains("panicked"),
            "{args:?} should mention '{words}': {said}"
        );
    }
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
fn a_bench_keeps_its_rows_and_resumes() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("bench");
    let bench = |extra: &[&str]| {
        let mut args = vec!["bench", "--models", "realnvp", "--data", "moons", "--out", text(&out)];
        args.extend(extra);
        if !extra.contains(&"--steps") {
            args.extend(["--steps", "5"]);
        }
        genzoo(&args)
    };
    let o = bench(&[]);
    assert!(matches!(o.status.code(), Some(0 | 3)), "{}", stderr(&o));
    let rows = fs::read_to_string(out.join("rows.jsonl")).expect("rows");
    assert_eq!(rows.lines().count(), 2, "one for real, one for the model");
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row is JSON");
        for key in [
            "schema",
            "suite",
            "model",
            "family",
            "dataset",
            "seed",
            "status",
            "parameters",
            "weights",
            "train",
            "likelihood",
            "quality",
            "sampling",
            "machine",
            "version",
            "commit",
            "data_sha256",
            "recipe_sha256",
        ] {
            assert!(row.get(key).is_some(), "{key} is a key of every row");
        }
    }
    assert_eq!(bench(&[]).status.code(), Some(2), "a used folder needs --resume");
    bench(&["--resume"]);
    assert_eq!(fs::read_to_string(out.join("rows.jsonl")).expect("rows"), rows, "finished rows stand");
    let html = fs::read_to_string(out.join("report.html")).expect("a report");
    assert!(html.contains("realnvp"));
    for reach in ["src=\"http", "href=\"http", "url(http", "@import", "<link"] {
        assert!(!html.contains(reach), "the report reaches out: {reach}");
    }
    for file in ["density.png", "gallery.json"] {
        assert!(out.join("moons-realnvp-0/samples").join(file).exists(), "{file}");
    }
    assert!(html.contains("of the truth"), "the density stands in the report");
    let o = genzoo(&["report", text(&out), "--json"]);
    assert_eq!(json(&o).as_array().map(Vec::len), Some(2));
    // A row of five steps is none of seven: that one gets a row and a folder of its own, and both stand.
    let o = bench(&["--resume", "--steps", "7"]);
    assert!(
        stderr(&o).contains("another budget") && stderr(&o).contains("2 rows were there"),
        "{}",
        stderr(&o)
    );
    let rows = fs::read_to_string(out.join("rows.jsonl")).expect("rows");
    let rows: Vec<serde_json::Value> =
        rows.lines().map(|l| serde_json::from_str(l).expect("a row")).collect();
    assert_eq!((rows.len(), &rows[2]["budget"]["steps"]), (3, &7.into()), "{rows:?}");
    let own = out.join(rows[2]["run"].as_str().expect("its folder"));
    // What each test row costs stands beside the run, and its mean is the likelihood of the row.
    let kept = fs::read(own.join("eval/nll.npy")).expect("values");
    let n = rows[2]["likelihood"]["n"].as_u64().expect("a number") as usize;
    let values =
        kept[kept.len() - 8 * n..].chunks(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")));
    let mean = values.sum::<f64>() / n as f64;
    let value = rows[2]["likelihood"]["value"].as_f64().expect("a number");
    assert!((mean / value - 1.0).abs() < 1e-9, "{mean} {value}");
    assert_eq!(rows[1]["test_rows"], rows[2]["test_rows"], "judged on the same rows");
    assert_eq!(stderr(&bench(&["--resume", "--steps", "7"])).matches("another budget").count(), 0);
}

#[test]
fn a_study_answers_on_a_page_and_finds_its_parts_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("study");
    let study = |more: &[&str]| {
        genzoo(&[&["bench", "kl-vs-fisher", "--budget", "small", "--out", text(&out)], more].concat())
    };
    let first = study(&["--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let record = json(&first);
    assert_eq!((record["study"].as_str(), record["budget"].as_str()), (Some("kl-vs-fisher"), Some("small")));
    let findings = record["page"]["findings"].as_array().expect("findings");
    assert!(findings.len() >= 3 && findings.iter().all(|f| f["verdict"] == "holds"), "{findings:?}");
    let page = fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("genzoo bench kl-vs-fisher --budget small"));
    // A second start is refused; --resume finds every part again, and gives the same answer without one that is lost.
    assert_eq!(study(&[]).status.code(), Some(2));
    let parts: Vec<_> = fs::read_dir(out.join("parts/small")).expect("parts").flatten().collect();
    fs::remove_file(parts[0].path()).expect("one part less");
    fs::write(parts[1].path(), "{torn").expect("a torn part");
    let again = study(&["--resume", "--json"]);
    assert_eq!(json(&again)["page"], record["page"]);
    let shown = genzoo(&["report", text(&out)]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("holds"), "{}", stderr(&shown));
    let refused = genzoo(&["bench", "kl-vs-fisher", "--models", "vae"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("is a study"), "{}", stderr(&refused));
    let unknown = genzoo(&["bench", "kl-vs-fischer"]);
    assert!(stderr(&unknown).contains("did you mean 'kl-vs-fisher'"), "{}", stderr(&unknown));
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

#[test]
fn other_data_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = tiny_run(dir.path());
    let ood = |data: &str| genzoo(&["eval", text(&run), "--ood", data, "--n-likelihood", "300", "--json"]);
    let o = ood("gaussians8{radius=40}");
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    let found = json(&o);
    let rows = found["detections"].as_array().expect("a list");
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["auroc"]["value"].as_f64().expect("a number") > 0.99, "{found}");
    assert_eq!(rows[1]["dataset"], "uniform");
    assert!(rows[1]["auroc"]["stderr"].as_f64().expect("a number") > 0.0 && rows[1]["n_out"] == 300);
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
    for method in ["ais", "reverse-ais", "importance", "ti"] {
        let o = genzoo(&["logz", &file, "--json", "--method", method]);
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
