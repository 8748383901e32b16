//! Energy discrepancy: the energy's mean on data against that of its own smoothing on noised data.
//!
//! ```text
//! ED(θ) = E_data U(u) − E U_t(y),   y = u + √t ξ,   U_t(y) = −log E e^{−U(y + √t ξ')}
//!       ≈ E_data log( w/M + (1/M) Σⱼ e^{U(u) − U(u + √t (ξ + ξ'ⱼ))} )
//! ```
//!
//! | symbol | shape      | meaning                                                                  |
//! |--------|------------|--------------------------------------------------------------------------|
//! | `u`    | `(b, D)`   | standardised data                                                         |
//! | `t`    |            | variance of the noise, in standard deviations squared, `model.time`        |
//! | `M`    |            | noised neighbours per row, `model.neighbours`                              |
//! | `w`    |            | weight of the row itself among them, `model.stabilisation`; 0 is the formula above |
//!
//! It lies between two losses: `ED = ½∫₀ᵗ E_{p_s}‖∇log p_s + ∇U_s‖² ds` up to a constant, so `ED/t` tends to score
//! matching's `½‖∇U‖² − ΔU` as `t → 0`, and differences of ED tend to those of the Kullback–Leibler divergence as
//! `t → ∞`. Neither score nor chain is needed. Finite M understates `E U_t` by about `Var/(2M)`; `w > 0` bounds the
//! loss from below where no neighbour has a low energy.
//!
//! Source: Schröder, Ou, Lim, Li, Vollmer & Duncan (2023), "Energy discrepancies: a score-independent loss for
//! energy-based models", arXiv:2307.06431.

use genzoo_core::math::log_sum_exp;
use genzoo_core::{
    DataSpec, Entry, Family, ModelInfo, Noise, ParamStore, Result, Scalars, Table, Tensor, config,
};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use crate::neural::{SPACES, recipe};
use crate::sampling_free::{self, Method, Potential, number};
use crate::settings::{count, not_negative, positive};

/// Energy discrepancy in the registry.
pub const ENTRY: Entry = Entry {
    info: Discrepancy::INFO,
    spaces: SPACES,
    defaults,
    tiny,
    build: sampling_free::build::<Discrepancy>,
};

fn defaults(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { time = 0.1 neighbours = 8 stabilisation = 1.0 }
    } else {
        toml! { time = 0.25 neighbours = 8 stabilisation = 1.0 }
    };
    sampling_free::defaults(spec, own)
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, toml! { neighbours = 4 })
}

/// The loss.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Discrepancy {
    pub(crate) time: f64,
    pub(crate) neighbours: usize,
    pub(crate) stabilisation: f64,
}

impl Discrepancy {
    /// `log(w/M + (1/M) Σⱼ e^{…})` at every row, `(b,)`.
    pub(crate) fn rows(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let ((b, _), m) = (u.dims2()?, self.neighbours);
        let away = (u + (noise.normal_like(u)? * self.time.sqrt())?)?;
        let near = rows::tile(&away, m)?;
        let near = (&near + (noise.normal_like(&near)? * self.time.sqrt())?)?;
        let at = energy.energy(&Tensor::cat(&[u, &near], 0)?)?;
        let own = at.narrow(0, 0, b)?.unsqueeze(1)?;
        let others = at.narrow(0, b, m * b)?.reshape((m, b))?.t()?;
        let mut gaps = own.broadcast_sub(&others)?; // (b, M)
        if self.stabilisation > 0.0 {
            let weight = Tensor::full(self.stabilisation.ln(), (b, 1), u.device())?.to_dtype(u.dtype())?;
            gaps = Tensor::cat(&[&gaps, &weight], 1)?;
        }
        Ok(log_sum_exp(&gaps.contiguous()?)?.affine(1.0, -(m as f64).ln())?)
    }
}

impl Method for Discrepancy {
    const INFO: ModelInfo = ModelInfo {
        name: "energy-discrepancy",
        family: Family::Ebm,
        summary: "neural energy trained against its own smoothing on noised data",
        citation: "Schröder et al. (2023), arXiv:2307.06431",
    };

    fn new(table: &Table, _: &DataSpec, _: &ParamStore) -> Result<Self> {
        let m: Self = config::read(table, "model")?;
        positive("time", m.time)?;
        count("neighbours", m.neighbours, 4096)?;
        not_negative("stabilisation", m.stabilisation)?;
        Ok(m)
    }

    fn loss(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let loss = self.rows(energy, u, noise)?.mean_all()?;
        let log = vec![("discrepancy", number(&loss)?)];
        Ok((loss, log))
    }
}

#[cfg(test)]
mod tests;
