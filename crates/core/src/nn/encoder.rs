//! Small convolutional encoders and decoders for square images of any size.
//!
//! The encoder halves the image once per entry of `channels` (4×4 windows, stride 2) and ends with a linear layer;
//! the decoder mirrors it with transposed convolutions, cropping where a size is odd.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use genzoo_kernels as kernels;

use super::differentiable::Pull;
use super::{
    Activation, Conv, Conv2d, ConvTranspose2d, Curved, Differentiable, GroupNorm, Jet, Linear, require,
};

/// What stands between a convolution and its activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalization {
    /// Nothing.
    #[default]
    None,
    /// Group normalisation with up to eight groups.
    Group,
}

/// The sizes of a [`ConvEncoder`] or [`ConvDecoder`].
#[derive(Debug, Clone, PartialEq)]
pub struct ConvConfig {
    /// Channels of the image.
    pub image_channels: usize,
    /// Height and width of the image.
    pub size: usize,
    /// Channels after each halving, from the image inwards.
    pub channels: Vec<usize>,
    /// Size of the vector at the other end.
    pub features: usize,
    /// Activation between the layers.
    pub activation: Activation,
    /// Normalisation of the hidden layers.
    pub normalization: Normalization,
}

impl ConvConfig {
    /// One-channel images, 32 and 64 channels, SiLU, no normalisation.
    pub fn new(size: usize, features: usize) -> Self {
        Self {
            image_channels: 1,
            size,
            channels: vec![32, 64],
            features,
            activation: Activation::Silu,
            normalization: Normalization::None,
        }
    }

    fn check(&self) -> Result<()> {
        let smallest = self.size >> self.channels.len();
        require(self.features > 0 && !self.channels.is_empty() && !self.channels.contains(&0), || {
            format!("channels and features must be positive: {self:?}")
        })?;
        require(smallest >= 1, || {
            format!("an image of {0}x{0} cannot be halved {1} times", self.size, self.channels.len())
        })
    }
}

/// The largest number of groups up to eight that divides the channels and leaves four to each: a group of one
/// channel would subtract whatever constant a bias, such as a U-Net's time, adds to it.
pub(crate) fn norm_groups(channels: usize) -> usize {
    (1..=8).rev().find(|&g| channels.is_multiple_of(g) && channels / g >= 4).unwrap_or(1)
}

/// Normalisation and activation behind a convolution.
#[derive(Debug, Clone)]
struct Behind {
    norm: Option<GroupNorm>,
    activation: Activation,
}

impl Behind {
    fn new(config: &ConvConfig, channels: usize, vb: &VarBuilder) -> Result<Self> {
        let silu = config.activation == Activation::Silu;
        let norm = match config.normalization {
            Normalization::None => None,
            Normalization::Group => Some(GroupNorm::new(norm_groups(channels), channels, silu, vb)?),
        };
        let activation = if norm.is_some() && !silu { config.activation } else { Activation::Identity };
        Ok(Self { norm, activation })
    }

    /// The activation the convolution itself applies.
    fn fused(config: &ConvConfig) -> Activation {
        match config.normalization {
            Normalization::None => config.activation,
            Normalization::Group => Activation::Identity,
        }
    }

    fn forward(&self, x: Tensor) -> Result<Tensor> {
        match &self.norm {
            None => Ok(x),
            Some(norm) => kernels::act(&norm.forward(&x)?, self.activation),
        }
    }

    fn frozen(&self) -> Self {
        Self { norm: self.norm.as_ref().map(GroupNorm::frozen), activation: self.activation }
    }
}

/// `(b, c, h, w) → (b, features)`; parameters `conv.i.…`, `norm.i.…`, `linear.…`. With one feature and no
/// normalisation it serves as an energy or a critic.
#[derive(Debug, Clone)]
pub struct ConvEncoder {
    convs: Vec<(Conv2d, Behind)>,
    linear: Linear,
}

impl ConvEncoder {
    /// Builds the encoder; the last linear layer has no activation.
    ///
    /// # Errors
    /// When a size is zero or the image is too small.
    pub fn new(config: &ConvConfig, vb: &VarBuilder) -> Result<Self> {
        Self::build(config, vb, Linear::new)
    }

    /// A potential: as [`ConvEncoder::new`], the last layer without bias, since a potential is defined up to a constant
    /// that no gradient of it could learn.
    ///
    /// # Errors
    /// As [`ConvEncoder::new`].
    pub fn potential(config: &ConvConfig, vb: &VarBuilder) -> Result<Self> {
        Self::build(config, vb, Linear::no_bias)
    }

    fn build(
        config: &ConvConfig,
        vb: &VarBuilder,
        last: impl FnOnce(usize, usize, Activation, &VarBuilder) -> Result<Linear>,
    ) -> Result<Self> {
        config.check()?;
        let (mut inputs, mut size) = (config.image_channels, config.size);
        let mut convs = Vec::with_capacity(config.channels.len());
        for (i, &outputs) in config.channels.iter().enumerate() {
            // An odd last size of 1 still fits a 4x4 window with padding 2.
            let conv = Conv::strided(2, if size < 2 { 2 } else { 1 });
            let layer = Conv2d::new(inputs, outputs, 4, conv, Behind::fused(config), &vb.pp("conv").pp(i))?;
            convs.push((layer, Behind::new(config, outputs, &vb.pp("norm").pp(i))?));
            size = conv.output_size(size, 4).unwrap_or(0);
            inputs = outputs;
        }
        let linear = last(inputs * size * size, config.features, Activation::Identity, &vb.pp("linear"))?;
        Ok(Self { convs, linear })
    }

