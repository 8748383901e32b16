//! Generator and critic: perceptrons for vectors, strided convolutions for images.
//!
//! Both work on scaled data: standardised vectors, or pixels as `2x − 1`. Images follow DCGAN (Radford, Metz &
//! Chintala 2016, arXiv:1511.06434): no pooling, LeakyReLU(0.2) in the critic; group normalisation stands in for
//! batch normalisation in the generator, so that a sample does not depend on its neighbours, and the critic
//! has none.

use candle_nn::VarBuilder;
use genzoo_core::nn::{
    Activation, ConvConfig, ConvDecoder, ConvEncoder, Differentiable, Mlp, Normalization, input_gradient,
};
use genzoo_core::{DataSpec, Error, Result, Table, Tensor, config};
use serde::Deserialize;

/// Sizes of both networks, for vectors.
#[derive(Deserialize)]
struct Perceptrons {
    hidden: usize,
    layers: usize,
}

/// Sizes of both networks, for images.
#[derive(Deserialize)]
struct Convolutions {
    channels: usize,
    levels: usize,
}

/// `z (b, k) → y (b, event…)`.
#[derive(Clone)]
pub(crate) enum Generator {
    Mlp(Mlp),
    Conv(ConvDecoder),
}

/// `y (b, event…) → D(y) (b,)`.
#[derive(Clone)]
pub(crate) enum Critic {
    Mlp(Mlp),
    Conv(ConvEncoder),
}

/// Builds both networks from the table `[model]`.
pub(crate) fn build(
    table: &Table,
    spec: &DataSpec,
    latent: usize,
    generator: &VarBuilder,
    critic: &VarBuilder,
) -> Result<(Generator, Critic)> {
    let leaky = Activation::LeakyRelu(0.2);
    let Some((image_channels, h, w)) = spec.image() else {
        let c: Perceptrons = config::read(table, "model")?;
        at_least_one("hidden", c.hidden)?;
        at_least_one("layers", c.layers)?;
        let widths = |from: usize, to: usize| -> Vec<usize> {
            let inner = std::iter::repeat_n(c.hidden, c.layers);
            std::iter::once(from).chain(inner).chain([to]).collect()
        };
        let d = spec.dims();
        let g = Mlp::new(&widths(latent, d), Activation::Relu, Activation::Identity, generator)?;
        let d = Mlp::new(&widths(d, 1), leaky, Activation::Identity, critic)?;
        return Ok((Generator::Mlp(g), Critic::Mlp(d)));
    };
    let c: Convolutions = config::read(table, "model")?;
    at_least_one("channels", c.channels)?;
    at_least_one("levels", c.levels)?;
    if h != w {
        return Err(Error::Unsupported(format!("ns-gan needs square images, got {h}×{w}")));
    }
    if c.levels > 8 || h >> c.levels == 0 {
        return Err(Error::config(
            "model.levels",
            format!("halvings that leave at least one pixel of {h}"),
            c.levels,
        ));
    }
    let sizes = ConvConfig {
        image_channels,
        size: h,
        channels: (0..c.levels).map(|i| c.channels << i).collect(),
        features: 1,
        activation: leaky,
        normalization: Normalization::None,
    };
    let critic = ConvEncoder::new(&sizes, critic)?;
    let sizes = ConvConfig {
        features: latent,
        activation: Activation::Relu,
        normalization: Normalization::Group,
        ..sizes
    };
    Ok((Generator::Conv(ConvDecoder::new(&sizes, generator)?), Critic::Conv(critic)))
}

fn at_least_one(key: &str, value: usize) -> Result<()> {
    if value > 0 {
        return Ok(());
    }
    Err(Error::config(format!("model.{key}"), "an integer ≥ 1", value))
}

impl Generator {
    /// Scaled samples: pixels pass `tanh`, which is `2σ(2·) − 1`; vectors are free.
    pub(crate) fn forward(&self, z: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Mlp(net) => net.forward(z)?,
            Self::Conv(net) => Activation::Tanh.forward(&net.forward(z)?)?,
        })
    }

    pub(crate) fn frozen(&self) -> Self {
        match self {
            Self::Mlp(net) => Self::Mlp(net.frozen()),
            Self::Conv(net) => Self::Conv(net.frozen()),
        }
    }
}

impl Critic {
    /// Logits, `(b,)`.
    pub(crate) fn forward(&self, y: &Tensor) -> Result<Tensor> {
        let logits = match self {
            Self::Mlp(net) => net.forward(y)?,
            Self::Conv(net) => net.forward(y)?,
        };
        Ok(logits.flatten_all()?)
    }

    /// Logits, `(b,)`, and `∇D(y)`, shaped like `y`, both as graphs towards the weights.
    pub(crate) fn forward_and_gradient(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok(match self {
            Self::Mlp(net) => input_gradient(net, y)?,
            Self::Conv(net) => input_gradient(net, y)?,
        })
    }

    pub(crate) fn frozen(&self) -> Self {
        match self {
            Self::Mlp(net) => Self::Mlp(net.frozen()),
            Self::Conv(net) => Self::Conv(net.frozen()),
        }
    }
}
