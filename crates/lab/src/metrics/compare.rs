//! Two samples from any software, each of any size.

use std::time::Instant;

use candle_core::Tensor;
use genzoo_core::{Error, Measurement, Noise, Result};

use super::case::{Case, Measured, Settings};
use super::classes::Classes;
use super::features::Seen;
use super::points::Points;
use super::two_sample::Estimate;
use super::{MetricInfo, Needs, find, measure, metrics};
use crate::row::Share;

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
    /// How often each class comes among the fake samples, and in truth among the real ones, where a judge looked.
    pub classes: Vec<Share>,
}

/// Measures `fake` against `real`, and one random half of `real` against the other for the floors. `None` is every
/// metric that two samples (and the training rows, if given, and the classes, if a judge named them) suffice for.
///
/// # Errors
/// If a metric is unknown or needs more than there is, or the samples do not match.
pub fn compare(
    real: &Seen,
    fake: &Seen,
    train: Option<&Points>,
    names: Option<&[String]>,
    settings: &Settings,
    noise: &Noise,
) -> Result<Comparison> {
    let judged = real.probabilities.as_ref().zip(fake.probabilities.as_ref());
    let (real, fake) = (&real.points, &fake.points);
    for (what, points) in [("samples", Some(fake)), ("training rows", train)] {
        if let Some(p) = points.filter(|p| p.dims() != real.dims()) {
            return Err(Error::data(what, format!("rows of {} numbers", real.dims()), p.dims()));
        }
    }
    if real.len().min(fake.len()) < 2 {
        return Err(Error::data("samples", "at least 2 rows each", real.len().min(fake.len())));
    }
    let wanted = wanted(names, train.is_some(), judged.is_some())?;
    let shares = judged.map(|(p, _)| shares_of(p)).transpose()?;
    let case = Case {
        train,
        probabilities: judged.map(|(_, p)| p),
        shares: shares.as_deref(),
        counted: shares.as_ref().map(|_| real.len()),
        ..Case::new(real, fake, settings, noise)
    };
    let order = noise.fork("halves").permutation(real.len());
    let half = real.len() / 2;
    let (one, other) = (real.select(&order[..half]), real.select(&order[half..2 * half]));
    let half_of = |rows: &[usize]| judged.map(|(p, _)| select(p, rows)).transpose();
    let (first, second) = (half_of(&order[..half])?, half_of(&order[half..2 * half])?);
    let of_first = first.as_ref().filter(|_| half >= FEWEST).map(shares_of).transpose()?;
    let halves = (half >= FEWEST).then(|| Case {
        probabilities: second.as_ref(),
        shares: of_first.as_deref(),
        counted: Some(half),
        ..case.between(&one, &other)
    });
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
    let classes = match judged {
        Some((_, p)) => Classes::new(p, shares.as_deref(), Some(real.len()))?.shares,
        None => Vec::new(),
    };
    Ok(Comparison { metrics: found.into_iter().map(compared).collect(), bandwidth, eps, classes })
}

/// The share of each class among judged rows.
fn shares_of(probabilities: &Tensor) -> Result<Vec<f64>> {
    Ok(Classes::new(probabilities, None, None)?.shares.iter().map(|s| s.share).collect())
}

fn select(probabilities: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let rows: Vec<u32> = rows.iter().map(|&i| i as u32).collect();
    let n = rows.len();
    Ok(probabilities.index_select(&Tensor::from_vec(rows, n, probabilities.device())?, 0)?)
}

fn wanted(names: Option<&[String]>, train: bool, judged: bool) -> Result<Vec<&'static MetricInfo>> {
    let suffices = |m: &MetricInfo| match m.needs() {
        Needs::Samples => true,
        Needs::Train => train,
        Needs::Classes => judged,
        Needs::Modes | Needs::Density | Needs::Score => false,
    };
    let Some(names) = names else { return Ok(metrics().filter(|m| suffices(m)).collect()) };
    let one = |name: &String| {
        let info = find(name.trim())?;
        if suffices(info) {
            return Ok(info);
        }
        Err(Error::Unsupported(match info.needs() {
            Needs::Train => format!("metric '{name}' needs the training rows: give them with --train FILE"),
            Needs::Classes => {
                format!(
                    "metric '{name}' needs the classes that a judge names: add --features mnist or glyphs"
                )
            }
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
        let (x, y) = (x.clone().into(), y.clone().into());
        compare(&x, &y, None, names.as_deref(), &Settings::default(), &Noise::new(0))
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

    /// Where a judge named the classes of both, the histogram of the fake samples stands beside that of the real ones.
    #[test]
    fn classes_are_compared_where_a_judge_looked() -> Result<()> {
        let seen = |n: usize, first: f64, seed: u64| -> Result<Seen> {
            let ps = Noise::new(seed).uniforms(n).into_iter();
            let ps: Vec<f64> = ps.flat_map(|u| if u < first { [0.9, 0.1] } else { [0.3, 0.7] }).collect();
            let probabilities = Some(Tensor::from_vec(ps, (n, 2), &candle_core::Device::Cpu)?);
            Ok(Seen { points: normal(n, 2, 1.0, 0.0, seed), probabilities })
        };
        let (real, fake) = (seen(400, 0.5, 1)?, seen(300, 0.8, 2)?);
        let run = |names: Option<&[String]>| {
            compare(&real, &fake, None, names, &Settings::default(), &Noise::new(0))
        };
        let names = ["class_tv", "confidence"].map(String::from);
        let got = run(Some(&names))?;
        let (tv, sure) = (&got.metrics[0].measurement, &got.metrics[1].measurement);
        // Total variation 0.3 with the errors of both counts.
        let error = (0.8f64 * 0.2 / 300.0 + 0.5 * 0.5 / 400.0).sqrt();
        assert!((tv.value.unwrap_or(0.0) - 0.3).abs() < 4.0 * error, "{tv:?}");
        assert!((tv.stderr.unwrap_or(0.0) / error - 1.0).abs() < 0.15, "{tv:?}");
        assert!(tv.floor.is_some_and(|f| f < 0.15) && (sure.value.unwrap_or(0.0) - 0.86).abs() < 0.03);
        let share = |p: &Seen| {
            let of = p.probabilities.as_ref().map(shares_of);
            of.and_then(Result::ok).map_or(f64::NAN, |s| s[0])
        };
        assert_eq!((got.classes[0].share, got.classes[0].truth), (share(&fake), Some(share(&real))));
        let named = |c: &Comparison| c.metrics.iter().any(|m| m.name == "inception_score");
        assert!(named(&run(None)?));
        assert!(!named(&of(&normal(40, 2, 1.0, 0.0, 1), &normal(40, 2, 1.0, 0.0, 2), None)?));
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
        for (names, words) in
            [(["mmd"], "mmd2"), (["kl"], "where the data come from"), (["class_tv"], "--features mnist")]
        {
            let message = of(&x, &y, Some(&names)).expect_err("cannot be").to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!(of(&x, &normal(30, 3, 1.0, 0.0, 0), None).is_err());
        assert!(of(&x, &normal(1, 2, 1.0, 0.0, 0), None).is_err());
    }
}
