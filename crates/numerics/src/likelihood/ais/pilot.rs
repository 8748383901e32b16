//! The pilot run: step sizes and temperatures, found with draws of its own so that the run proper stays unbiased.

use genzoo_core::{Error, Noise, Result};

use super::ladder::{balance, even, farthest, interpolate};
use super::path::Path;
use super::{Ais, Ladder};
use crate::special::Moments;

/// Width of the difference quotients in β; weights are linear or smooth in it.
const NUDGE: f64 = 1e-4;

/// What the run proper holds fixed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) betas: Vec<f64>,
    pub(super) steps: Vec<f64>,
    pub(super) evaluations: u64,
}

impl Ais {
    /// Temperatures and the step size at each, from a pilot run of `chains` where they are not given.
    pub(super) fn plan<P: Path>(&self, path: &P, chains: usize, noise: &mut Noise) -> Result<Plan> {
        let tuning = path.tuning().filter(|_| self.step.is_none());
        let start = self.step.or(tuning.as_ref().map(|t| t.first_step)).unwrap_or(1.0);
        let adaptive = matches!(self.ladder, Ladder::Adaptive { .. });
        let needed = tuning.is_some() || matches!(self.ladder, Ladder::Balanced(_));
        if !adaptive && (chains == 0 || !needed) {
            let betas = self.ladder.without_pilot();
            let steps = vec![start; betas.len()];
            return Ok(Plan { betas, steps, evaluations: 0 });
        }
        let pilot = self.pilot(path, chains.max(2), start, noise)?;
        let betas = match &self.ladder {
            Ladder::Balanced(k) => balance(&pilot.betas, &pilot.spread, *k),
            Ladder::Adaptive { .. } => pilot.betas.clone(),
            given => given.without_pilot(),
        };
        let steps = match self.step {
            Some(step) => vec![step; betas.len()],
            None => betas.iter().map(|b| interpolate(&pilot.betas, &pilot.log_steps, *b).exp()).collect(),
        };
        Ok(Plan { betas, steps, evaluations: pilot.evaluations })
    }

    /// One annealing run whose step size follows the acceptance (Robbins–Monro) and which notes the spread of
    /// ∂ log q_β/∂β at each temperature.
    fn pilot<P: Path>(&self, path: &P, chains: usize, start: f64, noise: &mut Noise) -> Result<Pilot> {
        // Squares crowd the pilot's temperatures where the energy of the base's draws varies most.
        let fixed: Option<Vec<f64>> = match &self.ladder {
            Ladder::Balanced(k) => Some(even((*k).min(400)).iter().map(|b| b * b).collect()),
            Ladder::Adaptive { .. } => None,
            given => Some(given.without_pilot()),
        };
        let mut walkers = path.draw(chains, noise)?;
        let target = path.tuning().map(|t| t.acceptance);
        let mut pilot = Pilot { betas: vec![], spread: vec![], log_steps: vec![], evaluations: 1 };
        let (mut beta, mut log_step) = (0.0, start.ln());
        loop {
            // The step size starts from a guess, and must keep up where the target narrows fast.
            let transitions = match pilot.betas.len() {
                0 => 0,
                1 => self.transitions.max(20),
                _ => self.transitions.max(3),
            };
            for _ in 0..transitions {
                let acceptance = path.step(&mut walkers, beta, log_step.exp(), noise)?;
                log_step += target.map_or(0.0, |target| 0.5 * (Moments::of(&acceptance).mean() - target));
                pilot.evaluations += path.evaluations();
            }
            let ratios = |to: f64| -> Result<Vec<f64>> {
                Ok(within_groups(&path.log_ratios(&walkers, beta, to)?, path.groups()))
            };
            let nudge = if beta < 0.5 { NUDGE } else { -NUDGE };
            pilot.betas.push(beta);
            pilot.spread.push(Moments::of(&ratios(beta + nudge)?).variance().sqrt() / NUDGE);
            pilot.log_steps.push(log_step);
            let done = pilot.betas.len();
            beta = match (&fixed, &self.ladder) {
                (Some(betas), _) if done < betas.len() => betas[done],
                (None, Ladder::Adaptive { share, at_most }) if beta < 1.0 => {
                    if done > *at_most {
                        return Err(Error::Unsupported(format!(
                            "annealing reached the temperature {beta:.3} after {at_most} rungs of an effective share of {share}; allow more rungs or a smaller share"
                        )));
                    }
                    farthest(beta, *share, ratios)?
                }
                _ => return Ok(pilot),
            };
        }
    }
}

struct Pilot {
    betas: Vec<f64>,
    spread: Vec<f64>,
    log_steps: Vec<f64>,
    evaluations: u64,
}

/// Deviations from the mean of each group, scaled so that their mean square estimates the variance within groups.
fn within_groups(gaps: &[f64], groups: usize) -> Vec<f64> {
    let mut moments = vec![Moments::default(); groups];
    gaps.iter().enumerate().for_each(|(i, g)| moments[i % groups].push(*g));
    let scale = |m: &Moments| {
        let n = m.count() as f64;
        if n > 1.0 { (n / (n - 1.0)).sqrt() } else { 1.0 }
    };
    let single = groups == 1;
    let deviation = |(i, g): (usize, &f64)| {
        let m = &moments[i % groups];
        // A single group keeps its infinities, which a ladder must see.
        if single { *g } else { (g - m.mean()) * scale(m) }
    };
    gaps.iter().enumerate().map(deviation).collect()
}
