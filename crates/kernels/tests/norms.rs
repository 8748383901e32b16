//! Norms, reductions, resampling and losses against plain candle operations and finite differences.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{D, DType, Device, Result, Tensor};
use common::{f32s, gradients, scaled, strided, tensor, weighted_sum};
use genzoo_kernels::{
    avg_pool2, bce_with_logits, bce_with_logits_rows, cat_channels, group_norm, layer_norm, log_sum_exp,
    max_pool2d, softmax, sum_pool2, sum_rows, upsample2,
};
use genzoo_testkit::{Tol, assert_close, assert_gradient};

/// The definition, with candle's reductions over the last dimension.
fn slow_group_norm(x: &Tensor, groups: usize, w: &Tensor, b: &Tensor, silu: bool) -> Result<Tensor> {
    let (n, c, h, width) = x.dims4()?;
    let rows = x.reshape((n, groups, c / groups * h * width))?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
    let y = centred.broadcast_div(&deviation)?.reshape((n, c, h, width))?;
    let y = y.broadcast_mul(&w.reshape((1, c, 1, 1))?)?.broadcast_add(&b.reshape((1, c, 1, 1))?)?;
    if silu { &y / ((y.neg()?.exp())? + 1.0)? } else { Ok(y) }
}

#[test]
fn group_norm_is_its_definition() {
    for (shape, groups) in [([2, 6, 5, 3], 3), ([3, 4, 1, 1], 2), ([1, 8, 7, 7], 8), ([5, 3, 14, 14], 1)] {
        let (x, w, b) = (tensor(&shape, 1), tensor(&[shape[1]], 2), tensor(&[shape[1]], 3));
        for silu in [false, true] {
            let fused = |t: &[Tensor]| group_norm(&t[0], groups, &t[1], &t[2], 1e-5, silu);
            let slow = |t: &[Tensor]| slow_group_norm(&t[0], groups, &t[1], &t[2], silu);
            let all = [x.clone(), w.clone(), b.clone()];
            assert_close(fused(&all).unwrap(), slow(&all).unwrap(), Tol::abs(1e-11));
            for (a, b) in gradients(&all, fused).iter().zip(gradients(&all, slow)) {
                assert_close(a, b, Tol { abs: 1e-9, rel: 1e-9 });
            }
            let single = all.each_ref().map(f32s);
            for (a, b) in gradients(&single, fused).iter().zip(gradients(&all, slow)) {
                assert_close(a, f32s(&b), Tol { abs: 2e-4, rel: 1e-4 });
            }
            let other = [strided(&x), w.clone(), b.clone()];
            assert_close(fused(&other).unwrap(), slow(&all).unwrap(), Tol::abs(1e-11));
        }
    }
    let (x, w, b) = (tensor(&[2, 4, 3, 3], 1), tensor(&[4], 2), tensor(&[4], 3));
    assert_gradient(|x| weighted_sum(&group_norm(x, 2, &w, &b, 1e-5, true)?), &x);
    assert_gradient(|w| weighted_sum(&group_norm(&x, 2, w, &b, 1e-5, true)?), &w);
    assert!(group_norm(&x, 3, &w, &b, 1e-5, true).is_err());
}

#[test]
fn group_norm_survives_a_large_mean() {
    // E[x²] − E[x]² would lose every digit here.
    let x = (f32s(&tensor(&[1, 2, 8, 8], 1)) + 1e3).unwrap();
    let (w, b) = (
        Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap(),
    );
    let y = group_norm(&x, 2, &w, &b, 1e-5, false).unwrap();
    let variance = y.sqr().unwrap().mean_all().unwrap();
    assert_close(variance, 1f32, Tol::rel(1e-3));
}

