//! The vocabulary of genzoo: what a model, a data set, a sampler and a density are, how randomness and
//! parameters are held, and how a model is trained and kept on disk.
//!
//! Nothing here knows a family, a data set or a metric by name. The route of the data is one way:
//! `Dataset → Stream → Batch → Trainer → Checkpoint → Sampler → Metric → Row → Report`.

pub mod autograd;
pub mod backbone;
pub mod capability;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod ema;
pub mod error;
pub mod math;
pub mod measure;
pub mod model;
pub mod nn;
pub mod noise;
pub mod optim;
pub mod params;
pub mod recipe;
pub mod registry;
pub mod scaling;
pub mod study;
pub mod trainer;

pub use backbone::Backbone;
pub use candle_core::{DType, Device, Shape, Tensor};
pub use capability::Capabilities;
pub use data::{Batch, DataSpec, Dataset, Modes, RowStream, Space, Split, Stream, Truth};
pub use error::{Error, Result};
pub use measure::{Better, Evidence, Kind, LogProb, Measurement};
pub use model::{
    Density, DensityInfo, Draw, Family, Model, ModelInfo, Need, Sampler, SamplerInfo, Samples, Scalars,
    StateDict, Turn, Update,
};
pub use noise::Noise;
pub use params::ParamStore;
pub use recipe::Recipe;
pub use registry::{Build, Entry, NoZoo, Zoo};
pub use scaling::{PixelMap, Standardizer};
pub use toml::Table;
pub use trainer::{Control, StepReport, TrainConfig, Trainer};
