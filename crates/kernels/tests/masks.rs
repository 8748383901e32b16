//! Padding, gates and masks against plain candle operations and finite differences.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Result, Tensor};
use common::{f32s, gradients, shifted, strided, tensor, weighted_sum};
use genzoo_kernels::{Activation, Margins, Pattern, gate, linear, mask, masked_linear, pad2d};
use genzoo_testkit::{Tol, assert_close, assert_gradient};

/// A padded image, pixel by pixel.
fn slow_pad(x: &Tensor, m: Margins) -> Tensor {
    let (b, c, h, w) = x.dims4().unwrap();
    let v: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
    let (oh, ow) = (h as isize + m.top + m.bottom, w as isize + m.left + m.right);
    let mut y = Vec::new();
    for plane in v.chunks(h * w) {
        for r in 0..oh {
            for q in 0..ow {
                let (i, j) = (r - m.top, q - m.left);
                let inside = (0..h as isize).contains(&i) && (0..w as isize).contains(&j);
                y.push(if inside { plane[i as usize * w + j as usize] } else { 0.0 });
            }
        }
    }
    Tensor::from_vec(y, (b, c, oh as usize, ow as usize), &Device::Cpu).unwrap()
}

#[test]
fn padding_moves_and_cuts_images() {
    let margins = |top, bottom, left, right| Margins { top, bottom, left, right };
    let all = [
        margins(1, 2, 3, 0),
        margins(0, -1, -2, -1),
        margins(2, -1, -1, 4),
        margins(1, -1, 1, -1),
        margins(-1, 1, 3, -2),
        Margins::default(),
    ];
    let x = tensor(&[2, 3, 4, 5], 1);
    for m in all {
        let want = slow_pad(&x, m);
        for layout in [x.clone(), strided(&x), shifted(&x)] {
            assert_close(pad2d(&layout, m).unwrap(), &want, Tol::EQUAL);
        }
        assert_close(pad2d(&f32s(&x), m).unwrap(), f32s(&want), Tol::EQUAL);
        assert_gradient(|x| weighted_sum(&pad2d(x, m)?), &x);
    }
    assert_eq!(pad2d(&x, margins(-2, -2, 0, 0)).unwrap().dims(), [2, 3, 0, 5]);
    assert!(pad2d(&x, margins(-3, -2, 0, 0)).is_err());
    assert!(pad2d(&x, margins(9, 0, -3, -3)).is_err());
}

fn slow_gate(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(1)? / 2;
    let b = x.narrow(1, half, half)?;
    x.narrow(1, 0, half)?.tanh()?.div(&(b.neg()?.exp()? + 1.0)?)
}

#[test]
fn a_gate_is_tanh_times_sigmoid() {
    for shape in [&[3, 2][..], &[2, 6, 5], &[2, 4, 9, 7]] {
        let x = tensor(shape, 1);
        let want = slow_gate(&x).unwrap();
        for layout in [x.clone(), strided(&x), shifted(&x)] {
            assert_close(gate(&layout).unwrap(), &want, Tol::abs(1e-14));
        }
        assert_close(gate(&f32s(&x)).unwrap(), f32s(&want), Tol { abs: 1e-9, rel: 1e-6 });
        let (fused, slow) = (
            gradients(std::slice::from_ref(&x), |t| gate(&t[0])),
            gradients(std::slice::from_ref(&x), |t| slow_gate(&t[0])),
        );
        assert_close(&fused[0], &slow[0], Tol::abs(1e-13));
        assert_gradient(|x| weighted_sum(&gate(x)?), &x);
    }
    assert!(gate(&tensor(&[2, 3], 1)).is_err());
    let extreme = Tensor::new(&[[100f32, 100.0], [-100.0, 100.0], [100.0, -100.0]], &Device::Cpu).unwrap();
    let y = gate(&extreme).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(y[0] == 1.0 && y[1] == -1.0 && y[2].abs() < 1e-30, "{y:?}");
}

#[test]
fn a_mask_stops_values_and_gradients() {
    let (x, m) = (tensor(&[3, 4], 1), tensor(&[3, 4], 2).gt(0.0).unwrap());
    let m = m.to_dtype(x.dtype()).unwrap();
    assert_close(mask(&x, &m).unwrap(), (&x * &m).unwrap(), Tol::EQUAL);
    assert_close(mask(&strided(&x), &strided(&m)).unwrap(), (&x * &m).unwrap(), Tol::EQUAL);
    assert_gradient(|x| weighted_sum(&mask(x, &m)?.sqr()?), &x);
    assert!(mask(&x, &m.t().unwrap()).is_err());
    assert!(mask(&f32s(&x), &m).is_err());
}

/// Staircases in both directions, no order at all, rows that see nothing, and more rows than a block has.
#[test]
fn a_masked_layer_is_the_layer_of_the_masked_weight() {
    type Sees = fn(usize, usize) -> bool;
    let patterns: [Sees; 4] = [
        |o, i| i <= o / 8,
        |o, i| i + o / 8 > 20,
        |o, i| (o * 7 + i * 5).is_multiple_of(3),
        |o, i| o > 150 && i.is_multiple_of(2),
    ];
    let (outputs, inputs) = (200, 25);
    for sees in patterns {
        let m: Vec<f64> = (0..outputs * inputs).map(|k| f64::from(sees(k / inputs, k % inputs))).collect();
        let m = Tensor::from_vec(m, (outputs, inputs), &Device::Cpu).unwrap();
        let (pattern, single) = (Pattern::new(&m).unwrap(), Pattern::new(&f32s(&m)).unwrap());
        let all = [tensor(&[6, inputs], 1), tensor(&[outputs, inputs], 2), tensor(&[outputs], 3)];
        for f in [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Tanh] {
            let fused = |t: &[Tensor]| masked_linear(&t[0], &t[1], &pattern, Some(&t[2]), f);
            let slow = |t: &[Tensor]| linear(&t[0], &(&t[1] * &m)?, Some(&t[2]), f);
            let want = slow(&all).unwrap();
            assert_close(fused(&all).unwrap(), &want, Tol::abs(1e-12));
            for (a, b) in gradients(&all, fused).iter().zip(gradients(&all, slow)) {
                assert_close(a, b, Tol::abs(1e-12));
            }
            let [x, w, b] = all.each_ref().map(f32s);
            let got = masked_linear(&x, &w, &single, Some(&b), f).unwrap();
            assert_close(got, f32s(&want), Tol { abs: 2e-5, rel: 1e-5 });
        }
        let x = tensor(&[2, 3, inputs], 4);
        let y = masked_linear(&x, &all[1], &pattern, None, Activation::Silu).unwrap();
        let want = linear(&x, &(&all[1] * &m).unwrap(), None, Activation::Silu).unwrap();
        assert_close(y, want, Tol::abs(1e-12));
        assert!(masked_linear(&all[0], &all[1], &single, None, Activation::Relu).is_err());
    }
    let (x, w) = (tensor(&[3, 4], 1), tensor(&[5, 4], 2));
    let pattern = Pattern::new(&w.gt(0.0).unwrap().to_dtype(w.dtype()).unwrap()).unwrap();
    assert_gradient(|w| weighted_sum(&masked_linear(&x, w, &pattern, None, Activation::Silu)?), &w);
    assert_gradient(|x| weighted_sum(&masked_linear(x, &w, &pattern, None, Activation::Silu)?), &x);
}
