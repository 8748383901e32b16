//! Normalisation layers. Both start as plain normalisation: weight 1, bias 0.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use genzoo_kernels as kernels;

pub(crate) const EPS: f64 = 1e-5;

/// Group normalisation of `(b, c, h, w)`, with SiLU behind it if asked for.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    groups: usize,
    silu: bool,
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    /// One scale and shift per channel.
    ///
    /// # Errors
    /// When the builder has a parameter of this name with another shape.
    pub fn new(groups: usize, channels: usize, silu: bool, vb: &VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(channels, "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(channels, "bias", Init::Const(0.0))?;
        Ok(Self { groups, silu, weight, bias })
    }

    /// Shaped like `x`.
    ///
    /// # Errors
    /// When the groups do not divide the channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::group_norm(x, self.groups, &self.weight, &self.bias, EPS, self.silu)
    }

    /// The norm with the convolution of `weight` behind it, for [`kernels::residual_block`].
    pub(crate) fn before<'a>(&'a self, weight: &'a Tensor) -> kernels::NormConv<'a> {
        kernels::NormConv { groups: self.groups, scale: &self.weight, shift: &self.bias, weight }
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self { groups: self.groups, silu: self.silu, weight: self.weight.detach(), bias: self.bias.detach() }
    }
}

/// Layer normalisation of the last dimension.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    /// One scale and shift per feature.
    ///
    /// # Errors
    /// When the builder has a parameter of this name with another shape.
    pub fn new(features: usize, vb: &VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(features, "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(features, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias })
    }

    /// Shaped like `x`.
    ///
    /// # Errors
    /// When the last dimension is not `features`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::layer_norm(x, &self.weight, &self.bias, EPS)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.detach() }
    }
}
