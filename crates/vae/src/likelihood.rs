//! `p(x|z)`: what a decoder's outputs mean, by the space of the data.
//!
//! ```text
//! Gaussian               log N(y; μ, diag e^{lv})     y standardised vectors
//! discretised logistic   Σ log P(k)                   bytes, outputs are all μ and then all raw log s
//! Bernoulli              Σ x log π + (1−x) log(1−π)   binary pixels, outputs are logits of π
//! ```
//!
//! Scales are learned outputs with a floor: without one, a single repeated value has an unbounded density.

use genzoo_core::math::{bce_with_logits_event, discretised_logistic_rows, log_normal, softplus};
use genzoo_core::{DType, Noise, Result, Space, Tensor};

use crate::logistic;

/// Smallest `log σ²` of the Gaussian: a deviation of 0.6 % of the data's own.
const LEAST_LOG_VARIANCE: f64 = -10.0;
/// Where the Gaussian's `log σ²` starts. A decoder that starts sharp pays for every code it cannot read; one that
/// starts blunt first learns to live without codes, and on toys often keeps to that.
const FIRST_LOG_VARIANCE: f64 = -5.0;
/// Smallest `log s` of the logistic: a fifth of a grey level.
const LEAST_LOG_SCALE: f64 = -7.0;

/// The family of `p(x|z)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likelihood {
    Gaussian,
    DiscretisedLogistic,
    Bernoulli,
}

impl Likelihood {
    pub(crate) fn of(space: Space) -> Self {
        match space {
            Space::Continuous => Self::Gaussian,
            Space::U8 => Self::DiscretisedLogistic,
            Space::BinaryStatic | Space::BinaryDynamic => Self::Bernoulli,
        }
    }

    /// Decoder outputs per dimension of the data.
    pub(crate) fn outputs(self) -> usize {
        match self {
            Self::Gaussian | Self::DiscretisedLogistic => 2,
            Self::Bernoulli => 1,
        }
    }

    /// What the likelihood is about, from scaled rows `(b, d)`: bytes for the logistic, else the rows.
    pub(crate) fn target(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::DiscretisedLogistic => logistic::bytes(x),
            Self::Gaussian | Self::Bernoulli => Ok(x.clone()),
        }
    }

    /// `log p(target|z)`, `(b,)` nats, from decoder outputs `(b, outputs·d)`.
    pub(crate) fn log_prob(self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gaussian => {
                let (mu, lv) = halves(output, FIRST_LOG_VARIANCE, LEAST_LOG_VARIANCE)?;
                Ok(log_normal(target, &mu, &lv)?)
            }
            Self::DiscretisedLogistic => Ok(discretised_logistic_rows(output, target, LEAST_LOG_SCALE)?),
            Self::Bernoulli => Ok(bce_with_logits_event(output, target)?.neg()?),
        }
    }

    /// The centre of `p(x|z)`, `(b, d)`: its mean; for the logistic its location, clamped to [0, 1].
    pub(crate) fn mean(self, output: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gaussian => halves(output, FIRST_LOG_VARIANCE, LEAST_LOG_VARIANCE)?.0,
            Self::DiscretisedLogistic => halves(output, 0.0, LEAST_LOG_SCALE)?.0.clamp(0.0, 1.0)?,
            Self::Bernoulli => softplus(&output.neg()?)?.neg()?.exp()?,
        })
    }

    /// A draw from `p(x|z)`, `(b, d)`, as the stream presents data: bytes as `(k + u)/256`.
    pub(crate) fn draw(self, output: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        Ok(match self {
            Self::Gaussian => {
                let (mu, lv) = halves(output, FIRST_LOG_VARIANCE, LEAST_LOG_VARIANCE)?;
                crate::gaussian::sample(&mu, &lv, noise)?
            }
            Self::DiscretisedLogistic => {
                let (mu, log_scale) = halves(output, 0.0, LEAST_LOG_SCALE)?;
                let k = logistic::draw(&mu, &log_scale, noise)?;
                (k + noise.uniform_like(&mu)?)?.affine(1.0 / 256.0, 0.0)?
            }
            Self::Bernoulli => {
                let p = self.mean(output)?.to_dtype(DType::F64)?;
                noise.bernoulli(&p)?.to_dtype(output.dtype())?
            }
        })
    }
}

/// Location and floored log-scale, `(b, d)` each. The floor is soft: `least + softplus(raw + first − least)`,
/// which is about `first` where the network's output is 0.
fn halves(output: &Tensor, first: f64, least: f64) -> Result<(Tensor, Tensor)> {
    let d = output.dim(1)? / 2;
    let raw = output.narrow(1, d, d)?.affine(1.0, first - least)?;
    Ok((output.narrow(1, 0, d)?.contiguous()?, softplus(&raw)?.affine(1.0, least)?))
}
