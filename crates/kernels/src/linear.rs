//! `y = f(x wᵀ + b)` in one operation: the product, then bias and activation while the row is still in cache.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{
    Activation, Bias, act, act_grad, finish_row, multiply, par_blocks, slope_from_value, times_slope_of_value,
};
use crate::gradients::hand_over;
use crate::matrix::{Threads, View, product, product_then};
use crate::plain;
use crate::real::Real;
use crate::reduce::sum_rows_of;
use crate::support::{
    Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real,
};

/// `f(x wᵀ + b)` over the last dimension: `x: (…, i)`, `w: (o, i)`, `b: (o)`, result `(…, o)`.
///
/// # Errors
/// On shapes that do not fit.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, f: Activation) -> Result<Tensor> {
    apply(x, w, false, bias, f)
}

fn apply(x: &Tensor, w: &Tensor, transposed: bool, bias: Option<&Tensor>, f: Activation) -> Result<Tensor> {
    let upright = if transposed { w.t()? } else { w.clone() };
    let (x, shape) = as_rows(x, &upright, bias)?;
    let y = if is_fast(&x) && w.elem_count() > 0 && !keeps_gradient_graphs() {
        let bias = bias_or_zero(&upright, bias)?;
        let tracked = x.track_op() || w.track_op() || bias.track_op();
        let op = Linear { f, transposed, keep: tracked && !slope_from_value(f), slopes: OnceLock::new() };
        x.contiguous()?.apply_op3(&w.contiguous()?, &bias, op)?
    } else {
        act(&plain::linear(&x, &upright, bias)?, f)?
    };
    shaped(y, shape)
}

/// `f(x w + b)` with a weight the other way round, `w: (i, o)`: the way back through a layer that shares it.
///
/// # Errors
/// On shapes that do not fit.
pub fn linear_transposed(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, f: Activation) -> Result<Tensor> {
    apply(x, w, true, bias, f)
}

/// [`linear`], and the slopes `f'(x wᵀ + b)` of the same shape, both outside every graph: what a frozen layer needs to
/// pull gradients back, for one pass over the activations.
///
/// # Errors
/// On shapes that do not fit.
pub fn linear_and_slope(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    f: Activation,
) -> Result<(Tensor, Tensor)> {
    let (x, shape) = as_rows(x, w, bias)?;
    let (x, w, bias) = (x.detach(), w.detach(), bias.map(Tensor::detach));
    let (y, slopes) = if is_fast(&x) && w.dim(0)? > 0 {
        let (x, w, bias) = (x.contiguous()?, w.contiguous()?, bias_or_zero(&w, bias.as_ref())?);
        let ((rows, inputs), (outputs, _)) = (x.dims2()?, w.dims2()?);
        with_real!(x.dtype(), T, {
            let (mut y, mut slopes) = (uninit::<T>(rows * outputs), uninit::<T>(rows * outputs));
            slices!(T; xs = &x, w = &w, b = &bias);
            let weights = View::rows(w, outputs, inputs, inputs).t();
            finished(f, b, View::rows(xs, rows, inputs, inputs), weights, &mut y, Some(&mut slopes));
            let tensor = |v: Vec<T>| Tensor::from_vec(v, (rows, outputs), x.device());
            (tensor(y)?, tensor(slopes)?)
        })
    } else {
        let a = plain::linear(&x, &w, bias.as_ref())?;
        (act(&a, f)?, act_grad(&a, &a.ones_like()?, f)?)
    };
    Ok((shaped(y, shape.clone())?, shaped(slopes, shape)?))
}

