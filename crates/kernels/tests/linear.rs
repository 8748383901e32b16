//! Linear layers and activations against plain candle operations and finite differences.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{f32s, gradients, shifted, strided, tensor, weighted_sum};
use genzoo_kernels::{Activation, act, act_grad, contrast, linear};
use genzoo_testkit::{Tol, assert_close, assert_gradient, check_gradient};

const ALL: [Activation; 10] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::LeakyRelu(-0.3),
    Activation::Silu,
    Activation::Softplus,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Gelu,
    Activation::Elu,
];

/// The textbook formula, one number at a time.
fn slow(f: Activation, x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match f {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Activation::Silu => x * sigmoid,
        Activation::Softplus => (1.0 + x.exp()).ln(),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid,
        Activation::Gelu => {
            // Φ by Simpson's rule on the density.
            let n = 4000;
            let h = x / f64::from(n);
            let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let sum: f64 = (0..n)
                .map(|i| {
                    let t = f64::from(i) * h;
                    (density(t) + 4.0 * density(t + h / 2.0) + density(t + h)) * h / 6.0
                })
                .sum();
            x * (0.5 + sum)
        }
        Activation::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp() - 1.0
            }
        }
    }
}

#[test]
fn activations_follow_their_formulas() {
    let x = common::scaled(&[7, 13], 1, 4.0);
    for f in ALL {
        let want: Vec<f64> =
            x.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().map(|&x| slow(f, x)).collect();
        assert_close(
            act(&x, f).unwrap().flatten_all().unwrap(),
            want.clone(),
            Tol { abs: 1e-12, rel: 1e-10 },
        );
        assert_close(act(&f32s(&x), f).unwrap().flatten_all().unwrap(), want, Tol { abs: 5e-7, rel: 1e-6 });
    }
}

#[test]
fn large_tensors_cross_block_borders() {
    let x = tensor(&[70_001], 3);
    for f in [Activation::Silu, Activation::Relu] {
        let y = act(&x, f).unwrap().to_vec1::<f64>().unwrap();
        let want: Vec<f64> = x.to_vec1::<f64>().unwrap().iter().map(|&x| slow(f, x)).collect();
        assert_close(y, want, Tol::rel(1e-12));
    }
}

#[test]
fn activation_gradients_of_two_orders() {
    let x = tensor(&[5, 3], 2);
    for f in ALL {
        assert_gradient(|x| weighted_sum(&act(x, f)?), &x);
        let g = tensor(&[5, 3], 3);
        // Identity's slope is constant: there is no graph from x.
        if f != Activation::Identity {
            assert_gradient(|x| weighted_sum(&act_grad(x, &g, f)?), &x);
        }
        assert_gradient(|g| weighted_sum(&act_grad(&x, g, f)?), &g);
    }
}

#[test]
fn relu_has_slope_zero_at_zero() {
    let x = Var::from_tensor(&Tensor::new(&[0f32, -0.0, 1.0], &Device::Cpu).unwrap()).unwrap();
    let grads = act(x.as_tensor(), Activation::Relu).unwrap().sum_all().unwrap().backward().unwrap();
    assert_close(grads.get(x.as_tensor()).unwrap(), [0f32, 0.0, 1.0], Tol::EQUAL);
}

#[test]
fn activations_keep_nan_and_survive_extremes() {
    for f in ALL {
        let x = Tensor::new(&[f32::NAN, 1e4, -1e4, 0.0], &Device::Cpu).unwrap();
        let y = act(&x, f).unwrap().to_vec1::<f32>().unwrap();
        assert!(y[0].is_nan(), "{f} hides a NaN");
        assert!(y[1..].iter().all(|v| v.is_finite()), "{f}: {y:?}");
        let g = act_grad(&x, &x.ones_like().unwrap(), f).unwrap().to_vec1::<f32>().unwrap();
        assert!(g[1..].iter().all(|v| v.is_finite()), "{f}': {g:?}");
    }
}

