//! One step back in time, from t to s < t, given the predicted noise and data at t.
//!
//! ```text
//! DDPM   x_s ~ N( (a σ_s²/σ_t²) x_t + (α_s v/σ_t²) x̂_0,  v σ_s²/σ_t² ),     a = α_t/α_s,  v = 1 − a²
//! DDIM   x_s = α_s x̂_0 + √(σ_s² − c²) ε̂ + c ξ,                             c = η (σ_s/σ_t) √(1 − α_t²/α_s²)
//! ```
//!
//! DDPM's is the posterior q(x_s | x_t, x_0) at x_0 = x̂_0; DDIM with η = 1 is the same step, with η = 0 it is
//! deterministic.
//! Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, Eq. 6–7; Song, Meng & Ermon (2021), arXiv:2010.02502,
//! Eq. 12 and 16.

use genzoo_core::{Result, Tensor};
use genzoo_numerics::schedule::VariancePreserving;

use crate::field::Prediction;

/// A step from `t` to `s`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    alpha_t: f64,
    sigma_t: f64,
    alpha_s: f64,
    sigma_s: f64,
}

impl Step {
    /// The coefficients of a schedule at both times, `t > s`.
    pub fn between(schedule: &VariancePreserving, t: f64, s: f64) -> Self {
        Self {
            alpha_t: schedule.alpha(t),
            sigma_t: schedule.sigma(t),
            alpha_s: schedule.alpha(s),
            sigma_s: schedule.sigma(s),
        }
    }

    /// DDPM's draw from the posterior, with `xi` standard normal.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn ancestral(&self, x: &Tensor, prediction: &Prediction, xi: &Tensor) -> Result<Tensor> {
        let ratio = self.alpha_t / self.alpha_s;
        let fresh = 1.0 - ratio * ratio; // variance added between s and t
        let shrink = (self.sigma_s / self.sigma_t).powi(2);
        let mean =
            ((x * (ratio * shrink))? + (&prediction.data * (self.alpha_s * fresh / self.sigma_t.powi(2)))?)?;
        Ok((mean + (xi * (fresh * shrink).sqrt())?)?)
    }

    /// DDIM's step; `xi` is not needed where `eta` is 0.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn ddim(&self, prediction: &Prediction, eta: f64, xi: Option<&Tensor>) -> Result<Tensor> {
        let fresh = (1.0 - (self.alpha_t / self.alpha_s).powi(2)).max(0.0).sqrt();
        let c = eta * self.sigma_s / self.sigma_t * fresh;
        let kept = (self.sigma_s.powi(2) - c * c).max(0.0).sqrt();
        let mean = ((&prediction.data * self.alpha_s)? + (&prediction.noise * kept)?)?;
        Ok(match xi {
            Some(xi) => (mean + (xi * c)?)?,
            None => mean,
        })
    }
}
