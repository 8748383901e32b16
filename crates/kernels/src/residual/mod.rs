//! The residual block of a U-Net as one operation: two convolutions behind group norms with SiLU, and a way past them.
//!
//! ```text
//! h = conv(silu(norm₁(x)), w₁) + s        y = conv(silu(norm₂(h)), w₂) + b₂ + (conv(x, wₛ) + bₛ  or  x)
//! ```
//! (Ho et al. 2020, arXiv:2006.11239, App. B; s is what a layer makes of the time.) On the way up x is a smaller image,
//! each pixel repeated in a 2×2 block, beside one from the way down. Each image goes through the block
//! while it lies in the second-level cache, and the same in the backward pass; kept are h and the moments of the
//! norms. As single operations every arrow would be a tensor, with a gradient that candle adds to zeros.

mod norms;
mod op;

use std::sync::OnceLock;

use candle_core::{DType, Result, Tensor, bail};

use crate::activation::Activation;
use crate::conv::{Conv, Geometry, conv2d};
use crate::norm::group_norm;
use crate::pad::{Margins, pad2d};
use crate::resample::{cat_channels, upsample2};
use crate::shift;
use crate::support::{is_fast, keeps_gradient_graphs};
use op::Block;

/// A group norm and the convolution behind its SiLU; the convolution keeps the size of the image.
#[derive(Debug, Clone, Copy)]
pub struct NormConv<'a> {
    /// Number of groups of channels.
    pub groups: usize,
    /// Scale of the norm, `(c)`.
    pub scale: &'a Tensor,
    /// Shift of the norm, `(c)`.
    pub shift: &'a Tensor,
    /// Weight of the convolution, `(o, c, k, k)` with an odd k.
    pub weight: &'a Tensor,
}

/// The parameters of [`residual_block`].
#[derive(Debug, Clone, Copy)]
pub struct ResidualBlock<'a> {
    /// Into the block; its bias is the s of the formula.
    pub first: NormConv<'a>,
    /// Out of the block.
    pub second: NormConv<'a>,
    /// Bias of the second convolution, `(o)`.
    pub bias: &'a Tensor,
    /// Weight `(o, c, 1, 1)` and bias `(o)` of the way past, where the numbers of channels differ.
    pub skip: Option<(&'a Tensor, &'a Tensor)>,
    /// Added to the variances.
    pub eps: f64,
}

/// What enters a block.
#[derive(Debug, Clone, Copy)]
pub enum BlockInput<'a> {
    /// `(b, c, h, w)`.
    Image(&'a Tensor),
    /// The channels of `low (b, p, l, m)`, doubled in size and cut to h × w, before those of `beside (b, c − p, h, w)`.
    Up {
        /// From the level below.
        low: &'a Tensor,
        /// From the way down.
        beside: &'a Tensor,
    },
}

impl BlockInput<'_> {
    /// As one tensor.
    fn image(&self) -> Result<Tensor> {
        match self {
            Self::Image(x) => Ok((*x).clone()),
            Self::Up { low, beside } => {
                let low = upsample2(low)?;
                let missing =
                    |dim| Ok::<_, candle_core::Error>(beside.dim(dim)? as isize - low.dim(dim)? as isize);
                let margins = Margins { bottom: missing(2)?, right: missing(3)?, ..Margins::default() };
                cat_channels(&pad2d(&low, margins)?, beside)
            }
        }
    }

    /// `(b, c, h, w)`, and `(p, l, m)` where a smaller image is enlarged.
    #[allow(clippy::type_complexity)]
    fn sizes(&self) -> Result<((usize, usize, usize, usize), Option<(usize, usize, usize)>)> {
        match self {
            Self::Image(x) => Ok((x.dims4()?, None)),
            Self::Up { low, beside } => {
                let ((n, p, l, m), (b, c, h, w)) = (low.dims4()?, beside.dims4()?);
                if n != b {
                    bail!("residual_block: {n} images below and {b} beside");
                }
                Ok(((b, p + c, h, w), Some((p, l, m))))
            }
        }
    }
}

