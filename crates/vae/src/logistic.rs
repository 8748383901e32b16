//! The discretised logistic: a logistic density collected into the 256 cells of a byte.
//!
//! ```text
//! P(k) = F((k+1)/256) − F(k/256),   F(v) = σ((v − μ)/s),   P(0) = F(1/256),   P(255) = 1 − F(255/256)
//! log P(k) = log σ(p) + log σ(−m) + log(1 − e^{m − p}),   p = ((k+1)/256 − μ)/s,   m = (k/256 − μ)/s
//! ```
//!
//! The second line is the first for 0 < k < 255, without a difference of nearly equal numbers.
//! Source: Kingma et al. (2016), arXiv:1606.04934, §5 and Eq. 9 (there `1/256` cells as well).

use genzoo_core::math::softplus;
use genzoo_core::{DType, Noise, Result, Tensor};

/// The byte of each `x̃ = (k + u)/256`, as a float of the dtype of `x`.
pub(crate) fn bytes(x: &Tensor) -> Result<Tensor> {
    Ok(x.affine(256.0, 0.0)?.floor()?.clamp(0.0, 255.0)?)
}

/// `log P(k)` per element; `k`, `mu` and `log_scale` of one shape, `mu` and `s` in units where white is 1.
pub(crate) fn log_prob(k: &Tensor, mu: &Tensor, log_scale: &Tensor) -> Result<Tensor> {
    let k = k.detach();
    let inverse = log_scale.neg()?.exp()?;
    let width = inverse.affine(1.0 / 256.0, 0.0)?;
    let m = ((k.affine(1.0 / 256.0, 0.0)? - mu)? * inverse)?;
    let p = (&m + &width)?;
    // The outer cells reach to infinity: black has no lower edge, white no upper one.
    let above_black = k.clamp(0.0, 1.0)?;
    let below_white = k.affine(-1.0, 255.0)?.clamp(0.0, 1.0)?;
    let inner = width.neg()?.exp()?.affine(-1.0, 1.0)?.log()?;
    let edges = ((softplus(&p.neg()?)? * &below_white)? + (softplus(&m)? * &above_black)?)?;
    Ok(((inner * above_black)? * below_white)?.sub(&edges)?)
}

/// Bytes drawn from the discretised logistic, as `k`.
pub(crate) fn draw(mu: &Tensor, log_scale: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    // The cell of a logistic draw μ + s·logit(u), with the tails in the outer cells.
    let u = noise.uniform(mu.shape(), DType::F64, mu.device())?;
    let logit = (u.log()? - u.affine(-1.0, 1.0)?.log()?)?.to_dtype(mu.dtype())?;
    bytes(&(mu + (log_scale.exp()? * logit)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;

    const CASES: [(f64, f64); 5] = [(0.5, -2.0), (0.0, -4.0), (1.02, -6.5), (0.3, 1.0), (-0.2, -3.0)];

    fn table(mu: f64, log_scale: f64) -> Result<Vec<f64>> {
        let k = Tensor::arange(0f64, 256.0, &Device::Cpu)?;
        let full = |v: f64| Tensor::full(v, 256, &Device::Cpu);
        Ok(log_prob(&k, &full(mu)?, &full(log_scale)?)?.to_vec1()?)
    }

    #[test]
    fn probabilities_of_all_bytes_sum_to_one() -> Result<()> {
        for (mu, log_scale) in CASES {
            let total: f64 = table(mu, log_scale)?.iter().map(|l| l.exp()).sum();
            assert!((total - 1.0).abs() < 1e-12, "{mu} {log_scale}: {total}");
        }
        Ok(())
    }

    #[test]
    fn each_probability_is_a_difference_of_the_distribution_function() -> Result<()> {
        for (mu, log_scale) in CASES {
            let f = |v: f64| 1.0 / (1.0 + (-(v - mu) / log_scale.exp()).exp());
            for (k, l) in table(mu, log_scale)?.into_iter().enumerate() {
                let low = if k == 0 { 0.0 } else { f(k as f64 / 256.0) };
                let high = if k == 255 { 1.0 } else { f((k + 1) as f64 / 256.0) };
                assert!((l.exp() - (high - low)).abs() < 1e-12, "{mu} {log_scale} {k}");
            }
        }
        Ok(())
    }

    #[test]
    fn far_cells_and_sharp_scales_stay_finite() -> Result<()> {
        let k = Tensor::new(&[0f32, 17.0, 255.0], &Device::Cpu)?;
        let mu = Tensor::new(&[30f32, -30.0, -30.0], &Device::Cpu)?;
        let scale = Tensor::full(-7f32, 3, &Device::Cpu)?;
        let l = log_prob(&k, &mu, &scale)?.to_vec1::<f32>()?;
        assert!(l.iter().all(|v| v.is_finite() && *v < -1e4), "{l:?}");
        Ok(())
    }

    #[test]
    fn draws_have_the_stated_probabilities() -> Result<()> {
        let n = 100_000usize;
        let (mu, log_scale) = (0.02, -4.0);
        let full = |v: f64| Tensor::full(v, n, &Device::Cpu);
        let k = draw(&full(mu)?, &full(log_scale)?, &mut Noise::new(0))?.to_vec1::<f64>()?;
        let p = table(mu, log_scale)?;
        for byte in [0usize, 1, 5, 20] {
            let seen = k.iter().filter(|v| **v as usize == byte).count() as f64 / n as f64;
            let p = p[byte].exp();
            let error = (p * (1.0 - p) / n as f64).sqrt();
            assert!((seen - p).abs() < 4.0 * error, "{byte}: {seen} {p}");
        }
        Ok(())
    }

    #[test]
    fn bytes_are_recovered_from_their_presentation() -> Result<()> {
        let k: Vec<f32> = (0..256).map(|k| k as f32).collect();
        for u in [0.0f32, 0.4, 0.99] {
            let x: Vec<f32> = k.iter().map(|k| (k + u) / 256.0).collect();
            assert_eq!(bytes(&Tensor::new(x, &Device::Cpu)?)?.to_vec1::<f32>()?, k);
        }
        Ok(())
    }
}
