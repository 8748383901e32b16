//! Runs are safe: killed at any moment, a run resumes to the same bits as one that was left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STEPS: u64 = 300;

fn genzoo(folder: &Path, model: &str, every: u64, resume: bool) -> Command {
    let entry = genzoo::models().find(|e| e.info.name == model).expect("a registered model");
    let spec = genzoo::core::DataSpec {
        shape: vec![2],
        space: genzoo::core::Space::Continuous,
        classes: None,
        range: None,
    };
    let recipe = folder.with_extension("toml");
    fs::write(&recipe, toml_text(&(entry.tiny)(&spec))).expect("a recipe is writable");
    let mut c = Command::new(env!("CARGO_BIN_EXE_genzoo"));
    c.args(["train", model, "--data", "moons", "--threads", "1", "--quiet", "--recipe"]).arg(&recipe);
    c.args([
        "--steps",
        &STEPS.to_string(),
        "--set",
        &format!("train.checkpoint_every={every}"),
        "--set",
        "train.log_every=1",
    ]);
    c.args(["--set", "train.ema=0.9", "--out"]).arg(folder);
    if resume {
        c.arg("--resume");
    }
    c.env_remove("GENZOO_REQUEUE").stdout(Stdio::null()).stderr(Stdio::piped());
    c
}

fn toml_text(table: &genzoo::core::Table) -> String {
    table.to_string()
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn finish(mut c: Command) -> i32 {
    let out = c.output().expect("the binary runs");
    let code = out.status.code().unwrap_or(-1);
    assert!(matches!(code, 0 | 130 | 75), "{}", String::from_utf8_lossy(&out.stderr));
    code
}

/// Everything that must agree: weights, optimiser and state of the last checkpoint, exported weights, and the
/// log without its clock.
fn fingerprint(folder: &Path) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let last = genzoo::core::checkpoint::list(&folder.join("checkpoints")).expect("checkpoints are listed");
    let (step, path) = last.last().expect("a checkpoint at the end");
    assert_eq!(*step, STEPS);
    for path in [path.clone(), folder.join("model.safetensors"), folder.join("model_ema.safetensors")] {
        let (tensors, _) =
            genzoo::core::checkpoint::read_tensors(&path, &genzoo::core::Device::Cpu).expect("whole tensors");
        for (name, t) in tensors {
            let bytes: Vec<u8> = match t.dtype() {
                genzoo::core::DType::F32 => floats(&t).iter().flat_map(|v| v.to_le_bytes()).collect(),
                _ => format!(
                    "{:?}",
                    t.to_dtype(genzoo::core::DType::F64).and_then(|t| t.flatten_all()?.to_vec1::<f64>())
                )
                .into_bytes(),
            };
            out.push((name, genzoo::core::checkpoint::sha256(&bytes)));
        }
    }
    let log = fs::read_to_string(folder.join("log.jsonl")).expect("a log");
    assert_eq!(log.lines().count() as u64, STEPS);
    for line in log.lines() {
        let mut v: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        v.as_object_mut().expect("an object").remove("seconds");
        out.push((format!("log {}", v["step"]), v.to_string()));
    }
    out
}

fn floats(t: &genzoo::core::Tensor) -> Vec<f32> {
    t.flatten_all().and_then(|t| t.to_vec1()).expect("f32 values")
}

fn compare(what: &str, want: &[(String, String)], folder: &Path) {
    let got = fingerprint(folder);
    assert_eq!(want.len(), got.len(), "{what}");
    for (w, g) in want.iter().zip(&got) {
        assert_eq!(w, g, "{what}");
    }
}

