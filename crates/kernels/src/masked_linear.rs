//! `y = f(x (w ⊙ m)ᵀ + b)` for a weight with a fixed pattern of zeros, as in autoregressive networks.
//!
//! Where units are sorted by what they may see, half of such a weight is a staircase of zeros. The three products
//! of a layer are therefore cut into blocks of rows, each over the columns between its first and last non-zero:
//! about half the work for a staircase, all of it for a pattern without order. Within a block zeros are multiplied.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{Activation, act, multiply, par_blocks, slope_from_value};
use crate::gradients::hand_over;
use crate::linear::{as_rows, bias_or_zero, finish_rows, linear, pre_activation_grad, shaped};
use crate::mask::mask;
use crate::matrix::{Threads, View, product};
use crate::plain;
use crate::real::Real;
use crate::reduce::sum_rows_of;
use crate::support::{incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real};

/// Rows per block: fewer would skip more zeros, in products too narrow to be fast.
const ROWS: usize = 128;

/// A pattern `m (o, i)` of zeros and ones.
#[derive(Debug, Clone)]
pub struct Pattern {
    mask: Tensor,
    blocks: Arc<[Block]>,
}

/// Outside its columns these rows are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Pattern {
    /// From a matrix of zeros and ones, of the weight's type and on its device.
    ///
    /// # Errors
    /// When it is no matrix.
    pub fn new(mask: &Tensor) -> Result<Self> {
        let mask = mask.detach().contiguous()?;
        let rows = mask.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let block = |(i, rows): (usize, &[Vec<f32>])| {
            let seen = |v: &f32| *v != 0.0;
            let first = rows.iter().filter_map(|r| r.iter().position(seen)).min().unwrap_or(0);
            let last = rows.iter().filter_map(|r| r.iter().rposition(seen)).max();
            Block { rows: i * ROWS..i * ROWS + rows.len(), cols: first..last.map_or(first, |l| l + 1) }
        };
        let blocks = rows.chunks(ROWS).enumerate().map(block).collect();
        Ok(Self { mask, blocks })
    }

    /// The matrix.
    pub fn mask(&self) -> &Tensor {
        &self.mask
    }
}

/// `f(x (w ⊙ m)ᵀ + b)` over the last dimension: `x: (…, i)`, `w: (o, i)`, `b: (o)`, result `(…, o)`.
///
/// # Errors
/// On shapes that do not fit.
pub fn masked_linear(
    x: &Tensor,
    w: &Tensor,
    pattern: &Pattern,
    bias: Option<&Tensor>,
    f: Activation,
) -> Result<Tensor> {
    if pattern.mask.dims() != w.dims() || pattern.mask.dtype() != w.dtype() {
        bail!(
            "masked_linear: expected a pattern of shape {:?} and type {:?}, got {:?} {:?}",
            w.dims(),
            w.dtype(),
            pattern.mask.dims(),
            pattern.mask.dtype()
        );
    }
    let (x, shape) = as_rows(x, w, bias)?;
    if !is_fast(&x) || w.elem_count() == 0 {
        return shaped(act(&plain::linear(&x, &w.mul(&pattern.mask)?, bias)?, f)?, shape);
    }
    if keeps_gradient_graphs() {
        return shaped(linear(&x, &mask(w, &pattern.mask)?, bias, f)?, shape);
    }
    let bias = bias_or_zero(w, bias)?;
    let tracked = x.track_op() || w.track_op() || bias.track_op();
    let op = MaskedLinear {
        f,
        pattern: pattern.clone(),
        tracked,
        slopes: OnceLock::new(),
        masked: OnceLock::new(),
    };
    shaped(x.contiguous()?.apply_op3(&w.contiguous()?, &bias, op)?, shape)
}

struct MaskedLinear {
    f: Activation,
    pattern: Pattern,
    tracked: bool,
    /// `f'`, where backward cannot have it from `y`.
    slopes: OnceLock<Tensor>,
    /// `w ⊙ m`.
    masked: OnceLock<Tensor>,
}

/// The rows and columns of a block in a matrix with rows of `stride`.
fn part<'a, T>(data: &'a [T], stride: usize, rows: &Range<usize>, cols: &Range<usize>) -> View<'a, T> {
    let at = (rows.start * stride + cols.start).min(data.len());
    View::rows(&data[at..], rows.len(), cols.len(), stride)
}

