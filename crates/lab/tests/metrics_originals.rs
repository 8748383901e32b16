//! The metrics against the original software: values of POT, prdc, scikit-learn, SciPy and torch-fidelity on the same
//! samples. `fixtures/metrics.py` wrote both files and says which package each value comes from.

use std::path::Path;

use genzoo_core::{Error, Noise, Result};
use genzoo_lab::metrics::{Directions, Points, Settings, compare, entropy, kid, stein};
use genzoo_lab::samples;
use serde_json::Value;

const CASES: [&str; 3] = ["plane", "unequal", "wide"];

fn values() -> Value {
    serde_json::from_str(include_str!("fixtures/metrics.json")).expect("the fixture is JSON")
}

fn array(name: &str) -> Result<Points> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics.npz");
    Points::new(&samples::read(&path, Some(name))?)
}

fn settings(case: &str) -> Result<Settings> {
    let of = |key: &str| values()[case]["settings"][key].as_f64().expect("a setting");
    let theta = array(&format!("{case}_projections"))?;
    let columns: Vec<Vec<f64>> =
        (0..theta.dims()).map(|k| theta.rows().map(|row| row[k]).collect()).collect();
    Ok(Settings {
        bandwidth: Some(of("sigma")),
        pooled: true,
        k: of("k") as usize,
        eps: Some(of("eps")),
        directions: Directions::Given(points(&columns)?),
        ..Settings::default()
    })
}

fn points(rows: &[Vec<f64>]) -> Result<Points> {
    let tensor = genzoo_core::Tensor::new(rows.to_vec(), &genzoo_core::Device::Cpu)?;
    Points::new(&tensor)
}

fn half(x: &Points, second: bool) -> Points {
    let middle = x.len() / 2;
    let rows: Vec<usize> = if second { (middle..x.len()).collect() } else { (0..middle).collect() };
    x.select(&rows)
}

#[track_caller]
fn close(what: &str, got: f64, want: f64, relative: f64) {
    assert!((got - want).abs() <= relative * want.abs(), "{what}: {got:e}, the original {want:e}");
}

#[test]
fn every_metric_has_the_originals_value() -> Result<()> {
    let all = values();
    for case in CASES {
        let (x, y, settings) = (array(&format!("{case}_x"))?, array(&format!("{case}_y"))?, settings(case)?);
        let want = all[case]["values"].as_object().expect("values");
        let mut seen = 0;
        for c in compare(&x.clone().into(), &y.clone().into(), None, None, &settings, &Noise::new(0))?.metrics
        {
            let (Some(want), Some(got)) = (want.get(c.name).and_then(Value::as_f64), c.measurement.value)
            else {
                continue;
            };
            let relative = match c.name {
                "precision" | "recall" | "density" | "coverage" | "one_nn_accuracy" => 1e-15,
                name if name.starts_with("sinkhorn") => 1e-6,
                _ => 1e-9,
            };
            close(&format!("{case} {}", c.name), got, want, relative);
            seen += 1;
        }
        assert_eq!(seen, 24, "{case}: metrics with an original");
    }
    Ok(())
}

#[test]
fn the_pooled_median_and_the_metric_at_it() -> Result<()> {
    for case in CASES {
        let (x, y) = (array(&format!("{case}_x"))?, array(&format!("{case}_y"))?);
        let settings = Settings { pooled: true, ..Settings::default() };
        let names = ["mmd2_unbiased".to_string()];
        let got =
            compare(&x.clone().into(), &y.clone().into(), None, Some(&names), &settings, &Noise::new(0))?;
        let want = |key: &str| values()[case]["values"][key].as_f64().expect("a value");
        close(case, got.bandwidth.unwrap_or(0.0), want("median"), 1e-12);
        close(case, got.metrics[0].measurement.value.unwrap_or(0.0), want("mmd2_unbiased_at_median"), 1e-9);
    }
    Ok(())
}

#[test]
fn kernel_distances_of_given_subsets() -> Result<()> {
    for case in CASES {
        let indices = |name: &str| -> Result<Vec<Vec<usize>>> {
            let rows = array(&format!("{case}_subsets_{name}"))?;
            Ok(rows.rows().map(|r| r.iter().map(|i| *i as usize).collect()).collect())
        };
        let (x, y) = (array(&format!("{case}_x"))?, array(&format!("{case}_y"))?);
        let got = kid::subset_values(&x, &y, &indices("x")?, &indices("y")?)?;
        let want = &values()[case]["values"]["kid_subset_values"];
        for (k, got) in got.iter().enumerate() {
            close(&format!("{case} subset {k}"), *got, want[k].as_f64().expect("a value"), 1e-9);
        }
    }
    Ok(())
}

#[test]
fn metrics_that_need_more_than_two_samples() -> Result<()> {
    for case in CASES {
        let (x, y) = (array(&format!("{case}_x"))?, array(&format!("{case}_y"))?);
        let want = |key: &str| values()[case]["values"][key].as_f64().expect("a value");
        let names = ["train_distance", "authenticity", "c_t", "fld_gap"].map(String::from);
        let (train, test) = (half(&x, false), half(&x, true));
        let got = compare(
            &test.into(),
            &y.clone().into(),
            Some(&train),
            Some(&names),
            &Settings::default(),
            &Noise::new(0),
        )?;
        for (c, key) in got.metrics.iter().zip(["train_distance", "authenticity", "c_t_one_cell", "fld_gap"])
        {
            close(&format!("{case} {}", c.name), c.measurement.value.unwrap_or(f64::NAN), want(key), 1e-9);
        }
        // Its authors stop their climb early, and that moves the gap by hundredths of a nat per dimension.
        let (value, original) =
            (got.metrics[3].measurement.value.unwrap_or(f64::NAN), want("fld_gap_original"));
        assert!((value - original).abs() < 3.0, "{case}: {value}, the original {original}");
        close(case, entropy::entropy(&y, 3)?.value, want("entropy"), 1e-9);
        let score: Vec<Vec<f64>> = y.rows().map(|r| r.iter().map(|v| -v).collect()).collect();
        let sigma = values()[case]["settings"]["sigma"].as_f64().expect("a setting");
        close(case, stein::stein_discrepancy(&y, &points(&score)?, sigma)?.value, want("ksd_normal"), 1e-9);
    }
    Ok(())
}

/// Samples of 80 and 64 points on a line, against SciPy's and POT's one-dimensional functions.
#[test]
fn on_a_line() -> Result<()> {
    let names = ["w1", "w2", "energy_distance_root"].map(String::from);
    let (x, y) = (array("line_x")?, array("line_y")?);
    let directions = Directions::Given(points(&[vec![1.0]])?);
    let settings = Settings { directions, ..Settings::default() };
    let along = ["sliced_w1", "sliced_w2"].map(String::from);
    for c in compare(
        &x.clone().into(),
        &y.clone().into(),
        None,
        Some(&[&names[..], &along[..]].concat()),
        &settings,
        &Noise::new(0),
    )?
    .metrics
    {
        let key = c.name.trim_start_matches("sliced_");
        let want = values()["line"]["values"][key].as_f64().ok_or(Error::Unsupported(key.to_string()))?;
        close(c.name, c.measurement.value.unwrap_or(f64::NAN), want, 1e-9);
    }
    Ok(())
}
