//! What visible units are.
//!
//! ```text
//! U(v, h) = −ℓ(v) − c·h − φ(v)ᵀ W h,   h ∈ {0, 1}^H
//! ```
//!
//! | units    | state v                                  | ℓ(v)               | φ(v)  | law given the field a = b + W h |
//! |----------|------------------------------------------|--------------------|-------|---------------------------------|
//! | binary   | `{0, 1}^D`                               | `b·v`              | `v`   | `P(v_i = 1) = σ(a_i)`           |
//! | Potts    | sites of L levels, one-hot: D = sites · L | `b·v`              | `v`   | softmax of a over each site     |
//! | Gaussian | `R^D`                                    | `−Σ (v − b)²/2σ²`  | `v/σ²`| `N(a_i, σ_i²)`                  |
//!
//! Source: Smolensky (1986) and Hinton (2002) for binary units; Salakhutdinov, Mnih & Hinton (2007) for softmax units;
//! Cho, Ilin & Raiko (2011), "Improved learning of Gaussian–Bernoulli restricted Boltzmann machines", Eq. 3, for the
//! Gaussian ones, whose variance is learned as `z = log σ²`.

use genzoo_core::math::{self, HALF_LOG_TAU};
use genzoo_core::{DType, Noise, Result, Tensor};
use genzoo_kernels::{softmax, sum_rows};
use genzoo_numerics::rows;

/// The kind of the visible units.
#[derive(Clone, Debug)]
pub enum Units {
    /// 0 or 1.
    Binary,
    /// One of so many levels, written as one 1 among zeros.
    Potts(usize),
    /// Real numbers.
    Gaussian {
        /// `z = log σ²`, `(D,)`.
        log_variance: Tensor,
    },
}

impl Units {
    /// φ(v), `(n, D)`.
    pub(super) fn features(&self, v: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gaussian { log_variance } => Ok(v.broadcast_mul(&log_variance.neg()?.exp()?)?),
            _ => Ok(v.clone()),
        }
    }

    /// ℓ(v) under biases `b`, `(D,)`: `(n, D) → (n, 1)`.
    pub(super) fn log_weight(&self, v: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gaussian { log_variance } => {
                let precision = log_variance.neg()?.exp()?.unsqueeze(1)?;
                Ok((v.broadcast_sub(b)?.sqr()?.matmul(&precision)? * -0.5)?)
            }
            _ => Ok(v.matmul(&b.unsqueeze(1)?)?),
        }
    }

    /// `log Σ_v e^{ℓ(v) + (a − b)·φ(v)}`, an integral for Gaussian units: the log-partition of the visible layer in the field
    /// a. `(n, D) → (n,)`.
    pub(super) fn log_partition(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let n = a.dim(0)?;
        match self {
            Self::Binary => Ok(math::softplus(a)?.sum(1)?),
            Self::Potts(levels) => Ok(math::log_sum_exp(&a.reshape((n, (), *levels))?)?.sum(1)?),
            Self::Gaussian { log_variance: z } => {
                // ∫ exp(−(v − b)²/2σ² + v (a − b)/σ²) dv = √(2πσ²) exp((a² − b²)/2σ²)
                let precision = (z.neg()?.exp()?.unsqueeze(1)? * 0.5)?;
                let squares = a.sqr()?.broadcast_sub(&b.sqr()?)?.matmul(&precision)?.squeeze(1)?;
                let volume = ((z.sum_all()? * 0.5)? + z.elem_count() as f64 * HALF_LOG_TAU)?;
                Ok(squares.broadcast_add(&volume)?)
            }
        }
    }

    /// The gradient of a loss by z. The loss depends on `−s_n ℓ(v_n)`, `s` `(n, 1)`, and on the fields of the hidden units;
    /// `pull`, `(n, D)`, is W times its slope by those fields. Nothing for units without a variance.
    ///
    /// ```text
    /// ∂L/∂z_i = −Σ_n [½ s_n (v_i − b_i)² + v_i pull_i]/σ_i²
    /// ```
    pub(super) fn variance_gradient(
        &self,
        v: &Tensor,
        s: &Tensor,
        b: &Tensor,
        pull: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        let Self::Gaussian { log_variance } = self else { return Ok(None) };
        let squares = v.broadcast_sub(b)?.sqr()?.broadcast_mul(s)?;
        let inner = ((v * pull()?)? + (squares * 0.5)?)?;
        Ok(Some((sum_rows(&inner)? * log_variance.neg()?.exp()?)?.neg()?))
    }

    /// Draws of discrete units with these fields, `(n, D)`.
    pub(super) fn draw_discrete(&self, fields: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        match self {
            Self::Potts(levels) => draw_levels(fields, *levels, noise),
            _ => noise.bernoulli(&math::sigmoid(fields)?),
        }
    }

    /// In another float type.
    pub(super) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(match self {
            Self::Gaussian { log_variance } => Self::Gaussian { log_variance: log_variance.to_dtype(dtype)? },
            other => other.clone(),
        })
    }
}

/// One level of each site, one-hot, with the probabilities softmax(fields): one uniform per site.
fn draw_levels(fields: &Tensor, levels: usize, noise: &mut Noise) -> Result<Tensor> {
    let (n, d) = fields.dims2()?;
    let p = rows::host(&softmax(&fields.reshape((n * d / levels, levels))?)?)?;
    let mut drawn = vec![0.0; n * d];
    let sites = p.chunks(levels).zip(drawn.chunks_mut(levels));
    for ((p, drawn), u) in sites.zip(noise.uniforms(n * d / levels)) {
        let mut rest = u;
        let level = p.iter().position(|p| {
            rest -= p;
            rest < 0.0
        });
        // Round-off may leave a little over: the last level takes it.
        drawn[level.unwrap_or(levels - 1)] = 1.0;
    }
    Ok(Tensor::from_vec(drawn, (n, d), fields.device())?.to_dtype(fields.dtype())?)
}
