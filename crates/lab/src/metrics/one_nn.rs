//! The nearest-neighbour two-sample test: can a point's sample be told from its nearest neighbour's?
//!
//! ```text
//! accuracy = share of the points of both samples together whose nearest other point is of the same sample
//! ```
//! One half where the laws agree, one where they do not touch; below one half the fake points sit on the real ones
//! (memorised data: every fake point is the nearest neighbour of the real one it copies). Points at one distance share
//! the vote.
//!
//! `one_nn_p` is the p-value against "the laws agree", large accuracies counting as evidence: labels are exchangeable
//! then, and given the graph of nearest neighbours the mean and variance of the count over all relabellings are exact,
//!
//! ```text
//! E T = N p₂     Var T = N p₂ + M p₂ + S p₃ + (N(N−1) − M − S) p₂₂ − (N p₂)²
//! ```
//! with N points, M of them in mutual pairs, S ordered pairs of edges that share one point, and p₂, p₃, p₂₂ the chances
//! that two points, three points, or both of two disjoint pairs agree in their labels. The count is treated as normal.
//!
//! The standard error of the accuracy: the spread over quarters, see `resample`. The nearest neighbours within all
//! quarters come from the same pass over the pairs as those in the whole.
//!
//! Source: Schilling (1986), JASA 81; Henze (1988), Ann. Statist. 16; Lopez-Paz & Oquab (2017), arXiv:1610.06545.

use genzoo_core::{Better, Error, Noise, Result};
use genzoo_numerics::special::normal_cdf;

use super::case::{Case, Measured};
use super::points::{Pairing, Points, fold_pairs};
use super::resample::{PARTITIONS, PARTS, quarters, spread, too_few};
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 2] = [
    MetricInfo {
        name: "one_nn_accuracy",
        summary: "nearest-neighbour two-sample test: 0.5 where the laws agree, less where data are copied",
        unit: "1",
        better: Better::Lower,
        rows: Rows::OnRequest,
    },
    MetricInfo {
        name: "one_nn_p",
        summary: "its p-value: the chance of so large an accuracy if the laws agree",
        unit: "1",
        better: Better::Higher,
        rows: Rows::OnRequest,
    },
];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.pairs();
    let (votes, stderr) = Votes::with_error(&x, &y, &case.noise.fork("one_nn"))?;
    let values =
        [Estimate { value: votes.accuracy(), stderr }, Estimate { value: votes.p_value(), stderr: f64::NAN }];
    Ok(values.map(|e| Measured::of(e, &x, &y)).to_vec())
}

/// Per point of both samples together, real ones first: its nearest other point and the share of the votes for its
/// own sample.
pub struct Votes {
    nearest: Vec<usize>,
    own: Vec<f64>,
    real: usize,
}

/// Least rows of a sample in a quarter.
const LEAST: usize = 5;
/// In no quarter: the rows that are left over where four does not divide their number.
const NOWHERE: u8 = u8::MAX;

impl Votes {
    /// Asks every point.
    ///
    /// # Errors
    /// If the dimensions differ or there are fewer than four points.
    pub fn of(real: &Points, fake: &Points) -> Result<Self> {
        let parts = vec![[NOWHERE; PARTITIONS]; real.len() + fake.len()];
        Ok(Self::new(real.len(), &nearest(real, fake, &parts)?))
    }

