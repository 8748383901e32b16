//! Denoising diffusion in continuous time: add noise of every strength, learn to predict it.
//!
//! ```text
//! x_t = α(t) x_0 + σ(t) ε,   ε ~ N(0, I),   α² + σ² = 1
//! L   = E_t E ‖ε − ε_θ(x_t, t)‖²,   ε_θ = σ x_t + α F_θ(x_t, φ),   φ = atan(σ/α)
//! ```
//!
//! | symbol    | shape         | meaning                                                            |
//! |-----------|---------------|---------------------------------------------------------------------|
//! | `x_0`     | `(b, event…)` | data, standardised (vectors) or centred to [−1, 1] (images)         |
//! | `t`       | `(b,)`        | time, stratified over the batch; 0 is data                          |
//! | `ε, ε_θ`  | like `x_0`    | the noise added and predicted                                       |
//! | `F_θ`     | like `x_0`    | the network; what is left of ε once its known part σ x_t is removed |
//!
//! Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, Eq. 14; Song et al. (2021), arXiv:2011.13456, for continuous
//! time, the probability flow and its likelihood; Nichol & Dhariwal (2021), arXiv:2102.09672, for the cosine
//! schedule, here without the offset that their discrete steps need.
//! `weight = "velocity"` divides the loss by α², which makes it ‖v − F_θ‖² for v = α ε − σ x_0: pure noise, where
//! the paper's loss says nothing of x_0, then counts as much as all other levels (Salimans & Ho 2022, Eq. 13).

use genzoo_core::capability::{Score, Velocity};
use genzoo_core::{
    Backbone, Batch, Build, Capabilities, DType, DataSpec, Density, DensityInfo, Draw, Entry, Error, Family,
    Model, ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Standardizer,
    StateDict, Stream, Table, Tensor, Turn, Update, config,
};
use genzoo_numerics::likelihood::ode_density::{OdeDensity, ode_density_defaults, scheme_of, warp_of};
use genzoo_numerics::ode::{self, Scheme};
use genzoo_numerics::schedule::{Schedule, VariancePreserving};
use genzoo_numerics::transport::{self, TimeLaw};
use genzoo_numerics::{Counted, rows};

use crate::field::{AngleFlow, Field, turn};
use crate::reverse::Step;

/// The line of the registry.
pub const ENTRY: Entry = Entry { info: INFO, spaces: &[Space::Continuous, Space::U8], defaults, tiny, build };

const INFO: ModelInfo = ModelInfo {
    name: "ddpm",
    family: Family::Diffusion,
    summary: "variance-preserving diffusion in continuous time, noise prediction",
    citation: "Ho et al. 2020, arXiv:2006.11239; Song et al. 2021, arXiv:2011.13456",
};

const SAMPLERS: &[SamplerInfo] = &[
    SamplerInfo {
        name: "ancestral",
        summary: "draws from the posterior of each step",
        defaults: ancestral_defaults,
    },
    SamplerInfo {
        name: "ddim",
        summary: "fewer, larger steps; eta = 0 is deterministic, eta = 1 is ancestral",
        defaults: ddim_defaults,
    },
    SamplerInfo {
        name: "probability_flow",
        summary: "the ODE with the same laws; euler, heun, rk4 (steps) or dopri5 (rtol)",
        defaults: flow_defaults,
    },
];

const DENSITIES: &[DensityInfo] = &[DensityInfo {
    name: "ode",
    summary: "change of variables along the probability flow",
    defaults: ode_density_defaults,
}];

fn ancestral_defaults() -> Table {
    toml::toml! {
        steps = 200
    }
}

fn ddim_defaults() -> Table {
    toml::toml! {
        steps = 50
        eta = 0.0
    }
}

fn flow_defaults() -> Table {
    toml::toml! {
        solver = "heun"
        steps = 30
        rtol = 1e-5
        warp = 1.0
    }
}

fn defaults(spec: &DataSpec) -> Table {
    let model = toml::toml! {
        schedule = "cosine"
        weight = "noise"
    };
    let images = toml::toml! {
        sampler = "ddim"
        steps = 25
    };
    transport::regression_defaults(spec, model, images)
}

