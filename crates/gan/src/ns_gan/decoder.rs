//! The generator as a decoder of normal codes.
//!
//! ```text
//! binary pixels   x ~ Bernoulli(G(z)): the law its samples are drawn from
//! all else        x ~ N(G(z), I) by convention; a judge fits the noise
//! ```
//!
//! The likelihood of binary pixels uses the logits before `tanh`, which is `2σ(2·) − 1`: probabilities that round to 0 or
//! 1 do not become infinite surprises.

use candle_core::Var;
use genzoo_core::capability::Decoder;
use genzoo_core::math::{bce_with_logits_event, log_standard_normal};
use genzoo_core::{DType, Result, Tensor};

use super::NsGan;
use crate::networks::Generator;

impl NsGan {
    /// `log p(x|z)` in f64, as a graph towards `z`.
    fn log_prob(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let generator = &self.frozen.0;
        match generator {
            Generator::Conv(net) if self.spec.space.is_binary() => {
                let logits = (net.forward(z)? * 2.0)?;
                Ok(bce_with_logits_event(&wide(&logits)?, &wide(x)?)?.neg()?)
            }
            _ => {
                let made = self.unscale(&generator.forward(z)?)?;
                Ok(log_standard_normal(&(wide(x)? - wide(&made)?)?)?)
            }
        }
    }
}

impl Decoder for NsGan {
    fn latent_dim(&self) -> usize {
        self.config.latent
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.unscale(&self.frozen.0.forward(z)?)?.detach())
    }

    fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        Ok(self.log_prob(x, z)?.detach())
    }

    fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let z = Var::from_tensor(&z.detach())?;
        let value = self.log_prob(x, z.as_tensor())?;
        let grads = value.sum_all()?.backward()?;
        let gradient = grads.get(z.as_tensor()).map_or_else(|| z.zeros_like(), |g| Ok(g.detach()))?;
        Ok((value.detach(), gradient))
    }

    fn is_generator(&self) -> bool {
        !(self.spec.space.is_binary() && matches!(self.frozen.0, Generator::Conv(_)))
    }
}
