//! Normalisation over a batch.
//!
//! ```text
//! y = γ x̂ + β,  x̂ = (x − mean) / √(variance + ε)        over images and pixels, channel by channel
//! dx = γ (g − mean(g) − x̂ mean(g x̂)) / √(variance + ε)
//! ```
//! with the biased variance of the batch (Ioffe & Szegedy 2015, arXiv:1502.03167, Alg. 1).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::gradients::hand_over;
use crate::real::Real;
use crate::reduce::{lane_sum, lane_sum2};
use crate::simd::{Job, dispatch};
use crate::support::{
    Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real,
};

/// A normalised batch, and what running averages are made of.
#[derive(Debug, Clone)]
pub struct BatchNormed {
    /// Shaped like the input.
    pub y: Tensor,
    /// Mean of each channel, outside every graph.
    pub mean: Tensor,
    /// Biased variance of each channel, outside every graph.
    pub variance: Tensor,
}

/// `x: (b, c)` or `(b, c, …)`, `weight, bias: (c)`. At test time use the running averages in an affine map instead.
///
/// # Errors
/// On shapes that do not fit and on an empty batch.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<BatchNormed> {
    let dims = x.dims();
    if dims.len() < 2 || x.elem_count() == 0 || weight.dims() != [dims[1]] || bias.dims() != [dims[1]] {
        bail!(
            "batch_norm: x {dims:?} must be (b, c, …) and not empty, weight {:?} and bias {:?} of shape (c)",
            weight.dims(),
            bias.dims()
        );
    }
    let (b, c) = (dims[0], dims[1]);
    let flat = x.reshape((b, c, ()))?;
    let n = (flat.elem_count() / c) as f64;
    if is_fast(x) && !keeps_gradient_graphs() {
        let flat = flat.contiguous()?;
        let (mean, variance) = with_real!(x.dtype(), T, {
            slices!(T; x = &flat);
            let plane = x.len() / (b * c);
            let channel = |k: usize| moments(planes(x, (c, plane), k));
            let (mean, variance): (Vec<T>, Vec<T>) = (0..c).into_par_iter().map(channel).unzip();
            (Tensor::from_vec(mean, c, flat.device())?, Tensor::from_vec(variance, c, flat.device())?)
        });
        let op = BatchNorm { mean: mean.clone(), variance: variance.clone(), eps };
        let y = flat.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)?.reshape(x.shape())?;
        return Ok(BatchNormed { y, mean, variance });
    }
    let over = |t: &Tensor| -> Result<Tensor> { t.sum_keepdim(2)?.sum_keepdim(0)? / n };
    let column = |t: &Tensor| t.reshape((1, c, 1));
    let mean = over(&flat)?;
    let centred = flat.broadcast_sub(&mean)?;
    let variance = over(&centred.sqr()?)?;
    let y = centred.broadcast_div(&(&variance + eps)?.sqrt()?)?;
    let y = y.broadcast_mul(&column(weight)?)?.broadcast_add(&column(bias)?)?.reshape(x.shape())?;
    Ok(BatchNormed { y, mean: mean.reshape(c)?.detach(), variance: variance.reshape(c)?.detach() })
}

/// The planes of channel k, image by image.
fn planes<T>(x: &[T], (c, plane): (usize, usize), k: usize) -> impl Iterator<Item = &[T]> + Clone {
    x.chunks_exact(plane).skip(k).step_by(c)
}

/// Mean and biased variance of all planes together.
fn moments<'a, T: Real>(planes: impl Iterator<Item = &'a [T]> + Clone) -> (T, T) {
    struct Sum<'a, T>(&'a [T], T, bool);
    impl<T: Real> Job for Sum<'_, T> {
        type Out = T;
        #[inline(always)]
        fn run(self) -> T {
            let Self(x, mean, squares) = self;
            if squares { lane_sum(x, |v| (v - mean) * (v - mean)) } else { lane_sum(x, |v| v) }
        }
    }
    let n = T::of(planes.clone().map(<[T]>::len).sum::<usize>() as f64);
    let total = |mean: T, squares: bool| {
        planes.clone().map(|x| dispatch(Sum(x, mean, squares))).fold(T::ZERO, |a, b| a + b) / n
    };
    let mean = total(T::ZERO, false);
    (mean, total(mean, true))
}

