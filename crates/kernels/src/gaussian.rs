//! The log-density of a diagonal Gaussian, summed over each row, in one pass:
//!
//! ```text
//! log N(x; μ, diag e^ℓ) = −½ Σ [(x − μ)² e^{−ℓ} + ℓ + log 2π]
//! ∂x = −δ    ∂μ = δ    ∂ℓ = ½ (δ (x − μ) − 1)    with δ = (x − μ) e^{−ℓ}
//! ```

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::gradients::hand_over;
use crate::real::Real;
use crate::reduce::{LANES, fold_lanes};
use crate::simd::{Job, dispatch};
use crate::support::{
    Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real,
};

/// `log 2π`.
const LOG_TAU: f64 = 1.837_877_066_409_345_6;

/// `log N(x; mean, diag exp(log_variance))` in nats, `(b, …) → (b)`; all three of one shape. Error in f32: 1e-6 of the
/// largest term times the row's length.
///
/// # Errors
/// On scalars and on different shapes.
pub fn gaussian_rows(x: &Tensor, mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 || x.shape() != mean.shape() || x.shape() != log_variance.shape() {
        bail!(
            "gaussian_rows: x {:?}, mean {:?} and log_variance {:?} must have one shape (b, …)",
            x.dims(),
            mean.dims(),
            log_variance.dims()
        );
    }
    let b = x.dim(0)?;
    if !is_fast(x) || keeps_gradient_graphs() {
        let terms = ((x - mean)?.sqr()? * log_variance.neg()?.exp()?)? + log_variance;
        let width: usize = x.dims()[1..].iter().product();
        return terms?.reshape((b, width))?.sum(1)?.affine(-0.5, -0.5 * LOG_TAU * width as f64);
    }
    let flat = |t: &Tensor| t.reshape((b, ()))?.contiguous();
    flat(x)?.apply_op3(&flat(mean)?, &flat(log_variance)?, Gaussian)
}

struct Gaussian;

struct Row<'a, T>(&'a [T], &'a [T], &'a [T]);

impl<T: Real> Job for Row<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run(self) -> T {
        let Self(x, mean, lv) = self;
        let mut lanes = [T::ZERO; LANES];
        for ((x, mean), lv) in x.chunks(LANES).zip(mean.chunks(LANES)).zip(lv.chunks(LANES)) {
            for (((lane, &x), &mean), &lv) in lanes.iter_mut().zip(x).zip(mean).zip(lv) {
                let d = x - mean;
                *lane += d * d * (-lv).exponential() + lv;
            }
        }
        (fold_lanes(lanes) + T::of(LOG_TAU * x.len() as f64)) * T::of(-0.5)
    }
}

/// The gradients of one row times `g`.
struct RowGradient<'a, T> {
    from: Row<'a, T>,
    g: T,
    dx: &'a mut [T],
    dm: &'a mut [T],
    dl: &'a mut [T],
}

impl<T: Real> Job for RowGradient<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { from: Row(x, mean, lv), g, dx, dm, dl } = self;
        let out = dx.iter_mut().zip(dm).zip(dl);
        for (((dx, dm), dl), ((&x, &mean), &lv)) in out.zip(x.iter().zip(mean).zip(lv)) {
            let d = x - mean;
            let delta = d * (-lv).exponential();
            *dx = -g * delta;
            *dm = g * delta;
            *dl = g * T::of(0.5) * (delta * d - T::ONE);
        }
    }
}

impl CustomOp3 for Gaussian {
    fn name(&self) -> &'static str {
        "gaussian_rows"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ms: &CpuStorage,
        ml: &Layout,
        ls: &CpuStorage,
        ll: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, width) = xl.shape().dims2()?;
        with_real!(xs.dtype(), T, {
            let (x, m, lv) = (slice::<T>(xs, xl)?, slice::<T>(ms, ml)?, slice::<T>(ls, ll)?);
            let rows = x.par_chunks(width).zip(m.par_chunks(width)).zip(lv.par_chunks(width));
            let rows = rows.with_min_len(8 * 1024 / width + 1);
            let values: Vec<T> = rows.map(|((x, m), lv)| dispatch(Row(x, m, lv))).collect();
            Ok(output(values, b))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        mean: &Tensor,
        log_variance: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = incoming("gaussian_rows", g)?;
        let (_, width) = x.dims2()?;
        with_real!(x.dtype(), T, {
            slices!(T; xs = x, ms = mean, ls = log_variance, gs = &g);
            let (mut dm, mut dl) = (uninit::<T>(xs.len()), uninit::<T>(xs.len()));
            let mut dx = uninit::<T>(xs.len());
            let (all_m, all_l) = (Shared::new(&mut dm), Shared::new(&mut dl));
            let rows = dx.par_chunks_mut(width).enumerate().with_min_len(8 * 1024 / width + 1);
            rows.for_each(|(i, dx)| {
                let at = i * width..(i + 1) * width;
                // SAFETY: row i is written by this task alone.
                let (dm, dl) = unsafe { (all_m.part(at.start, width), all_l.part(at.start, width)) };
                let from = Row(&xs[at.clone()], &ms[at.clone()], &ls[at]);
                dispatch(RowGradient { from, g: gs[i], dx, dm, dl });
            });
            let grad =
                |of: &Tensor, v: Vec<T>| hand_over(of, || Tensor::from_vec(v, of.shape(), of.device()));
            Ok((grad(x, dx)?, grad(mean, dm)?, grad(log_variance, dl)?))
        })
    }
}
