//! Nearest-neighbour upsampling by two and its adjoint, the sum over 2×2 blocks: each is the other's derivative.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::pad::{Margins, pad2d};
use crate::plain;
use crate::real::Real;
use crate::support::{is_fast, output, slice, uninit, with_real};

/// `(b, c, h, w) → (b, c, 2h, 2w)`, each pixel repeated in a 2×2 block.
///
/// # Errors
/// On tensors that are not of rank 4.
pub fn upsample2(x: &Tensor) -> Result<Tensor> {
    x.dims4()?;
    if is_fast(x) { x.contiguous()?.apply_op1(Upsample) } else { plain::upsample2(x) }
}

/// `(b, c, h, w) → (b, c, ⌊h/2⌋, ⌊w/2⌋)`, the sum of each 2×2 block; an odd last row or column is left out.
///
/// # Errors
/// On tensors that are not of rank 4.
pub fn sum_pool2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if is_fast(x) && h > 1 && w > 1 { x.contiguous()?.apply_op1(SumPool) } else { plain::sum_pool2(x) }
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
        let odd = Margins { bottom: (h % 2) as isize, right: (w % 2) as isize, ..Margins::default() };
        pad2d(&upsample2(g)?, odd).map(Some)
    }
}

fn planes_per_task(plane: usize) -> usize {
    16 * 1024 / plane.max(1) + 1
}

/// Channels of `a` and then of `b`: `(b, c, h, w), (b, d, h, w) → (b, c + d, h, w)`.
///
/// candle's `cat` has the same value; its backward hands out strided slices, which are slow to add.
///
/// # Errors
/// When the other sizes differ.
pub fn cat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((n, _, h, w), (n2, _, h2, w2)) = (a.dims4()?, b.dims4()?);
    if (n, h, w) != (n2, h2, w2) {
        bail!("cat_channels: shapes {:?} and {:?} differ beyond their channels", a.dims(), b.dims());
    }
    if is_fast(a) && is_fast(b) && a.dtype() == b.dtype() {
        a.contiguous()?.apply_op2(&b.contiguous()?, CatChannels)
    } else {
        Tensor::cat(&[a, b], 1)
    }
}

struct CatChannels;

impl CustomOp2 for CatChannels {
    fn name(&self) -> &'static str {
        "cat_channels"
    }
    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, c, h, w), (_, d, ..)) = (l1.shape().dims4()?, l2.shape().dims4()?);
        let (left, right) = (c * h * w, d * h * w);
        with_real!(s1.dtype(), T, {
            let (a, b) = (slice::<T>(s1, l1)?, slice::<T>(s2, l2)?);
            let mut y = uninit::<T>(n * (left + right));
            y.par_chunks_mut(left + right)
                .zip(a.par_chunks(left))
                .zip(b.par_chunks(right))
                .with_min_len(16 * 1024 / (left + right) + 1)
                .for_each(|((y, a), b)| {
                    y[..left].copy_from_slice(a);
                    y[left..].copy_from_slice(b);
                });
            Ok(output(y, (n, c + d, h, w)))
        })
    }
    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (c, d) = (a.dim(1)?, b.dim(1)?);
        Ok((Some(g.narrow(1, 0, c)?.contiguous()?), Some(g.narrow(1, c, d)?.contiguous()?)))
    }
}
