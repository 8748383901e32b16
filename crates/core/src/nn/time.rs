//! Features of time, `t ∈ [0, 1]`.

use candle_core::{Result, Tensor};

use super::require;

/// The highest frequency of [`sinusoidal`], in radians per unit of time.
const FASTEST: f64 = 100.0;

/// `(b,) → (b, size)`: `sin(ωᵢ t)` and `cos(ωᵢ t)` with `size / 2` frequencies spaced geometrically from 1 to 100
/// (Vaswani et al. 2017, arXiv:1706.03762, §3.5, with a range that suits time in [0, 1]).
///
/// # Errors
/// When `t` is not of rank 1 or `size` is not an even number from 2 up.
pub fn sinusoidal(t: &Tensor, size: usize) -> Result<Tensor> {
    require(size >= 2 && size.is_multiple_of(2), || format!("time features come in pairs, got size {size}"))?;
    let b = t.dims1()?;
    let half = size / 2;
    let frequencies: Vec<f64> =
        (0..half).map(|i| FASTEST.powf(i as f64 / (half.max(2) - 1) as f64)).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), t.device())?.to_dtype(t.dtype())?;
    let angles = t.reshape((b, 1))?.broadcast_mul(&frequencies)?;
    Tensor::cat(&[genzoo_kernels::sin(&angles)?, genzoo_kernels::cos(&angles)?], 1)
}
