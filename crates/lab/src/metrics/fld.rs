//! The generalisation gap of Feature Likelihood Divergence: do the samples explain training rows better than new ones?
//!
//! ```text
//! q(x) = 1/n Σ_j N(x; y_j, σ_j² I)           around the fake points, each σ_j as training rows like it best
//! gap  = 100/d (mean over training rows of −log q  −  mean over held-out rows of −log q)
//! ```
//! Coordinates are standardised by the held-out rows. The σ_j are fitted by expectation maximisation beside a wide normal
//! around all training rows (half of the weight, in the fit alone, its distances shrunk to 0.9 and its width fitted too),
//! so that a row far from every sample does not widen one. A model that copies puts narrow windows on training rows: the
//! gap falls far below 0, whatever the quality. For fresh samples it lies a little below 0, because the windows were
//! fitted to the training rows: read it beside its floor.
//!
//! The original climbs the same likelihood by at most fifty steps of Adam, stops where the loss moves by less than 5e-4,
//! and lets σ² fall to e⁻⁴⁰ where this stops at 1e-3/d. The likelihood is flat in windows that the wide normal outweighs,
//! and the gap is not: on the samples of `tests/metrics_originals.rs` both differ by 0.01, 1.9 and 2.3.
//!
//! Standard error, for these training rows: of the mean over held-out rows, and of the choice of the fake points, by
//! their influence `n (r̄_j(held-out) − r̄_j(training))`, r̄_j the mean share of a row that window j explains.
//!
//! Source: Jiralerspong et al. (2023), "Feature Likelihood Divergence", arXiv:2302.04440, §3 and §4.3.

use genzoo_core::{Better, Error, Result};

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_row};
use super::two_sample::{Estimate, mean, variance};
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 1] = [MetricInfo {
    name: "fld_gap",
    summary: "generalisation gap of feature likelihood divergence; far below the floor: copied",
    unit: "1",
    better: Better::Higher,
    rows: Rows::OnRequest,
}];

/// Most rows of each kind; of more, a random subset.
const MOST: usize = 4_000;
/// Steps of expectation maximisation.
const STEPS: usize = 20;
/// The smallest σ² d, in standardised squares: what the original adds to the distance that windows start from.
const LEAST: f64 = 1e-3;
/// What the wide normal sees of the square of a distance.
const SHRUNK: f64 = 0.81;

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let train = case.train.ok_or_else(|| Error::Unsupported("the training rows are not known".into()))?;
    let subset = |x: &Points, name: &str| x.at_most(MOST, &case.noise.fork("fld").fork(name)).into_owned();
    let (test, fake) = (subset(case.real, "real"), subset(case.fake, "fake"));
    let estimate = gap(&subset(train, "train"), &test, &fake)?;
    Ok(vec![Measured::of(estimate, &test, &fake)])
}

fn gap(train: &Points, test: &Points, fake: &Points) -> Result<Estimate> {
    let (centre, scale) = (test.mean(), scales(test));
    let standard = |x: &Points| {
        let values = x.rows().flat_map(|r| (0..r.len()).map(|k| (r[k] - centre[k]) / scale[k])).collect();
        Points::from_values(values, x.dims())
    };
    let (train, test, fake) = (standard(train), standard(test), standard(fake));
    let windows = Windows::fit(&train, &fake)?;
    let (of_train, of_test) = (windows.costs(&train)?, windows.costs(&test)?);
    let (known, new) = (windows.shares(&train, &of_train)?, windows.shares(&test, &of_test)?);
    let n = fake.len() as f64;
    let influence: Vec<f64> = new.iter().zip(known).map(|(new, known)| n * (new - known)).collect();
    let unit = 100.0 / train.dims() as f64;
    let square = variance(&of_test) / of_test.len() as f64 + variance(&influence) / n;
    Ok(Estimate { value: unit * (mean(&of_train) - mean(&of_test)), stderr: unit * square.sqrt() })
}

