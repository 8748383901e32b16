//! `gmm`: a mixture of normals, fitted by expectation maximisation; a step of training is one E and one M.
//!
//! Points get full covariances, images diagonal ones. A component may shrink to a single row, down to the floor; for
//! images the floor is wide, because a pixel that is black in every row of a component may still be lit in a test row.
//! Equations and sources stand in [`super::mixture`].

use candle_core::{Device, Tensor};
use genzoo_core::{
    Batch, DataSpec, Density, DensityInfo, Draw, Entry, Error, Evidence, Family, Kind, LogProb, Model,
    ModelInfo, Need, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Stream, Table, Turn,
    Update, config,
};
use serde::Deserialize;

use super::fitted::{self, collect, each_row, get, parameters, positive, rows_of, set};
use super::mixture::{Mixture, Ready};

pub(super) const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8],
    defaults: |spec| {
        if spec.image().is_some() {
            toml::toml! {
                [model]
                components = 20
                covariance = "diagonal"
                floor = 1e-3
                rows = 5000
                [train]
                steps = 20
            }
        } else {
            toml::toml! {
                [model]
                components = 16
                covariance = "full"
                floor = 1e-6
                rows = 10000
                [train]
                steps = 100
            }
        }
    },
    tiny: |_| {
        toml::toml! {
            [model]
            components = 4
            rows = 300
        }
    },
    build: |table, build| Ok(Box::new(Gmm::new(table, build.spec, &build.noise)?)),
};

const INFO: ModelInfo = ModelInfo {
    name: "gmm",
    family: Family::Baseline,
    summary: "a mixture of normals by expectation maximisation, started by k-means++",
    citation: "Dempster, Laird & Rubin (1977), J. R. Statist. Soc. B 39, 1-38",
};
const SAMPLERS: &[SamplerInfo] =
    &[SamplerInfo { name: "exact", summary: "a component, then a draw from it", defaults: Table::new }];
const DENSITIES: &[DensityInfo] =
    &[DensityInfo { name: "closed-form", summary: "the weighted sum of the normals", defaults: Table::new }];

#[derive(Deserialize)]
struct Config {
    components: usize,
    covariance: String,
    floor: f64,
    rows: usize,
}

struct Gmm {
    spec: DataSpec,
    params: ParamStore,
    config: Config,
    rows: Vec<f64>,
}

impl Gmm {
    fn new(table: &Table, spec: &DataSpec, noise: &Noise) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        positive("components", config.components)?;
        positive("rows", config.rows)?;
        let full = match config.covariance.as_str() {
            "full" => true,
            "diagonal" => false,
            other => return Err(Error::config("model.covariance", "\"full\" or \"diagonal\"", other)),
        };
        if !(config.floor >= 0.0 && config.floor.is_finite()) {
            return Err(Error::config("model.floor", "a number ≥ 0", config.floor));
        }
        // Around the origin until there are rows to start from.
        let (d, k) = (spec.dims(), config.components);
        let first = Mixture::start(&vec![0.0; d], d, k, full, 1.0, &mut noise.fork("start"));
        let params = parameters(noise, &tensors(&first, full)?)?;
        Ok(Self { spec: spec.clone(), params, config, rows: Vec::new() })
    }

    fn full(&self) -> bool {
        self.config.covariance == "full"
    }

    fn mixture(&self) -> Result<Mixture> {
        let get = |name| get(&self.params, name);
        let dims = self.spec.dims();
        Ok(Mixture { dims, weights: get("weights")?, means: get("means")?, covariances: get("covariances")? })
    }
}

fn tensors(m: &Mixture, full: bool) -> Result<[(&'static str, Tensor); 3]> {
    let (k, d) = (m.len(), m.dims);
    let covariances = if full { vec![k, d, d] } else { vec![k, d] };
    let tensor = |v: &[f64], shape: Vec<usize>| Tensor::from_slice(v, shape, &Device::Cpu);
    Ok([
        ("weights", tensor(&m.weights, vec![k])?),
        ("means", tensor(&m.means, vec![k, d])?),
        ("covariances", tensor(&m.covariances, covariances)?),
    ])
}

impl Model for Gmm {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn prepare(&mut self, stream: &mut dyn Stream, noise: &mut Noise) -> Result<()> {
        self.rows = collect(stream, self.config.rows)?;
        let (d, k) = (self.spec.dims(), self.config.components);
        let rows = rows_of(&self.rows, INFO.name)?;
        let start = Mixture::start(rows, d, k, self.full(), self.config.floor, &mut noise.fork("start"));
        set(&self.params, &tensors(&start, self.full())?)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn { group: "main", need: Need::Nothing }]
    }

    fn update(&mut self, _: &Turn, _: &Batch, _: &mut Noise) -> Result<Update> {
        let (next, log_p) = self.mixture()?.improve(rows_of(&self.rows, INFO.name)?, self.config.floor)?;
        set(&self.params, &tensors(&next, self.full())?)?;
        Ok(Update::Done { log: vec![("log_likelihood", log_p)] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        match name {
            "exact" => Ok(Box::new(Fitted::new(self)?)),
            other => Err(Error::unknown("sampler", other, ["exact"])),
        }
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        match name {
            "closed-form" => Ok(Box::new(Fitted::new(self)?)),
            other => Err(Error::unknown("density", other, ["closed-form"])),
        }
    }
}

/// The mixture as it stands.
struct Fitted<'a> {
    spec: &'a DataSpec,
    evidence: Evidence,
    mixture: Mixture,
}

impl<'a> Fitted<'a> {
    fn new(model: &'a Gmm) -> Result<Self> {
        let evidence = Evidence::new(Kind::Exact, "closed_form", model.spec.space);
        Ok(Self { spec: &model.spec, evidence, mixture: model.mixture()? })
    }
}

impl Density for Fitted<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let ready = self.mixture.ready()?;
        each_row(batch, self.spec.dims(), |x| ready.log_p(x))
    }
}

impl Sampler for Fitted<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let ready: Ready<'_> = self.mixture.ready()?;
        let (n, d) = (draw.n, self.spec.dims());
        let (choice, z) = (noise.uniforms(n), noise.normals(n * d));
        let mut x = Vec::with_capacity(n * d);
        for (i, mut u) in choice.into_iter().enumerate() {
            let last = self.mixture.len() - 1;
            let component = self.mixture.weights.iter().position(|w| {
                u -= w;
                u <= 0.0
            });
            x.extend(ready.draw(component.unwrap_or(last), &z[i * d..(i + 1) * d]));
        }
        fitted::samples(x, n, self.spec)
    }
}