#[test]
fn linear_is_the_plain_composition() {
    for (rows, inputs, outputs) in [(1, 1, 1), (3, 2, 5), (17, 33, 9), (130, 64, 257)] {
        let (x, w, b) = (tensor(&[rows, inputs], 1), tensor(&[outputs, inputs], 2), tensor(&[outputs], 3));
        for f in ALL {
            let plain = |t: &[Tensor]| act(&t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])?, f);
            let fused = |t: &[Tensor]| linear(&t[0], &t[1], Some(&t[2]), f);
            let inputs = [x.clone(), w.clone(), b.clone()];
            assert_close(fused(&inputs).unwrap(), plain(&inputs).unwrap(), Tol { abs: 1e-12, rel: 1e-12 });
            for (a, b) in gradients(&inputs, fused).iter().zip(gradients(&inputs, plain)) {
                assert_close(a, b, Tol { abs: 1e-11, rel: 1e-11 });
            }
            let single = [f32s(&x), f32s(&w), f32s(&b)];
            let scale = 1e-6 * (inputs_scale(rows, 1.0) + 33.0);
            for (a, b) in gradients(&single, fused).iter().zip(gradients(&inputs, plain)) {
                assert_close(a, f32s(&b), Tol { abs: scale * 30.0, rel: 1e-4 });
            }
        }
    }
}

fn inputs_scale(rows: usize, unit: f64) -> f64 {
    rows as f64 * unit
}

#[test]
fn linear_gradients_agree_with_finite_differences() {
    let (x, w, b) = (tensor(&[4, 3], 1), tensor(&[5, 3], 2), tensor(&[5], 3));
    for f in ALL {
        assert_gradient(|x| weighted_sum(&linear(x, &w, Some(&b), f)?), &x);
        assert_gradient(|w| weighted_sum(&linear(&x, w, Some(&b), f)?), &w);
        assert_gradient(|b| weighted_sum(&linear(&x, &w, Some(b), f)?), &b);
    }
}

#[test]
fn linear_takes_any_layout_and_leading_dimensions() {
    let (x, w, b) = (tensor(&[6, 4], 1), tensor(&[5, 4], 2), tensor(&[5], 3));
    let want = linear(&x, &w, Some(&b), Activation::Tanh).unwrap();
    for (x, w) in [(strided(&x), strided(&w)), (shifted(&x), shifted(&w))] {
        assert_close(linear(&x, &w, Some(&b), Activation::Tanh).unwrap(), &want, Tol::abs(1e-14));
    }
    let cube = linear(&x.reshape((2, 3, 4)).unwrap(), &w, Some(&b), Activation::Tanh).unwrap();
    assert_eq!(cube.dims(), [2, 3, 5]);
    assert_close(cube.reshape((6, 5)).unwrap(), &want, Tol::EQUAL);
    let row = linear(&x.get(0).unwrap(), &w, None, Activation::Identity).unwrap();
    assert_eq!(row.dims(), [5]);
    assert_close(
        row,
        x.get(0).unwrap().unsqueeze(0).unwrap().matmul(&w.t().unwrap()).unwrap().squeeze(0).unwrap(),
        Tol::abs(1e-14),
    );
}

#[test]
fn linear_without_bias_has_no_bias() {
    let (x, w) = (tensor(&[4, 3], 1), tensor(&[5, 3], 2));
    let want = x.matmul(&w.t().unwrap()).unwrap();
    assert_close(linear(&x, &w, None, Activation::Identity).unwrap(), want, Tol::abs(1e-14));
}

#[test]
fn linear_leaves_detached_weights_alone() {
    let w = Var::from_tensor(&tensor(&[5, 3], 2)).unwrap();
    let x = Var::from_tensor(&tensor(&[4, 3], 1)).unwrap();
    let y = linear(x.as_tensor(), &w.as_tensor().detach(), None, Activation::Silu).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(w.as_tensor()).is_none());
    assert!(grads.get(x.as_tensor()).is_some());
}

