//! The run proper: from the base forward, or from exact draws of the target in reverse.

use candle_core::Tensor;
use genzoo_core::{Error, Noise, Result};

use super::Ais;
use super::path::Path;
use super::pilot::Plan;
use crate::special::Moments;

/// Which way the chains go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Reverse,
}

/// What annealed chains leave behind.
pub(super) struct Annealed {
    /// In reverse their mean estimates 1/Z.
    pub(super) log_weights: Vec<f64>,
    /// Where the chains ended, `(n, event…)`.
    pub(super) x: Tensor,
    /// Acceptance at each rung.
    pub(super) acceptance: Vec<Moments>,
    /// Evaluations of the target on a batch.
    pub(super) evaluations: u64,
}

impl Ais {
    /// Anneals chains from `z`, in whitened coordinates.
    ///
    /// ```text
    /// forward   log w += (β_k − β_{k−1}) gap at β_{k−1}, then a move at β_k, for k = 1 … K; the last needs no move
    /// reverse   log w −= (β_k − β_{k−1}) gap at β_k, then a move at β_{k−1}, for k = K … 1
    /// ```
    pub(super) fn anneal(
        &self,
        path: &Path<'_>,
        plan: &Plan,
        direction: Direction,
        z: Tensor,
        noise: &mut Noise,
    ) -> Result<Annealed> {
        let rungs = plan.betas.len() - 1;
        let mut walkers = path.at(z)?;
        let mut evaluations = 1;
        let mut log_weights = vec![0.0; walkers.z.dim(0)?];
        let mut acceptance = vec![Moments::default(); rungs];
        for (i, rate) in acceptance.iter_mut().enumerate() {
            let (k, next, sign) = match direction {
                Direction::Forward => (i + 1, i + 1, 1.0),
                Direction::Reverse => (rungs - i, rungs - i - 1, -1.0),
            };
            let width = sign * (plan.betas[k] - plan.betas[k - 1]);
            log_weights.iter_mut().zip(walkers.gaps()?).for_each(|(w, gap)| *w += width * gap);
            if i + 1 == rungs {
                break;
            }
            for _ in 0..self.transitions {
                let moved = path.step(&mut walkers, plan.betas[next], plan.steps[next], noise)?;
                moved.iter().for_each(|&a| rate.push(a));
                evaluations += self.transition.evaluations() as u64;
            }
        }
        if let Some(i) = log_weights.iter().position(|w| w.is_nan()) {
            return Err(Error::data("energy during annealing", "a number", format!("NaN in chain {i}")));
        }
        Ok(Annealed { log_weights, x: path.positions(&walkers.z)?, acceptance, evaluations })
    }
}

/// Mean acceptance over the rungs, and the lowest of them.
pub(super) fn acceptances(moments: &[Moments]) -> (f64, f64) {
    let rates: Vec<f64> = moments.iter().filter(|m| m.count() > 0).map(Moments::mean).collect();
    (Moments::of(&rates).mean(), rates.iter().copied().fold(f64::NAN, f64::min))
}
