//! Standard errors of statistics without a closed form: the spread over random quarters.
//!
//! ```text
//! Var θ(n rows) ≈ b/(n − b) · mean over subsets S of b rows of (θ(S) − θ̄)²,     b = n/4
//! ```
//! the delete-d jackknife, here over four random partitions of both samples into quarters. Sixteen quarters of a
//! statistic of all pairs cost as much as the statistic itself; the error of the error is about a fifth.
//!
//! Source: Shao & Wu (1989), Ann. Statist. 17.

use genzoo_core::{Noise, Result};

use super::points::Points;
use super::two_sample::population_variance;

/// Random partitions of both samples.
pub(super) const PARTITIONS: usize = 4;
/// Parts of each.
pub(super) const PARTS: usize = 4;

/// Standard errors of the `K` values of `statistic` of two samples; NaN where a quarter has fewer than `least` rows.
///
/// # Errors
/// Those of the statistic.
pub(super) fn standard_errors<const K: usize>(
    x: &Points,
    y: &Points,
    least: usize,
    noise: &Noise,
    statistic: impl Fn(&Points, &Points) -> Result<[f64; K]>,
) -> Result<[f64; K]> {
    if too_few(x, y, least) {
        return Ok([f64::NAN; K]);
    }
    let mut values: [Vec<f64>; K] = std::array::from_fn(|_| Vec::new());
    for partition in 0..PARTITIONS {
        let [i, j] = quarters(x, y, partition, noise);
        for (i, j) in i.iter().zip(&j) {
            let found = statistic(&x.select(i), &y.select(j))?;
            values.iter_mut().zip(found).for_each(|(v, f)| v.push(f));
        }
    }
    Ok(values.map(|v| spread(&v)))
}

/// Whether a quarter has fewer than `least` rows.
pub(super) fn too_few(x: &Points, y: &Points, least: usize) -> bool {
    x.len().min(y.len()) / PARTS < least
}

/// The rows of each quarter of both samples in a partition.
pub(super) fn quarters(x: &Points, y: &Points, partition: usize, noise: &Noise) -> [Vec<Vec<usize>>; 2] {
    let noise = noise.fork("quarters").at(partition as u64);
    [(x, "real"), (y, "fake")].map(|(p, name)| {
        let order = noise.fork(name).permutation(p.len());
        order.chunks_exact(p.len() / PARTS).take(PARTS).map(<[usize]>::to_vec).collect()
    })
}

/// The standard error of the whole from the values of all quarters.
pub(super) fn spread(values: &[f64]) -> f64 {
    // Within a partition the quarters make up the whole, so the mean of a linear statistic is known exactly.
    (population_variance(values) / (PARTS - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::normal;
    use crate::metrics::two_sample::mean;

    #[test]
    fn of_a_difference_of_means_it_is_the_textbook_error() -> Result<()> {
        let mut squares = Vec::new();
        for run in 0..50 {
            let (x, y) = (normal(400, 1, 2.0, 0.0, 2 * run), normal(100, 1, 1.0, 0.0, 2 * run + 1));
            let [e] = standard_errors(&x, &y, 5, &Noise::new(run), |x, y| Ok([x.mean()[0] - y.mean()[0]]))?;
            squares.push(e * e);
        }
        let want = 4.0 / 400.0 + 1.0 / 100.0;
        assert!((mean(&squares) / want - 1.0).abs() < 0.25, "{} {want}", mean(&squares));
        let x = normal(30, 1, 1.0, 0.0, 1);
        assert!(standard_errors(&x, &x, 9, &Noise::new(0), |_, _| Ok([0.0]))?[0].is_nan());
        Ok(())
    }
}
