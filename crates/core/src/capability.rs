//! What a trained model can do, seen from outside its family.
//!
//! Families implement these small traits; `numerics` and `lab` use them. All take rows first, `(b, event…)`,
//! return detached tensors and draw from the `Noise` they are given.

use crate::{Noise, Result, Tensor};

/// An unnormalised density `p(x) ∝ exp(−U(x))`.
pub trait Energy {
    /// `U(x)`, `(b,)`, in nats.
    fn energy(&self, x: &Tensor) -> Result<Tensor>;
    /// `U(x)`, `(b,)`, and `∇ₓU`, shaped like `x`.
    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// The score `∇ₓ log p_t(x)` of the data noised to time `t` (`t = 0` is data).
pub trait Score {
    /// The score at `x`, with `t` of shape `(b,)`; shaped like `x`.
    fn score(&self, x: &Tensor, t: &Tensor) -> Result<Tensor>;
}

/// A velocity field: `dx/dt = v(x, t)` carries data (`t = 0`) to noise (`t = 1`) and back.
pub trait Velocity {
    /// The velocity at `x`, with `t` of shape `(b,)`; shaped like `x`.
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor>;
    /// The velocity and the vector–Jacobian product `vᵀ ∂velocity/∂x`, both shaped like `x`.
    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// An invertible map between latents `z` and data `x`, with log-determinants.
pub trait Bijector {
    /// Data to latent: `z` and `log |det ∂z/∂x|`, `(b,)`.
    fn inverse_and_ladj(&self, x: &Tensor) -> Result<(Tensor, Tensor)>;
    /// Latent to data: `x` and `log |det ∂x/∂z|`, `(b,)`.
    fn forward_and_ladj(&self, z: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// A latent-variable likelihood `p(x | z)` with prior `z ~ N(0, I)`.
pub trait Decoder {
    /// Dimension of `z`.
    fn latent_dim(&self) -> usize;
    /// The mean of `p(x | z)`, shaped like the data.
    fn decode(&self, z: &Tensor) -> Result<Tensor>;
    /// `log p(x | z)`, `(b,)` nats.
    fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor>;
    /// `log p(x | z)` and its gradient with respect to `z`.
    fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)>;
    /// Whether there is no likelihood but this one by convention: `p(x | z) = N(decode(z), I)` in the scale of the data.
    /// A judge then fits the noise's own deviation.
    fn is_generator(&self) -> bool {
        false
    }
}

/// An approximate posterior `q(z | x)`.
pub trait Encoder {
    /// A draw `z`, `(b, k)`, and `log q(z | x)`, `(b,)` nats.
    fn sample_and_log_q(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)>;
}

/// A function that tells data from samples; higher means more like data.
pub trait Critic {
    /// The critic's value (a logit or a score), `(b,)`.
    fn critic(&self, x: &Tensor) -> Result<Tensor>;
}

/// What a model offers to others; each absent piece is `None`.
#[derive(Default)]
pub struct Capabilities<'a> {
    /// An unnormalised density.
    pub energy: Option<&'a dyn Energy>,
    /// A time-dependent score.
    pub score: Option<&'a dyn Score>,
    /// A velocity field.
    pub velocity: Option<&'a dyn Velocity>,
    /// An invertible map.
    pub bijector: Option<&'a dyn Bijector>,
    /// A latent-variable likelihood.
    pub decoder: Option<&'a dyn Decoder>,
    /// An approximate posterior.
    pub encoder: Option<&'a dyn Encoder>,
    /// A critic.
    pub critic: Option<&'a dyn Critic>,
}