struct BatchNorm {
    mean: Tensor,
    variance: Tensor,
    eps: f64,
}

/// `y = a x + b`.
struct Affine<'a, T>(&'a [T], T, T, &'a mut [T]);

impl<T: Real> Job for Affine<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(x, a, b, y) = self;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = a * x + b;
        }
    }
}

/// `Σ g` and `Σ g x̂`.
struct Sums<'a, T>(&'a [T], &'a [T], T, T);

impl<T: Real> Job for Sums<'_, T> {
    type Out = (T, T);
    #[inline(always)]
    fn run(self) -> (T, T) {
        let Self(x, g, mean, scale) = self;
        (lane_sum(g, |g| g), lane_sum2(g, x, |g, x| g * ((x - mean) * scale)))
    }
}

/// `dx = f (g − a − x̂ b)`.
struct Centre<'a, T> {
    x: &'a [T],
    g: &'a [T],
    dx: &'a mut [T],
    mean: T,
    scale: T,
    factor: T,
    a: T,
    b: T,
}

impl<T: Real> Job for Centre<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { x, g, dx, mean, scale, factor, a, b } = self;
        for ((d, &x), &g) in dx.iter_mut().zip(x).zip(g) {
            *d = factor * (g - a - (x - mean) * scale * b);
        }
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
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
        let (_, c, plane) = xl.shape().dims3()?;
        with_real!(xs.dtype(), T, {
            let (x, weight, bias) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            slices!(T; mean = &self.mean, variance = &self.variance);
            let mut y = uninit::<T>(x.len());
            let pairs = y.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate();
            pairs.with_min_len(16 * 1024 / plane + 1).for_each(|(i, (y, x))| {
                let k = i % c;
                let a = weight[k] / (variance[k] + T::of(self.eps)).root();
                dispatch(Affine(x, a, bias[k] - a * mean[k], y));
            });
            Ok(output(y, xl.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = incoming("batch_norm", g)?;
        let (_, c, plane) = x.dims3()?;
        with_real!(x.dtype(), T, {
            slices!(T; xs = x, ws = weight, gs = &g, mean = &self.mean, variance = &self.variance);
            let n = T::of((xs.len() / c) as f64);
            let mut dx = uninit::<T>(xs.len());
            let all = Shared::new(&mut dx);
            let channel = |k: usize| {
                let (mean, scale) = (mean[k], T::ONE / (variance[k] + T::of(self.eps)).root());
                let pairs = || planes(xs, (c, plane), k).zip(planes(gs, (c, plane), k));
                let (by_bias, by_weight) = pairs()
                    .map(|(x, g)| dispatch(Sums(x, g, mean, scale)))
                    .fold((T::ZERO, T::ZERO), |(a, b), (s, t)| (a + s, b + t));
                for (i, (x, g)) in pairs().enumerate() {
                    // SAFETY: this task alone writes the planes of its channel.
                    let dx = unsafe { all.part((i * c + k) * plane, plane) };
                    let (factor, a, b) = (ws[k] * scale, by_bias / n, by_weight / n);
                    dispatch(Centre { x, g, dx, mean, scale, factor, a, b });
                }
                (by_weight, by_bias)
            };
            let (dw, db): (Vec<T>, Vec<T>) = (0..c).into_par_iter().map(channel).unzip();
            let grad =
                |of: &Tensor, v: Vec<T>| hand_over(of, || Tensor::from_vec(v, of.shape(), of.device()));
            Ok((grad(x, dx)?, grad(weight, dw)?, grad(bias, db)?))
        })
    }
}
