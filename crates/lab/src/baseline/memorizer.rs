//! `memorizer`: training rows, given back. Its samples are as good as data; nothing in them is new.
//!
//! It is here to be caught: metrics of quality cannot tell it from `real`, those of memorisation must. There is no
//! density: a sum of points has none. Images of bytes keep their bytes and are dequantised anew with each draw.

use candle_core::{DType, Device, Tensor};
use genzoo_core::{
    Batch, DataSpec, Density, Draw, Entry, Error, Family, Model, ModelInfo, Noise, ParamStore, Result,
    Sampler, SamplerInfo, Samples, Space, StateDict, Stream, Table, Turn, Update, config,
};

use super::fitted::positive;

pub(super) const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8, Space::BinaryStatic, Space::BinaryDynamic],
    defaults: |_| {
        toml::toml! {
            [model]
            rows = 5000
            [train]
            steps = 1
        }
    },
    tiny: |_| {
        toml::toml! {
            [model]
            rows = 200
        }
    },
    build: |table, build| Ok(Box::new(Memorizer::new(table, build.spec, &build.noise)?)),
};

const INFO: ModelInfo = ModelInfo {
    name: "memorizer",
    family: Family::Baseline,
    summary: "training rows, given back: perfect quality, nothing new",
    citation: "Meehan, Chaudhuri & Dasgupta (2020), arXiv:2004.05675, for what must catch it",
};
const SAMPLERS: &[SamplerInfo] = &[SamplerInfo {
    name: "resample",
    summary: "training rows, drawn with replacement",
    defaults: Table::new,
}];

struct Memorizer {
    spec: DataSpec,
    params: ParamStore,
    most: usize,
    /// `(N, event…)`: bytes of images of bytes, else f32.
    rows: Tensor,
}

impl Memorizer {
    fn new(table: &Table, spec: &DataSpec, noise: &Noise) -> Result<Self> {
        let most = config::get(table, "rows", "model")?;
        positive("rows", most)?;
        let rows = Tensor::zeros(spec.batch_shape(0), DType::F32, &Device::Cpu)?;
        let params = ParamStore::new(noise, DType::F32, &Device::Cpu);
        Ok(Self { spec: spec.clone(), params, most, rows })
    }
}

impl Model for Memorizer {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        Ok(StateDict::from([("rows".to_string(), self.rows.clone())]))
    }

    fn set_state(&mut self, mut state: StateDict) -> Result<()> {
        let rows = state.remove("rows").filter(|t| t.dims().get(1..) == Some(&self.spec.shape[..]));
        self.rows = rows.ok_or_else(|| {
            Error::data("model state", format!("a tensor 'rows' of shape (n, {:?})", self.spec.shape), "none")
        })?;
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        let n = stream.epoch().map_or(self.most, |e| self.most.min(e as usize));
        let mut parts = Vec::new();
        for start in (0..n).step_by(1000) {
            let x = stream.next(1000.min(n - start))?.x;
            // ⌊256 (k + u)/256⌋ = k.
            parts.push(if self.spec.space == Space::U8 { (x * 256.0)?.to_dtype(DType::U8)? } else { x });
        }
        self.rows = Tensor::cat(&parts, 0)?;
        Ok(())
    }

    /// There is nothing left to fit.
    fn turns(&self, _: u64) -> Vec<Turn> {
        Vec::new()
    }

    fn update(&mut self, _: &Turn, _: &Batch, _: &mut Noise) -> Result<Update> {
        Ok(Update::Done { log: vec![] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        match name {
            "resample" => Ok(Box::new(Resample(self))),
            other => Err(Error::unknown("sampler", other, ["resample"])),
        }
    }

    fn density(&self, _: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Err(Error::Unsupported("a memorizer has no density: its law is a sum of points".into()))
    }
}

struct Resample<'a>(&'a Memorizer);

impl Sampler for Resample<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let len = self.0.rows.dim(0)?;
        if len == 0 {
            return Err(Error::Unsupported("memorizer has not seen any rows yet: train it first".into()));
        }
        let chosen: Vec<u32> = noise.below(len, draw.n).into_iter().map(|i| i as u32).collect();
        let x = self.0.rows.index_select(&Tensor::from_vec(chosen, draw.n, &Device::Cpu)?, 0)?;
        if x.dtype() != DType::U8 {
            return Ok(Samples { x, evaluations: 0 });
        }
        let bytes = x.flatten_all()?.to_vec1::<u8>()?;
        // Sixteen random bits below each byte are exact in f32, and keep the result below 1.
        let words = noise.words(bytes.len()).into_iter().zip(bytes);
        let x: Vec<f32> =
            words.map(|(w, k)| ((u32::from(k) << 16) | (w >> 16)) as f32 * (1.0 / 16_777_216.0)).collect();
        Ok(Samples { x: Tensor::from_vec(x, self.0.spec.batch_shape(draw.n), &Device::Cpu)?, evaluations: 0 })
    }
}
