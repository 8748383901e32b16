//! Drawing samples within a rough budget, and how fast that goes.

use std::time::{Duration, Instant};

use candle_core::Tensor;
use genzoo_core::{Draw, Model, Noise, Result, Sampler, SamplerInfo, Samples};

use crate::row::Sampling;

/// Moments of a rough budget.
pub(super) struct Clock {
    start: Instant,
    seconds: Option<f64>,
}

impl Clock {
    pub(super) fn new(seconds: Option<f64>) -> Self {
        Self { start: Instant::now(), seconds: seconds.filter(|s| s.is_finite() && *s > 0.0) }
    }

    /// When this part of the budget is spent.
    pub(super) fn at(&self, part: f64) -> Option<Instant> {
        self.seconds.map(|s| self.start + Duration::from_secs_f64(s * part))
    }
}

pub(super) fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|d| Instant::now() >= d)
}

/// Fewest samples that are drawn however long they take.
pub(super) const FEWEST: usize = 64;

/// Draws `n` samples, fewer if the deadline passes, and times it: one alone first, then the rest in pieces.
pub(super) fn draw(
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
    // Pieces of fixed sizes: what is drawn may not depend on how fast it is drawn.
    let size = if parts[0].elem_count() <= 64 { 1000 } else { FEWEST };
    while drawn < n && (drawn < FEWEST || !passed(deadline)) {
        let rows = if drawn < FEWEST { FEWEST - drawn } else { size }.min(n - drawn);
        let (part, seconds) = timed(sampler, rows, noise, parts.len() as u64)?;
        parts.push(part.x);
        evaluations = part.evaluations;
        (drawn, spent, timed_rows) = (drawn + rows, spent + seconds, timed_rows + rows);
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

fn timed(sampler: &dyn Sampler, n: usize, noise: &Noise, piece: u64) -> Result<(Samples, f64)> {
    let start = Instant::now();
    let samples = sampler.sample(&Draw::n(n), &mut noise.at(piece))?;
    Ok((samples, start.elapsed().as_secs_f64()))
}

/// The speed of a sampler with its default options, in growing batches until `until`; `None` after `deadline`.
pub(super) fn speed_of(
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
