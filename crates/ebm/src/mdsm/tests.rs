use super::*;
use crate::sampling_free::tests::random;
use crate::support::{Check, Data, excess, mean, trained, vectors};
use candle_core::Device;
use genzoo_core::DType;
use genzoo_testkit::{Tol, assert_close};

/// Row by row the gradient is that of the energy at the row's own scale.
#[test]
fn every_scale_has_its_own_energy() -> Check {
    let model = random::<MultiScale>(&ENTRY, &vectors(3), &[], 0.3)?;
    let u = Noise::new(1).normal((4, 3), DType::F64, &Device::Cpu)?;
    let sigma = [0.05, 0.3, 1.0, 2.0];
    let together = model.method.gradient(&u, &sigma)?;
    for (i, s) in sigma.into_iter().enumerate() {
        let landscape = Landscape {
            network: model.method.network_at(s),
            scaling: model.energy.coordinates().scaling().clone(),
            confinement: model.method.confinement(s),
        };
        let (_, gradient) = landscape.energy_and_gradient(&u)?;
        assert_close(&together.get(i)?, &gradient.get(i)?, Tol::abs(1e-12));
        let (v, h) = (Noise::new(2).normal_like(&u)?, 1e-5);
        let up = landscape.energy(&(&u + (&v * h)?)?)?;
        let down = landscape.energy(&(&u - (&v * h)?)?)?;
        let slope = ((up - down)? / (2.0 * h))?;
        assert_close(&slope, &(gradient * v)?.sum(1)?, Tol { abs: 1e-7, rel: 1e-6 });
    }
    // The model itself is the narrowest scale.
    let own = model.energy.landscape().energy(&u)?;
    let narrow = Landscape {
        network: model.method.network_at(0.05),
        scaling: model.energy.coordinates().scaling().clone(),
        confinement: 0.5,
    };
    assert_close(&own, &narrow.energy(&u)?, Tol::rel(1e-12));
    Ok(())
}

/// A network that is 0 leaves `U_σ = ½‖ũ‖²/v_σ`, `v_σ = 1/κ + σ² − σ₀²`. For data `N(0, 1/κ − σ₀²)` that is the truth at
/// every scale, and the loss is what no energy could explain: `½D (1 − σ²/v_σ)`.
#[test]
fn the_base_is_the_truth_for_its_own_data() -> Check {
    let model = random::<MultiScale>(&ENTRY, &vectors(2), &[], 0.0)?;
    let u = (Noise::new(1).normal((20_000, 2), DType::F64, &Device::Cpu)? * (2f64 - 0.05 * 0.05).sqrt())?;
    for sigma in [0.1, 1.0, 2.0] {
        let rows = rows::host(&model.method.rows(&u, &vec![sigma; 20_000], &mut Noise::new(2))?)?;
        let pairs: Vec<f64> = (0..20_000).map(|i| 0.5 * (rows[i] + rows[20_000 + i])).collect();
        let (got, error) = mean(&pairs);
        let variance = 2.0 + sigma * sigma - 0.05 * 0.05;
        assert_close(got, 1.0 - sigma * sigma / variance, Tol::monte_carlo(error));
    }
    Ok(())
}

/// Draws along the scales have the moments of the data, in proportion of the modes, too.
#[test]
fn annealed_chains_reach_both_modes() -> Check {
    let data = Data(vectors(2));
    let trainer = trained(&ENTRY, &data, &["train.batch=256", "train.lr=1e-2"], 400)?;
    let model = trainer.model();
    for (levels, steps) in [(12, 8), (3, 4)] {
        let options = toml! { levels = 12 steps = 8 };
        let mut options = options;
        options.insert("levels".into(), i64::from(levels).into());
        options.insert("steps".into(), i64::from(steps).into());
        let drawn =
            model.sampler("annealed-langevin", &options)?.sample(&Draw::n(2000), &mut Noise::new(3))?;
        assert_eq!(drawn.evaluations, (levels * (steps + 1)) as u64);
        if levels == 12 {
            let x = rows::host(&drawn.x)?;
            let right: Vec<f64> = x.chunks(2).map(|r| f64::from(u8::from(r[0] > 0.0))).collect();
            let height: Vec<f64> = x.chunks(2).map(|r| r[1] * r[1]).collect();
            // Halves around ±2 and a variance of 0.49, learned in 400 steps.
            assert_close(mean(&right).0, 0.5, Tol::abs(0.08));
            assert_close(mean(&height).0, 0.49, Tol::abs(0.08));
        }
    }
    let line = Data(vectors(1));
    let trainer = trained(&ENTRY, &line, &["train.batch=256", "train.lr=1e-2"], 400)?;
    let (gap, error) = excess(trainer.model(), &line, "quadrature")?;
    assert!(gap < 0.03 && gap > -4.0 * error, "{gap} ± {error}");
    Ok(())
}
