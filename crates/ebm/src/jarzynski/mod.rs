//! A neural energy trained by maximum likelihood with Jarzynski's correction.
//!
//! ```text
//! (X, A): walkers and log-weights that follow U_θ through training       (numerics::mcmc::jarzynski)
//! −∇_θ E_data log p = E_data ∇_θ U − Σ W ∇_θ U(X),   W = e^A / Σ e^A     exact up to O(1/n), however few the moves
//! log Z_θ ≈ D/2 log(2π/κ) + log mean e^A                                  the base's log Z, and what weights add
//! H(data, p) ≈ mean U(data) + log Z_θ + Σ log s                           the cross-entropy, known while training
//! loss = mean f(data) − Σ W f(X) + r · mean f²
//! ```
//!
//! Chains that are too short, or never cross between modes, cost effective walkers and not truth: the weights carry the
//! masses of the modes. When fewer than a share of the walkers are effective they are resampled.
//!
//! | symbol   | shape    | meaning                                                                  |
//! |----------|----------|--------------------------------------------------------------------------|
//! | `U`, `f` | `(b,)`   | the family's neural energy and its learned part                          |
//! | `X`, `A` | `(n, D)`, `(n,)` | walkers and log-weights; kept, with log Z, in checkpoints        |
//! | `κ`      |          | confinement: the first walkers are draws of its law, weighted by `e^{−f}` |
//!
//! With fewer `chains` than `walkers` only a window of them moves in each update (mini-batches); the weights of all
//! follow the energy, and the window's stand in for all in the gradient.
//!
//! Source: Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414, Algorithms 1 and 4; Carbone, "Hitchhiker's
//! guide on energy-based models", Eqs. 102–106.
//!
//! Departures: moves are MALA by default, whose own weight is 1; weights are those of the kernel that is used, which
//! clipped or reverted moves would not be. Optimisers are free: the identities hold for any path of θ. Averaged weights
//! (`train.ema`) are another energy; what is asked of it is reweighted to it exactly, or refused if the weights
//! degenerate.

mod walkers;

use genzoo_core::capability::Energy;
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Error, Family, Kind, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Scalars, StateDict, Stream, Table, Turn, Update, config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use crate::neural::langevin::{self, Langevin, Legacy, Start};
use crate::neural::{NeuralEnergy, SPACES, density, recipe};
use crate::settings::{at_least_one, not_negative, positive, share, windows};
use walkers::{Moves, Population};

/// Jarzynski-corrected training in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(Jarzynski::new(table, build.spec, params, &build.noise)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "jarzynski",
    family: Family::Ebm,
    summary: "neural energy trained with weighted walkers that know log Z",
    citation: "Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414",
};

const RUNNING: DensityInfo = DensityInfo {
    name: "jarzynski",
    summary: "log Z from the weights of training's walkers",
    defaults: Table::new,
};
/// Effective walkers below which a log Z is no number.
const LEAST_EFFECTIVE: f64 = 10.0;

fn defaults(spec: &DataSpec) -> Table {
    let (own, train) = if spec.image().is_some() {
        let own = toml! { moves = 10 step = 0.02 walkers = 256 chains = 64 };
        (own, toml! { lr = 3e-4 clip = 0.0 ema = 0.0 })
    } else {
        let own = toml! { moves = 2 step = 0.05 walkers = 1024 chains = 1024 };
        (own, toml! { lr = 3e-3 ema = 0.0 })
    };
    let mut model = toml! { kernel = "mala" leapfrogs = 5 resample = 0.5 regularisation = 1e-4 };
    model.extend(own);
    recipe::defaults(spec, model, train)
}

fn tiny(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { walkers = 32 chains = 16 moves = 2 }
    } else {
        toml! { walkers = 64 chains = 64 moves = 2 }
    };
    recipe::tiny(spec, own)
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    kernel: Moves,
    moves: usize,
    leapfrogs: usize,
    step: f64,
    walkers: usize,
    chains: usize,
    resample: f64,
    regularisation: f64,
}

impl Config {
    fn check(&self) -> Result<()> {
        at_least_one("moves", self.moves)?;
        at_least_one("leapfrogs", self.leapfrogs)?;
        positive("step", self.step)?;
        share("resample", self.resample)?;
        not_negative("regularisation", self.regularisation)?;
        windows(self.walkers, self.chains)
    }
}

