//! Single-site Gibbs sampling: the heat bath.
//!
//! ```text
//! x_i ~ p(x_i = l | others) = e^{−U(x_i = l)} / Σ_m e^{−U(x_i = m)}
//! ```
//!
//! One site at a time is reversible. A systematic sweep leaves the law invariant without being reversible, and usually
//! mixes somewhat faster than as many sites at random.
//! Source: Geman & Geman (1984).

use candle_core::Tensor;
use genzoo_core::{Error, Noise, Result};

use super::{Discrete, choose, indicator};
use crate::rows;
use crate::special::log_sum_exp;

/// In which order sites are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Each once, in order.
    Systematic,
    /// As many as there are, each chosen at random; the same for all chains.
    Random,
}

/// A sweep of single-site updates.
#[derive(Clone, Copy, Debug)]
pub struct Gibbs {
    /// The order.
    pub scan: Scan,
}

impl Gibbs {
    /// Draws as many sites anew as there are, in place. `x` is `(b, n)`.
    ///
    /// # Errors
    /// If conditional energies fail or are no numbers.
    pub fn step(&self, target: &dyn Discrete, x: &mut Tensor, noise: &mut Noise) -> Result<()> {
        let n = x.dim(1)?;
        let sites: Vec<usize> = match self.scan {
            Scan::Systematic => (0..n).collect(),
            Scan::Random => noise.below(n, n),
        };
        sites.into_iter().try_for_each(|site| update(target, x, site, noise))
    }
}

/// Draws one site of every chain given the others.
fn update(target: &dyn Discrete, x: &mut Tensor, site: usize, noise: &mut Noise) -> Result<()> {
    let levels = target.levels();
    let energies = rows::host(&target.conditional(x, site)?)?;
    let b = x.dim(0)?;
    let mut drawn = Vec::with_capacity(b);
    for (energies, uniform) in energies.chunks(levels.len().max(1)).zip(noise.uniforms(b)) {
        let logs: Vec<f64> = energies.iter().map(|e| -e).collect();
        let total = log_sum_exp(&logs);
        if !total.is_finite() {
            return Err(Error::data(format!("conditional energies of site {site}"), "finite numbers", total));
        }
        let logs: Vec<f64> = logs.iter().map(|log| log - total).collect();
        drawn.push(levels[choose(&logs, uniform)]);
    }
    let unit = indicator(x, site)?;
    let drawn = Tensor::from_vec(drawn, (b, 1), x.device())?.to_dtype(x.dtype())?;
    let others = x.broadcast_mul(&unit.affine(-1.0, 1.0)?)?;
    *x = (others + drawn.broadcast_mul(&unit)?)?.detach();
    Ok(())
}
