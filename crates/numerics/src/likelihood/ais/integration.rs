//! Thermodynamic integration: log Z as the area under the mean slope of the same path.
//!
//! ```text
//! log Z_1 − log Z_0 = ∫_0^1 E_β[∂_β log q_β] dβ ≈ Σ_k ½ (β_{k+1} − β_k) (g_k + g_{k+1}),   g_k the mean over chains at β_k
//! ```
//!
//! No weight enters, so that one rare chain cannot decide; in exchange there are two errors that annealing does not have:
//! chains that have not reached the law of their temperature, and the trapezoids. Every chain walks the whole ladder, and
//! its own area is one independent number. What the trapezoids miss is judged by leaving out every second rung. Where an
//! energy grows faster than a square, take [`Transition::Metropolis`](super::Transition): Langevin and Hamiltonian steps
//! from far out overshoot and are never taken, and a chain that stays there enters the mean in full, while annealing
//! gives it no weight.
//!
//! Source: Kirkwood (1935); Gelman & Meng (1998), §3; Friel & Pettitt (2008), §3.

use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::path::Path;
use super::{Ais, BipartitePath, Layers};
use crate::gaussian::Gaussian;
use crate::special::Moments;

/// log Z as an area.
#[derive(Clone, Copy, Debug)]
pub struct ThermodynamicEstimate {
    /// Nats.
    pub log_z: f64,
    /// Standard error over chains.
    pub standard_error: f64,
    /// How far the trapezoids may be off: a third of what leaving out every second rung changes.
    pub discretisation: f64,
}

/// Half the width of the difference that stands for ∂_β; energies should be in `f64`.
const WIDTH: f64 = 1e-5;

impl Ais {
    /// log ∫ e^{−U} along the path from `base`. [`Ais::transitions`] counts moves per temperature; the slope is averaged
    /// over the second half of them.
    ///
    /// # Errors
    /// As [`Ais::estimate`].
    pub fn integrate(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        event: &[usize],
        noise: &mut Noise,
    ) -> Result<ThermodynamicEstimate> {
        self.check_event(base, event)?;
        self.along(target, base, event, 1, |path| self.area(path, noise))
    }

    /// The same for a machine with two layers.
    ///
    /// # Errors
    /// As [`Ais::estimate_bipartite`].
    pub fn integrate_bipartite(
        &self,
        target: &dyn BipartitePath,
        noise: &mut Noise,
    ) -> Result<ThermodynamicEstimate> {
        self.area(&Layers { target }, noise)
    }

    fn area<P: Path>(&self, path: &P, noise: &mut Noise) -> Result<ThermodynamicEstimate> {
        self.check()?;
        let plan = self.plan(path, self.pilot_chains, noise)?;
        let rungs = plan.betas.len() - 1;
        let mut walkers = path.draw(self.chains, noise)?;
        let (mut whole, mut halves) = (vec![0.0; self.chains], vec![0.0; self.chains]);
        for (k, &beta) in plan.betas.iter().enumerate() {
            let mut slopes = vec![0.0; self.chains];
            // Draws of the base need no moves.
            let moves = if k == 0 { 1 } else { self.transitions };
            let counted = moves - moves / 2;
            for i in 0..moves {
                if k > 0 {
                    path.step(&mut walkers, beta, plan.steps[k], noise)?;
                }
                if i >= moves / 2 {
                    let now = slope(path, &walkers, beta)?;
                    slopes.iter_mut().zip(now).for_each(|(s, g)| *s += g / counted as f64);
                }
            }
            let (fine, coarse) = (share(&plan.betas, k, 1), share(&plan.betas, k, 2));
            for c in 0..self.chains {
                whole[c] += fine * slopes[c];
                halves[c] += coarse * slopes[c];
            }
        }
        let area = Moments::of(&whole);
        let missed = (area.mean() - Moments::of(&halves).mean()).abs() / 3.0;
        Ok(ThermodynamicEstimate {
            log_z: path.base_log_z() + area.mean(),
            standard_error: area.standard_error(),
            discretisation: if rungs > 1 { missed } else { f64::INFINITY },
        })
    }
}

/// `∂_β log q_β` where each chain is; one-sided at the ends of the path.
fn slope<P: Path>(path: &P, walkers: &P::Walkers, beta: f64) -> Result<Vec<f64>> {
    let side = if beta < WIDTH { 1.0 } else { -1.0 };
    let inside = (WIDTH..=1.0 - WIDTH).contains(&beta);
    if inside {
        let whole = path.log_ratios(walkers, beta - WIDTH, beta + WIDTH)?;
        return Ok(whole.into_iter().map(|r| r / (2.0 * WIDTH)).collect());
    }
    // (−3 f(0) + 4 f(h) − f(2h))/2h
    let near = path.log_ratios(walkers, beta, beta + side * WIDTH)?;
    let far = path.log_ratios(walkers, beta, beta + 2.0 * side * WIDTH)?;
    Ok(near.into_iter().zip(far).map(|(n, f)| side * (4.0 * n - f) / (2.0 * WIDTH)).collect())
}

/// The weight of rung `k` in the trapezoids over every `step`-th rung and the last one.
fn share(betas: &[f64], k: usize, step: usize) -> f64 {
    let last = betas.len() - 1;
    let kept = |i: usize| i == last || i.is_multiple_of(step);
    if !kept(k) {
        return 0.0;
    }
    let left = (0..k).rev().find(|i| kept(*i)).unwrap_or(k);
    let right = (k + 1..=last).find(|i| kept(*i)).unwrap_or(k);
    0.5 * (betas[right] - betas[left])
}
