//! Returning to the base `N(0, I/κ)`: where chains start, and a proposal that connects modes.
//!
//! ```text
//! u ← base   with probability α · min(1, e^{f(u) − f(base)})
//! ```
//!
//! The proposal density is the confinement's, so it cancels in the Metropolis ratio and only the learned part
//! `f = U − ½κ‖u‖²` is left.
//! Source: Tierney (1994), §2.3.3 (independence chains).

use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result, Tensor};
use genzoo_numerics::mcmc::Chains;
use genzoo_numerics::rows;

use super::confining;

/// Fresh draws of the base, shaped like `u`.
pub(crate) fn base(u: &Tensor, confinement: f64, noise: &mut Noise) -> Result<Tensor> {
    Ok((noise.normal_like(u)? * base_scale(confinement))?)
}

/// Standard deviation of the base.
pub(crate) fn base_scale(confinement: f64) -> f64 {
    confinement.sqrt().recip()
}

/// One restart proposal per chain with probability `alpha`, by the Metropolis rule; gives the share that moved.
pub(crate) fn restart(
    target: &dyn Energy,
    confinement: f64,
    chains: &mut Chains,
    alpha: f64,
    noise: &mut Noise,
) -> Result<f64> {
    let proposal = Chains::at(target, &base(&chains.x, confinement, noise)?)?;
    let learned = |at: &Chains| rows::host(&(&at.energy - confining(&at.x, confinement)?)?);
    let (from, to) = (learned(chains)?, learned(&proposal)?);
    let n = from.len();
    let (who, whether) = (noise.uniforms(n), noise.uniforms(n));
    let taken: Vec<u8> =
        (0..n).map(|i| u8::from(who[i] < alpha && whether[i].ln() < from[i] - to[i])).collect();
    let share = taken.iter().map(|t| f64::from(*t)).sum::<f64>() / n.max(1) as f64;
    let mask = Tensor::from_vec(taken, n, chains.x.device())?;
    chains.x = rows::select(&mask, &proposal.x, &chains.x)?;
    chains.energy = rows::select(&mask, &proposal.energy, &chains.energy)?;
    chains.gradient = rows::select(&mask, &proposal.gradient, &chains.gradient)?;
    Ok(share)
}