/// `s: (b, o)`, result `(b, o, h, w)`.
///
/// Error as that of the composition: 1e-5 of the largest output in f32.
///
/// # Errors
/// On shapes that do not fit.
pub fn residual_block(x: BlockInput<'_>, s: &Tensor, block: &ResidualBlock<'_>) -> Result<Tensor> {
    let ((b, c, h, w), low) = x.sizes()?;
    let served = is_fast(s) && s.dtype() == DType::F32 && shift::available();
    let doubles = low.is_none_or(|(_, l, m)| 2 * l >= h && 2 * m >= w);
    if !served || !doubles || b * c * h * w == 0 || keeps_gradient_graphs() {
        return composed(&x.image()?, s, block);
    }
    let ResidualBlock { first, second, bias, skip, eps } = *block;
    let geometry = |c: usize, weight: &Tensor| {
        let (_, _, k, _) = weight.dims4()?;
        let g = Geometry::new((b, c, h, w), weight.dims4()?, Conv::same(k))?;
        if (g.oh, g.ow) != (h, w) {
            bail!("residual_block: the kernel of {:?} must be odd, to keep the size", weight.dims());
        }
        Ok(g)
    };
    let g1 = geometry(c, first.weight)?;
    let g2 = geometry(g1.o, second.weight)?;
    let gs = skip.map(|(weight, _)| geometry(c, weight)).transpose()?;
    let same = |t: &Tensor, n: usize| t.dims() == [n];
    let fits = g1.o > 0
        && g2.o == g1.o
        && s.dims() == [b, g1.o]
        && same(first.scale, c)
        && same(first.shift, c)
        && same(second.scale, g1.o)
        && same(second.shift, g1.o)
        && same(bias, g1.o)
        && gs.map_or(c == g1.o, |gs| gs.o == g1.o)
        && skip.is_none_or(|(_, bias)| same(bias, g1.o));
    if !fits || [(first.groups, c), (second.groups, g1.o)].iter().any(|(g, c)| *g == 0 || c % g != 0) {
        bail!("residual_block: {c} channels and s {:?} do not fit the parameters {block:?}", s.dims());
    }
    let mut parts =
        vec![s, first.weight, first.scale, first.shift, second.weight, second.scale, second.shift, bias];
    parts.extend(skip.map(|(weight, bias)| [weight, bias]).into_iter().flatten());
    let parts = parts.into_iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
    let parameters = Tensor::cat(&parts, 0)?;
    let (x, beside) = match x {
        BlockInput::Image(x) => (x.contiguous()?, Tensor::zeros(0, s.dtype(), s.device())?),
        BlockInput::Up { low, beside } => (low.contiguous()?, beside.contiguous()?),
    };
    let keep = x.track_op() || beside.track_op() || parameters.track_op();
    let op =
        Block { g1, g2, gs, low, groups: [first.groups, second.groups], eps, keep, kept: OnceLock::new() };
    x.apply_op3(&beside, &parameters, op)
}

/// The same of single operations.
fn composed(x: &Tensor, s: &Tensor, block: &ResidualBlock<'_>) -> Result<Tensor> {
    let ResidualBlock { first, second, bias, skip, eps } = *block;
    let part = |x: &Tensor, p: NormConv<'_>, bias: &Tensor| {
        let x = group_norm(x, p.groups, p.scale, p.shift, eps, true)?;
        conv2d(&x, p.weight, Some(bias), Conv::same(p.weight.dim(3)?), Activation::Identity)
    };
    let y = part(&part(x, first, s)?, second, bias)?;
    match skip {
        None => y + x,
        Some((w, b)) => y + conv2d(x, w, Some(b), Conv::same(1), Activation::Identity)?,
    }
}
