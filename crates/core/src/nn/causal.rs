//! Convolutions that see only what comes before a pixel in raster order, and the gated layer made of them
//! (van den Oord et al. 2016, arXiv:1606.05328, §2.2 and 2.3, fig. 2).
//!
//! ```text
//! vertical     pixel (r, c) sees rows ≤ r,                  strictly: rows < r
//! horizontal   pixel (r, c) sees columns ≤ c of row r,      strictly: columns < c
//! ```
//! The first layers are strict. Behind them a vertical feature at row r depends on rows < r of the image alone, so
//! that later layers may see their own row of it; likewise for columns.
//! Kernels are cut to what they may see instead of being masked: nothing is spent on products with zero.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use genzoo_kernels as kernels;
use genzoo_kernels::Margins;

use super::{Activation, Conv, Conv2d, default_init, require};

/// What a pixel sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Causal {
    /// The rows above, and its own row.
    Vertical,
    /// The rows above.
    StrictVertical,
    /// The columns on the left in its row, and its own.
    Horizontal,
    /// The columns on the left in its row.
    StrictHorizontal,
}

/// A causal convolution of stride 1 that keeps the size: `(b, in, h, w) → (b, out, h, w)`.
#[derive(Debug, Clone)]
pub struct CausalConv2d {
    weight: Tensor,
    bias: Tensor,
    margins: Margins,
}

impl CausalConv2d {
    /// `kernel` is the odd size of the window that is cut: with 3 the weight has the shape `(out, in, 2, 3)` for
    /// [`Causal::Vertical`], `(out, in, 1, 3)` for the strict form, `(out, in, 1, 2)` and `(out, in, 1, 1)` for the
    /// horizontal ones. Weight and bias start uniform in `±1/√(in · kernel elements)`.
    ///
    /// # Errors
    /// When the kernel is even or smaller than 3, or the builder has a parameter of this name with another shape.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        causal: Causal,
        vb: &VarBuilder,
    ) -> Result<Self> {
        require(kernel >= 3 && kernel % 2 == 1, || {
            format!("a causal convolution needs an odd kernel from 3 up, got {kernel}")
        })?;
        let half = kernel / 2;
        let reach = half as isize;
        let (height, width, margins) = match causal {
            Causal::Vertical => {
                (half + 1, kernel, Margins { top: reach, bottom: 0, left: reach, right: reach })
            }
            Causal::StrictVertical => {
                (half, kernel, Margins { top: reach, bottom: -1, left: reach, right: reach })
            }
            Causal::Horizontal => (1, half + 1, Margins { left: reach, ..Margins::default() }),
            Causal::StrictHorizontal => (1, half, Margins { left: reach, right: -1, ..Margins::default() }),
        };
        let init = default_init(inputs * height * width);
        let weight = vb.get_with_hints((outputs, inputs, height, width), "weight", init)?;
        let bias = vb.get_with_hints(outputs, "bias", init)?;
        Ok(Self { weight, bias, margins })
    }

    /// `(b, in, h, w) → (b, out, h, w)`.
    ///
    /// # Errors
    /// When `x` has other channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = kernels::pad2d(x, self.margins)?;
        kernels::conv2d(&x, &self.weight, Some(&self.bias), Conv::default(), Activation::Identity)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.detach(), margins: self.margins }
    }
}

/// One layer of a gated PixelCNN over its two stacks, with `gate(a, b) = tanh(a) ⊙ σ(b)`:
///
/// ```text
/// p  = vertical(v)                    v' = gate(p)
/// q  = horizontal(h) + across(p)      h' = h + out(gate(q))
/// ```
/// Parameters `vertical`, `across` (1×1), `horizontal`, `out` (1×1).
#[derive(Debug, Clone)]
pub struct GatedCausalConv2d {
    vertical: CausalConv2d,
    across: Conv2d,
    horizontal: CausalConv2d,
    out: Conv2d,
}

impl GatedCausalConv2d {
    /// On stacks of so many channels.
    ///
    /// # Errors
    /// As [`CausalConv2d::new`].
    pub fn new(channels: usize, kernel: usize, vb: &VarBuilder) -> Result<Self> {
        let pointwise = |inputs, outputs, name: &str| {
            Conv2d::new(inputs, outputs, 1, Conv::same(1), Activation::Identity, &vb.pp(name))
        };
        let gates = 2 * channels;
        Ok(Self {
            vertical: CausalConv2d::new(channels, gates, kernel, Causal::Vertical, &vb.pp("vertical"))?,
            across: pointwise(gates, gates, "across")?,
            horizontal: CausalConv2d::new(channels, gates, kernel, Causal::Horizontal, &vb.pp("horizontal"))?,
            out: pointwise(channels, channels, "out")?,
        })
    }

    /// The two stacks `(v, h)`, each `(b, channels, h, w)`.
    ///
    /// # Errors
    /// When they have other channels.
    pub fn forward(&self, v: &Tensor, h: &Tensor) -> Result<(Tensor, Tensor)> {
        let p = self.vertical.forward(v)?;
        let q = (self.horizontal.forward(h)? + self.across.forward(&p)?)?;
        let h = (h + self.out.forward(&kernels::gate(&q)?)?)?;
        Ok((kernels::gate(&p)?, h))
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            vertical: self.vertical.frozen(),
            across: self.across.frozen(),
            horizontal: self.horizontal.frozen(),
            out: self.out.frozen(),
        }
    }
}
