//! Any kernel in stretched coordinates: what Hamiltonian kernels know as a mass matrix.
//!
//! ```text
//! x = m + L z,   Ũ(z) = U(m + L z),   ∇Ũ = Lᵀ ∇U
//! ```
//!
//! Unit masses in z are masses M = (L Lᵀ)⁻¹ in x, and proposals of covariance I in z have covariance L Lᵀ in x. So
//! that L Lᵀ is best the covariance of the target. The Jacobian is constant, hence e^{−U} is left as invariant as the
//! kernel leaves e^{−Ũ}.
//! Source: Neal (2011), arXiv:1206.1901, §4.1; Betancourt (2017), arXiv:1701.02434, §4.2.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, Kernel, StepInfo};
use crate::{Gaussian, rows};

/// A kernel that works in the whitened coordinates of a Gaussian.
#[derive(Clone, Debug)]
pub struct Preconditioned<K> {
    kernel: K,
    scale: Gaussian,
}

impl<K: Kernel> Preconditioned<K> {
    /// `kernel` in the coordinates where `scale` is N(0, I). Its covariance is the inverse of the mass matrix.
    pub fn new(kernel: K, scale: Gaussian) -> Self {
        Self { kernel, scale }
    }
}

impl<K: Kernel> Kernel for Preconditioned<K> {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let shape = chains.x.dims().to_vec();
        let d: usize = shape.iter().skip(1).product();
        if d != self.scale.dimension() {
            return Err(Error::data("coordinates of a chain", self.scale.dimension().to_string(), d));
        }
        let stretched = Stretched { target, scale: &self.scale, shape: &shape };
        let mut z = Chains {
            x: self.scale.whiten(&chains.x.reshape((shape[0], d))?)?,
            energy: chains.energy.clone(),
            gradient: self.scale.pull_gradient(&chains.gradient.reshape((shape[0], d))?)?,
        };
        let info = self.kernel.step(&stretched, &mut z, noise)?;
        // Chains that stay keep their bits: a round trip through z would let them drift.
        let moved: Vec<u8> = info.accepted.iter().map(|&a| u8::from(a)).collect();
        let mask = Tensor::from_vec(moved, shape[0], chains.x.device())?;
        let x = self.scale.colour(&z.x)?.reshape(shape.as_slice())?;
        let gradient = self.scale.push_gradient(&z.gradient)?.reshape(shape.as_slice())?;
        *chains = Chains {
            x: rows::select(&mask, &x, &chains.x)?.detach(),
            energy: rows::select(&mask, &z.energy, &chains.energy)?,
            gradient: rows::select(&mask, &gradient, &chains.gradient)?,
        };
        Ok(info)
    }
}

/// A target seen from z.
struct Stretched<'a> {
    target: &'a dyn Energy,
    scale: &'a Gaussian,
    shape: &'a [usize],
}

impl Stretched<'_> {
    /// The kernel may look at fewer rows than there are chains.
    fn positions(&self, z: &Tensor) -> Result<Tensor> {
        let mut shape = self.shape.to_vec();
        shape[0] = z.dim(0)?;
        Ok(self.scale.colour(z)?.reshape(shape)?)
    }
}

impl Energy for Stretched<'_> {
    fn energy(&self, z: &Tensor) -> Result<Tensor> {
        self.target.energy(&self.positions(z)?)
    }

    fn energy_and_gradient(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, gradient) = self.target.energy_and_gradient(&self.positions(z)?)?;
        Ok((energy, self.scale.pull_gradient(&gradient.reshape(z.shape())?)?))
    }
}

/// A kernel whose step size is drawn anew at every step, from ε (1 ± `jitter`) uniformly; all chains share it.
///
/// Trajectories of one fixed length may return to where they began, on a Gaussian for one; a random length cannot stay
/// in step with the target. Each kernel leaves e^{−U} invariant, so their mixture does.
/// Source: Neal (2011), arXiv:1206.1901, §3.2; Mackenzie (1989).
#[derive(Clone, Debug)]
pub struct Jittered<F> {
    make: F,
    step: f64,
    jitter: f64,
}

impl<F> Jittered<F> {
    /// Kernels `make(ε)` for ε around `step` > 0, with 0 ≤ `jitter` < 1.
    ///
    /// # Errors
    /// If either makes no sense.
    pub fn new(make: F, step: f64, jitter: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&jitter) {
            return Err(Error::config("jitter", "at least 0 and below 1", jitter));
        }
        Ok(Self { make, step: super::positive(step)?, jitter })
    }
}

