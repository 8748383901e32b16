//! Samples by block Gibbs chains.
//!
//! | sampler    | chains                                                                                       |
//! |------------|----------------------------------------------------------------------------------------------|
//! | `gibbs`    | `steps` sweeps, from the persistent chains of training or from the base                       |
//! | `annealed` | one sweep at each of `temperatures` places from the base to the machine, then `steps` at it   |
//!
//! Persistent chains have been running since training began, so a few sweeps suffice; beyond as many samples as there
//! are chains, rows that share a chain are related.

use genzoo_core::{Draw, Error, Noise, Result, Sampler, SamplerInfo, Samples, Table, Tensor, config};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use super::{Beta, Machine, Rbm};

const FROM_CHAINS: SamplerInfo = SamplerInfo {
    name: "gibbs",
    summary: "block Gibbs sweeps from the persistent chains",
    defaults: || {
        toml! {
            steps = 200
            start = "chains"
        }
    },
};

const FROM_BASE: SamplerInfo = SamplerInfo {
    name: "gibbs",
    summary: "block Gibbs sweeps from independent units",
    defaults: || {
        toml! {
            steps = 1000
            start = "base"
        }
    },
};

const ANNEALED: SamplerInfo = SamplerInfo {
    name: "annealed",
    summary: "block Gibbs sweeps along the path from independent units to the machine",
    defaults: || {
        toml! {
            temperatures = 1000
            steps = 100
        }
    },
};

const PERSISTENT: &[SamplerInfo] = &[FROM_CHAINS, ANNEALED];
const FRESH: &[SamplerInfo] = &[FROM_BASE, ANNEALED];

/// Rows that move at once.
const ROWS: usize = 4096;

pub(super) fn infos(persistent: bool) -> &'static [SamplerInfo] {
    if persistent { PERSISTENT } else { FRESH }
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Start {
    Base,
    Chains,
}

#[derive(Deserialize)]
struct Options {
    steps: usize,
    #[serde(default = "from_base")]
    start: Start,
    #[serde(default)]
    temperatures: usize,
}

fn from_base() -> Start {
    Start::Base
}

/// The chains behind a sample.
pub(super) struct Gibbs<'a> {
    model: &'a Rbm,
    machine: Machine,
    chains: Option<Tensor>,
    info: &'static SamplerInfo,
    options: Options,
}

impl<'a> Gibbs<'a> {
    pub(super) fn new(model: &'a Rbm, name: &str, options: &Table) -> Result<Self> {
        let chains = model.chains.target()?;
        let infos = infos(chains.is_some());
        let info = infos.iter().find(|s| s.name == name);
        let info = info.ok_or_else(|| Error::unknown("sampler", name, infos.iter().map(|s| s.name)))?;
        let options: Options = config::read(options, "sample")?;
        if options.start == Start::Chains && chains.is_none() {
            let problem = "base: this estimator keeps no chains";
            return Err(Error::config("sample.start", problem, "chains"));
        }
        Ok(Self { model, machine: model.machine()?, chains, info, options })
    }

    /// `n` starting states, the first of them chain `first`.
    fn start(&self, first: usize, n: usize, noise: &mut Noise) -> Result<Tensor> {
        match &self.chains {
            Some(chains) if self.options.start == Start::Chains => {
                let count = chains.dim(0)?;
                let index: Vec<u32> = (first..first + n).map(|i| (i % count) as u32).collect();
                Ok(chains.index_select(&Tensor::from_vec(index, n, chains.device())?, 0)?)
            }
            _ => self.machine.draw_base(n, noise),
        }
    }
}

impl Sampler for Gibbs<'_> {
    fn info(&self) -> &SamplerInfo {
        self.info
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let spec = &self.model.spec;
        let (rungs, steps) = (self.options.temperatures, self.options.steps);
        let mut parts = vec![];
        for (start, n) in rows::pieces(draw.n, ROWS) {
            let mut v = self.start(start, n, noise)?;
            for k in 1..=rungs {
                v = self.machine.sweep(&v, Beta::All(k as f64 / rungs as f64), noise)?;
            }
            for _ in 0..steps {
                v = self.machine.sweep(&v, Beta::TARGET, noise)?;
            }
            parts.push(spec.clamp(&self.model.data(&v, noise)?)?);
        }
        let x = match parts.is_empty() {
            true => Tensor::zeros(
                spec.batch_shape(0),
                self.machine.weights().dtype(),
                self.machine.weights().device(),
            )?,
            false => Tensor::cat(&parts, 0)?,
        };
        Ok(Samples { x, evaluations: (rungs + steps) as u64 })
    }
}
