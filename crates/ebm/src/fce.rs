//! Flow-contrastive estimation: the noise that data are told from is a normalizing flow that learns as well.
//!
//! ```text
//! G(u) = −U(u) − c − log q(u) − log ν                    log-odds of data against ν noises per datum
//! V(θ, c, α) = E_data log σ(G) + ν E_q log(1 − σ(G))     the energy raises V, the flow lowers it
//! q: u = g_α(z),  z ~ N(0, I),   log q(u) = log N(z) − log|det ∂g/∂z|
//! ```
//!
//! | symbol    | shape       | meaning                                                                  |
//! |-----------|-------------|--------------------------------------------------------------------------|
//! | `u`       | `(b, D)`    | standardised data                                                        |
//! | `U`, `c`  | `(b,)`      | the neural energy and its learned log Z (group `main`)                   |
//! | `g_α`     |             | affine couplings (group `noise`), at first the identity                  |
//!
//! For any flow that reaches all of space the best energy is the normalised `−log p* − c`: the flow decides how much a
//! draw teaches, never what is right. Noise close to the data teaches most. The flow's turn is either `contrast`, a
//! step down in V along noises that move with the flow, which brings `q` towards the data in Jensen-Shannon divergence
//! once the energy is good; or `likelihood`, a step up in `E_data log q`, which does not depend on the energy at all.
//!
//! Source: Gao, Nijkamp, Kingma, Xu, Dai & Wu (2020), "Flow contrastive estimation of energy-based models",
//! arXiv:1912.00589. There the flow starts from a trained one; here it starts as a normal law fitted to the data.

use genzoo_core::capability::Energy;
use genzoo_core::math::log_standard_normal;
use genzoo_core::nn::{Couplings, CouplingsConfig};
use genzoo_core::{
    DataSpec, Density, DensityInfo, Entry, Error, Family, ModelInfo, Noise, ParamStore, Result, Scalars,
    Space, Table, Tensor, Turn, config,
};
use serde::Deserialize;
use toml::toml;

use crate::nce::{LEARNED, LearnedLogZ, classification};
use crate::neural::{Landscape, NeuralEnergy, recipe};
use crate::sampling_free::{self, Method, Potential, number};
use crate::settings::{count, rule};

/// Flow-contrastive estimation in the registry.
pub const ENTRY: Entry = Entry {
    info: FlowContrast::INFO,
    spaces: &[Space::Continuous],
    defaults,
    tiny,
    build: sampling_free::build::<FlowContrast>,
};

fn defaults(spec: &DataSpec) -> Table {
    let own = toml! {
        ratio = 1
        noise_loss = "contrast"
        couplings = 6
        noise_hidden = 64
        noise_layers = 2
        bound = 2.0
    };
    sampling_free::defaults(spec, own)
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, toml! { couplings = 2 noise_hidden = 8 })
}

/// What moves the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NoiseLoss {
    Contrast,
    Likelihood,
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    ratio: usize,
    noise_loss: NoiseLoss,
    couplings: usize,
    noise_hidden: usize,
    noise_layers: usize,
    bound: f64,
    confinement: f64,
}

/// The two losses, the flow and log Z.
pub(crate) struct FlowContrast {
    config: Config,
    dims: usize,
    log_z: LearnedLogZ,
    flow: Couplings,
}

/// `log q`, `(b,)`.
fn log_density(flow: &Couplings, u: &Tensor) -> Result<Tensor> {
    let (z, ladj) = flow.to_latent(u)?;
    Ok((log_standard_normal(&z)? + ladj)?)
}

impl FlowContrast {
    /// Data and as many noises as they call for, and `log q` of all of them.
    fn rows(&self, flow: &Couplings, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
        let z = noise.normal((self.config.ratio * u.dim(0)?, self.dims), u.dtype(), u.device())?;
        let (noises, ladj) = flow.to_data(&z)?;
        let of_noises = (log_standard_normal(&z)? - ladj)?;
        let log_q = Tensor::cat(&[log_density(flow, u)?, of_noises], 0)?;
        Ok((Tensor::cat(&[u, &noises], 0)?, log_q))
    }

    /// `−V` for this energy and this flow.
    fn minus_value(
        &self,
        energy: &dyn Energy,
        flow: &Couplings,
        u: &Tensor,
        noise: &mut Noise,
    ) -> Result<Tensor> {
        let (both, log_q) = self.rows(flow, u, noise)?;
        let odds = self.log_z.log_odds(&energy.energy(&both)?, &log_q, self.config.ratio)?;
        classification(&odds, u.dim(0)?)
    }
}

impl Method for FlowContrast {
    const INFO: ModelInfo = ModelInfo {
        name: "fce",
        family: Family::Ebm,
        summary: "neural energy and its log Z trained to tell data from a flow that learns to deceive it",
        citation: "Gao et al. (2020), arXiv:1912.00589",
    };

    fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        let c = &config;
        for (key, value) in [
            ("ratio", c.ratio),
            ("couplings", c.couplings),
            ("noise_hidden", c.noise_hidden),
            ("noise_layers", c.noise_layers),
        ] {
            count(key, value, 4096)?;
        }
        rule(c.bound > 0.0 && c.bound <= 20.0, "bound", "a number in (0, 20]", c.bound)?;
        let dims = crate::neural::dims(table, spec)?;
        if dims < 2 {
            return Err(Error::Unsupported(
                "the flow of fce couples two halves of the dimensions; these data have only one, use nce"
                    .into(),
            ));
        }
        let sizes = CouplingsConfig {
            dims,
            couplings: c.couplings,
            hidden: c.noise_hidden,
            layers: c.noise_layers,
            bound: c.bound,
        };
        let flow = Couplings::new(&sizes, &params.group("noise"))?;
        let log_z = LearnedLogZ::new(dims, c.confinement, params)?;
        Ok(Self { config, dims, log_z, flow })
    }

    fn turns(&self) -> Vec<Turn> {
        vec![Turn::mini("noise"), Turn::mini("main")]
    }

    fn loss(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let loss = self.minus_value(energy, &self.flow.frozen(), u, noise)?;
        Ok((loss, vec![("log_z", self.log_z.value()?)]))
    }

    fn own_loss(&self, energy: &Landscape, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let loss = match self.config.noise_loss {
            NoiseLoss::Contrast => self.minus_value(energy, &self.flow, u, noise)?.neg()?,
            NoiseLoss::Likelihood => log_density(&self.flow, u)?.mean_all()?.neg()?,
        };
        let log = vec![("noise_loss", number(&loss)?)];
        Ok((loss, log))
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
