//! The unadjusted Langevin algorithm.
//!
//! ```text
//! x' = x − h ∇U(x) + √(2h) ξ,   ξ ~ N(0, I)
//! ```
//!
//! It discretises dx = −∇U dt + √2 dW and keeps a bias of order h. On a Gaussian N(0, Σ) it is stable for
//! 0 < h < 2 λ_min(Σ), and its stationary covariance is Σ (I − h Σ⁻¹/2)⁻¹.
//! Source: Roberts & Tweedie (1996), §1.4; Carbone, "Hitchhiker's guide on energy-based models", Eq. 71–73 (its
//! Eq. 73 is the covariance).

use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Kernel, StepInfo};

/// ULA with step size h.
#[derive(Clone, Copy, Debug)]
pub struct Ula {
    step: f64,
}

impl Ula {
    /// A kernel with step size `step` > 0.
    pub fn new(step: f64) -> Result<Self> {
        Ok(Self { step: super::positive(step)? })
    }
}

impl Kernel for Ula {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let xi = noise.normal_like(&chains.x)?;
        let x = super::mala::propose(&chains.x, &chains.gradient, &xi, self.step)?;
        *chains = Chains::at(target, &x)?;
        let n = chains.x.dim(0)?;
        Ok(StepInfo::always(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rows, special::Moments};
    use candle_core::{DType, Device, Tensor};

    /// N(0, diag v): U = ½ Σ x²/v.
    struct Diagonal([f64; 2]);

    impl Energy for Diagonal {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok(self.energy_and_gradient(x)?.0)
        }

        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            let gradient = x.broadcast_div(&Tensor::new(&self.0, x.device())?)?;
            Ok((((x * &gradient)?.sum(1)? * 0.5)?, gradient))
        }
    }

    /// On a Gaussian the step is linear, so every marginal is Gaussian: after k steps from 0 the variance is
    /// 2h Σ_{i<k} (1 − h/v)^{2i}, and in the limit v / (1 − h/(2v)).
    #[test]
    fn variances_follow_their_exact_law() -> Result<()> {
        let (n, h, v) = (20_000, 0.4, [0.5, 1.3]);
        let (target, kernel) = (Diagonal(v), Ula::new(h)?);
        let mut noise = Noise::new(4);
        let zero = Tensor::zeros((n, 2), DType::F64, &Device::Cpu)?;
        let mut chains = kernel.init(&target, &zero)?;
        for k in 1..=60 {
            kernel.step(&target, &mut chains, &mut noise)?;
            if ![1, 2, 60].contains(&k) {
                continue;
            }
            for (j, v) in v.into_iter().enumerate() {
                let rho = 1.0 - h / v;
                let transient: f64 = (0..k).map(|i| 2.0 * h * rho.powi(2 * i)).sum();
                let stationary = v / (1.0 - 0.5 * h / v);
                let want = if k == 60 { stationary } else { transient };
                let got = Moments::of(&rows::host(&chains.x.narrow(1, j, 1)?)?);
                let error = 4.0 * want * (2.0 / n as f64).sqrt();
                assert!((got.variance() - want).abs() < error, "step {k}: {} {want}", got.variance());
                assert!(got.mean().abs() < 4.0 * (want / n as f64).sqrt());
            }
        }
        Ok(())
    }

    #[test]
    fn step_sizes_that_make_no_sense_are_errors() {
        for step in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Ula::new(step).is_err());
        }
    }
}
