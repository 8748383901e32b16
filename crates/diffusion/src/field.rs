//! Everything a variance-preserving diffusion knows of its data, from one prediction.
//!
//! ```text
//! x = cos φ x_0 + sin φ ε                          α = cos φ, σ = sin φ: noise is an angle, 0 at data, π/2 at noise
//! F(x, φ) = E[dx/dφ | x] = E[cos φ ε − sin φ x_0 | x]
//! E[ε | x]   = sin φ x + cos φ F                   the predicted noise
//! E[x_0 | x] = cos φ x − sin φ F                   the denoised data
//! ∇ log p(x) = −E[ε | x]/sin φ                     the score
//! dx/dφ = F                                        the probability flow
//! ```
//!
//! A network that answers with F is a noise predictor whose known part, sin φ x, is taken out: for standardised
//! data F is of order 1 at every φ, and the flow has no singularity at either end.
//! Source: Song et al. (2021), arXiv:2011.13456, Eq. 13; Salimans & Ho (2022), arXiv:2202.00512, §4 and appendix D
//! (F is their v, φ their angle).

use std::f64::consts::FRAC_PI_2;

use genzoo_core::Backbone;
use genzoo_core::capability::{Score, Velocity};
use genzoo_core::{Result, Tensor};
use genzoo_numerics::rows;
use genzoo_numerics::schedule::VariancePreserving;

/// Earliest time at which a formula that divides by σ or its slope is answered.
pub const MARGIN: f64 = 1e-3;

/// The prediction `F`.
pub trait Rotation {
    /// `F` at `x (b, event…)` and `turn (b,)`, the angle in units of π/2; shaped like `x`.
    fn rotation(&self, x: &Tensor, turn: &Tensor) -> Result<Tensor>;

    /// `F` and `vᵀ ∂F/∂x`, detached.
    fn vjp(&self, x: &Tensor, turn: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)>;
}

impl Rotation for Backbone {
    fn rotation(&self, x: &Tensor, turn: &Tensor) -> Result<Tensor> {
        Ok(self.forward(x, turn)?.swap_remove(0))
    }

    fn vjp(&self, x: &Tensor, turn: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        Backbone::vjp(self, x, turn, v)
    }
}

/// The angle at time `t` in units of π/2: `(2/π) atan(σ/α)`, in [0, 1].
pub fn turn(schedule: &VariancePreserving, t: f64) -> f64 {
    schedule.sigma(t).atan2(schedule.alpha(t)) / FRAC_PI_2
}

/// Predicted noise and denoised data.
pub struct Prediction {
    /// `E[ε | x_t]`.
    pub noise: Tensor,
    /// `E[x_0 | x_t]`.
    pub data: Tensor,
}

/// The predictions of a network under a schedule, in standardised coordinates and in the schedule's time.
pub struct Field<M> {
    /// The network, or a closed form in its place.
    pub rotation: M,
    /// Noise over time.
    pub schedule: VariancePreserving,
}

impl<M: Rotation> Field<M> {
    /// Noise and data at `x (b, event…)`, all rows at time `t`, detached. One evaluation.
    ///
    /// # Errors
    /// If the network fails.
    pub fn predict(&self, x: &Tensor, t: f64) -> Result<Prediction> {
        let f = self.rotation.rotation(x, &rows::time(turn(&self.schedule, t), x)?)?.detach();
        let (alpha, sigma) = (self.schedule.alpha(t), self.schedule.sigma(t));
        Ok(Prediction { noise: ((x * sigma)? + (&f * alpha)?)?, data: ((x * alpha)? - (&f * sigma)?)? })
    }

    /// `f` of every time, `(b,)` in the dtype of `t`.
    fn times(&self, t: &Tensor, f: impl Fn(&VariancePreserving, f64) -> f64) -> Result<Tensor> {
        let values = rows::host(t)?.into_iter().map(|t| f(&self.schedule, t)).collect();
        Ok(rows::tensor(values, t.device())?.to_dtype(t.dtype())?)
    }

    /// `dφ/dt = ½ β α/σ` in radians, since `α = cos φ` and `α' = −½ β α`; before [`MARGIN`], where it may be
    /// infinite, its value there.
    fn slope(&self, t: &Tensor) -> Result<Tensor> {
        self.times(t, |schedule, t| {
            let t = t.max(MARGIN);
            0.5 * schedule.beta(t) * schedule.alpha(t) / schedule.sigma(t)
        })
    }
}

/// The probability flow in the schedule's time, `dx/dt = F dφ/dt`.
impl<M: Rotation> Velocity for Field<M> {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        let f = self.rotation.rotation(x, &self.times(t, turn)?)?.detach();
        rows::scale(&f, &self.slope(t)?)
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (f, product) = self.rotation.vjp(x, &self.times(t, turn)?, v)?;
        let slope = self.slope(t)?;
        Ok((rows::scale(&f, &slope)?, rows::scale(&product, &slope)?))
    }
}

/// Times before [`MARGIN`] are answered there: the score may grow without bound.
impl<M: Rotation> Score for Field<M> {
    fn score(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        let t = self.times(t, |_, t| t.max(MARGIN))?;
        let f = self.rotation.rotation(x, &self.times(&t, turn)?)?.detach();
        let cot = self.times(&t, |schedule, t| -schedule.alpha(t) / schedule.sigma(t))?;
        Ok((rows::scale(&f, &cot)? - x)?)
    }
}

/// The probability flow with the angle, in units of π/2, as its time: regular at both ends.
pub struct AngleFlow<M>(pub M);

impl<M: Rotation> Velocity for AngleFlow<M> {
    fn velocity(&self, x: &Tensor, turn: &Tensor) -> Result<Tensor> {
        Ok((self.0.rotation(x, turn)?.detach() * FRAC_PI_2)?)
    }

    fn velocity_vjp(&self, x: &Tensor, turn: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (f, product) = self.0.vjp(x, turn, v)?;
        Ok(((f * FRAC_PI_2)?, (product * FRAC_PI_2)?))
    }
}
