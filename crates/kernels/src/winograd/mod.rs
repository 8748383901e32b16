//! Convolution with 3 × 3 (or 2 × 3) kernels by minimal filtering, for f32.
//!
//! ```text
//! y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A          F(2×2, 3×3): 16 products for 4 outputs instead of 36
//!
//!      ⎡1  0 −1  0⎤        ⎡ 1  0  0⎤
//! Bᵀ = ⎢0  1  1  0⎥    G = ⎢ ½  ½  ½⎥    Aᵀ = ⎡1 1  1  0⎤
//!      ⎢0 −1  1  0⎥        ⎢ ½ −½  ½⎥         ⎣0 1 −1 −1⎦
//!      ⎣0  1  0 −1⎦        ⎣ 0  0  1⎦
//! ```
//! (Winograd 1980; Lavin & Gray 2016, arXiv:1509.09308, §4.1; G, and with it the error, as there.)
//!
//! d is a tile of 4 × 4 pixels of one channel, tiles overlap by two; y is 2 × 2 pixels. Summed over channels before Aᵀ·A,
//! the products are one matrix product for each of the 16 places of a tile. Sixteen channels lie side by side, so that
//! transforms are sums of registers. Some rows of tiles at a time stay in the second-level cache.
//! The gradient by the input is the convolution with turned kernels; that by the kernel is
//! `Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G` over all tiles of all images.
//!
//! **Error.** With K channels, u = 2⁻²⁴ and absolute values taken of every entry, each result is off by at most
//!
//! ```text
//! (K + 10) u · |A|ᵀ [Σ_c (|G||g||G|ᵀ) ⊙ (|B|ᵀ|d||B|)] |A|   ≤   81 (K + 10) u Σ_c max|g_c| max|d_c|
//! ```
//! to first order in u: two roundings on the way of a pixel into the products, four on that of a weight, K in the sum, four
//! on the way out (Barabasz et al. 2020, arXiv:1803.10986, Thm. 2, for these matrices). The direct sum of 9 K terms has
//! 81 K u Σ_c max|g_c| max|d_c|: in the worst case they are alike; on normal numbers this one errs two to three times as much.
//! A kernel's gradient over N tiles is off by (N + 24) u times its own transforms of absolute values.
//!
//! What is not finite reaches exactly the outputs that the direct sum lets it reach, an infinity mostly as NaN.
//! The sum over channels is in one fixed order and tiles know nothing of each other: bits depend on neither threads nor
//! batch.

mod image;
mod loops;
#[cfg(test)]
mod tests;
mod weight_grad;
mod weights;

use crate::conv::{Geometry, image_sets};
use crate::shift;
pub(crate) use image::TileConv;
pub(crate) use weight_grad::WeightGrad;

/// Sixteen numbers side by side, in one line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; 16]);

impl Line {
    const ZERO: Self = Self([0.0; 16]);
}

fn floats(lines: &[Line]) -> &[f32] {
    // SAFETY: a line is sixteen f32 and nothing else.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), 16 * lines.len()) }
}

fn floats_mut(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), 16 * lines.len()) }
}

/// Lines that are written before they are read.
fn unwritten(len: usize) -> Vec<Line> {
    let mut v = Vec::with_capacity(len);
    // SAFETY: plain data within the capacity; every caller writes before it reads.
    #[allow(clippy::uninit_vec)]
    unsafe {
        v.set_len(len)
    };
    v
}

/// Room for one image at a time.
pub(crate) struct Scratch {
    /// Padded images, zero around them.
    images: [Vec<Line>; 2],
    /// Transforms of a strip.
    strips: [Vec<Line>; 2],
    /// Pixels of a strip, or the sum over images of a kernel's gradient.
    rest: Vec<Line>,
    /// Tiles in the strips that wait to be added to that sum, and whether it has begun.
    waiting: usize,
    begun: bool,
}

/// Tiles that are worked on together, about.
const TILES: usize = 64;

/// Rows of tiles in a strip.
fn strip_rows((down, across): (usize, usize)) -> usize {
    let strips = (down * across).div_ceil(TILES).min(down).max(1);
    down.div_ceil(strips)
}

/// Whether tiles serve the geometry, and win over shifted planes for the convolution and the gradient by its input.
///
/// Milliseconds of shifted planes, of tiles, and their ratio: medians of turns in one process, 64 images, one core:
/// TABLE
/// Where less than three quarters of the lanes are filled, the planes' smaller vectors win.
pub(crate) fn wins(g: &Geometry) -> bool {
    let conv = g.conv;
    let fits =
        matches!(g.kh, 2 | 3) && g.kw == 3 && conv.stride == 1 && conv.groups == 1 && conv.padding < g.kh;
    let filled = |n: usize| 4 * n >= 3 * n.next_multiple_of(16);
    fits && filled(g.c) && filled(g.o) && shift::available()
}

/// The same for the gradient by the weight, where the way into the products and back is paid once for each set of images.
pub(crate) fn wins_by_weight(g: &Geometry) -> bool {
    let images = image_sets(g.b).first().map_or(0, ExactSizeIterator::len);
    wins(g) && images * g.oh.div_ceil(2) * g.ow.div_ceil(2) >= 32
}
