//! Layers and small networks that two families share, on the kernels' fused operations.
//!
//! Layers take their weights from a [`VarBuilder`](candle_nn::VarBuilder) under PyTorch's names `weight` and `bias`, and start from
//! PyTorch's default: uniform in `±1/√fan_in` for weight and bias of linear and convolutional layers, 1 and 0
//! for norms. `frozen()` gives a copy on the same storage whose weights are outside every graph: sampling and
//! input-only gradients use it, so that nothing is tracked that nobody asks for.
//!
//! Second derivatives: [`Differentiable`] layers write their vector-Jacobian and Jacobian-vector products as
//! ordinary graphs, so one backward through them gives mixed derivatives such as `∂/∂θ ‖∇ₓU‖²`. [`Curved`] networks also
//! carry second derivatives along a direction, `uᵀ∇²U u`.

mod causal;
mod conv;
mod coupling;
mod curved;
mod differentiable;
mod encoder;
mod linear;
mod masked;
mod mlp;
mod norm;
mod spectral;
pub mod time;
mod time_mlp;
mod unet;

pub use causal::{Causal, CausalConv2d, GatedCausalConv2d};
pub use conv::{Conv2d, ConvTranspose2d, Upsample2};
pub use coupling::{Conditioner, Coupling, Couplings, CouplingsConfig};
pub use curved::{Curved, Jet};
pub use differentiable::{Differentiable, Pull, input_gradient};
pub use encoder::{ConvConfig, ConvDecoder, ConvEncoder, Normalization};
pub use genzoo_kernels::{Activation, Conv};
pub use linear::Linear;
pub use masked::{Made, MaskedLinear};
pub use mlp::{Mlp, ResidualMlp};
pub use norm::{GroupNorm, LayerNorm};
pub use spectral::spectral_bound;
pub use time_mlp::{TimeMlp, TimeMlpConfig};
pub use unet::{UNet, UNetConfig};

use candle_core::Result;
use candle_nn::Init;

/// PyTorch's default: uniform in `±1/√fan_in`.
pub(crate) fn default_init(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// `Ok(value)` if `condition` holds, else an error in words.
pub(crate) fn require(condition: bool, message: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(candle_core::Error::Msg(message())) }
}

#[cfg(test)]
mod autoregressive_tests;
#[cfg(test)]
mod tests;
