//! The likelihood of a row: a density held against test rows, with its kind, its error and its floor.
//!
//! ```text
//! value  = −mean_i log p(x_i)        stderr = √(var/n + shared²)        nats
//! bits   = value/(D ln 2) + 8        for a density of x̃ = (k + u)/256;   without the 8 for log P(k)
//! KL(data‖model) = mean_i [log p_data(x_i) − log p(x_i)]                 paired over the same rows
//! ```
//! A density of x̃ bounds the discrete likelihood from below (Jensen over u), so exact becomes a lower bound; what
//! over-estimates log p(x̃) bounds nothing about k and becomes an estimate without tolerance.
//!
//! Numbers that cannot be true are failures: log-probabilities that are not finite, and a mean more than three
//! standard errors (and the stated tolerance) below the entropy of the data.
//!
//! Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, §3.1 for bits per dimension.

mod annealed;
mod choice;
mod dequantised;

pub use choice::{Choice, methods};

use std::time::Instant;

use genzoo_core::{Batch, Dataset, Density, Error, Evidence, Kind, Measurement, Noise, Result, Space, Split};
use genzoo_numerics::likelihood::bits;
use genzoo_numerics::special::Moments;

use crate::data::random_rows;
use crate::metrics::{self, Estimate};
use crate::row::Likelihood;

/// What came of measuring a likelihood.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The likelihood, unless it failed.
    pub likelihood: Option<Likelihood>,
    /// KL(data‖model), where both densities are known and not bounds.
    pub kl: Option<Measurement>,
    /// Why the number cannot be true, or why there is none.
    pub reason: Option<String>,
    /// The negative log-likelihood of each row, in the unit of the likelihood.
    pub nll: Vec<f64>,
}

impl Judged {
    /// No number, and why.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }
}

/// `n` random test rows in random order (all of them if the split has fewer), so that any first part is fair too.
///
/// # Errors
/// If the data cannot be read.
pub fn test_rows(data: &dyn Dataset, n: usize, noise: &mut Noise) -> Result<Batch> {
    let n = data.len(Split::Test).map_or(n, |len| n.min(len as usize));
    let rows = random_rows(data, Split::Test, n, &mut noise.fork("choose"))?;
    if data.len(Split::Test).is_none() {
        return Ok(rows);
    }
    let order: Vec<u32> = noise.fork("order").permutation(n).into_iter().map(|i| i as u32).collect();
    let order = candle_core::Tensor::from_vec(order, n, rows.x.device())?;
    let pick = |t: &candle_core::Tensor| t.index_select(&order, 0);
    Ok(Batch {
        x: pick(&rows.x)?,
        label: rows.label.as_ref().map(pick).transpose()?,
        source: rows.source.as_ref().map(pick).transpose()?,
        rows: rows.rows,
    })
}

/// Rows per call of the density.
fn piece(dims: usize) -> usize {
    if dims <= 64 { 1000 } else { 100 }
}

