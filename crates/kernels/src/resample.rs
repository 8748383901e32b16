//! Nearest-neighbour upsampling by two and its adjoint, the sum over 2×2 blocks: each is the other's derivative.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::plain;
use crate::real::Real;
use crate::support::{is_fast, output, slice, uninit, with_real};

/// `(b, c, h, w) → (b, c, 2h, 2w)`, each pixel repeated in a 2×2 block.
///
/// # Errors
/// On tensors that are not of rank 4.
pub fn upsample2(x: &Tensor) -> Result<Tensor> {
    x.dims4()?;
    if is_fast(x) {
        x.contiguous()?.apply_op1(Upsample)
    } else {
        plain::upsample2(x)
    }
}

/// `(b, c, h, w) → (b, c, ⌊h/2⌋, ⌊w/2⌋)`, the sum of each 2×2 block; an odd last row or column is left out.
///
/// # Errors
/// On tensors that are not of rank 4.
pub fn sum_pool2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if is_fast(x) && h > 1 && w > 1 {
        x.contiguous()?.apply_op1(SumPool)
    } else {
        plain::sum_pool2(x)
    }
}

/// The mean of each 2×2 block, as PyTorch's `avg_pool2d(2)`.
///
/// # Errors
/// On tensors that are not of rank 4.
pub fn avg_pool2(x: &Tensor) -> Result<Tensor> {
    sum_pool2(x)? * 0.25
}

struct Upsample;

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample2"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(4 * x.len());
            let planes = y.par_chunks_mut(4 * h * w).with_min_len(planes_per_task(h * w));
            planes.zip(x.par_chunks(h * w)).for_each(|(y, x)| {
                for (x, y) in x.chunks_exact(w).zip(y.chunks_exact_mut(4 * w)) {
                    repeat_row(x, y);
                }
            });
            Ok(output(y, (b, c, 2 * h, 2 * w)))
        })
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        sum_pool2(g).map(Some)
    }
}

fn repeat_row<T: Real>(x: &[T], y: &mut [T]) {
    let (upper, lower) = y.split_at_mut(2 * x.len());
    for (pair, &v) in upper.chunks_exact_mut(2).zip(x) {
        pair[0] = v;
        pair[1] = v;
    }
    lower.copy_from_slice(upper);
}

struct SumPool;

impl CustomOp1 for SumPool {
    fn name(&self) -> &'static str {
        "sum_pool2"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        let (oh, ow) = (h / 2, w / 2);
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(b * c * oh * ow);
            let planes = y.par_chunks_mut(oh * ow).with_min_len(planes_per_task(h * w));
            planes.zip(x.par_chunks(h * w)).for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(ow).zip(x.chunks_exact(2 * w)) {
                    let (upper, lower) = x.split_at(w);
                    for ((y, a), b) in y.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
                        *y = (a[0] + a[1]) + (b[0] + b[1]);
                    }
                }
            });
            Ok(output(y, (b, c, oh, ow)))
        })
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        let dx = upsample2(g)?;
        let dx = if h % 2 == 1 {
            dx.pad_with_zeros(2, 0, 1)?
        } else {
            dx
        };
        let dx = if w % 2 == 1 {
            dx.pad_with_zeros(3, 0, 1)?
        } else {
            dx
        };
        Ok(Some(dx))
    }
}

fn planes_per_task(plane: usize) -> usize {
    16 * 1024 / plane.max(1) + 1
}
