//! Optimiser steps against the textbook recursion in f64.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{numbers, scaled, strided};
use genzoo_kernels::optim::{AdamStep, SgdStep, adam, ema, sgd, squared_norm};
use genzoo_testkit::{Tol, assert_close};

fn var(values: &[f64], dtype: DType) -> Var {
    let t = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    Var::from_tensor(&t).unwrap()
}

#[test]
fn adam_follows_its_recursion() {
    let n = 40_000;
    for (dtype, tol) in [(DType::F64, Tol::rel(1e-12)), (DType::F32, Tol { abs: 1e-6, rel: 1e-5 })] {
        for decoupled in [false, true] {
            let mut w = numbers(n, 1, 1.0);
            let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
            let (pw, pm, pv) = (var(&w, dtype), var(&m, dtype), var(&v, dtype));
            let (lr, b1, b2, eps, decay, scale) = (0.01, 0.9, 0.999, 1e-8, 0.1, 0.5);
            for t in 1..=5u64 {
                let g = numbers(n, 10 + t, 2.0);
                let step = AdamStep {
                    lr,
                    beta1: b1,
                    beta2: b2,
                    eps,
                    weight_decay: decay,
                    decoupled,
                    moves: t,
                    scale,
                };
                let gt = Tensor::from_slice(&g, n, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                adam(pw.as_tensor(), &gt, pm.as_tensor(), pv.as_tensor(), &step).unwrap();
                for i in 0..n {
                    let mut g = g[i] * scale;
                    if decoupled {
                        w[i] -= lr * decay * w[i];
                    } else {
                        g += decay * w[i];
                    }
                    m[i] = b1 * m[i] + (1.0 - b1) * g;
                    v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                    let mean = m[i] / (1.0 - b1.powi(t as i32));
                    let square: f64 = v[i] / (1.0 - b2.powi(t as i32));
                    w[i] -= lr * mean / (square.sqrt() + eps);
                }
            }
            assert_close(pw.as_tensor(), &w, tol);
            assert_close(pm.as_tensor(), &m, tol);
            assert_close(pv.as_tensor(), &v, tol);
        }
    }
}

#[test]
fn gradient_descent_and_averages_follow_theirs() {
    let (mut w, mut m, mut e) = (numbers(1000, 1, 1.0), vec![0.0; 1000], numbers(1000, 2, 1.0));
    let (pw, pm, pe) = (var(&w, DType::F64), var(&m, DType::F64), var(&e, DType::F64));
    for t in 0..4 {
        let g = numbers(1000, 10 + t, 1.0);
        let nesterov = t % 2 == 1;
        let step = SgdStep { lr: 0.1, momentum: 0.8, weight_decay: 0.01, scale: 0.7, nesterov };
        let gt = Tensor::from_slice(&g, 1000, &Device::Cpu).unwrap();
        sgd(pw.as_tensor(), &gt, pm.as_tensor(), &step).unwrap();
        ema(pe.as_tensor(), pw.as_tensor(), 0.9).unwrap();
        for i in 0..1000 {
            let d = 0.7 * g[i] + 0.01 * w[i];
            m[i] = 0.8 * m[i] + d;
            w[i] -= 0.1 * if nesterov { d + 0.8 * m[i] } else { m[i] };
            e[i] = 0.9 * e[i] + 0.1 * w[i];
        }
    }
    assert_close(pw.as_tensor(), &w, Tol::rel(1e-11));
    assert_close(pe.as_tensor(), &e, Tol { abs: 1e-13, rel: 1e-11 });
}

#[test]
fn the_norm_is_exact_enough_for_any_layout() {
    let x = scaled(&[300, 70], 1, 1.0);
    let want: f64 = x.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().map(|v| v * v).sum();
    assert_close(squared_norm(&x).unwrap(), want, Tol::rel(1e-12));
    assert_close(squared_norm(&strided(&x)).unwrap(), want, Tol::rel(1e-12));
    assert_close(squared_norm(&x.to_dtype(DType::F32).unwrap()).unwrap(), want, Tol::rel(1e-6));
    // Squares beyond f32 stay finite.
    let large = Tensor::full(1e30f32, 10, &Device::Cpu).unwrap();
    assert_close(squared_norm(&large).unwrap(), 1e61, Tol::rel(1e-6));
}

#[test]
fn shared_storage_and_wrong_shapes_are_errors() {
    let w = var(&[1.0, 2.0], DType::F32);
    let other = var(&[1.0, 2.0, 3.0], DType::F32);
    let step = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0, scale: 1.0, nesterov: false };
    assert!(sgd(w.as_tensor(), w.as_tensor(), &w.zeros_like().unwrap(), &step).is_err());
    assert!(sgd(w.as_tensor(), other.as_tensor(), &w.zeros_like().unwrap(), &step).is_err());
    assert!(ema(w.as_tensor(), &w.as_tensor().detach(), 0.5).is_err());
}
