//! A small U-Net for diffusion and flows on images: residual blocks, time added per channel, no attention.
//!
//! ```text
//! block(x, e) = skip(x) + conv(gn_silu(conv(gn_silu(x)) + W e))       (Ho et al. 2020, arXiv:2006.11239, App. B)
//! ```
//! A stem of stride 2 works at half the resolution; the head is its transpose. Odd sizes are rounded up on the way
//! down and cropped on the way up.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use genzoo_kernels::{self as kernels, BlockInput};

use super::encoder::{fit, norm_groups};
use super::time_mlp::embed;
use super::{Activation, Conv, Conv2d, ConvTranspose2d, GroupNorm, Linear, require, time};

/// The sizes of a [`UNet`].
#[derive(Debug, Clone, PartialEq)]
pub struct UNetConfig {
    /// Channels of the input image.
    pub in_channels: usize,
    /// Channels of the result.
    pub out_channels: usize,
    /// Channels at the first level.
    pub base: usize,
    /// Channels of each level as multiples of `base`; each level halves the image.
    pub multipliers: Vec<usize>,
    /// 1, or 2 to work at half the resolution.
    pub stem_stride: usize,
    /// Residual blocks per level, on the way down and on the way up.
    pub blocks: usize,
    /// Size of the embedding of time, an even number.
    pub embedding: usize,
    /// Number of labels, if the network takes one.
    pub classes: Option<usize>,
}

impl UNetConfig {
    /// One channel, base 32, multipliers 1, 2, 2, a stem of the given stride: under half a million parameters.
    pub fn new(stem_stride: usize) -> Self {
        Self {
            in_channels: 1,
            out_channels: 1,
            base: 32,
            multipliers: vec![1, 2, 2],
            stem_stride,
            blocks: 1,
            embedding: 64,
            classes: None,
        }
    }
}

/// `x: (b, c, h, w), t: (b,), label: (b,) → (b, out, h, w)`. The head starts at zero: so does the result.
///
/// Parameters: `time.{0,1}`, `label`, `stem`, `down.l.i`, `down.l.pool`, `mid.{0,1}`, `up.l.i`, `norm`, `head`.
#[derive(Debug, Clone)]
pub struct UNet {
    config: UNetConfig,
    time: [Linear; 2],
    labels: Option<Tensor>,
    stem: Conv2d,
    down: Vec<Down>,
    mid: Vec<Block>,
    up: Vec<Vec<Block>>,
    norm: GroupNorm,
    head: Head,
}

#[derive(Debug, Clone)]
struct Down {
    blocks: Vec<Block>,
    pool: Conv2d,
}

#[derive(Debug, Clone)]
enum Head {
    Same(Conv2d),
    Double(ConvTranspose2d),
}

impl UNet {
    /// Builds the network.
    ///
    /// # Errors
    /// When a size is zero or the stem's stride is neither 1 nor 2.
    pub fn new(config: &UNetConfig, vb: &VarBuilder) -> Result<Self> {
        let c = config.clone();
        let sizes = [c.in_channels, c.out_channels, c.base, c.blocks, c.embedding, c.multipliers.len()];
        require(!sizes.contains(&0) && !c.multipliers.contains(&0) && c.embedding.is_multiple_of(2), || {
            format!("UNet sizes must be positive and the embedding even: {c:?}")
        })?;
        require(matches!(c.stem_stride, 1 | 2), || {
            format!("the stem's stride must be 1 or 2, got {}", c.stem_stride)
        })?;
        let identity = Activation::Identity;
        let time = [
            Linear::new(c.embedding, c.embedding, Activation::Silu, &vb.pp("time").pp(0))?,
            Linear::new(c.embedding, c.embedding, identity, &vb.pp("time").pp(1))?,
        ];
        let labels = match c.classes {
            Some(n) => Some(vb.get_with_hints(
                (n + 1, c.embedding),
                "label",
                Init::Randn { mean: 0.0, stdev: 1.0 },
            )?),
            None => None,
        };
        let stem = match c.stem_stride {
            1 => Conv2d::new(c.in_channels, c.base, 3, Conv::same(3), identity, &vb.pp("stem"))?,
            _ => Conv2d::new(c.in_channels, c.base, 4, Conv::strided(2, 1), identity, &vb.pp("stem"))?,
        };
        let channels: Vec<usize> = c.multipliers.iter().map(|m| m * c.base).collect();
        let levels = channels.len();
        // The lowest level is the middle: two blocks without skips.
        let mut width = c.base;
        let mut down = Vec::new();
        for (l, &out) in channels[..levels - 1].iter().enumerate() {
            let vb = vb.pp("down").pp(l);
            let mut blocks = Vec::new();
            for i in 0..c.blocks {
                blocks.push(Block::new(width, out, c.embedding, &vb.pp(i))?);
                width = out;
            }
            let pool = Conv2d::new(width, width, 3, Conv::strided(2, 1), identity, &vb.pp("pool"))?;
            down.push(Down { blocks, pool });
        }
        let middle = channels[levels - 1];
        let mid = vec![
            Block::new(width, middle, c.embedding, &vb.pp("mid").pp(0))?,
            Block::new(middle, middle, c.embedding, &vb.pp("mid").pp(1))?,
        ];
        width = middle;
        let mut up = Vec::new();
        for (l, &out) in channels[..levels - 1].iter().enumerate().rev() {
            let mut blocks = Vec::new();
            for i in 0..c.blocks {
                blocks.push(Block::new(width + out, out, c.embedding, &vb.pp("up").pp(l).pp(i))?);
                width = out;
            }
            up.push(blocks);
        }
        let norm = GroupNorm::new(norm_groups(width), width, true, &vb.pp("norm"))?;
        let vb = vb.pp("head");
        let head = match c.stem_stride {
            1 => Head::Same(Conv2d::zeros(width, c.out_channels, 3, Conv::same(3), identity, &vb)?),
            _ => Head::Double(ConvTranspose2d::zeros(
                width,
                c.out_channels,
                4,
                Conv::strided(2, 1),
                identity,
                &vb,
            )?),
        };
        Ok(Self { config: c, time, labels, stem, down, mid, up, norm, head })
    }

