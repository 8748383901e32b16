//! Energies made of energies: a temperature, and products of experts.
//!
//! ```text
//! tempered    U = β U₁            p ∝ p₁^β: flatter for β < 1, sharper for β > 1
//! product     U = Σₖ wₖ Uₖ        p ∝ Π pₖ^{wₖ}: what every expert finds likely
//! ```
//!
//! Sums of energies need no training: two models of the same data space sample together. Source: Hinton (2002),
//! "Training products of experts by minimizing contrastive divergence", Eq. 1.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Result};

/// An energy at inverse temperature β.
#[derive(Clone, Copy, Debug)]
pub struct Tempered<E> {
    inner: E,
    beta: f64,
}

impl<E> Tempered<E> {
    /// `βU`, β > 0.
    ///
    /// # Errors
    /// If β is no such number.
    pub fn new(inner: E, beta: f64) -> Result<Self> {
        if beta > 0.0 && beta.is_finite() {
            return Ok(Self { inner, beta });
        }
        Err(Error::config("beta", "a finite number above 0", beta))
    }
}

impl<T: Energy + ?Sized> Energy for Tempered<&T> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((self.inner.energy(x)? * self.beta)?)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, gradient) = self.inner.energy_and_gradient(x)?;
        Ok(((energy * self.beta)?, (gradient * self.beta)?))
    }
}

/// A product of experts: the weighted sum of their energies.
pub struct Product<'a> {
    experts: Vec<(&'a dyn Energy, f64)>,
}

impl<'a> Product<'a> {
    /// `Σ wₖ Uₖ` of at least one expert, with finite weights. A negative weight takes an expert's mass away; then
    /// nothing promises that the product can be normalised.
    ///
    /// # Errors
    /// Without experts, and for a weight that is not a number.
    pub fn new(experts: Vec<(&'a dyn Energy, f64)>) -> Result<Self> {
        if experts.is_empty() {
            return Err(Error::data("experts of a product", "at least one", "none"));
        }
        if let Some((_, w)) = experts.iter().find(|(_, w)| !w.is_finite()) {
            return Err(Error::data("weight of an expert", "a finite number", w));
        }
        Ok(Self { experts })
    }
}

impl Energy for Product<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (expert, weight) in &self.experts {
            let own = (expert.energy(x)? * *weight)?;
            sum = Some(sum.map_or(Ok(own.clone()), |s| s + own)?);
        }
        sum.ok_or_else(|| Error::data("experts of a product", "at least one", "none"))
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut sum: Option<(Tensor, Tensor)> = None;
        for (expert, weight) in &self.experts {
            let (energy, gradient) = expert.energy_and_gradient(x)?;
            let own = ((energy * *weight)?, (gradient * *weight)?);
            sum = Some(match sum {
                None => own,
                Some((e, g)) => ((e + own.0)?, (g + own.1)?),
            });
        }
        sum.ok_or_else(|| Error::data("experts of a product", "at least one", "none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcmc::{Kernel, Mala};
    use crate::special::Moments;
    use crate::{Gaussian, rows};
    use candle_core::{DType, Device};
    use genzoo_core::Noise;

    fn normal(mean: f64, sd: f64) -> Result<Gaussian> {
        Gaussian::diagonal(&[mean], &[sd], DType::F64, &Device::Cpu)
    }

    /// Precisions add, means are weighted by them: `N(−1, 1)² · N(2, ½²)` is `N(6/6, 1/6)`.
    #[test]
    fn a_product_of_gaussians_is_the_gaussian_of_summed_precisions() -> Result<()> {
        let (a, b) = (normal(-1.0, 1.0)?, normal(2.0, 0.5)?);
        let product = Product::new(vec![(&a, 2.0), (&b, 1.0)])?;
        let want = normal(1.0, 6f64.sqrt().recip())?;
        let x = Tensor::new(&[[-2.0f64], [0.3], [1.7]], &Device::Cpu)?;
        let (energy, gradient) = product.energy_and_gradient(&x)?;
        let (other, slope) = want.energy_and_gradient(&x)?;
        let gaps = rows::host(&(&energy - other)?)?;
        assert!(gaps.iter().all(|g| (g - gaps[0]).abs() < 1e-12), "one constant: {gaps:?}");
        assert!(rows::host(&(gradient - slope)?)?.iter().all(|g| g.abs() < 1e-12));
        assert_eq!(rows::host(&product.energy(&x)?)?, rows::host(&energy)?);
        assert!(Product::new(vec![]).is_err() && Product::new(vec![(&a, f64::NAN)]).is_err());
        Ok(())
    }

    /// `N(0, v)` at β is `N(0, v/β)`, in its slope and for a chain that walks on it.
    #[test]
    fn a_tempered_gaussian_is_wider_or_narrower() -> Result<()> {
        let cold = normal(0.0, 1.0)?;
        let n = 4000;
        for beta in [0.25, 3.0] {
            let tempered = Tempered::new(&cold, beta)?;
            let mut noise = Noise::new(2);
            let kernel = Mala::new(0.5 / beta)?;
            let start = noise.normal((n, 1), DType::F64, &Device::Cpu)?;
            let mut chains = kernel.init(&tempered, &start)?;
            for _ in 0..40 {
                kernel.step(&tempered, &mut chains, &mut noise)?;
            }
            let got = Moments::of(&rows::host(&chains.x)?).variance();
            assert!((got * beta - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(), "{beta}: {got}");
            let same = ((tempered.energy(&start)? / beta)? - cold.energy(&start)?)?;
            assert!(rows::host(&same)?.iter().all(|g| g.abs() < 1e-12));
        }
        assert!(Tempered::new(&cold, 0.0).is_err() && Tempered::new(&cold, f64::NAN).is_err());
        Ok(())
    }
}
