//! `real`: the data themselves as a model. What it scores is what a perfect model would.
//!
//! Its samples are fresh draws from the exact law where it is known, else random rows of the validation split: test rows
//! are the judge's, and training rows would be copies. Its density is the exact one where it is known, else there is none.

use genzoo_core::{
    Batch, DataSpec, Dataset, Density, DensityInfo, Draw, Error, Evidence, Family, LogProb, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Split, Table, Turn, Update,
};

use crate::data::random_rows;

static INFO: ModelInfo = ModelInfo {
    name: "real",
    family: Family::Baseline,
    summary: "the data themselves: what a perfect model scores",
    citation: "",
};
static SAMPLERS: [SamplerInfo; 1] = [SamplerInfo {
    name: "data",
    summary: "fresh rows, none of them from the training or test split",
    defaults: Table::new,
}];
static DENSITIES: [DensityInfo; 1] =
    [DensityInfo { name: "truth", summary: "the exact density of the data", defaults: Table::new }];

/// The data as a model.
///
/// # Errors
/// If an empty parameter store cannot be made.
pub fn real(data: Box<dyn Dataset>) -> Result<Box<dyn Model>> {
    Ok(Box::new(Real {
        params: ParamStore::new(&Noise::new(0), genzoo_core::DType::F32, &candle_core::Device::Cpu),
        data,
    }))
}

struct Real {
    params: ParamStore,
    data: Box<dyn Dataset>,
}

impl Model for Real {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        Vec::new()
    }

    fn update(&mut self, _: &Turn, _: &Batch, _: &mut Noise) -> Result<Update> {
        Ok(Update::Done { log: Vec::new() })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        &SAMPLERS
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        match name {
            "data" => Ok(Box::new(Rows { data: self.data.as_ref() })),
            other => Err(Error::unknown("sampler", other, ["data"])),
        }
    }

    fn densities(&self) -> &[DensityInfo] {
        if self.data.truth().is_some() { &DENSITIES } else { &[] }
    }

    fn density(&self, name: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        match (name, self.data.truth()) {
            ("truth", Some(truth)) => Ok(Box::new(Exact(truth))),
            ("truth", None) => Err(Error::Unsupported("the density of these data is not known".into())),
            (other, _) => Err(Error::unknown("density", other, ["truth"])),
        }
    }
}

struct Rows<'a> {
    data: &'a dyn Dataset,
}

impl Sampler for Rows<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        if let Some(truth) = self.data.truth() {
            return truth.sample(draw, noise);
        }
        let spec: &DataSpec = self.data.spec();
        let len = self.data.len(Split::Validation).map_or(draw.n, |n| n as usize);
        if len == 0 {
            return Err(Error::data("validation rows", "at least one", 0));
        }
        let x = (0..draw.n)
            .step_by(len)
            .enumerate()
            .map(|(i, start)| {
                let n = len.min(draw.n - start);
                Ok(random_rows(
                    self.data,
                    Split::Validation,
                    n,
                    &mut noise.fork("rows").at(noise.position() + i as u64),
                )?
                .x)
            })
            .collect::<Result<Vec<_>>>()?;
        // The next draw from this stream takes other rows.
        noise.words(x.len().max(1));
        let x = if x.is_empty() {
            candle_core::Tensor::zeros(
                spec.batch_shape(0),
                genzoo_core::DType::F32,
                &candle_core::Device::Cpu,
            )?
        } else {
            candle_core::Tensor::cat(&x, 0)?
        };
        Ok(Samples { x, evaluations: 0 })
    }
}

/// The truth's density as a density of its own.
struct Exact<'a>(&'a dyn genzoo_core::Truth);

impl Density for Exact<'_> {
    fn evidence(&self) -> &Evidence {
        self.0.evidence()
    }

    fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb> {
        self.0.log_prob(batch, noise)
    }
}
