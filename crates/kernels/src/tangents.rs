//! A linear layer applied to points and tangents at once: values and Jacobian-vector products in one operation.
//!
//! ```text
//! rows of x:  n points x₀, then k blocks of n tangents uᵢ
//! a = x₀ Wᵀ + c       pᵢ = uᵢ Wᵀ       y = [f(a), f'(a) ⊙ p₁, …, f'(a) ⊙ pₖ]
//! backward:   ∂a = f'(a) ⊙ g₀ + f''(a) ⊙ Σᵢ pᵢ ⊙ gᵢ       ∂pᵢ = f'(a) ⊙ gᵢ
//! ```
//! One product serves all rows, where one call per tangent would repeat the forward pass each time. The diagonal of
//! such tangents is the exact divergence of a velocity field.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};

use crate::activation::{Activation, act, act_grad, map_times, multiply, par_blocks};
use crate::gradients::hand_over;
use crate::linear::{bias_or_zero, finish_rows, matrix_product};
use crate::matrix::{Threads, View, product};
use crate::plain;
use crate::real::Real;
use crate::reduce::{add_rows, sum_rows_of};
use crate::simd::{Job, dispatch};
use crate::support::{incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real};

/// `x: (blocks · n, i)`, the points before the tangents, `w: (o, i)`, `b: (o)`, result `(blocks · n, o)`.
///
/// # Errors
/// On shapes that do not fit.
pub fn linear_tangents(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    f: Activation,
    blocks: usize,
) -> Result<Tensor> {
    let ((rows, inputs), (outputs, taken)) = (x.dims2()?, w.dims2()?);
    if inputs != taken || blocks == 0 || !rows.is_multiple_of(blocks) {
        bail!(
            "linear_tangents: expected {blocks} blocks of rows of {taken} inputs, got x of shape {:?}",
            x.dims()
        );
    }
    if let Some(b) = bias
        && b.dims() != [outputs]
    {
        bail!("linear_tangents: the bias must have shape [{outputs}], got {:?}", b.dims());
    }
    let points = rows / blocks;
    if is_fast(x) && outputs > 0 && !keeps_gradient_graphs() {
        let bias = bias_or_zero(w, bias)?;
        let keep = x.track_op() || w.track_op() || bias.track_op();
        let op = LinearTangents { f, points, keep, kept: OnceLock::new() };
        return x.contiguous()?.apply_op3(&w.contiguous()?, &bias, op);
    }
    let a = plain::linear(&x.narrow(0, 0, points)?, w, bias)?;
    let mut parts = vec![act(&a, f)?];
    for i in 1..blocks {
        let p = plain::linear(&x.narrow(0, i * points, points)?, w, None)?;
        parts.push(act_grad(&a, &p, f)?);
    }
    Tensor::cat(&parts, 0)
}

/// What backward needs: `a`, `f'(a)` and all `pᵢ`.
struct Kept {
    a: Tensor,
    slopes: Tensor,
    pushed: Option<Tensor>,
}

struct LinearTangents {
    f: Activation,
    points: usize,
    keep: bool,
    kept: OnceLock<Kept>,
}

/// Whether `f''` is anything but zero.
fn is_curved(f: Activation) -> bool {
    !matches!(f, Activation::Identity | Activation::Relu | Activation::LeakyRelu(_))
}

impl CustomOp3 for LinearTangents {
    fn name(&self) -> &'static str {
        "linear_tangents"
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
        let (rows, inputs) = xl.shape().dims2()?;
        let (outputs, _) = wl.shape().dims2()?;
        let n = self.points * outputs;
        with_real!(xs.dtype(), T, {
            let (x, w, bias) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            let mut y = uninit::<T>(rows * outputs);
            let weights = View::rows(w, outputs, inputs, inputs).t();
            product(&mut y, outputs, false, View::rows(x, rows, inputs, inputs), weights, Threads::All);
            let (values, tangents) = y.split_at_mut(n);
            if self.f == Activation::Identity {
                finish_rows(self.f, bias, values, None);
                return Ok(output(y, (rows, outputs)));
            }
            let mut a = if self.keep { values.to_vec() } else { Vec::new() };
            let mut slopes = uninit::<T>(n);
            finish_rows(self.f, bias, values, Some(&mut slopes));
            let pushed = tangents.to_vec();
            for (tangents, pushed) in tangents.chunks_mut(n).zip(pushed.chunks(n)) {
                par_blocks(tangents, |at, out| {
                    let end = at + out.len();
                    multiply(&pushed[at..end], &slopes[at..end], out);
                });
            }
            if self.keep {
                finish_rows(Activation::Identity, bias, &mut a, None);
                let tensor = |v: Vec<T>| {
                    let rows = v.len() / outputs;
                    Tensor::from_vec(v, (rows, outputs), &Device::Cpu)
                };
                let pushed = if pushed.is_empty() { None } else { Some(tensor(pushed)?) };
                let _ = self.kept.set(Kept { a: tensor(a)?, slopes: tensor(slopes)?, pushed });
            }
            Ok(output(y, (rows, outputs)))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = incoming("linear_tangents", g)?;
        with_real!(x.dtype(), T, {
            let d = if self.f == Activation::Identity { g } else { self.before_activation::<T>(&g)? };
            Ok((
                hand_over(x, || matrix_product::<T>(&d, false, w, false))?,
                hand_over(w, || matrix_product::<T>(&d, true, x, false))?,
                hand_over(b, || sum_rows_of::<T>(&d.narrow(0, 0, self.points)?))?,
            ))
        })
    }
}

/// `sum += a ⊙ b`.
struct AddProduct<'a, T>(&'a [T], &'a [T], &'a mut [T]);

impl<T: Real> Job for AddProduct<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(a, b, sum) = self;
        for ((s, &a), &b) in sum.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
}

impl LinearTangents {
    /// `[∂a, ∂p₁, …, ∂pₖ]`.
    fn before_activation<T: Real>(&self, g: &Tensor) -> Result<Tensor> {
        let Some(kept) = self.kept.get() else { bail!("linear_tangents: no forward pass was run") };
        let mut d = uninit::<T>(g.elem_count());
        let n = kept.a.elem_count();
        slices!(T; gs = g, slopes = &kept.slopes, a = &kept.a);
        for (d, g) in d.chunks_mut(n).zip(gs.chunks(n)) {
            par_blocks(d, |at, d| {
                let end = at + d.len();
                multiply(&g[at..end], &slopes[at..end], d);
            });
        }
        if let Some(pushed) = kept.pushed.as_ref().filter(|_| is_curved(self.f)) {
            slices!(T; pushed = pushed);
            par_blocks(&mut d[..n], |at, d| {
                let end = at + d.len();
                let mut inner = vec![T::ZERO; d.len()];
                for (p, g) in pushed.chunks(n).zip(gs[n..].chunks(n)) {
                    dispatch(AddProduct(&p[at..end], &g[at..end], &mut inner));
                }
                let mut bend = uninit::<T>(d.len());
                map_times(self.f, 2, &a[at..end], &inner, &mut bend);
                add_rows(d, &bend);
            });
        }
        Tensor::from_vec(d, g.shape(), g.device())
    }
}
