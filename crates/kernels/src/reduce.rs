//! Sums and soft maxima, over leading rows (slow in candle), over the last dimension and over any.

use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::crew::collect;
use crate::plain;
use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::support::{fill_blocks, is_fast, output, slice, slices, uninit, with_real};

/// Sum over all dimensions but the last: `(…, d) → (d)`.
///
/// # Errors
/// On scalars.
pub fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let x = x.reshape(((), width))?;
    if is_fast(&x) { x.contiguous()?.apply_op1(SumRows) } else { x.sum(0) }
}

/// Sum over one dimension, which is removed.
///
/// # Errors
/// When there is no such dimension.
pub fn sum_over<D: Dim>(x: &Tensor, dim: D) -> Result<Tensor> {
    let dim = dim.to_index(x.shape(), "sum_over")?;
    let (outer, inner) = (&x.dims()[..dim], &x.dims()[dim + 1..]);
    if !is_fast(x) || inner.is_empty() {
        return x.sum(dim);
    }
    let shape: Vec<usize> = outer.iter().chain(inner).copied().collect();
    let (outer, inner) = (outer.iter().product::<usize>(), inner.iter().product::<usize>());
    let x = x.reshape((outer, x.dims()[dim], inner))?.contiguous()?;
    let sums = if outer == 1 { sum_rows(&x)? } else { x.apply_op1(SumMiddle)? };
    sums.reshape(shape)
}

/// `ln Σ exp(x)` over one dimension, which is removed; see [`log_sum_exp`].
///
/// # Errors
/// When there is no such dimension.
pub fn log_sum_exp_over<D: Dim>(x: &Tensor, dim: D) -> Result<Tensor> {
    let dim = dim.to_index(x.shape(), "log_sum_exp_over")?;
    let order: Vec<usize> = (0..x.rank()).filter(|&d| d != dim).chain([dim]).collect();
    log_sum_exp(&x.permute(order)?.contiguous()?)
}

/// Softmax over the last dimension, stable for any finite input.
///
/// # Errors
/// On scalars.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    x.dim(D::Minus1)?;
    if is_fast(x) { x.contiguous()?.apply_op1(Softmax) } else { plain::softmax(x) }
}

/// `ln Σ exp(x)` over the last dimension: `(…, d) → (…)`. A row of −∞ gives −∞.
///
/// # Errors
/// On scalars.
pub fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    x.dim(D::Minus1)?;
    if is_fast(x) { x.contiguous()?.apply_op1(LogSumExp) } else { plain::log_sum_exp(x) }
}

/// `(outer, n, inner) → (outer, inner)`.
struct SumMiddle;

impl CustomOp1 for SumMiddle {
    fn name(&self) -> &'static str {
        "sum_over"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (outer, n, inner) = l.shape().dims3()?;
        with_real!(s.dtype(), T, {
            let mut sums = vec![T::ZERO; outer * inner];
            let pairs = sums.par_chunks_mut(inner).zip(slice::<T>(s, l)?.par_chunks(n * inner));
            pairs.with_min_len(16 * 1024 / (n * inner) + 1).for_each(|(sum, x)| add_rows(sum, x));
            Ok(output(sums, (outer, inner)))
        })
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        g.unsqueeze(1)?.broadcast_as(x.shape())?.contiguous().map(Some)
    }
}

struct SumRows;

impl CustomOp1 for SumRows {
    fn name(&self) -> &'static str {
        "sum_rows"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = l.shape().dims2()?;
        with_real!(s.dtype(), T, Ok(output(column_sums(slice::<T>(s, l)?, width), width)))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        g.broadcast_as(x.shape())?.contiguous().map(Some)
    }
}

/// Column sums of a contiguous CPU matrix, outside any graph.
pub(crate) fn sum_rows_of<T: Real>(x: &Tensor) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    slices!(T; v = x);
    Tensor::from_vec(column_sums(v, width), width, x.device())
}

/// Column sums, in blocks of rows that depend on the shape alone and are added in order.
pub(crate) fn column_sums<T: Real>(x: &[T], width: usize) -> Vec<T> {
    let rows = (64 * 1024 / width.max(1)).max(16);
    if x.len() <= rows * width {
        let mut sum = vec![T::ZERO; width];
        add_rows(&mut sum, x);
        return sum;
    }
    let partial = collect(x.len().div_ceil(rows * width), |i| {
        let mut sum = vec![T::ZERO; width];
        add_rows(&mut sum, &x[i * rows * width..x.len().min((i + 1) * rows * width)]);
        sum
    });
    let mut sum = vec![T::ZERO; width];
    for p in &partial {
        add_rows(&mut sum, p);
    }
    sum
}

/// `sum += Σ rows of x`, x holding rows as long as `sum`.
pub(crate) fn add_rows<T: Real>(sum: &mut [T], x: &[T]) {
    struct Add<'a, T>(&'a mut [T], &'a [T]);
    impl<T: Real> Job for Add<'_, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(sum, x) = self;
            for row in x.chunks_exact(sum.len()) {
                for (s, &v) in sum.iter_mut().zip(row) {
                    *s += v;
                }
            }
        }
    }
    if !sum.is_empty() {
        dispatch(Add(sum, x));
    }
}

/// Lanes of the running sums below: fixed, so that every processor adds in the same order.
pub(crate) const LANES: usize = 32;

/// `Σ f(x)` over a slice.
#[inline(always)]
pub(crate) fn lane_sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let mut blocks = x.chunks_exact(LANES);
    for block in &mut blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane += f(v);
    }
    fold_lanes(lanes)
}

