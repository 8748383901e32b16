//! Binary cross-entropy from logits: `−t ln σ(l) − (1 − t) ln(1 − σ(l)) = softplus(l) − l t`, finite for any finite logit.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{Activation, act};
use crate::real::Real;
use crate::reduce::lane_sum2;
use crate::simd::{Job, dispatch};
use crate::support::{incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real};

/// `softplus(logits) − logits · targets`, elementwise, in nats.
///
/// # Errors
/// On different shapes.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if logits.shape() != targets.shape() {
        bail!(
            "bce_with_logits: logits {:?} and targets {:?} must have one shape",
            logits.dims(),
            targets.dims()
        );
    }
    act(logits, Activation::Softplus)? - (logits * targets)?
}

/// The sum of [`bce_with_logits`] over all dimensions but the first: `(b, …) → (b)`, in one pass.
///
/// # Errors
/// On scalars and on different shapes.
pub fn bce_with_logits_rows(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if logits.shape() != targets.shape() || logits.rank() == 0 {
        bail!(
            "bce_with_logits: logits {:?} and targets {:?} must have one shape",
            logits.dims(),
            targets.dims()
        );
    }
    let rows = logits.dim(0)?;
    let (l, t) = (logits.reshape((rows, ()))?, targets.reshape((rows, ()))?);
    if is_fast(&l) && l.dtype() == t.dtype() && !keeps_gradient_graphs() {
        l.contiguous()?.apply_op2(&t.contiguous()?, Bce)
    } else {
        bce_with_logits(&l, &t)?.sum(1)
    }
}

struct Bce;

struct BceRow<'a, T>(&'a [T], &'a [T]);

impl<T: Real> Job for BceRow<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run(self) -> T {
        lane_sum2(self.0, self.1, |l, t| l.soft_plus() - l * t)
    }
}

/// `out = g (σ(l) − t)`
struct BceGrad<'a, T>(&'a [T], &'a [T], T, &'a mut [T]);

impl<T: Real> Job for BceGrad<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(l, t, g, out) = self;
        for ((o, &l), &t) in out.iter_mut().zip(l).zip(t) {
            *o = g * (l.logistic() - t);
        }
    }
}

impl CustomOp2 for Bce {
    fn name(&self) -> &'static str {
        "bce_with_logits_rows"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = l1.shape().dims2()?;
        with_real!(s1.dtype(), T, {
            let (l, t) = (slice::<T>(s1, l1)?, slice::<T>(s2, l2)?);
            let pairs = l.par_chunks(width).zip(t.par_chunks(width)).with_min_len(8 * 1024 / width + 1);
            let rows: Vec<T> = pairs.map(|(l, t)| dispatch(BceRow(l, t))).collect();
            let len = rows.len();
            Ok(output(rows, len))
        })
    }

    fn bwd(
        &self,
        l: &Tensor,
        t: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = incoming("bce_with_logits_rows", g)?;
        let (_, width) = l.dims2()?;
        let dt = match t.track_op() {
            true => Some(l.detach().broadcast_mul(&g.neg()?.unsqueeze(1)?)?),
            false => None,
        };
        if !l.track_op() {
            return Ok((None, dt));
        }
        with_real!(l.dtype(), T, {
            slices!(T; ls = l, ts = t, gs = &g);
            let mut dl = uninit::<T>(ls.len());
            dl.par_chunks_mut(width)
                .zip(ls.par_chunks(width))
                .zip(ts.par_chunks(width))
                .zip(gs)
                .with_min_len(8 * 1024 / width + 1)
                .for_each(|(((o, l), t), &g)| dispatch(BceGrad(l, t, g, o)));
            Ok((Some(Tensor::from_vec(dl, l.shape(), l.device())?), dt))
        })
    }
}
