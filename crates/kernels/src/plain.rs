//! The same operations as compositions of plain candle operations: slower, differentiable to any order, on any
//! device. They serve other devices and types, keep second derivatives, and are what the kernels are tested against.

use candle_core::{D, Result, Tensor};

use crate::activation::Activation;
use crate::conv::Conv;
use crate::pad::Margins;

/// `1 / (1 + exp(−x))`.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

fn step(x: &Tensor) -> Result<Tensor> {
    x.gt(0.0)?.to_dtype(x.dtype())
}

/// The `order`-th derivative of an activation, 0 to 3.
pub(crate) fn act(x: &Tensor, f: Activation, order: u8) -> Result<Tensor> {
    let one_minus = |t: &Tensor| t.affine(-1.0, 1.0);
    match (f, order) {
        (Activation::Identity, 0) => Ok(x.clone()),
        (Activation::Identity, 1) => x.ones_like(),
        (Activation::Relu, 0) => x.mul(&step(x)?),
        (Activation::Relu, 1) => step(x),
        (Activation::LeakyRelu(slope), 0) => x.mul(&step(x)?.affine(1.0 - slope, slope)?),
        (Activation::LeakyRelu(slope), 1) => step(x)?.affine(1.0 - slope, slope),
        (Activation::Identity | Activation::Relu | Activation::LeakyRelu(_), _) => x.zeros_like(),
        (Activation::Silu, 0) => x.mul(&sigmoid(x)?),
        (Activation::Silu, 1) => {
            let s = sigmoid(x)?;
            &s + (x * &s)?.mul(&one_minus(&s)?)?
        }
        (Activation::Silu, 2) => {
            let s = sigmoid(x)?;
            s.mul(&one_minus(&s)?)?.mul(&(x.mul(&s.affine(-2.0, 1.0)?)? + 2.0)?)
        }
        (Activation::Silu, _) => {
            let s = sigmoid(x)?;
            let (p, q) = (s.mul(&one_minus(&s)?)?, s.affine(-2.0, 1.0)?);
            p.mul(&(q.mul(&(x.mul(&q)? + 3.0)?)? - (x.mul(&p)? * 2.0)?)?)
        }
        // max(x, 0) + ln(1 + exp(−|x|)), whose derivative is written out because |x| has none at 0.
        (Activation::Softplus, 0) => {
            let magnitude = x.abs()?;
            let positive = ((x + &magnitude)? * 0.5)?;
            positive + (magnitude.neg()?.exp()? + 1.0)?.log()?
        }
        (Activation::Softplus, _) => act(x, Activation::Sigmoid, order - 1),
        (Activation::Tanh, 0) => x.tanh(),
        (Activation::Tanh, 1) => one_minus(&x.tanh()?.sqr()?),
        (Activation::Tanh, 2) => {
            let t = x.tanh()?;
            t.mul(&one_minus(&t.sqr()?)?)? * -2.0
        }
        (Activation::Tanh, _) => {
            let s = x.tanh()?.sqr()?;
            one_minus(&s)?.mul(&s.affine(6.0, -2.0)?)
        }
        (Activation::Sigmoid, 0) => sigmoid(x),
        (Activation::Sigmoid, 1) => {
            let s = sigmoid(x)?;
            s.mul(&one_minus(&s)?)
        }
        (Activation::Sigmoid, 2) => {
            let s = sigmoid(x)?;
            s.mul(&one_minus(&s)?)?.mul(&s.affine(-2.0, 1.0)?)
        }
        (Activation::Sigmoid, _) => {
            let s = sigmoid(x)?;
            let p = s.mul(&one_minus(&s)?)?;
            p.mul(&p.affine(-6.0, 1.0)?)
        }
        (Activation::Gelu, 0) => x.mul(&normal_distribution(x)?),
        (Activation::Gelu, 1) => normal_distribution(x)? + x.mul(&normal_density(x)?)?,
        (Activation::Gelu, 2) => normal_density(x)?.mul(&x.sqr()?.affine(-1.0, 2.0)?),
        (Activation::Gelu, _) => normal_density(x)?.mul(x)?.mul(&(x.sqr()? - 4.0)?),
        (Activation::Elu, order) => {
            let positive = step(x)?;
            // The exponential of the positive side is cut off first: it may overflow.
            let below = x.mul(&one_minus(&positive)?)?.exp()?.mul(&one_minus(&positive)?)?;
            match order {
                0 => (x.mul(&positive)? + below)? - one_minus(&positive)?,
                1 => positive + below,
                _ => Ok(below),
            }
        }
    }
}

