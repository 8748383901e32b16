//! First-order derivatives with respect to an input, through candle's `backward`, for any closure.

use candle_core::{Result, Tensor, Var, bail};

/// `f(x)` and `vᵀ ∂f/∂x`, both detached. `v` is shaped like `f(x)`.
///
/// Use networks with [frozen](crate::nn) weights inside `f`: `backward` would otherwise compute the gradients
/// of all weights too and throw them away.
///
/// # Errors
/// When `f` fails, `v` has another shape than `f(x)`, or `f(x)` does not depend on `x`.
pub fn input_vjp(
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
    x: &Tensor,
    v: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let x = Var::from_tensor(&x.detach())?;
    let y = f(x.as_tensor())?;
    if y.shape() != v.shape() {
        bail!("input_vjp: f(x) has shape {:?}, v has {:?}; they must agree", y.dims(), v.dims());
    }
    let mut grads = (&y * v.detach())?.sum_all()?.backward()?;
    match grads.remove(x.as_tensor()) {
        Some(g) => Ok((y.detach(), g.detach())),
        None => bail!("input_vjp: f(x) does not depend on x through operations that keep gradients"),
    }
}

/// `f(x)` and `∇ₓ Σ f(x)`, both detached; for scalar functions of each row, the gradients of the rows.
///
/// # Errors
/// As [`input_vjp`].
pub fn input_gradient(f: impl FnOnce(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let x = Var::from_tensor(&x.detach())?;
    let y = f(x.as_tensor())?;
    let mut grads = y.sum_all()?.backward()?;
    match grads.remove(x.as_tensor()) {
        Some(g) => Ok((y.detach(), g.detach())),
        None => bail!("input_gradient: f(x) does not depend on x through operations that keep gradients"),
    }
}
