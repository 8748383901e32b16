//! Every operation of the table in `common/cases.rs`: gradients, layouts, types, threads, empty and not-finite inputs.
//! Second derivatives are in `second_order.rs`, a process of its own.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Result, Tensor};
use common::cases::{Case, cases};
use common::{f32s, gradients, shifted, strided, weighted_sum};
use genzoo_testkit::{Tol, assert_close, check_gradient};

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(t: &Tensor) -> f64 {
    values(t).into_iter().fold(0.0, |a, b| a.max(b.abs()))
}

#[test]
fn gradients_agree_with_finite_differences() {
    for case in cases() {
        for shapes in &case.small {
            let inputs = case.inputs(shapes);
            for i in 0..inputs.len() {
                let f = |x: &Tensor| -> Result<Tensor> {
                    let mut all = inputs.clone();
                    all[i] = x.clone();
                    weighted_sum(&(case.f)(&all)?)
                };
                let checked = check_gradient(f, &inputs[i], Tol { abs: 1e-7, rel: 1e-7 });
                checked.unwrap_or_else(|e| panic!("{}, input {i} of {shapes:?}: {e}", case.name));
            }
        }
    }
}

#[test]
fn layouts_do_not_matter() {
    for case in cases() {
        for shapes in &case.small {
            let inputs = case.inputs(shapes);
            let plain = values(&(case.f)(&inputs).unwrap());
            let grads = gradients(&inputs, case.f);
            for other in [strided, shifted] {
                let inputs: Vec<Tensor> = inputs.iter().map(other).collect();
                assert_eq!(values(&(case.f)(&inputs).unwrap()), plain, "{}", case.name);
                for (a, b) in gradients(&inputs, case.f).iter().zip(&grads) {
                    assert_close(a, b, Tol { abs: 1e-12, rel: 1e-12 });
                }
            }
        }
    }
}

/// Values and gradients at the large sizes in f32.
fn large(case: &Case) -> Vec<Tensor> {
    let inputs: Vec<Tensor> = case.inputs(&case.large).iter().map(f32s).collect();
    let mut all = vec![(case.f)(&inputs).unwrap()];
    all.extend(gradients(&inputs, case.f));
    all
}

#[test]
fn single_precision_is_near_double_precision() {
    for case in cases() {
        // The same numbers in both, which f32 holds exactly.
        let single: Vec<Tensor> = case.inputs(&case.large).iter().map(f32s).collect();
        let double: Vec<Tensor> =
            single.iter().map(|t| t.to_dtype(candle_core::DType::F64).unwrap()).collect();
        let mut exact = vec![(case.f)(&double).unwrap()];
        exact.extend(gradients(&double, case.f));
        for (i, (got, want)) in large(&case).iter().zip(&exact).enumerate() {
            let error = largest(&(got.to_dtype(candle_core::DType::F64).unwrap() - want).unwrap());
            assert!(error <= 3e-5 * largest(want).max(1.0), "{}, result {i}: {error:e}", case.name);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let (one, three) = (pool(1), pool(3));
    for case in cases() {
        let bits = |all: Vec<Tensor>| -> Vec<Vec<u64>> {
            all.iter().map(|t| values(t).into_iter().map(f64::to_bits).collect()).collect()
        };
        assert!(one.install(|| bits(large(&case))) == three.install(|| bits(large(&case))), "{}", case.name);
    }
}

#[test]
fn nan_is_not_lost() {
    for case in cases() {
        let shapes = &case.small[0];
        for double in [true, false] {
            let clean: Vec<Tensor> =
                case.inputs(shapes).iter().map(|t| if double { t.clone() } else { f32s(t) }).collect();
            for i in 0..clean.len() {
                let mut inputs = clean.clone();
                inputs[i] = (&inputs[i] * f64::NAN).unwrap();
                let y = values(&(case.f)(&inputs).unwrap());
                assert!(y.iter().any(|v| v.is_nan()), "{}: input {i} was NaN, the result {y:?}", case.name);
                // Infinity may become anything but must not break anything.
                inputs[i] = (&clean[i] * f64::INFINITY).unwrap();
                let _ = (case.f)(&inputs).map(|y| values(&y));
            }
        }
    }
}

#[test]
fn empty_batches_give_empty_results_or_errors() {
    for case in cases() {
        let shapes = &case.small[0];
        let rows = shapes[0][0];
        let empty: Vec<Tensor> = case
            .inputs(shapes)
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let batched = i == 0
                    || t.dims() == shapes[0]
                    || (t.dim(0).unwrap() == rows && t.rank() == shapes[0].len());
                if batched { t.narrow(0, 0, 0).unwrap() } else { t.clone() }
            })
            .collect();
        if let Ok(y) = (case.f)(&empty) {
            let finite = values(&y).iter().all(|v| v.is_finite());
            assert!(finite || y.elem_count() == 0, "{}: {y}", case.name);
        }
    }
}
