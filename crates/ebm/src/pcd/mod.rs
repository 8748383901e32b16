//! A neural energy trained by persistent contrastive divergence.
//!
//! ```text
//! −∇_θ E_data log p = E_data ∇_θ U − E_p ∇_θ U              the second mean is taken over walkers
//! loss = mean U(data) − mean U(walkers) + r · mean f²       over data and walkers alike
//! walkers: u ← MALA_h(u),  proposal u − h∇U + √(2h) ξ       temperature 1, k moves per update
//! ```
//!
//! | symbol    | shape          | meaning                                                              |
//! |-----------|----------------|----------------------------------------------------------------------|
//! | `U`, `f`  | `(b,)`         | the family's neural energy and its learned part                       |
//! | walkers   | `(n, D)`       | the persistent chains, kept from update to update and in checkpoints  |
//! | `α`       |                | probability that a walker is sent back to the base in an update       |
//!
//! The first walkers are draws of the base, for vectors exact draws of the first model.
//!
//! Source: Tieleman (2008), "Training restricted Boltzmann machines using approximations to the likelihood
//! gradient"; Carbone, "Hitchhiker's guide on energy-based models", Algorithm 2; Du & Mordatch (2019),
//! arXiv:1903.08689, §3 (buffer, regularised energies).
//!
//! Departures, each for a smaller bias of the walkers:
//! - Moves are Metropolis-corrected, so that the walkers' law is `p` at any step size. `h` follows the acceptance.
//! - For vectors a restart is itself a proposal, accepted with probability `min(1, e^{f(u) − f(base)})`: this leaves
//!   `p` invariant and carries mass between modes that local moves cannot connect. For images such a proposal would
//!   never be taken, so restarts are unconditional there, as in Algorithm 2, and rare.
//! - The regulariser acts on the learned part `f`, not on the confinement.

pub(crate) mod walkers;

use crate::neural::langevin::{self, Langevin, Legacy, Start};
use crate::neural::{NeuralEnergy, SPACES, density, with_energy, with_tiny_energy};
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Error, Family, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Scalars, StateDict, Stream, Table, Tensor, Turn, Update,
    config,
};
use serde::Deserialize;
use toml::toml;
use walkers::{Rule, Walkers};

/// Persistent contrastive divergence in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(Pcd::new(table, build.spec, params, &build.noise)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "pcd",
    family: Family::Ebm,
    summary: "neural energy trained with persistent Langevin walkers",
    citation: "Tieleman (2008); Du & Mordatch (2019), arXiv:1903.08689",
};

fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! {
            [model]
            regularisation = 1e-4
            walkers = 256
            chains = 64
            moves = 20
            step = 0.02
            restart = 0.01
            restart_rule = "plain"
            [train]
            batch = 64
            lr = 1e-3
            schedule = "cosine"
            clip = 10.0
            ema = 0.99
        }
    } else {
        toml! {
            [model]
            regularisation = 1e-4
            walkers = 512
            chains = 512
            moves = 2
            step = 0.05
            restart = 1.0
            restart_rule = "metropolis"
            [train]
            batch = 512
            lr = 1e-2
            schedule = "cosine"
            clip = 10.0
            ema = 0.99
        }
    };
    with_energy(spec, own)
}

fn tiny(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! {
            [model]
            walkers = 16
            chains = 8
            moves = 2
            [train]
            batch = 8
        }
    } else {
        toml! {
            [model]
            walkers = 64
            chains = 64
            moves = 2
            [train]
            batch = 64
        }
    };
    with_tiny_energy(spec, own)
}

/// What the method needs beside the energy.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    pub(crate) regularisation: f64,
    walkers: usize,
    pub(crate) chains: usize,
    moves: usize,
    step: f64,
    restart: f64,
    restart_rule: Rule,
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        let rule = |ok: bool, key: &str, want: &str, got: String| {
            if ok {
                return Ok(());
            }
            Err(Error::config(format!("model.{key}"), want, got))
        };
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        rule(
            not_negative(self.regularisation),
            "regularisation",
            "a number ≥ 0",
            self.regularisation.to_string(),
        )?;
        rule(positive(self.step), "step", "a number above 0", self.step.to_string())?;
        rule(
            (0.0..=1.0).contains(&self.restart),
            "restart",
            "a probability from 0 to 1",
            self.restart.to_string(),
        )?;
        rule(self.moves > 0, "moves", "an integer ≥ 1", self.moves.to_string())?;
        rule(self.chains > 0, "chains", "an integer ≥ 1", self.chains.to_string())?;
        rule(
            self.walkers >= self.chains
                && self.walkers.is_multiple_of(self.chains)
                && self.walkers <= 1 << 20,
            "walkers",
            &format!("a multiple of chains = {}, at most 1048576", self.chains),
            self.walkers.to_string(),
        )
    }
}

/// A neural energy and its walkers.
pub struct Pcd {
    energy: NeuralEnergy,
    config: Config,
    walkers: Walkers,
}

impl Pcd {
    /// Builds network and walkers for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        Self::around(NeuralEnergy::new(table, spec, params)?, table, noise)
    }

    /// Walkers for an energy.
    pub(crate) fn around(energy: NeuralEnergy, table: &Table, noise: &Noise) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        config.check()?;
        let walkers = Walkers::new(energy.dims(), energy.confinement(), &config, energy.params(), noise)?;
        Ok(Self { energy, config, walkers })
    }

    /// The energy that is learned.
    pub(crate) fn energy(&self) -> &NeuralEnergy {
        &self.energy
    }

    /// The walkers, `(n, D)`.
    pub(crate) fn walkers(&self) -> &Tensor {
        self.walkers.all()
    }

    /// Points forget the base quickly; images need chains that have been moving since training began.
    fn start(&self) -> Start {
        if self.energy.spec().image().is_some() { Start::Walkers } else { Start::Base }
    }
}

impl Model for Pcd {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        self.energy.params()
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.energy.state()?;
        state.extend(self.walkers.state()?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.energy.set_state(&state)?;
        self.walkers.load(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.energy.prepare(stream)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let landscape = self.energy.landscape();
        let acceptance = self.walkers.advance(&landscape, &self.config, &mut noise.fork("walkers"))?;
        let data = self.energy.standardise(batch, &mut noise.fork("smoothing"))?; // (b, D)
        let walkers = self.walkers.active(self.config.chains)?; // (n, D), as they now stand
        let (loss, gap) = self.energy.contrast(&data, &walkers, None, self.config.regularisation)?;
        let log = vec![("gap", gap), ("acceptance", acceptance), ("step", self.walkers.step())];
        self.walkers.next_window(self.config.chains);
        Ok(Update::Minimise { loss, log })
    }

    fn after(&mut self, turn: &Turn, _: &mut Noise) -> Result<Scalars> {
        self.energy.constrain(turn)?;
        Ok(Scalars::new())
    }

    fn samplers(&self) -> &[SamplerInfo] {
        langevin::infos(Some(self.start()))
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        let legacy = Legacy {
            step: Some(self.walkers.step()),
            restarts: self.config.restart_rule == Rule::Metropolis,
            walkers: Some(self.walkers.all().clone()),
            log_weights: None,
        };
        let infos = langevin::infos(Some(self.start()));
        Ok(Box::new(Langevin::new(&self.energy, legacy, infos, name, options)?))
    }

    fn densities(&self) -> &[DensityInfo] {
        density::infos(self.energy.dims())
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Ok(Box::new(density::Normalised::new(&self.energy, name, options, noise)?))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { energy: Some(&self.energy), ..Capabilities::default() }
    }
}

#[cfg(test)]
mod tests;
