//! Judging a trained model: samples, quality, likelihood, speed; within a rough budget of seconds.
//!
//! Everything random is a function of the seed of the evaluation, which is the same for every model of a suite: all
//! are judged on the same test rows, against the same real samples, along the same directions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};
use genzoo_core::recipe::{density_choice, sampler_choice};
use genzoo_core::{
    Dataset, Draw, Measurement, Model, Noise, Result, Sampler, SamplerInfo, Space, Split, Table,
};

use crate::data::random_rows;
use crate::likelihood::{self, DEGENERATE, Judged};
use crate::metrics::{METRICS, Reference, find};
use crate::row::{Likelihood, Sampling, Status};

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Test rows of the likelihood.
    pub n_likelihood: usize,
    /// Samples, and real rows, of the quality metrics.
    pub n_quality: usize,
    /// A rough budget; what does not fit is measured on fewer examples, and says so.
    pub seconds: Option<f64>,
    /// Seed of everything random here.
    pub seed: u64,
    /// Metrics by name; `None` for all that apply.
    pub metrics: Option<Vec<String>>,
    /// The sampler to judge with its complete options; `None` for the model's default.
    pub sampler: Option<(String, Table)>,
    /// The density to judge with its complete options; `None` for the most trusted.
    pub density: Option<(String, Table)>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            n_likelihood: 10_000,
            n_quality: 2000,
            seconds: None,
            seed: 0,
            metrics: None,
            sampler: None,
            density: None,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The likelihood the row is ranked by.
    pub likelihood: Option<Likelihood>,
    /// Others.
    pub likelihoods: Vec<Likelihood>,
    /// Sample quality by metric.
    pub quality: Vec<(String, Measurement)>,
    /// Speed of each sampler, the judged one first.
    pub sampling: Vec<Sampling>,
    /// Some of the samples, for pictures.
    pub samples: Tensor,
    /// Whether the numbers can be true.
    pub status: Status,
    /// Why not, or why a number is absent.
    pub reason: Option<String>,
}

/// Judges `model` on the test split of `data`.
///
/// # Errors
/// If a sampler, density or metric is unknown or fails. Numbers that cannot be true are no errors: they come with
/// a reason.
pub fn evaluate(
    model: &dyn Model,
    data: &dyn Dataset,
    options: &EvalOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Evaluation> {
    let noise = Noise::new(options.seed).fork("eval");
    let clock = Clock::new(options.seconds);
    let metrics = chosen_metrics(options, data)?;
    let (name, table) = match &options.sampler {
        Some(choice) => choice.clone(),
        None => owned(sampler_choice(&Table::new(), model.samplers())?),
    };
    let sampler = model.sampler(&name, &table)?;
    let wanted = data
        .len(Split::Test)
        .map_or(options.n_quality, |len| options.n_quality.min(len as usize / 2));
    let (samples, speed) = draw(
        sampler.as_ref(),
        wanted.max(2),
        clock.at(0.3),
        &noise.fork("samples"),
        progress,
    )?;
    let mut reasons = Vec::new();

    progress("metrics");
    let bad = rows_not_finite(&samples)?;
    let mut quality = Vec::new();
    if bad > 0 {
        reasons.push(format!("non_finite_samples ({bad} of {})", samples.dim(0)?));
    } else {
        let exact = if options.seconds.is_some_and(|s| s < 20.0) {
            1000
        } else {
            2000
        };
        quality = reference(data, samples.dim(0)?, &metrics, exact, options.seed, &noise)?.judge(&samples)?;
    }

    let judged = likelihood_of(model, data, options, clock.at(0.85), &noise, progress)?;
    if metrics.contains(&"kl") {
        quality.extend(judged.kl.map(|m| ("kl".to_string(), m)));
    }
    reasons.extend(judged.reason);

    let mut sampling = vec![speed];
    for info in model.samplers().iter().filter(|i| i.name != name) {
        progress(&format!("speed of {}", info.name));
        let others = (model.samplers().len() - 1) as f64;
        let until = Instant::now()
            + Duration::from_secs_f64((0.15 * options.seconds.unwrap_or(20.0) / others).min(3.0));
        sampling.extend(speed_of(
            model,
            info,
            until,
            clock.at(1.3),
            &noise.fork("speed").fork(info.name),
        )?);
    }

    let keep = if data.spec().image().is_some() { 100 } else { 2000 };
    let failed = reasons.iter().any(|r| r != DEGENERATE);
    Ok(Evaluation {
        likelihood: judged.likelihood,
        likelihoods: Vec::new(),
        quality,
        sampling,
        samples: samples.narrow(0, 0, keep.min(samples.dim(0)?))?,
        status: if failed { Status::Failed } else { Status::Ok },
        reason: if reasons.is_empty() {
            None
        } else {
            Some(reasons.join("; "))
        },
    })
}

/// Moments of a rough budget.
struct Clock {
    start: Instant,
    seconds: Option<f64>,
}

impl Clock {
    fn new(seconds: Option<f64>) -> Self {
        Self {
            start: Instant::now(),
            seconds: seconds.filter(|s| s.is_finite() && *s > 0.0),
        }
    }

    /// When this part of the budget is spent.
    fn at(&self, part: f64) -> Option<Instant> {
        self.seconds
            .map(|s| self.start + Duration::from_secs_f64(s * part))
    }
}

fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|d| Instant::now() >= d)
}

