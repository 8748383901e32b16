//! The discretised logistic against its distribution function, and its gradients against differences.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use common::{f32s, tensor, weighted_sum};
use genzoo_kernels::discretised_logistic_rows;
use genzoo_testkit::{Tol, assert_close, assert_gradient};

const LEAST: f64 = -7.0;
const CASES: [(f64, f64); 5] = [(0.5, -2.0), (0.0, -4.0), (1.02, -6.5), (0.3, 1.0), (-0.2, -3.0)];

/// `log P(k)` of all bytes, one to a row.
fn table(mu: f64, log_scale: f64, dtype: DType) -> Result<Tensor> {
    let raw = LEAST + (log_scale - LEAST).exp_m1().ln();
    let parameters = Tensor::new(&[mu, raw], &Device::Cpu)?.repeat((256, 1))?.to_dtype(dtype)?;
    let k = Tensor::arange(0f64, 256.0, &Device::Cpu)?.to_dtype(dtype)?.unsqueeze(1)?;
    discretised_logistic_rows(&parameters, &k, LEAST)
}

#[test]
fn probabilities_of_all_bytes_sum_to_one() -> Result<()> {
    for (mu, log_scale) in CASES {
        let total: f64 = table(mu, log_scale, DType::F64)?.to_vec1::<f64>()?.iter().map(|l| l.exp()).sum();
        assert!((total - 1.0).abs() < 1e-12, "{mu} {log_scale}: {total}");
    }
    Ok(())
}

#[test]
fn each_probability_is_a_difference_of_the_distribution_function() -> Result<()> {
    for (mu, log_scale) in CASES {
        let f = |v: f64| 1.0 / (1.0 + (-(v - mu) / log_scale.exp()).exp());
        let (wide, single) = (table(mu, log_scale, DType::F64)?, table(mu, log_scale, DType::F32)?);
        for (k, l) in wide.to_vec1::<f64>()?.into_iter().enumerate() {
            let low = if k == 0 { 0.0 } else { f(k as f64 / 256.0) };
            let high = if k == 255 { 1.0 } else { f((k + 1) as f64 / 256.0) };
            assert!((l.exp() - (high - low)).abs() < 1e-12, "{mu} {log_scale} {k}");
        }
        // In f32 the arguments, up to 1/s = 700 times larger than 1, carry 6e-8 of themselves.
        assert_close(single, f32s(&wide), Tol { abs: 3e-4, rel: 1e-5 });
    }
    Ok(())
}

#[test]
fn far_cells_and_sharp_scales_stay_finite() -> Result<()> {
    let k = Tensor::new(&[[0f32], [17.0], [255.0]], &Device::Cpu)?;
    let parameters = Tensor::new(&[[30f32, -700.0], [-30.0, -700.0], [-30.0, -700.0]], &Device::Cpu)?;
    let l = discretised_logistic_rows(&parameters, &k, LEAST)?.to_vec1::<f32>()?;
    assert!(l.iter().all(|v| v.is_finite() && *v < -1e4), "{l:?}");
    Ok(())
}

#[test]
fn gradients_are_differences_and_rows_are_sums() -> Result<()> {
    // Wider than the lanes of the kernel, with both outer cells.
    let (b, d) = (3, 37);
    let parameters = tensor(&[b, 2 * d], 1);
    let bytes = (0..b * d).map(|i| [0.0, 255.0, 1.0, 254.0, 100.0][i % 5]).collect::<Vec<f64>>();
    let k = Tensor::from_vec(bytes, (b, d), &Device::Cpu)?;
    assert_gradient(|p| weighted_sum(&discretised_logistic_rows(p, &k, LEAST)?), &parameters);
    let rows = discretised_logistic_rows(&parameters, &k, LEAST)?;
    let mut sums = vec![0f64; b];
    for (i, sum) in sums.iter_mut().enumerate() {
        for j in 0..d {
            let at = |column: usize| parameters.narrow(0, i, 1)?.narrow(1, column, 1);
            let one = Tensor::cat(&[at(j)?, at(d + j)?], 1)?;
            let byte = k.narrow(0, i, 1)?.narrow(1, j, 1)?;
            *sum += discretised_logistic_rows(&one, &byte, LEAST)?.to_vec1::<f64>()?[0];
        }
    }
    assert_close(rows, sums, Tol::rel(1e-12));
    assert!(discretised_logistic_rows(&parameters, &k.t()?, LEAST).is_err());
    Ok(())
}
