//! Stable forms, once. Tensors keep their dtype; the log-sum-exp family reduces the last dimension.

use candle_core::{D, Tensor};

/// `½ log 2π`.
pub const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

/// `log(1 + eˣ)` without overflow: `max(x, 0) + log(1 + e^{−|x|})`.
///
/// # Errors
/// If a tensor operation fails.
pub fn softplus(x: &Tensor) -> candle_core::Result<Tensor> {
    genzoo_kernels::act(x, genzoo_kernels::Activation::Softplus)
}

/// `1/(1 + e^{−x})`.
///
/// # Errors
/// If a tensor operation fails.
pub fn sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    genzoo_kernels::act(x, genzoo_kernels::Activation::Sigmoid)
}

/// Sum over everything but the first dimension: `(b, …) → (b,)`.
///
/// # Errors
/// If a tensor operation fails.
pub fn sum_event(x: &Tensor) -> candle_core::Result<Tensor> {
    if x.rank() <= 1 { Ok(x.clone()) } else { x.flatten_from(1)?.sum(D::Minus1) }
}

/// `log N(x; 0, I)`, `(b, …) → (b,)`.
///
/// # Errors
/// If a tensor operation fails.
pub fn log_standard_normal(x: &Tensor) -> candle_core::Result<Tensor> {
    let d: usize = x.dims().iter().skip(1).product();
    sum_event(&x.sqr()?)?.affine(-0.5, -(d as f64) * HALF_LOG_TAU)
}

/// `log N(x; mean, diag σ²)` with `lv = log σ²`, all `(b, …)`, `→ (b,)`.
///
/// # Errors
/// If a tensor operation fails.
pub fn log_normal(x: &Tensor, mean: &Tensor, lv: &Tensor) -> candle_core::Result<Tensor> {
    let d: usize = x.dims().iter().skip(1).product();
    let squared = ((x - mean)?.sqr()? * lv.neg()?.exp()?)?;
    sum_event(&(squared + lv)?)?.affine(-0.5, -(d as f64) * HALF_LOG_TAU)
}

/// `−log Bernoulli(x; σ(logit))` per element: `softplus(logit) − x·logit`.
///
/// # Errors
/// If a tensor operation fails.
pub fn bce_with_logits(logit: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
    genzoo_kernels::bce_with_logits(logit, x)
}

/// `Σ −log Bernoulli(x; σ(logit))` over the event: `(b, …) → (b,)`, in one pass over the pixels.
///
/// # Errors
/// If a tensor operation fails.
pub fn bce_with_logits_event(logit: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
    genzoo_kernels::bce_with_logits_rows(logit, x)
}

/// `Σ log P(k)` of the discretised logistic over a row, `(b,)` nats, in one pass: `parameters (b, 2d)` are all
/// locations (white is 1), then all raw log-scales `r` with `log s = least + softplus(r − least)`; `k (b, d)` are bytes.
///
/// # Errors
/// On other shapes.
pub fn discretised_logistic_rows(parameters: &Tensor, k: &Tensor, least: f64) -> candle_core::Result<Tensor> {
    genzoo_kernels::discretised_logistic_rows(parameters, k, least)
}

/// `log Σ exp` over the last dimension; rows of −∞ give −∞, rows with +∞ give +∞.
///
/// # Errors
/// If a tensor operation fails.
pub fn log_sum_exp(x: &Tensor) -> candle_core::Result<Tensor> {
    genzoo_kernels::log_sum_exp(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Result};

    fn t(v: &[f64]) -> Tensor {
        Tensor::new(v, &Device::Cpu).expect("a small tensor")
    }

    #[test]
    fn softplus_holds_at_the_extremes() -> Result<()> {
        let y = softplus(&t(&[-100.0, 0.0, 1e-30, 100.0]))?.to_vec1::<f64>()?;
        let want = [(-100f64).exp(), 2f64.ln(), 2f64.ln(), 100.0];
        for (a, b) in y.iter().zip(want) {
            assert!((a - b).abs() < 1e-15, "{a} {b}");
        }
        Ok(())
    }

    /// max(x, 0) and |x| have no slope at 0, where networks with a zero last layer start; their sum has ½.
    #[test]
    fn softplus_has_slope_one_half_at_zero() -> Result<()> {
        let x = candle_core::Var::new(&[0f64], &Device::Cpu)?;
        let grads = softplus(x.as_tensor())?.sum_all()?.backward()?;
        assert_eq!(grads.get(x.as_tensor()).map(Tensor::to_vec1::<f64>).transpose()?, Some(vec![0.5]));
        Ok(())
    }

    #[test]
    fn the_sum_over_the_event_is_the_sum_of_its_elements() -> Result<()> {
        let (l, x) =
            (t(&[1.0, -2.0, 0.3, 4.0]).reshape((2, 1, 2))?, t(&[1.0, 0.0, 0.5, 0.2]).reshape((2, 1, 2))?);
        let rows = bce_with_logits_event(&l, &x)?.to_vec1::<f64>()?;
        let elements = sum_event(&bce_with_logits(&l, &x)?)?.to_vec1::<f64>()?;
        for (a, b) in rows.iter().zip(elements) {
            assert!((a - b).abs() < 1e-14, "{a} {b}");
        }
        Ok(())
    }

    #[test]
    fn a_right_and_sure_logit_costs_nothing() -> Result<()> {
        let y =
            bce_with_logits(&t(&[100.0, -100.0, 0.0, 100.0]), &t(&[1.0, 0.0, 1.0, 0.0]))?.to_vec1::<f64>()?;
        for (a, b) in y.iter().zip([0.0, 0.0, 2f64.ln(), 100.0]) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        Ok(())
    }

    #[test]
    fn normals_agree_with_their_formula() -> Result<()> {
        let (x, m, lv) = (0.7f64, -0.3f64, 0.4f64);
        let want = -0.5 * ((x - m).powi(2) / lv.exp() + lv + (std::f64::consts::TAU).ln());
        let got = log_normal(&t(&[x]).unsqueeze(1)?, &t(&[m]).unsqueeze(1)?, &t(&[lv]).unsqueeze(1)?)?;
        assert!((got.to_vec1::<f64>()?[0] - want).abs() < 1e-14);
        Ok(())
    }

    #[test]
    fn log_sum_exp_survives_large_and_small() -> Result<()> {
        let x = t(&[1000.0, 1000.0, -1000.0]).unsqueeze(0)?;
        assert!((log_sum_exp(&x)?.to_vec1::<f64>()?[0] - (1000.0 + 2f64.ln())).abs() < 1e-12);
        let inf = f64::INFINITY;
        for dtype in [candle_core::DType::F32, candle_core::DType::F64] {
            let x = Tensor::new(&[[-inf, -inf], [-inf, 3.0], [inf, 3.0]], &Device::Cpu)?.to_dtype(dtype)?;
            let y = log_sum_exp(&x)?.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
            assert_eq!(y, [-inf, 3.0, inf]);
        }
        Ok(())
    }
}
