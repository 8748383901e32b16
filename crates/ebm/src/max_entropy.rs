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
    Batch, DType, DataSpec, Entry, Error, Family, ModelInfo, Noise, ParamStore, Result, Scalars, StateDict,
    Stream, Table, Tensor, config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::Value;

use crate::neural::{Network, NeuralEnergy, SPACES, Statistics};
use crate::pcd::{self, Addition};
use crate::settings::{count, positive, rule};

/// The maximum-entropy model in the registry.
pub const ENTRY: Entry =
    Entry { info: MaxEntropy::INFO, spaces: SPACES, defaults, tiny, build: pcd::build::<MaxEntropy> };

/// The recipe of `pcd` without its network, with the statistics.
fn defaults(spec: &DataSpec) -> Table {
    let mut table = pcd::defaults(spec);
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
    let mut table = pcd::tiny(spec);
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

/// Multipliers of fixed statistics.
pub(crate) struct MaxEntropy {
    config: Config,
    statistics: Statistics,
    /// The random weights of the statistics.
    fixed: ParamStore,
    /// Rows `x` of the examples; none if all data are matched.
    examples: Option<Tensor>,
}

impl MaxEntropy {
    /// Mean statistics of rows `u`, `(K,)`.
    fn mean_of(&self, energy: &NeuralEnergy, u: &Tensor) -> Result<Tensor> {
        Ok(self.statistics.values(energy.coordinates().scaling(), u)?.mean(0)?)
    }
}

impl Addition for MaxEntropy {
    const INFO: ModelInfo = ModelInfo {
        name: "max-entropy",
        family: Family::Ebm,
        summary: "the maximum-entropy model of given statistics, of data or of one example",
        citation: "Jaynes (1957); De Bortoli et al. (2019), SSVM",
    };

    fn new(table: &Table, spec: &DataSpec, params: &ParamStore, noise: &Noise) -> Result<(Self, Network)> {
        let config: Config = config::read(table, "model")?;
        count("statistics", config.statistics, 1 << 14)?;
        rule(config.examples <= 1 << 16, "examples", "an integer up to 65536", config.examples)?;
        positive("gain", config.gain)?;
        let fixed = ParamStore::new(&noise.fork("statistics"), params.dtype(), params.device());
        let at_most = config.constraint == Constraint::AtMost;
        let sizes = (config.statistics, config.gain);
        let statistics = Statistics::new(spec, sizes, at_most, &fixed, params)?;
        let examples = match config.examples {
            0 => None,
            n => Some(Tensor::zeros(spec.batch_shape(n), DType::F32, fixed.device())?),
        };
        let network = Network::Statistics(statistics.clone());
        Ok((Self { config, statistics, fixed, examples }, network))
    }

    fn prepare(&mut self, stream: &mut dyn Stream) -> Result<()> {
        if self.examples.is_some() {
            self.examples = Some(stream.next(self.config.examples)?.x);
        }
        Ok(())
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.fixed.snapshot()?;
        state.extend(self.examples.as_ref().map(|x| ("examples".to_string(), x.clone())));
        Ok(state)
    }

    fn set_state(&mut self, state: &StateDict) -> Result<()> {
        if let Some(examples) = &mut self.examples {
            let saved = state.get("examples");
            let saved = saved.ok_or_else(|| Error::data("model state", "a tensor 'examples'", "none"))?;
            if saved.dims() != examples.dims() {
                let (want, got) = (format!("{:?}", examples.dims()), format!("{:?}", saved.dims()));
                return Err(Error::data("examples", want, got));
            }
            *examples = saved.clone();
        }
        let names = self.fixed.entries().into_iter().map(|(n, _)| n);
        let fixed = names.filter_map(|n| state.get(&n).map(|t| (n, t.clone()))).collect();
        self.fixed.load(&fixed)
    }

    fn data(&self, batch: &Batch) -> Batch {
        self.examples.as_ref().map_or_else(|| batch.clone(), |x| Batch::of(x.clone()))
    }

    fn also(
        &self,
        energy: &NeuralEnergy,
        walkers: &Tensor,
        batch: &Batch,
        noise: &mut Noise,
    ) -> Result<(Option<Tensor>, Scalars)> {
        let data = energy.standardise(batch, &mut noise.fork("matched"))?;
        let gap = (self.mean_of(energy, &data)? - self.mean_of(energy, walkers)?)?;
        let mismatch = rows::host(&gap.sqr()?.mean_all()?)?.iter().sum::<f64>().sqrt();
        Ok((None, vec![("mismatch", mismatch)]))
    }
}

#[cfg(test)]
mod tests;
