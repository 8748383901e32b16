//! What the rows of a table are held against: a real sample, a second one for the floors, and what they share.

use std::sync::Arc;

use candle_core::Tensor;
use genzoo_core::{Error, Measurement, Modes, Noise, Result};

use super::case::{Case, Resolved};
use super::classes::Classes;
use super::points::Points;
use super::{Features, MetricInfo, Needs, Score, Seen, Settings, find, measure};
use crate::row::Share;

/// What a table's samples are compared with, and how.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// The space of the comparison.
    pub features: Features,
    /// A second real sample, disjoint and of the same size, for the floors.
    pub other: Option<&'a Tensor>,
    /// Rows that the models were trained on.
    pub train: Option<&'a Tensor>,
    /// The modes of the data.
    pub modes: Option<&'a Modes>,
    /// The true share of each class.
    pub shares: Option<&'a [f64]>,
    /// The score of the data.
    pub score: Option<Score<'a>>,
}

/// A real sample, prepared once and used for every model.
pub struct Reference {
    features: Features,
    real: Points,
    train: Option<Points>,
    modes: Option<Modes>,
    shares: Option<Vec<f64>>,
    settings: Settings,
    noise: Noise,
    resolved: Arc<Resolved>,
    metrics: Vec<&'static MetricInfo>,
    floors: Vec<(&'static str, f64)>,
}

/// What a reference says of some samples.
pub struct Judgement {
    /// The metrics, in the order of rows.
    pub quality: Vec<(String, Measurement)>,
    /// The classes of the samples, where a judge looked.
    pub classes: Vec<Share>,
}

impl Reference {
    /// Prepares `real`, and measures the floors. Metrics that need more than is `known` are left out.
    ///
    /// # Errors
    /// If a metric is unknown, or the samples are empty or not finite.
    pub fn new(
        real: &Tensor,
        known: Known,
        metrics: &[&str],
        settings: Settings,
        noise: &Noise,
    ) -> Result<Self> {
        let features = known.features;
        let real = features.of(real)?;
        if real.len() < 2 {
            return Err(Error::data("real sample", "at least 2 rows", real.len()));
        }
        let metrics: Vec<_> = metrics.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
        let there = |m: &&MetricInfo| match m.needs() {
            Needs::Samples => true,
            Needs::Modes => known.modes.is_some(),
            Needs::Score => known.score.is_some() && features.judge().is_none(),
            Needs::Train => known.train.is_some(),
            Needs::Classes => features.judge().is_some(),
            Needs::Density => false,
        };
        let metrics: Vec<_> = metrics.into_iter().filter(there).collect();
        let train = match known.train {
            Some(train) if metrics.iter().any(|m| m.needs() == Needs::Train) => Some(features.of(train)?),
            _ => None,
        };
        let mut reference = Self {
            features,
            real,
            train,
            modes: known.modes.cloned(),
            shares: known.shares.map(<[f64]>::to_vec),
            settings,
            noise: noise.clone(),
            resolved: Arc::new(Resolved::default()),
            metrics,
            floors: Vec::new(),
        };
        if let Some(other) = known.other {
            let measured = reference.measure(&features.see(other)?, known.score)?;
            reference.floors = measured.into_iter().map(|(m, e)| (m.name, e.estimate.value)).collect();
        }
        Ok(reference)
    }

    /// Size of the real sample.
    pub fn len(&self) -> usize {
        self.real.len()
    }

    /// Whether it is empty; it never is.
    pub fn is_empty(&self) -> bool {
        self.real.is_empty()
    }

    /// The real sample.
    pub fn real(&self) -> &Points {
        &self.real
    }

    /// Every metric of `samples`, `(n, event…)`, of the size of the real sample. `score` is that of the data, if it was
    /// known when the reference was made.
    ///
    /// # Errors
    /// If the samples have another size or dimension, or are not finite.
    pub fn judge(&self, samples: &Tensor, score: Option<Score>) -> Result<Judgement> {
        let seen = self.features.see(samples)?;
        let floor = |name: &str| self.floors.iter().find(|f| f.0 == name && f.1.is_finite()).map(|f| f.1);
        let named = self.measure(&seen, score)?.into_iter();
        let quality = named.map(|(m, e)| (m.name.to_string(), m.measured(e.estimate, e.n, floor(m.name))));
        let classes = match &seen.probabilities {
            Some(p) => Classes::new(p, self.shares.as_deref(), None)?.shares,
            None => Vec::new(),
        };
        Ok(Judgement { quality: quality.collect(), classes })
    }

