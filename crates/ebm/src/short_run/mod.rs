//! A neural energy trained by short runs from the base: a generator that is not the energy's own law.
//!
//! ```text
//! u₀ ~ N(0, I/κ),   u_{j+1} = u_j − h ∇U(u_j) + √(2hT) ξ_j,   j < K         T ≤ 1, K fixed, never longer
//! loss = mean f(data) − mean f(u_K) + r · mean f²
//! ```
//!
//! The chains do not converge and are not meant to: training makes the law of u_K match the data's moments of ∂_θ f,
//! and the same K moves draw samples. e^{−U} is another law, so this model has no density.
//!
//! | symbol | shape    | meaning                                                    |
//! |--------|----------|------------------------------------------------------------|
//! | `U`, `f` | `(b,)` | the family's neural energy and its learned part            |
//! | `u_j`  | `(b, D)` | chains in standardised data                                |
//! | `T`    |          | temperature of the noise, cooler than the energy's own      |
//!
//! Source: Nijkamp, Hill, Zhu & Wu (2019), arXiv:1904.09770, Algorithm 1.
//!
//! Departures: chains start from a Gaussian instead of uniform noise, and the energy is confined like every other here.

use genzoo_core::capability::Energy;
use genzoo_core::{
    Batch, DType, DataSpec, Density, Draw, Entry, Error, Family, Model, ModelInfo, Noise, ParamStore, Result,
    Sampler, SamplerInfo, Samples, Scalars, StateDict, Stream, Table, Tensor, Turn, Update, config,
};
use genzoo_numerics::{Counted, rows};
use serde::Deserialize;
use toml::toml;

use crate::neural::restart::base;
use crate::neural::{Landscape, NeuralEnergy, SPACES, recipe};
use crate::settings::{at_least_one, not_negative, positive};

/// Short-run MCMC in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(ShortRun::new(table, build.spec, params)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "short-run",
    family: Family::Ebm,
    summary: "neural energy whose samples are K Langevin moves from noise",
    citation: "Nijkamp, Hill, Zhu & Wu (2019), arXiv:1904.09770",
};

const SHORT_RUN: SamplerInfo = SamplerInfo {
    name: "short-run",
    summary: "the Langevin moves of training, from noise: not samples of e^{−U}",
    defaults: Table::new,
};

fn defaults(spec: &DataSpec) -> Table {
    let (own, train) = if spec.image().is_some() {
        (toml! { moves = 30 step = 0.05 temperature = 0.1 regularisation = 1e-4 }, Table::new())
    } else {
        let own = toml! { moves = 20 step = 0.05 temperature = 0.1 regularisation = 1e-4 };
        (own, toml! { batch = 256 lr = 3e-3 })
    };
    recipe::defaults(spec, own, train)
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, toml! { moves = 3 })
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    moves: usize,
    step: f64,
    temperature: f64,
    regularisation: f64,
}

impl Config {
    fn check(&self) -> Result<()> {
        at_least_one("moves", self.moves)?;
        positive("step", self.step)?;
        not_negative("temperature", self.temperature)?;
        not_negative("regularisation", self.regularisation)
    }
}

/// A neural energy and the chains that are its generator.
pub struct ShortRun {
    energy: NeuralEnergy,
    config: Config,
}

impl ShortRun {
    /// Builds the network for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        config.check()?;
        Ok(Self { energy: NeuralEnergy::new(table, spec, params)?, config })
    }

    /// The ends of `n` short runs, `(n, D)`.
    fn run(&self, target: &dyn Energy, n: usize, noise: &mut Noise) -> Result<Tensor> {
        let (params, c) = (self.energy.params(), &self.config);
        let like = Tensor::zeros((n, self.energy.dims()), params.dtype(), params.device())?;
        let mut u = base(&like, self.energy.confinement(), noise)?;
        for _ in 0..c.moves {
            let gradient = target.energy_and_gradient(&u)?.1.detach();
            let kick = (noise.normal_like(&u)? * (2.0 * c.step * c.temperature).sqrt())?;
            u = ((u - (gradient * c.step)?)? + kick)?.detach();
        }
        Ok(u)
    }
}

impl Model for ShortRun {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        self.energy.params()
    }

    fn state(&self) -> Result<StateDict> {
        self.energy.state()
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.energy.set_state(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.energy.prepare(stream)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let data = self.energy.standardise(batch, &mut noise.fork("smoothing"))?; // (b, D)
        let b = data.dim(0)?;
        let walkers = self.run(&self.energy.landscape(), b, &mut noise.fork("walkers"))?;
        let (loss, gap) = self.energy.contrast(&data, &walkers, None, self.config.regularisation)?;
        Ok(Update::Minimise { loss, log: vec![("gap", gap)] })
    }

    fn after(&mut self, turn: &Turn, _: &mut Noise) -> Result<Scalars> {
        self.energy.constrain(turn)?;
        Ok(Scalars::new())
    }

    fn samplers(&self) -> &[SamplerInfo] {
        &[SHORT_RUN]
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        if name != SHORT_RUN.name {
            return Err(Error::unknown("sampler", name, [SHORT_RUN.name]));
        }
        Ok(Box::new(Generator { model: self, landscape: self.energy.landscape() }))
    }

    fn density(&self, _: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Err(Error::Unsupported(
            "short-run has no density: its samples do not follow e^{−U}; train pcd or jarzynski for one"
                .into(),
        ))
    }
}

/// The chains as a sampler.
struct Generator<'a> {
    model: &'a ShortRun,
    landscape: Landscape,
}

/// Rows that enter the network at once.
const ROWS: usize = 8192;

impl Sampler for Generator<'_> {
    fn info(&self) -> &SamplerInfo {
        &SHORT_RUN
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let energy = &self.model.energy;
        let target = Counted::new(&self.landscape);
        let (mut rest, mut parts) = (noise.fork("rest"), Vec::new());
        for (_, n) in rows::pieces(draw.n, ROWS) {
            let u = self.model.run(&target, n, noise)?;
            let x = energy.coordinates().inverse(&u, &mut rest)?;
            // Only what is handed out is brought into the data's range.
            parts.push(energy.spec().clamp(&x)?);
        }
        let x = match parts.is_empty() {
            true => Tensor::zeros(energy.spec().batch_shape(0), DType::F32, energy.params().device())?,
            false => Tensor::cat(&parts, 0)?.reshape(energy.spec().batch_shape(draw.n))?,
        };
        Ok(Samples { x, evaluations: target.evaluations().examples / draw.n.max(1) as u64 })
    }
}

#[cfg(test)]
mod tests;
