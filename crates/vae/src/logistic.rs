//! Bytes as the discretised logistic sees and draws them; its likelihood is `core::math`'s.

use genzoo_core::{DType, Noise, Result, Tensor};

/// The byte of each `x̃ = (k + u)/256`, as a float of the dtype of `x`.
pub(crate) fn bytes(x: &Tensor) -> Result<Tensor> {
    Ok(x.affine(256.0, 0.0)?.floor()?.clamp(0.0, 255.0)?)
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

    #[test]
    fn draws_have_the_stated_probabilities() -> Result<()> {
        let n = 100_000usize;
        let (mu, log_scale) = (0.02, -4.0f64);
        let full = |v: f64| Tensor::full(v, n, &Device::Cpu);
        let k = draw(&full(mu)?, &full(log_scale)?, &mut Noise::new(0))?.to_vec1::<f64>()?;
        let below = |edge: usize| match edge {
            0 => 0.0,
            edge => 1.0 / (1.0 + (-(edge as f64 / 256.0 - mu) / log_scale.exp()).exp()),
        };
        for byte in [0usize, 1, 5, 20] {
            let seen = k.iter().filter(|v| **v as usize == byte).count() as f64 / n as f64;
            let p = below(byte + 1) - below(byte);
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
