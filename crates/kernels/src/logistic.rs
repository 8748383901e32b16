//! The discretised logistic: a logistic density collected into the 256 cells of a byte.
//!
//! ```text
//! P(k) = F((k+1)/256) − F(k/256),   F(v) = σ((v − μ)/s),   P(0) = F(1/256),   P(255) = 1 − F(255/256)
//! log P(k) = log(1 − e^{−w}) − softplus(−p) − softplus(m),   m = (k/256 − μ)/s,   w = 1/(256 s),   p = m + w
//! log s = least + softplus(r − least)                                             a soft floor under log s
//! ```
//!
//! The second line is the first for 0 < k < 255, without a difference of nearly equal numbers; the outer cells lack the
//! first term and that of the edge they do not have.
//! Source: Kingma et al. (2016), arXiv:1606.04934, §5 and Eq. 9.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{Activation, act};
use crate::real::Real;
use crate::reduce::{LANES, fold_lanes};
use crate::simd::{Job, dispatch};
use crate::support::{incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real};

/// `Σ log P(k)` over the row, `(b,)` in nats, from `parameters (b, 2d)` (all μ, then all r; white is 1) and bytes
/// `k (b, d)`, 0 to 255 as floats. No gradient reaches `k`.
///
/// # Errors
/// On other shapes.
pub fn discretised_logistic_rows(parameters: &Tensor, k: &Tensor, least: f64) -> Result<Tensor> {
    match (parameters.dims(), k.dims()) {
        (&[b, width], &[rows, d]) if b == rows && width == 2 * d => {}
        (parameters, k) => bail!(
            "discretised_logistic_rows: parameters must be (b, 2d) and bytes (b, d), got {parameters:?} and {k:?}"
        ),
    }
    let k = k.detach();
    if is_fast(parameters) && parameters.dtype() == k.dtype() && !keeps_gradient_graphs() {
        parameters.contiguous()?.apply_op2(&k.contiguous()?, Rows { least })
    } else {
        plain(parameters, &k, least)?.sum(D::Minus1)
    }
}

/// The formula of this file in candle's operations, `(b, d)`.
fn plain(parameters: &Tensor, k: &Tensor, least: f64) -> Result<Tensor> {
    let d = k.dim(1)?;
    let softplus = |x: &Tensor| act(x, Activation::Softplus);
    let raw = parameters.narrow(1, d, d)?;
    let log_scale = softplus(&raw.affine(1.0, -least)?)?.affine(1.0, least)?;
    let inverse = log_scale.neg()?.exp()?;
    let w = inverse.affine(1.0 / 256.0, 0.0)?;
    let m = ((k.affine(1.0 / 256.0, 0.0)? - parameters.narrow(1, 0, d)?)? * inverse)?;
    let p = (&m + &w)?;
    let above_black = k.clamp(0.0, 1.0)?;
    let below_white = k.affine(-1.0, 255.0)?.clamp(0.0, 1.0)?;
    let inner = w.neg()?.exp()?.affine(-1.0, 1.0)?.log()?;
    let edges = ((softplus(&p.neg()?)? * &below_white)? + (softplus(&m)? * &above_black)?)?;
    ((inner * above_black)? * below_white)? - edges
}

struct Rows {
    least: f64,
}

/// What value and gradient share at one byte.
struct Cell<T> {
    /// 1/s.
    inverse: T,
    m: T,
    w: T,
    /// Whether the cell has a lower and an upper edge, as 1 or 0.
    lower: T,
    upper: T,
}

impl<T: Real> Cell<T> {
    #[inline(always)]
    fn new(mu: T, r: T, k: T, least: T) -> Self {
        let inverse = (-(least + (r - least).soft_plus())).exponential();
        let grey = T::of(1.0 / 256.0);
        Self {
            inverse,
            m: (k * grey - mu) * inverse,
            w: grey * inverse,
            lower: if k > T::ZERO { T::ONE } else { T::ZERO },
            upper: if k < T::of(255.0) { T::ONE } else { T::ZERO },
        }
    }

    #[inline(always)]
    fn log_probability(&self) -> T {
        let inner = (-(-self.w).exponential_minus_one()).logarithm();
        self.lower * self.upper * inner
            - self.upper * (-(self.m + self.w)).soft_plus()
            - self.lower * self.m.soft_plus()
    }

    /// By μ and by log s.
    #[inline(always)]
    fn gradient(&self) -> (T, T) {
        let above = self.upper * (-(self.m + self.w)).logistic();
        let by_m = above - self.lower * self.m.logistic();
        let by_w = above + self.lower * self.upper / self.w.exponential_minus_one();
        (-self.inverse * by_m, -(self.m * by_m) - self.w * by_w)
    }
}

struct Row<'a, T>(&'a [T], &'a [T], T);

impl<T: Real> Job for Row<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run(self) -> T {
        let Self(parameters, k, least) = self;
        let (mu, r) = parameters.split_at(k.len());
        // A loop and no closure: one this long would not be inlined, and so not compiled for this processor.
        let mut lanes = [T::ZERO; LANES];
        for ((mu, r), k) in mu.chunks(LANES).zip(r.chunks(LANES)).zip(k.chunks(LANES)) {
            for (((lane, &mu), &r), &k) in lanes.iter_mut().zip(mu).zip(r).zip(k) {
                *lane += Cell::new(mu, r, k, least).log_probability();
            }
        }
        fold_lanes(lanes)
    }
}

/// The gradient of one row times `g`.
struct RowGradient<'a, T> {
    parameters: &'a [T],
    k: &'a [T],
    g: T,
    least: T,
    out: &'a mut [T],
}

impl<T: Real> Job for RowGradient<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { parameters, k, g, least, out } = self;
        let (mu, r) = parameters.split_at(k.len());
        let (by_mu, by_r) = out.split_at_mut(k.len());
        for ((((out_mu, out_r), &mu), &r), &k) in by_mu.iter_mut().zip(by_r).zip(mu).zip(r).zip(k) {
            let (by_location, by_log_scale) = Cell::new(mu, r, k, least).gradient();
            *out_mu = g * by_location;
            *out_r = g * by_log_scale * (r - least).logistic();
        }
    }
}

impl CustomOp2 for Rows {
    fn name(&self) -> &'static str {
        "discretised_logistic_rows"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, d) = l2.shape().dims2()?;
        with_real!(s1.dtype(), T, {
            let (parameters, k) = (slice::<T>(s1, l1)?, slice::<T>(s2, l2)?);
            let pairs = parameters.par_chunks(2 * d).zip(k.par_chunks(d)).with_min_len(4 * 1024 / d + 1);
            let values: Vec<T> = pairs.map(|(p, k)| dispatch(Row(p, k, T::of(self.least)))).collect();
            Ok(output(values, rows))
        })
    }

    fn bwd(
        &self,
        parameters: &Tensor,
        k: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = incoming("discretised_logistic_rows", g)?;
        let d = k.dim(1)?;
        with_real!(parameters.dtype(), T, {
            slices!(T; ps = parameters, ks = k, gs = &g);
            let mut out = uninit::<T>(ps.len());
            let least = T::of(self.least);
            out.par_chunks_mut(2 * d)
                .zip(ps.par_chunks(2 * d))
                .zip(ks.par_chunks(d))
                .zip(gs)
                .with_min_len(4 * 1024 / d + 1)
                .for_each(|(((out, parameters), k), &g)| {
                    dispatch(RowGradient { parameters, k, g, least, out });
                });
            Ok((Some(Tensor::from_vec(out, parameters.shape(), parameters.device())?), None))
        })
    }
}
