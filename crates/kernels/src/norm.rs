//! Group normalisation (with an optional SiLU behind it) and layer normalisation.
//!
//! ```text
//! x̂ = (x − mean) / √(variance + ε)        y = f(γ x̂ + β)
//! dx = (d γ − mean(d γ) − x̂ mean(d γ x̂)) / √(variance + ε),   d = g f'(γ x̂ + β)
//! ```
//! Mean and (biased) variance are taken over a group of channels and all pixels of one image, or over the last
//! dimension (Wu & He 2018, arXiv:1803.08494; Ba et al. 2016, arXiv:1607.06450).

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{Activation, Bias, finish_row};
use crate::gradients::hand_over;
use crate::plain;
use crate::real::Real;
use crate::reduce::{add_rows, lane_sum, lane_sum2};
use crate::simd::{Job, dispatch};
use crate::support::{
    Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real,
};

/// `x: (b, c, h, w)`, `weight, bias: (c)`; `silu` applies SiLU to the result.
///
/// # Errors
/// When `groups` does not divide the channels, or shapes do not fit.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let (_, c, _, _) = x.dims4()?;
    if groups == 0 || c % groups != 0 {
        bail!("group_norm: {groups} groups do not divide {c} channels");
    }
    if weight.dims() != [c] || bias.dims() != [c] {
        bail!("group_norm: weight {:?} and bias {:?} must have shape [{c}]", weight.dims(), bias.dims());
    }
    let f = if silu { Activation::Silu } else { Activation::Identity };
    if !is_fast(x) || keeps_gradient_graphs() {
        return plain::group_norm(x, groups, weight, bias, eps, f);
    }
    let op = GroupNorm { groups, eps, f, statistics: OnceLock::new() };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// Normalises each channel of each image by itself (Ulyanov et al. 2016, arXiv:1607.08022): group norm with as many
/// groups as channels.
///
/// # Errors
/// As [`group_norm`].
pub fn instance_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    group_norm(x, x.dim(1)?, weight, bias, eps, false)
}

/// Normalises the last dimension: `x: (…, d)`, `weight, bias: (d)`.
///
/// # Errors
/// When shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if weight.dims() != [width] || bias.dims() != [width] {
        bail!("layer_norm: weight {:?} and bias {:?} must have shape [{width}]", weight.dims(), bias.dims());
    }
    if !is_fast(x) || keeps_gradient_graphs() {
        return plain::layer_norm(x, weight, bias, eps);
    }
    let op = LayerNorm { eps, statistics: OnceLock::new() };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// `(mean, 1 / √(variance + ε))` of a slice.
pub(crate) struct Statistics<'a, T>(pub(crate) &'a [T], pub(crate) f64);

impl<T: Real> Job for Statistics<'_, T> {
    type Out = (T, T);
    #[inline(always)]
    fn run(self) -> (T, T) {
        let Self(x, eps) = self;
        let n = T::of(x.len() as f64);
        let mean = lane_sum(x, |v| v) / n;
        let variance = lane_sum(x, |v| (v - mean) * (v - mean)) / n;
        (mean, T::ONE / (variance + T::of(eps)).root())
    }
}

/// `out = a x`, with the shift left to the activation pass.
struct Scale<'a, T>(&'a [T], T, &'a mut [T]);

impl<T: Real> Job for Scale<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(x, a, out) = self;
        for (y, &x) in out.iter_mut().zip(x) {
            *y = a * x;
        }
    }
}

/// `d = g f'(γ x̂ + β)` and the sums `Σ d`, `Σ d x̂`.
struct Slope<'a, T> {
    x: &'a [T],
    g: &'a [T],
    d: &'a mut [T],
    mean: T,
    scale: T,
    weight: T,
    bias: T,
    silu: bool,
}

impl<T: Real> Job for Slope<'_, T> {
    type Out = (T, T);
    #[inline(always)]
    fn run(self) -> (T, T) {
        let Self { x, g, d, mean, scale, weight, bias, silu } = self;
        if silu {
            for ((d, &x), &g) in d.iter_mut().zip(x).zip(g) {
                let a = weight * ((x - mean) * scale) + bias;
                let s = a.logistic();
                *d = g * (s + a * s * (T::ONE - s));
            }
        } else {
            d.copy_from_slice(g);
        }
        let sum = lane_sum(d, |d| d);
        let dot = lane_sum2(d, x, |d, x| d * ((x - mean) * scale));
        (sum, dot)
    }
}

/// In place `d = scale · (weight d − a − x̂ b)`.
pub(crate) struct Centre<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) d: &'a mut [T],
    pub(crate) mean: T,
    pub(crate) scale: T,
    pub(crate) weight: T,
    pub(crate) a: T,
    pub(crate) b: T,
}

