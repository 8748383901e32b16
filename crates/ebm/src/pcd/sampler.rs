//! Samples of `e^{−U}/Z` by long chains, in `u`, returned as data.
//!
//! Each step is one move `u ← MALA_h(u)`; where restarts are proposals (vectors), every second step is one of those
//! instead, so that chains cross between modes. Both leave the model invariant, so what is missing is time alone.
//! Vectors start from the base, `steps` being enough to forget it. Images start from the persistent walkers, which
//! have been moving since training began: their chains are far longer than `steps`, and beyond as many samples as
//! there are walkers, rows that share a walker are related.

use genzoo_core::capability::Energy;
use genzoo_core::{
    DataSpec, Draw, Error, Noise, Result, Sampler, SamplerInfo, Samples, Table, Tensor, config,
};
use genzoo_numerics::mcmc::{Chains, Kernel, Mala};
use genzoo_numerics::{Counted, rows};
use serde::Deserialize;
use toml::toml;

use super::walkers::{Rule, base, restart};
use super::{Landscape, Pcd};

const VECTOR: &[SamplerInfo] = &[SamplerInfo {
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

const IMAGE: &[SamplerInfo] = &[SamplerInfo {
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
const ROWS: usize = 8192;

pub(super) fn infos(spec: &DataSpec) -> &'static [SamplerInfo] {
    if spec.image().is_some() { IMAGE } else { VECTOR }
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Start {
    Base,
    Walkers,
}

#[derive(Deserialize)]
struct Options {
    /// Moves and restart proposals of each chain.
    steps: usize,
    /// Step size h; 0 takes the one that training arrived at.
    step: f64,
    start: Start,
}

/// The chains behind a sample.
pub(super) struct Langevin<'a> {
    model: &'a Pcd,
    info: &'static SamplerInfo,
    landscape: Landscape,
    options: Options,
}

impl<'a> Langevin<'a> {
    pub(super) fn new(model: &'a Pcd, name: &str, options: &Table) -> Result<Self> {
        let infos = infos(&model.spec);
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
        Ok(Self { model, info, landscape: model.landscape(), options })
    }

    /// `n` starting points, the first of them walker `first`.
    fn start(&self, first: usize, n: usize, noise: &mut Noise) -> Result<Tensor> {
        let walkers = self.model.walkers.all();
        let (count, dims) = walkers.dims2()?;
        match self.options.start {
            Start::Base => {
                let like = Tensor::zeros((n, dims), walkers.dtype(), walkers.device())?;
                base(&like, self.model.config.confinement, noise)
            }
            Start::Walkers => {
                let index: Vec<u32> = (first..first + n).map(|i| (i % count) as u32).collect();
                Ok(walkers.index_select(&Tensor::from_vec(index, n, walkers.device())?, 0)?)
            }
        }
    }

    fn run(&self, u: Tensor, target: &dyn Energy, noise: &mut Noise) -> Result<Tensor> {
        let c = &self.model.config;
        let step = if self.options.step > 0.0 { self.options.step } else { self.model.walkers.step() };
        let kernel = Mala::new(step)?;
        let mut chains = Chains::at(target, &u)?;
        for i in 0..self.options.steps {
            if c.restart_rule == Rule::Metropolis && i % 2 == 0 {
                restart(target, c.confinement, &mut chains, 1.0, noise)?;
            } else {
                kernel.step(target, &mut chains, noise)?;
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
        let spec = &self.model.spec;
        let target = Counted::new(&self.landscape);
        let mut parts = Vec::new();
        for (start, n) in rows::pieces(draw.n, ROWS) {
            let u = self.start(start, n, noise)?;
            let x = self.model.scaling.inverse(&self.run(u, &target, noise)?)?;
            // The model lives on all of space; only what is handed out is brought into the data's range.
            parts.push(match spec.range {
                Some((low, high)) => x.clamp(low, high)?,
                None => x,
            });
        }
        let x = match parts.is_empty() {
            true => Tensor::zeros((0, spec.dims()), self.model.params.dtype(), self.model.params.device())?,
            false => Tensor::cat(&parts, 0)?,
        };
        Ok(Samples {
            x: x.reshape(spec.batch_shape(draw.n))?.detach(),
            evaluations: target.evaluations().examples / draw.n.max(1) as u64,
        })
    }
}
