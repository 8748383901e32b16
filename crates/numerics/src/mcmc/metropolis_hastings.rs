//! The general algorithm of Metropolis and Hastings: any proposal, symmetric or not.
//!
//! ```text
//! y ~ q(y|x);   accept y with probability min(1, e^r),   r = U(x) − U(y) + log q(x|y) − log q(y|x)
//! ```
//!
//! It leaves e^{−U} exactly invariant if the stated ratio is that of the proposal's densities.
//! Source: Hastings (1970), Eq. 6.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Kernel, Landscape, StepInfo, accept};
use crate::rows;

/// A law q(y|x) of the next place.
pub trait Proposal {
    /// Draws y for every chain of `x`, `(b, event…)`, and `log q(x|y) − log q(y|x)`, `(b,)`: zeros if q is symmetric.
    ///
    /// # Errors
    /// If it cannot be drawn from.
    fn propose(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)>;
}

/// The kernel of a proposal.
#[derive(Clone, Copy, Debug)]
pub struct MetropolisHastings<P>(pub P);

impl<P: Proposal> Kernel for MetropolisHastings<P> {
    /// Pays for a gradient too, because chains carry one to the next kernel.
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let (y, log_ratio) = self.0.propose(&chains.x, noise)?;
        let proposal = Chains::at(target, &y)?;
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let ratio = ((wide(&chains.energy)? - wide(&proposal.energy)?)? + wide(&log_ratio)?)?;
        let (info, mask) = accept(&rows::host(&ratio)?, noise, chains.x.device())?;
        *chains = target.select(&mask, &proposal, chains)?;
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use candle_core::Device;

    /// The gamma law of shape 3 on positive numbers: U = x − 2 log x, mean 3, variance 3.
    struct Gamma;

    impl Energy for Gamma {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok(self.energy_and_gradient(x)?.0)
        }
        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            Ok(((x - (x.log()? * 2.0)?)?.squeeze(1)?, x.recip()?.affine(-2.0, 1.0)?))
        }
    }

    /// A walk of factors: y = x e^{s ξ}, so that log q(x|y) − log q(y|x) = log y − log x.
    struct Factors(f64);

    impl Proposal for Factors {
        fn propose(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
            let y = (x * (noise.normal_like(x)? * self.0)?.exp()?)?;
            let ratio = (&y / x)?.log()?.squeeze(1)?;
            Ok((y, ratio))
        }
    }

    /// Draws of the exponential law of mean 4, wherever the chain is: log q(x|y) − log q(y|x) = (y − x)/4.
    struct Independent;

    impl Proposal for Independent {
        fn propose(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
            let y = (noise.uniform_like(x)?.affine(-1.0, 1.0)?.log()? * -4.0)?;
            let ratio = ((&y - x)? * 0.25)?.squeeze(1)?;
            Ok((y, ratio))
        }
    }

    /// The same walk with a ratio that leaves out its asymmetry.
    struct Forgetful;

    impl Proposal for Forgetful {
        fn propose(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
            let (y, ratio) = Factors(0.8).propose(x, noise)?;
            Ok((y, ratio.zeros_like()?))
        }
    }

    fn end(kernel: &dyn Kernel, n: usize) -> Result<(Moments, f64)> {
        let mut noise = Noise::new(8);
        let start = Tensor::full(3.0, (n, 1), &Device::Cpu)?;
        let mut chains = kernel.init(&Gamma, &start)?;
        let mut info = kernel.step(&Gamma, &mut chains, &mut noise)?;
        for _ in 0..80 {
            info = kernel.step(&Gamma, &mut chains, &mut noise)?;
        }
        for (error, a) in info.energy_error.iter().zip(&info.acceptance) {
            assert!((a - (-error).exp().min(1.0)).abs() < 1e-15);
        }
        Ok((Moments::of(&rows::host(&chains.x)?), info.mean_acceptance()))
    }

    #[test]
    fn asymmetric_proposals_leave_the_law_alone() -> Result<()> {
        let n = 20_000;
        // The fourth central moment of the gamma law of shape k is 3k² + 6k: the variance of a sample variance follows.
        let error = 4.0 * ((27.0 + 18.0 - 9.0) / n as f64).sqrt();
        for kernel in [&MetropolisHastings(Factors(0.8)) as &dyn Kernel, &MetropolisHastings(Independent)] {
            let (moments, acceptance) = end(kernel, n)?;
            assert!((moments.mean() - 3.0).abs() < 4.0 * (3.0 / n as f64).sqrt(), "{moments:?}");
            assert!((moments.variance() - 3.0).abs() < error, "{moments:?}");
            assert!((0.3..0.95).contains(&acceptance), "{acceptance}");
        }
        // Without the ratio the walk samples x e^{−x}, whose mean is 2: the test above can fail.
        assert!((end(&MetropolisHastings(Forgetful), n)?.0.mean() - 2.0).abs() < 0.1);
        Ok(())
    }
}
