//! Restricted Boltzmann machines, trained on samples of themselves.
//!
//! ```text
//! U(v, h) = −ℓ(v) − c·h − φ(v)ᵀ W h,   p(v) = Σ_h e^{−U(v, h)} / Z = e^{−F(v)} / Z
//! −∇ E_data log p = E_data ∇F − E_p ∇F                 the second mean is taken over chains
//! ```
//!
//! One implementation, several models: they differ in where the chains of the second mean come from (`chains`) and in
//! what the visible units are (`units`), which follows from the data.
//!
//! | file        | what it holds                                                             |
//! |-------------|---------------------------------------------------------------------------|
//! | `units`     | binary, softmax and Gaussian visible units                                |
//! | `machine`   | energies, conditionals, block Gibbs, the path to independent units        |
//! | `averages`  | the path through averages of moments                                      |
//! | `exact`     | log Z by enumeration, pseudo-likelihood                                   |
//! | `gradient`  | the gradient by hand, centred, with penalties                             |
//! | `deep`      | a second hidden layer                                                     |
//! | `chains`    | contrastive divergence, persistent, with fast weights, tempered           |
//! | `tempering` | replicas that swap, on a ladder that settles                              |
//! | `encoding`  | data as visible states                                                    |
//! | `entries`   | the models and their recipes                                              |
//!
//! Source: Smolensky (1986); Hinton (2002), doi:10.1162/089976602760128018; Tieleman (2008), "Training restricted
//! Boltzmann machines using approximations to the likelihood gradient"; each file names its own.

mod averages;
mod chains;
mod deep;
mod density;
mod encoding;
mod entries;
mod exact;
mod gradient;
mod machine;
mod path;
mod sampler;
mod tempering;
mod units;

pub use averages::annealing_path;
pub use entries::{CD, CD25, DEEP, FAST, GAUSSIAN, PCD, POTTS, TEMPERED};
pub use exact::ENUMERABLE;
pub use machine::{Beta, Machine};
pub use units::Units;

use candle_nn::Init;
use genzoo_core::capability::Energy;
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Error, Model, ModelInfo, Noise, ParamStore,
    Result, Sampler, SamplerInfo, StateDict, Stream, Table, Tensor, Turn, Update, config,
};
use genzoo_kernels::sum_rows;
use genzoo_numerics::rows;
use serde::Deserialize;

use chains::{Chains, Settings};
use encoding::Encoding;
use gradient::{Centre, Penalties, gradient};

#[derive(Clone, Debug, Deserialize)]
struct Config {
    hidden: usize,
    /// Standard deviation of the couplings at the start.
    init: f64,
    centred: bool,
    #[serde(default)]
    levels: Option<usize>,
    /// Units of a second hidden layer.
    #[serde(default)]
    second: usize,
    /// Turns of mean field that complete a row of data, in training.
    #[serde(default)]
    mean_field: usize,
    #[serde(flatten)]
    chains: Settings,
    #[serde(flatten)]
    penalties: Penalties,
}

impl Config {
    fn check(&self) -> Result<()> {
        if !(1..=1 << 16).contains(&self.hidden) {
            return Err(Error::config("model.hidden", "an integer from 1 to 65536", self.hidden));
        }
        if self.second > 1 << 16 {
            return Err(Error::config("model.second", "an integer from 0 to 65536", self.second));
        }
        if self.second > 0 && !(1..=10_000).contains(&self.mean_field) {
            return Err(Error::config("model.mean_field", "an integer from 1 to 10000", self.mean_field));
        }
        if !(self.init >= 0.0 && self.init.is_finite()) {
            return Err(Error::config("model.init", "a number ≥ 0", self.init));
        }
        self.chains.check()?;
        self.penalties.check()
    }
}

/// A machine in training, or trained.
pub struct Rbm {
    info: &'static ModelInfo,
    spec: DataSpec,
    config: Config,
    params: ParamStore,
    encoding: Encoding,
    /// Biases of the independent units that the path starts from, `(D,)`: the log-odds of the data.
    base: Tensor,
    chains: Chains,
    centre: Option<Centre>,
}

