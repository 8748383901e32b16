//! The continuous memory whose update is attention (Ramsauer et al. 2020, Eqs. 1–3).
//!
//! ```text
//! E(x) = −β⁻¹ log Σ_μ e^{β ξ^μ·x} + ½|x|² + β⁻¹ log K + ½ max_μ |ξ^μ|²  ≥ 0
//! x ← Σ_μ p_μ ξ^μ,   p = softmax(β ξ^μ·x)
//! ```
//!
//! The update is the concave-convex procedure on E, so E never rises. One update is attention with patterns as keys and
//! values and β = 1/√d.

use genzoo_core::{Error, Result};
use genzoo_numerics::special::log_sum_exp;

/// Patterns of real numbers and an inverse temperature.
#[derive(Clone, Debug)]
pub struct Continuous {
    dims: usize,
    patterns: Vec<f64>, // (count, dims)
    beta: f64,
}

impl Continuous {
    /// Patterns row by row, β > 0.
    ///
    /// # Errors
    /// If there are none, rows are not whole, or β is not a finite number above 0.
    pub fn new(dims: usize, patterns: Vec<f64>, beta: f64) -> Result<Self> {
        if dims == 0 || patterns.is_empty() || !patterns.len().is_multiple_of(dims) {
            return Err(Error::data(
                "patterns",
                format!("at least one row of {dims} numbers"),
                patterns.len(),
            ));
        }
        if !(beta.is_finite() && beta > 0.0) {
            return Err(Error::config("beta", "a finite number above 0", beta));
        }
        Ok(Self { dims, patterns, beta })
    }

    /// β ξ^μ·x of every pattern.
    fn logits(&self, x: &[f64]) -> Vec<f64> {
        let dot = |row: &[f64]| -> f64 { row.iter().zip(x).map(|(a, b)| a * b).sum() };
        self.patterns.chunks(self.dims).map(|row| self.beta * dot(row)).collect()
    }

    /// E(x), at least 0.
    pub fn energy(&self, x: &[f64]) -> f64 {
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
        let longest = self.patterns.chunks(self.dims).map(square).fold(0.0, f64::max);
        let count = (self.patterns.len() / self.dims) as f64;
        0.5 * (square(x) + longest) + (count.ln() - log_sum_exp(&self.logits(x))) / self.beta
    }

    /// One update.
    pub fn update(&self, x: &[f64]) -> Vec<f64> {
        let logits = self.logits(x);
        let total = log_sum_exp(&logits);
        let mut next = vec![0.0; self.dims];
        for (row, logit) in self.patterns.chunks(self.dims).zip(logits) {
            let share = (logit - total).exp();
            next.iter_mut().zip(row).for_each(|(n, v)| *n += share * v);
        }
        next
    }
}