impl<T: Real> Job for Centre<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { x, d, mean, scale, weight, a, b } = self;
        for (d, &x) in d.iter_mut().zip(x) {
            *d = scale * (weight * *d - a - (x - mean) * scale * b);
        }
    }
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// The gradients of those arguments that are in a graph; frozen ones take none.
fn tracked([x, weight, bias]: [&Tensor; 3], [dx, dw, db]: [Tensor; 3]) -> Result<Gradients> {
    Ok((hand_over(x, || Ok(dx))?, hand_over(weight, || Ok(dw))?, hand_over(bias, || Ok(db))?))
}

struct GroupNorm {
    groups: usize,
    eps: f64,
    f: Activation,
    /// `(b · groups, 2)`: mean and inverse deviation of each group.
    statistics: OnceLock<Tensor>,
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
        bs: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = xl.shape().dims4()?;
        let (plane, channels) = (h * w, c / self.groups);
        let block = channels * plane;
        with_real!(xs.dtype(), T, {
            let (x, weight, bias) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            let mut y = uninit::<T>(x.len());
            let mut statistics = uninit::<T>(2 * b * self.groups);
            y.par_chunks_mut(block)
                .zip(x.par_chunks(block))
                .zip(statistics.par_chunks_mut(2))
                .enumerate()
                .with_min_len(8 * 1024 / block + 1)
                .for_each(|(i, ((y, x), kept))| {
                    let (mean, scale) = dispatch(Statistics(x, self.eps));
                    kept.copy_from_slice(&[mean, scale]);
                    let first = i % self.groups * channels;
                    for (j, (y, x)) in y.chunks_mut(plane).zip(x.chunks(plane)).enumerate() {
                        let a = weight[first + j] * scale;
                        dispatch(Scale(x, a, y));
                        finish_row(self.f, Bias::All(bias[first + j] - a * mean), y, None);
                    }
                });
            let _ = self.statistics.set(Tensor::from_vec(
                statistics,
                (b * self.groups, 2),
                &candle_core::Device::Cpu,
            )?);
            Ok(output(y, (b, c, h, w)))
        })
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, _: &Tensor, g: &Tensor) -> Result<Gradients> {
        let g = incoming("group_norm", g)?;
        let Some(statistics) = self.statistics.get() else { bail!("group_norm: no forward pass was run") };
        let all = with_real!(x.dtype(), T, {
            slices!(T; xs = x, g = &g, s = statistics, w = weight, b = bias);
            self.grads(x, xs, g, s, w, b)?
        });
        tracked([x, weight, bias], all)
    }
}

impl GroupNorm {
    fn grads<T: Real>(
        &self,
        shape: &Tensor,
        x: &[T],
        g: &[T],
        statistics: &[T],
        weight: &[T],
        bias: &[T],
    ) -> Result<[Tensor; 3]> {
        let (b, c, h, w) = shape.dims4()?;
        let (plane, channels) = (h * w, c / self.groups);
        let block = channels * plane;
        let count = T::of(block as f64);
        let mut dx = uninit::<T>(x.len());
        // Row i: the sums over image i of d (for β) and of d x̂ (for γ), channel by channel.
        let mut sums = uninit::<T>(b * 2 * c);
        let shared = Shared::new(&mut sums);
        let blocks = dx.par_chunks_mut(block).zip(x.par_chunks(block)).zip(g.par_chunks(block)).enumerate();
        blocks.with_min_len(8 * 1024 / block + 1).for_each(|(i, ((dx, x), g))| {
            let (mean, scale) = (statistics[2 * i], statistics[2 * i + 1]);
            let (image, first) = (i / self.groups, i % self.groups * channels);
            // SAFETY: block i writes the channels of its own group in its own image, and no other block does.
            let (by_bias, by_weight) = unsafe {
                (
                    shared.part(image * 2 * c + first, channels),
                    shared.part(image * 2 * c + c + first, channels),
                )
            };
            let (mut a, mut d) = (T::ZERO, T::ZERO);
            for j in 0..channels {
                let at = j * plane..(j + 1) * plane;
                let weight = weight[first + j];
                let (sum, dot) = dispatch(Slope {
                    x: &x[at.clone()],
                    g: &g[at.clone()],
                    d: &mut dx[at],
                    mean,
                    scale,
                    weight,
                    bias: bias[first + j],
                    silu: self.f == Activation::Silu,
                });
                by_bias[j] = sum;
                by_weight[j] = dot;
                a += weight * sum;
                d += weight * dot;
            }
            for j in 0..channels {
                let at = j * plane..(j + 1) * plane;
                dispatch(Centre {
                    x: &x[at.clone()],
                    d: &mut dx[at],
                    mean,
                    scale,
                    weight: weight[first + j],
                    a: a / count,
                    b: d / count,
                });
            }
        });
        let mut total = vec![T::ZERO; 2 * c];
        add_rows(&mut total, &sums);
        let by_weight = total.split_off(c);
        let device = shape.device();
        Ok([
            Tensor::from_vec(dx, (b, c, h, w), device)?,
            Tensor::from_vec(by_weight, c, device)?,
            Tensor::from_vec(total, c, device)?,
        ])
    }
}

