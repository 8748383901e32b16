//! The linear stochastic interpolant: regress the velocity of straight paths between data and noise.
//!
//! ```text
//! x_t  = (1 − t) x_0 + t x_1 + γ(t) z,          x_0 data, x_1 ~ N(0, I), z ~ N(0, I), γ(t) = c √(2 t (1 − t))
//! L    = E ‖v_θ(x_t, t) − (x_1 − x_0)‖² + E ‖η_θ(x_t, t) − z‖²          the second term only if c > 0
//! b    = v + γ' η,   dx/dt = b(x, t)                                    carries data (t = 0) to noise (t = 1)
//! dX   = (−b + ε s) dτ + √(2ε) dW,   τ = 1 − t,   s = ∇ log ρ_t         the same laws, with noise
//! ```
//!
//! | symbol    | shape        | meaning                                                     |
//! |-----------|--------------|--------------------------------------------------------------|
//! | `x_0`     | `(b, event…)`| data, standardised (vectors) or centred to [−1, 1] (images)  |
//! | `x_1, z`  | like `x_0`   | the source, and the noise of the bridge                      |
//! | `t`       | `(b,)`       | time, stratified over the batch; 0 is data                   |
//! | `v, η, b` | like `x_0`   | conditional means of x_1 − x_0 and of z, and the velocity     |
//!
//! Source: Albergo & Vanden-Eijnden (2023), arXiv:2209.15571, Proposition 1; Albergo, Boffi & Vanden-Eijnden
//! (2023), arXiv:2303.08797, Eq. 4.6; Lipman et al. (2023), arXiv:2210.02747 (c = 0, flow matching); the SDE is
//! Carbone, "Hitchhiker's guide on energy-based models", Lemma B.2. Their time runs the other way: t there is 1 − t
//! here, b there is −b. Their velocity with a bridge is regressed whole; here its two means are, whose targets stay
//! bounded where γ' does not.

use genzoo_core::capability::{Score, Velocity};
use genzoo_core::{
    Backbone, Batch, Build, Capabilities, DType, DataSpec, Density, DensityInfo, Draw, Entry, Error, Family,
    Model, ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Standardizer,
    StateDict, Stream, Table, Tensor, Turn, Update, config,
};
use genzoo_numerics::likelihood::ode_density::{OdeDensity, ode_density_defaults, scheme_of, warp_of};
use genzoo_numerics::ode::{self, Scheme};
use genzoo_numerics::schedule::LinearPath;
use genzoo_numerics::sde::{self, SdeSolver};
use genzoo_numerics::transport::{self, TimeLaw};
use genzoo_numerics::{Counted, rows};

use crate::field::Field;

/// The line of the registry.
pub const ENTRY: Entry = Entry { info: INFO, spaces: &[Space::Continuous, Space::U8], defaults, tiny, build };

const INFO: ModelInfo = ModelInfo {
    name: "linear",
    family: Family::Interpolant,
    summary: "linear stochastic interpolant; flow matching when gamma = 0",
    citation: "Albergo & Vanden-Eijnden 2023, arXiv:2209.15571; Lipman et al. 2023, arXiv:2210.02747",
};

const SAMPLERS: &[SamplerInfo] = &[
    SamplerInfo {
        name: "ode",
        summary: "the velocity field from noise to data; euler, heun, rk4 (steps) or dopri5 (rtol)",
        defaults: ode_defaults,
    },
    SamplerInfo {
        name: "sde",
        summary: "the velocity with noise of strength epsilon, which the score takes back",
        defaults: sde_defaults,
    },
];

const DENSITIES: &[DensityInfo] = &[DensityInfo {
    name: "ode",
    summary: "change of variables along the velocity field",
    defaults: ode_density_defaults,
}];

fn ode_defaults() -> Table {
    toml::toml! {
        solver = "heun"
        steps = 40
        rtol = 1e-5
        warp = 1.0
    }
}

fn sde_defaults() -> Table {
    toml::toml! {
        steps = 200
        epsilon = 1.0
    }
}

fn defaults(spec: &DataSpec) -> Table {
    let model = toml::toml! {
        gamma = 0.0
    };
    let images = toml::toml! {
        sampler = "ode"
        solver = "heun"
        steps = 20
        warp = 2.0
    };
    transport::regression_defaults(spec, model, images)
}

fn tiny(spec: &DataSpec) -> Table {
    let mut out = toml::toml! {
        [train]
        batch = 32
        ema = 0.9
        [model]
    };
    if let Some(toml::Value::Table(model)) = out.get_mut("model") {
        model.extend(Backbone::tiny(spec));
    }
    out
}

fn build(table: &Table, build: Build<'_>) -> Result<Box<dyn Model>> {
    Ok(Box::new(Linear::new(table, build)?))
}

/// The model in training or trained.
pub struct Linear {
    params: ParamStore,
    network: Backbone,
    path: LinearPath,
    times: TimeLaw,
    scaling: Standardizer,
    spec: DataSpec,
}

impl Linear {
    fn new(table: &Table, build: Build<'_>) -> Result<Self> {
        let path = LinearPath::new(config::get(table, "gamma", "model")?)
            .map_err(|_| Error::config("model.gamma", "a finite number ≥ 0", &table["gamma"]))?;
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        let heads = if path.has_bridge() { 2 } else { 1 };
        let network = Backbone::new(table, build.spec, heads, &params.group("main"))?;
        let scaling = Standardizer::identity(build.spec)?;
        Ok(Self {
            params,
            network,
            path,
            times: TimeLaw::new(config::get(table, "time_power", "model")?)?,
            scaling,
            spec: build.spec.clone(),
        })
    }

