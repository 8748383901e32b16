//! The run proper: from the base forward, or from exact draws of the target in reverse.

use candle_core::Tensor;
use genzoo_core::{Error, Noise, Result};

use super::Ais;
use super::path::Path;
use super::pilot::Plan;
use crate::special::Moments;

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
    /// Anneals `n` chains: from draws of the base, or back from `samples` of the target.
    ///
    /// ```text
    /// forward   log w += log q_k − log q_{k−1} where the chain is, then a move at β_k, for k = 1 … K; the last needs no move
    /// reverse   log w += log q_{k−1} − log q_k where the chain is, then a move at β_{k−1}, for k = K … 1
    /// ```
    /// `watch` sees the log-weights at each temperature that the chains arrive at.
    pub(super) fn anneal<P: Path>(
        &self,
        path: &P,
        plan: &Plan,
        (n, samples): (usize, Option<&Tensor>),
        noise: &mut Noise,
        watch: &mut dyn FnMut(usize, &[f64]),
    ) -> Result<Annealed> {
        let rungs = plan.betas.len() - 1;
        let (mut walkers, start) = match samples {
            None => (path.draw(n, noise)?, path.base_log_z()),
            Some(x) => (path.at(x)?, -path.base_log_z()),
        };
        let mut evaluations = 1;
        let mut log_weights = vec![start; n];
        let mut acceptance = vec![Moments::default(); rungs];
        for (i, rate) in acceptance.iter_mut().enumerate() {
            let (here, next) = if samples.is_none() { (i, i + 1) } else { (rungs - i, rungs - i - 1) };
            let ratios = path.log_ratios(&walkers, plan.betas[here], plan.betas[next])?;
            log_weights.iter_mut().zip(ratios).for_each(|(w, ratio)| *w += ratio);
            watch(next, &log_weights);
            if i + 1 == rungs {
                break;
            }
            for _ in 0..self.transitions {
                let moved = path.step(&mut walkers, plan.betas[next], plan.steps[next], noise)?;
                moved.iter().for_each(|&a| rate.push(a));
                evaluations += path.evaluations();
            }
        }
        if let Some(i) = log_weights.iter().position(|w| w.is_nan()) {
            return Err(Error::data("energy during annealing", "a number", format!("NaN in chain {i}")));
        }
        Ok(Annealed { log_weights, x: path.positions(&walkers)?, acceptance, evaluations })
    }
}

/// Mean acceptance over the rungs, and the lowest of them.
pub(super) fn acceptances(moments: &[Moments]) -> (f64, f64) {
    let rates: Vec<f64> = moments.iter().filter(|m| m.count() > 0).map(Moments::mean).collect();
    (Moments::of(&rates).mean(), rates.iter().copied().fold(f64::NAN, f64::min))
}