fn owned((name, table): (&'static str, Table)) -> (String, Table) {
    (name.to_string(), table)
}

fn chosen_metrics<'a>(options: &'a EvalOptions, data: &dyn Dataset) -> Result<Vec<&'a str>> {
    let image = data.spec().image().is_some();
    match &options.metrics {
        Some(names) => names.iter().map(|n| find(n).map(|m| m.name)).collect(),
        None => Ok(METRICS
            .iter()
            .filter(|m| m.on_images || !image)
            .map(|m| m.name)
            .collect()),
    }
}

/// Fewest samples that are drawn however long they take.
const FEWEST: usize = 64;

/// Draws `n` samples, fewer if the deadline passes, and times it: one alone first, then the rest in pieces.
fn draw(
    sampler: &dyn Sampler,
    n: usize,
    deadline: Option<Instant>,
    noise: &Noise,
    progress: &mut dyn FnMut(&str),
) -> Result<(Tensor, Sampling)> {
    progress("sampling");
    let (first, seconds_to_first) = timed(sampler, 1, noise, 0)?;
    let mut parts = vec![first.x];
    let (mut drawn, mut spent, mut timed_rows, mut evaluations) = (1, 0.0, 0, first.evaluations);
    let mut size = 63;
    while drawn < n && (drawn < FEWEST || !passed(deadline)) {
        let rows = size.min(n - drawn);
        let (part, seconds) = timed(sampler, rows, noise, parts.len() as u64)?;
        parts.push(part.x);
        evaluations = part.evaluations;
        (drawn, spent, timed_rows) = (drawn + rows, spent + seconds, timed_rows + rows);
        // Larger pieces while they stay short, so that a deadline is never missed by much.
        if seconds < 0.5 {
            size = (2 * size).min(1024);
        }
        progress(&format!("sampling {drawn}/{n}"));
    }
    let speed = Sampling {
        sampler: sampler.info().name.to_string(),
        evaluations,
        examples_per_second: (spent > 0.0).then(|| timed_rows as f64 / spent),
        seconds_to_first: Some(seconds_to_first),
    };
    Ok((Tensor::cat(&parts, 0)?, speed))
}

fn timed(sampler: &dyn Sampler, n: usize, noise: &Noise, piece: u64) -> Result<(genzoo_core::Samples, f64)> {
    let start = Instant::now();
    let samples = sampler.sample(&Draw::n(n), &mut noise.at(piece))?;
    Ok((samples, start.elapsed().as_secs_f64()))
}

