//! Convolutions against a loop over every index, and their gradients of two orders.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Result, Tensor, Var};
use common::{f32s, gradients, shifted, strided, tensor, weighted_sum};
use genzoo_kernels::{
    Activation, Conv, act, conv_transpose2d, conv2d, conv2d_input_grad, conv2d_weight_grad,
};
use genzoo_testkit::{Tol, assert_close, assert_gradient};

const NONE: Activation = Activation::Identity;

/// `(images, in, height, width), (out, kernel height, kernel width), geometry`.
type Case = ((usize, usize, usize, usize), (usize, usize, usize), Conv);

fn cases() -> Vec<Case> {
    let grouped = |stride, padding, groups| Conv { stride, padding, groups };
    vec![
        ((1, 1, 1, 1), (1, 1, 1), Conv::default()),
        ((2, 3, 5, 5), (4, 3, 3), Conv::same(3)),
        ((3, 2, 7, 6), (3, 3, 3), Conv::strided(2, 1)),
        ((2, 2, 6, 7), (2, 4, 4), Conv::strided(2, 1)),
        ((2, 3, 4, 5), (5, 1, 1), Conv::default()),
        ((2, 3, 5, 5), (2, 1, 1), Conv::strided(2, 0)),
        ((2, 4, 5, 5), (6, 3, 3), grouped(1, 1, 2)),
        ((2, 4, 6, 6), (4, 3, 3), grouped(2, 1, 4)),
        ((1, 1, 3, 3), (2, 3, 3), Conv::strided(1, 2)),
        ((2, 1, 2, 9), (2, 2, 5), Conv::strided(3, 2)),
        ((1, 2, 2, 2), (1, 5, 5), Conv::strided(1, 2)),
        ((5, 3, 20, 20), (4, 3, 3), Conv::same(3)),
        // By tiles in f32: whole and cut ones, each padding, blocks of channels that are not full.
        ((3, 16, 9, 7), (24, 3, 3), Conv::same(3)),
        ((2, 28, 6, 8), (16, 3, 3), Conv::default()),
        ((1, 12, 3, 4), (48, 3, 3), Conv::strided(1, 2)),
        ((4, 16, 8, 5), (32, 2, 3), Conv::default()),
        ((2, 15, 5, 6), (13, 2, 3), Conv::same(3)),
    ]
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// The definition, one product at a time.
fn slow_conv(x: &Tensor, w: &Tensor, conv: Conv) -> Tensor {
    let (b, c, h, width) = x.dims4().unwrap();
    let (o, ci, kh, kw) = w.dims4().unwrap();
    let (oh, ow) = (conv.output_size(h, kh).unwrap(), conv.output_size(width, kw).unwrap());
    let (xs, ws) = (values(x), values(w));
    let mut y = vec![0.0; b * o * oh * ow];
    for (i, y) in y.iter_mut().enumerate() {
        let (ox, oy, oc, n) = (i % ow, i / ow % oh, i / (ow * oh) % o, i / (ow * oh * o));
        let first = oc / (o / conv.groups) * ci;
        for (j, wv) in ws[oc * ci * kh * kw..(oc + 1) * ci * kh * kw].iter().enumerate() {
            let (kx, ky, ic) = (j % kw, j / kw % kh, j / (kw * kh));
            let (py, px) = (oy * conv.stride + ky, ox * conv.stride + kx);
            if py >= conv.padding && px >= conv.padding && py - conv.padding < h && px - conv.padding < width
            {
                let at = ((n * c + first + ic) * h + py - conv.padding) * width + px - conv.padding;
                *y += wv * xs[at];
            }
        }
    }
    Tensor::from_vec(y, (b, o, oh, ow), &Device::Cpu).unwrap()
}

fn inputs(case: &Case) -> (Tensor, Tensor, Tensor) {
    let ((b, c, h, w), (o, kh, kw), conv) = *case;
    (tensor(&[b, c, h, w], 1), tensor(&[o, c / conv.groups, kh, kw], 2), tensor(&[o], 3))
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum()
}

#[test]
fn convolution_is_its_definition() {
    for case in cases() {
        let (x, w, b) = inputs(&case);
        let want = slow_conv(&x, &w, case.2);
        assert_close(conv2d(&x, &w, None, case.2, NONE).unwrap(), &want, Tol::abs(1e-12));
        let single = conv2d(&f32s(&x), &f32s(&w), None, case.2, NONE).unwrap();
        assert_close(single, f32s(&want), Tol { abs: 2e-5, rel: 1e-5 });
        let biased =
            act(&want.broadcast_add(&b.reshape((1, (), 1, 1)).unwrap()).unwrap(), Activation::Silu).unwrap();
        assert_close(conv2d(&x, &w, Some(&b), case.2, Activation::Silu).unwrap(), biased, Tol::abs(1e-12));
    }
}

/// `⟨conv(x, w), g⟩ = ⟨x, input_grad(g, w)⟩ = ⟨w, weight_grad(x, g)⟩`
#[test]
fn the_three_operations_are_adjoint() {
    for case in cases() {
        let (x, w, _) = inputs(&case);
        let (_, _, h, width) = x.dims4().unwrap();
        let (_, _, kh, kw) = w.dims4().unwrap();
        let y = conv2d(&x, &w, None, case.2, NONE).unwrap();
        let g = tensor(y.dims(), 5);
        let want = dot(&y, &g);
        let tol = Tol { abs: 1e-11, rel: 1e-12 };
        let dx = conv2d_input_grad(&g, &w, (h, width), case.2).unwrap();
        assert_close(dot(&x, &dx), want, tol);
        let dw = conv2d_weight_grad(&x, &g, (kh, kw), case.2).unwrap();
        assert_close(dot(&w, &dw), want, tol);
    }
}

#[test]
fn gradients_of_the_fused_operation_agree_with_the_composition() {
    for case in cases() {
        let (x, w, b) = inputs(&case);
        let per_image = tensor(&[x.dim(0).unwrap(), w.dim(0).unwrap()], 4);
        for bias in [b, per_image] {
            for f in [NONE, Activation::Silu, Activation::LeakyRelu(0.2), Activation::Softplus] {
                let o = w.dim(0).unwrap();
                let composed = |t: &[Tensor]| {
                    let y = conv2d(&t[0], &t[1], None, case.2, NONE)?;
                    act(&y.broadcast_add(&t[2].reshape(((), o, 1, 1))?)?, f)
                };
                let fused = |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), case.2, f);
                let all = [x.clone(), w.clone(), bias.clone()];
                assert_close(fused(&all).unwrap(), composed(&all).unwrap(), Tol::abs(1e-12));
                for (a, b) in gradients(&all, fused).iter().zip(gradients(&all, composed)) {
                    assert_close(a, b, Tol { abs: 1e-10, rel: 1e-10 });
                }
                let single = all.each_ref().map(f32s);
                for (a, b) in gradients(&single, fused).iter().zip(gradients(&all, composed)) {
                    assert_close(a, f32s(&b), Tol { abs: 3e-4, rel: 1e-4 });
                }
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let (x, w, b) = inputs(&((2, 2, 5, 4), (4, 3, 3), Conv { stride: 2, padding: 1, groups: 2 }));
    let conv = Conv { stride: 2, padding: 1, groups: 2 };
    let f = Activation::Tanh;
    assert_gradient(|x| weighted_sum(&conv2d(x, &w, Some(&b), conv, f)?), &x);
    assert_gradient(|w| weighted_sum(&conv2d(&x, w, Some(&b), conv, f)?), &w);
    assert_gradient(|b| weighted_sum(&conv2d(&x, &w, Some(b), conv, f)?), &b);
    let v = tensor(&[4, 1, 3, 3], 8);
    let b = tensor(&[2], 3);
    let g = tensor(&[2, 4, 3, 2], 7);
    assert_gradient(|g| weighted_sum(&conv_transpose2d(g, &v, Some(&b), conv, 1, f)?), &g);
    assert_gradient(|v| weighted_sum(&conv_transpose2d(&g, v, Some(&b), conv, 1, f)?), &v);
    assert_gradient(|b| weighted_sum(&conv_transpose2d(&g, &v, Some(b), conv, 1, f)?), &b);
}

/// Gradients written as graphs of the closed operations can be differentiated by an ordinary backward.
#[test]
fn input_and_weight_gradients_are_differentiable() {
    for conv in [Conv::same(3), Conv::strided(2, 1)] {
        let (x, w, _) = inputs(&((2, 2, 5, 5), (3, 3, 3), conv));
        let y = conv2d(&x, &w, None, conv, NONE).unwrap();
        let g = tensor(y.dims(), 5);
        let squared = |t: Tensor| -> Result<Tensor> { weighted_sum(&t.sqr()?) };
        assert_gradient(|g| squared(conv2d_input_grad(g, &w, (5, 5), conv)?), &g);
        assert_gradient(|w| squared(conv2d_input_grad(&g, w, (5, 5), conv)?), &w);
        assert_gradient(|x| squared(conv2d_weight_grad(x, &g, (3, 3), conv)?), &x);
        assert_gradient(|g| squared(conv2d_weight_grad(&x, g, (3, 3), conv)?), &g);
    }
}

/// `⟨convᵀ(x, w), y⟩ = ⟨x, conv(y, w)⟩`, also with an output padding and in groups.
#[test]
fn the_transposed_convolution_is_the_adjoint() {
    for (conv, kernel, extra) in [
        (Conv::strided(2, 1), 4, 0),
        (Conv::strided(2, 1), 3, 1),
        (Conv::same(3), 3, 0),
        (Conv { stride: 3, padding: 0, groups: 2 }, 2, 2),
    ] {
        let x = tensor(&[2, 4, 3, 5], 1);
        let w = tensor(&[4, 3, kernel, kernel], 2);
        let y = conv_transpose2d(&x, &w, None, conv, extra, NONE).unwrap();
        let height = (3 - 1) * conv.stride + kernel - 2 * conv.padding + extra;
        assert_eq!(y.dims()[..3], [2, 3 * conv.groups, height]);
        let probe = tensor(y.dims(), 3);
        assert_close(dot(&y, &probe), dot(&x, &slow_conv(&probe, &w, conv)), Tol { abs: 1e-11, rel: 1e-12 });
        if conv.groups == 1 {
            let plain = x.conv_transpose2d(&w, conv.padding, extra, conv.stride, 1).unwrap();
            assert_close(&y, plain, Tol::abs(1e-12));
        }
    }
}

#[test]
fn any_layout_gives_the_same() {
    let (x, w, b) = inputs(&((4, 3, 6, 5), (2, 3, 3), Conv::same(3)));
    let want = conv2d(&x, &w, Some(&b), Conv::same(3), Activation::Silu).unwrap();
    for (x, w) in [(strided(&x), strided(&w)), (shifted(&x), shifted(&w))] {
        assert_close(
            conv2d(&x, &w, Some(&b), Conv::same(3), Activation::Silu).unwrap(),
            &want,
            Tol::abs(1e-13),
        );
    }
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let cases = [
                ((37, 8, 14, 14), (16, 3, 3), Conv::same(3)),
                ((37, 16, 14, 14), (32, 3, 3), Conv::same(3)),
                ((21, 32, 7, 7), (16, 2, 3), Conv::same(3)),
            ];
            let one = |case: &Case| {
                let (x, w, b) = inputs(case);
                let f = |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), case.2, Activation::Silu);
                let all = [f32s(&x), f32s(&w), f32s(&b)];
                let mut got = gradients(&all, f);
                got.push(f(&all).unwrap());
                got
            };
            cases.iter().flat_map(one).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        for (a, b) in one.iter().zip(run(threads)) {
            assert_close(a, b, Tol::EQUAL);
        }
    }
}