/// Holds `density` against `rows`, as many as it can until `deadline` (at least one call's worth).
///
/// # Errors
/// If the density fails; what it says of itself (`ais_degenerate`) is a [`Judged`] with a reason.
pub fn judge(
    density: &dyn Density,
    data: &dyn Dataset,
    rows: &Batch,
    deadline: Option<Instant>,
    noise: &Noise,
    progress: &mut dyn FnMut(&str),
) -> Result<Judged> {
    let evidence = density.evidence().clone();
    let truth = data.truth().filter(|_| evidence.space == Space::Continuous);
    let (mut values, mut against, mut shared) = (Vec::new(), Vec::new(), 0.0f64);
    let (n, size) = (rows.len(), piece(data.spec().dims()));
    for (i, start) in (0..n).step_by(size).enumerate() {
        if i > 0 && deadline.is_some_and(|d| Instant::now() >= d) {
            break;
        }
        progress(&format!("likelihood {start}/{n}"));
        let part = slice(rows, start, size.min(n - start))?;
        let got = match density.log_prob(&part, &mut noise.at(i as u64)) {
            Err(e) if is_degenerate(&e) => return Ok(Judged::failed(DEGENERATE)),
            got => got?,
        };
        let got_values = got.values.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
        if got_values.len() != part.len() {
            let (want, got) = (format!("{} values", part.len()), got_values.len());
            return Err(Error::data("log-probabilities", want, got));
        }
        values.extend(got_values);
        shared = shared.max(got.shared_error);
        if let Some(truth) = truth {
            let of_truth = truth.log_prob(&part, &mut noise.fork("truth").at(i as u64))?;
            against.extend(of_truth.values.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?);
        }
    }
    let bad = values.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 || values.is_empty() || !shared.is_finite() {
        return Ok(Judged::failed(format!("non_finite_log_prob ({bad} of {} rows)", values.len())));
    }
    let floor = truth.map(|t| t.entropy());
    let likelihood =
        summary(&values, shared, &evidence, data.spec().dims(), floor.as_ref().and_then(|f| f.value));
    let reason =
        is_below(&likelihood, floor.as_ref().and_then(|f| f.stderr)).then(|| "below_floor".to_string());
    let kl = match evidence.kind {
        Kind::Exact | Kind::Estimate if !against.is_empty() => Some(divergence(&values, &against, shared)?),
        _ => None,
    };
    let nll = values.iter().map(|v| cost(*v, &evidence, data.spec().dims())).collect();
    Ok(Judged { likelihood: Some(likelihood), kl, reason, nll })
}

/// What a log-probability in nats costs in the unit of its space.
fn cost(log_prob: f64, evidence: &Evidence, dims: usize) -> f64 {
    match (evidence.space, evidence.discrete) {
        (Space::U8, true) => bits::from_probability(log_prob, dims),
        (Space::U8, false) => bits::from_density(log_prob, dims),
        _ => -log_prob,
    }
}

/// What an energy model's density says when its annealed weights have collapsed.
pub const DEGENERATE: &str = "ais_degenerate";

/// Whether an error says so.
pub fn is_degenerate(e: &Error) -> bool {
    e.to_string().contains(DEGENERATE)
}

/// Rows `start .. start + length` of a batch.
pub(crate) fn slice(rows: &Batch, start: usize, length: usize) -> Result<Batch> {
    let part = |t: &candle_core::Tensor| t.narrow(0, start, length);
    let first = rows.rows.start + start as u64;
    Ok(Batch {
        x: part(&rows.x)?,
        label: rows.label.as_ref().map(part).transpose()?,
        source: rows.source.as_ref().map(part).transpose()?,
        rows: first..first + length as u64,
    })
}

/// Mean, error and meaning of log-probabilities in nats.
fn summary(
    log_probs: &[f64],
    shared: f64,
    evidence: &Evidence,
    dims: usize,
    floor: Option<f64>,
) -> Likelihood {
    let moments = Moments::of(log_probs);
    let within = if log_probs.len() > 1 { moments.standard_error() } else { 0.0 };
    let stderr = (within * within + shared * shared).sqrt();
    let mut out = Likelihood {
        value: cost(moments.mean(), evidence, dims),
        stderr,
        n: log_probs.len() as u64,
        unit: evidence.space.unit().to_string(),
        kind: evidence.kind,
        space: evidence.space,
        method: evidence.method.clone(),
        floor,
        tolerance: evidence.tolerance,
    };
    if evidence.space == Space::U8 {
        let per_bit = dims as f64 * std::f64::consts::LN_2;
        out.stderr /= per_bit;
        if evidence.discrete {
            out.tolerance = out.tolerance.map(|t| t / per_bit);
        } else {
            (out.kind, out.tolerance) = match evidence.kind {
                Kind::Exact | Kind::LowerBound => (Kind::LowerBound, None),
                Kind::Estimate => (Kind::Estimate, out.tolerance.map(|t| t / per_bit)),
                Kind::UpperBound => (Kind::Estimate, None),
            };
        }
    }
    out
}

