//! What the rows of a table are held against: a real sample, a second one for the floors, and what they share.

use std::sync::Arc;

use candle_core::Tensor;
use genzoo_core::{Error, Measurement, Modes, Noise, Result};

use super::case::{Case, Resolved};
use super::points::Points;
use super::{MetricInfo, Needs, Score, Settings, find, measure};

/// A real sample, prepared once and used for every model.
pub struct Reference {
    real: Points,
    modes: Option<Modes>,
    settings: Settings,
    noise: Noise,
    resolved: Arc<Resolved>,
    metrics: Vec<&'static MetricInfo>,
    floors: Vec<(&'static str, f64)>,
}

impl Reference {
    /// Prepares `real`, and measures the floors on `other`, a disjoint real sample of the same size, if there is one.
    /// Metrics that need more than samples, and modes and the score of the data where they are known, are left out.
    ///
    /// # Errors
    /// If a metric is unknown, or the sample has fewer than two rows.
    pub fn new(
        real: Points,
        other: Option<&Points>,
        (modes, score): (Option<&Modes>, Option<Score>),
        metrics: &[&str],
        settings: Settings,
        noise: &Noise,
    ) -> Result<Self> {
        if real.len() < 2 {
            return Err(Error::data("real sample", "at least 2 rows", real.len()));
        }
        let metrics: Vec<_> = metrics.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
        let known = |m: &&MetricInfo| match m.needs() {
            Needs::Samples => true,
            Needs::Modes => modes.is_some(),
            Needs::Score => score.is_some(),
            Needs::Density | Needs::Train => false,
        };
        let metrics: Vec<_> = metrics.into_iter().filter(known).collect();
        let (resolved, floors) = (Arc::new(Resolved::default()), Vec::new());
        let modes = modes.cloned();
        let mut reference = Self { real, modes, settings, noise: noise.clone(), resolved, metrics, floors };
        if let Some(other) = other {
            let measured = reference.measure(other, score)?;
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

    /// Every metric of `samples`, as many as there are real ones and in the same space. `score` is that of the data, if it was
    /// known when the reference was made.
    ///
    /// # Errors
    /// If the samples have another size or dimension.
    pub fn judge(&self, samples: &Points, score: Option<Score>) -> Result<Vec<(String, Measurement)>> {
        let floor = |name: &str| self.floors.iter().find(|f| f.0 == name).map(|f| f.1);
        let measured = self.measure(samples, score)?;
        let named = measured
            .into_iter()
            .map(|(m, e)| (m.name.to_string(), m.measured(e.estimate, e.n, floor(m.name))));
        Ok(named.collect())
    }

    fn measure(
        &self,
        x: &Points,
        score: Option<Score>,
    ) -> Result<Vec<(&'static MetricInfo, super::Measured)>> {
        if x.len() != self.real.len() || x.dims() != self.real.dims() {
            let want = format!("{} rows of dimension {}", self.real.len(), self.real.dims());
            return Err(Error::data("samples", want, format!("{} of {}", x.len(), x.dims())));
        }
        let resolved = self.resolved.clone();
        let case = Case {
            modes: self.modes.as_ref(),
            score,
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

    fn draw(shift: f64, seed: u64) -> Points {
        normal(400, 2, 1.0, shift, seed)
    }

    fn reference(
        real: &Points,
        other: Option<&Points>,
        modes: Option<&Modes>,
        names: &[&str],
    ) -> Result<Reference> {
        Reference::new(real.clone(), other, (modes, None), names, Settings::default(), &Noise::new(0))
    }

    #[test]
    fn real_against_real_is_the_floor_and_a_shift_is_seen() -> Result<()> {
        let (real, other) = (draw(0.0, 1), draw(0.0, 2));
        let reference = reference(&real, Some(&other), None, &SOME)?;
        let again = reference.judge(&other, None)?;
        assert!(again.iter().map(|(name, _)| name.as_str()).eq(SOME));
        for (name, m) in again {
            assert_eq!(m.value, m.floor, "{name}");
        }
        for (name, m) in reference.judge(&draw(1.0, 3), None)? {
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
        let real = draw(0.0, 1);
        let judged = reference(&real, None, Some(&modes), &names)?.judge(&draw(0.0, 2), None)?;
        assert_eq!((judged[0].1.value, judged[0].1.floor), (Some(1.0), None));
        assert!((judged[1].1.value.unwrap_or(0.0) - 0.5).abs() < 0.02 && judged.len() == 2);
        assert!(reference(&real, None, None, &names)?.judge(&real, None)?.is_empty());
        Ok(())
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() -> Result<()> {
        let real = draw(0.0, 1);
        let reference = reference(&real, None, None, &SOME)?;
        assert!(reference.judge(&real.select(&[1, 2, 3]), None).is_err());
        assert!(reference.judge(&normal(400, 3, 1.0, 0.0, 1), None).is_err());
        Ok(())
    }
}
