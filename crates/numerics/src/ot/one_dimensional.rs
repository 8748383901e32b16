//! Wasserstein distance on the line, by sorting.
//!
//! ```text
//! W_p^p = ∫_0^1 |F_x^{-1}(u) − F_y^{-1}(u)|^p du
//! ```
//!
//! For equally many points this pairs the sorted samples; for n and m points the quantile functions are steps that
//! jump at multiples of 1/n and 1/m.

use genzoo_core::{Error, Result};

/// `W_p` between two samples on the line, of any two sizes.
///
/// # Errors
/// If a sample is empty or holds a number that is not finite.
pub fn wasserstein_1d(x: &[f64], y: &[f64], p: f64) -> Result<f64> {
    let (x, y) = (sorted(x)?, sorted(y)?);
    Ok(sorted_cost(&x, &y, p).powf(1.0 / p))
}

/// The sample in order.
pub(super) fn sorted(x: &[f64]) -> Result<Vec<f64>> {
    if x.is_empty() {
        return Err(Error::data("sample", "at least one number", "none"));
    }
    if let Some(bad) = x.iter().find(|v| !v.is_finite()) {
        return Err(Error::data("sample", "finite numbers", bad));
    }
    let mut x = x.to_vec();
    x.sort_unstable_by(f64::total_cmp);
    Ok(x)
}

/// `W_p^p` of two sorted samples.
pub(super) fn sorted_cost(x: &[f64], y: &[f64], p: f64) -> f64 {
    let gap = |a: f64, b: f64| {
        if p == 2.0 { (a - b) * (a - b) } else { (a - b).abs().powf(p) }
    };
    let (n, m) = (x.len(), y.len());
    if n == m {
        return x.iter().zip(y).map(|(a, b)| gap(*a, *b)).sum::<f64>() / n as f64;
    }
    // Levels in units of 1/(n m), so that coinciding jumps coincide exactly.
    let (mut i, mut j, mut level, mut total) = (0, 0, 0u128, 0.0);
    while i < n && j < m {
        let (end_x, end_y) = ((i as u128 + 1) * m as u128, (j as u128 + 1) * n as u128);
        let next = end_x.min(end_y);
        total += (next - level) as f64 * gap(x[i], y[j]);
        level = next;
        i += usize::from(end_x == next);
        j += usize::from(end_y == next);
    }
    total / (n as f64 * m as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeating_every_point_changes_nothing() -> Result<()> {
        let (x, y) = (vec![0.3, -1.0, 2.0], vec![5.0, 0.1]);
        let repeat =
            |v: &[f64], k: usize| v.iter().flat_map(|a| std::iter::repeat_n(*a, k)).collect::<Vec<_>>();
        for p in [1.0, 2.0] {
            let plain = wasserstein_1d(&x, &y, p)?;
            let common = wasserstein_1d(&repeat(&x, 2), &repeat(&y, 3), p)?;
            assert!((plain - common).abs() < 1e-14 && plain > 0.0);
        }
        Ok(())
    }

    #[test]
    fn distance_to_a_point_is_a_moment() -> Result<()> {
        let x = [1.0, 2.0, 6.0];
        assert!((wasserstein_1d(&x, &[0.0], 1.0)? - 3.0).abs() < 1e-14);
        assert!((wasserstein_1d(&x, &[0.0], 2.0)? - (41.0f64 / 3.0).sqrt()).abs() < 1e-14);
        assert!(wasserstein_1d(&x, &[], 1.0).is_err() && wasserstein_1d(&x, &[f64::NAN], 1.0).is_err());
        Ok(())
    }
}