impl Rbm {
    /// A machine for data of this kind, by the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work.
    pub fn new(
        info: &'static ModelInfo,
        table: &Table,
        spec: &DataSpec,
        params: ParamStore,
        noise: &Noise,
    ) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        config.check()?;
        let encoding = Encoding::new(spec, config.levels)?;
        let (d, h) = (encoding.units(spec) + config.second, config.hidden);
        let vb = params.group("main");
        vb.get_with_hints((d, h), "W", Init::Randn { mean: 0.0, stdev: config.init })?;
        vb.get_with_hints(d, "b_v", Init::Const(0.0))?;
        vb.get_with_hints(h, "b_h", Init::Const(0.0))?;
        if matches!(encoding, Encoding::Standardised(_)) {
            vb.get_with_hints(d, "log_variance", Init::Const(0.0))?;
        }
        let zeros = |n: usize| Tensor::zeros(n, params.dtype(), params.device());
        let centre = match config.centred {
            true => Some(Centre { visible: zeros(d)?, hidden: (zeros(h)? + 0.5)? }),
            false => None,
        };
        let base = zeros(d)?;
        let machine = machine(&params, &encoding, &base)?;
        let chains = Chains::new(&config.chains, &machine, &mut noise.fork("chains"))?;
        Ok(Self { info, spec: spec.clone(), config, params, encoding, base, chains, centre })
    }

    /// The machine as it stands, outside every graph.
    ///
    /// # Errors
    /// If a parameter is missing, which cannot be.
    pub fn machine(&self) -> Result<Machine> {
        machine(&self.params, &self.encoding, &self.base)
    }

    /// Rows of data as visible states of the machine; with a second hidden layer, completed by its means.
    fn states(&self, machine: &Machine, x: &Tensor, turns: usize) -> Result<Tensor> {
        let v = self.encoding.states(&x.to_dtype(machine.weights().dtype())?)?;
        match self.config.second {
            0 => Ok(v),
            second => Ok(Tensor::cat(&[&v, &deep::mean_field(machine, &v, second, turns)?], 1)?),
        }
    }

    /// Visible states of the machine as data.
    fn data(&self, v: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let v = v.narrow(1, 0, self.encoding.units(&self.spec))?.contiguous()?;
        self.encoding.data(&v, &self.spec, noise)
    }
}

fn machine(params: &ParamStore, encoding: &Encoding, base: &Tensor) -> Result<Machine> {
    let all: Vec<Tensor> = params.of_group("main").into_iter().map(|(_, v)| v.as_detached_tensor()).collect();
    let units = match (encoding, all.get(3)) {
        (Encoding::Standardised(_), Some(z)) => Units::Gaussian { log_variance: z.clone() },
        (Encoding::Levels { levels, .. }, _) => Units::Potts(*levels),
        _ => Units::Binary,
    };
    match &all[..] {
        [w, b, c, ..] => Machine::new(units, w, b, c)?.with_base(base),
        _ => Err(Error::data("parameters of the machine", "W, b_v and b_h", all.len())),
    }
}

/// A tensor of the model's state, of the shape and type of `like`.
fn saved(state: &StateDict, name: &str, like: &Tensor) -> Result<Tensor> {
    let found = state.get(name);
    let t = found.ok_or_else(|| Error::data("model state", format!("a tensor '{name}'"), "none"))?;
    if t.dims() != like.dims() {
        return Err(Error::data(name, format!("{:?}", like.dims()), format!("{:?}", t.dims())));
    }
    Ok(t.to_dtype(like.dtype())?.to_device(like.device())?)
}

