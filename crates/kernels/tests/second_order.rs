//! With `CANDLE_GRAD_DO_NOT_DETACH`, candle's own second derivatives through the kernels are right; set too late,
//! the fused kernels refuse. One test, because the variable belongs to the process.
#![allow(clippy::unwrap_used, unsafe_code)]

mod common;

use candle_core::{Result, Tensor, Var};
use common::{tensor, weighted_sum};
use genzoo_kernels::{
    Activation, Conv, Margins, Pattern, act, bce_with_logits_rows, cat_channels, conv_transpose2d, conv2d,
    discretised_logistic_rows, gate, group_norm, layer_norm, linear, linear_tangents, log_sum_exp, mask,
    masked_linear, pad2d, softmax, sum_pool2, sum_rows, upsample2,
};
use genzoo_testkit::{Tol, assert_close, finite_difference_tensor};

/// The gradient of `Σ w (∇ₓ f)²` with respect to x, by backward twice and by differences of one backward.
fn check(name: &str, f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) {
    let first = |x: &Tensor| -> Result<Tensor> {
        let x = Var::from_tensor(&x.detach())?;
        let g = weighted_sum(&f(x.as_tensor())?)?.backward()?.remove(x.as_tensor()).unwrap();
        weighted_sum(&g.sqr()?)
    };
    let var = Var::from_tensor(x).unwrap();
    let g = weighted_sum(&f(var.as_tensor()).unwrap())
        .unwrap()
        .backward()
        .unwrap()
        .remove(var.as_tensor())
        .unwrap();
    let second = weighted_sum(&g.sqr().unwrap()).unwrap().backward().unwrap();
    let Some(second) = second.get(var.as_tensor()) else { panic!("{name}: the graph is cut") };
    let numeric = finite_difference_tensor(first, x).unwrap();
    let scale = numeric.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    assert!(scale > 1e-6, "{name}: nothing to compare");
    assert_close((second / scale).unwrap(), (numeric / scale).unwrap(), Tol::abs(1e-5));
}

#[test]
fn second_derivatives_through_backward() {
    let late = Var::from_tensor(&tensor(&[2, 3], 1)).unwrap();
    let y = linear(late.as_tensor(), &tensor(&[4, 3], 2), None, Activation::Silu).unwrap().sum_all().unwrap();
    // SAFETY: the only test of this process, before any other thread reads the environment.
    unsafe { std::env::set_var("CANDLE_GRAD_DO_NOT_DETACH", "1") };
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("before"), "{error}");

    let (w, b) = (tensor(&[4, 3], 2), tensor(&[4], 3));
    for f in [Activation::Silu, Activation::Tanh, Activation::Softplus, Activation::Gelu] {
        check("act", |x| act(x, f), &tensor(&[2, 3], 1));
        check("linear", |x| linear(x, &w, Some(&b), f), &tensor(&[2, 3], 1));
        let pattern = Pattern::new(&w.gt(0.0).unwrap().to_dtype(w.dtype()).unwrap()).unwrap();
        check("masked_linear", |x| masked_linear(x, &w, &pattern, Some(&b), f), &tensor(&[2, 3], 1));
        check("linear_tangents", |x| linear_tangents(x, &w, Some(&b), f, 2), &tensor(&[4, 3], 1));
    }
    let (w, b) = (tensor(&[3, 2, 3, 3], 2), tensor(&[3], 3));
    check(
        "conv2d",
        |x| conv2d(x, &w, Some(&b), Conv::strided(2, 1), Activation::Silu),
        &tensor(&[1, 2, 4, 5], 1),
    );
    let (w, b) = (tensor(&[2, 3, 4, 4], 2), tensor(&[3], 3));
    let transposed = |x: &Tensor| conv_transpose2d(x, &w, Some(&b), Conv::strided(2, 1), 0, Activation::Silu);
    check("conv_transpose2d", transposed, &tensor(&[1, 2, 3, 2], 1));
    let (w, b) = (tensor(&[4], 2), tensor(&[4], 3));
    check("group_norm", |x| group_norm(x, 2, &w, &b, 1e-5, true), &tensor(&[1, 4, 2, 3], 1));
    check("layer_norm", |x| layer_norm(x, &w, &b, 1e-5), &tensor(&[3, 4], 1));
    check("softmax", softmax, &tensor(&[2, 4], 1));
    check("log_sum_exp", log_sum_exp, &tensor(&[2, 4], 1));
    let bytes = tensor(&[2, 3], 2).affine(40.0, 128.0).unwrap().round().unwrap();
    check("discretised logistic", |x| discretised_logistic_rows(x, &bytes, -7.0), &tensor(&[2, 6], 1));
    check("bce", |x| bce_with_logits_rows(x, &x.affine(0.1, 0.5)?), &tensor(&[2, 4], 1));
    let silu = |y: Tensor| act(&y, Activation::Silu);
    check("upsample2", |x| silu(upsample2(x)?), &tensor(&[1, 2, 2, 3], 1));
    check("sum_pool2", |x| silu(sum_pool2(x)?), &tensor(&[1, 2, 5, 4], 1));
    check("cat_channels", |x| silu(cat_channels(x, &x.sqr()?)?), &tensor(&[1, 2, 2, 2], 1));
    let margins = Margins { top: 1, bottom: -1, left: 2, right: 1 };
    check("pad2d", |x| silu(pad2d(x, margins)?), &tensor(&[1, 2, 2, 3], 1));
    check("gate", gate, &tensor(&[2, 4, 3], 1));
    check("mask", |x| silu(mask(x, &tensor(&[2, 3], 2))?), &tensor(&[2, 3], 1));
    check("sum_rows", |x| silu(sum_rows(x)?), &tensor(&[3, 2], 1));
}
