use super::*;
use crate::sampling_free::tests::Quartic;
use crate::support::{Check, mean};
use candle_core::Device;
use genzoo_testkit::{Tol, assert_close};

const V: f64 = 0.6;

fn measured(a: f64, time: f64, neighbours: usize, n: usize, seed: u64) -> Result<Vec<f64>> {
    let loss = Discrepancy { time, neighbours, stabilisation: 0.0 };
    let mut noise = Noise::new(seed);
    let u = (noise.normal((n, 1), candle_core::DType::F64, &Device::Cpu)? * V.sqrt())?;
    rows::host(&loss.rows(&Quartic::new([a, 0.0, 0.0])?, &u, &mut noise)?)
}

/// For `U = ½au²` and data `N(0, v)`: `U_t(y) = ½log(1 + at) + ½ay²/(1 + at)`.
fn closed_form(a: f64, t: f64) -> f64 {
    0.5 * a * V - 0.5 * (a * t).ln_1p() - 0.5 * a * (V + t) / (1.0 + a * t)
}

#[test]
fn gaussians_have_their_closed_form() -> Check {
    for (a, t) in [(0.5, 0.3), (2.0, 1.0), (1.5, 4.0)] {
        let (got, error) = mean(&measured(a, t, 1000, 1000, 1)?);
        // A thousand neighbours understate E U_t by Var/(2M) < 0.005 here.
        assert_close(got, closed_form(a, t), Tol::abs(4.0 * error + 0.005));
    }
    Ok(())
}

/// ED/t → ½E U'² − E U'' = ½a²v − a, the loss of score matching.
#[test]
fn short_times_match_scores() -> Check {
    let (a, t) = (1.7, 0.01);
    let (got, error) = mean(&measured(a, t, 200, 8000, 2)?);
    let want = 0.5 * a * a * V - a;
    // The closed form is off its limit by O(t), and M = 200 adds U'²/(2M).
    assert_close(closed_form(a, t) / t, want, Tol::abs(0.03));
    assert!(error / t < 0.25, "{error}");
    assert_close(got / t, want, Tol::abs(4.0 * error / t + 0.03 + 0.01));
    Ok(())
}

/// Differences of ED tend to those of KL(p* ‖ p_a) = ½(av − 1 − log av).
#[test]
fn long_times_match_likelihoods() -> Check {
    let (t, a, b) = (100.0, 0.8, 2.0);
    // Both see the same noises, so that only the energies differ.
    let (one, two) = (measured(a, t, 4000, 400, 3)?, measured(b, t, 4000, 400, 3)?);
    let gaps: Vec<f64> = one.iter().zip(&two).map(|(x, y)| x - y).collect();
    let kl = |a: f64| 0.5 * (a * V - 1.0 - (a * V).ln());
    assert_close(closed_form(a, t) - closed_form(b, t), kl(a) - kl(b), Tol::abs(0.01));
    let (got, error) = mean(&gaps);
    assert_close(got, kl(a) - kl(b), Tol::abs(4.0 * error + 0.01));
    Ok(())
}

/// The row's own weight: `log(w/M + e^x)` where every neighbour has the same gap x, here 0 for a flat energy.
#[test]
fn stabilisation_adds_the_row_itself() -> Check {
    for (w, m) in [(0.0, 4), (1.0, 4), (2.5, 3)] {
        let loss = Discrepancy { time: 0.1, neighbours: m, stabilisation: w };
        let u = Tensor::zeros((2, 1), candle_core::DType::F64, &Device::Cpu)?;
        let got = loss.rows(&Quartic::new([0.0; 3])?, &u, &mut Noise::new(0))?;
        let want = (w / m as f64 + 1.0).ln();
        assert_close(&got, &[want, want][..], Tol::abs(1e-12));
    }
    Ok(())
}