/// The speed of a sampler with its default options, in growing batches until `until`; `None` after `deadline`.
fn speed_of(
    model: &dyn Model,
    info: &SamplerInfo,
    until: Instant,
    deadline: Option<Instant>,
    noise: &Noise,
) -> Result<Option<Sampling>> {
    if passed(deadline) {
        return Ok(None);
    }
    let sampler = model.sampler(info.name, &(info.defaults)())?;
    let (first, seconds_to_first) = timed(sampler.as_ref(), 1, noise, 0)?;
    let mut speed = Sampling {
        sampler: info.name.to_string(),
        evaluations: first.evaluations,
        examples_per_second: None,
        seconds_to_first: Some(seconds_to_first),
    };
    let mut last = seconds_to_first;
    for (i, n) in [16, 128, 1024].into_iter().enumerate() {
        // A batch eight times as large takes at most eight times as long, usually far less.
        if Instant::now() + Duration::from_secs_f64(4.0 * last) > until {
            break;
        }
        let (_, seconds) = timed(sampler.as_ref(), n, noise, 1 + i as u64)?;
        speed.examples_per_second = Some(n as f64 / seconds.max(1e-9));
        last = seconds;
    }
    Ok(Some(speed))
}

fn likelihood_of(
    model: &dyn Model,
    data: &dyn Dataset,
    options: &EvalOptions,
    deadline: Option<Instant>,
    noise: &Noise,
    progress: &mut dyn FnMut(&str),
) -> Result<Judged> {
    let (name, table) = match &options.density {
        Some(choice) => choice.clone(),
        None if model.densities().is_empty() => return Ok(Judged::default()),
        None => owned(density_choice(&Table::new(), model.densities())?),
    };
    if options.n_likelihood == 0 {
        return Ok(Judged::default());
    }
    progress("likelihood");
    let noise = noise.fork("likelihood");
    let density = match model.density(&name, &table, &mut noise.fork("density")) {
        Err(e) if likelihood::is_degenerate(&e) => return Ok(Judged::failed(DEGENERATE)),
        density => density?,
    };
    let rows = likelihood::test_rows(data, options.n_likelihood, &mut noise.fork("rows"))?;
    likelihood::judge(
        density.as_ref(),
        data,
        &rows,
        deadline,
        &noise.fork("log_prob"),
        progress,
    )
}

fn rows_not_finite(x: &Tensor) -> Result<usize> {
    let d = x.elem_count() / x.dim(0)?.max(1);
    let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values
        .chunks(d.max(1))
        .filter(|row| row.iter().any(|v| !v.is_finite()))
        .count())
}

/// The real samples and floors for `n` samples of these data, kept for the next model.
fn reference(
    data: &dyn Dataset,
    n: usize,
    metrics: &[&str],
    exact: usize,
    seed: u64,
    noise: &Noise,
) -> Result<Arc<Reference>> {
    static KEPT: Mutex<Vec<(String, Arc<Reference>)>> = Mutex::new(Vec::new());
    let key = format!("{} {} {n} {metrics:?} {exact} {seed}", data.name(), data.sha256());
    let lookup =
        |kept: &Vec<(String, Arc<Reference>)>| kept.iter().find(|(k, _)| *k == key).map(|(_, r)| r.clone());
    // A poisoned lock only means that another evaluation panicked; what is kept is complete.
    if let Some(found) = lookup(&KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
        return Ok(found);
    }
    let mut noise = noise.fork("reference");
    let both = random_rows(data, Split::Test, 2 * n, &mut noise.fork("rows"))?.x;
    // Rows of a fixed set come in the order of their addresses, which need not be random.
    let both = crate::metrics::shuffled(&both, &mut noise.fork("order"))?;
    let (real, other) = (both.narrow(0, 0, n)?, both.narrow(0, n, n)?);
    let modes = data
        .truth()
        .filter(|_| data.spec().space == Space::Continuous)
        .and_then(|t| t.modes());
    let made = Arc::new(Reference::new(
        &real,
        Some(&other),
        modes,
        metrics,
        exact,
        &mut noise,
    )?);
    let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if kept.len() >= 8 {
        kept.remove(0);
    }
    kept.push((key, made.clone()));
    Ok(made)
}
