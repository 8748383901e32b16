//! The non-saturating game, from logits.
//!
//! ```text
//! critic      L_D = E_x[−log σ(D(x))] + E_z[−log(1 − σ(D(G(z))))] = E_x softplus(−D(x)) + E_z softplus(D(G(z)))
//! generator   L_G = E_z[−log σ(D(G(z)))]                          = E_z softplus(−D(G(z)))
//! penalty     R_1 = E_x ‖∇ₓD(x)‖²
//! ```
//!
//! Sources: Goodfellow et al. (2014), arXiv:1406.2661, Eq. 1 and the remark below it on −log D(G(z)); the
//! penalty is Mescheder, Geiger & Nowozin (2018), arXiv:1801.04406, Eq. 9. The softplus forms never see log 0.

use genzoo_core::math::{softplus, sum_event};
use genzoo_core::{Result, Tensor};

/// `L_D` from the critic's logits, `(b,)` each.
pub(crate) fn critic(real: &Tensor, fake: &Tensor) -> Result<Tensor> {
    Ok((softplus(&real.neg()?)?.mean_all()? + softplus(fake)?.mean_all()?)?)
}

/// `L_G` from the critic's logits of generated samples, `(b,)`.
pub(crate) fn generator(fake: &Tensor) -> Result<Tensor> {
    Ok(softplus(&fake.neg()?)?.mean_all()?)
}

/// `R_1` from the critic's gradients at the data, `(b, event…)`.
pub(crate) fn gradient_penalty(gradient: &Tensor) -> Result<Tensor> {
    Ok(sum_event(&gradient.sqr()?)?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;

    fn logits(v: &[f64]) -> Tensor {
        Tensor::new(v, &Device::Cpu).expect("a small tensor")
    }

    fn value(t: Result<Tensor>) -> f64 {
        t.and_then(|t| Ok(t.to_scalar::<f64>()?)).expect("a scalar")
    }

    #[test]
    fn losses_are_the_cross_entropies_of_their_probabilities() {
        let (real, fake) = ([0.7, -1.2, 3.0], [0.1, 2.0, -0.5]);
        let sigma = |l: &f64| 1.0 / (1.0 + (-l).exp());
        let mean = |f: &dyn Fn(&f64) -> f64, v: &[f64]| v.iter().map(f).sum::<f64>() / v.len() as f64;
        let d = mean(&|l| -sigma(l).ln(), &real) + mean(&|l| -(1.0 - sigma(l)).ln(), &fake);
        let g = mean(&|l| -sigma(l).ln(), &fake);
        assert!((value(critic(&logits(&real), &logits(&fake))) - d).abs() < 1e-12);
        assert!((value(generator(&logits(&fake))) - g).abs() < 1e-12);
    }

    #[test]
    fn a_critic_that_cannot_tell_pays_log_four() {
        let zero = logits(&[0.0; 4]);
        assert!((value(critic(&zero, &zero)) - 4f64.ln()).abs() < 1e-12);
        assert!((value(generator(&zero)) - 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn sure_critics_stay_finite() {
        let (yes, no) = (logits(&[1e4]), logits(&[-1e4]));
        assert!(value(critic(&yes, &no)) < 1e-12);
        assert!((value(critic(&no, &yes)) - 2e4).abs() < 1e-9);
        assert!((value(generator(&no)) - 1e4).abs() < 1e-9);
    }

    #[test]
    fn the_generator_still_learns_where_the_critic_is_sure() -> Result<()> {
        // d/dD softplus(−D) = −σ(−D) → −1 for sure fakes, where log(1 − σ(D)) would give 0.
        let fake = candle_core::Var::from_tensor(&logits(&[-30.0]))?;
        let grads = generator(fake.as_tensor())?.backward()?;
        let g = grads.get(fake.as_tensor()).map(|g| g.to_vec1::<f64>());
        assert!((g.transpose()?.unwrap_or_default()[0] + 1.0).abs() < 1e-12);
        Ok(())
    }
}
