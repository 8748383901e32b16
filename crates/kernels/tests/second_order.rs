//! Second derivatives through candle's `backward`, of every operation. One test: the environment variable is read once
//! per process.
#![allow(clippy::unwrap_used, unsafe_code)]

mod common;

use candle_core::{Result, Tensor, Var};
use common::cases::cases;
use common::{tensor, weighted_sum};
use genzoo_kernels::{Activation, linear};
use genzoo_testkit::{Tol, assert_close, finite_difference_tensor};

/// `Σᵢ w (∂f/∂xᵢ)²` over all inputs, with its graph.
fn squared_gradients(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Var]) -> Result<Tensor> {
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = weighted_sum(&f(&tensors)?)?.backward()?;
    let squares = tensors.iter().filter_map(|t| grads.get(t)).map(|g| weighted_sum(&g.sqr()?));
    squares
        .reduce(|a, b| a? + b?)
        .unwrap_or_else(|| Tensor::zeros((), tensors[0].dtype(), tensors[0].device()))
}

/// Its gradients by backward twice and by differences of one backward.
fn check(name: &str, f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) {
    let vars = |all: &[Tensor]| all.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>();
    let tracked = vars(inputs).unwrap();
    let second = squared_gradients(&f, &tracked).unwrap().backward().unwrap();
    let mut compared = 0.0f64;
    for (i, var) in tracked.iter().enumerate() {
        let at = |x: &Tensor| -> Result<Tensor> {
            let mut all = inputs.to_vec();
            all[i] = x.detach();
            Ok(squared_gradients(&f, &vars(&all)?)?.detach())
        };
        let numeric = finite_difference_tensor(at, &inputs[i]).unwrap();
        let largest =
            numeric.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
        compared = compared.max(largest);
        match second.get(var.as_tensor()) {
            Some(second) => {
                let scale = largest.max(1e-3);
                assert_close((second / scale).unwrap(), (numeric / scale).unwrap(), Tol::abs(1e-5));
            }
            None => assert!(largest < 1e-6, "{name}: the graph of input {i} is cut"),
        }
    }
    assert!(compared > 1e-6, "{name}: nothing to compare");
}

#[test]
fn second_derivatives_through_backward() {
    let late = Var::from_tensor(&tensor(&[2, 3], 1)).unwrap();
    let y = linear(late.as_tensor(), &tensor(&[4, 3], 2), None, Activation::Silu).unwrap().sum_all().unwrap();
    // SAFETY: the only test of this process, before any other thread reads the environment.
    unsafe { std::env::set_var("CANDLE_GRAD_DO_NOT_DETACH", "1") };
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("before"), "{error}");
    for case in cases() {
        for shapes in &case.small {
            check(case.name, case.f, &case.inputs(shapes));
        }
    }
}
