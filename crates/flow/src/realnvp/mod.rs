//! RealNVP: half of the dimensions is scaled and shifted by functions of the other half, in turns.
//!
//! ```text
//! y_a = x_a,   y_b = x_b ⊙ e^{s(x_a)} + t(x_a)          one coupling; a and b swap roles in the next
//! log p(x) = log N(f(x); 0, I) + Σ over couplings of Σ_i s_i  + log-determinant of the data's own scaling
//! ```
//!
//! | symbol     | shape            | meaning                                                       |
//! |------------|------------------|---------------------------------------------------------------|
//! | `x`        | `(b, event…)`    | data: vectors, or images of bytes as `x̃ = (k + u)/256`        |
//! | `x_a, x_b` | `(b, d/2)` each  | the kept and the moved half                                   |
//! | `s, t`     | like `x_b`       | log-scale and shift, a network of `x_a`                       |
//! | `z = f(x)` | `(b, D)`         | latent, standard normal                                       |
//!
//! Source: Dinh, Sohl-Dickstein & Bengio (2017), "Density estimation using Real NVP", arXiv:1605.08803,
//! Eq. 4–8 (coupling), §3.4–3.6 (masks, multi-scale), §4.1 (logit).
//! Departures: `s = a·tanh(u/a)` has a fixed bound `a` where the paper learns one; no batch normalisation;
//! the halves are kept as two tensors, so no mask multiplies anything by zero.

mod image;
mod vector;

use genzoo_core::math::log_standard_normal;
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Draw, Entry, Error, Evidence, Family, Kind,
    LogProb, Model, ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Standardizer,
    StateDict, Stream, Table, Tensor, Turn, Update, capability::Bijector,
};
use toml::toml;

/// RealNVP in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8],
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(RealNvp::new(table, build.spec, params)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "realnvp",
    family: Family::Flow,
    summary: "affine coupling flow with exact likelihood and one-pass sampling",
    citation: "Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803",
};

const SAMPLERS: &[SamplerInfo] = &[SamplerInfo {
    name: "inverse",
    summary: "one pass of normal noise through the inverse couplings",
    defaults: Table::new,
}];

const DENSITIES: &[DensityInfo] = &[DensityInfo {
    name: "change_of_variables",
    summary: "exact: normal density of the latent plus the log-determinant",
    defaults: Table::new,
}];

fn defaults(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        return toml! {
            [model]
            alpha = 1e-3
            couplings = 4
            network = "mlp"
            hidden = 256
            bound = 3.0
            [train]
            batch = 128
            lr = 2e-3
            schedule = "cosine"
            warmup = 50
            clip = 500.0
        };
    }
    toml! {
        [model]
        couplings = 16
        hidden = 64
        layers = 2
        bound = 2.0
        [train]
        batch = 512
        lr = 2e-3
        schedule = "cosine"
        clip = 5.0
    }
}

fn tiny(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        return toml! {
            [model]
            couplings = 2
            hidden = 8
            [train]
            batch = 16
        };
    }
    toml! {
        [model]
        couplings = 4
        hidden = 16
        [train]
        batch = 64
    }
}

/// A RealNVP over vectors or images.
pub struct RealNvp {
    spec: DataSpec,
    params: ParamStore,
    flow: Flow,
}

#[derive(Clone)]
enum Flow {
    Vector(vector::VectorFlow),
    Image(image::ImageFlow),
}

impl Flow {
    /// `z = f(x)`, `(b, D)`, and `log|det ∂f/∂x|`, `(b,)`.
    fn to_latent(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        match self {
            Flow::Vector(f) => f.to_latent(x),
            Flow::Image(f) => f.to_latent(x),
        }
    }

    /// `x = f⁻¹(z)`, `(b, event…)`, and `log|det ∂x/∂z|`, `(b,)`.
    fn to_data(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        match self {
            Flow::Vector(f) => f.to_data(z),
            Flow::Image(f) => f.to_data(z),
        }
    }

    fn frozen(&self) -> Self {
        match self {
            Flow::Vector(f) => Flow::Vector(f.frozen()),
            Flow::Image(f) => Flow::Image(f.frozen()),
        }
    }
}

