//! The two-sample statistic of a kernel, with its standard error: the core of MMD², KID and the energy distance.
//!
//! ```text
//! U = 1/(m(m−1)) Σ_{i≠j} k(x_i, x_j) + 1/(n(n−1)) Σ_{i≠j} k(y_i, y_j) − 2/(mn) Σ_{ij} k(x_i, y_j)
//! V = 1/m² Σ_{ij} k(x_i, x_j) + 1/n² Σ_{ij} k(y_i, y_j) − 2/(mn) Σ_{ij} k(x_i, y_j)
//! ```
//! U is unbiased for `E k(X,X') + E k(Y,Y') − 2 E k(X,Y)` and may be negative; V is the squared distance between the
//! two empirical laws and never is. Their variance by Hoeffding's decomposition, to second order:
//!
//! ```text
//! Var U = 4 Var(a)/m + 4 Var(b)/n + D        a(x) = E k(x,X') − E k(x,Y),   b(y) = E k(y,Y') − E k(y,X)
//! D = 2 S_xx/(m(m−1)) + 2 S_yy/(n(n−1)) + 4 S_xy/(mn)        S the variance of the doubly centred kernel
//! ```
//! Where both laws agree, a and b vanish and D is all there is. The sample variances of the row means estimate the
//! first two terms plus 2D (each row mean carries its own noise), so the estimate is `max(that − D, D)`.
//!
//! Source: Gretton et al. (2012), JMLR 13, Lemma 6 and Appendix A; Serfling (1980), §5.2 for the variance.

use genzoo_core::{Error, Result};

use super::points::{Pairing, Points, for_each_block, for_each_pair_block};

/// A value with one standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// One standard error; NaN where none is known.
    pub stderr: f64,
}

/// The U- and the V-statistic of one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSample {
    /// Without the diagonal: unbiased.
    pub unbiased: Estimate,
    /// With it: never negative for a positive kernel. The error is that of U, from which it differs by O(1/n) of it.
    pub biased: Estimate,
}

/// Both statistics of the kernel `k(pairing(x, y))`; `diagonal` is `k(x, x)`, where it is the same for all points.
///
/// # Errors
/// If the dimensions differ or a sample has fewer than two points.
pub fn two_sample(
    x: &Points,
    y: &Points,
    pairing: Pairing,
    kernel: impl Fn(f64) -> f64 + Sync,
    diagonal: f64,
) -> Result<TwoSample> {
    if x.len() < 2 || y.len() < 2 {
        return Err(Error::data("samples", "at least 2 rows each", x.len().min(y.len())));
    }
    let (xx, yy) = (Within::new(x, pairing, &kernel)?, Within::new(y, pairing, &kernel)?);
    let unbiased = estimate(&xx, &yy, &Between::new(x, y, pairing, &kernel)?);
    // m² terms are m(m − 1) off the diagonal and m on it.
    let shift = |w: &Within| (diagonal - mean(&w.means)) / w.means.len() as f64;
    let biased = Estimate { value: unbiased.value + shift(&xx) + shift(&yy), ..unbiased };
    Ok(TwoSample { unbiased, biased })
}

/// Kernel means within one sample.
struct Within {
    /// Per point, the mean of `k` to all others.
    means: Vec<f64>,
    /// Mean of `k²` over pairs.
    square: f64,
}

/// Kernel means between two samples: per point of the first, per point of the second, and the mean of `k²`.
struct Between {
    rows: Vec<f64>,
    columns: Vec<f64>,
    square: f64,
}

