//! A neural energy trained by contrastive divergence: chains of k moves that start at the data, every time.
//!
//! ```text
//! x₀ ~ data,  x_k = k moves from x₀ under U_θ
//! loss = mean f(x₀) − mean f(x_k) + r · mean f²             its gradient stands in for that of E_data[−log p]
//! ```
//!
//! Chains that start at the data see the energy near the data only. As moves become short the expected gradient becomes
//! h times that of the Fisher divergence, which does not see how mass is shared between separate modes (Hyvärinen 2007):
//! CD learns the shape of each mode, and their masses only as far as k moves carry walkers between them.
//!
//! | symbol    | shape     | meaning                                                |
//! |-----------|-----------|--------------------------------------------------------|
//! | `U`, `f`  | `(b,)`    | the family's neural energy and its learned part        |
//! | `x₀, x_k` | `(b, D)`  | a batch of standardised data, and where its moves lead |
//!
//! Source: Hinton (2002), "Training products of experts by minimizing contrastive divergence"; Carbone, "Hitchhiker's
//! guide on energy-based models", Algorithm 1.
//!
//! Departures: moves are Metropolis-corrected, unless `model.kernel = "ula"`, and then h follows the acceptance; the
//! regulariser of Du & Mordatch (2019) acts on f.

use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Device, Entry, Error, Family, Model,
    ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Scalars, StateDict, Stream, Table, Tensor,
    Turn, Update, config,
};
use genzoo_numerics::mcmc::{Chains, Kernel, Mala, Ula};
use serde::Deserialize;
use toml::toml;

use crate::neural::langevin::{self, GAIN, Langevin, Legacy, TARGET_ACCEPTANCE};
use crate::neural::{NeuralEnergy, SPACES, density, recipe};
use crate::settings::{at_least_one, not_negative, positive};

/// Contrastive divergence in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(Cd::new(table, build.spec, params)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "cd",
    family: Family::Ebm,
    summary: "neural energy trained with k Langevin moves from the data",
    citation: "Hinton (2002); Hyvärinen (2007)",
};

fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { kernel = "mala" moves = 20 step = 0.02 regularisation = 1e-4 }
    } else {
        toml! { kernel = "mala" moves = 4 step = 0.05 regularisation = 1e-4 }
    };
    recipe::defaults(spec, own, Table::new())
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, toml! { moves = 2 })
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Moves {
    Ula,
    Mala,
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    kernel: Moves,
    moves: usize,
    step: f64,
    regularisation: f64,
}

impl Config {
    fn check(&self) -> Result<()> {
        at_least_one("moves", self.moves)?;
        positive("step", self.step)?;
        not_negative("regularisation", self.regularisation)
    }
}

/// A neural energy and the step of its chains.
pub struct Cd {
    energy: NeuralEnergy,
    config: Config,
    log_step: f64,
}

const STATE: &str = "cd.log_step";

impl Cd {
    /// Builds the network for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        let energy = NeuralEnergy::new(table, spec, params)?;
        let config: Config = config::read(table, "model")?;
        config.check()?;
        Ok(Self { energy, log_step: config.step.ln(), config })
    }

    /// Where k moves lead from `u`, and their mean acceptance.
    fn walk(&mut self, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, f64)> {
        let landscape = self.energy.landscape();
        let mut chains = Chains::at(&landscape, u)?;
        let step = self.log_step.exp();
        let kernel: Box<dyn Kernel> = match self.config.kernel {
            Moves::Ula => Box::new(Ula::new(step)?),
            Moves::Mala => Box::new(Mala::new(step)?),
        };
        let mut acceptance = 0.0;
        for _ in 0..self.config.moves {
            let info = kernel.step(&landscape, &mut chains, noise)?;
            acceptance += info.mean_acceptance() / self.config.moves as f64;
        }
        if self.config.kernel == Moves::Mala {
            self.log_step = (self.log_step + GAIN * (acceptance - TARGET_ACCEPTANCE)).clamp(-20.0, 3.0);
        }
        Ok((chains.x, acceptance))
    }
}

impl Model for Cd {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        self.energy.params()
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.energy.state()?;
        state.insert(STATE.into(), Tensor::new(&[self.log_step], &Device::Cpu)?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.energy.set_state(&state)?;
        let found = state.get(STATE).map(|t| t.to_dtype(DType::F64)?.to_vec1::<f64>()).transpose()?;
        match found.as_deref() {
            Some([log_step]) if log_step.is_finite() => self.log_step = *log_step,
            other => return Err(Error::data(STATE, "one finite number", format!("{other:?}"))),
        }
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.energy.prepare(stream)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let data = self.energy.standardise(batch, &mut noise.fork("smoothing"))?; // (b, D)
        let (walkers, acceptance) = self.walk(&data, &mut noise.fork("walkers"))?;
        let (loss, gap) = self.energy.contrast(&data, &walkers, None, self.config.regularisation)?;
        let log = vec![("gap", gap), ("acceptance", acceptance), ("step", self.log_step.exp())];
        Ok(Update::Minimise { loss, log })
    }

    fn after(&mut self, turn: &Turn, _: &mut Noise) -> Result<Scalars> {
        self.energy.constrain(turn)?;
        Ok(Scalars::new())
    }

    fn samplers(&self) -> &[SamplerInfo] {
        langevin::infos(None)
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        // An uncorrected step may be one that Metropolis would refuse.
        let step = (self.config.kernel == Moves::Mala).then(|| self.log_step.exp());
        let restarts = self.energy.spec().image().is_none();
        let legacy = Legacy { step, restarts, ..Legacy::default() };
        Ok(Box::new(Langevin::new(&self.energy, legacy, langevin::infos(None), name, options)?))
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