/// Kills at moments spread over the length of the run, resuming after each, then compares.
fn survives(model: &str, every: u64, kills: u32) {
    let dir = scratch();
    let alone = dir.path().join("alone");
    let start = Instant::now();
    finish(genzoo(&alone, model, every, false));
    let length = start.elapsed();
    let want = fingerprint(&alone);

    let folder = dir.path().join("killed");
    for k in 0..kills {
        let mut child = genzoo(&folder, model, every, true).spawn().expect("the binary runs");
        // Golden-ratio fractions of the run's length: spread evenly, never the same moment twice.
        let fraction = (f64::from(k + 1) * 0.618_034).fract();
        std::thread::sleep(Duration::from_secs_f64(length.as_secs_f64() * fraction));
        child.kill().expect("a signal is sent");
        child.wait().expect("the child ends");
    }
    finish(genzoo(&folder, model, every, true));
    compare(&format!("{model} killed {kills} times at interval {every}"), &want, &folder);
    let litter: Vec<PathBuf> = fs::read_dir(folder.join("checkpoints"))
        .expect("a folder")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "tmp"))
        .collect();
    assert!(litter.is_empty(), "{litter:?}");
}

#[test]
fn every_family_survives_kills() {
    let kills = std::env::var("GENZOO_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(3);
    for model in ["pcd", "rbm-gaussian", "vae", "ns-gan", "realnvp", "ddpm", "linear"] {
        survives(model, 7, kills);
    }
}

#[test]
fn any_checkpoint_interval_will_do() {
    for every in [1, 50] {
        survives("realnvp", every, 3);
        survives("pcd", every, 2);
    }
}

#[cfg(unix)]
fn interrupted(signal: &str, requeue: bool) -> i32 {
    let dir = scratch();
    let folder = dir.path().join("run");
    let mut c = genzoo(&folder, "realnvp", 1, false);
    // Long enough to be interrupted for sure.
    c.args(["--set", "train.batch=4096"]).args(["--set", "train.ema=0.5"]);
    if requeue {
        c.env("GENZOO_REQUEUE", "1");
    }
    let mut child = c.spawn().expect("the binary runs");
    let start = Instant::now();
    while genzoo::core::checkpoint::list(&folder.join("checkpoints")).map_or(0, |l| l.len()) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint appeared");
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let code = child.wait().expect("the child ends").code().unwrap_or(-1);
    if code != 0 {
        let last = genzoo::core::checkpoint::list(&folder.join("checkpoints")).expect("a list");
        let log = fs::read_to_string(folder.join("log.jsonl")).expect("a log");
        assert_eq!(
            last.last().expect("a checkpoint").0,
            log.lines().count() as u64,
            "it stopped at a checkpoint"
        );
    }
    code
}

#[cfg(unix)]
#[test]
fn a_signal_leaves_a_checkpoint_and_the_promised_code() {
    for (signal, requeue, want) in [("-INT", false, 130), ("-TERM", false, 130), ("-TERM", true, 75)] {
        // A run that had ended before the signal came says 0; it must not happen every time.
        let codes: Vec<i32> = (0..3).map(|_| interrupted(signal, requeue)).take_while(|c| *c == 0).collect();
        assert!(codes.len() < 3, "the run was always over before the signal");
        let code = interrupted(signal, requeue);
        assert!(code == want || code == 0, "{signal}: {code} instead of {want}");
    }
}

#[test]
fn one_process_per_folder() {
    let dir = scratch();
    let folder = dir.path().join("run");
    let mut first = genzoo(&folder, "realnvp", 1, false);
    first.args(["--set", "train.batch=16384"]);
    let mut child = first.spawn().expect("the binary runs");
    let start = Instant::now();
    while !folder.join("run.json").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the first run never started");
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = genzoo(&folder, "realnvp", 1, true).output().expect("the binary runs");
    let over = child.try_wait().expect("a status").is_some();
    child.kill().ok();
    child.wait().expect("the child ends");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        over || (out.status.code() == Some(5) && text.contains("locked by another process")),
        "{:?} {text}",
        out.status
    );
    // A dead holder does not block.
    let mut again = genzoo(&folder, "realnvp", 1, true);
    again.args(["--set", "train.batch=16384"]);
    let mut child = again.spawn().expect("the binary runs");
    std::thread::sleep(Duration::from_millis(300));
    let code = child.try_wait().expect("a status").and_then(|s| s.code());
    child.kill().ok();
    child.wait().expect("the child ends");
    assert_ne!(code, Some(5));
}
