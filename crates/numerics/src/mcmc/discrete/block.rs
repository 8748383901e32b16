//! Block Gibbs sampling for bipartite energies: two layers, each independent within itself given the other.
//!
//! ```text
//! h ~ p(h | v),   v' ~ p(v | h)
//! ```
//!
//! It leaves p(v, h) invariant, and v → v' is reversible with respect to the marginal p(v).
//! Source: Smolensky (1986); Hinton (2002), doi:10.1162/089976602760128018, for the alternation.

use candle_core::Tensor;
use genzoo_core::{Noise, Result};

/// The two conditionals of an energy U(v, h) without couplings within a layer.
pub trait Bipartite {
    /// Draws of p(h | v): `(b, visible…) → (b, hidden…)`.
    fn draw_hidden(&self, visible: &Tensor, noise: &mut Noise) -> Result<Tensor>;
    /// Draws of p(v | h): `(b, hidden…) → (b, visible…)`.
    fn draw_visible(&self, hidden: &Tensor, noise: &mut Noise) -> Result<Tensor>;
}

/// Moves the visible layer once, in place, and returns the hidden states that it was drawn from.
pub fn block_gibbs(target: &dyn Bipartite, visible: &mut Tensor, noise: &mut Noise) -> Result<Tensor> {
    let hidden = target.draw_hidden(visible, noise)?.detach();
    *visible = target.draw_visible(&hidden, noise)?.detach();
    Ok(hidden)
}

/// Independent draws of 0 and 1 with `P(1) = 1/(1 + e^{−logit})`, shaped like the logits.
pub fn bernoulli(logits: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    let mean = (logits.neg()?.exp()? + 1.0)?.recip()?;
    Ok(noise.uniform_like(logits)?.lt(&mean)?.to_dtype(logits.dtype())?)
}