fn tiny(spec: &DataSpec) -> Table {
    let mut out = toml::toml! {
        [train]
        batch = 32
        ema = 0.9
    };
    out.insert("model".into(), Backbone::tiny(spec).into());
    out
}

fn build(table: &Table, build: Build<'_>) -> Result<Box<dyn Model>> {
    Ok(Box::new(Ddpm::new(table, build)?))
}

/// What a unit of squared error costs at each noise level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// ‖ε − ε_θ‖².
    Noise,
    /// ‖v − F_θ‖² = ‖ε − ε_θ‖²/α².
    Velocity,
}

/// The model in training or trained.
pub struct Ddpm {
    params: ParamStore,
    network: Backbone,
    schedule: VariancePreserving,
    weight: Weight,
    times: TimeLaw,
    scaling: Standardizer,
    spec: DataSpec,
}

impl Ddpm {
    fn new(table: &Table, build: Build<'_>) -> Result<Self> {
        let schedule: String = config::get(table, "schedule", "model")?;
        let schedule = match schedule.parse()? {
            // The offset keeps the first of 4000 steps from being too small; continuous time has no first step.
            Schedule::Cosine { .. } => Schedule::Cosine { offset: 0.0 },
            linear => linear,
        };
        let weight: String = config::get(table, "weight", "model")?;
        let weight = match weight.as_str() {
            "noise" => Weight::Noise,
            "velocity" => Weight::Velocity,
            other => return Err(Error::unknown("weight", other, ["noise", "velocity"])),
        };
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        let network = Backbone::new(table, build.spec, 1, &params.group("main"))?;
        Ok(Self {
            params,
            network,
            schedule: VariancePreserving::new(schedule)?,
            weight,
            times: TimeLaw::new(config::get(table, "time_power", "model")?)?,
            scaling: Standardizer::identity(build.spec)?,
            spec: build.spec.clone(),
        })
    }

    /// Predictions in standardised coordinates, with weights that no gradient reaches.
    fn field(&self) -> Field<Backbone> {
        Field { rotation: self.network.frozen(), schedule: self.schedule }
    }

    /// The last angle of training, in units of π/2: just below 1.
    fn last_turn(&self) -> f64 {
        turn(&self.schedule, 1.0)
    }
}

impl Model for Ddpm {
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
        let per_row = |f: &dyn Fn(f64) -> f64| -> Result<Tensor> {
            let values = times.iter().map(|t| f(*t)).collect();
            Ok(rows::tensor(values, data.device())?.to_dtype(DType::F32)?) // (b,)
        };
        let alpha = per_row(&|t| self.schedule.alpha(t))?;
        let sigma = per_row(&|t| self.schedule.sigma(t))?;
        let epsilon = noise.fork("noise").normal_like(&data)?;
        let x_t = (rows::scale(&data, &alpha)? + rows::scale(&epsilon, &sigma)?)?;
        let f = self.network.forward(&x_t, &per_row(&|t| turn(&self.schedule, t))?)?.swap_remove(0);
        let error = match self.weight {
            Weight::Noise => {
                let predicted = (rows::scale(&x_t, &sigma)? + rows::scale(&f, &alpha)?)?;
                (epsilon - predicted)?
            }
            Weight::Velocity => {
                let velocity = (rows::scale(&epsilon, &alpha)? - rows::scale(&data, &sigma)?)?;
                (velocity - f)?
            }
        };
        Ok(Update::Minimise { loss: error.sqr()?.mean_all()?, log: vec![] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        let steps = || match config::get::<usize>(options, "steps", "sample")? {
            0 => Err(Error::config("sample.steps", "an integer ≥ 1", 0)),
            steps => Ok(steps),
        };
        let (info, method) = match name {
            "ancestral" => (&SAMPLERS[0], Method::Ancestral { steps: steps()? }),
            "ddim" => {
                let eta: f64 = config::get(options, "eta", "sample")?;
                if !(0.0..=1.0).contains(&eta) {
                    return Err(Error::config("sample.eta", "a number in [0, 1]", eta));
                }
                (&SAMPLERS[1], Method::Ddim { steps: steps()?, eta })
            }
            "probability_flow" => (
                &SAMPLERS[2],
                Method::Flow { scheme: scheme_of(options, "sample")?, warp: warp_of(options, "sample")? },
            ),
            _ => return Err(Error::unknown("sampler", name, SAMPLERS.iter().map(|s| s.name))),
        };
        Ok(Box::new(ReverseSampler { model: self, info, method }))
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        if name != "ode" {
            return Err(Error::unknown("density", name, DENSITIES.iter().map(|d| d.name)));
        }
        let flow = Box::new(AngleFlow(self.network.frozen()));
        let ends = (0.0, self.last_turn());
        let density = OdeDensity::new(flow, self.scaling.clone(), &self.spec, ends, options, noise)?;
        Ok(Box::new(density))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { score: Some(self), velocity: Some(self), ..Capabilities::default() }
    }
}

/// In the coordinates of the data.
impl Score for Ddpm {
    fn score(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.scaling.gradient(&self.field().score(&self.scaling.forward(x)?, t)?)
    }
}

/// In the coordinates of the data: at `t = 1` the law is `N(m, s²)` of the scaling.
impl Velocity for Ddpm {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.scaling.velocity(&self.field().velocity(&self.scaling.forward(x)?, t)?)
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, v) = (self.scaling.forward(x)?, self.scaling.velocity(v)?);
        let (b, product) = self.field().velocity_vjp(&y, t, &v)?;
        Ok((self.scaling.velocity(&b)?, self.scaling.gradient(&product)?))
    }
}