#[test]
fn other_types_and_empty_batches_take_the_plain_path() {
    let (x, w) = (tensor(&[4, 3], 1), tensor(&[5, 3], 2));
    let half = |t: &Tensor| t.to_dtype(DType::BF16).unwrap();
    let y = linear(&half(&x), &half(&w), None, Activation::Silu).unwrap();
    assert_close(
        y,
        linear(&x, &w, None, Activation::Silu).unwrap().to_dtype(DType::BF16).unwrap(),
        Tol { abs: 0.05, rel: 0.05 },
    );
    let empty = Tensor::zeros((0, 3), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(linear(&empty, &w, None, Activation::Silu).unwrap().dims(), [0, 5]);
}

#[test]
fn wrong_shapes_are_errors_in_words() {
    let (x, w) = (tensor(&[4, 3], 1), tensor(&[5, 4], 2));
    let error = linear(&x, &w, None, Activation::Identity).unwrap_err().to_string();
    assert!(error.contains("takes 4 inputs"), "{error}");
    let w = tensor(&[5, 3], 2);
    let error = linear(&x, &w, Some(&tensor(&[4], 1)), Activation::Identity).unwrap_err().to_string();
    assert!(error.contains("[5]"), "{error}");
    assert!(act_grad(&x, &w, Activation::Silu).is_err());
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (x, w, b) =
                (f32s(&tensor(&[700, 130], 1)), f32s(&tensor(&[140, 130], 2)), f32s(&tensor(&[140], 3)));
            let y = linear(&x, &w, Some(&b), Activation::Silu).unwrap();
            let grads = gradients(&[x, w, b], |t| linear(&t[0], &t[1], Some(&t[2]), Activation::Silu));
            (y, grads)
        })
    };
    let (y, grads) = run(1);
    for threads in [2, 3, 5] {
        let (z, other) = run(threads);
        assert_close(&y, z, Tol::EQUAL);
        for (a, b) in grads.iter().zip(other) {
            assert_close(a, b, Tol::EQUAL);
        }
    }
}

#[test]
fn names_round_trip() {
    for f in ALL {
        assert_eq!(f.to_string().parse::<Activation>().unwrap(), f);
    }
    assert!("selu".parse::<Activation>().unwrap_err().contains("expected"));
}

#[test]
fn a_wrong_gradient_would_be_noticed() {
    let x = tensor(&[4], 1);
    assert!(
        check_gradient(|x| weighted_sum(&act(&x.detach(), Activation::Silu)?.add(x)?), &x, Tol::GRADIENT)
            .is_err()
    );
}

#[test]
fn contrasts_are_differences_of_moments() {
    let (h, v) = (tensor(&[7, 3], 1), tensor(&[7, 5], 2));
    let (g, u) = (tensor(&[4, 3], 3), tensor(&[4, 5], 4));
    let want = |a: &Tensor, b: &Tensor, c: &Tensor, d: &Tensor| {
        let moments = |x: &Tensor, y: &Tensor| x.t().unwrap().contiguous().unwrap().matmul(y).unwrap();
        ((moments(a, b) - moments(c, d)).unwrap() * 0.3).unwrap()
    };
    let one = |n: usize| Tensor::ones((n, 1), v.dtype(), v.device()).unwrap();
    for (dtype, tol) in [(DType::F64, Tol::abs(1e-13)), (DType::F32, Tol::abs(1e-5))] {
        let [a, b, c, d] = [&h, &v, &g, &u].map(|t| t.to_dtype(dtype).unwrap());
        let [w, by_h, by_v] = contrast((&a, &strided(&b)), (&c, &d), 0.3).unwrap();
        assert_close(w.to_dtype(DType::F64).unwrap(), want(&h, &v, &g, &u), tol);
        let column = want(&h, &one(7), &g, &one(4)).squeeze(1).unwrap();
        assert_close(by_h.to_dtype(DType::F64).unwrap(), column, tol);
        let row = want(&one(7), &v, &one(4), &u).squeeze(0).unwrap();
        assert_close(by_v.to_dtype(DType::F64).unwrap(), row, tol);
    }
    assert!(contrast((&h, &u), (&g, &u), 1.0).is_err());
}