impl CustomOp3 for MaskedLinear {
    fn name(&self) -> &'static str {
        "masked_linear"
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
        let (count, inputs) = xl.shape().dims2()?;
        let (outputs, _) = wl.shape().dims2()?;
        with_real!(xs.dtype(), T, {
            let (x, w, bias) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            let mut masked = uninit::<T>(w.len());
            slices!(T; m = &self.pattern.mask);
            par_blocks(&mut masked, |at, out| {
                let end = at + out.len();
                multiply(&w[at..end], &m[at..end], out);
            });
            let mut y = uninit::<T>(count * outputs);
            for Block { rows, cols } in self.pattern.blocks.iter() {
                let points = part(x, inputs, &(0..count), cols);
                let weights = part(&masked, inputs, rows, cols).t();
                product(&mut y[rows.start..], outputs, false, points, weights, Threads::All);
            }
            if self.tracked && !slope_from_value(self.f) {
                let mut slopes = uninit::<T>(y.len());
                finish_rows(self.f, bias, &mut y, Some(&mut slopes));
                let _ = self.slopes.set(Tensor::from_vec(slopes, (count, outputs), &Device::Cpu)?);
            } else {
                finish_rows(self.f, bias, &mut y, None);
            }
            if self.tracked {
                let _ = self.masked.set(Tensor::from_vec(masked, (outputs, inputs), &Device::Cpu)?);
            }
            Ok(output(y, (count, outputs)))
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
        let g = &incoming("masked_linear", g)?;
        let d = pre_activation_grad(self.f, self.slopes.get(), y, g)?;
        with_real!(x.dtype(), T, {
            Ok((
                hand_over(x, || self.by_input::<T>(&d, x))?,
                hand_over(w, || self.by_weight::<T>(&d, x))?,
                hand_over(b, || sum_rows_of::<T>(&d))?,
            ))
        })
    }
}

impl MaskedLinear {
    /// `d (w ⊙ m)`.
    fn by_input<T: Real>(&self, d: &Tensor, x: &Tensor) -> Result<Tensor> {
        let Some(masked) = self.masked.get() else { bail!("masked_linear: no forward pass was run") };
        let ((count, inputs), (_, outputs)) = (x.dims2()?, d.dims2()?);
        let mut dx = vec![T::ZERO; count * inputs];
        slices!(T; d = d, w = masked);
        for Block { rows, cols } in self.pattern.blocks.iter().filter(|b| !b.cols.is_empty()) {
            let errors = part(d, outputs, &(0..count), rows);
            let weights = part(w, inputs, rows, cols);
            product(&mut dx[cols.start..], inputs, true, errors, weights, Threads::All);
        }
        Tensor::from_vec(dx, (count, inputs), x.device())
    }

    /// `(dᵀ x) ⊙ m`.
    fn by_weight<T: Real>(&self, d: &Tensor, x: &Tensor) -> Result<Tensor> {
        let ((count, inputs), (_, outputs)) = (x.dims2()?, d.dims2()?);
        let mut dw = vec![T::ZERO; outputs * inputs];
        slices!(T; d = d, xs = x, m = &self.pattern.mask);
        for Block { rows, cols } in self.pattern.blocks.iter().filter(|b| !b.cols.is_empty()) {
            let errors = part(d, outputs, &(0..count), rows).t();
            let points = part(xs, inputs, &(0..count), cols);
            let out = &mut dw[rows.start * inputs..rows.end * inputs];
            product(&mut out[cols.start..], inputs, false, errors, points, Threads::All);
            let m = &m[rows.start * inputs..rows.end * inputs];
            let lines = out.par_chunks_exact_mut(inputs).zip(m.par_chunks_exact(inputs));
            lines.with_min_len(16 * 1024 / inputs + 1).for_each(|(row, m)| {
                for (w, &m) in row[cols.clone()].iter_mut().zip(&m[cols.clone()]) {
                    *w *= m;
                }
            });
        }
        Tensor::from_vec(dw, (outputs, inputs), x.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_every_one_of_the_pattern_and_half_of_a_staircase() {
        let n = 4 * ROWS;
        let stairs: Vec<f32> = (0..n * n).map(|k| f32::from(k / n >= k % n)).collect();
        let stairs = Tensor::from_vec(stairs, (n, n), &Device::Cpu).unwrap();
        let pattern = Pattern::new(&stairs).unwrap();
        let area: usize = pattern.blocks.iter().map(|b| b.rows.len() * b.cols.len()).sum();
        assert_eq!(area, n * n * 5 / 8);
        let odd = Tensor::new(&[[0f64, 0.0, 0.0], [0.0, 1.0, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(*Pattern::new(&odd).unwrap().blocks, [Block { rows: 0..2, cols: 1..2 }]);
        assert_eq!(Pattern::new(&odd.zeros_like().unwrap()).unwrap().blocks[0].cols, 0..0);
    }
}
