//! Vendi score: the effective number of different samples.
//!
//! ```text
//! VS = exp(−Σ λ_i log λ_i),   λ the eigenvalues of K/n,   K_ij = exp(−‖y_i − y_j‖² / 2h²)
//! ```
//! From 1 (all alike) to n (none alike). It looks at the fake sample only and grows with n: read it beside its floor,
//! the score of real samples. The bandwidth h is that of MMD². At most 1000 rows, for eigenvalues cost n³. The standard
//! error: the spread over quarters, see `resample`.
//!
//! Source: Friedman & Dieng (2023), TMLR, arXiv:2210.02410, Definition 3.1.

use genzoo_core::{Better, Result};
use nalgebra::DMatrix;

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_row};
use super::resample::standard_errors;
use super::two_sample::Estimate;
use super::{MetricInfo, Rows, mmd};

pub(super) static METRICS: [MetricInfo; 1] = [MetricInfo {
    name: "vendi",
    summary: "Vendi score: effective number of different samples, Gaussian kernel, at most 1000 rows",
    unit: "samples",
    better: Better::Higher,
    rows: Rows::OnRequest,
}];

const MOST: usize = 1000;

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.subsets(MOST, MOST);
    let h = case.bandwidth()?;
    let [stderr] = standard_errors(&y, &y, 5, &case.noise.fork("vendi"), |y, _| Ok([score(y, h)?]))?;
    Ok(vec![Measured::of(Estimate { value: score(&y, h)?, stderr }, &x, &y)])
}

/// The score with a Gaussian kernel of this bandwidth.
///
/// # Errors
/// Never for finite points.
pub fn score(y: &Points, bandwidth: f64) -> Result<f64> {
    let (n, kernel) = (y.len(), mmd::kernel(bandwidth));
    let rows = for_each_row(y, y, Pairing::SquaredDistance, |_, r| {
        r.iter().map(|r| kernel(*r) / n as f64).collect::<Vec<f64>>()
    })?;
    let eigenvalues = DMatrix::from_vec(n, n, rows.concat()).symmetric_eigenvalues();
    Ok(eigenvalues.iter().filter(|e| **e > 0.0).map(|e| -e * e.ln()).sum::<f64>().exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of, permuted};
    use crate::metrics::two_sample::{mean, variance};
    use genzoo_core::Noise;

    #[test]
    fn it_counts_what_is_different() -> Result<()> {
        assert!((score(&of(&[[2.0].as_slice(); 7]), 1.0)? - 1.0).abs() < 1e-12);
        // Three far apart, one of them twice: eigenvalues ½, ¼, ¼.
        let x = of(&[&[0.0], &[100.0], &[200.0], &[0.0]]);
        assert!((score(&x, 1.0)? - 2f64.powf(1.5)).abs() < 1e-12);
        let x = normal(50, 3, 1.0, 0.0, 1);
        assert!((score(&x, 1.0)? - score(&permuted(&x, 1), 1.0)?).abs() < 1e-9);
        assert!(score(&x, 1.0)? > score(&x, 2.0)?);
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for run in 0..60 {
            let y = normal(100, 1, 1.0, 0.0, run);
            let [e] = standard_errors(&y, &y, 5, &Noise::new(run), |y, _| Ok([score(y, 1.0)?]))?;
            values.push(score(&y, 1.0)?);
            errors.push(e);
        }
        let ratio = mean(&errors) / variance(&values).sqrt();
        assert!((0.6..1.8).contains(&ratio), "stated over true error {ratio}");
        Ok(())
    }
}
