//! Has the model learnt its training rows by heart? Metrics of three samples: training, held-out real, and fake.
//!
//! ```text
//! train_distance = mean over fake y of d(y, T),   d(·, T) the distance to the nearest training row
//! authenticity   = share of fake y with d(y, x) > d(x, T \\ x),   x the training row nearest to y
//! C_T            = Σ_cells w Z / Σ_cells w,   Z = (U − nm/2)/√(nm(n + m + 1)/12)
//! ```
//! U counts the pairs in which a fake point is farther from T than a held-out one; a cell is a k-means cell of T with
//! at least twenty of each, w its share of the held-out points; there is one cell per hundred held-out points, at most
//! ten. Copies make C_T fall far below 0 (under −3 is strong evidence), a poor fit makes it rise. Read all of them
//! beside their floors, where held-out points take the place of fake ones.
//!
//! Standard errors, for these training rows: of a mean; binomial; of a Mann-Whitney statistic by its placements.
//!
//! Source: Meehan, Chaudhuri & Dasgupta (2020), AISTATS, §3.2; Alaa et al. (2022), ICML, Eq. 9; DeLong et al. (1988),
//! Biometrics 44, for the error of U.

use genzoo_core::{Better, Error, Result};

use super::bins::{cells, k_means};
use super::case::{Case, Measured};
use super::neighbours::radii;
use super::points::{Pairing, Points, for_each_row};
use super::two_sample::{Estimate, mean, variance};
use super::{MetricInfo, Rows};

const fn info(name: &'static str, summary: &'static str) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better: Better::Higher, rows: Rows::Samples }
}

pub(super) static METRICS: [MetricInfo; 3] = [
    info(
        "train_distance",
        "mean distance of the fake points to their nearest training row; below the floor: copied",
    ),
    info(
        "authenticity",
        "share of the fake points farther from the nearest training row than its own neighbour is",
    ),
    info(
        "c_t",
        "data-copying test: z of fake against held-out distances to the training rows; far below 0: copied",
    ),
];

/// Fewest points of each kind in a cell.
const FEWEST: usize = 20;

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let train = case.train.ok_or_else(|| Error::Unsupported("the training rows are not known".into()))?;
    let (x, y) = case.pairs();
    let near = nearest(&y, train)?;
    let distances: Vec<f64> = near.iter().map(|n| n.1.sqrt()).collect();
    let n = y.len() as f64;
    let distance = Estimate { value: mean(&distances), stderr: (variance(&distances) / n).sqrt() };
    let own = radii(train, 1)?;
    let share = near.iter().filter(|(at, r)| *r > own[*at]).count() as f64 / n;
    let authenticity = Estimate { value: share, stderr: (share * (1.0 - share) / n).sqrt() };
    let count = (x.len() / 100).clamp(1, 10);
    let centres = k_means(train, count, &case.noise.fork("cells"))?;
    let held_out: Vec<f64> = nearest(&x, train)?.into_iter().map(|n| n.1).collect();
    let squares: Vec<f64> = near.iter().map(|n| n.1).collect();
    let copying =
        copying((&held_out, &cells(&x, &centres)?), (&squares, &cells(&y, &centres)?), centres.len());
    Ok([distance, authenticity, copying].map(|e| Measured::of(e, &x, &y)).to_vec())
}

/// Index and squared distance of the nearest row of `train`.
fn nearest(x: &Points, train: &Points) -> Result<Vec<(usize, f64)>> {
    for_each_row(x, train, Pairing::SquaredDistance, |_, row| {
        row.iter().enumerate().fold((0, f64::INFINITY), |a, (j, &r)| if r < a.1 { (j, r) } else { a })
    })
}

/// C_T of held-out and fake distances with their cells; NaN if no cell has enough of both.
fn copying(test: (&[f64], &[usize]), fake: (&[f64], &[usize]), cells: usize) -> Estimate {
    let of = |side: (&[f64], &[usize]), cell: usize| -> Vec<f64> {
        side.0.iter().zip(side.1).filter(|(_, c)| **c == cell).map(|(d, _)| *d).collect()
    };
    let (mut total, mut value, mut square) = (0.0, 0.0, 0.0);
    for cell in 0..cells {
        let (test, fake) = (of(test, cell), of(fake, cell));
        if test.len() >= FEWEST && fake.len() >= FEWEST {
            let (z, weight) = (mann_whitney(&fake, &test), test.len() as f64);
            total += weight;
            value += weight * z.value;
            square += (weight * z.stderr).powi(2);
        }
    }
    Estimate { value: value / total, stderr: square.sqrt() / total }
}