/// Standard deviations per coordinate; 1 where there is none.
fn scales(x: &Points) -> Vec<f64> {
    let column = |k: usize| x.rows().map(|r| r[k]).collect::<Vec<f64>>();
    let sd = |k: usize| variance(&column(k)).sqrt();
    (0..x.dims()).map(sd).map(|s| if s > 0.0 { s } else { 1.0 }).collect()
}

/// A normal around each fake point.
struct Windows<'a> {
    centres: &'a Points,
    /// σ_j².
    squares: Vec<f64>,
    /// `−log n − d/2 log 2π σ_j²`.
    heights: Vec<f64>,
}

impl<'a> Windows<'a> {
    fn new(centres: &'a Points, squares: Vec<f64>) -> Self {
        let (n, d) = (centres.len() as f64, centres.dims() as f64);
        let height = |s: &f64| -n.ln() - 0.5 * d * (std::f64::consts::TAU * s).ln();
        Self { heights: squares.iter().map(height).collect(), centres, squares }
    }

    /// The widths under which `train` is likeliest beside the wide normal, from each window's nearest row on.
    fn fit(train: &Points, centres: &'a Points) -> Result<Self> {
        let d = train.dims() as f64;
        let nearest = for_each_row(centres, train, Pairing::SquaredDistance, |_, r| {
            r.iter().copied().fold(f64::INFINITY, f64::min)
        })?;
        let mut windows = Self::new(centres, nearest.iter().map(|r| (r + LEAST) / d).collect());
        let centre = train.mean();
        let square = |r: &[f64]| SHRUNK * r.iter().map(|v| v * v).sum::<f64>();
        let far: Vec<f64> = train.minus(&centre).rows().map(square).collect();
        let mut wide = 1.0;
        for _ in 0..STEPS {
            let background = |r: f64| -0.5 * (r / wide + d * (std::f64::consts::TAU * wide).ln());
            let costs = windows.costs(train)?;
            let totals: Vec<f64> =
                costs.iter().zip(&far).map(|(cost, r)| log_add(-cost, background(*r))).collect();
            let own = far.iter().zip(&totals).map(|(r, total)| ((background(*r) - total).exp(), r));
            let (share, square) = own.fold((0.0, 0.0), |(a, b), (p, r)| (a + p, b + p * r));
            // The shares of window j in every row: column by column of the matrix of all pairs.
            let next = for_each_row(centres, train, Pairing::SquaredDistance, |j, r| {
                let (mut share, mut square) = (0.0, 0.0);
                for (r, total) in r.iter().zip(&totals) {
                    let p = (windows.log(j, *r) - total).exp();
                    share += p;
                    square += p * r;
                }
                // A window that explains nothing keeps its width.
                if share > 0.0 { (square / share / d).max(LEAST / d) } else { windows.squares[j] }
            })?;
            windows = Self::new(centres, next);
            if share > 0.0 {
                wide = (square / share / d).max(LEAST);
            }
        }
        Ok(windows)
    }

    /// log of the weighted window j at squared distance r.
    fn log(&self, j: usize, r: f64) -> f64 {
        self.heights[j] - 0.5 * r / self.squares[j]
    }

    /// −log q of each row.
    fn costs(&self, x: &Points) -> Result<Vec<f64>> {
        for_each_row(x, self.centres, Pairing::SquaredDistance, |_, r| {
            let top = r.iter().enumerate().fold(f64::NEG_INFINITY, |top, (j, r)| top.max(self.log(j, *r)));
            let sum: f64 = r.iter().enumerate().map(|(j, r)| (self.log(j, *r) - top).exp()).sum();
            -top - sum.ln()
        })
    }

    /// The mean share of the rows that each window explains, given −log q of the rows.
    fn shares(&self, x: &Points, costs: &[f64]) -> Result<Vec<f64>> {
        for_each_row(self.centres, x, Pairing::SquaredDistance, |j, r| {
            let shares = r.iter().zip(costs).map(|(r, cost)| (self.log(j, *r) + cost).exp());
            shares.sum::<f64>() / x.len() as f64
        })
    }
}

