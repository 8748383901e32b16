//! The geometric path from the base to the target, seen in the base's whitened coordinates.
//!
//! ```text
//! x = m + L z,   U_β(z) = (1 − β) ½|z|² + β (U(x) − log|det L|) + constants
//! ```

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result, math};

use super::Transition;
use super::path::{Path, Tuning};
use crate::gaussian::Gaussian;
use crate::mcmc::{Chains, Landscape, hmc, mala, metropolis};
use crate::rows;

/// The two ends. Chains i, i + g, i + 2g, … of `groups` = g anneal to targets of their own (one per row of data).
pub(super) struct Geometric<'a> {
    pub(super) target: &'a dyn Energy,
    pub(super) base: &'a Gaussian,
    pub(super) event: &'a [usize],
    pub(super) groups: usize,
    pub(super) transition: Transition,
}

/// Chains with both energies at hand, so that changing the temperature costs no evaluation.
pub(super) struct Walkers {
    z: Tensor,        // (n, d)
    base: Tensor,     // (n,) f64, normalised
    target: Tensor,   // (n,) f64
    gradient: Tensor, // of the target, (n, d); zero where the transition needs none
}

impl Geometric<'_> {
    fn colour(&self, z: &Tensor) -> Result<Tensor> {
        let x = self.base.colour(z)?;
        let mut shape = vec![x.dim(0)?];
        shape.extend_from_slice(self.event);
        Ok(x.reshape(shape)?)
    }

    fn evaluate(&self, z: Tensor) -> Result<Walkers> {
        let z = z.detach();
        let x = self.colour(&z)?;
        let (energy, gradient) = if self.transition.needs_gradient() {
            let (energy, gradient) = self.target.energy_and_gradient(&x)?;
            (energy, self.base.pull_gradient(&gradient.detach().reshape(z.shape())?)?)
        } else {
            (self.target.energy(&x)?, z.zeros_like()?)
        };
        let target = (energy.detach().to_dtype(DType::F64)? - self.base.log_det())?;
        let base = math::log_standard_normal(&z.to_dtype(DType::F64)?)?.neg()?;
        Ok(Walkers { z, base, target, gradient })
    }
}

impl Path for Geometric<'_> {
    type Walkers = Walkers;

    fn draw(&self, n: usize, noise: &mut Noise) -> Result<Walkers> {
        self.evaluate(noise.normal((n, self.base.dimension()), self.base.dtype(), self.base.device())?)
    }

    fn at(&self, x: &Tensor) -> Result<Walkers> {
        self.evaluate(self.base.whiten(&x.reshape((x.dim(0)?, ()))?)?)
    }

    fn positions(&self, walkers: &Walkers) -> Result<Tensor> {
        self.colour(&walkers.z)
    }

    fn log_ratios(&self, walkers: &Walkers, from: f64, to: f64) -> Result<Vec<f64>> {
        rows::host(&((&walkers.base - &walkers.target)? * (to - from))?)
    }

    fn step(&self, walkers: &mut Walkers, beta: f64, step: f64, noise: &mut Noise) -> Result<Vec<f64>> {
        let tempered = Tempered { path: self, beta };
        let info = match self.transition {
            Transition::Metropolis => metropolis::transition(&tempered, walkers, step, noise)?,
            Transition::Mala => mala::transition(&tempered, walkers, step, noise)?,
            Transition::Hmc { leapfrogs } => hmc::transition(&tempered, walkers, step, leapfrogs, noise)?,
        };
        Ok(info.acceptance)
    }

    fn groups(&self) -> usize {
        self.groups
    }

    fn tuning(&self) -> Option<Tuning> {
        let (first_step, acceptance) =
            (self.transition.first_step(self.base.dimension()), self.transition.target_acceptance());
        Some(Tuning { first_step, acceptance })
    }

    fn evaluations(&self) -> u64 {
        self.transition.evaluations() as u64
    }
}

/// The path at one temperature.
struct Tempered<'a, 'b> {
    path: &'a Geometric<'b>,
    beta: f64,
}

impl Landscape for Tempered<'_, '_> {
    type At = Walkers;

    fn at(&self, z: Tensor) -> Result<Walkers> {
        self.path.evaluate(z)
    }

    fn seen(&self, at: &Walkers) -> Result<Chains> {
        let beta = self.beta;
        Ok(Chains {
            x: at.z.clone(),
            energy: ((&at.base * (1.0 - beta))? + (&at.target * beta)?)?,
            gradient: ((&at.z * (1.0 - beta))? + (&at.gradient * beta)?)?,
        })
    }

    fn select(&self, mask: &Tensor, yes: &Walkers, no: &Walkers) -> Result<Walkers> {
        Ok(Walkers {
            z: rows::select(mask, &yes.z, &no.z)?,
            base: rows::select(mask, &yes.base, &no.base)?,
            target: rows::select(mask, &yes.target, &no.target)?,
            gradient: rows::select(mask, &yes.gradient, &no.gradient)?,
        })
    }
}
