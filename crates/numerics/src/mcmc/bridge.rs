//! Tempered targets between two energies, each chain at its own temperature.
//!
//! ```text
//! U_β = (1 − β) U₀ + β U₁;   without U₀, U_β = β U₁, so that β is an inverse temperature
//! ```
//!
//! Chains remember both ends, so that a change of β costs no evaluation.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Landscape, StepInfo, hmc};
use crate::rows;

/// The two ends.
#[derive(Clone, Copy)]
pub struct Bridge<'a> {
    /// U₀, at β = 0; 0 everywhere if absent.
    pub from: Option<&'a dyn Energy>,
    /// U₁, at β = 1.
    pub to: &'a dyn Energy,
}

/// Chains that know both ends. Energies are `(b,)` in `f64`, gradients are shaped like `x`.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) x: Tensor,
    from: Option<(Tensor, Tensor)>,
    to: (Tensor, Tensor),
}

impl Bridge<'_> {
    pub(super) fn at(&self, x: &Tensor) -> Result<Ends> {
        let evaluate = |end: &dyn Energy| -> Result<(Tensor, Tensor)> {
            let (energy, gradient) = end.energy_and_gradient(x)?;
            Ok((energy.detach().to_dtype(DType::F64)?, gradient.detach()))
        };
        Ok(Ends { x: x.clone(), from: self.from.map(evaluate).transpose()?, to: evaluate(self.to)? })
    }

    /// One Hamiltonian transition of every chain, chain i at `betas[i]` with leapfrogs of size `steps[i]` times a factor
    /// in 0.8 … 1.2 that all share, so that trajectories cannot stay in step with a target.
    pub(super) fn step(
        &self,
        ends: &mut Ends,
        betas: &[f64],
        steps: &[f64],
        leapfrogs: usize,
        noise: &mut Noise,
    ) -> Result<StepInfo> {
        let device = ends.x.device();
        let jitter: f64 = noise.uniforms(1).iter().map(|u| 0.8 + 0.4 * u).sum();
        let tempered = Tempered {
            bridge: self,
            betas: rows::tensor(betas.to_vec(), device)?,
            scales: rows::tensor(steps.to_vec(), device)?,
        };
        hmc::transition(&tempered, ends, jitter, leapfrogs, noise)
    }
}

impl Ends {
    /// U₁ − U₀ of each chain: the slope of its energy in β.
    pub(super) fn slopes(&self) -> Result<Vec<f64>> {
        match &self.from {
            Some((from, _)) => rows::host(&(&self.to.0 - from)?),
            None => rows::host(&self.to.0),
        }
    }

    /// U₁ of each chain.
    pub(super) fn energies(&self) -> Result<Vec<f64>> {
        rows::host(&self.to.0)
    }

    /// Chain i of the result is chain `source[i]`.
    pub(super) fn take(&self, source: &[usize]) -> Result<Self> {
        let index: Vec<u32> = source.iter().map(|&i| i as u32).collect();
        let index = Tensor::from_vec(index, source.len(), self.x.device())?;
        let pair = |(energy, gradient): &(Tensor, Tensor)| -> Result<(Tensor, Tensor)> {
            Ok((energy.index_select(&index, 0)?, gradient.contiguous()?.index_select(&index, 0)?))
        };
        Ok(Self {
            x: self.x.contiguous()?.index_select(&index, 0)?,
            from: self.from.as_ref().map(pair).transpose()?,
            to: pair(&self.to)?,
        })
    }
}

/// The bridge at one β per chain, in coordinates z = x/s in which a leapfrog of size 1 is one of size s in x.
struct Tempered<'a> {
    bridge: &'a Bridge<'a>,
    betas: Tensor,  // (b,)
    scales: Tensor, // (b,)
}

impl Landscape for Tempered<'_> {
    type At = Ends;

    fn at(&self, z: Tensor) -> Result<Ends> {
        self.bridge.at(&rows::scale(&z, &self.scales)?.detach())
    }

    fn seen(&self, at: &Ends) -> Result<Chains> {
        let mut energy = (&at.to.0 * &self.betas)?;
        let mut gradient = rows::scale(&at.to.1, &self.betas)?;
        if let Some((other, slope)) = &at.from {
            let rest = self.betas.affine(-1.0, 1.0)?;
            energy = (energy + (other * &rest)?)?;
            gradient = (gradient + rows::scale(slope, &rest)?)?;
        }
        Ok(Chains {
            x: rows::scale(&at.x, &self.scales.recip()?)?,
            energy,
            gradient: rows::scale(&gradient, &self.scales)?,
        })
    }

    fn select(&self, mask: &Tensor, yes: &Ends, no: &Ends) -> Result<Ends> {
        let pair = |yes: &(Tensor, Tensor), no: &(Tensor, Tensor)| -> Result<(Tensor, Tensor)> {
            Ok((rows::select(mask, &yes.0, &no.0)?, rows::select(mask, &yes.1, &no.1)?))
        };
        Ok(Ends {
            x: rows::select(mask, &yes.x, &no.x)?,
            from: yes.from.as_ref().zip(no.from.as_ref()).map(|(yes, no)| pair(yes, no)).transpose()?,
            to: pair(&yes.to, &no.to)?,
        })
    }
}

/// The acceptance at which Hamiltonian chains mix fastest; one leapfrog is a Langevin step.
pub(super) fn best_acceptance(leapfrogs: usize) -> f64 {
    if leapfrogs == 1 { 0.574 } else { 0.651 }
}
