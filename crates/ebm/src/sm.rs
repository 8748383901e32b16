//! Score matching: the energy's slope is fitted to the score of the data, which nobody knows.
//!
//! ```text
//! J(θ) = E_data [½‖∇U‖² − ΔU] = ½ E_data ‖∇U + ∇log p*‖² − ½ E_data ‖∇log p*‖²
//! ```
//!
//! | `model.trace` | the loss per row                                                     | cost, passes       |
//! |---------------|----------------------------------------------------------------------|--------------------|
//! | `exact`       | `Σᵢ ½(eᵢ·∇U)² − eᵢᵀ∇²U eᵢ`                                            | `3D` forward       |
//! | `hutchinson`  | `½‖∇U‖² − mean_k vₖᵀ∇²U vₖ`                                           | `3k + 2`           |
//! | `sliced`      | `mean_k ½(vₖ·∇U)² − vₖᵀ∇²U vₖ`                                         | `3k`               |
//! | `difference`  | `mean_k D/ε² [⅛(U₊ − U₋)² − (U₊ + U₋ − 2U)]`, `U± = U(u ± ε vₖ/√D)`     | `2k + 1`           |
//!
//! | symbol | shape    | meaning                                                                        |
//! |--------|----------|--------------------------------------------------------------------------------|
//! | `u`    | `(b, D)` | standardised data, smoothed by `smoothing` where that is not 0                  |
//! | `v`    | `(b, D)` | independent signs (Rademacher): `E vvᵀ = I`, and the diagonal of ∇²U adds no noise |
//! | `k`    |          | directions per row, `model.slices`                                               |
//! | `ε`    |          | length of a finite difference, in standard deviations, `model.difference`         |
//!
//! The integration by parts behind the first line needs a density without jumps; data with sharp edges are matched in
//! their inside only. The loss sees no mass of separate modes: the score between them has no weight.
//!
//! Source: Hyvärinen (2005), "Estimation of non-normalized statistical models by score matching", Theorem 1; Song,
//! Garg, Shi & Ermon (2019), arXiv:1905.07088 (sliced; its variance-reduced form is `hutchinson`); Pang et al.
//! (2020), arXiv:2007.03317 (`difference`, with error O(ε²)); Carbone, "Hitchhiker's guide on energy-based models",
//! Eq. 49, where the trace lacks its factor 2.
//!
//! Departure: the curvature along a direction is carried forward through the layers rather than differentiated
//! backward twice, which gives the same number for fewer passes.

use genzoo_core::nn::Activation;
use genzoo_core::{
    DType, DataSpec, Entry, Error, Family, ModelInfo, Noise, ParamStore, Result, Scalars, Table, Tensor,
    config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use crate::neural::{SPACES, activation, recipe};
use crate::sampling_free::{self, Method, Potential, number};
use crate::settings::{count, positive};

/// Score matching in the registry.
pub const ENTRY: Entry = Entry {
    info: ScoreMatching::INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: sampling_free::build::<ScoreMatching>,
};

fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { trace = "hutchinson" slices = 1 difference = 0.1 }
    } else {
        toml! { trace = "exact" slices = 1 difference = 0.1 }
    };
    sampling_free::defaults(spec, own)
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, Table::new())
}

/// How the Laplacian is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trace {
    /// Along every axis.
    Exact,
    /// Along random directions, with the whole gradient.
    Hutchinson,
    /// Along random directions, gradient and all.
    Sliced,
    /// By differences of energies along random directions.
    Difference,
}

/// Beyond this many dimensions nobody means to ask for every axis.
const MOST_AXES: usize = 64;

/// The loss J.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ScoreMatching {
    pub(crate) trace: Trace,
    pub(crate) slices: usize,
    pub(crate) difference: f64,
    pub(crate) activation: String,
}

