//! Two samples from any software, each of any size.

use std::time::Instant;

use genzoo_core::{Error, Measurement, Noise, Result};

use super::case::{Case, Measured, Settings};
use super::points::Points;
use super::two_sample::Estimate;
use super::{MetricInfo, Needs, find, measure, metrics};

/// A metric of two samples.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its key.
    pub name: &'static str,
    /// The value; its floor is that of two halves of the real sample.
    pub measurement: Measurement,
    /// Real rows used.
    pub n_real: usize,
    /// Rows of each half that the floor was measured on, where there is one.
    pub floor_n: Option<usize>,
    /// Seconds that the value and its error took, with the other metrics of the same computation.
    pub seconds: f64,
}

/// Halves with fewer rows say nothing.
const FEWEST: usize = 16;

/// What was compared, and with what.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// In the order of rows.
    pub metrics: Vec<Compared>,
    /// The bandwidth of the kernels, where one was used.
    pub bandwidth: Option<f64>,
    /// The ε of entropic transport, where it was used.
    pub eps: Option<f64>,
}

/// Measures `fake` against `real`, and one random half of `real` against the other for the floors. `None` is every
/// metric that two samples (and the training rows, if given) suffice for.
///
/// # Errors
/// If a metric is unknown or needs more than there is, or the samples do not match.
pub fn compare(
    real: &Points,
    fake: &Points,
    train: Option<&Points>,
    names: Option<&[String]>,
    settings: &Settings,
    noise: &Noise,
) -> Result<Comparison> {
    for (what, points) in [("samples", Some(fake)), ("training rows", train)] {
        if let Some(p) = points.filter(|p| p.dims() != real.dims()) {
            return Err(Error::data(what, format!("rows of {} numbers", real.dims()), p.dims()));
        }
    }
    if real.len().min(fake.len()) < 2 {
        return Err(Error::data("samples", "at least 2 rows each", real.len().min(fake.len())));
    }
    let wanted = wanted(names, train.is_some())?;
    let case = Case { train, ..Case::new(real, fake, settings, noise) };
    let order = noise.fork("halves").permutation(real.len());
    let half = real.len() / 2;
    let (one, other) = (real.select(&order[..half]), real.select(&order[half..2 * half]));
    let halves = (half >= FEWEST).then(|| case.between(&one, &other));
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    let found = measure(&wanted, |group| {
        let start = Instant::now();
        let measured = match (group.measure)(&case) {
            // Among all metrics, one that these samples do not allow is unknown, not a failure.
            Err(_) if names.is_none() => {
                let unknown = Estimate { value: f64::NAN, stderr: f64::NAN };
                vec![Measured::of(unknown, real, fake); group.metrics.len()]
            }
            measured => measured?,
        };
        times.extend(group.metrics.iter().map(|m| (m.name, start.elapsed().as_secs_f64())));
        // A half may be too small for what the whole allows.
        let floor = halves.as_ref().and_then(|halves| (group.measure)(halves).ok());
        floors.extend(group.metrics.iter().map(|m| m.name).zip(floor.into_iter().flatten()));
        Ok(measured)
    })?;
    let compared = |(info, m): (&'static MetricInfo, Measured)| {
        let floor: Option<&Measured> =
            floors.iter().find(|f: &&(&str, Measured)| f.0 == info.name).map(|f| &f.1);
        Compared {
            name: info.name,
            measurement: info.measured(
                m.estimate,
                m.n,
                floor.map(|f| f.estimate.value).filter(|v| v.is_finite()),
            ),
            n_real: m.n_real,
            floor_n: floor.map(|f| f.n),
            seconds: times.iter().find(|t| t.0 == info.name).map_or(0.0, |t| t.1),
        }
    };
    let (bandwidth, eps) = case.used();
    Ok(Comparison { metrics: found.into_iter().map(compared).collect(), bandwidth, eps })
}

fn wanted(names: Option<&[String]>, train: bool) -> Result<Vec<&'static MetricInfo>> {
    let suffices = |m: &MetricInfo| match m.needs() {
        Needs::Samples => true,
        Needs::Train => train,
        Needs::Modes | Needs::Density | Needs::Score | Needs::Classes => false,
    };
    let Some(names) = names else { return Ok(metrics().filter(|m| suffices(m)).collect()) };
    let one = |name: &String| {
        let info = find(name.trim())?;
        if suffices(info) {
            return Ok(info);
        }
        Err(Error::Unsupported(match info.needs() {
            Needs::Train => format!("metric '{name}' needs the training rows: give them with --train FILE"),
            _ => format!("metric '{name}' needs to know where the data come from, not only samples"),
        }))
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::normal;

    fn of(x: &Points, y: &Points, names: Option<&[&str]>) -> Result<Comparison> {
        let names: Option<Vec<String>> = names.map(|n| n.iter().map(|n| (*n).to_string()).collect());
        compare(x, y, None, names.as_deref(), &Settings::default(), &Noise::new(0))
    }

    #[test]
    fn every_metric_of_two_samples_has_a_value_a_floor_and_sizes() -> Result<()> {
        let (x, y) = (normal(120, 3, 1.0, 0.0, 1), normal(90, 3, 1.0, 0.5, 2));
        let got = of(&x, &y, None)?;
        let want = metrics().filter(|m| m.needs() == Needs::Samples).map(|m| m.name);
        assert!(got.metrics.iter().map(|c| c.name).eq(want));
        for c in &got.metrics {
            assert!(c.measurement.value.is_some(), "{}", c.name);
            assert!(c.measurement.stderr.is_some() || c.name.ends_with("_p"), "{}", c.name);
            assert!(c.measurement.floor.is_some() && c.floor_n == Some(60), "{}", c.name);
            // The classifier looks at as many of each.
            let n_real = if c.name.starts_with("classifier") { 90 } else { 120 };
            assert_eq!((c.measurement.n, c.n_real), (90, n_real), "{}", c.name);
        }
        assert!(got.bandwidth.is_some() && got.eps.is_some());
        let again = of(&x, &y, None)?;
        let values = |c: &Comparison| c.metrics.iter().map(|c| c.measurement.clone()).collect::<Vec<_>>();
        assert_eq!(values(&got), values(&again), "a function of samples and seed");
        Ok(())
    }

    #[test]
    fn a_small_real_sample_has_no_floor() -> Result<()> {
        let got = of(&normal(30, 2, 1.0, 0.0, 1), &normal(50, 2, 1.0, 0.0, 2), Some(&["w2", "frechet"]))?;
        assert!(got.metrics.iter().all(|c| c.floor_n.is_none() && c.measurement.floor.is_none()));
        assert_eq!(got.bandwidth, None);
        Ok(())
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let (x, y) = (normal(30, 2, 1.0, 0.0, 1), normal(30, 2, 1.0, 0.0, 2));
        for (names, words) in [(["mmd"], "mmd2"), (["kl"], "where the data come from")] {
            let message = of(&x, &y, Some(&names)).expect_err("cannot be").to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!(of(&x, &normal(30, 3, 1.0, 0.0, 0), None).is_err());
        assert!(of(&x, &normal(1, 2, 1.0, 0.0, 0), None).is_err());
    }
}
