//! The joint energy model: a classifier read as an energy, trained as both.
//!
//! ```text
//! p(y | x) = softmax(f(x))_y,   U(x) = −log Σ_y e^{f_y(x)} + ½κ‖u‖²,   p(x, y) ∝ e^{f_y(x) − ½κ‖u‖²}
//! loss = −log p(y | x) + [mean U(data) − mean U(walkers) + r · mean (log Σ_y e^{f_y})²]
//! ```
//!
//! | symbol  | shape         | meaning                                                        |
//! |---------|---------------|----------------------------------------------------------------|
//! | `x`     | `(b, c, h, w)`| images of bytes, smoothed as for every neural energy of images   |
//! | `y`     | `(b,)`        | their classes                                                    |
//! | `f`     | `(b, K)`      | a convolutional net with one output per class                     |
//! | walkers |               | persistent chains of `U`, moved and restarted as those of `pcd`    |
//!
//! What a classifier leaves free, a constant added to all of its logits at one image, is what the density is made of.
//! The log has `accuracy`, the share of the batch whose largest logit is its class, before the update.
//!
//! Source: Grathwohl et al. (2020), "Your classifier is secretly an energy based model and you should treat it like
//! one", arXiv:1912.03263.
//!
//! Departures are those of `pcd`: Metropolis-corrected moves at temperature 1 in place of Langevin steps with too little
//! noise, a confinement for a finite Z, smoothing in place of a fixed small noise.

use genzoo_core::math::log_sum_exp;
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Error, Family, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Scalars, Space, StateDict, Stream, Table, Tensor, Turn,
    Update, config,
};
use toml::Value;

use crate::neural::{Network, NeuralEnergy};
use crate::pcd::{self, Pcd};

/// The joint energy model in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::U8],
    defaults,
    tiny: pcd::ENTRY.tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(Jem::new(table, build.spec, params, &build.noise)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "jem",
    family: Family::Ebm,
    summary: "a classifier read as an energy, trained as both (needs classes)",
    citation: "Grathwohl et al. (2020), arXiv:1912.03263",
};

fn defaults(spec: &DataSpec) -> Table {
    let mut table = (pcd::ENTRY.defaults)(spec);
    if let Some(Value::Table(model)) = table.get_mut("model") {
        model.insert("classifier".into(), Value::Float(1.0));
    }
    table
}

/// Persistent walkers on a classifier's energy.
pub struct Jem {
    pcd: Pcd,
    /// Weight of `−log p(y | x)`.
    classifier: f64,
}

impl Jem {
    /// Builds network and walkers for labelled data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses data without classes.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        let Some(classes) = spec.classes.filter(|k| *k >= 2) else {
            return Err(Error::Unsupported(
                "jem reads a classifier as an energy and needs data with classes; use a labelled data set, or pcd".into(),
            ));
        };
        let classifier: f64 = config::get(table, "classifier", "model")?;
        if !(classifier >= 0.0 && classifier.is_finite()) {
            return Err(Error::config("model.classifier", "a number ≥ 0", classifier));
        }
        let network = Network::of_classes(table, spec, classes, &params)?;
        let energy = NeuralEnergy::with(network, table, spec, params)?;
        Ok(Self { pcd: Pcd::around(energy, table, noise)?, classifier })
    }

    /// Mean of `−log p(y | x)` and the share of right answers, on rows `u` of the classes `label`.
    fn classify(&self, u: &Tensor, label: &Tensor) -> Result<(Tensor, f64)> {
        let logits = self.pcd.energy().logits(u)?; // (b, K)
        let own = logits.gather(&label.unsqueeze(1)?, 1)?.squeeze(1)?;
        let loss = (log_sum_exp(&logits)? - own)?.mean_all()?;
        let right = logits.argmax(1)?.eq(label)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        Ok((loss, right))
    }
}

impl Model for Jem {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        self.pcd.params()
    }

    fn state(&self) -> Result<StateDict> {
        self.pcd.state()
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.pcd.set_state(state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, noise: &mut Noise) -> Result<()> {
        self.pcd.prepare(stream, noise)
    }

    fn turns(&self, step: u64) -> Vec<Turn> {
        self.pcd.turns(step)
    }

    fn update(&mut self, turn: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let label = batch
            .label
            .as_ref()
            .ok_or_else(|| Error::data("a batch of labelled data", "classes of its rows", "none"))?;
        let u = self.pcd.energy().standardise(batch, &mut noise.fork("classified"))?;
        let (wrong, accuracy) = self.classify(&u, &label.to_dtype(DType::U32)?)?;
        let own: Scalars =
            vec![("accuracy", accuracy), ("cross_entropy", wrong.to_dtype(DType::F64)?.to_scalar::<f64>()?)];
        match self.pcd.update(turn, batch, noise)? {
            Update::Minimise { loss, mut log } => {
                log.extend(own);
                Ok(Update::Minimise { loss: (loss + (wrong * self.classifier)?)?, log })
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
