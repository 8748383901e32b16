//! Collects the recipes `models/<family>/<model>/<dataset>.toml` and the commit into the binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let models = manifest.join("../../models");
    println!("cargo::rerun-if-changed={}", models.display());
    println!("cargo::rerun-if-changed=build.rs");

    let mut code = String::from("&[\n");
    for family in folders(&models) {
        for model in folders(&family) {
            println!("cargo::rerun-if-changed={}", model.display());
            for file in files(&model) {
                let text = fs::read_to_string(&file).expect("a recipe is readable");
                println!("cargo::rerun-if-changed={}", file.display());
                let stem = |p: &Path| p.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_string();
                writeln!(code, "    ({:?}, {:?}, {text:?}),", stem(&model), stem(&file))
                    .expect("strings grow");
            }
        }
    }
    code.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("recipes.rs"), code).expect("OUT_DIR is writable");

    let commit = process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(&manifest)
        .output()
        .ok()
        .filter(|o| o.status.success())
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .map(|s| s.trim().to_string())
        .unwrap_or_default();
    println!("cargo::rustc-env=GENZOO_COMMIT={commit}");
    println!("cargo::rerun-if-changed={}", manifest.join("../../.git/HEAD").display());
    println!("cargo::rerun-if-changed={}", manifest.join("../../.git/logs/HEAD").display());
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    entries(dir).into_iter().filter(|p| p.is_dir()).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    entries(dir).into_iter().filter(|p| p.extension().is_some_and(|e| e == "toml")).collect()
}