    fn measure(
        &self,
        seen: &Seen,
        score: Option<Score>,
    ) -> Result<Vec<(&'static MetricInfo, super::Measured)>> {
        let x = &seen.points;
        if x.len() != self.real.len() || x.dims() != self.real.dims() {
            let want = format!("{} rows of dimension {}", self.real.len(), self.real.dims());
            return Err(Error::data("samples", want, format!("{} of {}", x.len(), x.dims())));
        }
        let resolved = self.resolved.clone();
        let case = Case {
            train: self.train.as_ref(),
            modes: self.modes.as_ref(),
            score,
            probabilities: seen.probabilities.as_ref(),
            shares: self.shares.as_deref(),
            resolved,
            ..Case::new(&self.real, x, &self.settings, &self.noise)
        };
        measure(&self.metrics, |group| (group.measure)(&case))
    }
}

/// The rows in random order.
pub(crate) fn shuffled(x: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    let n = x.dim(0)?;
    let order: Vec<u32> = noise.permutation(n).into_iter().map(|i| i as u32).collect();
    Ok(x.index_select(&Tensor::from_vec(order, n, x.device())?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::normal;

    const SOME: [&str; 5] = ["kid", "mmd2_unbiased", "energy_distance_u", "sliced_w2", "w2"];

    fn draw(shift: f64, seed: u64) -> Result<Tensor> {
        normal(400, 2, 1.0, shift, seed).tensor()
    }

    fn reference(
        real: &Tensor,
        other: Option<&Tensor>,
        modes: Option<&Modes>,
        names: &[&str],
    ) -> Result<Reference> {
        let known = Known { other, modes, ..Known::default() };
        Reference::new(real, known, names, Settings::default(), &Noise::new(0))
    }

    #[test]
    fn real_against_real_is_the_floor_and_a_shift_is_seen() -> Result<()> {
        let (real, other) = (draw(0.0, 1)?, draw(0.0, 2)?);
        let reference = reference(&real, Some(&other), None, &SOME)?;
        let again = reference.judge(&other, None)?.quality;
        assert!(again.iter().map(|(name, _)| name.as_str()).eq(SOME));
        for (name, m) in again {
            assert_eq!(m.value, m.floor, "{name}");
        }
        for (name, m) in reference.judge(&draw(1.0, 3)?, None)?.quality {
            let (value, stderr, floor) =
                (m.value.unwrap_or(0.0), m.stderr.unwrap_or(0.0), m.floor.unwrap_or(0.0));
            assert!(
                value > floor + 4.0 * stderr && stderr > 0.0,
                "{name}: {value} ± {stderr}, floor {floor}"
            );
            assert_eq!(m.n, 400);
        }
        Ok(())
    }

    #[test]
    fn modes_are_judged_where_they_are_known() -> Result<()> {
        let modes =
            Modes { centers: vec![vec![0.0, 0.0], vec![9.0, 0.0]], masses: vec![0.5, 0.5], radius: 4.0 };
        let names = ["mode_coverage", "mode_error", "kl"];
        let real = draw(0.0, 1)?;
        let judged = reference(&real, None, Some(&modes), &names)?.judge(&draw(0.0, 2)?, None)?.quality;
        assert_eq!((judged[0].1.value, judged[0].1.floor), (Some(1.0), None));
        assert!((judged[1].1.value.unwrap_or(0.0) - 0.5).abs() < 0.02 && judged.len() == 2);
        assert!(reference(&real, None, None, &names)?.judge(&real, None)?.quality.is_empty());
        Ok(())
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() -> Result<()> {
        let real = draw(0.0, 1)?;
        let reference = reference(&real, None, None, &SOME)?;
        assert!(reference.judge(&(&real / 0.0)?, None).is_err());
        assert!(reference.judge(&real.narrow(0, 0, 10)?, None).is_err());
        Ok(())
    }
}
