//! Toys: exact models with endless fresh rows.
//!
//! A toy is a [`Law`]: a map from uniforms to points, and its log-density. From these follow the data set
//! (rows by address), the truth (density, score, sampler, entropy, modes) and every floor.

mod banana;
mod blurred;
mod checkerboard;
mod circles;
mod draws;
mod entropy;
mod funnel;
mod gaussians;
mod mixture;
mod moons;
mod pinwheel;
mod quadrature;
mod scurve;
mod special;
mod spirals;
mod swissroll;
#[cfg(test)]
mod tests;

pub(super) use banana::BANANA;
pub(super) use checkerboard::CHECKERBOARD;
pub(super) use circles::{CIRCLES, RINGS};
pub(super) use funnel::FUNNEL;
pub(super) use gaussians::{GAUSSIANS8, GRID25, MIXTURE1D, TWO_MODES};
pub(super) use moons::MOONS;
pub(super) use pinwheel::PINWHEEL;
pub(super) use scurve::SCURVE;
pub(super) use spirals::SPIRALS;
pub(super) use swissroll::SWISSROLL;

use std::ops::Range;
use std::sync::OnceLock;

use genzoo_core::{
    Batch, Better, DType, DataSpec, Dataset, Density, Device, Draw, Error, Evidence, Kind, LogProb,
    Measurement, Modes, Noise, Result, Sampler, SamplerInfo, Samples, Space, Split, Table, Tensor, Truth,
};
use rayon::prelude::*;

use super::{Arguments, OpenOptions, generator_sha256, split_name};
use entropy::Entropy;

/// A probability law given exactly. Points are rows of `dims` numbers.
trait Law: Send + Sync {
    /// Dimension of a point.
    fn dims(&self) -> usize;
    /// How many uniforms one point is made of.
    fn uniforms(&self) -> usize;
    /// The point that these uniforms on (0, 1) make.
    fn draw(&self, u: &[f64], x: &mut [f64]);
    /// `log p(x)` in nats; −∞ outside the support.
    fn log_density(&self, x: &[f64]) -> f64;
    /// Writes `∇ log p(x)`; false if the density has no gradient.
    fn score(&self, x: &[f64], s: &mut [f64]) -> bool;
    /// The differential entropy.
    fn entropy(&self) -> Entropy;
    /// Separate modes, if there are any.
    fn modes(&self) -> Option<Modes> {
        None
    }
    /// Smallest and largest coordinate, if bounded.
    fn range(&self) -> Option<(f64, f64)> {
        None
    }
    /// How the log-density is computed.
    fn method(&self) -> &'static str {
        "closed_form"
    }
}

/// Rows whose uniforms are drawn together: a hash per row would cost more than the row.
const BLOCK: u64 = 64;

/// The sampler of every truth.
static EXACT: SamplerInfo =
    SamplerInfo { name: "exact", summary: "the law the data come from", defaults: Table::new };

/// A law as a data set and its own truth.
struct Toy {
    name: String,
    full_name: String,
    spec: DataSpec,
    noise: Noise,
    law: Box<dyn Law>,
    evidence: Evidence,
    modes: Option<Modes>,
    entropy: OnceLock<Measurement>,
}

/// A toy with the name and seed it was opened by.
fn toy(arguments: &Arguments, options: &OpenOptions, law: impl Law + 'static) -> Box<dyn Dataset> {
    let space = Space::Continuous;
    Box::new(Toy {
        name: arguments.name(),
        full_name: arguments.full_name(),
        spec: DataSpec { shape: vec![law.dims()], space, classes: None, range: law.range() },
        noise: Noise::new(options.seed).fork("data").fork(arguments.entry_name()),
        evidence: Evidence::new(Kind::Exact, law.method(), space),
        modes: law.modes(),
        entropy: OnceLock::new(),
        law: Box::new(law),
    })
}

