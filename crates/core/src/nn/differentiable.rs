//! Networks that write their own derivative with respect to the input as an ordinary graph.
//!
//! ```text
//! vjp(x, v) = (f(x), vᵀ ∂f/∂x)        jvp(x, u) = (f(x), ∂f/∂x u)
//! ```
//! candle's `backward` detaches the gradients it returns, so `∂/∂θ ‖∇ₓU_θ(x)‖²` through it would silently be zero.
//! The products here are made of tracked operations: one first-order backward through them is that derivative.
//! With frozen weights and a detached `x` nothing is tracked, and they are the fast path of Langevin sampling.

use candle_core::{Result, Tensor};
use genzoo_kernels as kernels;

use super::Activation;

/// Maps a cotangent of the output to the cotangent of the input.
pub type Pull<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

/// A map `f: (b, …) → (b, …)` that acts on each row alone and knows its derivative.
pub trait Differentiable {
    /// `f(x)`.
    ///
    /// # Errors
    /// When `x` has the wrong shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// `f(x)`, and the function `v ↦ vᵀ ∂f/∂x` that reuses what the forward pass computed.
    ///
    /// # Errors
    /// When `x` has the wrong shape.
    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)>;

    /// `f(x)` and `∂f/∂x · u`; `u` is shaped like `x`.
    ///
    /// # Errors
    /// On wrong shapes.
    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)>;

    /// `f(x)` and `vᵀ ∂f/∂x`; `v` is shaped like `f(x)`.
    ///
    /// # Errors
    /// On wrong shapes.
    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, pull) = self.vjp_with(x)?;
        let g = pull(v)?;
        Ok((y, g))
    }
}

/// `f(x): (b,)` and `∇ₓ f(x)`, shaped like `x`, of a network with one output per row: `(b, 1)` or `(b,)`.
///
/// # Errors
/// When the network has more than one output.
pub fn input_gradient<N: Differentiable + ?Sized>(net: &N, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let (y, pull) = net.vjp_with(x)?;
    let b = x.dim(0)?;
    if y.elem_count() != b {
        candle_core::bail!("input_gradient needs one output per row of {b}, got shape {:?}", y.dims());
    }
    let g = pull(&y.ones_like()?)?;
    Ok((y.reshape(b)?, g))
}

impl Differentiable for Activation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::act(x, *self)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        let x = x.clone();
        let y = kernels::act(&x, *self)?;
        Ok((y, Box::new(move |v| kernels::act_grad(&x, v, *self))))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((kernels::act(x, *self)?, kernels::act_grad(x, u, *self)?))
    }
}

/// [`Differentiable::vjp_with`] of a chain of maps, the first applied first.
pub(crate) fn chain_vjp<'a>(layers: &[&'a dyn Differentiable], x: &Tensor) -> Result<(Tensor, Pull<'a>)> {
    let mut y = x.clone();
    let mut pulls = Vec::with_capacity(layers.len());
    for layer in layers {
        let (next, pull) = layer.vjp_with(&y)?;
        pulls.push(pull);
        y = next;
    }
    let pull = move |v: &Tensor| pulls.iter().rev().try_fold(v.clone(), |v, pull| pull(&v));
    Ok((y, Box::new(pull)))
}

/// [`Differentiable::jvp`] of a chain.
pub(crate) fn chain_jvp(layers: &[&dyn Differentiable], x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
    layers.iter().try_fold((x.clone(), u.clone()), |(x, u), layer| layer.jvp(&x, &u))
}
