//! `x ⊙ m` with a mask that takes no gradient.
//!
//! candle's product of two tensors would also compute, and keep, a gradient for the mask.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::activation::{multiply, par_blocks};
use crate::support::{is_fast, output, slice, slices, uninit, with_real};

/// `x ⊙ m`, elementwise; `m` is a constant of the shape and dtype of `x`.
///
/// # Errors
/// On different shapes or types.
pub fn mask(x: &Tensor, m: &Tensor) -> Result<Tensor> {
    if x.shape() != m.shape() || x.dtype() != m.dtype() {
        bail!(
            "mask: expected a mask of shape {:?} and type {:?}, got {:?} {:?}",
            x.dims(),
            x.dtype(),
            m.dims(),
            m.dtype()
        );
    }
    let m = m.detach();
    if is_fast(x) { x.contiguous()?.apply_op1(Mask(m.contiguous()?)) } else { x.mul(&m) }
}

struct Mask(Tensor);

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            slices!(T; m = &self.0);
            let mut y = uninit::<T>(x.len());
            par_blocks(&mut y, |at, y| {
                let end = at + y.len();
                multiply(&x[at..end], &m[at..end], y);
            });
            Ok(output(y, l.shape()))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        mask(g, &self.0).map(Some)
    }
}