impl<K: Kernel, F: Fn(f64) -> Result<K>> Kernel for Jittered<F> {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let around: f64 = noise.uniforms(1).iter().map(|u| 2.0 * u - 1.0).sum();
        (self.make)(self.step * (1.0 + self.jitter * around))?.step(target, chains, noise)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hmc, Mala};
    use super::*;
    use crate::special::Moments;
    use candle_core::{DType, Device};

    const COVARIANCE: [f64; 4] = [4.0, 0.9, 0.9, 0.25];

    fn target() -> Result<Gaussian> {
        Gaussian::full(&[1.0, -2.0], &COVARIANCE, DType::F64, &Device::Cpu)
    }

    /// One leapfrog step with masses M, written with M: p ~ N(0, M), x' = x + ε M⁻¹ (p − ε/2 ∇U). Given p = L⁻ᵀ ζ it
    /// is what unit masses do to z, so accepted chains must land on it.
    #[test]
    fn it_is_a_mass_matrix() -> Result<()> {
        let (target, step) = (target()?, 1.2);
        let x = target.sample(200, &mut Noise::new(1))?;
        let mut chains = Chains::at(&target, &x)?;
        let before = chains.clone();
        let info = Preconditioned::new(Hmc::new(step, 1)?, target.clone()).step(
            &target,
            &mut chains,
            &mut Noise::new(2),
        )?;
        let zeta = rows::host(&Noise::new(2).normal_like(&x)?)?;
        // Cholesky by hand: L = [[2, 0], [.45, s]].
        let s = (0.25f64 - 0.45 * 0.45).sqrt();
        let (from, to) = (rows::host(&before.x)?, rows::host(&chains.x)?);
        let gradient = rows::host(&before.gradient)?;
        let mut moved = 0;
        for (i, accepted) in info.accepted.iter().enumerate() {
            let at = |v: &[f64]| [v[2 * i], v[2 * i + 1]];
            let (from, to, zeta, g) = (at(&from), at(&to), at(&zeta), at(&gradient));
            if !accepted {
                assert_eq!(from, to);
                continue;
            }
            moved += 1;
            // M⁻¹ p = L ζ.
            let velocity = [2.0 * zeta[0], 0.45 * zeta[0] + s * zeta[1]];
            for j in 0..2 {
                let push = COVARIANCE[2 * j] * g[0] + COVARIANCE[2 * j + 1] * g[1];
                let want = from[j] + step * (velocity[j] - 0.5 * step * push);
                assert!((to[j] - want).abs() < 1e-12, "{} {want}", to[j]);
            }
        }
        assert!((100..200).contains(&moved), "{moved}");
        // What the chains carry is what the target says where they are.
        let fresh = Chains::at(&target, &chains.x)?;
        for (kept, fresh) in [(&chains.energy, &fresh.energy), (&chains.gradient, &fresh.gradient)] {
            assert!(rows::host(&(kept - fresh)?)?.iter().all(|gap| gap.abs() < 1e-12));
        }
        Ok(())
    }

    /// With the covariance of the target as scale, a step that suits N(0, I) suits it too, and the moments are right.
    #[test]
    fn a_narrow_gaussian_is_stationary_at_large_steps() -> Result<()> {
        let (target, n, mut noise) = (target()?, 10_000, Noise::new(4));
        let kernel = Preconditioned::new(Jittered::new(|step| Hmc::new(step, 3), 0.8, 0.3)?, target.clone());
        let mut chains = kernel.init(&target, &Tensor::zeros((n, 2), DType::F64, &Device::Cpu)?)?;
        let mut acceptance = 0.0;
        for _ in 0..25 {
            acceptance += kernel.step(&target, &mut chains, &mut noise)?.mean_acceptance() / 25.0;
        }
        assert!(acceptance > 0.85, "{acceptance}");
        for (j, mean, variance) in [(0, 1.0, 4.0), (1, -2.0, 0.25)] {
            let got = Moments::of(&rows::host(&chains.x.narrow(1, j, 1)?)?);
            assert!((got.mean() - mean).abs() < 4.0 * (variance / n as f64).sqrt(), "{}", got.mean());
            let error = 4.0 * variance * (2.0 / n as f64).sqrt();
            assert!((got.variance() - variance).abs() < error, "{}", got.variance());
        }
        Ok(())
    }

    #[test]
    fn a_scale_of_another_dimension_is_an_error() -> Result<()> {
        let target = Gaussian::standard(3, DType::F64, &Device::Cpu)?;
        let mut chains = Chains::at(&target, &Tensor::zeros((5, 3), DType::F64, &Device::Cpu)?)?;
        let kernel = Preconditioned::new(Mala::new(0.1)?, self::target()?);
        assert!(kernel.step(&target, &mut chains, &mut Noise::new(0)).is_err());
        assert!(Jittered::new(Mala::new, 0.1, 1.0).is_err());
        Ok(())
    }
}
