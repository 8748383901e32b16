//! The two-sample U-statistic of a kernel, with its standard error: the core of MMD² and of the energy distance.
//!
//! ```text
//! U = 1/(m(m−1)) Σ_{i≠j} k(x_i, x_j) + 1/(n(n−1)) Σ_{i≠j} k(y_i, y_j) − 2/(mn) Σ_{ij} k(x_i, y_j)
//! ```
//! It is unbiased for `E k(X,X') + E k(Y,Y') − 2 E k(X,Y)`. Its variance by Hoeffding's decomposition, to second order:
//!
//! ```text
//! Var U = 4 Var(a)/m + 4 Var(b)/n + D        a(x) = E k(x,X') − E k(x,Y),   b(y) = E k(y,Y') − E k(y,X)
//! D = 2 S_xx/(m(m−1)) + 2 S_yy/(n(n−1)) + 4 S_xy/(mn)        S the variance of the doubly centred kernel
//! ```
//! Where both laws agree, a and b vanish and D is all there is. The sample variances of the row means estimate the
//! first two terms plus 2D (each row mean carries its own noise), so the estimate is `max(that − D, D)`.
//!
//! Source: Gretton et al. (2012), JMLR 13, Lemma 6 and Appendix A; Serfling (1980), §5.2 for the variance.

use genzoo_core::Result;

use super::points::{Points, for_each_row};

/// A value with one standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// One standard error.
    pub stderr: f64,
}

/// Kernel means within one sample, for `K` kernels at once.
#[derive(Clone, Debug)]
pub struct Within<const K: usize> {
    /// Per point, the mean of `k` to all others.
    means: Vec<[f64; K]>,
    /// Mean of `k²` over pairs.
    squares: [f64; K],
}

/// Kernel means between two samples.
struct Between<const K: usize> {
    rows: Vec<[f64; K]>,
    columns: Vec<[f64; K]>,
    squares: [f64; K],
}

/// Within one sample.
///
/// # Errors
/// If a tensor operation fails.
pub fn within<const K: usize>(x: &Points, kernels: impl Fn(f64) -> [f64; K] + Sync) -> Result<Within<K>> {
    let sums = for_each_row(x, x, |i, r| {
        let (before, after) = (&r[..i], &r[i + 1..]);
        means(before.iter().chain(after), &kernels)
    })?;
    let squares = average(sums.iter().map(|s| s.1));
    Ok(Within { means: sums.into_iter().map(|s| s.0).collect(), squares })
}

fn between<const K: usize>(
    x: &Points,
    y: &Points,
    kernels: &(impl Fn(f64) -> [f64; K] + Sync),
) -> Result<Between<K>> {
    let rows = for_each_row(x, y, |_, r| means(r.iter(), kernels))?;
    let columns = for_each_row(y, x, |_, r| means(r.iter(), kernels).0)?;
    let squares = average(rows.iter().map(|s| s.1));
    Ok(Between { rows: rows.into_iter().map(|s| s.0).collect(), columns, squares })
}

/// Means of `k` and of `k²` over some squared distances.
fn means<'a, const K: usize>(
    squared: impl Iterator<Item = &'a f64>,
    kernels: &impl Fn(f64) -> [f64; K],
) -> ([f64; K], [f64; K]) {
    let (mut first, mut second, mut n) = ([0.0; K], [0.0; K], 0u64);
    for &r in squared {
        for (c, k) in kernels(r).into_iter().enumerate() {
            first[c] += k;
            second[c] += k * k;
        }
        n += 1;
    }
    (first.map(|s| s / n as f64), second.map(|s| s / n as f64))
}

fn average<const K: usize>(values: impl ExactSizeIterator<Item = [f64; K]>) -> [f64; K] {
    let n = values.len() as f64;
    let mut sum = [0.0; K];
    for v in values {
        for c in 0..K {
            sum[c] += v[c];
        }
    }
    sum.map(|s| s / n)
}

/// The U-statistics of `K` kernels of the squared distance, given the kernel means within `x` and within `y`.
///
/// # Errors
/// If the dimensions differ.
pub fn u_statistics<const K: usize>(
    (x, xx): (&Points, &Within<K>),
    (y, yy): (&Points, &Within<K>),
    kernels: impl Fn(f64) -> [f64; K] + Sync,
) -> Result<[Estimate; K]> {
    let xy = between(x, y, &kernels)?;
    Ok(std::array::from_fn(|c| estimate(xx, yy, &xy, c)))
}

fn estimate<const K: usize>(xx: &Within<K>, yy: &Within<K>, xy: &Between<K>, c: usize) -> Estimate {
    let (m, n) = (xx.means.len() as f64, yy.means.len() as f64);
    let column = |v: &[[f64; K]]| -> Vec<f64> { v.iter().map(|v| v[c]).collect() };
    let (wx, wy, rows, columns) =
        (column(&xx.means), column(&yy.means), column(&xy.rows), column(&xy.columns));
    let value = mean(&wx) + mean(&wy) - 2.0 * mean(&rows);
    let difference = |w: &[f64], b: &[f64]| -> Vec<f64> { w.iter().zip(b).map(|(w, b)| w - b).collect() };
    let projected =
        4.0 * variance(&difference(&wx, &rows)) / m + 4.0 * variance(&difference(&wy, &columns)) / n;
    // The variance of the doubly centred kernel: E k² − E m(x)² − E m(y)² + (E k)².
    let centred = |square: f64, r: &[f64], q: &[f64]| {
        let spread = population_variance(r) + population_variance(q);
        (square - mean(r).powi(2) - spread).max(0.0)
    };
    let degenerate = 2.0 * centred(xx.squares[c], &wx, &wx) / (m * (m - 1.0))
        + 2.0 * centred(yy.squares[c], &wy, &wy) / (n * (n - 1.0))
        + 4.0 * centred(xy.squares[c], &rows, &columns) / (m * n);
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

    fn kernel(r: f64) -> [f64; 1] {
        [(-0.5 * r).exp()]
    }

    fn u(x: &Points, y: &Points) -> Result<Estimate> {
        Ok(u_statistics((x, &within(x, kernel)?), (y, &within(y, kernel)?), kernel)?[0])
    }

    #[test]
    fn the_value_is_the_triple_sum_of_the_definition() -> Result<()> {
        let (x, y) = (normal(17, 3, 1.0, 0.4, 1), normal(11, 3, 1.3, 0.0, 2));
        let k =
            |a: &[f64], b: &[f64]| (-0.5 * a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp();
        let mut want = 0.0;
        for (p, q, same) in [(&x, &x, true), (&y, &y, true), (&x, &y, false)] {
            let (mut sum, mut count) = (0.0, 0.0);
            for i in 0..p.len() {
                for j in (0..q.len()).filter(|&j| !(same && i == j)) {
                    sum += k(p.row(i), q.row(j));
                    count += 1.0;
                }
            }
            want += if same { 1.0 } else { -2.0 } * sum / count;
        }
        assert!((u(&x, &y)?.value - want).abs() < 1e-14);
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
        let w = within(&x, kernel)?;
        let k = mean(&w.means.iter().map(|m| m[0]).collect::<Vec<_>>());
        assert!((u(&x, &x)?.value + 2.0 / 60.0 * (1.0 - k)).abs() < 1e-14);
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
