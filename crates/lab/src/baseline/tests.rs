//! The baselines against closed forms, slow sums and the numbers of scikit-learn.

use candle_core::{Device, Tensor};
use genzoo_core::{
    Batch, Build, DType, Dataset, Draw, Entry, Kind, Model, NoZoo, Noise, Recipe, Result, Split, TrainConfig,
    Trainer,
};
use nalgebra::{DMatrix, DVector};

use super::mixture::Mixture;
use super::{gaussian, gmm, kde, memorizer};
use crate::data::{OpenOptions, open};

fn data(name: &str) -> Result<Box<dyn Dataset>> {
    open(name, &OpenOptions::default())
}

/// A model of `entry` after all the steps of its recipe with these keys.
fn trained(entry: &Entry, data: &dyn Dataset, keys: &[&str]) -> Result<Box<dyn Model>> {
    let mut recipe = Recipe::defaults(entry, data.spec())?;
    keys.iter().try_for_each(|k| recipe.set(k))?;
    let build =
        Build { spec: data.spec(), device: &Device::Cpu, zoo: &NoZoo, noise: Noise::new(0).fork("init") };
    let model = (entry.build)(&recipe.model, build)?;
    let mut trainer = Trainer::new(model, data, TrainConfig::read(&recipe.train)?, &Noise::new(0))?;
    trainer.run(|_, _| Ok(genzoo_core::Control::Continue))?;
    Ok(trainer.into_model())
}

fn log_p(model: &dyn Model, x: &Tensor) -> Result<Vec<f64>> {
    let info = model.densities()[0];
    let density = model.density(info.name, &(info.defaults)(), &mut Noise::new(0))?;
    assert_eq!(density.evidence().kind, Kind::Exact);
    Ok(density.log_prob(&Batch::of(x.clone()), &mut Noise::new(0))?.values.to_vec1()?)
}

fn draws(model: &dyn Model, n: usize) -> Result<Tensor> {
    let info = model.samplers()[0];
    Ok(model.sampler(info.name, &(info.defaults)())?.sample(&Draw::n(n), &mut Noise::new(5))?.x)
}

fn rows(x: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(x.to_dtype(DType::F64)?.flatten_from(1)?.to_vec2()?)
}

fn parameter(model: &dyn Model, name: &str) -> Result<Vec<f64>> {
    let all = model.params().snapshot()?;
    Ok(all[&format!("main/{name}")].flatten_all()?.to_vec1()?)
}

/// Mean and covariance, by the definition.
fn moments(rows: &[Vec<f64>]) -> (DVector<f64>, DMatrix<f64>) {
    let (n, d) = (rows.len() as f64, rows[0].len());
    let mean = rows.iter().fold(DVector::zeros(d), |m, r| m + DVector::from_row_slice(r) / n);
    let covariance = rows.iter().fold(DMatrix::zeros(d, d), |s, r| {
        let off = DVector::from_row_slice(r) - &mean;
        s + &off * off.transpose() / n
    });
    (mean, covariance)
}

/// The formula of the normal with an inverse and a determinant.
fn normal(x: &[f64], mean: &DVector<f64>, covariance: &DMatrix<f64>) -> f64 {
    let off = DVector::from_row_slice(x) - mean;
    let inverse = covariance.clone().try_inverse().expect("an invertible covariance");
    let squared = (off.transpose() * inverse * &off)[(0, 0)];
    -0.5 * (squared + covariance.determinant().ln() + off.len() as f64 * std::f64::consts::TAU.ln())
}

/// At the maximum of the likelihood the mean negative log-likelihood is the entropy `½ log det(2πe S)` of the fit.
#[test]
fn a_full_gaussian_is_the_formula_and_scores_its_entropy_on_its_own_rows() -> Result<()> {
    let data = data("moons")?;
    let model = trained(&gaussian::ENTRY, data.as_ref(), &["model.rows=2500"])?;
    let x = data.rows(Split::Train, 0..2500)?.x;
    let (mean, covariance) = moments(&rows(&x)?);
    let got = log_p(model.as_ref(), &x)?;
    for (x, g) in rows(&x)?.iter().zip(&got).step_by(50) {
        assert!((g - normal(x, &mean, &covariance)).abs() < 1e-10);
    }
    let entropy =
        0.5 * ((std::f64::consts::TAU * std::f64::consts::E).powi(2) * covariance.determinant()).ln();
    assert!((got.iter().sum::<f64>() / -2500.0 - entropy).abs() < 1e-10);

    let (m, s) = moments(&rows(&draws(model.as_ref(), 20_000)?)?);
    // Standard errors: √(S_ii/n) of a mean, at most √(2 S_ii S_jj/n) of a covariance.
    for i in 0..2 {
        assert!((m[i] - mean[i]).abs() < 4.0 * (covariance[(i, i)] / 2e4).sqrt());
        for j in 0..2 {
            let error = (2.0 * covariance[(i, i)] * covariance[(j, j)] / 2e4).sqrt();
            assert!((s[(i, j)] - covariance[(i, j)]).abs() < 4.0 * error);
        }
    }
    Ok(())
}