impl Model for Rbm {
    fn info(&self) -> &ModelInfo {
        self.info
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = StateDict::from([("base".to_string(), self.base.copy()?)]);
        state.extend(self.encoding.state()?);
        state.extend(self.chains.state()?);
        if let Some(centre) = &self.centre {
            state.extend(centre.state()?);
        }
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.base = saved(&state, "base", &self.base)?;
        self.encoding.load(&state, &self.spec)?;
        self.chains.load(&state)?;
        if let Some(centre) = &mut self.centre {
            centre.load(&state)?;
        }
        Ok(())
    }

    /// Scaling and base rates by train rows; the machine starts as the base, and its chains as exact draws of it.
    fn prepare(&mut self, stream: &mut dyn Stream, noise: &mut Noise) -> Result<()> {
        let x = self.encoding.fit(&self.spec, stream)?;
        let v = self.encoding.states(&x.to_dtype(self.params.dtype())?)?;
        let n = v.dim(0)? as f64;
        let sums = rows::host(&sum_rows(&v.to_dtype(DType::F64)?)?)?;
        // One more of each outcome: a pixel that never was white may be.
        let mut rates: Vec<f64> = match &self.encoding {
            Encoding::Bits => sums.iter().map(|k| ((k + 1.0) / (n - k + 1.0)).ln()).collect(),
            Encoding::Levels { levels, .. } => {
                sums.iter().map(|k| ((k + 1.0) / (n + *levels as f64)).ln()).collect()
            }
            Encoding::Standardised(_) => vec![0.0; sums.len()],
        };
        rates.extend(vec![0.0; self.config.second]);
        let d = rates.len();
        self.base = Tensor::from_vec(rates, d, v.device())?.to_dtype(self.params.dtype())?;
        if let Some((_, bias)) = self.params.of_group("main").get(1) {
            bias.set(&self.base)?;
        }
        if let Some(centre) = &mut self.centre {
            let half = (Tensor::zeros(self.config.second, v.dtype(), v.device())? + 0.5)?;
            let mean = (sum_rows(&v)? * (1.0 / n))?;
            centre.visible = if self.config.second > 0 { Tensor::cat(&[mean, half], 0)? } else { mean };
        }
        self.chains = Chains::new(&self.config.chains, &self.machine()?, &mut noise.fork("chains"))?;
        Ok(())
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let machine = self.machine()?;
        let data = self.states(&machine, &batch.x, self.config.mean_field)?; // (B, D)
        let (model, mut log) = self.chains.advance(&machine, &data, &mut noise.fork("chains"))?; // (C, D)
        let g = gradient(&machine, &data, &model, self.centre.as_mut(), &self.config.penalties)?;
        self.chains.learn(&g)?;
        log.push(("gap", g.gap));
        let grads = [Some(g.weights), Some(g.visible), Some(g.hidden), g.log_variance];
        Ok(Update::Gradients { grads: grads.into_iter().flatten().collect(), log })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        sampler::infos(self.config.chains.is_persistent())
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        Ok(Box::new(sampler::Gibbs::new(self, name, options)?))
    }

    fn densities(&self) -> &[DensityInfo] {
        density::infos(self.machine().is_ok_and(|m| m.is_enumerable()))
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Ok(Box::new(density::Normalised::new(self, name, options, noise)?))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        match self.encoding {
            Encoding::Levels { .. } => Capabilities::default(),
            _ if self.config.second > 0 => Capabilities::default(),
            _ => Capabilities { energy: Some(self), ..Capabilities::default() },
        }
    }
}

/// `F` over data; a density of `x` differs from `e^{−F}` by a constant factor only. Bytes have no slope,
/// two hidden layers no closed form.
impl Energy for Rbm {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.machine()?.energy(&self.encoding.states(x)?)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, gradient) = self.machine()?.energy_and_gradient(&self.encoding.states(x)?)?;
        let gradient = match &self.encoding {
            Encoding::Standardised(scaling) => scaling.gradient(&gradient)?,
            _ => gradient,
        };
        Ok((energy, gradient.reshape(x.shape())?))
    }
}

#[cfg(test)]
mod tests;
