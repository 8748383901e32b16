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
//! on the way out (the argument of Barabasz et al. 2020, arXiv:1803.10986, for these matrices). The direct sum of 9 K
//! terms has 81 K u Σ_c max|g_c| max|d_c|: in the worst case they are alike; on random numbers, K from 16 to 64, the
//! largest error here is a third to two thirds of that of the direct sum, whose chains are nine times as long.
//! A kernel's gradient over N tiles is off by at most (N + 24) u times its own transforms of absolute values.
//!
//! A pixel that is not finite reaches the outputs whose windows hold it and no other, as NaN even where the direct sum has
//! an infinity; in a gradient by the kernel it may reach entries that do not read it. Two rows of the kernel have
//! `Bᵀ = [1 −1 0; 0 1 0; 0 −1 1]`, `G = [1 0; 1 1; 0 1]`, `Aᵀ = [1 1 0; 0 1 1]` downwards; as no output takes part in a
//! product of pixels outside its window alone, kernels that are cut to what comes before a pixel stay causal to the bit.
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
/// Milliseconds of shifted planes → of tiles: medians of turns in one process, 64 images, one core, AVX-512:
///
/// | convolution | forward | gradient by the input | by the weight |
/// |---|---|---|---|
/// | 16 → 16 on 28×28 | 2.03 → 1.48 (0.73) | 1.96 → 1.38 (0.70) | 2.10 → 1.53 (0.73) |
/// | 32 → 32 on 28×28 | 5.67 → 3.85 (0.68) | 5.68 → 3.89 (0.68) | 5.91 → 4.00 (0.68) |
/// | 96 → 32 on 28×28 | 14.7 → 9.6 (0.66) | 16.1 → 10.0 (0.62) | 15.6 → 10.4 (0.66) |
/// | 64 → 64 on 28×28 | 18.3 → 10.4 (0.57) | 18.2 → 10.4 (0.57) | 18.9 → 11.2 (0.59) |
/// | 128 → 64 on 14×14 | 9.00 → 5.41 (0.60) | 9.27 → 5.03 (0.54) | 9.60 → 6.41 (0.67) |
/// | 64 → 64 on 14×14 | 5.18 → 3.30 (0.64) | 5.02 → 3.17 (0.63) | 5.36 → 3.65 (0.68) |
/// | 64 → 64 on 7×7 | 1.33 → 0.86 (0.65) | 1.31 → 0.90 (0.69) | 1.41 → 1.24 (0.88) |
/// | 128 → 128 on 7×7 | 4.75 → 3.22 (0.68) | 4.91 → 3.10 (0.63) | 5.55 → 5.05 (0.91) |
/// | 64 → 128 by 2×3 on 28×28 | 23.5 → 14.1 (0.60) | 24.1 → 14.9 (0.62) | 24.5 → 15.0 (0.61) |
/// | 24 → 24 on 28×28 | 3.83 → 2.74 (0.72) | 3.84 → 2.79 (0.73) | 4.11 → 2.98 (0.73) |
/// | 12 → 32 on 28×28 | 2.65 → 2.13 (0.80) | 3.80 → 2.46 (0.65) | 2.77 → 2.07 (0.75) |
/// | 20 → 20 on 28×28, not chosen | 2.50 → 2.90 (1.16) | 2.53 → 2.88 (1.14) | 3.85 → 2.95 (0.77) |
/// | 8 → 8 on 28×28, not chosen | 0.43 → 0.76 (1.75) | 0.45 → 0.77 (1.71) | 0.77 → 0.91 (1.19) |
///
/// With AVX2 on the same core 0.56, 0.57, 0.61 for 32 → 32 on 28×28 and 0.51, 0.49, 0.80 for 64 → 64 on 7×7.
/// Where less than three quarters of the lanes would be filled, the planes win.
pub(crate) fn wins(g: &Geometry) -> bool {
    let conv = g.conv;
    let fits =
        matches!(g.kh, 2 | 3) && g.kw == 3 && conv.stride == 1 && conv.groups == 1 && conv.padding < g.kh;
    let filled = |n: usize| 4 * n >= 3 * n.next_multiple_of(16);
    fits && filled(g.c) && filled(g.o) && shift::available()
}

/// The same for the gradient by the weight. The sums of a set of images are written and turned back once: one image of
/// 64 → 64 on 7×7 per set takes 1.2 times as long as with planes, four take 0.88.
pub(crate) fn wins_by_weight(g: &Geometry) -> bool {
    let images = image_sets(g.b).first().map_or(0, ExactSizeIterator::len);
    wins(g) && images * g.oh.div_ceil(2) * g.ow.div_ceil(2) >= 32
}
