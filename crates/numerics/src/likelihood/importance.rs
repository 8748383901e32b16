//! log Z of an unnormalised density by simple importance sampling.
//!
//! ```text
//! Ẑ = (1/n) Σ w_i,   w_i = e^{−U(x_i)} / q(x_i),   x_i ~ q;   E Ẑ = Z
//! ```
//!
//! Right for a proposal that covers the target, and silently wrong for one that does not: where q is narrower, the rare
//! large weights that carry Z are never seen and the standard error does not know. Two numbers tell: the effective
//! sample size, and the shape k̂ of the weights' tail, fitted as a generalised Pareto law; the variance is finite for
//! k < ½, and above 0.7 no practical number of draws suffices.
//!
//! Source: Vehtari, Simpson, Gelman, Yao & Gabry (2024), arXiv:1507.02646, §3 (k̂ and its limit); Zhang & Stephens
//! (2009), Technometrics 51 (the fit).

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use crate::gaussian::Gaussian;
use crate::rows;
use crate::special::{effective_sample_size, log_mean_weight, log_sum_exp};

/// Fewer effective draws than this say nothing.
const LEAST_DRAWS: f64 = 10.0;
/// The tail beyond which the estimate converges too slowly to be of use.
const HEAVY: f64 = 0.7;

/// How many draws, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct ImportanceSampling {
    /// Number of draws n.
    pub draws: usize,
    /// Most rows that enter the energy at once.
    pub rows_at_once: usize,
}

/// log Z and how far to trust it.
#[derive(Clone, Debug)]
pub struct ImportanceSamplingEstimate {
    /// `log Ẑ`, nats; below log Z in mean.
    pub log_z: f64,
    /// Its standard error by the delta method. Meaningless where [`Self::warning`] speaks.
    pub standard_error: f64,
    /// Effective sample size of the weights.
    pub effective_sample_size: f64,
    /// k̂, the shape of the tail of the weights; NaN for too few of them.
    pub tail_shape: f64,
}

impl ImportanceSamplingEstimate {
    /// Why the number cannot be trusted, if it cannot.
    pub fn warning(&self) -> Option<String> {
        let (ess, k) = (self.effective_sample_size, self.tail_shape);
        if ess.is_nan() || ess < LEAST_DRAWS {
            return Some(format!("the weights are worth {ess:.1} draws, and {LEAST_DRAWS} are needed"));
        }
        if k > HEAVY {
            return Some(format!(
                "the weights have a heavy tail (k = {k:.2}, at most {HEAVY} can be trusted): the proposal is narrower than the target"
            ));
        }
        None
    }
}

impl ImportanceSampling {
    /// `draws` draws, at most 8,192 rows at once.
    pub fn new(draws: usize) -> Self {
        Self { draws, rows_at_once: 8_192 }
    }

    /// Estimates log ∫ e^{−U} from draws of `proposal`; `event` is the shape of one example.
    ///
    /// # Errors
    /// If there are no draws, the event does not fit the proposal, or the energy fails or is NaN.
    pub fn estimate(
        &self,
        target: &dyn Energy,
        proposal: &Gaussian,
        event: &[usize],
        noise: &mut Noise,
    ) -> Result<ImportanceSamplingEstimate> {
        let d: usize = event.iter().product();
        if self.draws == 0 {
            return Err(Error::config("draws", "at least 1", 0));
        }
        if d != proposal.dimension() {
            let want = format!("{} numbers, as the proposal has", proposal.dimension());
            return Err(Error::data("event", want, d));
        }
        let mut log_weights = Vec::with_capacity(self.draws);
        for (_, n) in rows::pieces(self.draws, self.rows_at_once) {
            let x: Tensor = proposal.sample(n, noise)?;
            let shape: Vec<usize> = std::iter::once(n).chain(event.iter().copied()).collect();
            let energy = target.energy(&x.reshape(shape)?)?.to_dtype(DType::F64)?;
            log_weights.extend(rows::host(&(energy + proposal.log_density(&x)?)?.neg()?)?);
        }
        if let Some(i) = log_weights.iter().position(|w| w.is_nan()) {
            return Err(Error::data("energy of a draw", "a number", format!("NaN in draw {i}")));
        }
        let (log_z, standard_error) = log_mean_weight(&log_weights);
        Ok(ImportanceSamplingEstimate {
            log_z,
            standard_error,
            effective_sample_size: effective_sample_size(&log_weights),
            tail_shape: tail_shape(&log_weights),
        })
    }
}

