//! Noise-contrastive estimation: telling data from noise whose density is known, with log Z learned along.
//!
//! ```text
//! G(u) = −U(u) − c − log q(u) − log ν                  log-odds of data against ν noises per datum
//! J(θ, c) = −E_data log σ(G) − ν E_q log(1 − σ(G))     minimiser: −U − c = log p*, so c = log Z
//! q = N(0, I/κ),   or   q = α N(0, I/κ) + (1 − α)/K Σ_k N(c_k, w²I)
//! ```
//!
//! | symbol    | shape       | meaning                                                             |
//! |-----------|-------------|---------------------------------------------------------------------|
//! | `u`       | `(b, D)`    | standardised data                                                    |
//! | noises    | `(νb, D)`   | draws of `q`, fresh in every update                                  |
//! | `c`       |             | the learned log Z; held as `c₀ + D ζ`, `c₀` that of the base, so that one learning rate serves any `D` |
//! | `c_k`, `w`| `(K, D)`    | the mixture's centres, some train rows, and its width                 |
//! | `α`       |             | share of the base, so that noise reaches wherever the model could       |
//!
//! The base is the Gaussian fitted to the data and widened by `1/√κ`: noise from it covers the data, and it is also the
//! law of the confinement, so that `G = −f − Dζ − log ν` there. The likelihood `learned` takes `c` for log Z, with
//! no error of its own: nothing but the fit makes the density normalised. In many dimensions noise and data are told
//! apart without knowing the data well, and the loss teaches little; that is the method's limit, not this code's.
//!
//! Source: Gutmann & Hyvärinen (2012), "Noise-contrastive estimation of unnormalized statistical models";
//! Carbone, "Hitchhiker's guide on energy-based models", §6, whose log-odds lack c and log ν and whose J lacks its sign.

use candle_nn::Init;
use genzoo_core::math::{log_sum_exp, softplus};
use genzoo_core::{
    DataSpec, Density, DensityInfo, Entry, Error, Family, Kind, ModelInfo, Noise, ParamStore, Result,
    Scalars, StateDict, Stream, Table, Tensor, config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use crate::neural::density::{LogZ, Normalised};
use crate::neural::{self, NeuralEnergy, SPACES, recipe};
use crate::sampling_free::{self, Method, Potential, number};
use crate::settings::{count, positive, rule};

/// Noise-contrastive estimation in the registry.
pub const ENTRY: Entry =
    Entry { info: Contrast::INFO, spaces: SPACES, defaults, tiny, build: sampling_free::build::<Contrast> };

pub(crate) const LEARNED: &[DensityInfo] = &[DensityInfo {
    name: "learned",
    summary: "the log Z that training learned: normalised as far as the fit is good",
    defaults: Table::new,
}];

fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { noise = "mixture" ratio = 1 centres = 256 width = 0.5 base_share = 0.25 }
    } else {
        toml! { noise = "base" ratio = 2 centres = 256 width = 0.2 base_share = 0.5 }
    };
    sampling_free::defaults(spec, own)
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, toml! { centres = 16 })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Law {
    Base,
    Mixture,
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    noise: Law,
    ratio: usize,
    centres: usize,
    width: f64,
    base_share: f64,
    confinement: f64,
}

/// The learned log Z, `c = c₀ + D ζ`.
pub(crate) struct LearnedLogZ {
    dims: usize,
    /// `c₀ = log ∫ e^{−½κ‖u‖²} du`.
    pub(crate) of_base: f64,
    /// ζ, `(1,)`.
    per_dimension: Tensor,
}

impl LearnedLogZ {
    /// Starts at that of the base, with the parameter `main/log_z`.
    pub(crate) fn new(dims: usize, confinement: f64, params: &ParamStore) -> Result<Self> {
        let of_base = 0.5 * dims as f64 * (std::f64::consts::TAU / confinement).ln();
        let per_dimension = params.group("main").get_with_hints(1, "log_z", Init::Const(0.0))?;
        Ok(Self { dims, of_base, per_dimension })
    }

    /// `c`, `(1,)`, in the graph.
    fn tensor(&self) -> Result<Tensor> {
        Ok(self.per_dimension.affine(self.dims as f64, self.of_base)?)
    }

    /// `c`.
    pub(crate) fn value(&self) -> Result<f64> {
        number(&self.tensor()?.squeeze(0)?)
    }

    /// `G = −U − c − log q − log ν`, `(b,)`, at rows of this energy and this noise density.
    pub(crate) fn log_odds(&self, energy: &Tensor, log_noise: &Tensor, ratio: usize) -> Result<Tensor> {
        let shift = self.tensor()?.affine(-1.0, -(ratio as f64).ln())?;
        Ok((energy.neg()? - log_noise)?.broadcast_add(&shift)?)
    }

    /// The density that takes `c` for log Z.
    pub(crate) fn density<'a>(&self, energy: &'a NeuralEnergy, name: &str) -> Result<Box<dyn Density + 'a>> {
        let z = LogZ { log_z: self.value()?, standard_error: 0.0, tolerance: None, kind: Kind::Estimate };
        Ok(Box::new(Normalised::with(energy, name, z)))
    }
}