fn log_add(a: f64, b: f64) -> f64 {
    let top = a.max(b);
    top + (-(a - b).abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};

    #[test]
    fn windows_are_the_mixture_written_out() -> Result<()> {
        let (x, y) = (of(&[&[0.0, 0.5], &[2.0, -1.0]]), of(&[&[0.1, 0.2], &[1.5, 0.0], &[-3.0, 1.0]]));
        let squares = [0.3, 1.2, 0.05];
        let windows = Windows::new(&y, squares.to_vec());
        let costs = windows.costs(&x)?;
        for (row, cost) in x.rows().zip(&costs) {
            let density = |j: usize| {
                let r: f64 = row.iter().zip(y.row(j)).map(|(a, b)| (a - b).powi(2)).sum();
                (-0.5 * r / squares[j]).exp() / (std::f64::consts::TAU * squares[j])
            };
            let want = -((density(0) + density(1) + density(2)) / 3.0).ln();
            assert!((cost - want).abs() < 1e-12, "{cost} {want}");
        }
        let shares = windows.shares(&x, &costs)?;
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        Ok(())
    }

    /// Each step of expectation maximisation makes the training rows likelier, so the fitted widths are no worse than any
    /// common one.
    #[test]
    fn fitted_widths_beat_every_common_one() -> Result<()> {
        let (train, fake) = (normal(300, 3, 1.0, 0.0, 1), normal(200, 3, 1.1, 0.1, 2));
        let fitted = mean(&Windows::fit(&train, &fake)?.costs(&train)?);
        for square in [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0] {
            let common = mean(&Windows::new(&fake, vec![square; 200]).costs(&train)?);
            assert!(fitted < common, "{fitted} {common} at {square}");
        }
        Ok(())
    }

    #[test]
    fn copies_are_caught_and_fresh_samples_are_not() -> Result<()> {
        let (train, test) = (normal(500, 8, 1.0, 0.0, 1), normal(500, 8, 1.0, 0.0, 2));
        let fresh = gap(&train, &test, &normal(400, 8, 1.0, 0.0, 3))?;
        let copies = gap(&train, &test, &train.select(&(0..400).collect::<Vec<_>>()))?;
        let half = train.select(&(0..200).collect::<Vec<_>>()).and(&normal(200, 8, 1.0, 0.0, 4));
        let half = gap(&train, &test, &half)?;
        assert!(copies.value < -100.0 && copies.value < half.value && half.value < fresh.value - 10.0);
        assert!(fresh.value.abs() < 20.0, "{fresh:?} {half:?} {copies:?}");
        // A poor fit is no copy.
        assert!(gap(&train, &test, &normal(400, 8, 2.0, 0.0, 3))?.value > -10.0);
        // Units do not matter, coordinate by coordinate.
        let stretch = |p: &Points| {
            let values = p.rows().flat_map(|r| r.iter().enumerate().map(|(k, v)| v * (k + 1) as f64 - 3.0));
            Points::from_values(values.collect(), 8)
        };
        let again = gap(&stretch(&train), &stretch(&test), &stretch(&normal(400, 8, 1.0, 0.0, 3)))?;
        assert!((again.value - fresh.value).abs() < 1e-6 * (1.0 + fresh.value.abs()), "{again:?} {fresh:?}");
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        let train = normal(200, 3, 1.0, 0.0, 9999);
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for run in 0..150 {
            let (test, fake) = (normal(120, 3, 1.0, 0.0, 2 * run), normal(120, 3, 1.1, 0.2, 2 * run + 1));
            let got = gap(&train, &test, &fake)?;
            values.push(got.value);
            errors.push(got.stderr);
        }
        let ratio = mean(&errors) / variance(&values).sqrt();
        assert!((0.8..1.25).contains(&ratio), "stated over true error {ratio}");
        Ok(())
    }
}
