use super::*;
use crate::sampling_free::tests::{Quartic, TwoModes, random, rests_at_the_truth};
use crate::support::{Check, Data, excess, mean, recipe, trained, vectors};
use candle_core::{Device, Var};
use genzoo_core::{DType, DataSpec, Dataset, Model, RowStream, Split};
use genzoo_testkit::{Tol, assert_close};

/// A contrast in f64 whose log Z is `value` (the base's for κ = ½ in one dimension is added back).
fn contrast(sets: &[&str], log_z: f64) -> std::result::Result<(Contrast, Var), Box<dyn std::error::Error>> {
    let spec = vectors(1);
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let method = Contrast::new(&recipe(&ENTRY, &spec, sets)?.model, &spec, &params)?;
    let (_, var) = params.entries().into_iter().next().ok_or("a log Z")?;
    var.set(&Tensor::new(&[log_z - method.log_z.of_base], &Device::Cpu)?)?;
    Ok((method, var))
}

/// At the truth, `U = ½u²/v` and `c = ½log 2πv`, the loss has slope zero in every parameter and for every ν; with
/// another normaliser it has not.
#[test]
fn the_minimum_is_the_normalised_density() -> Check {
    let v = 0.4f64;
    let truth = 0.5 * (std::f64::consts::TAU * v).ln();
    for (sets, off) in [
        (["model.ratio=1", "model.noise=base"], 0.0),
        (["model.ratio=5", "model.noise=base"], 0.0),
        (["model.ratio=5", "model.noise=base"], 0.2),
    ] {
        let (method, log_z) = contrast(&sets, truth + off)?;
        rests_at_the_truth(&method, &log_z, (v, 1), off)?;
    }
    Ok(())
}

/// The loss itself against its two integrals on a grid.
#[test]
fn the_loss_is_that_of_the_classifier() -> Check {
    let (data, nu, theta, c) = (TwoModes { variance: 0.3 }, 3f64, [0.7, 0.3, -0.2], 0.9);
    let (method, _) = contrast(&["model.ratio=3", "model.noise=base"], c)?;
    let mut losses = vec![];
    for k in 0..100 {
        let mut noise = Noise::new(8).at(k);
        let u = data.sample(200, &mut noise)?;
        losses.push(number(&method.loss(&Quartic::new(theta)?, &u, &mut noise)?.0)?);
    }
    // The noise is N(0, 1/κ) = N(0, 2).
    let q = |x: f64| (-0.25 * x * x).exp() / (2.0 * std::f64::consts::PI.sqrt());
    let odds = |x: f64| {
        let u = theta[0] * x * x / 2.0 + theta[1] * x.powi(4) / 4.0 + theta[2] * x;
        -u - c - q(x).ln() - nu.ln()
    };
    let minus_log_sigmoid = |g: f64| if g > 0.0 { (-g).exp().ln_1p() } else { -g + g.exp().ln_1p() };
    let on_noise: f64 = TwoModes::grid().map(|x| q(x) * minus_log_sigmoid(-odds(x))).sum();
    let want = data.expect(|x| minus_log_sigmoid(odds(x))) + nu * on_noise * TwoModes::STEP;
    let (got, error) = mean(&losses);
    assert_close(got, want, Tol::monte_carlo(error));
    Ok(())
}

/// The mixture's density integrates to one, and its draws have the mean of `|u|` that the density says.
#[test]
fn the_mixture_draws_what_its_density_says() -> Check {
    let spec = vectors(1);
    let mut model = random::<Contrast>(&ENTRY, &spec, &["model.noise=mixture"], 0.0)?;
    model.prepare(&mut RowStream::new(&Data(spec), Split::Train, 0), &mut Noise::new(1))?;
    let (step, n) = (0.01, 4001);
    let grid: Vec<f64> = (0..n).map(|i| (f64::from(i) - 2000.0) * step).collect();
    let u = Tensor::from_vec(grid.clone(), (n as usize, 1), &Device::Cpu)?;
    let density = rows::host(&model.method.log_noise(&u)?.exp()?)?;
    assert_close(density.iter().sum::<f64>() * step, 1.0, Tol::abs(1e-6));
    for power in [1, 2] {
        let want: f64 = grid.iter().zip(&density).map(|(x, p)| x.abs().powi(power) * p * step).sum();
        let drawn = rows::host(&model.method.draw(20_000, &u, &mut Noise::new(6))?)?;
        let (got, error) = mean(&drawn.iter().map(|x| x.abs().powi(power)).collect::<Vec<_>>());
        assert_close(got, want, Tol::monte_carlo(error));
    }
    Ok(())
}

/// What training learned of log Z is what a grid finds, and the state comes back.
#[test]
fn the_learned_log_z_is_that_of_the_grid() -> Check {
    let data = Data(vectors(1));
    let trainer = trained(&ENTRY, &data, &["train.batch=512", "train.lr=1e-2", "model.ratio=4"], 400)?;
    let by_grid = excess(trainer.model(), &data, "quadrature")?.0;
    let learned = excess(trainer.model(), &data, "learned")?.0;
    // The last of 400 noisy steps: a slope of ∂J/∂c ≈ ½ and 2,500 draws give c an error near 0.02.
    assert_close(learned, by_grid, Tol::abs(0.06));
    let saved = trainer.checkpoint("id")?;
    let mut again = trained(&ENTRY, &data, &["train.batch=512", "train.lr=1e-2", "model.ratio=4"], 0)?;
    again.restore(&saved)?;
    assert_close(excess(again.model(), &data, "learned")?.0, learned, Tol::EQUAL);
    let spec: &DataSpec = data.spec();
    let params = ParamStore::new(&Noise::new(5), DType::F32, &Device::Cpu);
    let mut method = Contrast::new(&recipe(&ENTRY, spec, &["model.centres=3"])?.model, spec, &params)?;
    assert!(method.set_state(&trainer.model().state()?).is_err());
    Ok(())
}
