//! The maximum-entropy model of given statistics, and example-based synthesis with it.
//!
//! ```text
//! minimise KL(p ‖ p₀) subject to E_p φ_k = Λ_k  (or E_p φ_k ≤ Λ_k),     p₀ = N(0, I/κ)
//! p_θ(u) ∝ e^{−⟨θ, φ(u)⟩ − ½κ‖u‖²}      (θ_k ≥ 0 for inequalities)
//! −∇_θ log-likelihood = Λ − E_{p_θ} φ     Λ = mean of φ over the data, or over a few examples
//! ```
//!
//! | symbol | shape    | meaning                                                                       |
//! |--------|----------|-------------------------------------------------------------------------------|
//! | `φ`    | `(b, K)` | statistics, fixed: of points `tanh(W u + b)` with random W and b; of images the spatial means of a bank of random filters behind softplus |
//! | `θ`    | `(K,)`   | multipliers, all that is learned                                                |
//! | `Λ`    | `(K,)`   | what the statistics should be                                                   |
//!
//! With `examples = n` the statistics of the first n train rows alone are matched: one image is enough for a model whose
//! samples have its texture. With a confinement instead of a bounded domain, entropy is relative to `p₀`; statistics that
//! `p₀` has already cost nothing. The log has `mismatch`, the root mean square of `Λ − mean φ(walkers)` over k.
//!
//! Source: Jaynes (1957); Carbone, "Hitchhiker's guide on energy-based models", Eq. 79–88; De Bortoli, Desolneux, Galerne &
//! Leclaire (2019), "Macrocanonical models for texture synthesis" (stochastic optimisation with unadjusted Langevin
//! chains, here with the Metropolis-corrected walkers of `pcd`); Ustyuzhaninov et al. (2016), arXiv:1606.00021 (random
//! filters). In De Bortoli's slides the sign of the gradient is that of the likelihood, not of the loss.

use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Error, Family, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Scalars, StateDict, Stream, Table, Tensor, Turn, Update,
    config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::Value;

use crate::neural::{Network, NeuralEnergy, SPACES, Statistics};
use crate::pcd::{self, Pcd};

/// The maximum-entropy model in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(MaxEntropy::new(table, build.spec, params, &build.noise)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "max-entropy",
    family: Family::Ebm,
    summary: "the maximum-entropy model of given statistics, of data or of one example",
    citation: "Jaynes (1957); De Bortoli et al. (2019), SSVM",
};

/// The recipe of `pcd` without its network, with the statistics.
fn defaults(spec: &DataSpec) -> Table {
    let mut table = (pcd::ENTRY.defaults)(spec);
    if let Some(Value::Table(model)) = table.get_mut("model") {
        for key in ["network", "hidden", "layers", "channels", "activation", "norm_limit"] {
            model.remove(key);
        }
        let image = spec.image().is_some();
        model.insert("statistics".into(), Value::Integer(if image { 32 } else { 128 }));
        model.insert("constraint".into(), Value::String("equal".into()));
        model.insert("examples".into(), Value::Integer(0));
        model.insert("regularisation".into(), Value::Float(0.0));
        model.insert("gain".into(), Value::Float(if image { 1.0 } else { 6.0 }));
    }
    table
}

