//! Nats and bits per dimension, for images of 8-bit values, through dequantisation and logit scaling.
//!
//! A stream of dequantised images gives x̃ = (k + u)/256 in [0, 1]^D, and the density of k + u is that of x̃ over
//! 256^D, hence the 8 bits:
//!
//! ```text
//! bits_per_dim = −log p(x̃) / (D ln 2) + 8        (continuous density of x̃)
//! bits_per_dim = −log P(k) / (D ln 2)            (discrete probability of the levels)
//! log p(x̃) = log p(y) + Σ log(1 − 2α) − log v − log(1 − v)    (density of y = logit v, v = α + (1 − 2α) x̃)
//! ```
//!
//! Uniform dequantisation bounds the discrete likelihood, and the more draws the tighter:
//!
//! ```text
//! log P(k) = log ∫_{[0,1]^D} p((k + u)/256) du − D log 256  ≥  E log (1/m) Σ_{j ≤ m} p((k + u_j)/256) − D log 256
//! ```
//!
//! Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, §3.1; Papamakarios, Pavlakou & Murray (2017),
//! arXiv:1705.07057, appendix E.2 (logit); Hoogeboom, Cohen & Tomczak (2020), arXiv:2001.11235, §3 (m draws).

use std::f64::consts::LN_2;

use candle_core::{DType, Tensor};
use genzoo_core::{Error, Noise, Result};

use crate::rows;
use crate::special::{log_mean_exp, softplus};

/// Levels of a byte.
const LEVELS: f64 = 256.0;

/// Bits per dimension of a continuous log-density at x̃ in [0, 1]^D, from nats per example.
pub fn from_density(log_density: f64, dimensions: usize) -> f64 {
    -log_density / (dimensions as f64 * LN_2) + 8.0
}

/// The log-density in nats per example, from bits per dimension.
pub fn to_density(bits_per_dim: f64, dimensions: usize) -> f64 {
    (8.0 - bits_per_dim) * dimensions as f64 * LN_2
}

/// Bits per dimension of a discrete log-probability, from nats per example.
pub fn from_probability(log_probability: f64, dimensions: usize) -> f64 {
    -log_probability / (dimensions as f64 * LN_2)
}

/// The discrete log-probability in nats per example, from bits per dimension.
pub fn to_probability(bits_per_dim: f64, dimensions: usize) -> f64 {
    -bits_per_dim * dimensions as f64 * LN_2
}

/// `log p(x̃) − log p(y)` of one example whose logits are `y`: what the logit scaling adds to a log-density, in nats.
///
/// With v = 1/(1 + e^{−y}), −log v = softplus(−y) and −log(1 − v) = softplus(y), so black and white stay exact.
pub fn logit_ladj(logits: &[f64], alpha: f64) -> f64 {
    let each = (-2.0 * alpha).ln_1p();
    logits.iter().map(|y| each + softplus(*y) + softplus(-y)).sum()
}

/// Bits per dimension of a log-density of the logits `y` of one example, from nats: what papers that report logit space
/// have to be turned into before they are compared.
pub fn from_logit_density(log_density: f64, logits: &[f64], alpha: f64) -> f64 {
    from_density(log_density + logit_ladj(logits, alpha), logits.len())
}

