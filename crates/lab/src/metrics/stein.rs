//! Kernel Stein discrepancy: how far a sample is from a law of which only the score is known.
//!
//! ```text
//! KSD² = E u(y, y'),   u = k ⟨s, s'⟩ + ⟨s, ∇_{y'} k⟩ + ⟨s', ∇_y k⟩ + tr ∇_y ∇_{y'} k,    s = ∇ log p(y)
//! k = (1 + ‖y − y'‖²/h²)^(−½)
//! ```
//! As a U-statistic, unbiased: 0 in expectation where y follows p, and it may be negative. No real sample enters. The
//! inverse multiquadric kernel keeps it from being blind to mass that escapes. Its variance is that of
//! [`two_sample`](super::two_sample) for one sample: with row means m_i, `max(4 Var m/n − D, D)`, D = 2 Var u/(n(n−1)).
//!
//! Source: Liu, Lee & Jordan (2016), ICML; Gorham & Mackey (2017), ICML, §3.2 for the kernel.

use genzoo_core::{Better, Error, Result};
use rayon::prelude::*;

use super::case::{Case, Measured};
use super::points::Points;
use super::two_sample::{Estimate, mean, population_variance, variance};
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 1] = [MetricInfo {
    name: "ksd2",
    summary: "squared kernel Stein discrepancy to the true law, inverse multiquadric kernel, unbiased",
    unit: "1",
    better: Better::Lower,
    rows: Rows::OnRequest,
}];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let score =
        case.score.ok_or_else(|| Error::Unsupported("the score of these data is not known".into()))?;
    let (x, y) = case.pairs();
    let estimate = stein_discrepancy(&y, &score(&y)?, case.bandwidth()?)?;
    Ok(vec![Measured::of(estimate, &x, &y)])
}

/// KSD² of points `y` whose scores are `score`, one per row.
///
/// # Errors
/// If there are fewer than two points or the shapes differ.
pub fn stein_discrepancy(y: &Points, score: &Points, bandwidth: f64) -> Result<Estimate> {
    let (n, d) = (y.len(), y.dims());
    if n < 2 || (score.len(), score.dims()) != (n, d) {
        let got = format!("{} × {}", score.len(), score.dims());
        return Err(Error::data("scores", format!("{n} × {d}, and at least 2"), got));
    }
    let scale = 1.0 / (bandwidth * bandwidth);
    let kernel = |i: usize, j: usize| {
        let (mut square, mut inner, mut cross) = (0.0, 0.0, 0.0);
        for (((a, b), s), t) in y.row(i).iter().zip(y.row(j)).zip(score.row(i)).zip(score.row(j)) {
            let gap = a - b;
            square += gap * gap;
            inner += s * t;
            cross += (s - t) * gap;
        }
        let q = 1.0 / (1.0 + scale * square);
        let root = q.sqrt();
        root * (inner + scale * q * (cross + d as f64 - 3.0 * scale * square * q))
    };
    let row = |i: usize| {
        let (mut sum, mut squares) = (0.0, 0.0);
        for j in (0..n).filter(|&j| j != i) {
            let u = kernel(i, j);
            sum += u;
            squares += u * u;
        }
        let others = (n - 1) as f64;
        (sum / others, squares / others)
    };
    let (means, squares): (Vec<f64>, Vec<f64>) = (0..n).into_par_iter().map(row).unzip();
    let (value, pairs) = (mean(&means), n as f64 * (n - 1) as f64);
    let centred = (mean(&squares) - value * value - 2.0 * population_variance(&means)).max(0.0);
    let degenerate = 2.0 * centred / pairs;
    let projected = 4.0 * variance(&means) / n as f64;
    Ok(Estimate { value, stderr: (projected - degenerate).max(degenerate).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, permuted};

    fn towards_normal(y: &Points) -> Points {
        Points::from_values(y.values().iter().map(|v| -v).collect(), y.dims())
    }

    /// Under p the expectation is 0, elsewhere positive; and the stated error is the spread in both cases.
    #[test]
    fn nought_for_the_right_law_with_an_honest_error() -> Result<()> {
        for (scale, shift) in [(1.0, 0.0), (1.0, 0.7), (1.6, 0.0)] {
            let (mut values, mut variances) = (Vec::new(), Vec::new());
            for run in 0..200 {
                let y = normal(80, 2, scale, shift, run);
                let e = stein_discrepancy(&y, &towards_normal(&y), 1.5)?;
                values.push(e.value);
                variances.push(e.stderr * e.stderr);
            }
            let spread = variance(&values);
            let off = mean(&values) / (spread / 200.0).sqrt();
            assert!(if scale == 1.0 && shift == 0.0 { off.abs() < 4.0 } else { off > 10.0 }, "{off}");
            let ratio = mean(&variances) / spread;
            assert!((0.6..1.7).contains(&ratio), "stated over true variance {ratio}");
        }
        Ok(())
    }

    /// The closed form of u against differences of the kernel itself.
    #[test]
    fn the_stein_kernel_is_the_one_of_its_definition() -> Result<()> {
        let y = normal(2, 3, 1.0, 0.2, 5);
        let (s, h) = (normal(2, 3, 1.0, 0.0, 6), 1.3);
        let k = |a: &[f64], b: &[f64]| {
            let r = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            1.0 / (1.0 + r / (h * h)).sqrt()
        };
        let step = 1e-4;
        let moved = |v: &[f64], i: usize, by: f64| {
            let mut v = v.to_vec();
            v[i] += by;
            v
        };
        let (a, b) = (y.row(0), y.row(1));
        let mut want = k(a, b) * s.row(0).iter().zip(s.row(1)).map(|(p, q)| p * q).sum::<f64>();
        for i in 0..3 {
            let slope_b = (k(a, &moved(b, i, step)) - k(a, &moved(b, i, -step))) / (2.0 * step);
            let slope_a = (k(&moved(a, i, step), b) - k(&moved(a, i, -step), b)) / (2.0 * step);
            let both = |p: f64, q: f64| k(&moved(a, i, p * step), &moved(b, i, q * step));
            let mixed =
                (both(1.0, 1.0) - both(1.0, -1.0) - both(-1.0, 1.0) + both(-1.0, -1.0)) / (4.0 * step * step);
            want += s.row(0)[i] * slope_b + s.row(1)[i] * slope_a + mixed;
        }
        assert!((stein_discrepancy(&y, &s, h)?.value - want).abs() < 1e-6);
        let y = normal(30, 2, 1.0, 0.0, 1);
        let again = permuted(&y, 1);
        let (p, q) = (
            stein_discrepancy(&y, &towards_normal(&y), h)?,
            stein_discrepancy(&again, &towards_normal(&again), h)?,
        );
        assert!((p.value - q.value).abs() < 1e-14);
        assert!(stein_discrepancy(&y, &s, h).is_err());
        Ok(())
    }
}