fn normal_distribution(x: &Tensor) -> Result<Tensor> {
    (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)
}

fn normal_density(x: &Tensor) -> Result<Tensor> {
    (x.sqr()? * -0.5)?.exp()? * 0.398_942_280_401_432_7
}

/// `f(x wᵀ + b)` over the last dimension of `x: (n, i)`.
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&w.t()?)?;
    match bias {
        Some(b) => y.broadcast_add(b),
        None => Ok(y),
    }
}

/// Adds one number per channel of `(b, c, h, w)`, shared by the images or, for a bias `(b, c)`, each image's own.
pub(crate) fn channel_bias(y: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(b) => {
            let c = y.dim(1)?;
            y.broadcast_add(&b.reshape(((), c, 1, 1))?)
        }
        None => Ok(y.clone()),
    }
}

pub(crate) fn conv2d(x: &Tensor, w: &Tensor, conv: Conv) -> Result<Tensor> {
    x.conv2d(w, conv.padding, conv.stride, 1, conv.groups)
}

/// `w: (i, o / groups, k, k)`, one group at a time.
pub(crate) fn conv_transpose2d(x: &Tensor, w: &Tensor, conv: Conv, size: (usize, usize)) -> Result<Tensor> {
    let extra = |n: usize, k: usize, out: usize| out + 2 * conv.padding - ((n - 1) * conv.stride + k);
    let (_, _, h, width) = x.dims4()?;
    let (_, _, kh, kw) = w.dims4()?;
    let (eh, ew) = (extra(h, kh, size.0), extra(width, kw, size.1));
    let parts = x
        .chunk(conv.groups, 1)?
        .iter()
        .zip(w.chunk(conv.groups, 0)?)
        .map(|(x, w)| {
            // candle has one output padding for both directions; pad with zeros instead.
            let y = x.contiguous()?.conv_transpose2d(&w.contiguous()?, 0, 0, conv.stride, 1)?;
            let y = y.pad_with_zeros(2, 0, eh)?.pad_with_zeros(3, 0, ew)?;
            y.narrow(2, conv.padding, size.0)?.narrow(3, conv.padding, size.1)
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 1)
}

pub(crate) fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    f: Activation,
) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let rows = x.reshape((b, groups, c / groups * h * w))?;
    let y = normalise(&rows, eps)?.reshape((b, c, h, w))?;
    let y = y.broadcast_mul(&weight.reshape((1, c, 1, 1))?)?;
    crate::activation::act(&y.broadcast_add(&bias.reshape((1, c, 1, 1))?)?, f)
}

pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    normalise(x, eps)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Zero mean and unit variance over the last dimension.
fn normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

pub(crate) fn upsample2(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    x.reshape((b, c, h, 1, w, 1))?.broadcast_as((b, c, h, 2, w, 2))?.reshape((b, c, 2 * h, 2 * w))
}

pub(crate) fn sum_pool2(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = x.narrow(2, 0, h / 2 * 2)?.narrow(3, 0, w / 2 * 2)?;
    x.reshape((b, c, h / 2, 2, w / 2, 2))?.sum(5)?.sum(3)
}

pub(crate) fn pad2d(x: &Tensor, margins: Margins) -> Result<Tensor> {
    let sides = [(2, margins.top, margins.bottom), (3, margins.left, margins.right)];
    sides.into_iter().try_fold(x.clone(), |x, (dim, before, after)| {
        let (cut, added) = (|n: isize| (-n).max(0) as usize, |n: isize| n.max(0) as usize);
        let kept = x.dim(dim)? - cut(before) - cut(after);
        x.narrow(dim, cut(before), kept)?.pad_with_zeros(dim, added(before), added(after))
    })
}

pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

pub(crate) fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?.detach();
    let sum = x.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?;
    (sum.log()? + max)?.squeeze(D::Minus1)
}
