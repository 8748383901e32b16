//! What the terminal shows, word for word. After a wanted change: `INSTA_UPDATE=always cargo test --test snapshots`, and
//! look at the difference.

use std::fs;
use std::path::Path;
use std::process::Command;

fn shown(args: &[&str]) -> String {
    let o = Command::new(env!("CARGO_BIN_EXE_genzoo"))
        .args(args)
        .env("COLUMNS", "120")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs");
    assert_eq!(o.status.code(), Some(0), "{}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8(o.stdout).expect("text")
}

fn fixture(name: &str) -> String {
    format!("{}/../lab/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Six models on two data sets: ranks, letters, bounds, floors, a failure, an estimate without tolerance.
#[test]
fn the_table_of_a_bench() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(fixture("report/rows.jsonl"), folder.path().join("rows.jsonl")).expect("rows");
    let text = shown(&["report", folder.path().to_str().expect("UTF-8")]);
    let table = text.lines().filter(|l| !l.ends_with("report.html")).collect::<Vec<_>>().join("\n");
    assert!(Path::new(&folder.path().join("report.html")).exists());
    insta::assert_snapshot!("table_of_a_bench", table);
}

/// All metrics of two files of other software, with errors and floors; what depends on chance is a function of the files.
#[test]
fn the_answer_of_compare() {
    let file = |name: &str| format!("{}:{name}", fixture("metrics.npz"));
    insta::assert_snapshot!("compare", shown(&["compare", &file("plane_x"), &file("plane_y")]));
}