#[test]
fn layer_norm_is_its_definition() {
    for shape in [[5, 7], [300, 130], [1, 1]] {
        let d = shape[1];
        let (x, w, b) = (tensor(&shape, 1), tensor(&[d], 2), tensor(&[d], 3));
        let slow = |t: &[Tensor]| {
            let centred = t[0].broadcast_sub(&t[0].mean_keepdim(1)?)?;
            let deviation = (centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
            centred.broadcast_div(&deviation)?.broadcast_mul(&t[1])?.broadcast_add(&t[2])
        };
        let fused = |t: &[Tensor]| layer_norm(&t[0], &t[1], &t[2], 1e-5);
        let all = [x.clone(), w, b];
        assert_close(fused(&all).unwrap(), slow(&all).unwrap(), Tol::abs(1e-11));
        for (a, b) in gradients(&all, fused).iter().zip(gradients(&all, slow)) {
            assert_close(a, b, Tol { abs: 1e-9, rel: 1e-9 });
        }
    }
    let (x, w, b) = (tensor(&[2, 3, 4], 1), tensor(&[4], 2), tensor(&[4], 3));
    assert_gradient(|x| weighted_sum(&layer_norm(x, &w, &b, 1e-5)?), &x);
}

#[test]
fn resampling_is_its_definition_and_adjoint() {
    let x = tensor(&[2, 3, 5, 4], 1);
    let up = upsample2(&x).unwrap();
    assert_eq!(up.dims(), [2, 3, 10, 8]);
    let pixels = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let want: Vec<f64> =
        (0..2 * 3 * 10 * 8).map(|i| pixels[i / 80 * 20 + i % 80 / 16 * 4 + i % 8 / 2]).collect();
    assert_close(up.flatten_all().unwrap(), want, Tol::EQUAL);
    let y = tensor(&[2, 3, 10, 8], 2);
    let left = (&up * &y).unwrap().sum_all().unwrap();
    let right = (&x * sum_pool2(&y).unwrap()).unwrap().sum_all().unwrap();
    assert_close(left, right, Tol::rel(1e-12));
    assert_close(avg_pool2(&y).unwrap(), y.avg_pool2d(2).unwrap(), Tol::abs(1e-14));
    for x in [x, tensor(&[2, 1, 7, 5], 3), tensor(&[1, 2, 2, 2], 3)] {
        assert_gradient(|x| weighted_sum(&upsample2(x)?.sqr()?), &x);
        assert_gradient(|x| weighted_sum(&sum_pool2(x)?.sqr()?), &x);
    }
}

/// candle's own upsampling overwrites the gradient of a second consumer; ours adds.
#[test]
fn upsampling_adds_to_the_gradients_of_other_consumers() {
    let x = tensor(&[1, 2, 3, 3], 1);
    assert_gradient(|x| weighted_sum(&upsample2(x)?)? + weighted_sum(&x.sqr()?), &x);
    assert_gradient(|x| weighted_sum(&x.sqr()?)? + weighted_sum(&upsample2(x)?), &x);
}

#[test]
fn channels_are_joined_in_order() {
    let (a, b) = (tensor(&[2, 3, 4, 5], 1), tensor(&[2, 2, 4, 5], 2));
    assert_close(cat_channels(&a, &b).unwrap(), Tensor::cat(&[&a, &b], 1).unwrap(), Tol::EQUAL);
    assert_gradient(|a| weighted_sum(&cat_channels(a, &b)?.sqr()?), &a);
    assert_gradient(|b| weighted_sum(&cat_channels(&a, b)?.sqr()?), &b);
    assert!(cat_channels(&a, &tensor(&[2, 2, 4, 4], 2)).is_err());
}

#[test]
fn rows_are_summed() {
    for shape in [vec![3, 5], vec![3000, 65], vec![2, 3, 4], vec![1, 1]] {
        let x = tensor(&shape, 1);
        let d = shape[shape.len() - 1];
        assert_close(
            sum_rows(&x).unwrap(),
            x.reshape(((), d)).unwrap().sum(0).unwrap(),
            Tol { abs: 1e-10, rel: 1e-11 },
        );
    }
    assert_gradient(|x| weighted_sum(&sum_rows(x)?.sqr()?), &tensor(&[4, 3], 1));
}

#[test]
fn soft_maxima_are_stable_and_differentiable() {
    let x = scaled(&[3, 7], 1, 5.0);
    let s = softmax(&x).unwrap();
    assert_close(s.sum(1).unwrap(), [1.0; 3], Tol::abs(1e-14));
    let e = x.exp().unwrap();
    assert_close(&s, e.broadcast_div(&e.sum_keepdim(1).unwrap()).unwrap(), Tol::rel(1e-12));
    assert_close(log_sum_exp(&x).unwrap(), e.sum(1).unwrap().log().unwrap(), Tol::abs(1e-13));
    assert_gradient(|x| weighted_sum(&softmax(x)?), &x);
    assert_gradient(|x| weighted_sum(&log_sum_exp(x)?), &x);
    let wide = scaled(&[2, 2, 40], 2, 5.0);
    assert_eq!(log_sum_exp(&wide).unwrap().dims(), [2, 2]);

    let inf = f32::INFINITY;
    let x =
        Tensor::new(&[[1e4f32, 1e4], [-1e4, -1e4], [0.0, -inf], [-inf, -inf], [f32::NAN, 0.0]], &Device::Cpu)
            .unwrap();
    let l = log_sum_exp(&x).unwrap().to_vec1::<f32>().unwrap();
    assert_close(&l[..3], [1e4f32, -1e4, 0.0], Tol { abs: 1e-6, rel: 1e-4 });
    assert_eq!(l[3], -inf);
    assert!(l[4].is_nan());
    assert_close(softmax(&x).unwrap().get(1).unwrap(), [0.5f32, 0.5], Tol::abs(1e-6));
}

/// Wherever in a row they stand, and whatever the row's width: what is no number, infinities, and a single number.
#[test]
fn soft_maxima_find_what_is_not_finite() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for width in [1, 2, 15, 16, 17, 50] {
        for at in 0..width {
            let row = |rest: f32, value: f32| {
                let row: Vec<f32> = (0..width).map(|i| if i == at { value } else { rest }).collect();
                Tensor::from_vec(row, (1, width), &Device::Cpu).unwrap()
            };
            let lse = |x: &Tensor| log_sum_exp(x).unwrap().to_vec1::<f32>().unwrap()[0];
            let soft = |x: &Tensor| softmax(x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(lse(&row(-inf, 3.0)), 3.0, "{at} of {width}");
            assert_eq!(lse(&row(1.0, inf)), inf);
            assert!(soft(&row(-inf, 3.0)).iter().enumerate().all(|(i, p)| *p == f32::from(i == at)));
            for rest in [0.0, -inf, inf] {
                assert!(lse(&row(rest, nan)).is_nan(), "{at} of {width} beside {rest}");
                assert!(soft(&row(rest, nan)).iter().all(|p| p.is_nan()));
            }
        }
    }
}

#[test]
fn largest_pixels_are_found_in_every_window() {
    for (kernel, stride) in [(2, 2), (3, 2), (2, 1), (3, 3), (1, 2)] {
        for (h, w) in [(7, 9), (6, 8), (3, 3)] {
            let x = f32s(&scaled(&[2, 3, h, w], 5, 3.0));
            let got = max_pool2d(&x, kernel, stride).unwrap();
            let planes = x.reshape((6, h * w)).unwrap().to_vec2::<f32>().unwrap();
            let places = |n: usize| (0..=(n - kernel) / stride).map(move |i| i * stride);
            let mut want = vec![];
            for plane in &planes {
                for top in places(h) {
                    for left in places(w) {
                        let window =
                            (0..kernel * kernel).map(|k| plane[(top + k / kernel) * w + left + k % kernel]);
                        want.push(window.fold(f32::NEG_INFINITY, f32::max));
                    }
                }
            }
            assert_eq!(got.flatten_all().unwrap().to_vec1::<f32>().unwrap(), want, "{kernel}/{stride}");
        }
    }
}

#[test]
fn cross_entropy_is_its_definition_and_survives_extremes() {
    let (l, t) = (scaled(&[5, 33], 1, 6.0), scaled(&[5, 33], 2, 0.5).affine(1.0, 0.5).unwrap());
    let sigmoid = (l.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap();
    let one_minus = |x: &Tensor| x.affine(-1.0, 1.0).unwrap();
    let want = ((&t * sigmoid.log().unwrap()).unwrap()
        + (one_minus(&t) * one_minus(&sigmoid).log().unwrap()).unwrap())
    .unwrap();
    let want = want.neg().unwrap();
    assert_close(bce_with_logits(&l, &t).unwrap(), &want, Tol { abs: 1e-11, rel: 1e-11 });
    assert_close(bce_with_logits_rows(&l, &t).unwrap(), want.sum(1).unwrap(), Tol::rel(1e-12));
    assert_close(
        bce_with_logits_rows(&f32s(&l), &f32s(&t)).unwrap(),
        f32s(&want.sum(1).unwrap()),
        Tol::rel(2e-6),
    );
    assert_gradient(|l| weighted_sum(&bce_with_logits_rows(l, &t)?), &l);
    assert_gradient(|t| weighted_sum(&bce_with_logits_rows(&l, t)?), &t);
    assert_gradient(|l| weighted_sum(&bce_with_logits(l, &t)?), &l);
    let l = Tensor::new(&[[1000f32], [-1000.0], [1000.0], [100.0]], &Device::Cpu).unwrap();
    let t = Tensor::new(&[[1f32], [0.0], [0.0], [0.5]], &Device::Cpu).unwrap();
    assert_close(bce_with_logits_rows(&l, &t).unwrap(), [0f32, 0.0, 1000.0, 50.0], Tol::EQUAL);
}
