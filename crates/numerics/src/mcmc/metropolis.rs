//! The random walk of Metropolis: the only kernel that needs no gradient.
//!
//! ```text
//! y = x + s ξ,   ξ ~ N(0, I);   accept y with probability min(1, e^{U(x) − U(y)})
//! ```
//!
//! It leaves e^{−U} invariant. In d dimensions a good step is about 2.38/√d of the target's width, and good chains
//! accept about 0.234.
//! Source: Metropolis et al. (1953); Roberts, Gelman & Gilks (1997) for 0.234.

use candle_core::DType;
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Kernel, Landscape, StepInfo, accept};
use crate::rows;

/// The random walk with standard deviation s per coordinate.
#[derive(Clone, Copy, Debug)]
pub struct Metropolis {
    step: f64,
}

impl Metropolis {
    /// A kernel with step size `step` > 0.
    pub fn new(step: f64) -> Result<Self> {
        Ok(Self { step: super::positive(step)? })
    }
}

impl Kernel for Metropolis {
    /// Pays for a gradient too, because chains carry one to the next kernel.
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
    let proposal = landscape.at((&from.x + (noise.normal_like(&from.x)? * step)?)?.detach())?;
    let to = landscape.seen(&proposal)?.energy;
    let ratio = rows::host(&(from.energy.to_dtype(DType::F64)? - to.to_dtype(DType::F64)?)?)?;
    let (info, mask) = accept(&ratio, noise, from.x.device())?;
    *at = landscape.select(&mask, &proposal, at)?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use crate::targets::Mixture;

    /// Chains that start in the target stay in it, at a step that refuses many proposals.
    #[test]
    fn a_mixture_is_left_invariant() -> Result<()> {
        let (target, n, mut noise) = (Mixture::pair(), 8_000, Noise::new(2));
        let kernel = Metropolis::new(1.5)?;
        let (start, fresh) = (target.sample(n, &mut noise)?, target.sample(n, &mut noise)?);
        let mut chains = kernel.init(&target, &start)?;
        let mut acceptance = 0.0;
        for _ in 0..20 {
            acceptance += kernel.step(&target, &mut chains, &mut noise)?.mean_acceptance() / 20.0;
        }
        assert!((0.2..0.7).contains(&acceptance), "{acceptance}");
        for statistic in [|x: &[f64]| x[0], |x: &[f64]| x[0] * x[1], |x: &[f64]| f64::from(x[0] < -0.5)] {
            let of = |x: &candle_core::Tensor| -> Result<Moments> {
                Ok(Moments::of(&rows::host(x)?.chunks(2).map(statistic).collect::<Vec<_>>()))
            };
            let (got, want) = (of(&chains.x)?, of(&fresh)?);
            let error = 4.0 * got.standard_error().hypot(want.standard_error());
            assert!((got.mean() - want.mean()).abs() < error, "{} {}", got.mean(), want.mean());
        }
        Ok(())
    }
}
