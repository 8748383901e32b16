//! One comparison: the samples, what else is known, and how to measure.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use candle_core::Tensor;
use genzoo_core::{Error, Modes, Noise, Result};

use super::mmd::median_distance;
use super::points::Points;
use super::two_sample::{Estimate, mean};

/// Most rows of a metric of all pairs; of more, a random subset.
const MOST_FOR_PAIRS: usize = 10_000;

/// Most rows of entropic transport.
const MOST_ENTROPIC: usize = 3_000;

/// How to measure. `None` leaves a number to the real data.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bandwidth of the kernels; else the median distance.
    pub bandwidth: Option<f64>,
    /// Whether the median is that of both samples together, rather than of the real one alone.
    pub pooled: bool,
    /// Neighbours of precision, recall, density and coverage.
    pub k: usize,
    /// Regularisation of entropic transport, in squared units; else a twentieth of the mean squared distance between
    /// real points.
    pub eps: Option<f64>,
    /// Directions of the sliced distances.
    pub directions: Directions,
    /// Most rows of each sample in exact and entropic transport; of more, random subsets.
    pub most_exact: usize,
}

/// Directions of the sliced distances.
#[derive(Clone, Debug)]
pub enum Directions {
    /// So many, uniform on the sphere.
    Random(usize),
    /// These unit vectors, one per row.
    Given(Points),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bandwidth: None,
            pooled: false,
            k: 5,
            eps: None,
            directions: Directions::Random(128),
            most_exact: 2000,
        }
    }
}

/// ∇ log p of points.
pub type Score<'a> = &'a (dyn Fn(&Points) -> Result<Points> + Sync);

/// Two samples to compare, and what else is known about them.
#[derive(Clone)]
pub struct Case<'a> {
    /// Real points.
    pub real: &'a Points,
    /// Points to judge.
    pub fake: &'a Points,
    /// What the model was trained on.
    pub train: Option<&'a Points>,
    /// The modes of the data.
    pub modes: Option<&'a Modes>,
    /// The score of the law that `fake` should follow.
    pub score: Option<Score<'a>>,
    /// A judge's class probabilities of `fake`, `(n, classes)`.
    pub probabilities: Option<&'a Tensor>,
    /// The true share of each class.
    pub shares: Option<&'a [f64]>,
    /// The rows those shares were counted on, where they are no certainty.
    pub counted: Option<usize>,
    /// How to measure.
    pub settings: &'a Settings,
    /// Source of subsets and directions; forked by name, so nothing depends on what else is measured.
    pub noise: &'a Noise,
    pub(super) resolved: Arc<Resolved>,
}

/// Numbers taken from the data once and shared by every comparison with the same real sample.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    bandwidth: OnceLock<f64>,
    eps: OnceLock<f64>,
    directions: OnceLock<Points>,
}

impl<'a> Case<'a> {
    /// A case of two samples alone.
    pub fn new(real: &'a Points, fake: &'a Points, settings: &'a Settings, noise: &'a Noise) -> Self {
        let resolved = Arc::new(Resolved::default());
        let (probabilities, shares) = (None, None);
        Self {
            real,
            fake,
            train: None,
            modes: None,
            score: None,
            probabilities,
            shares,
            counted: None,
            settings,
            noise,
            resolved,
        }
    }

    /// The same measurement of two other samples: with the bandwidth, ε and directions of this one.
    #[must_use]
    pub fn between(&self, real: &'a Points, fake: &'a Points) -> Self {
        Self { real, fake, probabilities: None, ..self.clone() }
    }

    /// The bandwidth of the kernels.
    ///
    /// # Errors
    /// If the one that was asked for is not positive.
    pub fn bandwidth(&self) -> Result<f64> {
        if let Some(&h) = self.resolved.bandwidth.get() {
            return Ok(h);
        }
        let noise = self.noise.fork("median");
        let h = match self.settings.bandwidth {
            Some(h) if h > 0.0 && h.is_finite() => h,
            Some(h) => return Err(Error::config("--bandwidth", "a positive number or 'median'", h)),
            None if self.settings.pooled => median_distance(&self.real.and(self.fake), &noise)?,
            None => median_distance(self.real, &noise)?,
        };
        Ok(*self.resolved.bandwidth.get_or_init(|| h))
    }

    /// The regularisation of entropic transport.
    ///
    /// # Errors
    /// If the one that was asked for is not positive.
    pub fn eps(&self) -> Result<f64> {
        if let Some(&eps) = self.resolved.eps.get() {
            return Ok(eps);
        }
        let eps = match self.settings.eps {
            Some(eps) if eps > 0.0 && eps.is_finite() => eps,
            Some(eps) => return Err(Error::config("--eps", "a positive number", eps)),
            None => {
                // E‖x − x'‖² = 2 E‖x − E x‖².
                let centred = self.real.minus(&self.real.mean());
                let squares: Vec<f64> = centred.rows().map(|r| r.iter().map(|v| v * v).sum()).collect();
                (0.05 * 2.0 * mean(&squares)).max(f64::MIN_POSITIVE)
            }
        };
        Ok(*self.resolved.eps.get_or_init(|| eps))
    }