#[test]
fn frozen_weights_get_no_gradient() {
    let (x, w, b) = inputs(&((2, 2, 5, 5), (3, 3, 3), Conv::same(3)));
    let (x, w) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
    let y =
        conv2d(x.as_tensor(), &w.as_tensor().detach(), Some(&b), Conv::same(3), Activation::Silu).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(w.as_tensor()).is_none() && grads.get(x.as_tensor()).is_some());
}

#[test]
fn wrong_shapes_are_errors_in_words() {
    let (x, w, b) = inputs(&((2, 2, 5, 5), (3, 3, 3), Conv::same(3)));
    let message = |r: Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(conv2d(&x, &tensor(&[3, 4, 3, 3], 1), None, Conv::same(3), NONE)).contains("channels"));
    assert!(
        message(conv2d(&x, &tensor(&[3, 2, 7, 7], 1), None, Conv::default(), NONE)).contains("does not fit")
    );
    assert!(message(conv2d(&x, &w, Some(&tensor(&[2], 1)), Conv::same(3), NONE)).contains("bias"));
    assert!(
        message(conv2d(&x, &w, Some(&b), Conv { stride: 0, ..Conv::same(3) }, NONE)).contains("does not fit")
    );
    assert!(conv_transpose2d(&x, &w, None, Conv::same(3), 0, NONE).is_err());
    assert!(conv2d_input_grad(&x, &w, (5, 5), Conv::same(3)).is_err());
}