/// `Σ f(x, y)` over two slices of the same length.
#[inline(always)]
pub(crate) fn lane_sum2<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (mut a, mut b) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (p, q) in (&mut a).zip(&mut b) {
        for ((lane, &v), &w) in lanes.iter_mut().zip(p).zip(q) {
            *lane += f(v, w);
        }
    }
    for ((lane, &v), &w) in lanes.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *lane += f(v, w);
    }
    fold_lanes(lanes)
}

#[inline(always)]
pub(crate) fn fold_lanes<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            let upper = lanes[i + width];
            lanes[i] += upper;
        }
    }
    lanes[0]
}

/// The largest element that is a number; −∞ where there is none.
#[inline(always)]
fn largest<T: Real>(x: &[T]) -> T {
    let mut lanes = [T::of(f64::NEG_INFINITY); LANES];
    let mut blocks = x.chunks_exact(LANES);
    let raise = |lane: &mut T, v: T| *lane = if v > *lane { v } else { *lane };
    for block in &mut blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            raise(lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(blocks.remainder()) {
        raise(lane, v);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            let upper = lanes[i + width];
            raise(&mut lanes[i], upper);
        }
    }
    lanes[0]
}

struct Softmax;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = l.shape().dims().last().copied().unwrap_or(1);
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(x.len());
            fill_blocks(&mut y, block(width), |at, y| {
                for (y, x) in y.chunks_exact_mut(width).zip(x[at..].chunks_exact(width)) {
                    dispatch(SoftmaxRow(x, y));
                }
            });
            Ok(output(y, l.shape()))
        })
    }
    fn bwd(&self, _: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        softmax_grad(y, g).map(Some)
    }
}

/// `y (g − Σ g y)`, row by row: symmetric in its use of the Jacobian, so that ∂/∂g is itself.
fn softmax_grad(y: &Tensor, g: &Tensor) -> Result<Tensor> {
    y.contiguous()?.apply_op2(&g.contiguous()?, SoftmaxGrad)
}

struct SoftmaxGrad;

impl CustomOp2 for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax_grad"
    }
    fn cpu_fwd(
        &self,
        ys: &CpuStorage,
        yl: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = yl.shape().dims().last().copied().unwrap_or(1);
        with_real!(ys.dtype(), T, {
            let (y, g) = (slice::<T>(ys, yl)?, slice::<T>(gs, gl)?);
            let mut out = uninit::<T>(y.len());
            fill_blocks(&mut out, block(width), |at, out| {
                let rows = y[at..].chunks_exact(width).zip(g[at..].chunks_exact(width));
                for (out, (y, g)) in out.chunks_exact_mut(width).zip(rows) {
                    dispatch(SoftmaxGradRow(y, g, out));
                }
            });
            Ok(output(out, yl.shape()))
        })
    }
    /// `∂/∂y ⟨h, y (g − Σ g y)⟩ = h (g − Σ g y) − g Σ h y`
    fn bwd(
        &self,
        y: &Tensor,
        g: &Tensor,
        _: &Tensor,
        h: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let inner = |a: &Tensor| (a * y)?.sum_keepdim(D::Minus1);
        let dy = || h.mul(&g.broadcast_sub(&inner(g)?)?)? - g.broadcast_mul(&inner(h)?)?;
        Ok((
            if y.track_op() { Some(dy()?) } else { None },
            if g.track_op() { Some(softmax_grad(y, h)?) } else { None },
        ))
    }
}

struct SoftmaxGradRow<'a, T>(&'a [T], &'a [T], &'a mut [T]);

impl<T: Real> Job for SoftmaxGradRow<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(y, g, out) = self;
        let inner = lane_sum2(y, g, |y, g| y * g);
        for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
            *out = y * (g - inner);
        }
    }
}

/// Whole rows of about 16,384 numbers: what one thread takes at a time.
fn block(width: usize) -> usize {
    (16 * 1024 / width).max(1) * width
}

pub(crate) struct SoftmaxRow<'a, T>(pub(crate) &'a [T], pub(crate) &'a mut [T]);

impl<T: Real> Job for SoftmaxRow<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(x, y) = self;
        let max = largest(x);
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - max).exponential();
        }
        let scale = T::ONE / lane_sum(y, |v| v);
        for y in y {
            *y *= scale;
        }
    }
}

struct LogSumExp;

impl CustomOp1 for LogSumExp {
    fn name(&self) -> &'static str {
        "log_sum_exp"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let dims = l.shape().dims();
        let (outer, width) = (&dims[..dims.len() - 1], dims[dims.len() - 1]);
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut rows = uninit::<T>(x.len() / width);
            fill_blocks(&mut rows, block(width) / width, |at, out| {
                for (out, row) in out.iter_mut().zip(x[at * width..].chunks_exact(width)) {
                    *out = dispatch(LogSumExpRow(row));
                }
            });
            Ok(output(rows, outer.to_vec()))
        })
    }
    /// `g · softmax(x)`
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        softmax(x)?.broadcast_mul(&g.unsqueeze(D::Minus1)?).map(Some)
    }
}

struct LogSumExpRow<'a, T>(&'a [T]);

impl<T: Real> Job for LogSumExpRow<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run(self) -> T {
        let max = largest(self.0);
        if max.wide().is_infinite() {
            // The largest number may stand beside what is none.
            return self.0.iter().copied().find(|v| v.wide().is_nan()).unwrap_or(max);
        }
        let sum = lane_sum(self.0, |v| (v - max).exponential());
        max + T::of(sum.wide().ln())
    }
}
