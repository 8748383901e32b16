//! Training a judge: cross-entropy on moved images, AdamW, a cosine, the averaged weights in half precision.
//!
//! Everything is a function of the seed and the rows: the same command gives the same file, on the same instruction
//! set. The trainer is the one every model uses, and the pupil is a [`Model`] that has no samples to offer.

use std::collections::BTreeMap;
use std::ops::Range;

use genzoo_core::trainer::train_defaults;
use genzoo_core::{
    Batch, Control, DType, DataSpec, Dataset, Density, Device, Error, Family, Model, ModelInfo, Noise,
    ParamStore, Result, Sampler, SamplerInfo, Space, Split, StepReport, Table, Tensor, TrainConfig, Trainer,
    Turn, Update, config, math,
};

use super::augment::augment;
use super::net::{Net, SIZE};
use super::pixels;

/// The settings of `[train]` that differ from the trainer's defaults.
fn recipe() -> Table {
    toml::toml! {
        batch = 128
        optimizer = "adamw"
        lr = 2e-3
        weight_decay = 0.05
        schedule = "cosine"
        warmup = 200
        ema = 0.998
    }
}

/// Trains `steps` steps on `sets` in turn, which must have the same classes. The weights by name, f16.
///
/// # Errors
/// If the rows have no labels, training diverges, or `observe` fails or stops it.
pub fn train(
    sets: &[Box<dyn Dataset>],
    steps: u64,
    seed: u64,
    mut observe: impl FnMut(&StepReport) -> Result<Control>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut table = train_defaults();
    config::merge(&mut table, &recipe(), "train")?;
    let mut config = TrainConfig::read(&table)?;
    config.steps = steps;
    let noise = Noise::new(seed).fork("judge");
    let data = Pages::new(sets)?;
    let pupil = Pupil::new(data.classes, &noise)?;
    let mut trainer = Trainer::new(Box::new(pupil), &data, config, &noise)?;
    if trainer.run(|_, report| observe(report))? == Control::Stop {
        return Err(Error::Unsupported("the training of the judge was stopped".into()));
    }
    let ema = trainer.ema().ok_or_else(|| Error::config("train.ema", "a number > 0", 0))?;
    ema.snapshot()?.into_iter().map(|(name, t)| Ok((name, t.to_dtype(DType::F16)?))).collect()
}

/// Several sets as one, prepared for the network: address `i` is row `i / k` of set `i mod k`.
struct Pages<'a> {
    sets: &'a [Box<dyn Dataset>],
    spec: DataSpec,
    classes: usize,
}

impl<'a> Pages<'a> {
    fn new(sets: &'a [Box<dyn Dataset>]) -> Result<Self> {
        let classes = sets.first().and_then(|s| s.spec().classes).unwrap_or(0);
        if classes < 2 || sets.iter().any(|s| s.spec().classes != Some(classes)) {
            return Err(Error::data("a judge's data", "sets with the same two or more classes", classes));
        }
        let shape = vec![1, SIZE, SIZE];
        let spec = DataSpec { shape, space: Space::U8, classes: Some(classes), range: Some((0.0, 1.0)) };
        Ok(Self { sets, spec, classes })
    }
}

impl Dataset for Pages<'_> {
    fn name(&self) -> &str {
        "pages"
    }

    fn spec(&self) -> &DataSpec {
        &self.spec
    }

    fn len(&self, split: Split) -> Option<u64> {
        let shortest = self.sets.iter().filter_map(|s| s.len(split)).min()?;
        Some(shortest * self.sets.len() as u64)
    }

    fn rows(&self, split: Split, rows: Range<u64>) -> Result<Batch> {
        let k = self.sets.len() as u64;
        let (mut x, mut label, mut address) = (Vec::new(), Vec::new(), Vec::new());
        for (j, set) in self.sets.iter().enumerate() {
            // The first number of the form i·k + j that is not below `at`.
            let first = |at: u64| (at + k - 1 - j as u64) / k;
            let part = set.rows(split, first(rows.start)..first(rows.end))?;
            address.extend(part.rows.clone().map(|i| i * k + j as u64));
            x.push(pixels::prepare(&part.x)?);
            label.push(part.label.ok_or_else(|| Error::data("a judge's rows", "labels", "none"))?);
        }
        let mut order: Vec<u32> = (0..address.len() as u32).collect();
        order.sort_by_key(|&i| address[i as usize]);
        let order = Tensor::from_vec(order, address.len(), &Device::Cpu)?;
        let pick = |parts: &[Tensor]| Tensor::cat(parts, 0)?.index_select(&order, 0);
        Ok(Batch { x: pick(&x)?, label: Some(pick(&label)?), source: None, rows })
    }

    fn sha256(&self) -> String {
        self.sets.iter().map(|s| s.sha256()).collect::<Vec<_>>().join(" ")
    }
}