/// Whether the value is below the floor by more than chance and tolerance allow.
fn is_below(l: &Likelihood, floor_stderr: Option<f64>) -> bool {
    let tolerance = if l.kind == Kind::Estimate { l.tolerance.unwrap_or(0.0) } else { 0.0 };
    let error = l.stderr.hypot(floor_stderr.unwrap_or(0.0));
    l.floor.is_some_and(|floor| l.value + 3.0 * error + tolerance < floor)
}

fn divergence(model: &[f64], truth: &[f64], shared: f64) -> Result<Measurement> {
    let differences: Vec<f64> = truth.iter().zip(model).map(|(p, q)| p - q).collect();
    let moments = Moments::of(&differences);
    let within = if model.len() > 1 { moments.standard_error() } else { 0.0 };
    let estimate = Estimate { value: moments.mean(), stderr: within.hypot(shared) };
    Ok(metrics::find("kl")?.measured(estimate, model.len(), Some(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{OpenOptions, open};
    use candle_core::{Device, Tensor};
    use genzoo_core::LogProb;

    /// Claims the truth's log-density plus a constant.
    struct Claim<'a> {
        data: &'a dyn Dataset,
        more: f64,
        bad: Option<f64>,
        evidence: Evidence,
    }

    impl Density for Claim<'_> {
        fn evidence(&self) -> &Evidence {
            &self.evidence
        }
        fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb> {
            let truth = self.data.truth().ok_or_else(|| Error::Unsupported("a toy".into()))?;
            let mut values = truth.log_prob(batch, noise)?.values.to_vec1::<f64>()?;
            values.iter_mut().for_each(|v| *v += self.more);
            if let Some(bad) = self.bad {
                values[7] = bad;
            }
            let n = values.len();
            Ok(LogProb { values: Tensor::from_vec(values, n, &Device::Cpu)?, shared_error: 0.003 })
        }
    }

    fn claim(data: &dyn Dataset, kind: Kind, more: f64, bad: Option<f64>) -> Result<Judged> {
        let evidence = Evidence::new(kind, "claimed", Space::Continuous);
        let rows = test_rows(data, 4000, &mut Noise::new(5))?;
        judge(&Claim { data, more, bad, evidence }, data, &rows, None, &Noise::new(1), &mut |_| ())
    }

    #[test]
    fn the_truth_scores_its_entropy_and_a_worse_model_its_excess() -> Result<()> {
        let data = open("gaussians8", &OpenOptions::default())?;
        let judged = claim(data.as_ref(), Kind::Exact, -0.25, None)?;
        let l = judged.likelihood.expect("finite");
        let floor = l.floor.expect("toys have an entropy");
        assert!((l.value - floor - 0.25).abs() < 4.0 * l.stderr, "{} {floor} ± {}", l.value, l.stderr);
        let kl = judged.kl.expect("both densities are known");
        // Paired: the only error left is the shared one.
        assert!(
            (kl.value.unwrap_or(0.0) - 0.25).abs() < 1e-9 && (kl.stderr.unwrap_or(0.0) - 0.003).abs() < 1e-9
        );
        assert!(judged.reason.is_none() && l.n == 4000 && l.unit == "nats");
        assert!(
            claim(data.as_ref(), Kind::LowerBound, -0.25, None)?.kl.is_none(),
            "a bound has no divergence"
        );
        Ok(())
    }

    /// Of 1,000 intervals value ± 1.96 stderr, between 92.2 % and 97.8 % hold the cross-entropy: 95 % within four
    /// binomial errors.
    #[test]
    fn ninety_five_percent_intervals_cover_as_they_say() -> Result<()> {
        let data = open("gaussians8", &OpenOptions::default())?;
        let evidence = Evidence::new(Kind::Exact, "claimed", Space::Continuous);
        let density = Claim { data: data.as_ref(), more: 0.0, bad: None, evidence };
        let mut covered = 0;
        for repeat in 0..1000 {
            let rows = test_rows(data.as_ref(), 300, &mut Noise::new(9).at(repeat))?;
            let l = judge(&density, data.as_ref(), &rows, None, &Noise::new(1), &mut |_| ())?.likelihood;
            let inside = |l: Likelihood| l.floor.is_some_and(|h| (l.value - h).abs() < 1.96 * l.stderr);
            covered += usize::from(l.is_some_and(inside));
        }
        assert!((922..=978).contains(&covered), "{covered} of 1000");
        Ok(())
    }

    #[test]
    fn a_number_below_the_floor_is_a_failure() -> Result<()> {
        let data = open("moons", &OpenOptions::default())?;
        let judged = claim(data.as_ref(), Kind::Exact, 0.3, None)?;
        assert_eq!(judged.reason.as_deref(), Some("below_floor"));
        assert!(judged.likelihood.is_some(), "the number stays visible");
        assert!(claim(data.as_ref(), Kind::Exact, 0.0, None)?.reason.is_none());
        Ok(())
    }

    #[test]
    fn values_that_are_not_finite_are_never_replaced() -> Result<()> {
        let data = open("moons", &OpenOptions::default())?;
        for bad in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY] {
            let judged = claim(data.as_ref(), Kind::Exact, 0.0, Some(bad))?;
            assert!(judged.likelihood.is_none() && judged.kl.is_none());
            assert!(judged.reason.is_some_and(|r| r.starts_with("non_finite_log_prob (4 of 4000")));
        }
        Ok(())
    }

    #[test]
    fn a_deadline_leaves_fewer_rows_and_says_so() -> Result<()> {
        let data = open("moons", &OpenOptions::default())?;
        let evidence = Evidence::new(Kind::Exact, "claimed", Space::Continuous);
        let rows = test_rows(data.as_ref(), 4000, &mut Noise::new(5))?;
        let density = Claim { data: data.as_ref(), more: 0.0, bad: None, evidence };
        let judged =
            judge(&density, data.as_ref(), &rows, Some(Instant::now()), &Noise::new(1), &mut |_| ())?;
        assert_eq!(judged.likelihood.map(|l| l.n), Some(1000));
        Ok(())
    }

    /// The uniform density on [0, 1]^D costs 8 bits; one that is right about the top bit costs 7.
    #[test]
    fn bytes_are_told_in_bits_and_kinds_are_honest() {
        let d = 10;
        let ln2 = std::f64::consts::LN_2;
        let evidence = |kind, discrete| Evidence {
            discrete,
            tolerance: Some(d as f64 * ln2),
            ..Evidence::new(kind, "m", Space::U8)
        };
        let dense = summary(&[d as f64 * ln2; 4], 0.0, &evidence(Kind::Exact, false), d, None);
        assert!(
            (dense.value - 7.0).abs() < 1e-12
                && dense.unit == "bits_per_dim"
                && dense.kind == Kind::LowerBound
        );
        let exact = summary(&[-8.0 * d as f64 * ln2; 4], 0.0, &evidence(Kind::Exact, true), d, None);
        assert!(
            (exact.value - 8.0).abs() < 1e-12 && exact.kind == Kind::Exact && exact.tolerance == Some(1.0)
        );
        let over = summary(&[0.0; 4], 0.0, &evidence(Kind::UpperBound, false), d, None);
        assert!(over.kind == Kind::Estimate && over.tolerance.is_none());
        let spread = summary(&[0.0, d as f64 * ln2], 0.0, &evidence(Kind::Exact, false), d, None);
        assert!((spread.value - 7.5).abs() < 1e-12 && (spread.stderr - 0.5).abs() < 1e-12);
    }
}
