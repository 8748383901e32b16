//! The contract: what every model of the zoo offers to the trainer, to the samplers and to the judges.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Batch, Capabilities, Evidence, LogProb, Noise, ParamStore, Result, Stream, Table, Tensor};

/// The six families, and the reference rows that are no family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Reference rows: real data, classical density models.
    Baseline,
    /// Energy-based models.
    Ebm,
    /// Variational autoencoders.
    Vae,
    /// Generative adversarial networks.
    Gan,
    /// Normalizing flows.
    Flow,
    /// Score-based diffusion.
    Diffusion,
    /// Stochastic interpolants and flow matching.
    Interpolant,
}

impl Family {
    /// The name of the crate, the folder and the row.
    pub fn name(self) -> &'static str {
        match self {
            Family::Baseline => "baseline",
            Family::Ebm => "ebm",
            Family::Vae => "vae",
            Family::Gan => "gan",
            Family::Flow => "flow",
            Family::Diffusion => "diffusion",
            Family::Interpolant => "interpolant",
        }
    }
}

/// Who a model is.
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// Name, unique in the zoo: `realnvp`.
    pub name: &'static str,
    /// Family.
    pub family: Family,
    /// One line for `genzoo list`.
    pub summary: &'static str,
    /// Author, year and identifier of the source.
    pub citation: &'static str,
}

/// Named numbers of a step, for the log.
pub type Scalars = Vec<(&'static str, f64)>;

/// Named tensors beyond the parameters.
pub type StateDict = BTreeMap<String, Tensor>;

/// What a turn needs from the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A fresh mini-batch.
    Mini,
    /// One whole epoch at once (expectation maximisation).
    Full,
    /// No data.
    Nothing,
}

/// One update of one group of parameters within a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The parameters to move: those named `group/…`.
    pub group: &'static str,
    /// The data to bring.
    pub need: Need,
}

impl Turn {
    /// A mini-batch for the parameters of `group`.
    pub fn mini(group: &'static str) -> Self {
        Self { group, need: Need::Mini }
    }
}

/// The outcome of a turn.
pub enum Update {
    /// Differentiate this scalar and let the optimiser move the group.
    Minimise {
        /// Scalar loss, a batch mean.
        loss: Tensor,
        /// Parts worth logging.
        log: Scalars,
    },
    /// Gradients made by hand, one per parameter of the group, in the order of the store.
    Gradients {
        /// Gradients of the loss to minimise.
        grads: Vec<Tensor>,
        /// Parts worth logging.
        log: Scalars,
    },
    /// The model moved itself.
    Done {
        /// Parts worth logging.
        log: Scalars,
    },
}

/// A way to draw samples.
#[derive(Clone, Copy, Debug)]
pub struct SamplerInfo {
    /// Name, unique within the model.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Every option with its default, e.g. `steps`.
    pub defaults: fn() -> Table,
}

/// A way to compute log p.
#[derive(Clone, Copy, Debug)]
pub struct DensityInfo {
    /// Name, unique within the model.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Every option with its default.
    pub defaults: fn() -> Table,
}

/// A request for samples.
#[derive(Clone, Debug, Default)]
pub struct Draw {
    /// How many.
    pub n: usize,
    /// Classes to draw, `(n,)` u32, for conditional models.
    pub label: Option<Tensor>,
    /// Sources to carry over, for data-to-data models.
    pub source: Option<Tensor>,
}

impl Draw {
    /// `n` unconditional samples.
    pub fn n(n: usize) -> Self {
        Self { n, ..Self::default() }
    }
}

/// Drawn samples.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `(n, event…)`, in the space of the data.
    pub x: Tensor,
    /// Network evaluations spent on each example, as counted.
    pub evaluations: u64,
}

/// Draws samples.
pub trait Sampler {
    /// Which one it is.
    fn info(&self) -> &SamplerInfo;
    /// Draws.
    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples>;
}

/// Computes log-probabilities.
pub trait Density {
    /// How, and what the numbers mean.
    fn evidence(&self) -> &Evidence;
    /// `log p(x)` of every row.
    fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb>;
}

/// A generative model, in training or trained.
pub trait Model: Send {
    /// Who it is.
    fn info(&self) -> &ModelInfo;

    /// Its parameters, in order, named `group/…`.
    fn params(&self) -> &ParamStore;

    /// What must be saved beyond parameters: walkers, buffers, statistics of the data.
    fn state(&self) -> Result<StateDict> {
        Ok(StateDict::new())
    }

    /// Restores what [`Model::state`] gave.
    fn set_state(&mut self, _state: StateDict) -> Result<()> {
        Ok(())
    }

    /// Looks at the data once before the first step: scaling, data-dependent initial values.
    fn prepare(&mut self, _stream: &mut dyn Stream, _noise: &mut Noise) -> Result<()> {
        Ok(())
    }

    /// The updates of a step: a function of the step alone.
    fn turns(&self, step: u64) -> Vec<Turn>;

    /// One update. May not move parameters unless it returns [`Update::Done`].
    fn update(&mut self, turn: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update>;

    /// After the optimiser moved the group: walkers, clipping, resampling.
    fn after(&mut self, _turn: &Turn, _noise: &mut Noise) -> Result<Scalars> {
        Ok(Scalars::new())
    }

    /// Ways to draw samples, the default first.
    fn samplers(&self) -> &[SamplerInfo];

    /// A sampler by name, with all its options given.
    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>>;

    /// Ways to compute log p, the most trusted first. None is an answer.
    fn densities(&self) -> &[DensityInfo] {
        &[]
    }

    /// A density by name, with all its options given. Pays once for what all rows share, such as log Z.
    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>>;

    /// What it offers to other models and to the judges.
    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default()
    }
}
