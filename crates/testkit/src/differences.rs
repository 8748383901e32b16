//! Fourth-order central differences in f64:
//! `f'(x) = (8 [f(x+h) − f(x−h)] − [f(x+2h) − f(x−2h)]) / 12h + O(h⁴)`.
//!
//! With `h = 1e-3 · max(1, |x|)` truncation and rounding are both near 1e-12 for functions of order one.

use candle_core::{DType, Result, Tensor, Var, bail};

use crate::close::{Tol, Values, worst_difference};

const STEP: f64 = 1e-3;

/// `f'(x)` of a function of one number.
pub fn finite_difference_derivative(mut f: impl FnMut(f64) -> f64, x: f64) -> f64 {
    finite_difference_gradient(|v| f(v[0]), &[x])[0]
}

/// The gradient of a function of a vector.
pub fn finite_difference_gradient(mut f: impl FnMut(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    let mut moved = x.to_vec();
    let mut gradient = Vec::with_capacity(x.len());
    for i in 0..x.len() {
        let h = STEP * x[i].abs().max(1.0);
        let mut at = |shift: f64| {
            moved[i] = x[i] + shift;
            let value = f(&moved);
            moved[i] = x[i];
            value
        };
        let near = at(h) - at(-h);
        let far = at(2.0 * h) - at(-2.0 * h);
        gradient.push((8.0 * near - far) / (12.0 * h));
    }
    gradient
}

/// The gradient of a scalar function of an f64 tensor, shaped like `x`.
///
/// # Errors
/// When `x` is not f64, or `f` fails or returns more than one number.
pub fn finite_difference_tensor(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F64 {
        bail!("finite differences need an f64 tensor, got {:?}", x.dtype());
    }
    let mut failure = None;
    let gradient = finite_difference_gradient(
        |v| {
            let value = Tensor::from_slice(v, x.dims(), x.device())
                .and_then(|t| f(&t))
                .and_then(|y| y.reshape(()))
                .and_then(|y| y.to_scalar::<f64>());
            value.unwrap_or_else(|e| {
                failure.get_or_insert(e);
                f64::NAN
            })
        },
        &x.values(),
    );
    match failure {
        Some(e) => Err(e),
        None => Tensor::from_vec(gradient, x.dims(), x.device()),
    }
}

/// Compares candle's `backward` of a scalar `f` with finite differences at `x` (f64).
/// Returns a message naming the worst element where they disagree.
///
/// # Errors
/// When `f` fails, `x` is not f64 or carries no gradient, or the gradients differ by more than `tol`.
pub fn check_gradient(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor, tol: Tol) -> Result<()> {
    let x = x.copy()?.detach();
    let var = Var::from_tensor(&x)?;
    let grads = f(var.as_tensor())?.reshape(())?.backward()?;
    let Some(analytic) = grads.get(var.as_tensor()) else {
        bail!("backward gave no gradient for x: the graph is cut");
    };
    let numeric = finite_difference_tensor(f, &x)?;
    let worst = worst_difference(&analytic.values(), &numeric.values(), tol);
    match worst {
        Some(d) if d.excess > 0.0 => bail!(
            "gradient differs at index {}: backward {:e}, finite differences {:e} ({tol:?})",
            d.index,
            d.left,
            d.right
        ),
        _ => Ok(()),
    }
}

/// [`check_gradient`] that panics, with the default tolerance of analytic against numeric gradients.
///
/// # Panics
/// Where [`check_gradient`] would return an error.
#[track_caller]
pub fn assert_gradient(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) {
    if let Err(e) = check_gradient(f, x, Tol::GRADIENT) {
        panic!("{e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert_close;
    use candle_core::Device;

    #[test]
    fn is_exact_for_quartics() {
        let d = finite_difference_derivative(|x| x.powi(4) - 3.0 * x, 1.5);
        assert_close(d, 4.0 * 1.5f64.powi(3) - 3.0, Tol::rel(1e-11));
    }

    #[test]
    fn finds_the_gradient_of_a_product() {
        let g = finite_difference_gradient(|v| v[0] * v[1].sin(), &[2.0, 0.3]);
        assert_close(g, [0.3f64.sin(), 2.0 * 0.3f64.cos()], Tol::rel(1e-10));
    }

    #[test]
    fn agrees_with_backward() {
        let x = Tensor::new(&[0.3f64, -1.2, 2.0], &Device::Cpu).unwrap();
        assert_gradient(|x| x.sqr()?.exp()?.sum_all(), &x);
    }

    #[test]
    fn notices_a_wrong_gradient() {
        // ceil has a zero derivative almost everywhere; a detached factor loses half of d(x²)/dx.
        let x = Tensor::new(&[0.3f64, -1.2], &Device::Cpu).unwrap();
        assert!(check_gradient(|x| (x * x.detach())?.sum_all(), &x, Tol::GRADIENT).is_err());
    }
}
