//! The perceptron as one operation against its formula in candle's own operations, in groups and blocks of all sizes.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use common::{f32s, strided, tensor, weighted_sum};
use genzoo_kernels::{Activation, Dense, perceptron};
use genzoo_testkit::{Tol, assert_close};

/// Weights and biases of the layers `widths[l] → widths[l + 1]`.
fn parameters(widths: &[usize], dtype: DType) -> Vec<Var> {
    let pairs = widths.windows(2).enumerate();
    let shapes = pairs.flat_map(|(l, w)| [(vec![w[1], w[0]], 2 * l), (vec![w[1]], 2 * l + 1)]);
    shapes
        .map(|(shape, salt)| Var::from_tensor(&tensor(&shape, salt as u64).to_dtype(dtype).unwrap()).unwrap())
        .collect()
}

fn layers<'a>(parameters: &'a [Tensor], fs: &[Activation]) -> Vec<Dense<'a>> {
    let pairs = parameters.chunks(2).zip(fs);
    pairs.map(|(p, &activation)| Dense { weight: &p[0], bias: Some(&p[1]), activation }).collect()
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|v| v.as_tensor().clone()).collect()
}

/// `f(x wᵀ + b)` in candle's operations.
fn slow(x: &Tensor, parameters: &[Tensor], fs: &[Activation]) -> Result<Tensor> {
    parameters.chunks(2).zip(fs).try_fold(x.clone(), |x, (p, f)| {
        let a = x.matmul(&p[0].t()?)?.broadcast_add(&p[1])?;
        match f {
            Activation::Identity => Ok(a),
            Activation::Relu => a.relu(),
            Activation::Silu => a.silu(),
            Activation::Tanh => a.tanh(),
            other => candle_core::bail!("{other} is not in this test"),
        }
    })
}

const MIXED: [Activation; 3] = [Activation::Silu, Activation::Tanh, Activation::Relu];

#[test]
fn values_and_gradients_are_the_formula_s() {
    // Below the least number of rows, exactly two groups, uneven groups, and groups of several blocks.
    for (rows, widths) in
        [(5, &[3, 8, 6, 2][..]), (256, &[3, 8, 6, 2]), (391, &[1, 17, 40, 5]), (5000, &[2, 9, 16, 1])]
    {
        let vars = parameters(widths, DType::F64);
        let x = Var::from_tensor(&tensor(&[rows, widths[0]], 11)).unwrap();
        for x in [x.as_tensor().clone(), strided(x.as_tensor())] {
            let fused = perceptron(&x, &layers(&tensors(&vars), &MIXED)).unwrap();
            let want = slow(&x, &tensors(&vars), &MIXED).unwrap();
            assert_close(&fused, &want, Tol { abs: 1e-12, rel: 1e-12 });
            // ½ Σ y² asks for a gradient that depends on the value.
            let loss = |y: &Tensor| (weighted_sum(y)? + y.sqr()?.sum_all()?)?.backward();
            let (got, want) = (loss(&fused).unwrap(), loss(&want).unwrap());
            for v in vars.iter() {
                let close = Tol { abs: 1e-10, rel: 1e-10 };
                assert_close(got.get(v).unwrap(), want.get(v).unwrap(), close);
            }
        }
        let loss = |y: Tensor| weighted_sum(&y).unwrap().backward().unwrap();
        let got = loss(perceptron(x.as_tensor(), &layers(&tensors(&vars), &MIXED)).unwrap());
        let want = loss(slow(x.as_tensor(), &tensors(&vars), &MIXED).unwrap());
        assert_close(got.get(&x).unwrap(), want.get(&x).unwrap(), Tol { abs: 1e-11, rel: 1e-11 });
    }
}

/// `gradients` takes what is handed over: the same as `backward`, also of a weight that two layers share.
#[test]
fn shared_weights_and_missing_biases_get_their_gradients() {
    let w = Var::from_tensor(&tensor(&[6, 6], 1)).unwrap();
    let b = Var::from_tensor(&tensor(&[6], 2)).unwrap();
    let x = tensor(&[300, 6], 3);
    let net = |w: &Tensor, b: &Tensor| {
        let with = Dense { weight: w, bias: Some(b), activation: Activation::Tanh };
        let without = Dense { weight: w, bias: None, activation: Activation::Identity };
        perceptron(&x, &[with, without, with])
    };
    let composed = |w: &Tensor, b: &Tensor| {
        let h = x.matmul(&w.t()?)?.broadcast_add(b)?;
        let h = h.tanh()?.matmul(&w.t()?)?.matmul(&w.t()?)?.broadcast_add(b)?;
        h.tanh()
    };
    let want = weighted_sum(&composed(&w, &b).unwrap()).unwrap().backward().unwrap();
    let loss = weighted_sum(&net(&w, &b).unwrap()).unwrap();
    let close = Tol { abs: 1e-11, rel: 1e-11 };
    // A graph may be walked twice.
    for _ in 0..2 {
        let got = genzoo_kernels::gradients(&loss, [&w, &b]).unwrap();
        assert_close(&got[0], want.get(&w).unwrap(), close);
        assert_close(&got[1], want.get(&b).unwrap(), close);
        let got = loss.backward().unwrap();
        assert_close(got.get(&w).unwrap(), want.get(&w).unwrap(), close);
    }
    // Frozen weights have none, whoever else is trained.
    let y = net(&w.as_tensor().detach(), &b).unwrap();
    let got = weighted_sum(&y).unwrap().backward().unwrap();
    assert!(got.get(&w).is_none() && got.get(&b).is_some());
    assert!(!net(&w.as_tensor().detach(), &b.as_tensor().detach()).unwrap().track_op());
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let vars = parameters(&[3, 70, 33, 2], DType::F32);
            let x = f32s(&tensor(&[1300, 3], 4));
            let y = perceptron(&x, &layers(&tensors(&vars), &MIXED)).unwrap();
            let g = genzoo_kernels::gradients(
                &f32s(&weighted_sum(&y.to_dtype(DType::F64).unwrap()).unwrap()),
                &vars,
            );
            (y.detach(), g.unwrap())
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
fn odd_inputs_are_served_or_refused() {
    let vars = tensors(&parameters(&[3, 8, 6, 2], DType::F32));
    let net = layers(&vars, &MIXED);
    let cube = f32s(&tensor(&[4, 100, 3], 1));
    let rows = perceptron(&cube.reshape((400, 3)).unwrap(), &net).unwrap();
    let y = perceptron(&cube, &net).unwrap();
    assert_eq!(y.dims(), [4, 100, 2]);
    assert_close(y.reshape((400, 2)).unwrap(), rows, Tol::EQUAL);
    let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(perceptron(&empty, &net).unwrap().dims(), [0, 2]);
    assert!(perceptron(&f32s(&tensor(&[400, 4], 1)), &net).unwrap_err().to_string().contains("3 inputs"));
    // One NaN stays in its row.
    let mut numbers = vec![0.5f32; 900];
    numbers[301] = f32::NAN;
    let x = Tensor::from_vec(numbers, (300, 3), &Device::Cpu).unwrap();
    let y = perceptron(&x, &net[..2]).unwrap().to_vec2::<f32>().unwrap();
    assert!(y.iter().enumerate().all(|(r, row)| row.iter().all(|v| v.is_nan() == (r == 100))));
}