impl RealNvp {
    /// Builds the network for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses data of one dimension, which have no two halves.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        if spec.space.is_binary() {
            return Err(Error::Unsupported(
                "realnvp is a density on real vectors; use a data set of bytes or vectors instead of binary images"
                    .into(),
            ));
        }
        let flow = match spec.image() {
            Some(_) => Flow::Image(image::ImageFlow::new(table, spec, &params)?),
            None => Flow::Vector(vector::VectorFlow::new(table, spec, &params)?),
        };
        Ok(Self { spec: spec.clone(), params, flow })
    }
}

fn at_least(key: &str, value: usize, least: usize) -> Result<()> {
    if value >= least {
        return Ok(());
    }
    Err(Error::config(format!("model.{key}"), format!("an integer ≥ {least}"), value))
}

fn check_bound(bound: f64) -> Result<()> {
    if bound > 0.0 && bound <= 20.0 {
        return Ok(());
    }
    Err(Error::config("model.bound", "a number in (0, 20]", bound))
}

impl Model for RealNvp {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        match &self.flow {
            Flow::Vector(f) => f.scaling.state(),
            Flow::Image(_) => Ok(StateDict::new()),
        }
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        match &mut self.flow {
            Flow::Vector(f) => f.scaling = Standardizer::load(&state, &self.spec)?,
            Flow::Image(_) => {}
        }
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        match &mut self.flow {
            Flow::Vector(f) => f.scaling = Standardizer::fit(stream)?,
            Flow::Image(f) => f.prepare(stream, &self.params)?,
        }
        Ok(())
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, _: &mut Noise) -> Result<Update> {
        let (z, ladj) = self.flow.to_latent(&batch.x)?;
        let loss = (log_standard_normal(&z)? + ladj)?.neg()?.mean_all()?;
        Ok(Update::Minimise { loss, log: vec![] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        match SAMPLERS.iter().find(|s| s.name == name) {
            Some(_) => Ok(Box::new(Inverse { model: self, flow: self.flow.frozen() })),
            None => Err(Error::unknown("sampler", name, SAMPLERS.iter().map(|s| s.name))),
        }
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        if DENSITIES.iter().all(|d| d.name != name) {
            return Err(Error::unknown("likelihood", name, DENSITIES.iter().map(|d| d.name)));
        }
        // Exact for x̃, and thereby a bound for the bytes that x̃ was made from (Theis et al. 2016).
        let kind = if self.spec.space == Space::U8 { Kind::LowerBound } else { Kind::Exact };
        Ok(Box::new(ChangeOfVariables {
            flow: self.flow.frozen(),
            dtype: self.params.dtype(),
            evidence: Evidence::new(kind, name, self.spec.space),
        }))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { bijector: Some(self), ..Capabilities::default() }
    }
}

impl Bijector for RealNvp {
    fn inverse_and_ladj(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (z, ladj) = self.flow.frozen().to_latent(x)?;
        Ok((z.detach(), ladj.detach()))
    }

    fn forward_and_ladj(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (x, ladj) = self.flow.frozen().to_data(z)?;
        Ok((x.detach(), ladj.detach()))
    }
}

struct Inverse<'a> {
    model: &'a RealNvp,
    flow: Flow,
}

impl Sampler for Inverse<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let model = self.model;
        let z = noise.normal((draw.n, model.spec.dims()), model.params.dtype(), model.params.device())?;
        let (x, _) = self.flow.to_data(&z)?;
        // The logit's margin α lets a few values fall just outside; the data never do.
        let x = match model.spec.range {
            Some((low, high)) => x.detach().clamp(low, high)?,
            None => x.detach(),
        };
        Ok(Samples { x, evaluations: 1 })
    }
}

struct ChangeOfVariables {
    flow: Flow,
    dtype: DType,
    evidence: Evidence,
}

impl Density for ChangeOfVariables {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let x = batch.x.to_dtype(self.dtype)?;
        let (z, ladj) = self.flow.to_latent(&x)?;
        let normal = log_standard_normal(&z.detach().to_dtype(DType::F64)?)?;
        Ok(LogProb { values: (normal + ladj.detach().to_dtype(DType::F64)?)?, shared_error: 0.0 })
    }
}

#[cfg(test)]
mod tests;