/// The standardised count of pairs with a > b (ties count half), and its standard error by placements.
fn mann_whitney(a: &[f64], b: &[f64]) -> Estimate {
    let sorted = |v: &[f64]| {
        let mut v = v.to_vec();
        v.sort_unstable_by(f64::total_cmp);
        v
    };
    // The share of `others` below v.
    let placement = |v: f64, others: &[f64]| {
        let (below, upto) = (others.partition_point(|o| *o < v), others.partition_point(|o| *o <= v));
        0.5 * (below + upto) as f64 / others.len() as f64
    };
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (in_a, in_b) = (sorted(a), sorted(b));
    let of_a: Vec<f64> = a.iter().map(|v| placement(*v, &in_b)).collect();
    let of_b: Vec<f64> = b.iter().map(|v| 1.0 - placement(*v, &in_a)).collect();
    let unit = n * m / (n * m * (n + m + 1.0) / 12.0).sqrt();
    let error = (variance(&of_a) / n + variance(&of_b) / m).sqrt();
    Estimate { value: unit * (mean(&of_a) - 0.5), stderr: unit * error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Settings;
    use crate::metrics::points::tests::{normal, of};
    use genzoo_core::Noise;

    fn all(train: &Points, test: &Points, fake: &Points) -> Result<[Estimate; 3]> {
        let (settings, noise) = (Settings::default(), Noise::new(0));
        let case = Case { train: Some(train), ..Case::new(test, fake, &settings, &noise) };
        let got = measure(&case)?;
        Ok([got[0].estimate, got[1].estimate, got[2].estimate])
    }

    #[test]
    fn by_hand_on_a_line() -> Result<()> {
        // Training 0, 1, 5; fake 0.25 (nearest 0, whose neighbour is at 1), 7 (nearest 5, whose neighbour is at 4), 2.5.
        let train = of(&[&[0.0], &[1.0], &[5.0]]);
        let got = all(&train, &train, &of(&[&[0.25], &[7.0], &[2.5]]))?;
        assert!((got[0].value - (0.25 + 2.0 + 1.5) / 3.0).abs() < 1e-15);
        assert_eq!(got[1].value, 1.0 / 3.0);
        assert!(got[2].value.is_nan());
        let z = mann_whitney(&[3.0, 4.0], &[1.0, 2.0, 3.0]);
        assert!((z.value - (5.5 - 3.0) / (6.0f64 * 6.0 / 12.0).sqrt()).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn copies_are_caught_and_fresh_samples_are_not() -> Result<()> {
        let (train, test) = (normal(500, 4, 1.0, 0.0, 1), normal(300, 4, 1.0, 0.0, 2));
        let fresh = all(&train, &test, &normal(400, 4, 1.0, 0.0, 3))?;
        let copies = all(&train, &test, &train.select(&(0..400).collect::<Vec<_>>()))?;
        assert_eq!((copies[0].value, copies[1].value), (0.0, 0.0));
        assert!(copies[2].value < -5.0 && fresh[2].value.abs() < 4.0 && fresh[1].value > 0.4);
        assert!(all(&train, &test, &normal(400, 4, 2.0, 0.0, 3))?[2].value > 5.0);
        Ok(())
    }

    /// Fresh fake points: C_T has mean 0 (to the chance of the training rows) and the stated error is its spread.
    #[test]
    fn the_standard_errors_are_the_spread_over_samples() -> Result<()> {
        let train = normal(300, 2, 1.0, 0.0, 9999);
        let mut runs: [(Vec<f64>, Vec<f64>); 3] = std::array::from_fn(|_| (Vec::new(), Vec::new()));
        for run in 0..150 {
            let (test, fake) = (normal(80, 2, 1.0, 0.0, 2 * run), normal(80, 2, 1.1, 0.2, 2 * run + 1));
            for (k, e) in all(&train, &test, &fake)?.iter().enumerate() {
                runs[k].0.push(e.value);
                runs[k].1.push(e.stderr);
            }
        }
        for (k, (values, errors)) in runs.iter().enumerate() {
            let ratio = mean(errors) / variance(values).sqrt();
            assert!((0.8..1.25).contains(&ratio), "{}: stated over true error {ratio}", METRICS[k].name);
        }
        Ok(())
    }
}
