//! What annealing needs of the laws between base and target, and of chains that move on them.

use candle_core::Tensor;
use genzoo_core::{Noise, Result};

/// A step size to start from, and the acceptance at which chains mix fastest.
pub(super) struct Tuning {
    pub(super) first_step: f64,
    pub(super) acceptance: f64,
}

/// Unnormalised laws `q_β`: the base at β = 0, of which `log Z` is known and draws are exact; the target at β = 1.
pub(super) trait Path {
    /// Chains, with all that is known where they are.
    type Walkers;

    /// `n` draws of the base.
    fn draw(&self, n: usize, noise: &mut Noise) -> Result<Self::Walkers>;
    /// Chains at positions in the coordinates of the target.
    fn at(&self, x: &Tensor) -> Result<Self::Walkers>;
    /// Positions in the coordinates of the target, `(n, event…)`.
    fn positions(&self, walkers: &Self::Walkers) -> Result<Tensor>;
    /// `log q_to − log q_from` where each chain is.
    fn log_ratios(&self, walkers: &Self::Walkers, from: f64, to: f64) -> Result<Vec<f64>>;
    /// One transition of every chain that leaves `q_β` invariant and is reversible; the acceptance probabilities.
    fn step(&self, walkers: &mut Self::Walkers, beta: f64, step: f64, noise: &mut Noise) -> Result<Vec<f64>>;

    /// `log ∫ q_0`.
    fn base_log_z(&self) -> f64 {
        0.0
    }

    /// Chains i, i + g, i + 2g, … of g groups have a target of their own (one per row of data).
    fn groups(&self) -> usize {
        1
    }

    /// How to find step sizes; nothing where transitions have none.
    fn tuning(&self) -> Option<Tuning> {
        None
    }

    /// Evaluations of the target per transition.
    fn evaluations(&self) -> u64 {
        1
    }
}
