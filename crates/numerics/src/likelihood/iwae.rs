//! The importance-weighted bound on the evidence of a latent-variable model.
//!
//! ```text
//! L_k(x) = E log (1/k) Σ_i w_i,   w_i = p(x|z_i) p(z_i) / q(z_i|x),   z_i ~ q(z|x),   p(z) = N(0, I)
//! ELBO = L_1 ≤ L_k ≤ L_{k+1} ≤ log p(x)
//! ```
//!
//! Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, Eq. 8–9.

use candle_core::{DType, Tensor};
use genzoo_core::capability::{Decoder, Encoder};
use genzoo_core::{Error, LogProb, Noise, Result, math};

use crate::rows;
use crate::special::{Moments, effective_sample_size, log_mean_exp};

/// How many importance samples, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct ImportanceBound {
    /// Samples k per example; 1 gives the evidence lower bound.
    pub samples: usize,
    /// Most rows (examples × samples) that enter the networks at once; fewer where rows are large.
    pub rows_at_once: usize,
}

/// Most numbers of tiled data that enter the networks at once: 32 MB in `f64`.
const NUMBERS: usize = 1 << 22;

/// The bound of each example, in `f64` nats.
#[derive(Clone, Debug)]
pub struct ImportanceEstimate {
    /// `log (1/k) Σ w_i`, `(b,)`.
    pub values: Tensor,
    /// The mean of `log w_i` over the same samples, `(b,)`: the ELBO.
    pub elbo: Tensor,
    /// Effective sample size of the weights of each example, between 1 and k.
    pub effective_samples: Vec<f64>,
}

impl ImportanceEstimate {
    /// The bound as the contract's type; rows share no error.
    pub fn into_log_prob(self) -> LogProb {
        LogProb { values: self.values, shared_error: 0.0 }
    }
}

impl ImportanceBound {
    /// `samples` importance samples, at most 16,384 rows at once.
    pub fn new(samples: usize) -> Self {
        Self { samples, rows_at_once: 16_384 }
    }

    /// The bound for every row of `x`, `(b, event…)`. Memory is bounded by `rows_at_once` and the size of a row, not
    /// by b·k.
    ///
    /// # Errors
    /// If `samples` is 0, or encoder or decoder fail.
    pub fn estimate(
        &self,
        encoder: &dyn Encoder,
        decoder: &dyn Decoder,
        x: &Tensor,
        noise: &mut Noise,
    ) -> Result<ImportanceEstimate> {
        if self.samples == 0 {
            return Err(Error::config("importance_samples", "at least 1", 0));
        }
        let size = x.elem_count() / x.dim(0)?.max(1);
        let rows_at_once = self.rows_at_once.min(NUMBERS / size.max(1)).max(1);
        let at_once = self.samples.min(rows_at_once);
        let (mut values, mut elbo, mut effective) = (vec![], vec![], vec![]);
        for (start, b) in rows::pieces(x.dim(0)?, rows_at_once / at_once) {
            let piece = x.narrow(0, start, b)?.contiguous()?;
            let mut logs = vec![Vec::with_capacity(self.samples); b];
            for (_, k) in rows::pieces(self.samples, at_once) {
                let log_w = log_weights(encoder, decoder, &rows::tile(&piece, k)?, noise)?;
                for (i, w) in log_w.into_iter().enumerate() {
                    logs[i % b].push(w);
                }
            }
            for logs in logs {
                values.push(log_mean_exp(&logs));
                elbo.push(Moments::of(&logs).mean());
                effective.push(effective_sample_size(&logs));
            }
        }
        let device = x.device();
        Ok(ImportanceEstimate {
            values: rows::tensor(values, device)?,
            elbo: rows::tensor(elbo, device)?,
            effective_samples: effective,
        })
    }
}

