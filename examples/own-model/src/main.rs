//! A genzoo with one more model: a Gaussian with learned mean and diagonal covariance.
//!
//! ```text
//! log p(x) = −½ Σ_j ( (x_j − μ_j)² / σ_j² + log 2πσ_j² )
//! ```
//! `cargo run --release -p own-model -- bench --models diagonal --data moons` trains it beside nothing else;
//! without `--models` it takes its place behind the models of the zoo.

use std::process::ExitCode;

use genzoo::core::{
    Batch, Build, DType, Density, DensityInfo, Draw, Entry, Error, Evidence, Family, Kind, LogProb, Model,
    ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Table, Tensor, Turn, Update,
    math,
};

const INFO: ModelInfo = ModelInfo {
    name: "diagonal",
    family: Family::Flow,
    summary: "Gaussian with diagonal covariance: the simplest flow",
    citation: "Bishop (2006), Pattern Recognition and Machine Learning, §2.3",
};

static ENTRY: [Entry; 1] = [Entry {
    info: INFO,
    spaces: &[Space::Continuous],
    defaults: |_| toml_table("[model]\n[train]\nlr = 1e-2\n"),
    tiny: |_| Table::new(),
    build: |_, b| Diagonal::new(b).map(|m| Box::new(m) as Box<dyn Model>),
}];

const SAMPLERS: [SamplerInfo; 1] = [SamplerInfo { name: "exact", summary: "μ + σz", defaults: Table::new }];
const DENSITIES: [DensityInfo; 1] =
    [DensityInfo { name: "closed-form", summary: "the Gaussian formula", defaults: Table::new }];

struct Diagonal {
    params: ParamStore,
    mean: Tensor,
    log_variance: Tensor,
    shape: Vec<usize>,
    evidence: Evidence,
}

impl Diagonal {
    fn new(b: Build<'_>) -> Result<Self> {
        let params = ParamStore::new(&b.noise, DType::F32, b.device);
        let vb = params.group("main");
        // A VarBuilder's tensors start at zero unless an initialisation is asked for.
        let mean = vb.get((1, b.spec.dims()), "mean")?;
        let log_variance = vb.get((1, b.spec.dims()), "log_variance")?;
        let evidence = Evidence {
            kind: Kind::Exact,
            method: "closed_form".into(),
            space: b.spec.space,
            tolerance: None,
            discrete: false,
        };
        Ok(Self { params, mean, log_variance, shape: b.spec.shape.clone(), evidence })
    }

    fn log_p(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.flatten_from(1)?;
        let (mean, lv) = (self.mean.broadcast_as(x.shape())?, self.log_variance.broadcast_as(x.shape())?);
        Ok(math::log_normal(&x, &mean, &lv)?)
    }
}

impl Model for Diagonal {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, _: &mut Noise) -> Result<Update> {
        Ok(Update::Minimise { loss: self.log_p(&batch.x)?.neg()?.mean_all()?, log: vec![] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        &SAMPLERS
    }

    fn sampler(&self, _: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        Ok(Box::new(self))
    }

    fn densities(&self) -> &[DensityInfo] {
        &DENSITIES
    }

    fn density(&self, _: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Ok(Box::new(self))
    }
}

impl Sampler for &Diagonal {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let mut shape = vec![draw.n];
        shape.extend(&self.shape);
        let z = noise.normal((draw.n, self.mean.elem_count()), DType::F32, self.params.device())?;
        let sd = (self.log_variance.detach() * 0.5)?.exp()?;
        let x = z.broadcast_mul(&sd)?.broadcast_add(&self.mean.detach())?.reshape(shape)?;
        Ok(Samples { x, evaluations: 0 })
    }
}

impl Density for &Diagonal {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let values = self.log_p(&batch.x)?.detach().to_dtype(DType::F64)?;
        Ok(LogProb { values, shared_error: 0.0 })
    }
}

fn toml_table(text: &str) -> Table {
    text.parse().map_err(|e| Error::Unsupported(format!("{e}"))).expect("the literal above is TOML")
}

fn main() -> ExitCode {
    genzoo::main_with(&ENTRY)
}
