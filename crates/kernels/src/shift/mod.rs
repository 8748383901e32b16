//! Direct convolution for f32 on AVX2 and AVX-512: sums of shifted planes, without unrolled columns.
//!
//! ```text
//! y[o, q] = Σ_k w[o, k] · plane[offset_k + q]          q = oy · width + ox,  k = (channel, ky, kx)
//! ```
//! Images are copied once into zero-padded planes whose rows are as long as the output needs; then each entry k of
//! the kernel reads a contiguous run. A stride splits the image into phase planes, so runs stay contiguous; the
//! transposed convolution splits its output instead. The few columns at the end of each row that mix two rows are
//! computed and dropped; where there are outputs enough to fill vectors with them instead of pixels, there are none.
//! The sum over k is in one fixed order: bits depend on neither threads nor batch.
//!
//! Kernels of 3 × 3 and 2 × 3 go to `crate::winograd` where that is faster.
//!
//! Error in f32: at most K u Σ |w x| for K terms, u = 6e-8, the bound of any sum in order with fused products.

mod forward;
mod input_grad;
mod loops;
mod planes;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
mod weight_grad;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use forward::Forward;
pub(crate) use input_grad::InputGrad;
pub(crate) use loops::transpose;
pub(crate) use weight_grad::WeightGrad;

/// Whether this processor has the vectors for it.
pub(crate) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::simd::level() != crate::simd::Level::Baseline
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Room for one image at a time: its planes, and the runs of one tile or the output turned round.
pub(crate) struct Scratch {
    planes: Vec<f32>,
    runs: Vec<f32>,
}
