//! The fields that an interpolant on the linear path gives: velocity and score, in standardised coordinates.
//!
//! ```text
//! b(x, t) = v(x, t) + γ'(t) η(x, t),   v = E[x_1 − x_0 | x_t = x],   η = E[z | x_t = x]
//! s(x, t) = −η(x, t)/γ(t)                       with a bridge (γ > 0)
//! s(x, t) = −(x + (1 − t) b(x, t))/t            without, because the source is N(0, I)
//! ```
//!
//! The last line: x_t = (1 − t) x_0 + t x_1 with Gaussian x_1 has s = −E[x_1|x]/t, and E[x_1|x] = x + (1 − t) b.
//! Source: Albergo, Boffi & Vanden-Eijnden (2023), arXiv:2303.08797, Theorem 2.8 and §5.1, with time reversed.

use genzoo_core::capability::{Score, Velocity};
use genzoo_core::{Backbone, autograd};
use genzoo_core::{Result, Tensor};
use genzoo_numerics::rows;
use genzoo_numerics::schedule::LinearPath;

/// Times are kept this far from the ends where a formula divides by what vanishes there.
pub const MARGIN: f64 = 1e-3;

/// The conditional means that a network answers with: `v` and, on a bridge, `η`.
pub trait Means {
    /// `[v]` or `[v, η]` at `x (b, event…)` and `t (b,)`, each shaped like `x`.
    fn means(&self, x: &Tensor, t: &Tensor) -> Result<Vec<Tensor>>;

    /// `v` and `uᵀ ∂v/∂x`, detached.
    fn vjp(&self, x: &Tensor, t: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)>;
}

impl Means for Backbone {
    fn means(&self, x: &Tensor, t: &Tensor) -> Result<Vec<Tensor>> {
        self.forward(x, t)
    }

    fn vjp(&self, x: &Tensor, t: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        Backbone::vjp(self, x, t, u)
    }
}

/// Velocity and score from the means along a path.
pub struct Field<M> {
    /// The network, or a closed form in its place.
    pub means: M,
    /// The path.
    pub path: LinearPath,
}

impl<M: Means> Field<M> {
    /// Velocity and score from one evaluation of the means, detached.
    ///
    /// Times nearer than [`MARGIN`] to an end where a formula would divide by zero are answered at that distance.
    ///
    /// # Errors
    /// If the network fails.
    pub fn velocity_and_score(&self, x: &Tensor, t: &Tensor) -> Result<(Tensor, Tensor)> {
        let means = self.means.means(x, t)?;
        let b = self.drift(&means, t)?.detach();
        let s = match &means[..] {
            [_, eta, ..] => {
                let inverse = times(t, |t| -1.0 / self.path.gamma(t.clamp(MARGIN, 1.0 - MARGIN)))?;
                rows::scale(eta, &inverse)?
            }
            _ => {
                let noise = (x + rows::scale(&b, &times(t, |t| 1.0 - t)?)?)?; // E[x_1 | x]
                rows::scale(&noise, &times(t, |t| -1.0 / t.max(MARGIN))?)?
            }
        };
        Ok((b, s.detach()))
    }

    /// How much noise a stochastic sampler may add at `t`: it vanishes where the score grows without bound, so that
    /// their product stays finite. `t` without a bridge, `√(2t(1 − t))` on one.
    pub fn noise_strength(&self, t: f64) -> f64 {
        if self.path.has_bridge() { (2.0 * t * (1.0 - t)).max(0.0).sqrt() } else { t.max(0.0) }
    }

    /// `b`, differentiable in the means.
    fn drift(&self, means: &[Tensor], t: &Tensor) -> Result<Tensor> {
        match means {
            [v, eta, ..] => {
                let slope = times(t, |t| self.path.gamma_slope(t.clamp(MARGIN, 1.0 - MARGIN)))?;
                Ok((v + rows::scale(eta, &slope)?)?)
            }
            _ => Ok(means[0].clone()),
        }
    }
}

impl<M: Means> Velocity for Field<M> {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        Ok(self.drift(&self.means.means(x, t)?, t)?.detach())
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        if !self.path.has_bridge() {
            return self.means.vjp(x, t, v);
        }
        let drift = |x: &Tensor| {
            let b = self.means.means(x, t).and_then(|means| self.drift(&means, t));
            b.map_err(candle_core::Error::wrap)
        };
        Ok(autograd::input_vjp(drift, x, v)?)
    }
}

impl<M: Means> Score for Field<M> {
    fn score(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        Ok(self.velocity_and_score(x, t)?.1)
    }
}

/// `f` of every time, `(b,)` in the dtype of `t`.
fn times(t: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    let values = rows::host(t)?.into_iter().map(f).collect();
    Ok(rows::tensor(values, t.device())?.to_dtype(t.dtype())?)
}
