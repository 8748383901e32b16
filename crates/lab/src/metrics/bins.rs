//! Number of statistically different bins: where the real points are, are there as many fake ones?
//!
//! ```text
//! NDB/K = share of the K bins whose real and fake shares p, q differ by |p − q| > 1.96 √(r(1 − r)(1/n + 1/m))
//! ```
//! with r the share of both together. The bins are the cells of K k-means centres of the real sample, one per twenty
//! points and at most a hundred. Between equal laws the expectation is about 0.05. The standard error treats the bins
//! as independent draws of one chance, `√(s(1 − s)/K)`, which is at least the spread where their chances differ.
//!
//! Source: Richardson & Weiss (2018), arXiv:1805.12462, §2; Arthur & Vassilvitskii (2007), SODA, for the start.

use genzoo_core::{Better, Noise, Result};

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_row};
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 1] = [MetricInfo {
    name: "ndb",
    summary: "share of the bins (k-means cells of the real points) with a significantly different fake share",
    unit: "1",
    better: Better::Lower,
    rows: Rows::OnRequest,
}];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.pairs();
    let k = (x.len() / 20).clamp(2, 100);
    let centres = k_means(&x, k, &case.noise.fork("bins"))?;
    let count = |p: &Points| -> Result<Vec<f64>> {
        let mut counts = vec![0.0; centres.len()];
        cells(p, &centres)?.into_iter().for_each(|c| counts[c] += 1.0);
        Ok(counts)
    };
    let estimate = different(&count(&x)?, &count(&y)?);
    Ok(vec![Measured::of(estimate, &x, &y)])
}

/// The share of the bins whose counts differ.
fn different(real: &[f64], fake: &[f64]) -> Estimate {
    let (n, m, k) = (real.iter().sum::<f64>(), fake.iter().sum::<f64>(), real.len() as f64);
    let differs = |(a, b): (&f64, &f64)| {
        let pooled = (a + b) / (n + m);
        (a / n - b / m).abs() > 1.96 * (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt()
    };
    let share = real.iter().zip(fake).filter(|p| differs(*p)).count() as f64 / k;
    Estimate { value: share, stderr: (share * (1.0 - share) / k).sqrt() }
}

/// The nearest centre of each point.
///
/// # Errors
/// If the dimensions differ.
pub(super) fn cells(x: &Points, centres: &Points) -> Result<Vec<usize>> {
    for_each_row(x, centres, Pairing::SquaredDistance, |_, row| {
        row.iter().enumerate().fold((0, f64::INFINITY), |a, (j, &r)| if r < a.1 { (j, r) } else { a }).0
    })
}

/// At most `k` centres by Lloyd's iteration from a k-means++ start; a centre that loses all its points stays.
///
/// # Errors
/// Never for finite points.
pub(super) fn k_means(x: &Points, k: usize, noise: &Noise) -> Result<Points> {
    const ITERATIONS: usize = 30;
    let mut centres = x.select(&start(x, k.clamp(1, x.len()), noise));
    let mut before = Vec::new();
    for _ in 0..ITERATIONS {
        let cells = cells(x, &centres)?;
        if cells == before {
            break;
        }
        let d = x.dims();
        let (mut sums, mut counts) = (vec![0.0; centres.len() * d], vec![0.0; centres.len()]);
        for (row, &cell) in x.rows().zip(&cells) {
            counts[cell] += 1.0;
            sums[cell * d..(cell + 1) * d].iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        for (cell, count) in counts.iter().enumerate() {
            let sum = &mut sums[cell * d..(cell + 1) * d];
            if *count > 0.0 {
                sum.iter_mut().for_each(|s| *s /= count);
            } else {
                sum.copy_from_slice(centres.row(cell));
            }
        }
        centres = Points::from_values(sums, d);
        before = cells;
    }
    Ok(centres)
}

/// k-means++: each next start is a point, drawn with probability proportional to its squared distance to the others.
fn start(x: &Points, k: usize, noise: &Noise) -> Vec<usize> {
    let draws = noise.clone().uniforms(k);
    let mut chosen: Vec<usize> = Vec::new();
    let mut left = vec![1.0; x.len()];
    for u in draws {
        let total: f64 = left.iter().sum();
        let mut rest = u * total;
        let at = left.iter().position(|w| {
            rest -= w;
            rest < 0.0
        });
        let at = at.unwrap_or(x.len() - 1);
        let first = chosen.is_empty();
        chosen.push(at);
        for (i, left) in left.iter_mut().enumerate() {
            let square: f64 = x.row(i).iter().zip(x.row(at)).map(|(a, b)| (a - b) * (a - b)).sum();
            *left = if first { square } else { left.min(square) };
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Settings;
    use crate::metrics::points::tests::{normal, of};
    use crate::metrics::two_sample::mean;

    #[test]
    fn by_hand() {
        // 50 of 100 against 50 and 20 of 100: r = 0.35, 1.96 √(0.35·0.65·0.02) = 0.132 < 0.3.
        let e = different(&[50.0, 50.0], &[20.0, 80.0]);
        assert_eq!((e.value, e.stderr), (1.0, 0.0));
        assert_eq!(different(&[50.0, 50.0], &[45.0, 55.0]).value, 0.0);
    }

    #[test]
    fn k_means_finds_separate_clusters() -> Result<()> {
        let x = normal(90, 2, 0.1, 0.0, 1).and(&normal(90, 2, 0.1, 5.0, 2)).and(&normal(90, 2, 0.1, -5.0, 3));
        let centres = k_means(&x, 3, &Noise::new(0))?;
        let mut at: Vec<f64> = centres.rows().map(|c| c[0].round()).collect();
        at.sort_by(f64::total_cmp);
        assert_eq!(at, [-5.0, 0.0, 5.0]);
        assert_eq!(cells(&of(&[&[4.0, 0.0], &[-4.0, 0.0]]), &of(&[&[-5.0, 0.0], &[5.0, 0.0]]))?, [1, 0]);
        assert_eq!(k_means(&of(&[&[1.0], &[1.0]]), 5, &Noise::new(0))?.len(), 2);
        Ok(())
    }

    #[test]
    fn about_a_twentieth_between_equal_laws_and_most_where_a_mode_is_missing() -> Result<()> {
        let (settings, noise) = (Settings::default(), Noise::new(0));
        let of = |x: &Points, y: &Points| -> Result<f64> {
            Ok(measure(&Case::new(x, y, &settings, &noise))?[0].estimate.value)
        };
        let null: Vec<f64> = (0..30)
            .map(|run| of(&normal(400, 2, 1.0, 0.0, 2 * run), &normal(400, 2, 1.0, 0.0, 2 * run + 1)))
            .collect::<Result<_>>()?;
        // The cells are chosen to suit the real sample, so a little more than 0.05 differ.
        assert!((0.02..0.12).contains(&mean(&null)), "{}", mean(&null));
        assert!(of(&normal(400, 2, 1.0, 0.0, 1), &normal(400, 2, 1.0, 3.0, 2))? > 0.6);
        Ok(())
    }
}