    /// The bandwidth and ε, as far as they were used.
    pub fn used(&self) -> (Option<f64>, Option<f64>) {
        (self.resolved.bandwidth.get().copied(), self.resolved.eps.get().copied())
    }

    /// The directions of the sliced distances, unit vectors.
    ///
    /// # Errors
    /// If those given have another dimension.
    pub fn directions(&self) -> Result<&Points> {
        if let Some(directions) = self.resolved.directions.get() {
            return Ok(directions);
        }
        let d = self.real.dims();
        let directions = match &self.settings.directions {
            Directions::Given(given) if given.dims() == d => given.clone(),
            Directions::Given(given) => {
                return Err(Error::data("projections", format!("vectors of {d} numbers"), given.dims()));
            }
            Directions::Random(n) => {
                let mut noise = self.noise.fork("directions");
                Points::new(&genzoo_numerics::ot::projections((*n).max(1), d, &mut noise)?)?
            }
        };
        Ok(self.resolved.directions.get_or_init(|| directions))
    }

    /// Both samples, real first, as a metric of all pairs takes them.
    pub fn pairs(&self) -> (Cow<'a, Points>, Cow<'a, Points>) {
        self.subsets(MOST_FOR_PAIRS, MOST_FOR_PAIRS)
    }

    /// Both samples, real first, as exact and entropic transport take them. Samples of different sizes stay so as long
    /// as both are small; larger ones are cut to one size, for which there is the faster solver.
    pub fn for_transport(&self) -> (Cow<'a, Points>, Cow<'a, Points>) {
        self.for_solver(self.settings.most_exact)
    }

    /// The same for entropic transport, which takes many passes over all pairs: with its floor it must stay below a minute.
    pub fn for_entropic_transport(&self) -> (Cow<'a, Points>, Cow<'a, Points>) {
        self.for_solver(self.settings.most_exact.min(MOST_ENTROPIC))
    }

    fn for_solver(&self, most: usize) -> (Cow<'a, Points>, Cow<'a, Points>) {
        const MOST_PAIRS: usize = 1_000_000;
        let (n, m) = (self.real.len().min(most), self.fake.len().min(most));
        let one_size = n != m && n * m > MOST_PAIRS;
        if one_size { self.subsets(n.min(m), n.min(m)) } else { self.subsets(n, m) }
    }

    /// Random subsets of both samples of at most these sizes, real first.
    pub fn subsets(&self, real: usize, fake: usize) -> (Cow<'a, Points>, Cow<'a, Points>) {
        let noise = self.noise.fork("subset");
        (self.real.at_most(real, &noise.fork("real")), self.fake.at_most(fake, &noise.fork("fake")))
    }
}

/// A value, and how many rows it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Value and error.
    pub estimate: Estimate,
    /// Rows judged.
    pub n: usize,
    /// Real rows used.
    pub n_real: usize,
}

impl Measured {
    /// What came of these samples.
    pub fn of(estimate: Estimate, real: &Points, fake: &Points) -> Self {
        Self { estimate, n: fake.len(), n_real: real.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::normal;

    #[test]
    fn what_the_real_data_decide_is_decided_once() -> Result<()> {
        let (x, y, z) =
            (normal(200, 3, 1.0, 0.0, 1), normal(100, 3, 1.0, 0.0, 2), normal(90, 3, 9.0, 0.0, 3));
        let (settings, noise) = (Settings::default(), Noise::new(0));
        let case = Case::new(&x, &y, &settings, &noise);
        let (h, eps) = (case.bandwidth()?, case.eps()?);
        let other = case.between(&z, &y);
        assert_eq!((other.bandwidth()?, other.eps()?), (h, eps));
        assert_eq!(other.directions()?.values(), case.directions()?.values());
        assert_eq!((case.directions()?.len(), case.directions()?.dims()), (128, 3));
        // E‖x − x'‖² = 6 for standard normals in three dimensions.
        assert!((eps - 0.3).abs() < 0.05, "{eps}");
        for bad in [Some(0.0), Some(f64::NAN)] {
            let settings = Settings { bandwidth: bad, eps: bad, ..Settings::default() };
            let case = Case::new(&x, &y, &settings, &noise);
            assert!(case.bandwidth().is_err() && case.eps().is_err());
        }
        Ok(())
    }

    #[test]
    fn large_samples_are_cut_at_random() {
        let (x, y) = (normal(3000, 1, 1.0, 0.0, 1), normal(2500, 1, 1.0, 0.0, 2));
        let (settings, noise) = (Settings::default(), Noise::new(0));
        let case = Case::new(&x, &y, &settings, &noise);
        let sizes = |(a, b): (Cow<Points>, Cow<Points>)| (a.len(), b.len());
        assert_eq!(sizes(case.pairs()), (3000, 2500));
        assert_eq!(sizes(case.for_transport()), (2000, 2000));
        assert_eq!(sizes(case.between(&x, &x.select(&[1, 2, 3])).for_transport()), (2000, 3));
        assert_eq!(sizes(case.between(&x, &y.at_most(1500, &noise)).for_transport()), (1500, 1500));
        assert_eq!(sizes(case.subsets(10, 5000)), (10, 2500));
    }
}