/// Tipping & Bishop, eq. 8: with eigenvalues λ the factor carries λ_i − σ² and σ² is the mean of the rest.
#[test]
fn a_low_rank_covariance_keeps_the_first_eigenvalues() -> Result<()> {
    let lambda = [9.0, 1.0, 4.0, 0.5, 0.3];
    // A rotation in the plane of the axes 0 and 3, and one of 1 and 2: the eigenvectors are known.
    let turn = |i: usize, j: usize, a: f64| {
        let mut r = DMatrix::<f64>::identity(5, 5);
        (r[(i, i)], r[(i, j)], r[(j, i)], r[(j, j)]) = (a.cos(), -a.sin(), a.sin(), a.cos());
        r
    };
    let q = turn(0, 3, 0.4) * turn(1, 2, 1.1);
    let covariance = &q * DMatrix::from_diagonal(&DVector::from_row_slice(&lambda)) * q.transpose();
    let (w, noise) = gaussian::low_rank(covariance, 2)?;
    assert!((noise - (1.0 + 0.5 + 0.3) / 3.0).abs() < 1e-12);
    let want = &q
        * DMatrix::from_diagonal(&DVector::from_row_slice(&[9.0 - noise, 0.0, 4.0 - noise, 0.0, 0.0]))
        * q.transpose();
    assert!((&w * w.transpose() - want).norm() < 1e-12);
    assert!(gaussian::low_rank(DMatrix::zeros(3, 3), 1).is_err());
    Ok(())
}

#[test]
fn a_low_rank_density_is_that_of_the_dense_covariance() -> Result<()> {
    let data = data("glyphs{size=8}")?;
    let model = trained(&gaussian::ENTRY, data.as_ref(), &["model.rows=400", "model.rank=6"])?;
    let sigma = parameter(model.as_ref(), "noise")?[0];
    let w = DMatrix::from_row_slice(64, 6, &parameter(model.as_ref(), "factor")?);
    let dense = &w * w.transpose() + DMatrix::identity(64, 64) * (sigma * sigma);
    let x = data.rows(Split::Test, 0..20)?.x;
    let (mean, _) = moments(&rows(&data.rows(Split::Train, 0..400)?.x)?);
    for (x, g) in rows(&x)?.iter().zip(log_p(model.as_ref(), &x)?) {
        assert!((g - normal(x, &mean, &dense)).abs() < 1e-8);
    }
    assert_eq!(draws(model.as_ref(), 3)?.dims(), [3, 1, 8, 8]);
    Ok(())
}

#[test]
fn mixtures_follow_scikit_learn_step_by_step() -> Result<()> {
    let text = include_str!("../../tests/fixtures/gmm/sklearn.json");
    let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    fn numbers(v: &serde_json::Value) -> Vec<f64> {
        match v {
            serde_json::Value::Array(a) => a.iter().flat_map(numbers).collect(),
            v => v.as_f64().into_iter().collect(),
        }
    }
    let rows = numbers(&json["x"]);
    for fit in json["fits"].as_array().expect("fits") {
        let full = fit["kind"] == "full";
        let covariances = if full { [1.0, 0.0, 0.0, 1.0].repeat(3) } else { vec![1.0; 6] };
        let (weights, means) = (numbers(&json["start"]["weights"]), numbers(&json["start"]["means"]));
        let mut mixture = Mixture { dims: 2, weights, means, covariances };
        for _ in 0..fit["iterations"].as_u64().expect("a number") {
            mixture = mixture.improve(&rows, 1e-6)?.0;
        }
        let ready = mixture.ready()?;
        let log_p: Vec<f64> = rows.chunks(2).map(|x| ready.log_p(x)).collect();
        let pairs = [
            ("weights", &mixture.weights),
            ("means", &mixture.means),
            ("covariances", &mixture.covariances),
            ("log_p", &log_p),
        ];
        for (name, got) in pairs {
            let want = numbers(&fit[name]);
            assert_eq!(want.len(), got.len());
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 1e-9 * (1.0 + w.abs()), "{name} of {}: {g} {w}", fit["kind"]);
            }
        }
    }
    Ok(())
}

