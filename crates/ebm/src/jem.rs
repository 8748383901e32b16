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
    Batch, DType, DataSpec, Entry, Error, Family, ModelInfo, Noise, ParamStore, Result, Scalars, Space,
    Table, Tensor, config,
};
use toml::Value;

use crate::neural::{Network, NeuralEnergy};
use crate::pcd::{self, Addition};
use crate::settings::not_negative;

/// The joint energy model in the registry.
pub const ENTRY: Entry = Entry {
    info: Classifier::INFO,
    spaces: &[Space::U8],
    defaults,
    tiny: pcd::tiny,
    build: pcd::build::<Classifier>,
};

fn defaults(spec: &DataSpec) -> Table {
    let mut table = pcd::defaults(spec);
    if let Some(Value::Table(model)) = table.get_mut("model") {
        model.insert("classifier".into(), Value::Float(1.0));
    }
    table
}

/// The classifier's loss.
pub(crate) struct Classifier {
    /// Weight of `−log p(y | x)`.
    weight: f64,
}

/// Mean of `−log p(y | x)` and the share of right answers, on rows `u` of the classes `label`.
fn classify(energy: &NeuralEnergy, u: &Tensor, label: &Tensor) -> Result<(Tensor, f64)> {
    let logits = energy.logits(u)?; // (b, K)
    let own = logits.gather(&label.unsqueeze(1)?, 1)?.squeeze(1)?;
    let loss = (log_sum_exp(&logits)? - own)?.mean_all()?;
    let right = logits.argmax(1)?.eq(label)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
    Ok((loss, right))
}

impl Addition for Classifier {
    const INFO: ModelInfo = ModelInfo {
        name: "jem",
        family: Family::Ebm,
        summary: "a classifier read as an energy, trained as both (needs classes)",
        citation: "Grathwohl et al. (2020), arXiv:1912.03263",
    };

    fn new(table: &Table, spec: &DataSpec, params: &ParamStore, _: &Noise) -> Result<(Self, Network)> {
        let Some(classes) = spec.classes.filter(|k| *k >= 2) else {
            return Err(Error::Unsupported(
                "jem reads a classifier as an energy and needs data with classes; use a labelled data set, or pcd".into(),
            ));
        };
        let weight: f64 = config::get(table, "classifier", "model")?;
        not_negative("classifier", weight)?;
        Ok((Self { weight }, Network::of_classes(table, spec, classes, params)?))
    }

    fn also(
        &self,
        energy: &NeuralEnergy,
        _: &Tensor,
        batch: &Batch,
        noise: &mut Noise,
    ) -> Result<(Option<Tensor>, Scalars)> {
        let label = batch
            .label
            .as_ref()
            .ok_or_else(|| Error::data("a batch of labelled data", "classes of its rows", "none"))?;
        let u = energy.standardise(batch, &mut noise.fork("classified"))?;
        let (wrong, accuracy) = classify(energy, &u, &label.to_dtype(DType::U32)?)?;
        let cross_entropy = wrong.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let log = vec![("accuracy", accuracy), ("cross_entropy", cross_entropy)];
        Ok((Some((wrong * self.weight)?), log))
    }
}

#[cfg(test)]
mod tests;
