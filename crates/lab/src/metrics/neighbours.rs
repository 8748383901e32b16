//! Improved precision and recall, density and coverage, by balls around points.
//!
//! ```text
//! r_k(x)    = distance from x to its k-th nearest neighbour in its own sample
//! precision = share of fake y  with ‖x − y‖ < r_k(x) for some real x
//! recall    = share of real x  with ‖x − y‖ < r_k(y) for some fake y
//! density   = (1/k) mean over fake y of the number of real x with ‖x − y‖ < r_k(x)
//! coverage  = share of real x  with ‖x − y‖ < r_k(x) for some fake y
//! ```
//! Precision and density look at quality, recall and coverage at variety. Inequalities are strict and k defaults to 5,
//! as in the authors' package `prdc`. Between equal laws none of them is 1 (coverage is about 1 − 2⁻ᵏ, density 1):
//! read them beside their floors. Standard errors: the spread over quarters, see `resample`.
//!
//! Source: Kynkäänniemi et al. (2019), arXiv:1904.06991; Naeem et al. (2020), arXiv:2002.09797, Eq. 1–3.

use genzoo_core::{Better, Error, Result};

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_block, for_each_row};
use super::resample::standard_errors;
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};

const fn info(name: &'static str, summary: &'static str) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better: Better::Higher, rows: Rows::Features }
}

pub(super) static METRICS: [MetricInfo; 4] = [
    info("precision", "share of the fake points inside a 5-nearest-neighbour ball of a real one"),
    info("recall", "share of the real points inside such a ball of a fake one"),
    info("density", "real balls per fake point, over 5"),
    info("coverage", "share of the real points whose ball holds a fake one"),
];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let ((x, y), k) = (case.pairs(), case.settings.k);
    let values = Balls::of(&x, &y, k)?.values();
    let errors = standard_errors(&x, &y, k + 2, &case.noise.fork("neighbours"), |x, y| {
        Ok(Balls::of(x, y, k)?.values())
    })?;
    let estimates = values.into_iter().zip(errors).map(|(value, stderr)| Estimate { value, stderr });
    Ok(estimates.map(|e| Measured::of(e, &x, &y)).collect())
}

/// How many points fall into how many balls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balls {
    /// Fake points in a real ball.
    pub precise: usize,
    /// Real points in a fake ball.
    pub recalled: usize,
    /// Pairs of a fake point and a real ball around it.
    pub dense: usize,
    /// Real balls with a fake point.
    pub covered: usize,
    n_real: usize,
    n_fake: usize,
    k: usize,
}

impl Balls {
    /// Counts for the k-th nearest neighbour.
    ///
    /// # Errors
    /// If a sample has no k-th neighbour or the dimensions differ.
    pub fn of(real: &Points, fake: &Points, k: usize) -> Result<Self> {
        let (within_real, within_fake) = (radii(real, k)?, radii(fake, k)?);
        let parts = for_each_block(real, fake, Pairing::SquaredDistance, |block| {
            let (mut recalled, mut covered, mut balls) = (0, 0, vec![0u32; block.width]);
            for (i, row) in block.rows() {
                let (mut inside, mut found) = (0u32, false);
                for ((r, own), balls) in row.iter().zip(&within_fake).zip(&mut balls) {
                    let hit = u32::from(*r < within_real[i]);
                    inside += hit;
                    *balls += hit;
                    found |= r < own;
                }
                recalled += usize::from(found);
                covered += usize::from(inside > 0);
            }
            (recalled, covered, balls)
        })?;
        let mut balls = vec![0u32; fake.len()];
        let (mut recalled, mut covered) = (0, 0);
        for part in parts {
            recalled += part.0;
            covered += part.1;
            balls.iter_mut().zip(part.2).for_each(|(a, b)| *a += b);
        }
        let precise = balls.iter().filter(|b| **b > 0).count();
        let dense = balls.iter().map(|b| *b as usize).sum();
        Ok(Self { precise, recalled, dense, covered, n_real: real.len(), n_fake: fake.len(), k })
    }

    /// Precision, recall, density, coverage.
    pub fn values(&self) -> [f64; 4] {
        let (real, fake) = (self.n_real as f64, self.n_fake as f64);
        [
            self.precise as f64 / fake,
            self.recalled as f64 / real,
            self.dense as f64 / (self.k as f64 * fake),
            self.covered as f64 / real,
        ]
    }
}

/// The squared distance of each point to its k-th nearest other point.
pub(super) fn radii(x: &Points, k: usize) -> Result<Vec<f64>> {
    if k == 0 || x.len() <= k {
        return Err(Error::data(
            "samples",
            format!("more than k = {k} rows each, and k at least 1"),
            x.len(),
        ));
    }
    for_each_row(x, x, Pairing::SquaredDistance, |i, row| {
        let mut least = Least::new(k);
        row[..i].iter().chain(&row[i + 1..]).for_each(|&r| least.offer(r));
        least.last()
    })
}