fn tiny(spec: &DataSpec) -> Table {
    let mut table = (pcd::ENTRY.tiny)(spec);
    if let Some(Value::Table(model)) = table.get_mut("model") {
        for key in ["hidden", "channels"] {
            model.remove(key);
        }
        model.insert("statistics".into(), Value::Integer(8));
    }
    table
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Constraint {
    /// `E φ = Λ`.
    Equal,
    /// `E φ ≤ Λ`.
    AtMost,
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    statistics: usize,
    constraint: Constraint,
    examples: usize,
    gain: f64,
}

/// Multipliers of fixed statistics, and walkers.
pub struct MaxEntropy {
    pcd: Pcd,
    config: Config,
    statistics: Statistics,
    /// The random weights of the statistics.
    fixed: ParamStore,
    /// Rows `x` of the examples; none if all data are matched.
    examples: Option<Tensor>,
}

impl MaxEntropy {
    /// Draws the statistics for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        if !(1..=1 << 14).contains(&config.statistics) {
            return Err(Error::config("model.statistics", "an integer from 1 to 16384", config.statistics));
        }
        if config.examples > 1 << 16 {
            return Err(Error::config("model.examples", "an integer up to 65536", config.examples));
        }
        if !(config.gain > 0.0 && config.gain.is_finite()) {
            return Err(Error::config("model.gain", "a number above 0", config.gain));
        }
        let fixed = ParamStore::new(&noise.fork("statistics"), params.dtype(), params.device());
        let at_most = config.constraint == Constraint::AtMost;
        let sizes = (config.statistics, config.gain);
        let statistics = Statistics::new(spec, sizes, at_most, &fixed, &params)?;
        let network = Network::Statistics(statistics.clone());
        let energy = NeuralEnergy::with(network, table, spec, params)?;
        let examples = match config.examples {
            0 => None,
            n => Some(Tensor::zeros(spec.batch_shape(n), DType::F32, fixed.device())?),
        };
        Ok(Self { pcd: Pcd::around(energy, table, noise)?, config, statistics, fixed, examples })
    }

    /// Mean statistics of rows `u`, `(K,)`.
    fn mean_of(&self, u: &Tensor) -> Result<Tensor> {
        Ok(self.statistics.values(self.pcd.energy().coordinates().scaling(), u)?.mean(0)?)
    }
}

impl Model for MaxEntropy {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        self.pcd.params()
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.pcd.state()?;
        state.extend(self.fixed.snapshot()?);
        state.extend(self.examples.as_ref().map(|x| ("examples".to_string(), x.clone())));
        Ok(state)
    }

    fn set_state(&mut self, mut state: StateDict) -> Result<()> {
        if let Some(examples) = &mut self.examples {
            let saved = state.remove("examples");
            let saved = saved.ok_or_else(|| Error::data("model state", "a tensor 'examples'", "none"))?;
            if saved.dims() != examples.dims() {
                let (want, got) = (format!("{:?}", examples.dims()), format!("{:?}", saved.dims()));
                return Err(Error::data("examples", want, got));
            }
            *examples = saved;
        }
        let names: Vec<String> = self.fixed.entries().into_iter().map(|(n, _)| n).collect();
        let fixed = names.into_iter().filter_map(|n| state.remove(&n).map(|t| (n, t))).collect();
        self.fixed.load(&fixed)?;
        self.pcd.set_state(state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, noise: &mut Noise) -> Result<()> {
        self.pcd.prepare(stream, noise)?;
        if self.examples.is_some() {
            self.examples = Some(stream.next(self.config.examples)?.x);
        }
        Ok(())
    }

    fn turns(&self, step: u64) -> Vec<Turn> {
        self.pcd.turns(step)
    }

    fn update(&mut self, turn: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let batch = match &self.examples {
            Some(x) => Batch::of(x.clone()),
            None => batch.clone(),
        };
        let data = self.pcd.energy().standardise(&batch, &mut noise.fork("matched"))?;
        let gap = (self.mean_of(&data)? - self.mean_of(self.pcd.walkers())?)?;
        let mismatch = rows::host(&gap.sqr()?.mean_all()?)?.iter().sum::<f64>().sqrt();
        match self.pcd.update(turn, &batch, noise)? {
            Update::Minimise { loss, mut log } => {
                log.push(("mismatch", mismatch));
                Ok(Update::Minimise { loss, log })
            }
            other => Ok(other),
        }
    }

    fn after(&mut self, turn: &Turn, noise: &mut Noise) -> Result<Scalars> {
        self.pcd.after(turn, noise)
    }

    fn samplers(&self) -> &[SamplerInfo] {
        self.pcd.samplers()
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        self.pcd.sampler(name, options)
    }

    fn densities(&self) -> &[DensityInfo] {
        self.pcd.densities()
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        self.pcd.density(name, options, noise)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.pcd.capabilities()
    }
}

#[cfg(test)]
mod tests;
