//! What annealing found, and how far to trust it.

use candle_core::Tensor;
use genzoo_core::{Noise, Result};

use crate::special::{bootstrap_standard_error, log_mean_exp};

/// Final weights worth fewer independent ones than this say nothing.
pub(super) const DEGENERATE: f64 = 10.0;

/// An estimate of log Z.
#[derive(Clone, Debug)]
pub struct AisEstimate {
    /// Logarithm of the mean weight, nats. Forward it falls short of log Z in mean, in reverse it exceeds it.
    pub log_z: f64,
    /// Its standard error by the delta method.
    pub standard_error: f64,
    /// Effective sample size of the final weights.
    pub effective_sample_size: f64,
    /// Mean acceptance probability of the transitions.
    pub acceptance: f64,
    /// The lowest mean acceptance at any temperature.
    pub lowest_acceptance: f64,
    /// The temperatures used.
    pub temperatures: Vec<f64>,
    /// The logarithm of each chain's weight; in reverse their mean estimates 1/Z.
    pub log_weights: Vec<f64>,
    /// Final positions, `(chains, event…)`; together with the weights they represent the target (forward).
    pub x: Tensor,
    /// Evaluations of the energy and its gradient on a batch, the pilot run included.
    pub evaluations: u64,
}

impl AisEstimate {
    /// Whether the weights are worth fewer than ten independent ones: then `log_z` must not be reported.
    pub fn is_degenerate(&self) -> bool {
        self.effective_sample_size.is_nan() || self.effective_sample_size < DEGENERATE
    }

    /// The standard error of log Ẑ over resampled chains; steadier than the delta method where weights are uneven.
    pub fn bootstrap_error(&self, resamples: usize, noise: &mut Noise) -> Result<f64> {
        let w = &self.log_weights;
        let statistic = |rows: &[usize]| Ok(log_mean_exp(&rows.iter().map(|&i| w[i]).collect::<Vec<_>>()));
        bootstrap_standard_error(w.len(), resamples, statistic, noise)
    }
}

/// log Z between what a forward and what a reverse run say.
#[derive(Clone, Debug)]
pub struct Bracket {
    /// From the base: below log Z in mean.
    pub forward: AisEstimate,
    /// From exact draws of the target: above log Z in mean.
    pub reverse: AisEstimate,
}

impl Bracket {
    /// How far the two are apart, nats: what better annealing can still gain, at most.
    pub fn gap(&self) -> f64 {
        self.reverse.log_z - self.forward.log_z
    }

    /// The standard error of the gap.
    pub fn gap_error(&self) -> f64 {
        self.forward.standard_error.hypot(self.reverse.standard_error)
    }

    /// Lower and upper end, `z` standard errors beyond the two (1.96 for 95 % where the weights are well behaved).
    pub fn interval(&self, z: f64) -> (f64, f64) {
        let (f, r) = (&self.forward, &self.reverse);
        (f.log_z - z * f.standard_error, r.log_z + z * r.standard_error)
    }

    /// Lower and upper end that hold with probability `confidence` each *whatever* the weights' law, by Markov's
    /// inequality: P(Ẑ ≥ a Z) ≤ 1/a. Wide, and certain.
    pub fn certain_interval(&self, confidence: f64) -> (f64, f64) {
        let slack = -(1.0 - confidence).ln();
        (self.forward.log_z - slack, self.reverse.log_z + slack)
    }
}
