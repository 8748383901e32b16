//! Walkers that follow a changing target, with weights that make them samples of it at every moment.
//!
//! ```text
//! A_0 = 0,  X_0 ~ e^{−U_0}/Z_0;      E_{U_k}[g] = E[g(X_k) e^{A_k}] / E[e^{A_k}],    Z_k = Z_0 E[e^{A_k}]
//!
//! moves that leave the target invariant (MALA, HMC, …):    A += U_k(X) − U_{k+1}(X),  then X moves under U_{k+1}
//! ULA, with walls or without:   p = ξ − ε/2 ∇U_k(X),  ξ ~ N(0, I),  ε = √(2h)
//!                               X' = fold(X + ε p),   q = σ p − ε/2 ∇U_{k+1}(X')
//!                               A += U_k(X) + ½|ξ|² − U_{k+1}(X') − ½|q|²
//! ```
//!
//! The map (X, ξ) → (X', q) keeps volume and is undone by a move under U_{k+1} that starts with −q, so the weight is an
//! exact ratio of densities of pairs, walls or not, and no sum over mirror images is needed. Without walls σ = 1 and it
//! is the weight of Carbone: A += α_k(X, X') − α_{k+1}(X', X) with
//! `α_k(x, y) = U_k(x) + ½(y − x)·∇U_k(x) + ¼h|∇U_k(x)|²`.
//!
//! Walkers of which only a window moves (mini-batches) are carried by U_k(X) − U_{k+1}(X) as by a move that stands still;
//! the window then moves under a target that stands still.
//!
//! When the effective sample size of the weights falls below a share of the walkers, they are resampled: log Ẑ gains
//! log mean e^A, and A returns to 0. The identities hold for a target that does not listen to the walkers; where it is
//! trained with them they hold up to O(1/n).
//! Source: Jarzynski (1997); Neal (2001), arXiv:physics/9803008; Carbone, Hua, Coste & Vanden-Eijnden (2023),
//! arXiv:2305.19414, Proposition 1; Carbone, "Hitchhiker's guide on energy-based models", Eqs. 102–106.

mod motion;
#[cfg(test)]
mod tests;

pub use motion::Motion;

use std::ops::Range;

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, StepInfo, systematic};
use crate::rows;
use crate::special::{effective_sample_size, log_mean_weight};

/// Weighted samples of the target they were last carried to.
#[derive(Clone, Debug)]
pub struct Walkers {
    chains: Chains,
    log_weights: Vec<f64>,
    log_z: f64,
    variance: f64,
    resampled: u64,
}

/// What walkers are besides their positions: enough to go on from.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// A, one per walker.
    pub log_weights: Vec<f64>,
    /// log Ẑ up to the last resampling, relative to the first target's log Z.
    pub log_z: f64,
    /// Its variance.
    pub variance: f64,
    /// How often the walkers were resampled.
    pub resampled: u64,
}