/// `log p(x|z) + log p(z) − log q(z|x)` with one fresh z per row.
fn log_weights(
    encoder: &dyn Encoder,
    decoder: &dyn Decoder,
    x: &Tensor,
    noise: &mut Noise,
) -> Result<Vec<f64>> {
    let (z, log_q) = encoder.sample_and_log_q(x, noise)?;
    let log_likelihood = decoder.log_likelihood(x, &z)?;
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    let joint = (wide(&log_likelihood)? + math::log_standard_normal(&wide(&z)?)?)?;
    let log_w = rows::host(&(joint - wide(&log_q)?)?)?;
    // A code that no number holds, of a row far from all data, has no prior probability: its weight is 0.
    let squares = rows::host(&wide(&z)?.flatten_from(1)?.sqr()?.sum(1)?)?;
    let weight = |(w, s): (f64, f64)| if s.is_finite() { w } else { f64::NEG_INFINITY };
    Ok(log_w.into_iter().zip(squares).map(weight).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const SLOPE: f64 = 1.5;
    const NOISE: f64 = 0.8; // standard deviation of x given z

    /// z ~ N(0, 1), x | z ~ N(SLOPE z, NOISE²): x ~ N(0, SLOPE² + NOISE²).
    struct Linear;

    impl Decoder for Linear {
        fn latent_dim(&self) -> usize {
            1
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            Ok((z * SLOPE)?)
        }
        fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
            let square = ((x - (z * SLOPE)?)? / NOISE)?.sqr()?.sum(1)?;
            Ok(square.affine(-0.5, -NOISE.ln() - 0.5 * std::f64::consts::TAU.ln())?)
        }
        fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
            let gradient = ((x - (z * SLOPE)?)? * (SLOPE / NOISE / NOISE))?;
            Ok((self.log_likelihood(x, z)?, gradient))
        }
    }

    /// q(z|x) = N(gain x, sd²).
    struct Guess {
        gain: f64,
        sd: f64,
    }

    impl Encoder for Guess {
        fn sample_and_log_q(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
            let xi = noise.normal_like(x)?;
            let log_q = xi.sqr()?.sum(1)?.affine(-0.5, -self.sd.ln() - 0.5 * std::f64::consts::TAU.ln())?;
            Ok((((x * self.gain)? + (xi * self.sd)?)?, log_q))
        }
    }

    fn posterior() -> Guess {
        let total = SLOPE * SLOPE + NOISE * NOISE;
        Guess { gain: SLOPE / total, sd: NOISE / total.sqrt() }
    }

    fn evidence(x: f64) -> f64 {
        let total = SLOPE * SLOPE + NOISE * NOISE;
        -0.5 * x * x / total - 0.5 * (std::f64::consts::TAU * total).ln()
    }

    fn data(n: usize) -> Result<Tensor> {
        Noise::new(3).normal((n, 1), DType::F64, &Device::Cpu)
    }

    #[test]
    fn every_bound_is_the_evidence_when_q_is_the_posterior() -> Result<()> {
        let x = data(5)?;
        for k in [1, 10] {
            let got = ImportanceBound::new(k).estimate(&posterior(), &Linear, &x, &mut Noise::new(0))?;
            let pairs = rows::host(&got.values)?.into_iter().zip(rows::host(&got.elbo)?);
            for ((value, elbo), x) in pairs.zip(rows::host(&x)?) {
                assert!((value - evidence(x)).abs() < 1e-12 && (elbo - evidence(x)).abs() < 1e-12);
            }
            assert!(got.effective_samples.iter().all(|n| (n - k as f64).abs() < 1e-9));
        }
        Ok(())
    }

    /// With a wrong q the bounds rise with k toward the evidence, and the ELBO lies KL(q‖p(z|x)) below it.
    #[test]
    fn bounds_rise_with_k_toward_the_evidence() -> Result<()> {
        let right = posterior();
        let wrong = Guess { gain: right.gain * 0.7, sd: right.sd * 1.4 };
        let x = data(2_000)?;
        let hosts = rows::host(&x)?;
        let mut last = (f64::NEG_INFINITY, 0.0);
        for k in [1, 4, 16, 64, 256] {
            let got = ImportanceBound::new(k).estimate(&wrong, &Linear, &x, &mut Noise::new(1))?;
            let gaps: Vec<f64> =
                rows::host(&got.values)?.iter().zip(&hosts).map(|(v, x)| v - evidence(*x)).collect();
            let gap = Moments::of(&gaps);
            assert!(gap.mean() < 4.0 * gap.standard_error(), "k = {k} exceeds the evidence");
            assert!(gap.mean() > last.0 - 4.0 * gap.standard_error().hypot(last.1), "k = {k} falls");
            last = (gap.mean(), gap.standard_error());
            if k == 1 {
                let kl = |x: &f64| {
                    let shift = (wrong.gain - right.gain) * x / right.sd;
                    let ratio = wrong.sd / right.sd;
                    0.5 * (ratio * ratio + shift * shift - 1.0) - ratio.ln()
                };
                let expected = -hosts.iter().map(kl).sum::<f64>() / hosts.len() as f64;
                assert!(
                    (gap.mean() - expected).abs() < 4.0 * gap.standard_error(),
                    "{} {expected}",
                    gap.mean()
                );
                assert!(expected < -0.05);
            }
        }
        assert!(last.0 > -0.01, "{}", last.0);
        // Thousands of samples of few rows, in pieces: the evidence, to the error that the delta method gives them.
        let few = x.narrow(0, 0, 5)?;
        let bound = ImportanceBound { samples: 5_000, rows_at_once: 3_000 };
        let got = bound.estimate(&wrong, &Linear, &few, &mut Noise::new(2))?;
        for ((value, x), ess) in rows::host(&got.values)?.iter().zip(&hosts).zip(&got.effective_samples) {
            assert!((value - evidence(*x)).abs() < 4.0 * (1.0 / ess).sqrt(), "{value} {}", evidence(*x));
            assert!((500.0..5_000.0).contains(ess), "{ess}");
        }
        Ok(())
    }

    /// Codes beyond the range of `f32` leave a bound of −∞, for their row alone.
    #[test]
    fn codes_that_no_number_holds_have_no_weight() -> Result<()> {
        struct Far;
        impl Encoder for Far {
            fn sample_and_log_q(&self, x: &Tensor, _: &mut Noise) -> Result<(Tensor, Tensor)> {
                let z = (x * 1e10)?;
                Ok((z.clone(), (&z - &z)?.squeeze(1)?))
            }
        }
        let x = Tensor::new(&[[0.5f32], [1e30]], &Device::Cpu)?;
        let got = ImportanceBound::new(4).estimate(&Far, &Linear, &x, &mut Noise::new(0))?;
        let values = rows::host(&got.values)?;
        assert!(values[0].is_finite() && values[1] == f64::NEG_INFINITY, "{values:?}");
        Ok(())
    }

    #[test]
    fn pieces_keep_every_example_with_its_own_weights() -> Result<()> {
        let x = data(7)?;
        for rows_at_once in [1, 3, 10, 1000] {
            let bound = ImportanceBound { samples: 5, rows_at_once };
            let got = bound.estimate(&posterior(), &Linear, &x, &mut Noise::new(0))?;
            for (value, x) in rows::host(&got.values)?.iter().zip(rows::host(&x)?) {
                assert!((value - evidence(x)).abs() < 1e-12);
            }
        }
        assert!(ImportanceBound::new(0).estimate(&posterior(), &Linear, &x, &mut Noise::new(0)).is_err());
        Ok(())
    }
}
