//! What a solver may do with a state: form linear combinations and measure an error.

use candle_core::{DType, Tensor};
use genzoo_core::Result;

/// A state of an ODE: one tensor, a pair such as (x, log-determinant), or several tensors.
pub trait State: Clone {
    /// `Σ c_i s_i` of at least one term.
    fn combine(terms: &[(f64, &Self)]) -> Result<Self>;

    /// Root mean square of `self / (atol + rtol·max(|a|, |b|))`; of several tensors the largest.
    fn scaled_norm(&self, a: &Self, b: &Self, rtol: f64, atol: f64) -> Result<f64>;

    /// The same numbers, cut from candle's graph.
    #[must_use]
    fn detach(&self) -> Self;
}

impl State for Tensor {
    fn combine(terms: &[(f64, &Self)]) -> Result<Self> {
        let Some(((c, first), rest)) = terms.split_first() else {
            return Err(candle_core::Error::msg("a linear combination needs at least one term").into());
        };
        let mut sum = if *c == 1.0 { (*first).clone() } else { first.affine(*c, 0.0)? };
        for (c, k) in rest {
            sum = (sum + k.affine(*c, 0.0)?)?;
        }
        Ok(sum)
    }

    fn scaled_norm(&self, a: &Self, b: &Self, rtol: f64, atol: f64) -> Result<f64> {
        if self.elem_count() == 0 {
            return Ok(0.0);
        }
        let scale = a.abs()?.maximum(&b.abs()?)?.affine(rtol, atol)?;
        let square = (self / scale)?.sqr()?.mean_all()?;
        Ok(square.to_dtype(DType::F64)?.to_scalar::<f64>()?.sqrt())
    }

    fn detach(&self) -> Self {
        Tensor::detach(self)
    }
}

impl<A: State, B: State> State for (A, B) {
    fn combine(terms: &[(f64, &Self)]) -> Result<Self> {
        let first: Vec<_> = terms.iter().map(|(c, s)| (*c, &s.0)).collect();
        let second: Vec<_> = terms.iter().map(|(c, s)| (*c, &s.1)).collect();
        Ok((A::combine(&first)?, B::combine(&second)?))
    }

    fn scaled_norm(&self, a: &Self, b: &Self, rtol: f64, atol: f64) -> Result<f64> {
        let first = self.0.scaled_norm(&a.0, &b.0, rtol, atol)?;
        let second = self.1.scaled_norm(&a.1, &b.1, rtol, atol)?;
        Ok(worse(first, second))
    }

    fn detach(&self) -> Self {
        (self.0.detach(), self.1.detach())
    }
}

impl<S: State> State for Vec<S> {
    fn combine(terms: &[(f64, &Self)]) -> Result<Self> {
        let parts = terms.iter().map(|(_, s)| s.len()).min().unwrap_or(0);
        (0..parts)
            .map(|i| {
                let terms: Vec<_> = terms.iter().map(|(c, s)| (*c, &s[i])).collect();
                S::combine(&terms)
            })
            .collect()
    }

    fn scaled_norm(&self, a: &Self, b: &Self, rtol: f64, atol: f64) -> Result<f64> {
        let mut norm = 0.0;
        for ((s, a), b) in self.iter().zip(a).zip(b) {
            norm = worse(norm, s.scaled_norm(a, b, rtol, atol)?);
        }
        Ok(norm)
    }

    fn detach(&self) -> Self {
        self.iter().map(State::detach).collect()
    }
}

/// The larger of two norms; unlike `f64::max` it keeps NaN, which must reject the step.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
