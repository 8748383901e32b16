//! Inputs for the kernel tests: fixed, irregular numbers of either sign.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod cases;

use candle_core::{DType, Device, Result, Tensor, Var};

/// `n` numbers in (−scale, scale), the same for the same salt (SplitMix64).
pub(crate) fn numbers(n: usize, salt: u64, scale: f64) -> Vec<f64> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..n).map(|_| ((next() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0) * scale).collect()
}

/// An f64 tensor of such numbers.
pub(crate) fn tensor(shape: &[usize], salt: u64) -> Tensor {
    scaled(shape, salt, 1.5)
}

pub(crate) fn scaled(shape: &[usize], salt: u64, scale: f64) -> Tensor {
    Tensor::from_vec(numbers(shape.iter().product(), salt, scale), shape, &Device::Cpu).unwrap()
}

pub(crate) fn f32s(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

/// The same values in a layout that is not contiguous.
pub(crate) fn strided(x: &Tensor) -> Tensor {
    let last = x.rank() - 1;
    let y = x.transpose(0, last).unwrap().contiguous().unwrap().transpose(0, last).unwrap();
    assert!(!y.is_contiguous() || x.rank() < 2 || x.dim(0).unwrap() == 1 || x.dim(last).unwrap() == 1);
    y
}

/// The same values behind an offset.
pub(crate) fn shifted(x: &Tensor) -> Tensor {
    let wide = Tensor::cat(&[x, x], 0).unwrap();
    wide.narrow(0, x.dim(0).unwrap(), x.dim(0).unwrap()).unwrap()
}

/// A scalar that weighs every element differently, so that no gradient error cancels.
pub(crate) fn weighted_sum(y: &Tensor) -> Result<Tensor> {
    let w = scaled(y.dims(), 99, 1.0).to_dtype(y.dtype())?;
    (y * w)?.sum_all()
}

/// Gradients of `weighted_sum(f(inputs))` with respect to each input.
pub(crate) fn gradients(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Tensor> {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = weighted_sum(&f(&tensors).unwrap()).unwrap().backward().unwrap();
    tensors.iter().map(|t| grads.get(t).expect("a gradient for every input").clone()).collect()
}
