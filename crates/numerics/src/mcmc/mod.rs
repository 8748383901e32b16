//! Markov chains that move batches of points, `(chains, event…)`, toward `p(x) ∝ e^{−U(x)}`.
//!
//! Every kernel has the same surface: [`Kernel::init`] evaluates the target once, [`Kernel::step`] moves all chains.
//! A step costs one evaluation of the energy and its gradient (Hamiltonian ones: one per leapfrog); the state carries
//! both to the next step.
//!
//! | kernel  | proposal                          | good acceptance | corrected |
//! |---------|-----------------------------------|-----------------|-----------|
//! | [`Ula`]  | a Langevin step                   |                 | no        |
//! | [`Mala`] | a Langevin step                   | 0.574           | yes       |
//! | [`Hmc`]  | a Hamiltonian trajectory          | 0.651           | yes       |
//! | [`Metropolis`] | a random walk, without gradient | 0.234       | yes       |
//! | [`MetropolisHastings`] | any [`Proposal`] with its log q ratio | | yes      |
//! | [`Nuts`] | a Hamiltonian trajectory until it turns | 0.8      | yes       |
//! | [`ReflectedUla`], [`ReflectedMala`] | the same between walls | 0.574 | no, yes |
//!
//! [`Preconditioned`] gives any of them a mass matrix, [`Jittered`] a random step, and [`WarmUp`] finds both. Beside
//! them stand [`Baoab`], which carries momenta along; [`ParallelTempering`], [`Smc`] and [`Annealing`], which move on
//! the tempered targets of a [`Bridge`], straight or by [`MomentAverages`]; [`jarzynski`]'s weighted walkers, which
//! follow a target in training; [`discrete`] states; and the [`ising`] model with its clusters.

mod adaptation;
mod annealing;
mod bridge;
mod diagnostics;
pub mod discrete;
mod hmc;
pub mod ising;
pub mod jarzynski;
mod mala;
mod metropolis;
mod metropolis_hastings;
mod moments;
mod nuts;
mod parallel_tempering;
mod preconditioned;
mod reflection;
mod resampling;
mod smc;
mod transition;
mod ula;
mod underdamped;

#[cfg(test)]
mod laws;

pub use adaptation::{Adapted, Covariance, DualAveraging, Mass, WarmUp};
pub use annealing::{Annealing, descend};
pub use bridge::Bridge;
pub(crate) use bridge::{Ends, Whitened};
pub use diagnostics::{autocorrelation, effective_sample_size, split_r_hat};
pub use hmc::Hmc;
pub use mala::Mala;
pub use metropolis::Metropolis;
pub use metropolis_hastings::{MetropolisHastings, Proposal};
pub use moments::MomentAverages;
pub use nuts::{Nuts, NutsInfo};
pub use parallel_tempering::{ParallelTempering, Replicas, TemperingInfo};
pub use preconditioned::{Jittered, Preconditioned};
pub use reflection::{ReflectedMala, ReflectedUla, Walls};
pub use resampling::systematic;
pub use smc::{Smc, SmcEstimate};
pub use transition::Transition;
pub use ula::Ula;
pub use underdamped::{Baoab, Phase};

use candle_core::{Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use crate::rows;

/// Where the chains are, and what the target says there. Every tensor is detached.
#[derive(Clone, Debug)]
pub struct Chains {
    /// Positions, `(b, event…)`.
    pub x: Tensor,
    /// `U(x)`, `(b,)`.
    pub energy: Tensor,
    /// `∇U(x)`, shaped like `x`.
    pub gradient: Tensor,
}

impl Chains {
    /// Evaluates `target` at `x`. Call it again whenever the target changes under the chains.
    pub fn at(target: &dyn Energy, x: &Tensor) -> Result<Self> {
        let x = x.detach();
        let (energy, gradient) = target.energy_and_gradient(&x)?;
        Ok(Self { x, energy: energy.detach(), gradient: gradient.detach() })
    }
}

/// What one step did.
#[derive(Clone, Debug)]
pub struct StepInfo {
    /// Acceptance probability of each chain; 1 for kernels that always accept.
    pub acceptance: Vec<f64>,
    /// Whether each chain moved.
    pub accepted: Vec<bool>,
    /// Minus the logarithm of each acceptance ratio before it is cut at 1: for Hamiltonian kernels the error in H of the
    /// trajectory. 0 for kernels that always accept; +∞ or NaN where the proposal has no energy.
    pub energy_error: Vec<f64>,
}

impl StepInfo {
    /// That `n` chains moved without being asked.
    fn always(n: usize) -> Self {
        Self { acceptance: vec![1.0; n], accepted: vec![true; n], energy_error: vec![0.0; n] }
    }

    /// Acceptance probability averaged over the chains.
    pub fn mean_acceptance(&self) -> f64 {
        self.acceptance.iter().sum::<f64>() / self.acceptance.len().max(1) as f64
    }
}

/// A Markov transition on a batch of chains.
pub trait Kernel {
    /// Starts chains at `x`.
    fn init(&self, target: &dyn Energy, x: &Tensor) -> Result<Chains> {
        Chains::at(target, x)
    }

    /// Moves every chain once, in place.
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo>;
}

/// What transitions walk on. It decides what is known of a place, so that a path of tempered targets can carry both
/// of its ends along and a change of temperature costs no evaluation.
pub(crate) trait Landscape {
    /// All that is known where the chains are.
    type At;
    /// Evaluates at `x`.
    fn at(&self, x: Tensor) -> Result<Self::At>;
    /// Positions, energies and gradients as a transition sees them.
    fn seen(&self, at: &Self::At) -> Result<Chains>;
    /// Row by row `yes` where `mask`, `(b,)` u8, is not 0, else `no`.
    fn select(&self, mask: &Tensor, yes: &Self::At, no: &Self::At) -> Result<Self::At>;
}

impl Landscape for dyn Energy + '_ {
    type At = Chains;

    fn at(&self, x: Tensor) -> Result<Chains> {
        Chains::at(self, &x)
    }

    fn seen(&self, at: &Chains) -> Result<Chains> {
        Ok(at.clone())
    }

    fn select(&self, mask: &Tensor, yes: &Chains, no: &Chains) -> Result<Chains> {
        Ok(Chains {
            x: rows::select(mask, &yes.x, &no.x)?,
            energy: rows::select(mask, &yes.energy, &no.energy)?,
            gradient: rows::select(mask, &yes.gradient, &no.gradient)?,
        })
    }
}

/// Draws who moves, by the logarithms of the acceptance ratios; one that is not a number never moves. The mask is
/// `(b,)` u8.
fn accept(ratio: &[f64], noise: &mut Noise, device: &Device) -> Result<(StepInfo, Tensor)> {
    let uniforms = noise.uniforms(ratio.len());
    let accepted: Vec<bool> = ratio.iter().zip(uniforms).map(|(r, u)| u.ln() < *r).collect();
    let acceptance = ratio.iter().map(|r| if r.is_nan() { 0.0 } else { r.min(0.0).exp() }).collect();
    let mask =
        Tensor::from_vec(accepted.iter().map(|&a| u8::from(a)).collect::<Vec<u8>>(), ratio.len(), device)?;
    let energy_error = ratio.iter().map(|r| -r).collect();
    Ok((StepInfo { acceptance, accepted, energy_error }, mask))
}

/// A step size as a kernel takes it.
fn positive(step: f64) -> Result<f64> {
    if step.is_finite() && step > 0.0 {
        return Ok(step);
    }
    Err(Error::config("step", "a finite number above 0", step))
}
