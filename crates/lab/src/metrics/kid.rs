//! Kernel distance: MMD² with a cubic polynomial kernel, in whatever space the samples are given.
//!
//! ```text
//! KID = MMD²_U,   k(x, y) = (⟨x, y⟩/d + 1)³
//! ```
//! `kid` is the U-statistic of all rows: unbiased, with the smallest variance there is, and a function of the samples
//! alone. `kid_subsets` is the estimator of Bińkowski et al. as torch-fidelity computes it: the mean of the
//! U-statistics of 100 random subsets of 1000 rows (fewer where there are fewer rows), drawn without replacement.
//! Both have the same expectation.
//!
//! The error of the subset mean: subsets of b rows drawn from n vary by `s² ≈ V (1/b − 1/n)` where a sample of n rows
//! varies by V/n; and another part of s² is left by the finite number S of subsets: `s² (b/(n − b) + 1/S)`.
//!
//! Source: Bińkowski et al. (2018), arXiv:1801.01401, §3 and §4.1.

use genzoo_core::{Better, Error, Noise, Result};

use super::case::{Case, Measured};
use super::points::{Pairing, Points};
use super::two_sample::{Estimate, mean, two_sample, variance};
use super::{MetricInfo, Rows};

/// Subsets, and the rows of each.
const SUBSETS: (usize, usize) = (100, 1000);

pub(super) static FULL: [MetricInfo; 1] = [MetricInfo {
    name: "kid",
    summary: "kernel distance: MMD², kernel (⟨x, y⟩/d + 1)³, unbiased, over all rows",
    unit: "1",
    better: Better::Lower,
    rows: Rows::Features,
}];
pub(super) static BY_SUBSETS: [MetricInfo; 1] = [MetricInfo {
    name: "kid_subsets",
    summary: "the same as the mean over 100 random subsets of 1000 rows",
    unit: "1",
    better: Better::Lower,
    rows: Rows::OnRequest,
}];

pub(super) fn full(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.pairs();
    Ok(vec![Measured::of(kid(&x, &y)?, &x, &y)])
}

pub(super) fn by_subsets(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = (case.real, case.fake);
    let n = x.len().min(y.len());
    if n < 4 {
        return Err(Error::data("samples", "at least 4 rows each", n));
    }
    // Subsets that are the whole would all be the same.
    let (subsets, size) = if n <= SUBSETS.1 { (SUBSETS.0, n / 2) } else { SUBSETS };
    let draw = |p: &Points, noise: Noise| {
        (0..subsets)
            .map(|s| noise.at(s as u64).permutation(p.len())[..size.min(p.len())].to_vec())
            .collect::<Vec<_>>()
    };
    let noise = case.noise.fork("kid");
    let values = subset_values(x, y, &draw(x, noise.fork("real")), &draw(y, noise.fork("fake")))?;
    let stderr = (variance(&values) * (size as f64 / (n - size) as f64 + 1.0 / subsets as f64)).sqrt();
    Ok(vec![Measured::of(Estimate { value: mean(&values), stderr }, x, y)])
}

/// The unbiased estimate with its error.
///
/// # Errors
/// If the dimensions differ or a sample has fewer than two points.
pub fn kid(x: &Points, y: &Points) -> Result<Estimate> {
    let d = x.dims() as f64;
    Ok(two_sample(x, y, Pairing::Product, |p| (p / d + 1.0).powi(3), f64::NAN)?.unbiased)
}

/// The estimate on each pair of subsets, given by the indices of their rows.
///
/// # Errors
/// Those of [`kid`].
pub fn subset_values(x: &Points, y: &Points, xs: &[Vec<usize>], ys: &[Vec<usize>]) -> Result<Vec<f64>> {
    xs.iter().zip(ys).map(|(i, j)| Ok(kid(&x.select(i), &y.select(j))?.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Settings;
    use crate::metrics::points::tests::normal;

    /// For x ~ N(a, I), y ~ N(b, I) in one dimension, E (xy + 1)³ = m₃ m₃' + 3 m₂ m₂' + 3 m₁ m₁' + 1 with the moments
    /// m₁ = a, m₂ = a² + 1, m₃ = a³ + 3a.
    fn closed_form(a: f64, b: f64) -> f64 {
        let moments = |a: f64| [a * a * a + 3.0 * a, a * a + 1.0, a];
        let k = |a: f64, b: f64| {
            let (p, q) = (moments(a), moments(b));
            p[0] * q[0] + 3.0 * p[1] * q[1] + 3.0 * p[2] * q[2] + 1.0
        };
        k(a, a) + k(b, b) - 2.0 * k(a, b)
    }

    /// Both estimators are unbiased, and both errors are the spread over samples.
    #[test]
    fn both_are_unbiased_with_honest_errors() -> Result<()> {
        let runs = 300;
        let (settings, noise) = (Settings::default(), Noise::new(0));
        for estimator in [full as fn(&Case) -> Result<Vec<Measured>>, by_subsets] {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..runs {
                let (x, y) = (normal(150, 1, 1.0, 0.6, 2 * run), normal(150, 1, 1.0, 0.0, 2 * run + 1));
                let e = estimator(&Case::new(&x, &y, &settings, &noise))?[0].estimate;
                values.push(e.value);
                errors.push(e.stderr * e.stderr);
            }
            let spread = variance(&values);
            let off = mean(&values) - closed_form(0.6, 0.0);
            assert!(off.abs() < 4.0 * (spread / runs as f64).sqrt(), "{off}");
            let ratio = mean(&errors) / spread;
            assert!((0.6..1.7).contains(&ratio), "stated over true variance {ratio}");
        }
        Ok(())
    }
}
