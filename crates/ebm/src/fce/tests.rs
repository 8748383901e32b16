use super::*;
use crate::sampling_free::tests::{Quartic, random, rests_at_the_truth};
use crate::support::{Check, Data, built, descends, mean, recipe, refused, trained, vectors};
use candle_core::{DType, Device};
use genzoo_core::Dataset;
use genzoo_core::{Batch, Split};
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};

/// A contrast in f64 on the plane whose log Z is `log_z` and whose flow, unless `bent`, is the identity; its parameters.
fn contrast(
    sets: &[&str],
    log_z: f64,
    bent: bool,
) -> std::result::Result<(FlowContrast, ParamStore), Box<dyn std::error::Error>> {
    let spec = vectors(2);
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let method = FlowContrast::new(&recipe(&ENTRY, &spec, sets)?.model, &spec, &params)?;
    for (i, (name, var)) in params.entries().into_iter().enumerate() {
        if name.ends_with("log_z") {
            var.set(&Tensor::new(&[(log_z - method.log_z.of_base) / 2.0], &Device::Cpu)?)?;
        } else if bent {
            let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
            var.set(&(var.as_detached_tensor() + (change * 0.2)?)?)?;
        }
    }
    Ok((method, params))
}

/// Draws of `N(0, v I)`.
fn normal(n: usize, v: f64, noise: &mut Noise) -> Result<Tensor> {
    Ok((noise.normal((n, 2), DType::F64, &Device::Cpu)? * v.sqrt())?)
}

/// At the truth the slope is zero in every parameter of the energy and in log Z, whatever the flow and for every ν; with
/// another normaliser it is not.
#[test]
fn the_minimum_is_the_normalised_density_for_any_flow() -> Check {
    let v = 0.4f64;
    let truth = (std::f64::consts::TAU * v).ln();
    for (ratio, bent, off) in [(1, false, 0.0), (1, true, 0.0), (4, true, 0.0), (4, true, 0.2)] {
        let (method, params) = contrast(&[&format!("model.ratio={ratio}")], truth + off, bent)?;
        let (_, log_z) = params.of_group("main").into_iter().next().ok_or("a log Z")?;
        rests_at_the_truth(&method, &log_z, (v, 2), off)?;
    }
    Ok(())
}

/// V against its two integrals on a grid, where the flow is the identity and so q a standard normal.
#[test]
fn the_value_is_that_of_the_classifier() -> Check {
    let (v, nu, theta, c) = (0.5, 3.0f64, [0.9, 0.2, 0.1], 1.4);
    let (method, _) = contrast(&["model.ratio=3"], c, false)?;
    let mut losses = vec![];
    for k in 0..200 {
        let mut noise = Noise::new(8).at(k);
        let u = normal(200, v, &mut noise)?;
        losses.push(number(&method.loss(&Quartic::new(theta)?, &u, &mut noise)?.0)?);
    }
    let log_normal = |s: f64, v: f64| -0.5 * s / v - (std::f64::consts::TAU * v).ln();
    let of_one = |x: f64| theta[0] * x * x / 2.0 + theta[1] * x.powi(4) / 4.0 + theta[2] * x;
    let minus_log_sigmoid = |g: f64| if g > 0.0 { (-g).exp().ln_1p() } else { -g + g.exp().ln_1p() };
    let (mut want, step) = (0.0, 0.05);
    for i in -160..=160 {
        for j in -160..=160 {
            let (x, y) = (f64::from(i) * step, f64::from(j) * step);
            let (s, q) = (x * x + y * y, log_normal(x * x + y * y, 1.0));
            let odds = -of_one(x) - of_one(y) - c - q - nu.ln();
            want += log_normal(s, v).exp() * minus_log_sigmoid(odds) * step * step;
            want += nu * q.exp() * minus_log_sigmoid(-odds) * step * step;
        }
    }
    let (got, error) = mean(&losses);
    assert_close(got, want, Tol::monte_carlo(error));
    Ok(())
}

