//! The gradient of contrastive learning: second moments of one sample minus those of another, in two products.

use candle_core::{Result, Tensor, bail};

use crate::matrix::{Threads, View, scaled_product};
use crate::real::Real;
use crate::reduce::column_sums;
use crate::support::{is_fast, slices, uninit, with_real};

/// `scale (h₊ᵀ v₊ − h₋ᵀ v₋)`, `(k, d)`, and the same of the sums over rows, `(k)` and `(d)`, outside every graph; each
/// sample is `h: (n, k)` beside `v: (n, d)`. With hidden and visible units it is the update of a Boltzmann machine.
///
/// # Errors
/// On shapes that do not fit.
pub fn contrast(plus: (&Tensor, &Tensor), minus: (&Tensor, &Tensor), scale: f64) -> Result<[Tensor; 3]> {
    let ((n, k), (m, d)) = (plus.0.dims2()?, minus.1.dims2()?);
    if plus.1.dims() != [n, d] || minus.0.dims() != [m, k] {
        bail!(
            "contrast: expected (n, k) beside (n, d) and (m, k) beside (m, d), got {:?}, {:?} and {:?}, {:?}",
            plus.0.dims(),
            plus.1.dims(),
            minus.0.dims(),
            minus.1.dims()
        );
    }
    let flat = |t: &Tensor| t.detach().contiguous();
    let (hp, vp, hm, vm) = (flat(plus.0)?, flat(plus.1)?, flat(minus.0)?, flat(minus.1)?);
    if ![&hp, &vp, &hm, &vm].iter().all(|t| is_fast(t) && t.dtype() == hp.dtype()) {
        let difference = |p: Tensor, m: Tensor| (p - m)? * scale;
        let moments = |h: &Tensor, v: &Tensor| h.t()?.contiguous()?.matmul(v);
        return Ok([
            difference(moments(&hp, &vp)?, moments(&hm, &vm)?)?,
            difference(hp.sum(0)?, hm.sum(0)?)?,
            difference(vp.sum(0)?, vm.sum(0)?)?,
        ]);
    }
    with_real!(hp.dtype(), T, {
        slices!(T; h = &hp, v = &vp, g = &hm, u = &vm);
        let mut out = uninit::<T>(k * d);
        for (first, factor, rows, h, v) in [(true, scale, n, h, v), (false, -scale, m, g, u)] {
            let (h, v) = (View::rows(h, rows, k, k).t(), View::rows(v, rows, d, d));
            scaled_product(T::of(factor), &mut out, d, !first, h, v, Threads::All);
        }
        let device = hp.device();
        Ok([
            Tensor::from_vec(out, (k, d), device)?,
            Tensor::from_vec(sums(h, g, k, scale), k, device)?,
            Tensor::from_vec(sums(v, u, d, scale), d, device)?,
        ])
    })
}

/// `scale (Σ rows of plus − Σ rows of minus)`.
fn sums<T: Real>(plus: &[T], minus: &[T], width: usize, scale: f64) -> Vec<T> {
    let pairs = column_sums(plus, width).into_iter().zip(column_sums(minus, width));
    pairs.map(|(p, m)| T::of(scale) * (p - m)).collect()
}
