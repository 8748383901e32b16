//! Samples of `e^{−U}/Z` by long chains, in `u`, returned as data.
//!
//! Each step is one move `u ← MALA_h(u)`; where restarts are proposals (vectors), every second step is one of those
//! instead, so that chains cross between modes. Both leave the model invariant, so what is missing is time alone.
//! Chains start from the base, or from walkers that have been moving since training began: those chains are far longer
//! than `steps`, and beyond as many samples as there are walkers, rows that share a walker are related. Weighted walkers
//! are drawn by their weights.
//!
//! Where training found no step size, `h` follows the acceptance toward 0.574 in the first half of the moves and stands
//! still in the second.

use genzoo_core::capability::Energy;
use genzoo_core::{Draw, Error, Noise, Result, Sampler, SamplerInfo, Samples, Table, Tensor, config};
use genzoo_numerics::mcmc::{Chains, Kernel, Mala, systematic};
use genzoo_numerics::{Counted, rows};
use serde::Deserialize;
use toml::toml;

use super::restart::{base, restart};
use super::{Landscape, NeuralEnergy};

const FRESH: &[SamplerInfo] = &[SamplerInfo {
    name: "langevin",
    summary: "Metropolis-adjusted Langevin chains from the base",
    defaults: || {
        toml! {
            steps = 100
            step = 0.0
        }
    },
}];

const FROM_BASE: &[SamplerInfo] = &[SamplerInfo {
    name: "langevin",
    summary: "Metropolis-adjusted Langevin chains with restarts, from the base",
    defaults: || {
        toml! {
            steps = 100
            step = 0.0
            start = "base"
        }
    },
}];

const FROM_WALKERS: &[SamplerInfo] = &[SamplerInfo {
    name: "langevin",
    summary: "Metropolis-adjusted Langevin chains, from the persistent walkers",
    defaults: || {
        toml! {
            steps = 100
            step = 0.0
            start = "walkers"
        }
    },
}];

/// Rows that enter the network at once.
pub(crate) const ROWS: usize = 8192;
/// The first step size where training found none.
const FIRST_STEP: f64 = 0.05;
/// The acceptance a good step has, and how fast steps follow it.
pub(crate) const TARGET_ACCEPTANCE: f64 = 0.574;
pub(crate) const GAIN: f64 = 0.25;

/// Where chains start.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    Base,
    Walkers,
}

/// The sampler of a model that keeps no walkers (`None`), or whose chains start there if nobody says otherwise.
pub(crate) fn infos(start: Option<Start>) -> &'static [SamplerInfo] {
    match start {
        None => FRESH,
        Some(Start::Base) => FROM_BASE,
        Some(Start::Walkers) => FROM_WALKERS,
    }
}

/// What training leaves to a sampler.
#[derive(Clone, Default)]
pub(crate) struct Legacy {
    /// The step size it arrived at.
    pub(crate) step: Option<f64>,
    /// Whether restarts are worth proposing.
    pub(crate) restarts: bool,
    /// Where its chains are, `(n, D)`.
    pub(crate) walkers: Option<Tensor>,
    /// Their log-weights, if they differ.
    pub(crate) log_weights: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Options {
    /// Moves and restart proposals of each chain.
    steps: usize,
    /// Step size h; 0 takes the one that training arrived at.
    step: f64,
    #[serde(default = "from_base")]
    start: Start,
}

fn from_base() -> Start {
    Start::Base
}

/// The chains behind a sample.
pub(crate) struct Langevin<'a> {
    energy: &'a NeuralEnergy,
    info: &'static SamplerInfo,
    landscape: Landscape,
    legacy: Legacy,
    options: Options,
}

impl<'a> Langevin<'a> {
    pub(crate) fn new(
        energy: &'a NeuralEnergy,
        legacy: Legacy,
        infos: &'static [SamplerInfo],
        name: &str,
        options: &Table,
    ) -> Result<Self> {
        let info = infos
            .iter()
            .find(|s| s.name == name)
            .ok_or_else(|| Error::unknown("sampler", name, infos.iter().map(|s| s.name)))?;
        let options: Options = config::read(options, "sample")?;
        if !(options.step >= 0.0 && options.step.is_finite()) {
            return Err(Error::config(
                "sample.step",
                "a number ≥ 0 (0 for the one training used)",
                options.step,
            ));
        }
        Ok(Self { energy, info, landscape: energy.landscape(), legacy, options })
    }

    /// The walker that each of `n` chains starts from.
    fn sources(&self, n: usize, noise: &mut Noise) -> Result<Vec<u32>> {
        let count = match &self.legacy.walkers {
            Some(walkers) if self.options.start == Start::Walkers => walkers.dim(0)?,
            _ => return Ok(Vec::new()),
        };
        Ok(match &self.legacy.log_weights {
            None => (0..n).map(|i| (i % count) as u32).collect(),
            Some(weights) => {
                let uniform: f64 = noise.uniforms(1).iter().sum();
                systematic(weights, n, uniform).into_iter().map(|i| i as u32).collect()
            }
        })
    }

    /// `n` starting points: the walkers `sources`, or draws of the base.
    fn start(&self, sources: &[u32], n: usize, noise: &mut Noise) -> Result<Tensor> {
        let params = self.energy.params();
        match &self.legacy.walkers {
            Some(walkers) if self.options.start == Start::Walkers => {
                let index = Tensor::from_vec(sources.to_vec(), n, walkers.device())?;
                Ok(walkers.index_select(&index, 0)?)
            }
            _ => {
                let like = Tensor::zeros((n, self.energy.dims()), params.dtype(), params.device())?;
                base(&like, self.energy.confinement(), noise)
            }
        }
    }

    fn run(&self, u: Tensor, target: &dyn Energy, noise: &mut Noise) -> Result<Tensor> {
        let given = if self.options.step > 0.0 { Some(self.options.step) } else { self.legacy.step };
        let mut log_step = given.unwrap_or(FIRST_STEP).ln();
        let mut chains = Chains::at(target, &u)?;
        for i in 0..self.options.steps {
            if self.legacy.restarts && i % 2 == 0 {
                restart(target, self.energy.confinement(), &mut chains, 1.0, noise)?;
                continue;
            }
            let info = Mala::new(log_step.exp())?.step(target, &mut chains, noise)?;
            if given.is_none() && 2 * i < self.options.steps {
                log_step += GAIN * (info.mean_acceptance() - TARGET_ACCEPTANCE);
            }
        }
        Ok(chains.x)
    }
}

impl Sampler for Langevin<'_> {
    fn info(&self) -> &SamplerInfo {
        self.info
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let (spec, params) = (self.energy.spec(), self.energy.params());
        let target = Counted::new(&self.landscape);
        let sources = self.sources(draw.n, &mut noise.fork("sources"))?;
        let (mut rest, mut parts) = (noise.fork("rest"), Vec::new());
        for (start, n) in rows::pieces(draw.n, ROWS) {
            let u = self.start(sources.get(start..start + n).unwrap_or_default(), n, noise)?;
            let u = self.run(u, &target, noise)?;
            let x = self.energy.coordinates().inverse(&u, &mut rest)?;
            // The model lives on all of space; only what is handed out is brought into the data's range.
            parts.push(spec.clamp(&x)?);
        }
        let x = match parts.is_empty() {
            true => Tensor::zeros((0, spec.dims()), params.dtype(), params.device())?,
            false => Tensor::cat(&parts, 0)?,
        };
        Ok(Samples {
            x: x.reshape(spec.batch_shape(draw.n))?.detach(),
            evaluations: target.evaluations().examples / draw.n.max(1) as u64,
        })
    }
}
