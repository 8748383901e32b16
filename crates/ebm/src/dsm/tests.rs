use super::*;
use crate::sampling_free::tests::{Quartic, TwoModes};
use crate::support::{Check, mean};
use candle_core::Device;
use genzoo_testkit::{Tol, assert_close};

fn pairs(rows: &Tensor) -> Result<Vec<f64>> {
    let values = rows::host(rows)?;
    let n = values.len() / 2;
    Ok((0..n).map(|i| 0.5 * (values[i] + values[n + i])).collect())
}

/// For `U = ½au²` and data `N(0, v)` the loss is a parabola in a with its minimum at the precision of the noised data,
/// `1/(v + σ²)`: three values at the same noises give its vertex.
#[test]
fn the_minimiser_is_the_score_of_the_noised_gaussian() -> Check {
    let (n, v) = (20_000, 0.5);
    let u = (Noise::new(1).normal((n, 1), candle_core::DType::F64, &Device::Cpu)? * f64::sqrt(v))?;
    for sigma in [0.05, 0.4] {
        let loss = Denoising { sigma };
        let at = |a: f64| -> Result<Vec<f64>> {
            pairs(&loss.rows(&Quartic::new([a, 0.0, 0.0])?, &u, &mut Noise::new(2))?)
        };
        let (zero, one, two) = (at(0.0)?, at(1.0)?, at(2.0)?);
        // J(a) = J₀ + pa + qa², row by row.
        let q: Vec<f64> = (0..n).map(|i| 0.5 * (two[i] - 2.0 * one[i] + zero[i])).collect();
        let p: Vec<f64> = (0..n).map(|i| one[i] - zero[i] - q[i]).collect();
        let vertex = -0.5 * mean(&p).0 / mean(&q).0;
        let slopes: Vec<f64> = (0..n).map(|i| p[i] + 2.0 * vertex * q[i]).collect();
        let error = mean(&slopes).1 / (2.0 * mean(&q).0);
        assert_close(vertex, 1.0 / (v + sigma * sigma), Tol::monte_carlo(error));
    }
    Ok(())
}

/// Differences of the loss are `σ²` times differences of the Fisher divergence from the noised data.
#[test]
fn the_loss_is_the_fisher_divergence_from_noised_data() -> Check {
    let (data, sigma) = (TwoModes { variance: 0.3 }, 0.5);
    let noised = TwoModes { variance: 0.3 + sigma * sigma };
    let thetas = [[0.7, 0.3, -0.2], [1.3, 0.0, 0.4]];
    let u = data.sample(20_000, &mut Noise::new(3))?;
    let rows = |theta| -> Result<Vec<f64>> {
        pairs(&Denoising { sigma }.rows(&Quartic::new(theta)?, &u, &mut Noise::new(4))?)
    };
    let gaps: Vec<f64> = rows(thetas[0])?.iter().zip(rows(thetas[1])?).map(|(a, b)| a - b).collect();
    let fisher = |[a, b, c]: [f64; 3]| {
        0.5 * sigma * sigma * noised.expect(|x| (a * x + b * x.powi(3) + c + noised.score(x)).powi(2))
    };
    let (got, error) = mean(&gaps);
    assert_close(got, fisher(thetas[0]) - fisher(thetas[1]), Tol::monte_carlo(error));
    Ok(())
}

/// Both noises of a row together: the variance of the gradient stays bounded relative to its signal as σ falls.
#[test]
fn opposite_noises_cancel_what_carries_no_signal() -> Check {
    let u = (Noise::new(1).normal((4000, 1), candle_core::DType::F64, &Device::Cpu)? * 0.7)?;
    let energy = Quartic::new([1.5, 0.0, 0.0])?;
    let spread = |sigma: f64| -> Result<f64> {
        let with = pairs(&Denoising { sigma }.rows(&energy, &u, &mut Noise::new(2))?)?;
        let without = pairs(&Denoising { sigma }.rows(&Quartic::new([0.0; 3])?, &u, &mut Noise::new(2))?)?;
        let gaps: Vec<f64> = with.iter().zip(without).map(|(a, b)| (a - b) / (sigma * sigma)).collect();
        Ok(mean(&gaps).1)
    };
    // Without cancellation the standard error would grow as 1/σ: tenfold here.
    assert!(spread(0.01)? < 1.2 * spread(0.1)?);
    Ok(())
}