/// k̂ of the largest min(n/5, 3√n) weights above the next one, shrunk a little towards ½; NaN for fewer than 25.
pub fn tail_shape(log_weights: &[f64]) -> f64 {
    let n = log_weights.len();
    let tail = (n / 5).min((3.0 * (n as f64).sqrt()) as usize);
    if tail < 5 {
        return f64::NAN;
    }
    let mut sorted = log_weights.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (top, cut) = (sorted[n - 1], sorted[n - tail - 1]);
    let excess: Vec<f64> = sorted[n - tail..].iter().map(|w| (w - top).exp() - (cut - top).exp()).collect();
    if !(excess[tail - 1] > 0.0 && excess[tail / 4] > 0.0) {
        return f64::NEG_INFINITY; // equal weights have no tail
    }
    // Zhang & Stephens: a posterior mean over a grid of b = −k/σ.
    let n = tail as f64;
    let m = 30 + n.sqrt() as usize;
    let quartile = excess[(n / 4.0 + 0.5) as usize - 1];
    let shape = |b: f64| excess.iter().map(|x| (-b * x).ln_1p()).sum::<f64>() / n;
    let grid: Vec<f64> = (1..=m)
        .map(|j| (1.0 - (m as f64 / (j as f64 - 0.5)).sqrt()) / (3.0 * quartile) + 1.0 / excess[tail - 1])
        .collect();
    let log_likelihood = |b: &f64| n * ((-b / shape(*b)).ln() - shape(*b) - 1.0);
    let logs: Vec<f64> = grid.iter().map(log_likelihood).collect();
    let total = log_sum_exp(&logs);
    let b: f64 = grid.iter().zip(&logs).map(|(b, l)| b * (l - total).exp()).sum();
    (n * shape(b) + 5.0) / (n + 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use crate::targets::Mixture;
    use candle_core::Device;

    fn wide(sd: f64) -> Result<Gaussian> {
        Gaussian::diagonal(&[0.0; 2], &[sd; 2], DType::F64, &Device::Cpu)
    }

    #[test]
    fn a_proposal_that_covers_finds_the_constant() -> Result<()> {
        let target = Mixture::pair();
        let got = ImportanceSampling { draws: 20_000, rows_at_once: 3_000 }.estimate(
            &target,
            &wide(2.5)?,
            &[2],
            &mut Noise::new(1),
        )?;
        assert!((got.log_z - target.log_z).abs() < 4.0 * got.standard_error, "{got:?}");
        assert!(got.warning().is_none() && got.standard_error < 0.02, "{got:?}");
        Ok(())
    }

    /// A proposal that is too narrow misses mass, its standard error does not notice, and the warning does.
    #[test]
    fn a_proposal_that_misses_is_warned_of() -> Result<()> {
        let target = Mixture::pair();
        let sampling = ImportanceSampling::new(5_000);
        let narrow = sampling.estimate(&target, &wide(0.4)?, &[2], &mut Noise::new(1))?;
        assert!(narrow.log_z < target.log_z + 2.0 && narrow.tail_shape > HEAVY, "{narrow:?}");
        assert!(narrow.warning().is_some(), "{narrow:?}");
        let hidden = ImportanceSamplingEstimate { effective_sample_size: 500.0, ..narrow };
        assert!(hidden.warning().is_some_and(|w| w.contains("heavy tail")), "{hidden:?}");
        let far =
            Mixture { weights: vec![1.0], means: vec![vec![6.0; 2]], variances: vec![0.01], log_z: 0.0 };
        let far = sampling.estimate(&far, &wide(1.0)?, &[2], &mut Noise::new(1))?;
        assert!(far.warning().is_some_and(|w| w.contains("worth")), "{far:?}");
        assert!(sampling.estimate(&target, &wide(1.0)?, &[3], &mut Noise::new(0)).is_err());
        assert!(ImportanceSampling::new(0).estimate(&target, &wide(1.0)?, &[2], &mut Noise::new(0)).is_err());
        Ok(())
    }

    /// Weights u^{−k} have exactly a Pareto tail of shape k.
    #[test]
    fn the_shape_of_a_pareto_tail_is_recovered() {
        for k in [0.1, 0.5, 1.0] {
            let mut moments = Moments::default();
            for seed in 0..20 {
                let logs: Vec<f64> = Noise::new(seed).uniforms(4000).iter().map(|u| -k * u.ln()).collect();
                moments.push(tail_shape(&logs));
            }
            // The prior of ten at ½ pulls by 10 (½ − k)/200, the maximum-likelihood error is (1 + k)/√190.
            let want = k + 10.0 * (0.5 - k) / 199.0;
            assert!(
                (moments.mean() - want).abs() < 4.0 * moments.standard_error() + 0.02,
                "{k}: {moments:?}"
            );
            assert!(moments.variance().sqrt() < 1.5 * (1.0 + k) / 190f64.sqrt());
        }
        assert!(tail_shape(&[0.0; 20]).is_nan() && tail_shape(&[0.0; 100]) == f64::NEG_INFINITY);
    }
}