/// `x` as rows, and the shape of the result, once all shapes are found to fit.
pub(crate) fn as_rows(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<(Tensor, Vec<usize>)> {
    let (outputs, inputs) = w.dims2()?;
    if x.rank() == 0 || x.dim(D::Minus1)? != inputs {
        bail!("linear: the weight takes {inputs} inputs, x has shape {:?}", x.dims());
    }
    if let Some(b) = bias
        && b.dims() != [outputs]
    {
        bail!("linear: the bias must have shape [{outputs}], got {:?}", b.dims());
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    let rows: usize = shape.iter().product();
    shape.push(outputs);
    let x = match x.rank() {
        2 => x.clone(),
        _ => x.reshape((rows, inputs))?,
    };
    Ok((x, shape))
}

/// Undoes [`as_rows`].
pub(crate) fn shaped(y: Tensor, shape: Vec<usize>) -> Result<Tensor> {
    if shape.len() == 2 { Ok(y) } else { y.reshape(shape) }
}

pub(crate) fn bias_or_zero(w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(b) => b.contiguous(),
        None => Tensor::zeros(w.dim(0)?, w.dtype(), w.device()),
    }
}

struct Linear {
    f: Activation,
    /// Whether the weight is `(i, o)` instead of `(o, i)`.
    transposed: bool,
    /// Whether backward will need `f'`, and cannot have it from `y`.
    keep: bool,
    slopes: OnceLock<Tensor>,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let outputs = bl.shape().elem_count();
        with_real!(xs.dtype(), T, {
            let (x, w, b) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            let mut y = uninit::<T>(rows * outputs);
            let weights = match self.transposed {
                true => View::rows(w, inputs, outputs, outputs),
                false => View::rows(w, outputs, inputs, inputs).t(),
            };
            let mut slopes = if self.keep { Some(uninit::<T>(y.len())) } else { None };
            let x = View::rows(x, rows, inputs, inputs);
            finished(self.f, b, x, weights, &mut y, slopes.as_deref_mut());
            if let Some(slopes) = slopes {
                let _ =
                    self.slopes.set(Tensor::from_vec(slopes, (rows, outputs), &candle_core::Device::Cpu)?);
            }
            Ok(output(y, (rows, outputs)))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = &incoming("linear", g)?;
        let d = pre_activation_grad(self.f, self.slopes.get(), y, g)?;
        with_real!(x.dtype(), T, {
            Ok((
                hand_over(x, || matrix_product::<T>(&d, false, w, self.transposed))?,
                hand_over(w, || match self.transposed {
                    true => matrix_product::<T>(x, true, &d, false),
                    false => matrix_product::<T>(&d, true, x, false),
                })?,
                hand_over(b, || sum_rows_of::<T>(&d))?,
            ))
        })
    }
}

/// `y = f(a b + bias)`, and the slopes there where they are asked for.
fn finished<T: Real>(
    f: Activation,
    bias: &[T],
    a: View<T>,
    b: View<T>,
    y: &mut [T],
    slopes: Option<&mut [T]>,
) {
    let slopes = slopes.map(Shared::new);
    product_then(y, a, b, |i, j, piece| {
        let columns = j..j + piece.len();
        // SAFETY: each piece of each row is finished once.
        let slopes = slopes.map(|s| unsafe { s.part(i * bias.len() + j, piece.len()) });
        finish_row(f, Bias::Each(&bias[columns]), piece, slopes);
    });
}

/// `y = f(y + b)` row by row.
pub(crate) fn finish_rows<T: Real>(f: Activation, bias: &[T], y: &mut [T], slopes: Option<&mut [T]>) {
    let width = bias.len();
    let rows = (16 * 1024 / width).max(1);
    let blocks = y.len().div_ceil(rows * width);
    let work = |block: &mut [T], slopes: Option<&mut [T]>| match slopes {
        None => block.chunks_mut(width).for_each(|row| finish_row(f, Bias::Each(bias), row, None)),
        Some(s) => {
            for (row, s) in block.chunks_mut(width).zip(s.chunks_mut(width)) {
                finish_row(f, Bias::Each(bias), row, Some(s));
            }
        }
    };
    match slopes {
        _ if blocks <= 2 => work(y, slopes),
        None => y.par_chunks_mut(rows * width).for_each(|block| work(block, None)),
        Some(s) => {
            let pairs = y.par_chunks_mut(rows * width).zip(s.par_chunks_mut(rows * width));
            pairs.for_each(|(block, s)| work(block, Some(s)));
        }
    }
}

/// `g · f'`, from kept slopes or from the value. Shared with the convolutions.
pub(crate) fn pre_activation_grad(
    f: Activation,
    slopes: Option<&Tensor>,
    y: &Tensor,
    g: &Tensor,
) -> Result<Tensor> {
    let g = g.contiguous()?;
    if f == Activation::Identity {
        return Ok(g);
    }
    if slopes.is_none() && !slope_from_value(f) {
        bail!("the slopes of {f} were not kept in the forward pass");
    }
    with_real!(y.dtype(), T, {
        // Of the slopes or, where they were not kept, of the value.
        slices!(T; g = &g, s = slopes.unwrap_or(y));
        let mut d = uninit::<T>(g.len());
        par_blocks(&mut d, |at, d| {
            let (g, s) = (&g[at..at + d.len()], &s[at..at + d.len()]);
            match slopes {
                Some(_) => multiply(g, s, d),
                None => times_slope_of_value(f, s, g, d),
            }
        });
        Tensor::from_vec(d, y.shape(), y.device())
    })
}

/// `op(a) op(b)` of contiguous CPU matrices, outside any graph.
pub(crate) fn matrix_product<T: Real>(a: &Tensor, a_t: bool, b: &Tensor, b_t: bool) -> Result<Tensor> {
    let ((ar, ac), (br, bc)) = (a.dims2()?, b.dims2()?);
    let m = if a_t { ac } else { ar };
    let n = if b_t { br } else { bc };
    slices!(T; a = a, b = b);
    let (a, b) = (View::rows(a, ar, ac, ac), View::rows(b, br, bc, bc));
    let mut out = uninit::<T>(m * n);
    let (a, b) = (if a_t { a.t() } else { a }, if b_t { b.t() } else { b });
    product(&mut out, n, false, a, b, Threads::All);
    Tensor::from_vec(out, (m, n), &candle_core::Device::Cpu)
}