    /// The same, and the standard error of the accuracy: NaN where the quarters are too small.
    fn with_error(real: &Points, fake: &Points, noise: &Noise) -> Result<(Self, f64)> {
        if too_few(real, fake, LEAST) {
            return Ok((Self::of(real, fake)?, f64::NAN));
        }
        let mut parts = vec![[NOWHERE; PARTITIONS]; real.len() + fake.len()];
        let all = (0..PARTITIONS).map(|partition| quarters(real, fake, partition, noise));
        for (partition, [of_real, of_fake]) in all.enumerate() {
            for (part, (i, j)) in (0u8..).zip(of_real.iter().zip(&of_fake)) {
                i.iter().for_each(|&i| parts[i][partition] = part);
                j.iter().for_each(|&j| parts[real.len() + j][partition] = part);
            }
        }
        let found = nearest(real, fake, &parts)?;
        let accuracy = |partition: usize, part: u8| {
            let votes = found.iter().zip(&parts).filter(|(_, parts)| parts[partition] == part);
            let own: Vec<f64> = votes.map(|(found, _)| found[partition + 1].own()).collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        let all =
            (0..PARTITIONS).flat_map(|partition| (0u8..).take(PARTS).map(move |part| (partition, part)));
        let accuracies: Vec<f64> = all.map(|(partition, part)| accuracy(partition, part)).collect();
        Ok((Self::new(real.len(), &found), spread(&accuracies)))
    }

    fn new(real: usize, found: &[Found]) -> Self {
        let (nearest, own) = found.iter().map(|f| (f[0].at, f[0].own())).unzip();
        Self { nearest, own, real }
    }

    /// Of all points.
    pub fn accuracy(&self) -> f64 {
        self.own.iter().sum::<f64>() / self.own.len() as f64
    }

    /// Of the real points, and of the fake ones.
    pub fn accuracies(&self) -> (f64, f64) {
        let (real, fake) = self.own.split_at(self.real);
        (real.iter().sum::<f64>() / real.len() as f64, fake.iter().sum::<f64>() / fake.len() as f64)
    }

    /// The chance of so large an accuracy if labels are exchangeable.
    pub fn p_value(&self) -> f64 {
        let (mean, variance) = self.moments();
        let count = self.own.iter().sum::<f64>();
        if variance > 0.0 { normal_cdf((mean - count) / variance.sqrt()) } else { 1.0 }
    }

    /// Mean and variance of the count over all relabellings.
    fn moments(&self) -> (f64, f64) {
        let all = self.nearest.len();
        let falling = |n: usize, k: usize| (0..k).map(|i| n as f64 - i as f64).product::<f64>();
        let (n, m) = (self.real, all - self.real);
        let chance = |k: usize| (falling(n, k) + falling(m, k)) / falling(all, k);
        let (p2, p3) = (chance(2), chance(3));
        let p22 = chance(4) + 2.0 * falling(n, 2) * falling(m, 2) / falling(all, 4);
        let mutual = (0..all).filter(|&i| self.nearest[self.nearest[i]] == i).count() as f64;
        let mut into = vec![0.0; all];
        self.nearest.iter().for_each(|&j| into[j] += 1.0);
        let total = all as f64;
        let sharing = into.iter().map(|c| c * (c - 1.0)).sum::<f64>() + 2.0 * (total - mutual);
        let apart = total * (total - 1.0) - mutual - sharing;
        let square = total * p2 + mutual * p2 + sharing * p3 + apart * p22;
        (total * p2, square - (total * p2).powi(2))
    }
}

/// The nearest of the points seen so far, and the votes of those at its distance.
#[derive(Clone, Copy)]
struct Nearest {
    square: f64,
    at: usize,
    same: u32,
    ties: u32,
}

/// Among all points, and within the point's part of each partition.
type Found = [Nearest; PARTITIONS + 1];

impl Nearest {
    /// Nothing yet, or nothing ever where nobody searches.
    fn none(searches: bool) -> Self {
        Self { square: if searches { f64::INFINITY } else { -1.0 }, at: usize::MAX, same: 0, ties: 0 }
    }

    /// Takes what another search found, in any order.
    fn take(&mut self, other: Self) {
        if other.square > self.square {
            return;
        }
        if other.square < self.square {
            *self = other;
            return;
        }
        self.at = self.at.min(other.at);
        self.same += other.same;
        self.ties += other.ties;
    }

