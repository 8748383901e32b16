//! Scaled dot-product attention: `softmax(q kᵀ / √d) v`, one matrix of scores at a time.
//!
//! ```text
//! P = softmax(q kᵀ/√d)    y = P v        ∂v = Pᵀ g    ∂P = g vᵀ    ∂S = P ⊙ (∂P − Σ ∂P ⊙ P)    ∂q = ∂S k/√d    ∂k = ∂Sᵀ q/√d
//! ```
//! (Vaswani et al. 2017, arXiv:1706.03762, eq. 1.) Scores are made again in the backward pass rather than kept.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::gradients::hand_over;
use crate::matrix::{Threads, View, product};
use crate::real::Real;
use crate::reduce::{SoftmaxRow, lane_sum2, softmax};
use crate::simd::{Job, dispatch};
use crate::support::{
    Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real,
};

/// `q (…, l, d)`, `k (…, m, d)`, `v (…, m, e)`, result `(…, l, e)`: one attention per leading index, such as image and head.
/// Error in f32: 1e-6 of the largest |v|.
///
/// # Errors
/// On shapes that do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (qs, ks, vs) = (q.dims(), k.dims(), v.dims());
    let lead = qs.len().saturating_sub(2);
    let fits = qs.len() >= 2
        && ks.len() == qs.len()
        && vs.len() == qs.len()
        && qs[..lead] == ks[..lead]
        && ks[..=lead] == vs[..=lead]
        && qs[lead + 1] == ks[lead + 1];
    if !fits {
        bail!("attention: expected q (…, l, d), k (…, m, d) and v (…, m, e), got {qs:?}, {ks:?} and {vs:?}");
    }
    let n: usize = qs[..lead].iter().product();
    let flat = |t: &Tensor| t.reshape((n, t.dim(lead)?, t.dim(lead + 1)?))?.contiguous();
    let (q, k, v) = (flat(q)?, flat(k)?, flat(v)?);
    let mut shape = qs.to_vec();
    shape[lead + 1] = vs[lead + 1];
    let y = if [&q, &k, &v].iter().all(|t| is_fast(t)) && !keeps_gradient_graphs() {
        q.apply_op3(&k, &v, Attention)?
    } else {
        let scale = 1.0 / (q.dim(2)?.max(1) as f64).sqrt();
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * scale)?;
        softmax(&scores)?.matmul(&v)?
    };
    y.reshape(shape)
}

struct Attention;

/// Sizes of one attention.
#[derive(Clone, Copy)]
struct Sizes {
    l: usize,
    m: usize,
    d: usize,
}

impl Sizes {
    /// `softmax(q kᵀ/√d)` into `p (l, m)`.
    fn weights<T: Real>(self, q: &[T], k: &[T], p: &mut [T]) {
        let Self { l, m, d, .. } = self;
        product(p, m, false, View::rows(q, l, d, d), View::rows(k, m, d, d).t(), Threads::One);
        let scale = self.scale::<T>();
        let mut scores = uninit::<T>(m);
        for row in p.chunks_exact_mut(m) {
            scores.iter_mut().zip(&*row).for_each(|(s, v)| *s = *v * scale);
            dispatch(SoftmaxRow(&scores, row));
        }
    }

    fn scale<T: Real>(self) -> T {
        T::of(1.0 / (self.d as f64).sqrt())
    }
}

/// In place `d = scale · p ⊙ (d − Σ d ⊙ p)`.
struct BeforeSoftmax<'a, T>(&'a [T], &'a mut [T], T);

impl<T: Real> Job for BeforeSoftmax<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(p, d, scale) = self;
        let inner = lane_sum2(p, d, |p, d| p * d);
        for (d, &p) in d.iter_mut().zip(p) {
            *d = scale * p * (*d - inner);
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        qs: &CpuStorage,
        ql: &Layout,
        ks: &CpuStorage,
        kl: &Layout,
        vs: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, l, d), (_, m, e)) = (ql.shape().dims3()?, vl.shape().dims3()?);
        let sizes = Sizes { l, m, d };
        with_real!(qs.dtype(), T, {
            let (q, k, v) = (slice::<T>(qs, ql)?, slice::<T>(ks, kl)?, slice::<T>(vs, vl)?);
            let mut y = uninit::<T>(n * l * e);
            y.par_chunks_mut(l * e).enumerate().for_each_init(
                || uninit::<T>(l * m),
                |p, (i, y)| {
                    sizes.weights(&q[i * l * d..][..l * d], &k[i * m * d..][..m * d], p);
                    let v = View::rows(&v[i * m * e..][..m * e], m, e, e);
                    product(y, e, false, View::rows(p, l, m, m), v, Threads::One);
                },
            );
            Ok(output(y, (n, l, e)))
        })
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = incoming("attention", g)?;
        let ((_, l, d), (_, m, e)) = (q.dims3()?, v.dims3()?);
        let sizes = Sizes { l, m, d };
        with_real!(q.dtype(), T, {
            slices!(T; qs = q, ks = k, vs = v, gs = &g);
            let (mut dk, mut dv) = (uninit::<T>(ks.len()), uninit::<T>(vs.len()));
            let mut dq = uninit::<T>(qs.len());
            let (all_k, all_v) = (Shared::new(&mut dk), Shared::new(&mut dv));
            dq.par_chunks_mut(l * d).enumerate().for_each_init(
                || (uninit::<T>(l * m), uninit::<T>(l * m)),
                |(p, ds), (i, dq)| {
                    // SAFETY: attention i alone writes its keys and values.
                    let (dk, dv) = unsafe { (all_k.part(i * m * d, m * d), all_v.part(i * m * e, m * e)) };
                    let (q, k) = (&qs[i * l * d..][..l * d], &ks[i * m * d..][..m * d]);
                    let v = View::rows(&vs[i * m * e..][..m * e], m, e, e);
                    let g = View::rows(&gs[i * l * e..][..l * e], l, e, e);
                    sizes.weights(q, k, p);
                    product(dv, e, false, View::rows(p, l, m, m).t(), g, Threads::One);
                    product(ds, m, false, g, v.t(), Threads::One);
                    for (p, ds) in p.chunks_exact(m).zip(ds.chunks_exact_mut(m)) {
                        dispatch(BeforeSoftmax(p, ds, sizes.scale()));
                    }
                    let ds = View::rows(ds, l, m, m);
                    product(dq, d, false, ds, View::rows(k, m, d, d), Threads::One);
                    product(dk, d, false, ds.t(), View::rows(q, l, d, d), Threads::One);
                },
            );
            let grad =
                |of: &Tensor, v: Vec<T>| hand_over(of, || Tensor::from_vec(v, of.shape(), of.device()));
            Ok((grad(q, dq)?, grad(k, dk)?, grad(v, dv)?))
        })
    }
}
