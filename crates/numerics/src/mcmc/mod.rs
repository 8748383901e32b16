//! Markov chains that move batches of points, `(chains, event…)`, toward `p(x) ∝ e^{−U(x)}`.
//!
//! Every kernel has the same surface: [`Kernel::init`] evaluates the target once, [`Kernel::step`] moves all chains.
//! A step costs one evaluation of the energy and its gradient; the state carries both to the next step.

mod diagnostics;
mod mala;
mod ula;

pub use diagnostics::{autocorrelation, effective_sample_size, split_r_hat};
pub use mala::Mala;
pub(crate) use mala::{accept, log_ratio, propose};
pub use ula::Ula;

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

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
}

impl StepInfo {
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