/// A neural energy and its weighted walkers.
pub struct Jarzynski {
    energy: NeuralEnergy,
    config: Config,
    population: Population,
}

impl Jarzynski {
    /// Builds network and walkers for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        config.check()?;
        let energy = NeuralEnergy::new(table, spec, params)?;
        let population = Population::new(&energy, &config, noise)?;
        Ok(Self { energy, config, population })
    }

    /// What training leaves to a sampler, as weights of the energy that is loaded now.
    fn legacy(&self) -> Result<Legacy> {
        let walkers = self.population.now(&self.energy)?;
        Ok(Legacy {
            step: self.population.step(),
            restarts: self.energy.spec().image().is_none(),
            log_weights: Some(walkers.log_weights().to_vec()),
            walkers: Some(walkers.chains().x.clone()),
        })
    }

    /// The density whose log Z the walkers know.
    fn running(&self) -> Result<density::Normalised<'_>> {
        let walkers = self.population.now(&self.energy)?;
        let effective = walkers.effective();
        if effective < LEAST_EFFECTIVE || effective.is_nan() {
            return Err(Error::Unsupported(format!(
                "ais_degenerate: the {} walkers are worth {effective:.1} for these weights, and {LEAST_EFFECTIVE} are needed; evaluate the raw weights (train.ema = 0), or raise model.walkers",
                self.config.walkers
            )));
        }
        let (gain, standard_error) = walkers.log_z();
        let log_z = self.population.first_log_z() + gain;
        let z = density::LogZ { log_z, standard_error, tolerance: None, kind: Kind::Estimate };
        Ok(density::Normalised::with(&self.energy, RUNNING.name, z))
    }
}

impl Model for Jarzynski {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        self.energy.params()
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.energy.state()?;
        state.extend(self.population.state()?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.energy.set_state(&state)?;
        self.population.load(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.energy.prepare(stream)?;
        // A network of images sees the scaling, so its energy is not the one that walkers were weighted for.
        self.population.begin(&self.energy)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let data = self.energy.standardise(batch, &mut noise.fork("smoothing"))?; // (b, D)
        let (walkers, weights) = self.population.active()?; // (n, D), (n,)
        let (loss, gap) =
            self.energy.contrast(&data, &walkers, Some(&weights), self.config.regularisation)?;
        let (log_z, error) = self.population.walkers().log_z();
        let on_data = rows::host(&self.energy.landscape().energy(&data)?.mean_all()?)?[0];
        let outside = self.energy.coordinates().mean_rest() - self.energy.coordinates().ladj();
        let cross_entropy = on_data + self.population.first_log_z() + log_z + outside;
        let log = vec![
            ("gap", gap),
            ("cross_entropy", cross_entropy),
            ("log_z_error", error),
            ("effective", self.population.walkers().effective()),
        ];
        Ok(Update::Minimise { loss, log })
    }

    /// The energy has moved: walkers and weights follow.
    fn after(&mut self, turn: &Turn, noise: &mut Noise) -> Result<Scalars> {
        self.energy.constrain(turn)?;
        self.population.follow(&self.energy, &self.config, noise)
    }

    fn samplers(&self) -> &[SamplerInfo] {
        langevin::infos(Some(Start::Walkers))
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        let infos = langevin::infos(Some(Start::Walkers));
        Ok(Box::new(Langevin::new(&self.energy, self.legacy()?, infos, name, options)?))
    }

    fn densities(&self) -> &[DensityInfo] {
        const PLANE: &[DensityInfo] = &[density::QUADRATURE, RUNNING, density::AIS];
        const SPACE: &[DensityInfo] = &[density::AIS, RUNNING];
        if self.energy.dims() <= 2 { PLANE } else { SPACE }
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        if name == RUNNING.name {
            return Ok(Box::new(self.running()?));
        }
        Ok(Box::new(density::Normalised::new(&self.energy, name, options, noise)?))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { energy: Some(&self.energy), ..Capabilities::default() }
    }
}

#[cfg(test)]
mod tests;
