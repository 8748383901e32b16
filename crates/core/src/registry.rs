//! A family lists its models as [`Entry`]s; everything else follows from the list.

use crate::{Capabilities, DataSpec, Device, Error, Model, ModelInfo, Noise, Result, Space, Table};

/// Everything a model is built from, besides its own table.
pub struct Build<'a> {
    /// The data it will see.
    pub spec: &'a DataSpec,
    /// Where its parameters live.
    pub device: &'a Device,
    /// Trained models it may learn from.
    pub zoo: &'a dyn Zoo,
    /// Source of its initial values.
    pub noise: Noise,
}

/// One model of the zoo.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Who it is.
    pub info: ModelInfo,
    /// The spaces whose data it can learn.
    pub spaces: &'static [Space],
    /// Default recipe for data of this kind: tables `model`, `train`, `sample`, `eval`, of which only
    /// `model` must be complete; the others overlay the trainer's defaults.
    pub defaults: fn(&DataSpec) -> Table,
    /// Changes to the defaults that make the smallest instance worth testing.
    pub tiny: fn(&DataSpec) -> Table,
    /// Builds it from the checked table `model`.
    pub build: fn(&Table, Build<'_>) -> Result<Box<dyn Model>>,
}

/// Gives access to trained models by run: for distillation and learned proposals.
pub trait Zoo {
    /// Calls `f` with the capabilities of the run at `path`.
    fn with(&self, path: &str, f: &mut dyn FnMut(Capabilities<'_>) -> Result<()>) -> Result<()>;
}

/// A zoo without runs.
pub struct NoZoo;

impl Zoo for NoZoo {
    fn with(&self, path: &str, _: &mut dyn FnMut(Capabilities<'_>) -> Result<()>) -> Result<()> {
        Err(Error::Unsupported(format!("no trained models can be reached from here (asked for '{path}')")))
    }
}
