//! `y = f(x w + b)` with the weight's rows as inputs: a layer run against the direction of [`linear`](crate::linear).
//!
//! Machines with one matrix for both directions (Boltzmann machines) need both without a transposed copy.

use candle_core::{Result, Tensor, bail};

use crate::activation::{Activation, act};
use crate::linear::finish_rows;
use crate::matrix::{Threads, View, product};
use crate::support::{is_fast, uninit, with_real, with_slice};

/// `f(x w + b)` for `x: (n, i)`, `w: (i, o)`, `b: (o)`, result `(n, o)`, outside every graph.
///
/// # Errors
/// On shapes that do not fit.
pub fn affine(x: &Tensor, w: &Tensor, bias: &Tensor, f: Activation) -> Result<Tensor> {
    let ((rows, inputs), (fan_in, outputs)) = (x.dims2()?, w.dims2()?);
    if inputs != fan_in || bias.dims() != [outputs] {
        bail!(
            "affine: weight {:?} takes inputs (n, {fan_in}) and a bias [{outputs}], got {:?} and {:?}",
            w.dims(),
            x.dims(),
            bias.dims()
        );
    }
    let (x, w, bias) = (x.detach(), w.detach(), bias.detach());
    let one_type = x.dtype() == w.dtype() && w.dtype() == bias.dtype();
    if !(is_fast(&x) && is_fast(&w) && one_type) {
        return act(&x.matmul(&w)?.broadcast_add(&bias)?, f);
    }
    let (x, w, bias) = (x.contiguous()?, w.contiguous()?, bias.contiguous()?);
    with_real!(x.dtype(), T, {
        let mut y = uninit::<T>(rows * outputs);
        with_slice::<T, _>(&x, |x| {
            with_slice::<T, _>(&w, |w| {
                let (x, w) = (View::rows(x, rows, inputs, inputs), View::rows(w, inputs, outputs, outputs));
                product(&mut y, outputs, false, x, w, Threads::All);
                Ok(())
            })
        })?;
        with_slice::<T, _>(&bias, |b| {
            finish_rows(f, b, &mut y, None);
            Ok(())
        })?;
        Tensor::from_vec(y, (rows, outputs), x.device())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn agrees_with_plain_operations_in_both_types() -> Result<()> {
        let numbers = |n: usize, seed: usize| -> Vec<f64> {
            (0..n).map(|i| (((i * 7919 + seed * 104_729) % 1009) as f64) / 504.5 - 1.0).collect()
        };
        let (n, i, o) = (37, 23, 41);
        let x = Tensor::from_vec(numbers(n * i, 1), (n, i), &Device::Cpu)?;
        let w = Tensor::from_vec(numbers(i * o, 2), (i, o), &Device::Cpu)?;
        let b = Tensor::from_vec(numbers(o, 3), o, &Device::Cpu)?;
        for (dtype, error) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let got =
                affine(&x.to_dtype(dtype)?, &w.to_dtype(dtype)?, &b.to_dtype(dtype)?, Activation::Sigmoid)?;
            let want = (x.matmul(&w)?.broadcast_add(&b)?.neg()?.exp()? + 1.0)?.recip()?;
            let worst = (got.to_dtype(DType::F64)? - want)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(worst < error, "{dtype:?}: {worst}");
        }
        assert!(affine(&x, &w.t()?, &b, Activation::Identity).is_err());
        assert!(affine(&x, &w, &b.narrow(0, 0, 3)?, Activation::Identity).is_err());
        Ok(())
    }
}