#[derive(Clone, Copy)]
enum Method {
    Ancestral { steps: usize },
    Ddim { steps: usize, eta: f64 },
    Flow { scheme: Scheme, warp: f64 },
}

struct ReverseSampler<'a> {
    model: &'a Ddpm,
    info: &'static SamplerInfo,
    method: Method,
}

impl ReverseSampler<'_> {
    /// From noise to data over `steps` equal times; `step` moves x by one, given the prediction.
    fn discrete(
        &self,
        steps: usize,
        mut x: Tensor,
        evaluations: &mut u64,
        mut step: impl FnMut(&Step, &Tensor, &crate::field::Prediction) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let field = self.model.field();
        for i in (1..=steps).rev() {
            let (t, s) = (i as f64 / steps as f64, (i - 1) as f64 / steps as f64);
            let prediction = field.predict(&x, t)?;
            *evaluations += x.dim(0)? as u64;
            x = step(&Step::between(&self.model.schedule, t, s), &x, &prediction)?;
        }
        Ok(x)
    }
}

impl Sampler for ReverseSampler<'_> {
    fn info(&self) -> &SamplerInfo {
        self.info
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let model = self.model;
        let flow = AngleFlow(model.network.frozen());
        let counted = Counted::new(&flow);
        let mut calls = 0;
        let push = |z: Tensor, noise: &mut Noise| match self.method {
            Method::Ancestral { steps } => self.discrete(steps, z, &mut calls, |step, x, prediction| {
                step.ancestral(x, prediction, &noise.normal_like(x)?)
            }),
            Method::Ddim { steps, eta } => self.discrete(steps, z, &mut calls, |step, x, prediction| {
                let xi = if eta > 0.0 { Some(noise.normal_like(x)?) } else { None };
                step.ddim(prediction, eta, xi.as_ref())
            }),
            Method::Flow { scheme, warp } => {
                let flow = transport::Warped { velocity: &counted, power: warp };
                let velocity = |tau: f64, x: &Tensor| flow.velocity(x, &rows::time(tau, x)?);
                Ok(ode::integrate(&scheme, velocity, z, flow.clock(model.last_turn()), 0.0)?.x)
            }
        };
        let x =
            transport::from_noise(&model.spec, &model.scaling, model.params.device(), draw.n, noise, push)?;
        let evaluations = (calls + counted.evaluations().examples).div_ceil(draw.n as u64);
        Ok(Samples { x, evaluations })
    }
}
