//! Wasserstein distances of order 1 and 2 between two samples, exactly.
//!
//! ```text
//! W_p^p = min over plans Σ_ij P_ij ‖x_i − y_j‖^p = mean_i u_i + mean_j v_j    (dual prices u, v)
//! ```
//! Between two finite samples of one law it is far from 0 (it falls only as n^(−1/d)): read it beside its floor.
//! Moving a point moves W_p^p by its price, so `Var W_p^p ≈ Var u/n + Var v/m` around the expectation at these sizes,
//! and `se(W_p) = se(W_p^p)/(p W_p^(p−1))`. Samples of one size are an assignment, others a transportation problem.
//!
//! Source: Peyré & Cuturi (2019), Computational Optimal Transport, §2.3; del Barrio & Loubes (2019), Ann. Probab. 47.

use genzoo_core::{Better, Error, Result};
use genzoo_numerics::ot::{assign, transport};

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_row};
use super::sliced::root;
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};

pub(super) static FIRST: [MetricInfo; 1] = [MetricInfo {
    name: "w1",
    summary: "exact Wasserstein distance of order 1",
    unit: "1",
    better: Better::Lower,
    rows: Rows::OnRequest,
}];
pub(super) static SECOND: [MetricInfo; 1] = [MetricInfo {
    name: "w2",
    summary: "exact Wasserstein distance of order 2",
    unit: "1",
    better: Better::Lower,
    rows: Rows::Points,
}];

pub(super) fn first(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.for_transport();
    Ok(vec![Measured::of(wasserstein(&x, &y, 1)?, &x, &y)])
}

pub(super) fn second(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.for_transport();
    Ok(vec![Measured::of(wasserstein(&x, &y, 2)?, &x, &y)])
}

/// `W_p` for p = 1 or 2. O(n³): seconds for 2000 rows each.
///
/// # Errors
/// If a sample is empty or the dimensions differ.
pub fn wasserstein(x: &Points, y: &Points, p: u8) -> Result<Estimate> {
    if x.is_empty() || y.is_empty() {
        return Err(Error::data("samples", "at least one row each", 0));
    }
    let cost = |r: &f64| if p == 1 { r.sqrt() } else { *r };
    let costs = for_each_row(x, y, Pairing::SquaredDistance, |_, r| r.iter().map(cost).collect::<Vec<_>>())?;
    let costs = costs.concat();
    let (cost, u, v) = if x.len() == y.len() {
        let solved = assign(&costs, x.len())?;
        (solved.cost / x.len() as f64, solved.u, solved.v)
    } else {
        let plan = transport(&costs, x.len(), y.len())?;
        (plan.cost, plan.u, plan.v)
    };
    Ok(root(cost, p, &u, &v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of, permuted};
    use crate::metrics::two_sample::{mean, variance};

    fn second_order(x: &Points, y: &Points) -> Result<Estimate> {
        wasserstein(x, y, 2)
    }

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
            assert!((second_order(&x, &y)?.value - by_trying_all(&x, &y)).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn zero_on_itself_symmetric_and_exact_for_translations() -> Result<()> {
        let (x, y) = (normal(120, 2, 1.0, 0.5, 1), normal(120, 2, 2.0, 0.0, 2));
        assert_eq!(second_order(&x, &permuted(&x, 5))?.value, 0.0);
        let (a, b) = (second_order(&x, &y)?, second_order(&y, &permuted(&x, 3))?);
        assert!((a.value - b.value).abs() < 1e-12);
        let moved = second_order(&normal(120, 2, 1.0, 7.0, 1), &normal(120, 2, 1.0, 0.0, 1))?;
        assert!((moved.value - 7.0).abs() < 1e-12);
        assert!(wasserstein(&x, &of(&[&[1.0]]), 2).is_err());
        for p in [1, 2] {
            // Every point twice is the same law.
            assert!((wasserstein(&x.and(&x), &y, p)?.value - wasserstein(&x, &y, p)?.value).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        for (scale, shift, low, high) in [(1.0, 1.5, 0.8, 1.25), (2.0, 0.0, 0.75, 1.35), (1.0, 0.0, 0.6, 2.5)]
        {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..200 {
                let e = second_order(
                    &normal(60, 2, scale, shift, 2 * run),
                    &normal(60, 2, 1.0, 0.0, 2 * run + 1),
                )?;
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
