//! One affine coupling: `y_b = x_b ⊙ e^s + t` with `(s, t)` a network of the kept half.
//!
//! ```text
//! s = a·tanh(u/a)        |s| < a, ds/du = 1 at u = 0
//! ```
//!
//! The bound keeps e^s from overflowing f32 on the first outlier, and the inverse from multiplying rounding
//! errors by more than e^a per coupling.

use genzoo_core::math::sum_event;
use genzoo_core::nn::{Activation, Differentiable};
use genzoo_core::{Result, Tensor};

/// The network of a coupling: the kept half to log-scale and shift, stacked on dimension 1.
pub(super) trait Conditioner: Clone {
    /// `(b, m, …)` to `(b, 2n, …)`.
    fn forward(&self, kept: &Tensor) -> Result<Tensor>;
    /// The same network with weights that no gradient reaches.
    fn frozen(&self) -> Self;
}

#[derive(Clone)]
pub(super) struct Coupling<N> {
    pub(super) net: N,
    pub(super) bound: f64,
}

impl<N: Conditioner> Coupling<N> {
    pub(super) fn frozen(&self) -> Self {
        Self { net: self.net.frozen(), bound: self.bound }
    }

    /// The moved half on its way to the latent, and `log|det|`, `(b,)`.
    pub(super) fn to_latent(&self, kept: &Tensor, moved: &Tensor) -> Result<(Tensor, Tensor)> {
        let (s, t) = self.scale_and_shift(kept, moved)?;
        Ok(((moved * s.exp()?)?.add(&t)?, sum_event(&s)?))
    }

    /// The moved half on its way to the data, and `log|det|`, `(b,)`.
    pub(super) fn to_data(&self, kept: &Tensor, moved: &Tensor) -> Result<(Tensor, Tensor)> {
        let (s, t) = self.scale_and_shift(kept, moved)?;
        let minus = s.neg()?;
        Ok((((moved - t)? * minus.exp()?)?, sum_event(&minus)?))
    }

    fn scale_and_shift(&self, kept: &Tensor, moved: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = moved.dims().get(1).copied().unwrap_or(0);
        let raw = self.net.forward(kept)?;
        let u = raw.narrow(1, 0, n)?.affine(1.0 / self.bound, 0.0)?;
        Ok((Activation::Tanh.forward(&u)?.affine(self.bound, 0.0)?, raw.narrow(1, n, n)?))
    }
}
