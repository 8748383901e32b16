//! Tempered targets between two energies, each chain at its own temperature.
//!
//! ```text
//! U_β = (1 − β) U₀ + β U₁ + c_β,   c_0 = c_1 = 0;   without U₀, U_β = β U₁, so that β is an inverse temperature
//! ```
//!
//! Chains remember both ends, so that a change of β costs no evaluation. The bend c_β is 0 on the geometric path.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Landscape, MomentAverages, StepInfo, Transition, hmc, mala, metropolis};
use crate::{Gaussian, rows};

/// The two ends, and the way between them.
#[derive(Clone, Copy)]
pub struct Bridge<'a> {
    /// U₀, at β = 0; 0 everywhere if absent.
    pub from: Option<&'a dyn Energy>,
    /// U₁, at β = 1.
    pub to: &'a dyn Energy,
    /// c_β; 0 if absent.
    pub bend: Option<&'a MomentAverages>,
}

/// Chains that know both ends. Energies are `(b,)` in `f64`, gradients are shaped like `x`.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) x: Tensor,
    from: Option<(Tensor, Tensor)>,
    to: (Tensor, Tensor),
}

impl<'a> Bridge<'a> {
    /// The geometric path.
    pub fn new(from: Option<&'a dyn Energy>, to: &'a dyn Energy) -> Self {
        Self { from, to, bend: None }
    }

    /// Chains at `x`; without gradients if `transition` needs none.
    pub(crate) fn at(&self, x: &Tensor, transition: Transition) -> Result<Ends> {
        let x = x.detach();
        let evaluate = |end: &dyn Energy| -> Result<(Tensor, Tensor)> {
            let (energy, gradient) = match transition.needs_gradient() {
                true => end.energy_and_gradient(&x)?,
                false => (end.energy(&x)?, x.zeros_like()?),
            };
            Ok((energy.detach().to_dtype(DType::F64)?, gradient.detach()))
        };
        Ok(Ends { from: self.from.map(evaluate).transpose()?, to: evaluate(self.to)?, x: x.clone() })
    }

    /// One Hamiltonian transition with leapfrogs longer or shorter by a factor in 0.8 … 1.2 that all chains share, so that
    /// trajectories cannot stay in step with a target that stays the same.
    pub(super) fn jittered(
        &self,
        ends: &mut Ends,
        betas: &[f64],
        steps: &[f64],
        transition: Transition,
        noise: &mut Noise,
    ) -> Result<StepInfo> {
        let jitter: f64 = noise.uniforms(1).iter().map(|u| 0.8 + 0.4 * u).sum();
        let steps: Vec<f64> = steps.iter().map(|step| step * jitter).collect();
        self.step(ends, betas, &steps, transition, noise)
    }

    /// One transition of every chain, chain i at `betas[i]` with a step of `steps[i]`.
    pub(crate) fn step(
        &self,
        ends: &mut Ends,
        betas: &[f64],
        steps: &[f64],
        transition: Transition,
        noise: &mut Noise,
    ) -> Result<StepInfo> {
        let device = ends.x.device();
        let scales = match transition {
            // Steps of size h in x/√h have size 1.
            Transition::Mala => steps.iter().map(|h| h.sqrt()).collect(),
            _ => steps.to_vec(),
        };
        let tempered = Tempered {
            bridge: self,
            betas: rows::tensor(betas.to_vec(), device)?,
            scales: rows::tensor(scales, device)?,
            transition,
        };
        match transition {
            Transition::Metropolis => metropolis::transition(&tempered, ends, 1.0, noise),
            Transition::Mala => mala::transition(&tempered, ends, 1.0, noise),
            Transition::Hmc { leapfrogs } => hmc::transition(&tempered, ends, 1.0, leapfrogs, noise),
        }
    }

    /// U_from − U_to of each chain, for two temperatures that all share: how its log-weight changes.
    pub(crate) fn log_ratios(&self, ends: &Ends, from: f64, to: f64) -> Result<Vec<f64>> {
        let mut ratios = ends.slopes()?;
        ratios.iter_mut().for_each(|slope| *slope *= from - to);
        if let Some(bend) = self.bend {
            let (before, after) = (bend.at(&ends.x, from)?, bend.at(&ends.x, to)?);
            ratios.iter_mut().zip(before).zip(after).for_each(|((r, before), after)| *r += before - after);
        }
        Ok(ratios)
    }
}

impl Ends {
    /// U₁ − U₀ of each chain: the slope of its energy in β on the geometric path.
    pub(crate) fn slopes(&self) -> Result<Vec<f64>> {
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

/// The bridge at one β per chain, in coordinates z = x/s in which a step of size 1 is one of size s in x.
struct Tempered<'a> {
    bridge: &'a Bridge<'a>,
    betas: Tensor,  // (b,)
    scales: Tensor, // (b,)
    transition: Transition,
}

impl Landscape for Tempered<'_> {
    type At = Ends;

    fn at(&self, z: Tensor) -> Result<Ends> {
        self.bridge.at(&rows::scale(&z, &self.scales)?, self.transition)
    }

    fn seen(&self, at: &Ends) -> Result<Chains> {
        let mut energy = (&at.to.0 * &self.betas)?;
        let mut gradient = rows::scale(&at.to.1, &self.betas)?;
        if let Some((other, slope)) = &at.from {
            let rest = self.betas.affine(-1.0, 1.0)?;
            energy = (energy + (other * &rest)?)?;
            gradient = (gradient + rows::scale(slope, &rest)?)?;
        }
        if let Some(bend) = self.bridge.bend {
            let (more, slope) = bend.energy_and_gradient(&at.x, &self.betas)?;
            energy = (energy + more)?;
            gradient = (gradient + slope.to_dtype(at.x.dtype())?)?;
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

/// A target in the whitened coordinates of a base: `Ũ(z) = U(m + L z) − log|det L|`, with the same Z. `event` is the shape
/// of one example.
pub(crate) struct Whitened<'a> {
    pub(crate) target: &'a dyn Energy,
    pub(crate) base: &'a Gaussian,
    pub(crate) event: &'a [usize],
}

impl Whitened<'_> {
    /// Positions in the coordinates of the target, `(n, event…)`.
    pub(crate) fn positions(&self, z: &Tensor) -> Result<Tensor> {
        let shape = [&[z.dim(0)?][..], self.event].concat();
        Ok(self.base.colour(z)?.reshape(shape)?)
    }

    fn shifted(&self, energy: &Tensor) -> Result<Tensor> {
        Ok((energy.to_dtype(DType::F64)? - self.base.log_det())?)
    }
}

impl Energy for Whitened<'_> {
    fn energy(&self, z: &Tensor) -> Result<Tensor> {
        self.shifted(&self.target.energy(&self.positions(z)?)?)
    }

    fn energy_and_gradient(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, gradient) = self.target.energy_and_gradient(&self.positions(z)?)?;
        let gradient = self.base.pull_gradient(&gradient.detach().reshape(z.shape())?)?;
        Ok((self.shifted(&energy)?, gradient))
    }
}