impl ScoreMatching {
    /// `J` at every row, `(b,)`.
    pub(crate) fn rows(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let (b, d) = u.dims2()?;
        if self.trace == Trace::Exact {
            let axes = Tensor::eye(d, u.dtype(), u.device())?.unsqueeze(1)?.broadcast_as((d, b, d))?;
            let jet = energy.jet(&rows::tile(u, d)?, &axes.reshape((d * b, d))?)?;
            let each = ((jet.first.sqr()? * 0.5)? - jet.curvature()?)?;
            return Ok(each.reshape((d, b))?.sum(0)?);
        }
        let k = self.slices;
        let (many, v) = (rows::tile(u, k)?, signs(k * b, u, noise)?);
        let each = match self.trace {
            Trace::Difference => return self.differences(energy, u, &v),
            Trace::Sliced => {
                let jet = energy.jet(&many, &v)?;
                ((jet.first.sqr()? * 0.5)? - jet.curvature()?)?
            }
            Trace::Exact | Trace::Hutchinson => energy.jet(&many, &v)?.curvature()?.neg()?,
        };
        let mean = each.reshape((k, b))?.mean(0)?;
        if self.trace == Trace::Sliced {
            return Ok(mean);
        }
        let (_, gradient) = energy.energy_and_gradient(u)?;
        Ok((mean + (rows::squared_norm(&gradient)? * 0.5)?)?)
    }

    fn differences(&self, energy: &dyn Potential, u: &Tensor, v: &Tensor) -> Result<Tensor> {
        let ((b, d), k) = (u.dims2()?, self.slices);
        let many = rows::tile(u, k)?;
        let shift = (v * (self.difference / (d as f64).sqrt()))?;
        let at = energy.energy(&Tensor::cat(&[&(&many + &shift)?, &(&many - &shift)?, u], 0)?)?;
        let (up, down) = (at.narrow(0, 0, k * b)?, at.narrow(0, k * b, k * b)?);
        let here = rows::tile(&at.narrow(0, 2 * k * b, b)?, k)?;
        let slope = ((&up - &down)?.sqr()? * 0.125)?;
        let curvature = ((&up - &here)? + (&down - &here)?)?;
        let each = ((slope - curvature)? * (d as f64 / self.difference.powi(2)))?;
        Ok(each.reshape((k, b))?.mean(0)?)
    }
}

/// Independent signs, `(n, D)`.
fn signs(n: usize, u: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    let d = u.dim(1)?;
    let half = noise.uniform((n, d), DType::F32, u.device())?;
    Ok(half.ge(0.5)?.to_dtype(u.dtype())?.affine(2.0, -1.0)?)
}

impl Method for ScoreMatching {
    const INFO: ModelInfo = ModelInfo {
        name: "sm",
        family: Family::Ebm,
        summary: "neural energy trained by score matching: exact, sliced or by differences",
        citation: "Hyvärinen (2005); Song et al. (2019), arXiv:1905.07088; Pang et al. (2020), arXiv:2007.03317",
    };

    fn new(table: &Table, spec: &DataSpec, _: &ParamStore) -> Result<Self> {
        let method: Self = config::read(table, "model")?;
        count("slices", method.slices, 4096)?;
        positive("difference", method.difference)?;
        if matches!(activation(&method.activation)?, Activation::Relu | Activation::LeakyRelu(_)) {
            let want = "a smooth one: score matching asks for second derivatives";
            return Err(Error::config("model.activation", want, method.activation));
        }
        let dims = crate::neural::dims(table, spec)?;
        if method.trace == Trace::Exact && dims > MOST_AXES {
            let want = format!("hutchinson, sliced or difference in {dims} dimensions");
            return Err(Error::config("model.trace", want, "exact"));
        }
        Ok(method)
    }

    fn loss(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let loss = self.rows(energy, u, noise)?.mean_all()?;
        let log = vec![("score", number(&loss)?)];
        Ok((loss, log))
    }
}

#[cfg(test)]
mod tests;
