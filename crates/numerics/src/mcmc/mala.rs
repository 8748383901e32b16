//! The Metropolis-adjusted Langevin algorithm.
//!
//! ```text
//! y = x − h ∇U(x) + √(2h) ξ,                q(y|x) ∝ exp(−|y − x + h ∇U(x)|² / 4h)
//! accept y with probability min(1, e^r),   r = U(x) − U(y) + log q(x|y) − log q(y|x)
//! ```
//!
//! It leaves e^{−U} exactly invariant. Good chains accept about 0.57 of their proposals in high dimension.
//! Source: Roberts & Tweedie (1996), §1.4.2; Roberts & Rosenthal (1998) for 0.574; Carbone, "Hitchhiker's guide on
//! energy-based models", Eq. 74–78 (where √2ε should read √(2h), Eq. 75–76 have the sign of H reversed, and Eq. 78
//! lacks ∇).

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Kernel, Landscape, StepInfo, accept};
use crate::rows;

/// MALA with step size h.
#[derive(Clone, Copy, Debug)]
pub struct Mala {
    step: f64,
}

impl Mala {
    /// A kernel with step size `step` > 0.
    pub fn new(step: f64) -> Result<Self> {
        Ok(Self { step: super::positive(step)? })
    }
}

impl Kernel for Mala {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        transition(target, chains, self.step, noise)
    }
}

/// One transition of every chain.
pub(crate) fn transition<L: Landscape + ?Sized>(
    landscape: &L,
    at: &mut L::At,
    step: f64,
    noise: &mut Noise,
) -> Result<StepInfo> {
    let from = landscape.seen(at)?;
    let xi = noise.normal_like(&from.x)?;
    let proposal = landscape.at(propose(&from.x, &from.gradient, &xi, step)?)?;
    let ratio = log_ratio(&from, &landscape.seen(&proposal)?, &xi, step)?;
    let (info, mask) = accept(&ratio, noise, from.x.device())?;
    *at = landscape.select(&mask, &proposal, at)?;
    Ok(info)
}

/// The Langevin proposal `x − h ∇U + √(2h) ξ`, detached.
pub(super) fn propose(x: &Tensor, gradient: &Tensor, xi: &Tensor, h: f64) -> Result<Tensor> {
    Ok(((x - (gradient * h)?)? + (xi * (2.0 * h).sqrt())?)?.detach())
}

