//! Points and tangents through one layer, against the layer and its Jacobian-vector product alone.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Result, Tensor};
use common::{f32s, gradients, strided, tensor, weighted_sum};
use genzoo_kernels::{Activation, act, act_grad, linear, linear_and_slope, linear_tangents};
use genzoo_testkit::{Tol, assert_close, assert_gradient};

const CURVES: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::Silu,
    Activation::Softplus,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Gelu,
    Activation::Elu,
];

/// One call for the points and one for each block of tangents.
fn slow(x: &Tensor, w: &Tensor, b: &Tensor, f: Activation, blocks: usize) -> Result<Tensor> {
    let n = x.dim(0)? / blocks;
    let part = |i: usize| x.narrow(0, i * n, n);
    let a = linear(&part(0)?, w, Some(b), Activation::Identity)?;
    let mut parts = vec![act(&a, f)?];
    for i in 1..blocks {
        parts.push(act_grad(&a, &linear(&part(i)?, w, None, Activation::Identity)?, f)?);
    }
    Tensor::cat(&parts, 0)
}

#[test]
fn tangents_are_pushed_as_one_by_one() {
    for f in CURVES {
        for blocks in [1, 2, 4] {
            let all = [tensor(&[3 * blocks, 5], 1), tensor(&[7, 5], 2), tensor(&[7], 3)];
            let fused = |t: &[Tensor]| linear_tangents(&t[0], &t[1], Some(&t[2]), f, blocks);
            let slow = |t: &[Tensor]| slow(&t[0], &t[1], &t[2], f, blocks);
            let want = slow(&all).unwrap();
            assert_close(fused(&all).unwrap(), &want, Tol::abs(1e-13));
            assert_close(fused(&all.each_ref().map(strided_matrix)).unwrap(), &want, Tol::abs(1e-13));
            assert_close(
                fused(&all.each_ref().map(f32s)).unwrap(),
                f32s(&want),
                Tol { abs: 1e-5, rel: 1e-5 },
            );
            for (a, b) in gradients(&all, fused).iter().zip(gradients(&all, slow)) {
                assert_close(a, b, Tol::abs(1e-12));
            }
        }
    }
}

fn strided_matrix(x: &Tensor) -> Tensor {
    if x.rank() == 2 { strided(x) } else { x.clone() }
}

#[test]
fn their_gradients_agree_with_finite_differences() {
    let (x, w, b) = (tensor(&[6, 4], 1), tensor(&[5, 4], 2), tensor(&[5], 3));
    for f in [Activation::Silu, Activation::Softplus, Activation::Tanh, Activation::Sigmoid, Activation::Gelu]
    {
        assert_gradient(|x| weighted_sum(&linear_tangents(x, &w, Some(&b), f, 3)?), &x);
        assert_gradient(|w| weighted_sum(&linear_tangents(&x, w, Some(&b), f, 3)?), &w);
        assert_gradient(|b| weighted_sum(&linear_tangents(&x, &w, Some(b), f, 3)?), &b);
    }
    assert!(linear_tangents(&x, &w, None, Activation::Tanh, 4).is_err());
    assert!(linear_tangents(&x, &w.t().unwrap(), None, Activation::Tanh, 3).is_err());
    assert!(linear_tangents(&x, &w, Some(&x), Activation::Tanh, 3).is_err());
}

#[test]
fn values_and_slopes_come_together() {
    let (x, w, b) = (tensor(&[2, 3, 5], 1), tensor(&[7, 5], 2), tensor(&[7], 3));
    for f in CURVES {
        for bias in [Some(&b), None] {
            let a = linear(&x, &w, bias, Activation::Identity).unwrap();
            let (y, slope) = linear_and_slope(&x, &w, bias, f).unwrap();
            assert_close(y, act(&a, f).unwrap(), Tol::abs(1e-13));
            assert_close(slope, act_grad(&a, &a.ones_like().unwrap(), f).unwrap(), Tol::abs(1e-13));
        }
    }
    assert!(linear_and_slope(&x, &w, Some(&w), Activation::Relu).is_err());
}

/// Large enough for several blocks of work.
#[test]
fn many_rows_make_the_same_values() {
    let (x, w, b) = (tensor(&[1200, 16], 1), tensor(&[64, 16], 2), tensor(&[64], 3));
    let all = [f32s(&x), f32s(&w), f32s(&b)];
    let fused = |t: &[Tensor]| linear_tangents(&t[0], &t[1], Some(&t[2]), Activation::Tanh, 2);
    let slow = |t: &[Tensor]| slow(&t[0], &t[1], &t[2], Activation::Tanh, 2);
    assert_close(fused(&all).unwrap(), slow(&all).unwrap(), Tol { abs: 1e-5, rel: 1e-5 });
    for (a, b) in gradients(&all, fused).iter().zip(gradients(&all, slow)) {
        assert_close(a, b, Tol { abs: 1e-3, rel: 1e-4 });
    }
}