    /// The share of the votes for the point's own sample.
    fn own(&self) -> f64 {
        f64::from(self.same) / f64::from(self.ties.max(1))
    }
}

/// For every point of both samples its nearest other point among all, and within its part of each partition.
fn nearest(real: &Points, fake: &Points, parts: &[[u8; PARTITIONS]]) -> Result<Vec<Found>> {
    /// Pairs that are looked at together before any of them alone.
    const RUN: usize = 32;
    if real.dims() != fake.dims() || real.len() + fake.len() < 4 {
        let got = format!("{} × {} and {} × {}", real.len(), real.dims(), fake.len(), fake.dims());
        return Err(Error::data("samples", "at least 4 rows together, of one dimension", got));
    }
    let (all, n) = (real.and(fake), real.len());
    // Beyond its reach no search of a point takes anything.
    let start = || {
        let none = |parts: &[u8; PARTITIONS]| {
            let mut found = [Nearest::none(true); PARTITIONS + 1];
            found[1..].iter_mut().zip(parts).for_each(|(f, part)| *f = Nearest::none(*part != NOWHERE));
            found
        };
        (vec![f64::INFINITY; all.len()], parts.iter().map(none).collect::<Vec<Found>>())
    };
    let seen = fold_pairs(&all, Pairing::SquaredDistance, start, |i, from, row, (reach, found)| {
        for (k, run) in row.chunks(RUN).enumerate() {
            let first = from + k * RUN;
            let (most, others) = (reach[i], &reach[first..first + run.len()]);
            let near = |any: bool, (r, other): (&f64, &f64)| any | (*r <= most) | (r <= other);
            if !run.iter().zip(others).fold(false, near) {
                continue;
            }
            for (j, &square) in (first..).zip(run) {
                if j <= i || square > reach[i] && square > reach[j] {
                    continue;
                }
                let together: [bool; PARTITIONS + 1] =
                    std::array::from_fn(|p| p == 0 || parts[i][p - 1] == parts[j][p - 1]);
                let same = u32::from((j < n) == (i < n));
                for (i, at) in [(i, j), (j, i)] {
                    if square <= reach[i] {
                        let pairs = found[i].iter_mut().zip(together).filter(|(_, together)| *together);
                        pairs.for_each(|(f, _)| f.take(Nearest { square, at, same, ties: 1 }));
                        reach[i] = found[i].iter().fold(0.0, |a, f| f.square.max(a));
                    }
                }
            }
        }
    });
    let mut seen = seen.into_iter().map(|(_, found)| found);
    let mut whole = seen.next().unwrap_or_default();
    for found in seen {
        let searches = whole.iter_mut().flatten().zip(found.into_iter().flatten());
        searches.for_each(|(a, b)| a.take(b));
    }
    if whole.iter().any(|found| !found[0].square.is_finite()) {
        return Err(Error::data("samples", "squared distances within the range of f64", "larger ones"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of, permuted};
    use crate::metrics::two_sample::{mean, variance};
    use genzoo_core::Noise;

    #[test]
    fn by_hand_on_a_line() -> Result<()> {
        // Neighbours: 0→1, 1→0, 5→5.5, 5.5→5, 9→5.5: real 0, 1, 5 and fake 5.5, 9.
        let votes = Votes::of(&of(&[&[0.0], &[1.0], &[5.0]]), &of(&[&[5.5], &[9.0]]))?;
        assert_eq!(votes.nearest, [1, 0, 3, 2, 3]);
        assert_eq!((votes.accuracy(), votes.accuracies()), (0.6, (2.0 / 3.0, 0.5)));
        Ok(())
    }

    #[test]
    fn copies_are_told_by_an_accuracy_of_nought() -> Result<()> {
        let x = normal(50, 20, 1.0, 0.0, 1);
        let votes = Votes::of(&x, &permuted(&x, 2))?;
        assert_eq!(votes.accuracy(), 0.0);
        assert!(votes.p_value() > 0.999);
        Ok(())
    }

    /// The moments against every relabelling of seven points.
    #[test]
    fn the_moments_are_those_of_all_relabellings() -> Result<()> {
        let (x, y) = (normal(3, 2, 1.0, 0.0, 1), normal(4, 2, 1.0, 0.0, 2));
        let votes = Votes::of(&x, &y)?;
        let mut counts = Vec::new();
        for labels in 0u32..1 << 7 {
            if labels.count_ones() == 3 {
                let of = |i: usize| labels >> i & 1;
                counts.push((0..7).filter(|&i| of(i) == of(votes.nearest[i])).count() as f64);
            }
        }
        let (m, v) = votes.moments();
        let spread = variance(&counts) * (counts.len() - 1) as f64 / counts.len() as f64;
        assert!((m - mean(&counts)).abs() < 1e-12 && (v - spread).abs() < 1e-12, "{v} {spread}");
        Ok(())
    }

    /// Under the null p is uniform: its mean is ½ and a tenth lies below 0.1.
    #[test]
    fn the_p_value_is_uniform_where_the_laws_agree_and_small_where_not() -> Result<()> {
        let runs = 300;
        let p: Vec<f64> = (0..runs)
            .map(|run| {
                Ok(Votes::of(&normal(50, 3, 1.0, 0.0, 2 * run), &normal(40, 3, 1.0, 0.0, 2 * run + 1))?
                    .p_value())
            })
            .collect::<Result<_>>()?;
        let below = p.iter().filter(|p| **p < 0.1).count() as f64 / runs as f64;
        assert!((mean(&p) - 0.5).abs() < 4.0 / (12.0 * runs as f64).sqrt() + 0.03, "{}", mean(&p));
        assert!((below - 0.1).abs() < 4.0 * (0.09 / runs as f64).sqrt(), "{below}");
        assert!(Votes::of(&normal(100, 3, 1.0, 1.5, 1), &normal(100, 3, 1.0, 0.0, 2))?.p_value() < 1e-4);
        Ok(())
    }

    /// The one pass against one search per quarter, with ties, copies, and rows that are left over.
    #[test]
    fn quarters_are_searched_on_the_way() -> Result<()> {
        for d in [1, 2, 12] {
            let (x, y) = (normal(150, d, 1.0, 0.0, 1), normal(103, d, 1.0, 0.4, 2));
            let y = y.and(&x.select(&[3, 3, 17, 60]));
            let noise = Noise::new(5);
            let (votes, error) = Votes::with_error(&x, &y, &noise)?;
            let slow = crate::metrics::resample::standard_errors(&x, &y, LEAST, &noise, |x, y| {
                Ok([Votes::of(x, y)?.accuracy()])
            })?;
            assert!((error - slow[0]).abs() < 1e-15, "{d}: {error} {slow:?}");
            assert_eq!((votes.own, votes.nearest), {
                let alone = Votes::of(&x, &y)?;
                (alone.own, alone.nearest)
            });
            // Every point against every other.
            let (all, n) = (x.and(&y), x.len());
            let square = |i: usize, j: usize| -> f64 {
                all.row(i).iter().zip(all.row(j)).map(|(a, b)| (a - b).powi(2)).sum()
            };
            for (i, own) in Votes::of(&x, &y)?.own.iter().enumerate() {
                let others = || (0..all.len()).filter(|j| *j != i);
                let least = others().map(|j| square(i, j)).fold(f64::INFINITY, f64::min);
                let near: Vec<usize> = others().filter(|j| square(i, *j) <= least * (1.0 + 1e-12)).collect();
                let same = near.iter().filter(|j| (**j < n) == (i < n)).count();
                assert!((own - same as f64 / near.len() as f64).abs() < 1e-15, "{d}: row {i}");
            }
        }
        let far = of(&[&[1e200], &[-1e200], &[3e200]]);
        assert!(Votes::of(&far, &of(&[&[1.0]])).is_err());
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        let (settings, noise) = (crate::metrics::Settings::default(), Noise::new(0));
        for run in 0..150 {
            let (x, y) = (normal(100, 2, 1.0, 1.0, 2 * run), normal(100, 2, 1.0, 0.0, 2 * run + 1));
            let e = measure(&Case::new(&x, &y, &settings, &noise))?[0].estimate;
            values.push(e.value);
            errors.push(e.stderr);
        }
        let ratio = mean(&errors) / variance(&values).sqrt();
        assert!((0.65..1.7).contains(&ratio), "stated over true error {ratio}");
        Ok(())
    }
}