impl Walkers {
    /// Independent draws `x`, `(n, event…)`, of `target`.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn new(target: &dyn Energy, x: &Tensor) -> Result<Self> {
        let n = x.dim(0)?;
        Ok(Self {
            chains: Chains::at(target, x)?,
            log_weights: vec![0.0; n],
            log_z: 0.0,
            variance: 0.0,
            resampled: 0,
        })
    }

    /// Walkers as they were left.
    ///
    /// # Errors
    /// If there are not as many weights as walkers.
    pub fn restore(chains: Chains, ledger: Ledger) -> Result<Self> {
        let n = chains.x.dim(0)?;
        if ledger.log_weights.len() != n || chains.energy.dims() != [n] {
            let got = format!("{} weights and {:?} energies", ledger.log_weights.len(), chains.energy.dims());
            return Err(Error::data("weighted walkers", format!("{n} of each"), got));
        }
        let Ledger { log_weights, log_z, variance, resampled } = ledger;
        Ok(Self { chains, log_weights, log_z, variance, resampled })
    }

    /// What [`Walkers::restore`] needs besides the chains.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            log_weights: self.log_weights.clone(),
            log_z: self.log_z,
            variance: self.variance,
            resampled: self.resampled,
        }
    }

    /// Where they are, and what the present target says there.
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// A, one per walker.
    pub fn log_weights(&self) -> &[f64] {
        &self.log_weights
    }

    /// `W = e^A / Σ e^A`, `(n,)` in `f64`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn weights(&self) -> Result<Tensor> {
        rows::tensor(crate::special::normalised_weights(&self.log_weights), self.chains.x.device())
    }

    /// Effective sample size of the weights, from 1 to n.
    pub fn effective(&self) -> f64 {
        effective_sample_size(&self.log_weights)
    }

    /// How often the walkers were resampled.
    pub fn resampled(&self) -> u64 {
        self.resampled
    }

    /// `log Ẑ − log Z_0` of the present target, and its standard error by the delta method, stretch by stretch.
    ///
    /// The error knows what weights say of themselves: errors that an earlier stretch left in the positions are not in
    /// it, and if walkers never reached a mode, neither is that. A target that descends a gradient estimated from the
    /// walkers learns their noise too: log Ẑ is then too small by about `rate · tr Cov(∂_θU)/n` in each update.
    pub fn log_z(&self) -> (f64, f64) {
        let (last, error) = log_mean_weight(&self.log_weights);
        (self.log_z + last, (self.variance + error * error).sqrt())
    }

    /// Carries all walkers from the target they know to `target`, by one move. Weights follow.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn follow(&mut self, motion: &Motion, target: &dyn Energy, noise: &mut Noise) -> Result<StepInfo> {
        let (info, gain) = motion.carry(&mut self.chains, target, noise)?;
        self.gain(&gain);
        Ok(info)
    }

    /// Moves all walkers once more under the target they know, which must be `target`.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn stay(&mut self, motion: &Motion, target: &dyn Energy, noise: &mut Noise) -> Result<StepInfo> {
        let (info, gain) = motion.stay(&mut self.chains, target, noise)?;
        self.gain(&gain);
        Ok(info)
    }

    /// Carries all walkers to `target`, of which only the rows `window` move, `moves` times; gives the mean acceptance.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn follow_window(
        &mut self,
        motion: &Motion,
        target: &dyn Energy,
        window: Range<usize>,
        moves: usize,
        noise: &mut Noise,
    ) -> Result<f64> {
        self.retarget(target)?;
        let (start, n) = (window.start, window.len());
        let mut inside = Chains::at(target, &self.chains.x.narrow(0, start, n)?.contiguous()?)?;
        let mut total = vec![0.0; n];
        let mut acceptance = 0.0;
        for _ in 0..moves {
            let (step, gain) = motion.stay(&mut inside, target, noise)?;
            total.iter_mut().zip(gain).for_each(|(t, g)| *t += g);
            acceptance += step.mean_acceptance() / moves as f64;
        }
        self.log_weights[window].iter_mut().zip(total).for_each(|(a, t)| *a += t);
        self.chains.x = replaced(&self.chains.x, &inside.x, start)?;
        self.chains.energy = replaced(&self.chains.energy, &inside.energy, start)?;
        self.chains.gradient = replaced(&self.chains.gradient, &inside.gradient, start)?;
        Ok(acceptance)
    }

    /// Carries all walkers to `target` without a move: `A += U_k(X) − U_{k+1}(X)`. Their gradients are left as they are.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn retarget(&mut self, target: &dyn Energy) -> Result<()> {
        let energy = target.energy(&self.chains.x)?.detach();
        let (old, new) = (rows::host(&self.chains.energy)?, rows::host(&energy)?);
        let gain: Vec<f64> = old.iter().zip(new).map(|(old, new)| old - new).collect();
        self.gain(&gain);
        self.chains.energy = energy;
        Ok(())
    }

    /// Resamples if fewer than `share` of the walkers are effective; says whether it did.
    ///
    /// # Errors
    /// If no weight is a positive number: the target left the walkers behind.
    pub fn resample(&mut self, share: f64, noise: &mut Noise) -> Result<bool> {
        let n = self.log_weights.len();
        let effective = self.effective();
        // A share that is not a number must not pass for a good one.
        if effective >= share * n as f64 {
            return Ok(false);
        }
        let (gain, error) = log_mean_weight(&self.log_weights);
        if !gain.is_finite() {
            return Err(Error::Unsupported(format!(
                "no walker of {n} has a weight (log mean e^A = {gain}): the energy moved too far at once"
            )));
        }
        let uniform: f64 = noise.uniforms(1).iter().sum();
        let source = systematic(&self.log_weights, n, uniform);
        let index: Vec<u32> = source.into_iter().map(|i| i as u32).collect();
        let index = Tensor::from_vec(index, n, self.chains.x.device())?;
        let take = |t: &Tensor| Ok::<_, Error>(t.index_select(&index, 0)?);
        self.chains = Chains {
            x: take(&self.chains.x)?,
            energy: take(&self.chains.energy)?,
            gradient: take(&self.chains.gradient)?,
        };
        self.log_z += gain;
        self.variance += error * error;
        self.resampled += 1;
        self.log_weights.fill(0.0);
        Ok(true)
    }

    fn gain(&mut self, gain: &[f64]) {
        self.log_weights.iter_mut().zip(gain).for_each(|(a, g)| *a += g);
    }
}

/// `whole` with its rows from `start` on replaced by `part`.
fn replaced(whole: &Tensor, part: &Tensor, start: usize) -> Result<Tensor> {
    let (n, m) = (whole.dim(0)?, part.dim(0)?);
    if m == n {
        return Ok(part.clone());
    }
    let parts = [whole.narrow(0, 0, start)?, part.clone(), whole.narrow(0, start + m, n - start - m)?];
    let parts: Vec<_> = parts.into_iter().filter(|p| p.dims()[0] > 0).collect();
    Ok(Tensor::cat(&parts, 0)?)
}

/// Rows of numbers in `f64`.
fn wide(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(DType::F64)?)
}