/// The bound on `log P(k)` of every row of `levels`, `(b, event…)` whole numbers from 0 to 255, in nats, from `draws`
/// uniform dequantisations each. `log_density` takes x̃ in the dtype of `levels` and gives log p(x̃) row by row.
///
/// # Errors
/// If `draws` is 0, a level is no byte, or `log_density` fails.
pub fn dequantisation_bound(
    log_density: &mut dyn FnMut(&Tensor) -> Result<Vec<f64>>,
    levels: &Tensor,
    draws: usize,
    noise: &mut Noise,
) -> Result<Vec<f64>> {
    if draws == 0 {
        return Err(Error::config("draws", "at least 1", 0));
    }
    if let Some(bad) = rows::host(levels)?.iter().find(|k| !(0.0..LEVELS).contains(*k) || k.fract() != 0.0) {
        return Err(Error::data("levels of pixels", "whole numbers from 0 to 255", bad));
    }
    let b = levels.dim(0)?;
    let d = (levels.elem_count() / b.max(1)) as f64;
    let mut logs = vec![Vec::with_capacity(draws); b];
    for _ in 0..draws {
        let u = noise.uniform(levels.shape(), DType::F64, levels.device())?;
        let x = ((levels.to_dtype(DType::F64)? + u)? / LEVELS)?.to_dtype(levels.dtype())?;
        let values = log_density(&x)?;
        if values.len() != b {
            return Err(Error::data("log-densities", format!("{b} values"), values.len()));
        }
        logs.iter_mut().zip(values).for_each(|(logs, value)| logs.push(value));
    }
    Ok(logs.iter().map(|logs| log_mean_exp(logs) - d * LEVELS.ln()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use candle_core::Device;

    #[test]
    fn the_uniform_density_costs_eight_bits_either_way() {
        let d = 784;
        assert_eq!(from_density(0.0, d), 8.0);
        assert!((from_probability(-(d as f64) * 256f64.ln(), d) - 8.0).abs() < 1e-12);
        assert!((to_density(from_density(-123.4, d), d) + 123.4).abs() < 1e-9);
        assert!((to_probability(from_probability(-123.4, d), d) + 123.4).abs() < 1e-9);
    }

    /// A density that is constant on each cell has the discrete probability density/256 per cell.
    #[test]
    fn a_piecewise_constant_density_is_its_histogram() {
        let levels = [0.5f64, 0.25, 0.25];
        for p in levels {
            let density: f64 = p * 256.0;
            assert!((from_density(density.ln(), 1) - from_probability(p.ln(), 1)).abs() < 1e-12);
        }
    }

    /// The uniform law of x̃, seen in logit space by the change of variables typed out, costs 8 bits again.
    #[test]
    fn the_logit_of_a_uniform_costs_eight_bits() {
        let alpha = 1e-6;
        let x: [f64; 5] = [0.0, 0.003, 0.4, 0.99, 1.0];
        let logits = x.map(|x| {
            let v = alpha + (1.0 - 2.0 * alpha) * x;
            (v / (1.0 - v)).ln()
        });
        // p(y) = dx̃/dy = v (1 − v)/(1 − 2α).
        let log_density = |y: &f64| {
            let v = 1.0 / (1.0 + (-y).exp());
            (v * (1.0 - v) / (1.0 - 2.0 * alpha)).ln()
        };
        let total: f64 = logits.iter().map(log_density).sum();
        assert!((from_logit_density(total, &logits, alpha) - 8.0).abs() < 1e-9);
        assert!((logit_ladj(&logits, alpha) + total).abs() < 1e-8);
    }

    /// p(x̃) = 2 x̃: P(k) = (2k + 1)/256². The bound is below it and rises with the draws; at a constant density one
    /// draw is exact.
    #[test]
    fn more_draws_tighten_the_bound() -> Result<()> {
        let n = 20_000;
        let levels = Tensor::zeros((n, 1), DType::F64, &Device::Cpu)?;
        let mut slope = |x: &Tensor| Ok(rows::host(x)?.iter().map(|x| (2.0 * x).ln()).collect());
        let truth = (1.0f64 / 65_536.0).ln();
        let mut last = f64::NEG_INFINITY;
        for draws in [1, 2, 8, 64] {
            let got = dequantisation_bound(&mut slope, &levels, draws, &mut Noise::new(draws as u64))?;
            let gap = Moments::of(&got.iter().map(|v| v - truth).collect::<Vec<_>>());
            let error = 4.0 * gap.standard_error();
            assert!(gap.mean() < error && gap.mean() > last, "{draws}: {gap:?}");
            if draws == 1 {
                // E log 2u = log 2 − 1.
                assert!((gap.mean() - (LN_2 - 1.0)).abs() < error, "{gap:?}");
            }
            last = gap.mean();
        }
        assert!(last > -0.005, "{last}");
        let mut flat = |x: &Tensor| Ok(vec![0.5; x.dim(0)?]);
        let k = Tensor::new(&[[0f32, 255.0], [7.0, 128.0]], &Device::Cpu)?;
        let got = dequantisation_bound(&mut flat, &k, 1, &mut Noise::new(0))?;
        assert!(got.iter().all(|v| (v - 0.5 + 2.0 * 256f64.ln()).abs() < 1e-12), "{got:?}");
        assert!(dequantisation_bound(&mut flat, &k, 0, &mut Noise::new(0)).is_err());
        assert!(dequantisation_bound(&mut flat, &(k + 0.5)?, 1, &mut Noise::new(0)).is_err());
        Ok(())
    }
}