    /// The sizes.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// `x: (b, c, h, w)` at times `t: (b,)` in [0, 1]; a missing label means "no label" for every row.
    ///
    /// # Errors
    /// On wrong shapes, and for a label where the network has none.
    pub fn forward(&self, x: &Tensor, t: &Tensor, label: Option<&Tensor>) -> Result<Tensor> {
        let (b, _, height, width) = x.dims4()?;
        require(t.dims() == [b], || format!("expected t of shape ({b},), got {:?}", t.dims()))?;
        let e = self.embed(t, label, b)?;
        let stride = self.config.stem_stride;
        let (even_h, even_w) = (height.next_multiple_of(stride), width.next_multiple_of(stride));
        let mut h = self.stem.forward(&fit(x, even_h, even_w)?)?;
        let mut skips = Vec::new();
        for level in &self.down {
            for block in &level.blocks {
                h = block.forward(BlockInput::Image(&h), &e)?;
                skips.push(h.clone());
            }
            h = level.pool.forward(&h)?;
        }
        for block in &self.mid {
            h = block.forward(BlockInput::Image(&h), &e)?;
        }
        for blocks in &self.up {
            for (i, block) in blocks.iter().enumerate() {
                let Some(beside) = skips.pop() else {
                    candle_core::bail!("a U-Net has as many blocks up as down")
                };
                let joined;
                let input = match i {
                    0 => BlockInput::Up { low: &h, beside: &beside },
                    _ => {
                        joined = kernels::cat_channels(&h, &beside)?;
                        BlockInput::Image(&joined)
                    }
                };
                h = block.forward(input, &e)?;
            }
        }
        let h = self.norm.forward(&h)?;
        let y = match &self.head {
            Head::Same(head) => head.forward(&h)?,
            Head::Double(head) => head.forward(&h)?,
        };
        fit(&y, height, width)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        let blocks = |blocks: &[Block]| blocks.iter().map(Block::frozen).collect::<Vec<_>>();
        Self {
            config: self.config.clone(),
            time: [self.time[0].frozen(), self.time[1].frozen()],
            labels: self.labels.as_ref().map(Tensor::detach),
            stem: self.stem.frozen(),
            down: self
                .down
                .iter()
                .map(|d| Down { blocks: blocks(&d.blocks), pool: d.pool.frozen() })
                .collect(),
            mid: blocks(&self.mid),
            up: self.up.iter().map(|b| blocks(b)).collect(),
            norm: self.norm.frozen(),
            head: match &self.head {
                Head::Same(h) => Head::Same(h.frozen()),
                Head::Double(h) => Head::Double(h.frozen()),
            },
        }
    }

    /// `silu(W₁ silu(W₀ features(t)) + label)`, shared by all blocks.
    fn embed(&self, t: &Tensor, label: Option<&Tensor>, b: usize) -> Result<Tensor> {
        let features = time::sinusoidal(t, self.config.embedding)?;
        let e = self.time[1].forward(&self.time[0].forward(&features)?)?;
        let e = match embed(self.labels.as_ref(), label, b)? {
            Some(label) => (e + label)?,
            None => e,
        };
        kernels::act(&e, Activation::Silu)
    }
}

/// A residual block; parameters `norm1`, `conv1.weight`, `time`, `norm2`, `conv2`, `skip`.
#[derive(Debug, Clone)]
struct Block {
    norm1: GroupNorm,
    /// Without a bias of its own: the time layer's bias takes its place.
    conv1: Tensor,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    skip: Option<Conv2d>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, embedding: usize, vb: &VarBuilder) -> Result<Self> {
        let init = super::default_init(9 * inputs);
        Ok(Self {
            norm1: GroupNorm::new(norm_groups(inputs), inputs, true, &vb.pp("norm1"))?,
            conv1: vb.pp("conv1").get_with_hints((outputs, inputs, 3, 3), "weight", init)?,
            time: Linear::new(embedding, outputs, Activation::Identity, &vb.pp("time"))?,
            norm2: GroupNorm::new(norm_groups(outputs), outputs, true, &vb.pp("norm2"))?,
            conv2: Conv2d::new(outputs, outputs, 3, Conv::same(3), Activation::Identity, &vb.pp("conv2"))?,
            skip: match inputs == outputs {
                true => None,
                false => Some(Conv2d::new(
                    inputs,
                    outputs,
                    1,
                    Conv::same(1),
                    Activation::Identity,
                    &vb.pp("skip"),
                )?),
            },
        })
    }

    fn forward(&self, x: BlockInput<'_>, e: &Tensor) -> Result<Tensor> {
        let block = kernels::ResidualBlock {
            first: self.norm1.before(&self.conv1),
            second: self.norm2.before(self.conv2.weight()),
            bias: self.conv2.bias(),
            skip: self.skip.as_ref().map(|skip| (skip.weight(), skip.bias())),
            eps: super::norm::EPS,
        };
        kernels::residual_block(x, &self.time.forward(e)?, &block)
    }

    fn frozen(&self) -> Self {
        Self {
            norm1: self.norm1.frozen(),
            conv1: self.conv1.detach(),
            time: self.time.frozen(),
            norm2: self.norm2.frozen(),
            conv2: self.conv2.frozen(),
            skip: self.skip.as_ref().map(Conv2d::frozen),
        }
    }
}