#[test]
fn without_a_floor_no_step_lowers_the_likelihood() -> Result<()> {
    let rows: Vec<f64> = rows(&data("pinwheel")?.rows(Split::Train, 0..600)?.x)?.concat();
    for full in [true, false] {
        let mut mixture = Mixture::start(&rows, 2, 7, full, 0.0, &mut Noise::new(1));
        let mut last = f64::NEG_INFINITY;
        for step in 0..40 {
            let (next, log_p) = mixture.improve(&rows, 0.0)?;
            assert!(log_p > last - 1e-12, "step {step}: {last} → {log_p}");
            (mixture, last) = (next, log_p);
        }
        assert!((mixture.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    Ok(())
}

/// Eight far clusters: D² sampling takes one centre from each, which uniform sampling does with probability 8!/8⁸ = 0.2 %.
#[test]
fn the_start_spreads_over_the_clusters() -> Result<()> {
    let data = data("gaussians8{sd=0.01}")?;
    let rows: Vec<f64> = rows(&data.rows(Split::Train, 0..800)?.x)?.concat();
    for seed in 0..5 {
        let start = Mixture::start(&rows, 2, 8, true, 0.0, &mut Noise::new(seed));
        let mut octants: Vec<i64> = start
            .means
            .chunks(2)
            .map(|m| (m[1].atan2(m[0]) / std::f64::consts::FRAC_PI_4).round() as i64 & 7)
            .collect();
        octants.sort_unstable();
        octants.dedup();
        assert_eq!(octants.len(), 8);
    }
    let model =
        trained(&gmm::ENTRY, data.as_ref(), &["model.components=8", "model.rows=800", "train.steps=10"])?;
    let x = draws(model.as_ref(), 500)?;
    let truth = data.truth().expect("an exact law").entropy().value.expect("an entropy");
    let nll = -log_p(model.as_ref(), &x)?.iter().sum::<f64>() / 500.0;
    // 47 fitted parameters cost 47/(2·800) nats; the entropy of 500 draws has an error of about 1/√500.
    assert!((nll - truth).abs() < 4.0 / 500f64.sqrt() + 0.03, "{nll} {truth}");
    Ok(())
}

#[test]
fn windows_are_a_double_loop_and_their_width_a_maximum() -> Result<()> {
    let data = data("moons")?;
    let model = trained(&kde::ENTRY, data.as_ref(), &["model.rows=400"])?;
    let train = rows(&data.rows(Split::Train, 0..400)?.x)?;
    let h = parameter(model.as_ref(), "bandwidth")?[0];
    let (mean, covariance) = moments(&train);
    let sd = [covariance[(0, 0)].sqrt(), covariance[(1, 1)].sqrt()];
    // Products of one-dimensional normals, in the scale of the data.
    let slow = |x: &[f64], centres: &[Vec<f64>], h: f64| {
        let one = |c: &Vec<f64>| {
            (0..2)
                .map(|j| (-0.5 * ((x[j] - c[j]) / (h * sd[j])).powi(2)).exp() / (h * sd[j]))
                .product::<f64>()
        };
        (centres.iter().map(one).sum::<f64>() / (std::f64::consts::TAU * centres.len() as f64)).ln()
    };
    let x = data.rows(Split::Test, 0..50)?.x;
    for (x, g) in rows(&x)?.iter().zip(log_p(model.as_ref(), &x)?) {
        assert!((g - slow(x, &train, h)).abs() < 1e-6, "{g} {}", slow(x, &train, h));
    }
    let held = |h: f64| train[360..].iter().map(|x| slow(x, &train[..360], h)).sum::<f64>();
    assert!(held(h) >= held(1.05 * h) && held(h) >= held(h / 1.05), "{h}");
    // Rows of a normal in one dimension: Silverman's 1.06 n^(−1/5) is the width that suits it, within the noise of 100 rows.
    let h = kde::bandwidth(&Noise::new(2).normals(1000), 1)?;
    assert!((0.1..0.6).contains(&h), "{h} against {}", 1.06 * 900f64.powf(-0.2));
    assert!(draws(model.as_ref(), 7)?.dims() == [7, 2] && mean.len() == 2);
    Ok(())
}

#[test]
fn a_memorizer_gives_back_rows_and_no_density() -> Result<()> {
    for name in ["glyphs{size=8}", "glyphs{size=8,space=binary_static}", "moons"] {
        let data = data(name)?;
        let model = trained(&memorizer::ENTRY, data.as_ref(), &["model.rows=60"])?;
        let seen = |x: &Tensor| -> Result<Vec<Vec<u32>>> {
            let byte = |v: f64| if name == "moons" { (v as f32).to_bits() } else { (256.0 * v) as u32 };
            Ok(rows(x)?.into_iter().map(|r| r.into_iter().map(byte).collect()).collect())
        };
        let train = seen(&data.rows(Split::Train, 0..60)?.x)?;
        let drawn = seen(&draws(model.as_ref(), 200)?)?;
        assert!(drawn.iter().all(|r| train.contains(r)), "{name}");
        assert!(train.iter().filter(|r| drawn.contains(r)).count() > 45, "200 draws reach most of 60 rows");
        assert!(
            model.densities().is_empty()
                && model.density("x", &genzoo_core::Table::new(), &mut Noise::new(0)).is_err()
        );
    }
    Ok(())
}