/// The network in training.
struct Pupil {
    params: ParamStore,
    net: Net,
    classes: usize,
}

static INFO: ModelInfo = ModelInfo {
    name: "judge",
    family: Family::Baseline,
    summary: "a classifier of small grey images",
    citation: "",
};

impl Pupil {
    fn new(classes: usize, noise: &Noise) -> Result<Self> {
        let params = ParamStore::new(noise, DType::F32, &Device::Cpu);
        Ok(Self { net: Net::new(classes, &params)?, params, classes })
    }
}

impl Model for Pupil {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let label = batch.label.as_ref().ok_or_else(|| Error::data("a judge's rows", "labels", "none"))?;
        let label = label.to_vec1::<u32>()?;
        let x = augment(&batch.x, &mut noise.fork("augment"))?;
        let logits = self.net.logits(&self.net.features(&x)?)?;
        Ok(Update::Minimise { loss: cross_entropy(&logits, &label, self.classes)?, log: vec![] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        &[]
    }

    fn sampler(&self, _: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        Err(Error::Unsupported("a judge draws nothing".into()))
    }

    fn density(&self, _: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Err(Error::Unsupported("a judge has no density".into()))
    }
}

/// `mean_i [log Σ_c exp l_ic − l_i,y(i)]`, nats.
fn cross_entropy(logits: &Tensor, label: &[u32], classes: usize) -> Result<Tensor> {
    let mut chosen = vec![0f32; label.len() * classes];
    for (row, &y) in chosen.chunks_mut(classes).zip(label) {
        if let Some(at) = row.get_mut(y as usize) {
            *at = 1.0;
        }
    }
    let chosen = Tensor::from_vec(chosen, (label.len(), classes), logits.device())?;
    Ok((math::log_sum_exp(logits)? - (logits * chosen)?.sum(1)?)?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{OpenOptions, open};

    fn sets() -> Result<Vec<Box<dyn Dataset>>> {
        ["glyphs", "glyphs{size=14}"].iter().map(|n| open(n, &OpenOptions::default())).collect()
    }

    #[test]
    fn sets_take_turns_whatever_the_range() -> Result<()> {
        let sets = sets()?;
        let pages = Pages::new(&sets)?;
        let whole = pages.rows(Split::Train, 0..10)?;
        assert_eq!(whole.x.dims(), [10, 1, 28, 28]);
        let values = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
        for range in [0..3, 3..10, 1..2, 4..9, 5..5] {
            let part = pages.rows(Split::Train, range.clone())?;
            let n = (range.end - range.start) as usize;
            assert_eq!(values(&part.x)?, values(&whole.x.narrow(0, range.start as usize, n)?)?);
        }
        let second = sets[1].rows(Split::Train, 2..3)?;
        assert_eq!(values(&whole.x.narrow(0, 5, 1)?)?, values(&pixels::prepare(&second.x)?)?);
        assert_eq!(pages.len(Split::Train), Some(120_000));
        Ok(())
    }

    #[test]
    fn the_loss_is_minus_the_log_probability_of_the_label() -> Result<()> {
        let logits = Tensor::new(&[[1.0f32, 2.0, 0.5], [0.0, -1.0, 3.0]], &Device::Cpu)?;
        let nll = |l: [f64; 3], y: usize| -(l[y].exp() / l.iter().map(|v| v.exp()).sum::<f64>()).ln();
        let want = 0.5 * (nll([1.0, 2.0, 0.5], 0) + nll([0.0, -1.0, 3.0], 2));
        let got = f64::from(cross_entropy(&logits, &[0, 2], 3)?.to_scalar::<f32>()?);
        assert!((got - want).abs() < 1e-6, "{got} {want}");
        Ok(())
    }

    #[test]
    fn a_few_steps_learn_and_repeat_to_the_bit() -> Result<()> {
        let sets = sets()?;
        let run = || -> Result<(Vec<f64>, BTreeMap<String, Tensor>)> {
            let mut losses = Vec::new();
            let weights = train(&sets, 12, 3, |r| {
                losses.extend(r.loss);
                Ok(Control::Continue)
            })?;
            Ok((losses, weights))
        };
        let (losses, weights) = run()?;
        // From log 10 downwards, while the rate still rises.
        let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
        assert!(
            (losses[0] - 10f64.ln()).abs() < 0.2 && mean(&losses[9..]) < mean(&losses[..3]) - 0.03,
            "{losses:?}"
        );
        let (again, same) = run()?;
        assert_eq!(losses, again);
        for (name, t) in &weights {
            let bits = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
            assert_eq!(bits(t)?, bits(&same[name])?, "{name}");
        }
        assert!(train(&sets, 2, 3, |_| Ok(Control::Stop)).is_err());
        Ok(())
    }
}
