//! The gate of a PixelCNN (van den Oord et al. 2016, arXiv:1606.05328, eq. 2): `y = tanh(a) ⊙ σ(b)`, where `a` and `b`
//! are the two halves of the channels, in one pass.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{Activation, act};
use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::support::{incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real};

/// `(b, 2c, …) → (b, c, …)`: the first c channels through tanh, times the last c through the logistic function.
/// Error as [`act`]'s: 4e-7 relative in f32.
///
/// # Errors
/// On an odd number of channels.
pub fn gate(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if !channels.is_multiple_of(2) {
        bail!("gate: expected an even number of channels, got {channels}");
    }
    if is_fast(x) && !keeps_gradient_graphs() {
        return x.contiguous()?.apply_op1(Gate);
    }
    let half = channels / 2;
    let value = act(&x.narrow(1, 0, half)?, Activation::Tanh)?;
    value.mul(&act(&x.narrow(1, half, half)?, Activation::Sigmoid)?)
}

struct Gate;

/// Rows of so many elements per task.
fn rows_per_task(row: usize) -> usize {
    8 * 1024 / row.max(1) + 1
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut shape = l.shape().dims().to_vec();
        shape[1] /= 2;
        let half: usize = shape[1..].iter().product();
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(x.len() / 2);
            y.par_chunks_mut(half)
                .zip(x.par_chunks(2 * half))
                .with_min_len(rows_per_task(half))
                .for_each(|(y, x)| dispatch(Value(x, y)));
            Ok(output(y, shape))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = incoming("gate", g)?;
        let half: usize = g.dims()[1..].iter().product();
        with_real!(x.dtype(), T, {
            slices!(T; xs = x, gs = &g);
            let mut dx = uninit::<T>(xs.len());
            dx.par_chunks_mut(2 * half)
                .zip(xs.par_chunks(2 * half))
                .zip(gs.par_chunks(half))
                .with_min_len(rows_per_task(half))
                .for_each(|((dx, x), g)| dispatch(Slope { x, g, dx }));
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }
}

struct Value<'a, T>(&'a [T], &'a mut [T]);

impl<T: Real> Job for Value<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(x, y) = self;
        let (a, b) = x.split_at(y.len());
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a.hyperbolic_tangent() * b.logistic();
        }
    }
}

struct Slope<'a, T> {
    x: &'a [T],
    g: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> Job for Slope<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { x, g, dx } = self;
        let (a, b) = x.split_at(g.len());
        let (da, db) = dx.split_at_mut(g.len());
        for ((((da, db), &a), &b), &g) in da.iter_mut().zip(db).zip(a).zip(b).zip(g) {
            let (t, s) = (a.hyperbolic_tangent(), b.logistic());
            *da = g * s * (T::ONE - t * t);
            *db = g * t * s * (T::ONE - s);
        }
    }
}