    /// Velocity and score in standardised coordinates, with weights that no gradient reaches.
    fn field(&self) -> Field<Backbone> {
        Field { means: self.network.frozen(), path: self.path }
    }
}

impl Model for Linear {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        self.scaling.state()
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.scaling = Standardizer::load(&state, &self.spec)?;
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.scaling = Standardizer::fit_or_centre(stream)?;
        Ok(())
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let data = self.scaling.forward(&batch.x)?; // x_0
        let times = self.times.draw(batch.len(), &mut noise.fork("time"));
        let t = rows::tensor(times, data.device())?.to_dtype(DType::F32)?; // (b,)
        let source = noise.fork("source").normal_like(&data)?; // x_1
        let z = noise.fork("bridge").normal_like(&data)?;
        let x_t = self.path.at(&data, &source, &z, &t)?;
        let means = self.network.forward(&x_t, &t)?;
        let velocity = (&means[0] - (source - data)?)?.sqr()?.mean_all()?;
        let Some(eta) = means.get(1) else {
            return Ok(Update::Minimise { loss: velocity, log: vec![] });
        };
        let bridge = (eta - z)?.sqr()?.mean_all()?;
        let value = |x: &Tensor| -> Result<f64> { Ok(f64::from(x.to_scalar::<f32>()?)) };
        let log = vec![("velocity", value(&velocity)?), ("bridge", value(&bridge)?)];
        Ok(Update::Minimise { loss: (velocity + bridge)?, log })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        match name {
            "ode" => Ok(Box::new(OdeSampler {
                model: self,
                scheme: scheme_of(options, "sample")?,
                warp: warp_of(options, "sample")?,
            })),
            "sde" => Ok(Box::new(SdeSampler::new(self, options)?)),
            _ => Err(Error::unknown("sampler", name, SAMPLERS.iter().map(|s| s.name))),
        }
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        if name != "ode" {
            return Err(Error::unknown("density", name, DENSITIES.iter().map(|d| d.name)));
        }
        let field = Box::new(self.field());
        let density = OdeDensity::new(field, self.scaling.clone(), &self.spec, (0.0, 1.0), options, noise)?;
        Ok(Box::new(density))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { velocity: Some(self), score: Some(self), ..Capabilities::default() }
    }
}

/// In the coordinates of the data: at `t = 1` the law is `N(m, s²)` of the scaling.
impl Velocity for Linear {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.scaling.velocity(&self.field().velocity(&self.scaling.forward(x)?, t)?)
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, v) = (self.scaling.forward(x)?, self.scaling.velocity(v)?);
        let (b, product) = self.field().velocity_vjp(&y, t, &v)?;
        Ok((self.scaling.velocity(&b)?, self.scaling.gradient(&product)?))
    }
}

/// In the coordinates of the data.
impl Score for Linear {
    fn score(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.scaling.gradient(&self.field().score(&self.scaling.forward(x)?, t)?)
    }
}

struct OdeSampler<'a> {
    model: &'a Linear,
    scheme: Scheme,
    warp: f64,
}

impl Sampler for OdeSampler<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let field = self.model.field();
        let counted = Counted::new(&field);
        let (spec, scaling, device) = (&self.model.spec, &self.model.scaling, self.model.params.device());
        let x = transport::from_noise(spec, scaling, device, draw.n, noise, |z, _| {
            let flow = transport::Warped { velocity: &counted, power: self.warp };
            let velocity = |tau: f64, x: &Tensor| flow.velocity(x, &rows::time(tau, x)?);
            Ok(ode::integrate(&self.scheme, velocity, z, 1.0, 0.0)?.x)
        })?;
        let evaluations = counted.evaluations().examples.div_ceil(draw.n as u64);
        Ok(Samples { x, evaluations })
    }
}

/// The SDE of Lemma B.2 with ε(t) = `epsilon` times [`Field::noise_strength`].
struct SdeSampler<'a> {
    model: &'a Linear,
    steps: usize,
    epsilon: f64,
}

impl<'a> SdeSampler<'a> {
    fn new(model: &'a Linear, options: &Table) -> Result<Self> {
        let steps: usize = config::get(options, "steps", "sample")?;
        let epsilon: f64 = config::get(options, "epsilon", "sample")?;
        if steps == 0 {
            return Err(Error::config("sample.steps", "an integer ≥ 1", steps));
        }
        if epsilon < 0.0 {
            return Err(Error::config("sample.epsilon", "a number ≥ 0", epsilon));
        }
        Ok(Self { model, steps, epsilon })
    }
}

impl Sampler for SdeSampler<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[1]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let field = self.model.field();
        let calls = std::cell::Cell::new(0u64);
        let drift = |t: f64, x: &Tensor| {
            calls.set(calls.get() + x.dim(0)? as u64);
            let (b, s) = field.velocity_and_score(x, &rows::time(t, x)?)?;
            Ok((b - (s * (self.epsilon * field.noise_strength(t)))?)?)
        };
        let times: Vec<f64> = (0..=self.steps).map(|i| 1.0 - i as f64 / self.steps as f64).collect();
        let (spec, scaling, device) = (&self.model.spec, &self.model.scaling, self.model.params.device());
        let x = transport::from_noise(spec, scaling, device, draw.n, noise, |z, noise| {
            let strength = |t: f64, x: &Tensor| {
                Ok(Tensor::new(&[(2.0 * self.epsilon * field.noise_strength(t)).sqrt() as f32], x.device())?)
            };
            sde::along(SdeSolver::EulerMaruyama, drift, strength, z, &times, noise)
        })?;
        let evaluations = calls.get().div_ceil(draw.n as u64);
        Ok(Samples { x, evaluations })
    }
}
