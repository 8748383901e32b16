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
use crate::neural::{Network, NeuralEnergy, SPACES, density, recipe};
use crate::settings::{at_least_one, not_negative, positive, share, windows};
use genzoo_core::{
    Batch, Build, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Family, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Scalars, StateDict, Stream, Table, Tensor, Turn, Update,
    config,
};
use serde::Deserialize;
use toml::toml;
use walkers::{Rule, Walkers};

/// Persistent contrastive divergence in the registry.
pub const ENTRY: Entry =
    Entry { info: Nothing::INFO, spaces: SPACES, defaults, tiny, build: build::<Nothing> };

pub(crate) fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { walkers = 256 chains = 64 moves = 20 step = 0.02 restart = 0.01 restart_rule = "plain" }
    } else {
        toml! { walkers = 512 chains = 512 moves = 2 step = 0.05 restart = 1.0 restart_rule = "metropolis" }
    };
    let mut model = toml! { regularisation = 1e-4 };
    model.extend(own);
    recipe::defaults(spec, model, Table::new())
}

pub(crate) fn tiny(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { walkers = 16 chains = 8 moves = 2 }
    } else {
        toml! { walkers = 64 chains = 64 moves = 2 }
    };
    recipe::tiny(spec, own)
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
        not_negative("regularisation", self.regularisation)?;
        positive("step", self.step)?;
        share("restart", self.restart)?;
        at_least_one("moves", self.moves)?;
        windows(self.walkers, self.chains)
    }
}

/// What a model adds to persistent contrastive divergence: another network, another loss beside the contrast's, or
/// other data.
pub(crate) trait Addition: Send + Sized {
    /// Who the model is.
    const INFO: ModelInfo;

    /// Reads its own keys of the complete table `[model]`; gives the network `f`, too.
    fn new(table: &Table, spec: &DataSpec, params: &ParamStore, noise: &Noise) -> Result<(Self, Network)>;

    /// Looks at data once; the energy's scaling is known by then.
    fn prepare(&mut self, _: &mut dyn Stream) -> Result<()> {
        Ok(())
    }

    /// What must be saved beyond parameters.
    fn state(&self) -> Result<StateDict> {
        Ok(StateDict::new())
    }

    /// Restores what [`Addition::state`] gave.
    fn set_state(&mut self, _: &StateDict) -> Result<()> {
        Ok(())
    }

    /// The data of an update that was given `batch`.
    fn data(&self, batch: &Batch) -> Batch {
        batch.clone()
    }

    /// What is added to the loss, if anything, and to the log; `walkers` are those before the update.
    fn also(
        &self,
        energy: &NeuralEnergy,
        walkers: &Tensor,
        batch: &Batch,
        noise: &mut Noise,
    ) -> Result<(Option<Tensor>, Scalars)>;
}

/// Nothing: persistent contrastive divergence itself.
pub(crate) struct Nothing;

impl Addition for Nothing {
    const INFO: ModelInfo = ModelInfo {
        name: "pcd",
        family: Family::Ebm,
        summary: "neural energy trained with persistent Langevin walkers",
        citation: "Tieleman (2008); Du & Mordatch (2019), arXiv:1903.08689",
    };

    fn new(table: &Table, spec: &DataSpec, params: &ParamStore, _: &Noise) -> Result<(Self, Network)> {
        Ok((Self, Network::new(table, spec, params)?))
    }

    fn also(
        &self,
        _: &NeuralEnergy,
        _: &Tensor,
        _: &Batch,
        _: &mut Noise,
    ) -> Result<(Option<Tensor>, Scalars)> {
        Ok((None, Scalars::new()))
    }
}

/// A neural energy, its walkers and what a model adds.
pub(crate) struct Pcd<A> {
    pub(crate) energy: NeuralEnergy,
    config: Config,
    walkers: Walkers,
    pub(crate) addition: A,
}

/// Builds the model of a registry entry.
///
/// # Errors
/// Names the setting that cannot work.
pub(crate) fn build<A: Addition + 'static>(table: &Table, build: Build<'_>) -> Result<Box<dyn Model>> {
    let params = ParamStore::new(&build.noise, DType::F32, build.device);
    Ok(Box::new(Pcd::<A>::new(table, build.spec, params, &build.noise)?))
}

impl<A: Addition> Pcd<A> {
    /// Builds network and walkers for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub(crate) fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        let (addition, network) = A::new(table, spec, &params, noise)?;
        let energy = NeuralEnergy::with(network, table, spec, params)?;
        let config: Config = config::read(table, "model")?;
        config.check()?;
        let walkers = Walkers::new(energy.dims(), energy.confinement(), &config, energy.params(), noise)?;
        Ok(Self { energy, config, walkers, addition })
    }

    /// Points forget the base quickly; images need chains that have been moving since training began.
    fn start(&self) -> Start {
        if self.energy.spec().image().is_some() { Start::Walkers } else { Start::Base }
    }
}

impl<A: Addition> Model for Pcd<A> {
    fn info(&self) -> &ModelInfo {
        &A::INFO
    }

    fn params(&self) -> &ParamStore {
        self.energy.params()
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.energy.state()?;
        state.extend(self.walkers.state()?);
        state.extend(self.addition.state()?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.energy.set_state(&state)?;
        self.walkers.load(&state)?;
        self.addition.set_state(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.energy.prepare(stream)?;
        self.addition.prepare(stream)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let batch = self.addition.data(batch);
        let (also, own) = self.addition.also(&self.energy, self.walkers.all(), &batch, noise)?;
        let landscape = self.energy.landscape();
        let acceptance = self.walkers.advance(&landscape, &self.config, &mut noise.fork("walkers"))?;
        let data = self.energy.standardise(&batch, &mut noise.fork("smoothing"))?; // (b, D)
        let walkers = self.walkers.active(self.config.chains)?; // (n, D), as they now stand
        let (loss, gap) = self.energy.contrast(&data, &walkers, None, self.config.regularisation)?;
        let loss = also.map_or_else(|| Ok(loss.clone()), |also| &loss + also)?;
        let mut log = vec![("gap", gap), ("acceptance", acceptance), ("step", self.walkers.step())];
        log.extend(own);
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
