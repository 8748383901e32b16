//! Sample files of any software, judged.

use crate::{genzoo, json, stderr};

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
        serde_json::from_str(include_str!("../../crates/lab/tests/fixtures/metrics.json")).expect("JSON");
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