    /// `(b, c, h, w) → (b, features)`.
    ///
    /// # Errors
    /// When `x` is not an image of the configured size.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for (conv, behind) in &self.convs {
            h = behind.forward(conv.forward(&h)?)?;
        }
        self.linear.forward(&h.flatten_from(1)?)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            convs: self.convs.iter().map(|(c, n)| (c.frozen(), n.frozen())).collect(),
            linear: self.linear.frozen(),
        }
    }

    fn without_norm(&self) -> Result<()> {
        require(self.convs.iter().all(|(_, n)| n.norm.is_none()), || {
            "the input derivative of an encoder is available without normalisation only".to_string()
        })
    }
}

impl Differentiable for ConvEncoder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ConvEncoder::forward(self, x)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        self.without_norm()?;
        let mut h = x.clone();
        let mut pulls = Vec::with_capacity(self.convs.len());
        for (conv, _) in &self.convs {
            let (next, pull) = conv.vjp_with(&h)?;
            pulls.push(pull);
            h = next;
        }
        let shape = h.dims().to_vec();
        let (y, last) = self.linear.vjp_with(&h.flatten_from(1)?)?;
        let pull = move |v: &Tensor| {
            let g = last(v)?.reshape(shape.as_slice())?;
            pulls.iter().rev().try_fold(g, |g, pull| pull(&g))
        };
        Ok((y, Box::new(pull)))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        self.without_norm()?;
        let (mut h, mut t) = (x.clone(), u.clone());
        for (conv, _) in &self.convs {
            (h, t) = conv.jvp(&h, &t)?;
        }
        self.linear.jvp(&h.flatten_from(1)?, &t.flatten_from(1)?)
    }
}

impl Curved for ConvEncoder {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        self.without_norm()?;
        let h = self.convs.iter().try_fold(at.clone(), |at, (conv, _)| conv.jet(&at))?;
        let flat = |x: &Tensor| x.flatten_from(1);
        self.linear.jet(&h.affine(flat, flat)?)
    }
}

/// `(b, features) → (b, c, h, w)`, without a last activation; parameters `linear.…`, `conv.i.…`, `norm.i.…`, where
/// `i` counts from the vector to the image.
#[derive(Debug, Clone)]
pub struct ConvDecoder {
    linear: Linear,
    /// Channels and size of the smallest image.
    start: (usize, usize),
    start_norm: Behind,
    /// Each with the size its result is cropped to.
    convs: Vec<(ConvTranspose2d, Behind, usize)>,
}

impl ConvDecoder {
    /// Builds the decoder.
    ///
    /// # Errors
    /// When a size is zero or the image is too small.
    pub fn new(config: &ConvConfig, vb: &VarBuilder) -> Result<Self> {
        config.check()?;
        // sizes[i] is the image before the i-th halving: 28, 14, 7.
        let mut sizes = vec![config.size];
        for _ in &config.channels {
            sizes.push(sizes[sizes.len() - 1].div_ceil(2));
        }
        let levels = config.channels.len();
        let (channels, size) = (config.channels[levels - 1], sizes[levels]);
        let linear =
            Linear::new(config.features, channels * size * size, Behind::fused(config), &vb.pp("linear"))?;
        let start_norm = Behind::new(config, channels, &vb.pp("start_norm"))?;
        let none = ConvConfig { normalization: Normalization::None, ..config.clone() };
        let mut convs = Vec::with_capacity(levels);
        for (step, level) in (0..levels).rev().enumerate() {
            let last = level == 0;
            let outputs = if last { config.image_channels } else { config.channels[level - 1] };
            let activation = if last { Activation::Identity } else { Behind::fused(config) };
            let layer = ConvTranspose2d::new(
                config.channels[level],
                outputs,
                4,
                Conv::strided(2, 1),
                activation,
                &vb.pp("conv").pp(step),
            )?;
            let behind = Behind::new(if last { &none } else { config }, outputs, &vb.pp("norm").pp(step))?;
            convs.push((layer, behind, sizes[level]));
        }
        Ok(Self { linear, start: (channels, size), start_norm, convs })
    }

    /// `(b, features) → (b, c, h, w)`.
    ///
    /// # Errors
    /// When `z` is not `(b, features)`.
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let (b, _) = z.dims2()?;
        let (channels, size) = self.start;
        let h = self.linear.forward(z)?.reshape((b, channels, size, size))?;
        let mut h = self.start_norm.forward(h)?;
        for (conv, behind, size) in &self.convs {
            h = behind.forward(fit(&conv.forward(&h)?, *size, *size)?)?;
        }
        Ok(h)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            linear: self.linear.frozen(),
            start: self.start,
            start_norm: self.start_norm.frozen(),
            convs: self.convs.iter().map(|(c, n, s)| (c.frozen(), n.frozen(), *s)).collect(),
        }
    }
}

/// Images brought to a size by zeros below and on the right, or by cutting there.
pub(crate) fn fit(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let missing = |from: usize, to: usize| to as isize - from as isize;
    let (bottom, right) = (missing(h, height), missing(w, width));
    kernels::pad2d(x, kernels::Margins { bottom, right, ..Default::default() })
}
