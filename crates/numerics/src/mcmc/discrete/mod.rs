//! Chains on discrete states: batches `(b, n)` of n sites, each of which takes one of a few levels.
//!
//! | kernel                   | one step                                        | needs                             |
//! |--------------------------|-------------------------------------------------|-----------------------------------|
//! | [`Gibbs`]                | every site anew given the others                | conditional energies ([`Discrete`]) |
//! | [`block_gibbs`]          | all hidden units, then all visible ones         | both conditionals ([`Bipartite`]) |
//! | [`GibbsWithGradients`]   | one site, chosen by the slope of U, corrected   | a gradient                        |
//!
//! All leave `e^{−U}` on the states invariant.

mod block;
mod gibbs;
mod gradients;

pub use block::{Bipartite, bernoulli, block_gibbs};
pub use gibbs::{Gibbs, Scan};
pub use gradients::GibbsWithGradients;

use candle_core::Tensor;
use genzoo_core::Result;
use genzoo_core::capability::Energy;

/// An unnormalised law `p(x) ∝ e^{−U(x)}` on states whose sites take the same few levels.
pub trait Discrete: Energy {
    /// The values a site takes, in the numbers that [`Energy`] is given: 0 and 1, −1 and 1, …
    fn levels(&self) -> &[f64];

    /// `U` with site number `site` of each row at each level, up to a constant per row: `(b, n) → (b, levels)`.
    ///
    /// By itself one evaluation of the energy per level; local fields are cheaper.
    fn conditional(&self, x: &Tensor, site: usize) -> Result<Tensor> {
        let unit = indicator(x, site)?;
        let others = x.broadcast_mul(&unit.affine(-1.0, 1.0)?)?;
        let at = |level: &f64| self.energy(&others.broadcast_add(&(&unit * *level)?)?);
        let energies = self.levels().iter().map(at).collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::stack(&energies, 1)?)
    }
}

/// `(1, n)`: 1 at the site, else 0.
fn indicator(x: &Tensor, site: usize) -> Result<Tensor> {
    let mut unit = vec![0.0; x.dim(1)?];
    unit[site] = 1.0;
    let n = unit.len();
    Ok(Tensor::from_vec(unit, (1, n), x.device())?.to_dtype(x.dtype())?)
}

/// The first index whose cumulative probability exceeds `uniform`; probabilities are `e^{logs}`, normalised.
fn choose(logs: &[f64], uniform: f64) -> usize {
    let mut rest = uniform;
    for (i, log) in logs.iter().enumerate() {
        rest -= log.exp();
        if rest < 0.0 {
            return i;
        }
    }
    // Round-off: the last that is possible.
    logs.iter().rposition(|log| *log > f64::NEG_INFINITY).unwrap_or(0)
}

#[cfg(test)]
mod laws;