impl Within {
    fn new(x: &Points, pairing: Pairing, kernel: &(impl Fn(f64) -> f64 + Sync)) -> Result<Self> {
        // Each pair is seen once and counts for both of its points.
        let parts = for_each_pair_block(x, pairing, |block| {
            let (mut sums, mut square) = (vec![0.0; block.width], 0.0);
            for (i, row) in block.rows() {
                let at = i - block.from;
                let mut own = 0.0;
                for (sum, &r) in sums[at + 1..].iter_mut().zip(&row[at + 1..]) {
                    let k = kernel(r);
                    *sum += k;
                    own += k;
                    square += k * k;
                }
                sums[at] += own;
            }
            (block.from, sums, square)
        })?;
        let (mut means, mut square) = (vec![0.0; x.len()], 0.0);
        for (from, sums, part) in parts {
            means[from..].iter_mut().zip(sums).for_each(|(m, s)| *m += s);
            square += part;
        }
        let others = (x.len() - 1) as f64;
        means.iter_mut().for_each(|m| *m /= others);
        Ok(Self { means, square: 2.0 * square / (x.len() as f64 * others) })
    }
}

impl Between {
    fn new(x: &Points, y: &Points, pairing: Pairing, kernel: &(impl Fn(f64) -> f64 + Sync)) -> Result<Self> {
        let parts = for_each_block(x, y, pairing, |block| {
            let (mut rows, mut columns, mut square) = (Vec::new(), vec![0.0; block.width], 0.0);
            for (_, row) in block.rows() {
                let mut own = 0.0;
                for (sum, &r) in columns.iter_mut().zip(row) {
                    let k = kernel(r);
                    *sum += k;
                    own += k;
                    square += k * k;
                }
                rows.push(own);
            }
            (rows, columns, square)
        })?;
        let (m, n) = (x.len() as f64, y.len() as f64);
        let (mut rows, mut columns, mut square) = (Vec::with_capacity(x.len()), vec![0.0; y.len()], 0.0);
        for (own, sums, part) in parts {
            rows.extend(own.into_iter().map(|s| s / n));
            columns.iter_mut().zip(sums).for_each(|(c, s)| *c += s);
            square += part;
        }
        columns.iter_mut().for_each(|c| *c /= m);
        Ok(Self { rows, columns, square: square / (m * n) })
    }
}

fn estimate(xx: &Within, yy: &Within, xy: &Between) -> Estimate {
    let (m, n) = (xx.means.len() as f64, yy.means.len() as f64);
    let value = mean(&xx.means) + mean(&yy.means) - 2.0 * mean(&xy.rows);
    let difference = |w: &[f64], b: &[f64]| -> Vec<f64> { w.iter().zip(b).map(|(w, b)| w - b).collect() };
    let projected = 4.0 * variance(&difference(&xx.means, &xy.rows)) / m
        + 4.0 * variance(&difference(&yy.means, &xy.columns)) / n;
    // The variance of the doubly centred kernel: E k² − E m(x)² − E m(y)² + (E k)².
    let centred = |square: f64, r: &[f64], q: &[f64]| {
        let spread = population_variance(r) + population_variance(q);
        (square - mean(r).powi(2) - spread).max(0.0)
    };
    let degenerate = 2.0 * centred(xx.square, &xx.means, &xx.means) / (m * (m - 1.0))
        + 2.0 * centred(yy.square, &yy.means, &yy.means) / (n * (n - 1.0))
        + 4.0 * centred(xy.square, &xy.rows, &xy.columns) / (m * n);
    Estimate { value, stderr: (projected - degenerate).max(degenerate).sqrt() }
}

pub(super) fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

pub(super) fn population_variance(v: &[f64]) -> f64 {
    let m = mean(v);
    v.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / v.len() as f64
}

