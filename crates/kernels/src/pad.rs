//! Zeros around images, or a margin cut off them: each is the other's derivative.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::plain;
use crate::real::Real;
use crate::support::{is_fast, output, slice, uninit, with_real};

/// Rows and columns to add on each side of an image; a negative number cuts so many off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margins {
    /// Rows above.
    pub top: isize,
    /// Rows below.
    pub bottom: isize,
    /// Columns on the left.
    pub left: isize,
    /// Columns on the right.
    pub right: isize,
}

impl Margins {
    fn opposite(self) -> Self {
        Self { top: -self.top, bottom: -self.bottom, left: -self.left, right: -self.right }
    }
}

/// `(b, c, h, w) → (b, c, top + h + bottom, left + w + right)`, new pixels 0.
///
/// candle's `pad_with_zeros` has the same value; its backward hands out strided slices, which are slow to add.
///
/// # Errors
/// On tensors that are not of rank 4, and when more is cut off than there is.
pub fn pad2d(x: &Tensor, margins: Margins) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let Margins { top, bottom, left, right } = margins;
    let size = |n: usize, before: isize, after: isize| {
        let cut = (-before).max(0) + (-after).max(0);
        (cut <= n as isize).then_some((n as isize + before + after) as usize)
    };
    let (Some(oh), Some(ow)) = (size(h, top, bottom), size(w, left, right)) else {
        bail!("pad2d: {margins:?} cuts more than there is off images of {h} rows and {w} columns")
    };
    if margins == Margins::default() {
        return Ok(x.clone());
    }
    match is_fast(x) && oh * ow > 0 {
        true => x.contiguous()?.apply_op1(Pad(margins)),
        false => plain::pad2d(x, margins),
    }
}

struct Pad(Margins);

impl CustomOp1 for Pad {
    fn name(&self) -> &'static str {
        "pad2d"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        let Margins { top, bottom, left, right } = self.0;
        let (oh, ow) = ((h as isize + top + bottom) as usize, (w as isize + left + right) as usize);
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(b * c * oh * ow);
            y.par_chunks_mut(oh * ow)
                .zip(x.par_chunks(h * w))
                .with_min_len(16 * 1024 / (oh * ow) + 1)
                .for_each(|(y, x)| pad_plane(x, w, top, left, y, ow));
            Ok(output(y, (b, c, oh, ow)))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        pad2d(g, self.0.opposite()).map(Some)
    }
}

/// Row r of `y` is row `r − top` of `x`, shifted right by `left`; what comes from outside is 0.
fn pad_plane<T: Real>(x: &[T], w: usize, top: isize, left: isize, y: &mut [T], ow: usize) {
    let (added, cut) = (left.max(0) as usize, (-left).max(0) as usize);
    let copied = (w - cut).min(ow - added);
    for (r, out) in y.chunks_exact_mut(ow).enumerate() {
        let from = r as isize - top;
        let row = usize::try_from(from).ok().and_then(|r| x.get(r * w..(r + 1) * w));
        match row {
            Some(row) => {
                out[..added].fill(T::ZERO);
                out[added..added + copied].copy_from_slice(&row[cut..cut + copied]);
                out[added + copied..].fill(T::ZERO);
            }
            None => out.fill(T::ZERO),
        }
    }
}
