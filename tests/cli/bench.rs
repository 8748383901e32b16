//! Suites and studies: rows and parts are kept and found again.

use std::fs;

use crate::{genzoo, json, stderr, text};

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
