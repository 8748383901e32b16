//! The Gaussian posterior `q(z|x) = N(μ, diag σ²)`, held as `μ` and `lv = log σ²`.

use genzoo_core::math::sum_event;
use genzoo_core::{Noise, Result, Tensor};

/// `KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ_j (μ_j² + σ_j² − 1 − log σ_j²)`, `(b, k) → (b,)` nats.
pub(crate) fn kl_to_standard(mu: &Tensor, lv: &Tensor) -> Result<Tensor> {
    let inner = ((mu.sqr()? + lv.exp()?)? - lv)?.affine(0.5, -0.5)?;
    Ok(sum_event(&inner)?)
}

/// `z = μ + σ ⊙ ε`, `ε ~ N(0, I)`: a draw through which gradients flow (Kingma & Welling 2013, §2.4).
pub(crate) fn sample(mu: &Tensor, lv: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    let epsilon = noise.normal_like(mu)?;
    Ok((mu + (lv.affine(0.5, 0.0)?.exp()? * epsilon)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;
    use genzoo_core::math::{log_normal, log_standard_normal};

    #[test]
    fn divergence_is_the_mean_log_ratio() -> Result<()> {
        let n = 200_000;
        let row = |v: [f64; 3]| Tensor::new(&[v], &Device::Cpu);
        let (mu, lv) = (row([0.5, -1.0, 0.0])?, row([0.3, -1.2, 0.0])?);
        let kl = kl_to_standard(&mu, &lv)?.to_vec1::<f64>()?[0];
        let (many_mu, many_lv) = (mu.broadcast_as((n, 3))?, lv.broadcast_as((n, 3))?);
        let z = sample(&many_mu.contiguous()?, &many_lv.contiguous()?, &mut Noise::new(0))?;
        let ratio = (log_normal(&z, &many_mu, &many_lv)? - log_standard_normal(&z)?)?;
        let mean = ratio.mean_all()?.to_scalar::<f64>()?;
        let variance = (ratio - mean)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
        let error = (variance / n as f64).sqrt();
        assert!((mean - kl).abs() < 4.0 * error, "{mean} ± {error}, {kl}");
        Ok(())
    }

    #[test]
    fn divergence_of_the_prior_from_itself_is_zero() -> Result<()> {
        let zero = Tensor::zeros((2, 5), genzoo_core::DType::F64, &Device::Cpu)?;
        assert_eq!(kl_to_standard(&zero, &zero)?.to_vec1::<f64>()?, [0.0, 0.0]);
        Ok(())
    }
}