struct LayerNorm {
    eps: f64,
    statistics: OnceLock<Tensor>,
}

/// `y = γ x̂ + β`, elementwise γ and β.
struct Affine<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    mean: T,
    scale: T,
    weight: &'a [T],
    bias: &'a [T],
}

impl<T: Real> Job for Affine<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { x, y, mean, scale, weight, bias } = self;
        for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = (x - mean) * scale * w + b;
        }
    }
}

/// One row of the backward pass: `dx`, and its share of the sums for γ and β.
struct AffineGrad<'a, T> {
    x: &'a [T],
    g: &'a [T],
    dx: &'a mut [T],
    mean: T,
    scale: T,
    weight: &'a [T],
    by_weight: &'a mut [T],
    by_bias: &'a mut [T],
}

impl<T: Real> Job for AffineGrad<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { x, g, dx, mean, scale, weight, by_weight, by_bias } = self;
        let n = T::of(x.len() as f64);
        for ((d, &g), &w) in dx.iter_mut().zip(g).zip(weight) {
            *d = g * w;
        }
        let a = lane_sum(dx, |d| d) / n;
        let b = lane_sum2(dx, x, |d, x| d * ((x - mean) * scale)) / n;
        for ((d, &x), ((&g, s), t)) in dx.iter_mut().zip(x).zip(g.iter().zip(by_weight).zip(by_bias)) {
            let z = (x - mean) * scale;
            *d = scale * (*d - a - z * b);
            *s += g * z;
            *t += g;
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
        bs: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(xs.dtype(), T, {
            let (x, weight, bias) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            let width = weight.len();
            let rows = x.len() / width;
            let mut y = uninit::<T>(x.len());
            let mut statistics = uninit::<T>(2 * rows);
            y.par_chunks_mut(width)
                .zip(x.par_chunks(width))
                .zip(statistics.par_chunks_mut(2))
                .with_min_len(8 * 1024 / width + 1)
                .for_each(|((y, x), kept)| {
                    let (mean, scale) = dispatch(Statistics(x, self.eps));
                    kept.copy_from_slice(&[mean, scale]);
                    dispatch(Affine { x, y, mean, scale, weight, bias });
                });
            let _ = self.statistics.set(Tensor::from_vec(statistics, (rows, 2), &candle_core::Device::Cpu)?);
            Ok(output(y, xl.shape()))
        })
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, _: &Tensor, g: &Tensor) -> Result<Gradients> {
        let g = incoming("layer_norm", g)?;
        let Some(statistics) = self.statistics.get() else { bail!("layer_norm: no forward pass was run") };
        let all = with_real!(x.dtype(), T, {
            slices!(T; xs = x, g = &g, s = statistics, w = weight);
            layer_norm_grads(x, xs, g, s, w)?
        });
        tracked([x, weight, bias], all)
    }
}

fn layer_norm_grads<T: Real>(
    shape: &Tensor,
    x: &[T],
    g: &[T],
    statistics: &[T],
    weight: &[T],
) -> Result<[Tensor; 3]> {
    let width = weight.len();
    let rows = (16 * 1024 / width).max(1);
    let mut dx = uninit::<T>(x.len());
    // Each block of rows keeps its own sums; blocks depend on the shape alone and are added in order.
    let sums: Vec<Vec<T>> = dx
        .par_chunks_mut(rows * width)
        .zip(x.par_chunks(rows * width))
        .zip(g.par_chunks(rows * width))
        .zip(statistics.par_chunks(2 * rows))
        .map(|(((dx, x), g), statistics)| {
            let mut sums = vec![T::ZERO; 2 * width];
            let (by_weight, by_bias) = sums.split_at_mut(width);
            let lines =
                dx.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)).zip(statistics.chunks(2));
            for (((dx, x), g), s) in lines {
                let (mean, scale) = (s[0], s[1]);
                dispatch(AffineGrad { x, g, dx, mean, scale, weight, by_weight, by_bias });
            }
            sums
        })
        .collect();
    let mut total = vec![T::ZERO; 2 * width];
    for s in &sums {
        add_rows(&mut total, s);
    }
    let by_bias = total.split_off(width);
    let device = shape.device();
    Ok([
        Tensor::from_vec(dx, shape.shape(), device)?,
        Tensor::from_vec(total, width, device)?,
        Tensor::from_vec(by_bias, width, device)?,
    ])
}