/// `J = −mean log σ(G) over data − ν mean log(1 − σ(G)) over noises`, where `odds` holds G at `b` rows of data and
/// `νb` noises behind them.
pub(crate) fn classification(odds: &Tensor, b: usize) -> Result<Tensor> {
    let noises = odds.dim(0)? - b;
    // −log σ(G) = softplus(−G) and −log(1 − σ(G)) = softplus(G).
    let on_data = softplus(&odds.narrow(0, 0, b)?.neg()?)?.mean_all()?;
    let on_noise = softplus(&odds.narrow(0, b, noises)?)?.mean_all()?;
    Ok((on_data + (on_noise * (noises as f64 / b as f64))?)?)
}

/// The loss J, its noise and its log Z.
pub(crate) struct Contrast {
    config: Config,
    dims: usize,
    log_z: LearnedLogZ,
    /// `c_k`, `(K, D)`; far from all data until they are taken from it.
    centres: Tensor,
}

impl Contrast {
    /// `log q`, `(b,)`.
    fn log_noise(&self, u: &Tensor) -> Result<Tensor> {
        let c = &self.config;
        let square = rows::squared_norm(u)?;
        let base = square.affine(-0.5 * c.confinement, -self.log_z.of_base)?;
        if c.noise == Law::Base {
            return Ok(base);
        }
        // ‖u − c_k‖² = ‖u‖² − 2 u·c_k + ‖c_k‖², (b, K)
        let cross = u.matmul(&self.centres.t()?)?;
        let own = rows::squared_norm(&self.centres)?.unsqueeze(0)?;
        let distance = (cross * -2.0)?.broadcast_add(&own)?.broadcast_add(&square.unsqueeze(1)?)?.relu()?;
        let normaliser = 0.5 * self.dims as f64 * (std::f64::consts::TAU * c.width * c.width).ln();
        let weight = ((1.0 - c.base_share) / c.centres as f64).ln();
        let around = distance.affine(-0.5 / (c.width * c.width), weight - normaliser)?;
        let base = base.affine(1.0, c.base_share.ln())?.unsqueeze(1)?;
        Ok(log_sum_exp(&Tensor::cat(&[&around, &base], 1)?)?)
    }

    /// `n` draws of `q`, in the dtype and on the device of `like`.
    fn draw(&self, n: usize, like: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let c = &self.config;
        let xi = noise.normal((n, self.dims), like.dtype(), like.device())?;
        let base = (&xi / c.confinement.sqrt())?;
        if c.noise == Law::Base {
            return Ok(base);
        }
        let index: Vec<u32> = noise.below(c.centres, n).into_iter().map(|k| k as u32).collect();
        let centres = self.centres.index_select(&Tensor::from_vec(index, n, like.device())?, 0)?;
        let around = (centres + (xi * c.width)?)?;
        let wide: Vec<u8> = noise.uniforms(n).into_iter().map(|p| u8::from(p < c.base_share)).collect();
        rows::select(&Tensor::from_vec(wide, n, like.device())?, &base, &around)
    }
}

impl Method for Contrast {
    const INFO: ModelInfo = ModelInfo {
        name: "nce",
        family: Family::Ebm,
        summary: "neural energy and its log Z trained to tell data from known noise",
        citation: "Gutmann & Hyvärinen (2012), JMLR 13",
    };

    fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        count("ratio", config.ratio, 4096)?;
        count("centres", config.centres, 4096)?;
        positive("width", config.width)?;
        let inside = config.base_share > 0.0 && config.base_share < 1.0;
        rule(inside, "base_share", "a number between 0 and 1, both excluded", config.base_share)?;
        let dims = neural::dims(table, spec)?;
        let log_z = LearnedLogZ::new(dims, config.confinement, params)?;
        let centres = Tensor::zeros((config.centres, dims), params.dtype(), params.device())?;
        Ok(Self { config, dims, log_z, centres })
    }

    fn prepare(&mut self, energy: &NeuralEnergy, stream: &mut dyn Stream, noise: &mut Noise) -> Result<()> {
        let u = energy.standardise(&stream.next(self.config.centres)?, noise)?;
        self.centres = u.detach();
        Ok(())
    }

    fn state(&self) -> Result<StateDict> {
        Ok(StateDict::from([("nce.centres".to_string(), self.centres.copy()?)]))
    }

    fn set_state(&mut self, state: &StateDict) -> Result<()> {
        let name = "nce.centres";
        let centres = state
            .get(name)
            .ok_or_else(|| Error::data("model state", format!("a tensor '{name}'"), "none"))?;
        if centres.dims() != self.centres.dims() {
            let want = format!("{:?}", self.centres.dims());
            return Err(Error::data(name, want, format!("{:?}", centres.dims())));
        }
        self.centres = centres.to_dtype(self.centres.dtype())?.to_device(self.centres.device())?;
        Ok(())
    }

    fn loss(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let (b, ratio) = (u.dim(0)?, self.config.ratio);
        let both = Tensor::cat(&[u, &self.draw(ratio * b, u, noise)?], 0)?;
        let odds = self.log_z.log_odds(&energy.energy(&both)?, &self.log_noise(&both)?, ratio)?;
        Ok((classification(&odds, b)?, vec![("log_z", self.log_z.value()?)]))
    }

    fn densities(&self) -> &'static [DensityInfo] {
        LEARNED
    }

    fn density<'a>(&'a self, energy: &'a NeuralEnergy, name: &str) -> Result<Box<dyn Density + 'a>> {
        self.log_z.density(energy, name)
    }
}

#[cfg(test)]
mod tests;