pub(super) fn variance(v: &[f64]) -> f64 {
    population_variance(v) * v.len() as f64 / (v.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of, permuted};

    fn both(x: &Points, y: &Points) -> Result<TwoSample> {
        two_sample(x, y, Pairing::SquaredDistance, |r| (-0.5 * r).exp(), 1.0)
    }

    fn u(x: &Points, y: &Points) -> Result<Estimate> {
        Ok(both(x, y)?.unbiased)
    }

    #[test]
    fn the_value_is_the_triple_sum_of_the_definition() -> Result<()> {
        let (x, y) = (normal(17, 3, 1.0, 0.4, 1), normal(11, 3, 1.3, 0.0, 2));
        let k =
            |a: &[f64], b: &[f64]| (-0.5 * a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp();
        let got = both(&x, &y)?;
        for (diagonal, got) in [(false, got.unbiased), (true, got.biased)] {
            let mut want = 0.0;
            for (p, q, same) in [(&x, &x, true), (&y, &y, true), (&x, &y, false)] {
                let (mut sum, mut count) = (0.0, 0.0);
                for i in 0..p.len() {
                    for j in (0..q.len()).filter(|&j| diagonal || !(same && i == j)) {
                        sum += k(p.row(i), q.row(j));
                        count += 1.0;
                    }
                }
                want += if same { 1.0 } else { -2.0 } * sum / count;
            }
            assert!((got.value - want).abs() < 1e-14);
        }
        Ok(())
    }

    #[test]
    fn symmetric_and_blind_to_order() -> Result<()> {
        let (x, y) = (normal(60, 2, 1.0, 0.4, 1), normal(50, 2, 1.3, 0.0, 2));
        let (a, b, c) = (u(&x, &y)?, u(&y, &x)?, u(&permuted(&x, 7), &permuted(&y, 8))?);
        for (p, q) in [(a, b), (a, c)] {
            assert!((p.value - q.value).abs() < 1e-14 && (p.stderr / q.stderr - 1.0).abs() < 1e-9);
        }
        // On two copies of one sample the diagonal of the cross term is all that remains: −2/n (1 − mean k).
        let k = mean(&Within::new(&x, Pairing::SquaredDistance, &|r: f64| (-0.5 * r).exp())?.means);
        let same = both(&x, &permuted(&x, 3))?;
        assert!((same.unbiased.value + 2.0 / 60.0 * (1.0 - k)).abs() < 1e-14);
        assert!(same.biased.value.abs() < 1e-14);
        assert!(u(&of(&[&[0.0], &[0.0]]), &of(&[&[0.0], &[0.0]]))?.value.abs() < 1e-15);
        Ok(())
    }

    /// Over many pairs of samples: the mean is the closed form, the mean squared error is the stated one, and
    /// intervals of two standard errors cover it, both where the laws agree and where they do not.
    #[test]
    fn unbiased_with_an_honest_standard_error() -> Result<()> {
        for shift in [0.0, 0.3, 1.5] {
            let runs = 300;
            let truth = closed_form(shift);
            let (mut values, mut variances, mut covered) = (Vec::new(), Vec::new(), 0);
            for run in 0..runs {
                let x = normal(80, 2, 1.0, shift, 2 * run);
                let y = normal(60, 2, 1.0, 0.0, 2 * run + 1);
                let e = u(&x, &y)?;
                values.push(e.value);
                variances.push(e.stderr * e.stderr);
                covered += u64::from((e.value - truth).abs() < 2.0 * e.stderr);
            }
            let spread = variance(&values);
            assert!(
                (mean(&values) - truth).abs() < 4.0 * (spread / runs as f64).sqrt(),
                "{shift}: {}",
                mean(&values)
            );
            // The sample variance of 300 values has a relative error of 8 % (normal) to some 15 % (degenerate case).
            let ratio = mean(&variances) / spread;
            assert!((0.7..1.6).contains(&ratio), "{shift}: stated over true variance {ratio}");
            // 95 % nominal; 4 binomial standard errors of 300 runs are 5 %.
            assert!(covered as f64 / runs as f64 > 0.90, "{shift}: {covered}");
        }
        Ok(())
    }

    /// For X ~ N(s e₁, I), Y ~ N(0, I) in 2-D and k = exp(−r²/2): X−X' has variance 2, and
    /// E exp(−|Z|²/2) = (1/3) exp(−s²/6) for Z ~ N(s e₁, 2I).
    fn closed_form(s: f64) -> f64 {
        2.0 / 3.0 * (1.0 - (-s * s / 6.0).exp())
    }
}