impl Toy {
    /// The points of `x` as f64, one after the other.
    fn points(&self, x: &Tensor) -> Result<Vec<f64>> {
        let d = self.law.dims();
        match x.dims() {
            [_, width] if *width == d => Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?),
            dims => Err(Error::data(
                format!("points of {}", self.name),
                format!("shape (b, {d})"),
                format!("{dims:?}"),
            )),
        }
    }

    fn tensor(&self, x: &[f64]) -> Result<Tensor> {
        let d = self.law.dims();
        let x: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        let b = x.len() / d;
        Ok(Tensor::from_vec(x, (b, d), &Device::Cpu)?)
    }

    /// Appends the points made of `u`.
    fn draw(&self, u: &[f64], x: &mut Vec<f64>) {
        let d = self.law.dims();
        for u in u.chunks_exact(self.law.uniforms()) {
            let start = x.len();
            x.resize(start + d, 0.0);
            self.law.draw(u, &mut x[start..]);
        }
    }
}

impl Dataset for Toy {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> &DataSpec {
        &self.spec
    }

    fn len(&self, _: Split) -> Option<u64> {
        None
    }

    fn rows(&self, split: Split, rows: Range<u64>) -> Result<Batch> {
        if rows.start > rows.end {
            return Err(Error::data(
                "rows",
                "a range that runs forwards",
                format!("{}..{}", rows.start, rows.end),
            ));
        }
        let width = self.law.uniforms();
        let noise = self.noise.fork(split_name(split));
        let mut x = Vec::with_capacity((rows.end - rows.start) as usize * self.law.dims());
        let mut row = rows.start;
        while row < rows.end {
            let block = row / BLOCK;
            let first = (row % BLOCK) as usize;
            let last = (rows.end - block * BLOCK).min(BLOCK) as usize;
            let u = noise.at(block).uniforms(last * width);
            self.draw(&u[first * width..], &mut x);
            row += (last - first) as u64;
        }
        Ok(Batch { x: self.tensor(&x)?, label: None, source: None, rows })
    }

    fn truth(&self) -> Option<&dyn Truth> {
        Some(self)
    }

    fn sha256(&self) -> String {
        generator_sha256(&format!("genzoo toys 1: {}", self.full_name))
    }
}

impl Density for Toy {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let x = self.points(&batch.x)?;
        let values: Vec<f64> =
            x.par_chunks_exact(self.law.dims()).map(|x| log_density(&*self.law, x)).collect();
        let b = values.len();
        Ok(LogProb { values: Tensor::from_vec(values, b, &Device::Cpu)?, shared_error: 0.0 })
    }
}

/// The log-density of any point: NaN of NaN, −∞ at infinity.
fn log_density(law: &dyn Law, x: &[f64]) -> f64 {
    if x.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    // Squares of larger numbers overflow; the density of every toy is 0 there.
    if x.iter().any(|v| v.abs() > 1e100) { f64::NEG_INFINITY } else { law.log_density(x) }
}

impl Sampler for Toy {
    fn info(&self) -> &SamplerInfo {
        &EXACT
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        if draw.label.is_some() || draw.source.is_some() {
            return Err(Error::Unsupported(format!(
                "{} has neither classes nor sources to draw from",
                self.name
            )));
        }
        let mut x = Vec::with_capacity(draw.n * self.law.dims());
        self.draw(&noise.uniforms(draw.n * self.law.uniforms()), &mut x);
        Ok(Samples { x: self.tensor(&x)?, evaluations: 0 })
    }
}

impl Truth for Toy {
    fn score(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let points = self.points(x)?;
        let d = self.law.dims();
        let mut s = vec![0.0; points.len()];
        let exists =
            s.par_chunks_exact_mut(d).zip(points.par_chunks_exact(d)).map(|(s, x)| self.law.score(x, s));
        if !exists.reduce(|| true, |a, b| a && b) {
            return Ok(None);
        }
        Ok(Some(Tensor::from_vec(s, x.dims(), &Device::Cpu)?.to_dtype(x.dtype())?))
    }

    fn entropy(&self) -> Measurement {
        let measure = || {
            let Entropy { value, stderr, n } = self.law.entropy();
            let unit = "nats".to_string();
            Measurement {
                value: Some(value),
                stderr: Some(stderr),
                n,
                unit,
                better: Better::Lower,
                floor: None,
            }
        };
        self.entropy.get_or_init(measure).clone()
    }

    fn modes(&self) -> Option<&Modes> {
        self.modes.as_ref()
    }
}
