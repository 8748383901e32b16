//! `|a − b| ≤ abs + rel · max(|a|, |b|)`, element by element; a NaN anywhere fails.

use candle_core::{DType, Tensor};

/// How far apart two numbers may be: `abs + rel · max(|a|, |b|)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tol {
    /// Absolute part, in the unit of the values.
    pub abs: f64,
    /// Relative part, a fraction of the larger magnitude.
    pub rel: f64,
}

impl Tol {
    /// Bit-for-bit equal values (0 and −0 count as equal).
    pub const EQUAL: Self = Self { abs: 0.0, rel: 0.0 };
    /// Algebra in f32: relative 1e-5, with an absolute floor for sums that cancel.
    pub const F32: Self = Self { abs: 1e-6, rel: 1e-5 };
    /// Analytic against finite-difference derivatives in f64.
    pub const GRADIENT: Self = Self { abs: 1e-8, rel: 1e-6 };

    /// Absolute tolerance only.
    pub const fn abs(abs: f64) -> Self {
        Self { abs, rel: 0.0 }
    }

    /// Relative tolerance only.
    pub const fn rel(rel: f64) -> Self {
        Self { abs: 0.0, rel }
    }

    /// Four standard errors of a Monte Carlo mean.
    pub const fn monte_carlo(standard_error: f64) -> Self {
        Self::abs(4.0 * standard_error)
    }

    fn allowed(&self, a: f64, b: f64) -> f64 {
        self.abs + self.rel * a.abs().max(b.abs())
    }
}

/// Anything that can be read as a list of numbers with a shape: numbers, slices, vectors, arrays, tensors.
pub trait Values {
    /// The elements in row-major order, as f64.
    fn values(&self) -> Vec<f64>;
    /// The shape, where the type has one beyond its length.
    fn shape(&self) -> Option<Vec<usize>> {
        None
    }
}

macro_rules! number {
    ($t:ty) => {
        impl Values for $t {
            fn values(&self) -> Vec<f64> {
                vec![f64::from(*self)]
            }
        }
        impl Values for [$t] {
            fn values(&self) -> Vec<f64> {
                self.iter().map(|&v| f64::from(v)).collect()
            }
        }
        impl Values for Vec<$t> {
            fn values(&self) -> Vec<f64> {
                self.as_slice().values()
            }
        }
        impl<const N: usize> Values for [$t; N] {
            fn values(&self) -> Vec<f64> {
                self.as_slice().values()
            }
        }
    };
}
number!(f32);
number!(f64);

impl Values for Tensor {
    fn values(&self) -> Vec<f64> {
        self.to_dtype(DType::F64)
            .and_then(|t| t.flatten_all())
            .and_then(|t| t.to_vec1())
            .unwrap_or_else(|e| panic!("the tensor cannot be read as f64: {e}"))
    }
    fn shape(&self) -> Option<Vec<usize>> {
        Some(self.dims().to_vec())
    }
}

impl<V: Values + ?Sized> Values for &V {
    fn values(&self) -> Vec<f64> {
        (**self).values()
    }
    fn shape(&self) -> Option<Vec<usize>> {
        (**self).shape()
    }
}

/// The worst pair of two lists of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Row-major index of the worst pair.
    pub index: usize,
    /// The left value there.
    pub left: f64,
    /// The right value there.
    pub right: f64,
    /// `|left − right|`; infinite where one of them is NaN or only one is infinite.
    pub absolute: f64,
    /// `absolute − allowed`: positive means too far apart.
    pub excess: f64,
}

/// The pair that exceeds its tolerance most, or `None` for empty lists.
///
/// # Panics
/// When the two lists differ in length.
#[track_caller]
pub fn worst_difference(a: &[f64], b: &[f64], tol: Tol) -> Option<Difference> {
    assert_eq!(a.len(), b.len(), "lists of different lengths");
    let pair = |(index, (&left, &right)): (usize, (&f64, &f64))| {
        // Equal infinities are close; NaN is close to nothing.
        let absolute = if left == right {
            0.0
        } else if (left - right).is_nan() || (left - right).is_infinite() {
            f64::INFINITY
        } else {
            (left - right).abs()
        };
        let excess = if absolute.is_infinite() {
            f64::INFINITY
        } else if left == right {
            -tol.abs
        } else {
            absolute - tol.allowed(left, right)
        };
        Difference { index, left, right, absolute, excess }
    };
    a.iter().zip(b).enumerate().map(pair).reduce(|worst, d| if d.excess > worst.excess { d } else { worst })
}

/// Fails unless `a` and `b` agree within `tol` at every element, naming the worst one.
///
/// # Panics
/// On different shapes or lengths, on any NaN, and where the tolerance is exceeded.
#[track_caller]
pub fn assert_close(a: impl Values, b: impl Values, tol: Tol) {
    if let (Some(left), Some(right)) = (a.shape(), b.shape()) {
        assert_eq!(left, right, "tensors of different shapes");
    }
    let (a, b) = (a.values(), b.values());
    assert_eq!(a.len(), b.len(), "lists of different lengths");
    let Some(worst) = worst_difference(&a, &b, tol) else {
        return;
    };
    if worst.excess > 0.0 {
        let Difference { index, left, right, absolute, .. } = worst;
        let relative = absolute / left.abs().max(right.abs());
        let failing = a
            .iter()
            .zip(&b)
            .filter(|&(&x, &y)| worst_difference(&[x], &[y], tol).is_some_and(|d| d.excess > 0.0))
            .count();
        panic!(
            "{failing} of {} elements differ; worst at index {index}: {left:e} against {right:e}, \
             absolute error {absolute:.3e}, relative {relative:.3e}, allowed {:.3e} ({tol:?})",
            a.len(),
            tol.allowed(left, right),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_infinities_are_close() {
        assert_close([f64::INFINITY], [f64::INFINITY], Tol::EQUAL);
    }

    #[test]
    #[should_panic(expected = "worst at index 1")]
    fn names_the_worst_element() {
        assert_close([1.0, 2.0, 3.0], [1.01, 2.5, 3.0], Tol::abs(1e-3));
    }

    #[test]
    #[should_panic(expected = "differ")]
    fn fails_on_nan_on_both_sides() {
        assert_close([f64::NAN], [f64::NAN], Tol::abs(1.0));
    }

    #[test]
    #[should_panic(expected = "differ")]
    fn fails_on_an_infinity_under_a_relative_tolerance() {
        assert_close([1.0], [f64::INFINITY], Tol::rel(1.0));
    }

    #[test]
    #[should_panic(expected = "different shapes")]
    fn fails_on_shapes() {
        let t = Tensor::zeros((2, 3), DType::F32, &candle_core::Device::Cpu).unwrap();
        assert_close(&t, t.t().unwrap(), Tol::abs(1.0));
    }

    #[test]
    fn compares_tensors_with_slices() {
        let t = Tensor::new(&[[1f32, 2.], [3., 4.]], &candle_core::Device::Cpu).unwrap();
        assert_close(&t, [1f32, 2., 3., 4.], Tol::EQUAL);
    }
}