/// The k least of a stream of numbers, in order.
pub(super) struct Least(Vec<f64>);

impl Least {
    pub(super) fn new(k: usize) -> Self {
        Self(vec![f64::INFINITY; k])
    }

    pub(super) fn offer(&mut self, value: f64) {
        let last = self.0.len() - 1;
        if value < self.0[last] {
            let at = self.0.partition_point(|v| *v <= value);
            self.0[at..].rotate_right(1);
            self.0[at] = value;
        }
    }

    pub(super) fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Settings;
    use crate::metrics::points::tests::{normal, of, permuted};
    use crate::metrics::two_sample::{mean, variance};
    use genzoo_core::Noise;

    #[test]
    fn by_hand_on_a_line() -> Result<()> {
        // Real 0, 1, 3: radii to the nearest 1, 1, 2. Fake 0.5, 4, 9: radii 3.5, 3.5, 5.
        let (real, fake) = (of(&[&[0.0], &[1.0], &[3.0]]), of(&[&[0.5], &[4.0], &[9.0]]));
        assert_eq!(radii(&real, 1)?, [1.0, 1.0, 4.0]);
        let b = Balls::of(&real, &fake, 1)?;
        // 0.5 is in the balls of 0 and 1; 4 in that of 3; 9 in none. 0.5 is at 2.5 from 3, outside its ball of 2.
        assert_eq!((b.precise, b.dense, b.covered, b.recalled), (2, 3, 3, 3));
        assert_eq!(b.values(), [2.0 / 3.0, 1.0, 1.0, 1.0]);
        assert!(Balls::of(&real, &fake, 3).is_err() && Balls::of(&real, &fake, 0).is_err());
        Ok(())
    }

    /// Strict inequalities: of a sample and itself every point is at distance 0 of its twin.
    #[test]
    fn perfect_on_itself_and_blind_to_order() -> Result<()> {
        for d in [2, 20] {
            let (x, y) = (normal(80, d, 1.0, 0.0, 1), normal(70, d, 1.2, 0.3, 2));
            let [precision, recall, _, coverage] = Balls::of(&x, &permuted(&x, 1), 4)?.values();
            assert_eq!([precision, recall, coverage], [1.0; 3]);
            assert_eq!(Balls::of(&x, &y, 4)?, Balls::of(&permuted(&x, 5), &permuted(&y, 6), 4)?);
            // Exchanging the samples exchanges precision and recall.
            assert_eq!(Balls::of(&x, &y, 4)?.precise, Balls::of(&y, &x, 4)?.recalled);
        }
        Ok(())
    }

    /// Between equal laws coverage is 1 − 2⁻ᵏ at large equal sizes, and density is 1.
    #[test]
    fn the_expectations_between_equal_laws() -> Result<()> {
        let (mut covered, mut dense) = (Vec::new(), Vec::new());
        for run in 0..20 {
            let [_, _, d, c] =
                Balls::of(&normal(300, 2, 1.0, 0.0, 2 * run), &normal(300, 2, 1.0, 0.0, 2 * run + 1), 3)?
                    .values();
            covered.push(c);
            dense.push(d);
        }
        assert!((mean(&covered) - 0.875).abs() < 4.0 * (variance(&covered) / 20.0).sqrt() + 0.005);
        assert!((mean(&dense) - 1.0).abs() < 4.0 * (variance(&dense) / 20.0).sqrt() + 0.005);
        Ok(())
    }

    #[test]
    fn the_standard_errors_are_the_spread_over_samples() -> Result<()> {
        let mut runs: [(Vec<f64>, Vec<f64>); 4] = std::array::from_fn(|_| (Vec::new(), Vec::new()));
        let (settings, noise) = (Settings::default(), Noise::new(0));
        for run in 0..150 {
            let (x, y) = (normal(200, 2, 1.0, 0.7, 2 * run), normal(160, 2, 1.0, 0.0, 2 * run + 1));
            for (k, m) in measure(&Case::new(&x, &y, &settings, &noise))?.iter().enumerate() {
                runs[k].0.push(m.estimate.value);
                runs[k].1.push(m.estimate.stderr);
            }
        }
        for (k, (values, errors)) in runs.iter().enumerate() {
            let ratio = mean(errors) / variance(values).sqrt();
            assert!((0.65..1.7).contains(&ratio), "{}: stated over true error {ratio}", METRICS[k].name);
        }
        Ok(())
    }
}
