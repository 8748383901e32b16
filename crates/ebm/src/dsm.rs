//! Denoising score matching at one scale of noise.
//!
//! ```text
//! ũ = u + σξ,  ξ ~ N(0, I)            J(θ) = ½ E ‖σ∇U(ũ) − ξ‖²
//! minimiser: ∇U(ũ) = E[ξ | ũ]/σ = −∇log (p* ∗ N(0, σ²I))(ũ)
//! ```
//!
//! | symbol | shape    | meaning                                            |
//! |--------|----------|----------------------------------------------------|
//! | `u`    | `(b, D)` | standardised data                                   |
//! | `σ`    |          | scale of the noise, in standard deviations of the data |
//!
//! What is learned is the density of the noised data, which costs likelihood on clean data: ⅛σ⁴ E(Δp*/p*)² nats where
//! p* is smooth, so ¼(σ/s)⁴ per dimension of a Gaussian of deviation s.
//!
//! Source: Vincent (2011), "A connection between score matching and denoising autoencoders"; Carbone,
//! "Hitchhiker's guide on energy-based models", §6, whose J is 2/σ² times this one.
//!
//! Departure: every row is noised by ξ and by −ξ. The term `ξ·∇U(u)`, which has mean zero and a variance that does not
//! fall with σ while the signal does, cancels between the two.

use genzoo_core::{
    DataSpec, Entry, Family, ModelInfo, Noise, ParamStore, Result, Scalars, Table, Tensor, config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use crate::neural::{SPACES, recipe};
use crate::sampling_free::{self, Method, Potential, number};
use crate::settings::positive;

/// Denoising score matching in the registry.
pub const ENTRY: Entry =
    Entry { info: Denoising::INFO, spaces: SPACES, defaults, tiny, build: sampling_free::build::<Denoising> };

fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { sigma = 0.3 }
    } else {
        toml! { sigma = 0.05 }
    };
    sampling_free::defaults(spec, own)
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, Table::new())
}

/// The loss J at scale σ.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Denoising {
    pub(crate) sigma: f64,
}

impl Denoising {
    /// `J` at every row and for both of its noises, `(2b,)`.
    pub(crate) fn rows(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let xi = noise.normal_like(u)?;
        let xi = Tensor::cat(&[&xi, &xi.neg()?], 0)?;
        let noised = (rows::tile(u, 2)? + (&xi * self.sigma)?)?;
        let (_, gradient) = energy.energy_and_gradient(&noised)?;
        let miss = ((gradient * self.sigma)? - xi)?;
        Ok((rows::squared_norm(&miss)? * 0.5)?)
    }
}

impl Method for Denoising {
    const INFO: ModelInfo = ModelInfo {
        name: "dsm",
        family: Family::Ebm,
        summary: "neural energy trained by denoising at one scale of noise",
        citation: "Vincent (2011), Neural Computation 23(7)",
    };

    fn new(table: &Table, _: &DataSpec, _: &ParamStore) -> Result<Self> {
        let method: Self = config::read(table, "model")?;
        positive("sigma", method.sigma)?;
        Ok(method)
    }

    fn loss(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let loss = self.rows(energy, u, noise)?.mean_all()?;
        // Half of D is what an energy without slope scores: what is missing from it is what was learned.
        let learned = 0.5 * u.dim(1)? as f64 - number(&loss)?;
        Ok((loss, vec![("explained", learned)]))
    }
}

#[cfg(test)]
mod tests;
