//! Wasserstein distance of order 2 between two samples of equal size, exactly.
//!
//! ```text
//! W₂² = min over permutations σ of mean_i ‖x_i − y_σ(i)‖² = mean_i u_i + mean_j v_j    (dual prices u, v)
//! ```
//! Between two finite samples of one law it is far from 0 (it falls only as n^(−1/d)): read it beside its floor.
//! Moving a point moves W₂² by its price, so `Var W₂² ≈ Var u/n + Var v/n` around the expectation, and
//! `se(W₂) = se(W₂²)/(2 W₂)`.
//!
//! Source: Peyré & Cuturi (2019), Computational Optimal Transport, §2.3; del Barrio & Loubes (2019), Ann. Probab. 47.

use genzoo_core::{Error, Result};
use genzoo_numerics::ot::assign;

use super::points::{Points, for_each_row};
use super::sliced::root;
use super::two_sample::Estimate;

/// `W₂`. The assignment takes O(n³): seconds for n = 2000.
///
/// # Errors
/// If the samples differ in size or dimension.
pub fn w2(x: &Points, y: &Points) -> Result<Estimate> {
    let n = x.len();
    if n != y.len() || n == 0 {
        return Err(Error::data("samples", format!("as many as the {} others, and some", y.len()), n));
    }
    let costs = for_each_row(x, y, |_, r| r.to_vec())?.concat();
    let solved = assign(&costs, n)?;
    Ok(root(solved.cost / n as f64, &solved.u, &solved.v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, permuted};
    use crate::metrics::two_sample::{mean, variance};

    /// All permutations, by Heap's algorithm.
    fn by_trying_all(x: &Points, y: &Points) -> f64 {
        fn go(k: usize, order: &mut Vec<usize>, cost: &dyn Fn(&[usize]) -> f64, best: &mut f64) {
            if k <= 1 {
                *best = best.min(cost(order));
                return;
            }
            for i in 0..k {
                go(k - 1, order, cost, best);
                order.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
            }
        }
        let square =
            |i: usize, j: usize| x.row(i).iter().zip(y.row(j)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let cost = |order: &[usize]| order.iter().enumerate().map(|(i, &j)| square(i, j)).sum::<f64>();
        let mut best = f64::INFINITY;
        go(x.len(), &mut (0..x.len()).collect(), &cost, &mut best);
        (best / x.len() as f64).sqrt()
    }

    #[test]
    fn the_cheapest_of_all_permutations() -> Result<()> {
        for seed in 0..20 {
            let (x, y) = (normal(6, 2, 1.0, 0.3, seed), normal(6, 2, 1.0, 0.0, 100 + seed));
            assert!((w2(&x, &y)?.value - by_trying_all(&x, &y)).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn zero_on_itself_symmetric_and_exact_for_translations() -> Result<()> {
        let (x, y) = (normal(120, 2, 1.0, 0.5, 1), normal(120, 2, 2.0, 0.0, 2));
        assert_eq!(w2(&x, &permuted(&x, 5))?.value, 0.0);
        let (a, b) = (w2(&x, &y)?, w2(&y, &permuted(&x, 3))?);
        assert!((a.value - b.value).abs() < 1e-12);
        let moved = w2(&normal(120, 2, 1.0, 7.0, 1), &normal(120, 2, 1.0, 0.0, 1))?;
        assert!((moved.value - 7.0).abs() < 1e-12);
        assert!(w2(&x, &y.first(100)).is_err());
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        for (scale, shift, low, high) in [(1.0, 1.5, 0.8, 1.25), (2.0, 0.0, 0.75, 1.35), (1.0, 0.0, 0.6, 2.5)]
        {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..200 {
                let e = w2(&normal(60, 2, scale, shift, 2 * run), &normal(60, 2, 1.0, 0.0, 2 * run + 1))?;
                values.push(e.value);
                errors.push(e.stderr);
            }
            let ratio = mean(&errors) / variance(&values).sqrt();
            assert!(
                (low..high).contains(&ratio),
                "scale {scale}, shift {shift}: stated over true error {ratio}"
            );
        }
        Ok(())
    }
}
