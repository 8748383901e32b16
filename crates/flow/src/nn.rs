//! Local layers.

use candle_nn::{Init, VarBuilder};
use genzoo_core::Tensor;

type Result<T> = candle_core::Result<T>;

#[derive(Clone, Copy)]
pub(crate) enum Activation {
    Identity,
    Relu,
}

#[derive(Clone)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
    act: Activation,
}

impl Linear {
    pub(crate) fn new(fan_in: usize, fan_out: usize, act: Activation, vb: &VarBuilder) -> Result<Self> {
        let b = (fan_in as f64).sqrt().recip();
        let init = Init::Uniform { lo: -b, up: b };
        Ok(Self {
            weight: vb.get_with_hints((fan_out, fan_in), "weight", init)?,
            bias: vb.get_with_hints(fan_out, "bias", init)?,
            act,
        })
    }

    pub(crate) fn zeros(fan_in: usize, fan_out: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints((fan_out, fan_in), "weight", Init::Const(0.0))?,
            bias: vb.get_with_hints(fan_out, "bias", Init::Const(0.0))?,
            act: Activation::Identity,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ones = Tensor::ones((x.dim(0)?, 1), x.dtype(), x.device())?;
        let y = (x.matmul(&self.weight.t()?)? + ones.matmul(&self.bias.unsqueeze(0)?)?)?;
        match self.act {
            Activation::Identity => Ok(y),
            Activation::Relu => y.relu(),
        }
    }

    pub(crate) fn frozen(&self) -> Self {
        Self {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            act: self.act,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    pub(crate) fn new(
        widths: &[usize],
        hidden: Activation,
        last: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let n = widths.len().saturating_sub(1);
        let layer = |i: usize| {
            let act = if i + 1 == n { last } else { hidden };
            Linear::new(widths[i], widths[i + 1], act, &vb.pp(format!("{i}")))
        };
        Ok(Self {
            layers: (0..n).map(layer).collect::<Result<_>>()?,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |h, l| l.forward(&h))
    }

    pub(crate) fn frozen(&self) -> Self {
        Self {
            layers: self.layers.iter().map(Linear::frozen).collect(),
        }
    }
}
