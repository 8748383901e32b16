//! The binary as a user meets it: exit codes, messages, JSON, files.

mod bench;
mod compare;
mod logz;
mod mistakes;
mod runs;

use std::path::{Path, PathBuf};
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

fn tiny_run(dir: &Path) -> PathBuf {
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