/// The logarithm r of the acceptance ratio of each chain, in `f64`.
///
/// The forward term needs no subtraction of large numbers: |y − x + h∇U(x)|²/4h = ½|ξ|².
fn log_ratio(from: &Chains, to: &Chains, xi: &Tensor, h: f64) -> Result<Vec<f64>> {
    let forward = (xi * (2.0 * h).sqrt())?;
    // x − y + h ∇U(y) = h (∇U(x) + ∇U(y)) − √(2h) ξ
    let backward = (((&from.gradient + &to.gradient)? * h)? - &forward)?;
    let wide = |x: &Tensor| rows::squared_norm(&x.to_dtype(DType::F64)?);
    let proposals = ((wide(xi)? * 0.5)? - (wide(&backward)? * (0.25 / h))?)?;
    let energies = (from.energy.to_dtype(DType::F64)? - to.energy.to_dtype(DType::F64)?)?;
    rows::host(&(energies + proposals)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use crate::targets::Mixture;
    use candle_core::Device;
    use genzoo_core::Error;

    /// Chains that start in the target stay in it: first and second moments and the mass of a component.
    #[test]
    fn a_mixture_is_left_invariant() -> Result<()> {
        let target = Mixture::pair();
        let n = 8_000;
        let mut noise = Noise::new(9);
        let kernel = Mala::new(0.5)?;
        let start = target.sample(n, &mut noise)?;
        let fresh = target.sample(n, &mut noise)?;
        let mut chains = kernel.init(&target, &start)?;
        let mut acceptance = 0.0;
        for _ in 0..20 {
            acceptance += kernel.step(&target, &mut chains, &mut noise)?.mean_acceptance() / 20.0;
        }
        assert!((0.3..0.95).contains(&acceptance), "{acceptance}");
        type Statistic = fn(&[f64]) -> f64;
        let statistics: [Statistic; 5] =
            [|x| x[0], |x| x[1], |x| x[0] * x[0], |x| x[0] * x[1], |x| f64::from(x[0] < -0.5)];
        for (i, statistic) in statistics.iter().enumerate() {
            let of = |x: &Tensor| Ok::<_, Error>(rows::host(x)?.chunks(2).map(statistic).collect::<Vec<_>>());
            let (got, want) = (Moments::of(&of(&chains.x)?), Moments::of(&of(&fresh)?));
            let error = 4.0 * got.standard_error().hypot(want.standard_error());
            assert!((got.mean() - want.mean()).abs() < error, "statistic {i}");
        }
        Ok(())
    }

    /// A step far too large for ULA (it would inflate the variance by 1/(1 − h/2) = 2.5) leaves the Gaussian alone.
    #[test]
    fn large_steps_cost_acceptance_and_not_truth() -> Result<()> {
        let target = Mixture { weights: vec![1.0], means: vec![vec![0.0]], variances: vec![1.0], log_z: 0.0 };
        let n = 10_000;
        let mut noise = Noise::new(1);
        let kernel = Mala::new(1.2)?;
        let zero = Tensor::zeros((n, 1), DType::F64, &Device::Cpu)?;
        let mut chains = kernel.init(&target, &zero)?;
        for _ in 0..60 {
            kernel.step(&target, &mut chains, &mut noise)?;
        }
        let moments = Moments::of(&rows::host(&chains.x)?);
        assert!(moments.mean().abs() < 4.0 / (n as f64).sqrt());
        assert!((moments.variance() - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(), "{}", moments.variance());
        Ok(())
    }

    /// p(x) q(y|x) a(x→y) = p(y) q(x|y) a(y→x), with densities typed out from the formulas above.
    #[test]
    fn detailed_balance_holds_pair_by_pair() -> Result<()> {
        let target = Mixture::pair();
        let h = 0.3f64;
        let mut noise = Noise::new(6);
        let (x, y) = (target.sample(200, &mut noise)?, target.sample(200, &mut noise)?);
        let (at_x, at_y) = (Chains::at(&target, &x)?, Chains::at(&target, &y)?);
        // The ξ that would carry one to the other.
        let xi = |a: &Chains, b: &Chains| -> Result<Tensor> {
            Ok((((&b.x - &a.x)? + (&a.gradient * h)?)? / (2.0 * h).sqrt())?)
        };
        let there = log_ratio(&at_x, &at_y, &xi(&at_x, &at_y)?, h)?;
        let back = log_ratio(&at_y, &at_x, &xi(&at_y, &at_x)?, h)?;
        let log_q = |from: &[f64], to: &[f64]| -> f64 {
            let gradient = target.log_density(from).1;
            let square: f64 = (0..2).map(|j| (to[j] - from[j] - h * gradient[j]).powi(2)).sum();
            -square / (4.0 * h)
        };
        let (x, y) = (rows::host(&x)?, rows::host(&y)?);
        for i in 0..200 {
            let (x, y) = (&x[2 * i..2 * i + 2], &y[2 * i..2 * i + 2]);
            let left = target.log_density(x).0 + log_q(x, y) + there[i].min(0.0);
            let right = target.log_density(y).0 + log_q(y, x) + back[i].min(0.0);
            assert!((left - right).abs() < 1e-9 * (1.0 + left.abs()), "{left} {right}");
        }
        Ok(())
    }

    #[test]
    fn a_proposal_into_nowhere_is_refused() -> Result<()> {
        struct Cliff;
        impl Energy for Cliff {
            fn energy(&self, x: &Tensor) -> Result<Tensor> {
                Ok(self.energy_and_gradient(x)?.0)
            }
            fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                Ok(((x.log()?.squeeze(1)? * -0.0)?, x.zeros_like()?)) // NaN below 0
            }
        }
        let mut noise = Noise::new(0);
        let kernel = Mala::new(1.0)?;
        let ones = Tensor::ones((500, 1), DType::F64, &Device::Cpu)?;
        let mut chains = kernel.init(&Cliff, &ones)?;
        let info = kernel.step(&Cliff, &mut chains, &mut noise)?;
        assert!(info.accepted.iter().any(|a| *a) && info.accepted.iter().any(|a| !*a));
        assert!(rows::host(&chains.x)?.iter().all(|x| *x > 0.0));
        assert!(info.mean_acceptance().is_finite());
        Ok(())
    }
}