/// The flow's gradient is the slope of its loss along a random direction of its weights, draws held fixed; so the noises
/// move with the flow.
#[test]
fn the_flow_descends_the_value() -> Check {
    for set in ["model.noise_loss=contrast", "model.noise_loss=likelihood"] {
        let model = random::<FlowContrast>(&ENTRY, &vectors(2), &[set], 0.2)?;
        let u = normal(40, 0.7, &mut Noise::new(3))?;
        let loss = || model.method.own_loss(&model.energy.landscape(), &u, &mut Noise::new(9)).map(|l| l.0);
        descends(&model.energy.params().of_group("noise"), loss)?;
    }
    Ok(())
}

/// Where data, model and flow agree, the contrast moves the flow nowhere; where data lie elsewhere, it does.
#[test]
fn the_flow_rests_at_the_data() -> Check {
    let log_z = std::f64::consts::TAU.ln();
    for (shift, rests) in [(0.0, true), (0.5, false)] {
        let (method, params) = contrast(&[], log_z, false)?;
        // U = ½u²: with this c the model is the standard normal, and so is the flow.
        let energy = Quartic::new([1.0, 0.0, 0.0])?;
        let (_, last) = params
            .of_group("noise")
            .into_iter()
            .find(|(name, var)| name.ends_with("bias") && var.dims() == [2])
            .ok_or("the last bias of a coupling")?;
        let mut slopes = vec![vec![]; 2];
        for k in 0..200 {
            let mut noise = Noise::new(4).at(k);
            let u = (normal(100, 1.0, &mut noise)? + shift)?;
            let value = method.minus_value(&energy, &method.flow, &u, &mut noise)?.neg()?;
            let grads = value.backward()?;
            let row = rows::host(grads.get(last.as_tensor()).ok_or("no gradient")?)?;
            slopes.iter_mut().zip(row).for_each(|(s, g)| s.push(g));
        }
        let (got, error) = mean(&slopes[1]); // of the shift t
        if rests {
            assert_close(got, 0.0, Tol::monte_carlo(error));
        } else {
            assert!(got.abs() > 10.0 * error, "{got} ± {error}");
        }
    }
    Ok(())
}

/// Training on two far modes: the learned log Z is that of the grid, and the density comes near the truth's.
#[test]
fn two_modes_are_learned_with_their_log_z() -> Check {
    let data = Data(vectors(2));
    for noise_loss in ["contrast", "likelihood"] {
        let sets = [
            "train.batch=256",
            "train.lr=1e-2",
            "model.hidden=32",
            &format!("model.noise_loss={noise_loss}"),
        ];
        let trainer = trained(&ENTRY, &data, &sets, 400)?;
        let batch: Batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
        let truth = |row: &[f64]| {
            let one = |m: f64| -0.5 * ((row[0] - m).powi(2) + row[1].powi(2)) / 0.49;
            let (a, b) = (one(2.0), one(-2.0));
            a.max(b) + (0.5 + 0.5 * (-(a - b).abs()).exp()).ln() - (std::f64::consts::TAU * 0.49).ln()
        };
        let x = batch.x.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let mut gaps = vec![];
        for name in ["quadrature", "learned"] {
            let model = trainer.model();
            let info = model.densities().iter().find(|d| d.name == name).ok_or("a density")?;
            let density = model.density(name, &(info.defaults)(), &mut Noise::new(0))?;
            let log_p = rows::host(&density.log_prob(&batch, &mut Noise::new(0))?.values)?;
            gaps.push(mean(&x.iter().zip(&log_p).map(|(x, l)| truth(x) - l).collect::<Vec<_>>()));
        }
        let (gap, error) = gaps[0];
        assert!(gap < 0.05 && gap > -4.0 * error, "{noise_loss}: {gap} ± {error}");
        // The last of 400 noisy steps of c, as in `nce`.
        assert_close(gaps[1].0, gap, Tol::abs(0.06));
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let settings = [
        ("model.ratio=0", "model.ratio"),
        ("model.couplings=0", "model.couplings"),
        ("model.noise_hidden=0", "model.noise_hidden"),
        ("model.bound=0.0", "model.bound"),
        ("model.noise_loss=none", "`contrast` or `likelihood`"),
    ];
    refused(&ENTRY, &vectors(2), &settings)?;
    assert!(built(&ENTRY, &vectors(1), &[]).is_err());
    Ok(())
}
