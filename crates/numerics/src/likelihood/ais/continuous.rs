//! The path from a Gaussian base to an energy, seen in the base's whitened coordinates.
//!
//! ```text
//! x = m + L z,   U_β(z) = (1 − β) ½|z|² + β (U(x) − log|det L|) + c_β + constants
//! ```
//!
//! c_β is 0 on the geometric path, and bends it where moments are averaged.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::Ais;
use super::path::{Path, Tuning};
use crate::Gaussian;
use crate::mcmc::{Bridge, Ends, MomentAverages, Transition, Whitened};

/// Chains i, i + g, i + 2g, … of `groups` = g anneal to targets of their own (one per row of data).
pub(super) struct Continuous<'a> {
    bridge: Bridge<'a>,
    target: &'a Whitened<'a>,
    groups: usize,
    transition: Transition,
}

impl Ais {
    /// Hands the path to `run`.
    pub(super) fn along<T>(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        event: &[usize],
        groups: usize,
        run: impl FnOnce(&Continuous<'_>) -> Result<T>,
    ) -> Result<T> {
        let start = Gaussian::standard(base.dimension(), base.dtype(), base.device())?;
        let target = Whitened { target, base, event };
        let bend = self.moments.as_ref().map(|end| MomentAverages::between(base, end)).transpose()?;
        let bridge = Bridge { bend: bend.as_ref(), ..Bridge::new(Some(&start), &target) };
        run(&Continuous { bridge, target: &target, groups, transition: self.transition })
    }
}

impl Path for Continuous<'_> {
    type Walkers = Ends;

    fn draw(&self, n: usize, noise: &mut Noise) -> Result<Ends> {
        let base = self.target.base;
        let z = noise.normal((n, base.dimension()), base.dtype(), base.device())?;
        self.bridge.at(&z, self.transition)
    }

    fn at(&self, x: &Tensor) -> Result<Ends> {
        self.bridge.at(&self.target.base.whiten(&x.reshape((x.dim(0)?, ()))?)?, self.transition)
    }

    fn positions(&self, walkers: &Ends) -> Result<Tensor> {
        self.target.positions(&walkers.x)
    }

    fn log_ratios(&self, walkers: &Ends, from: f64, to: f64) -> Result<Vec<f64>> {
        self.bridge.log_ratios(walkers, from, to)
    }

    fn step(&self, walkers: &mut Ends, beta: f64, step: f64, noise: &mut Noise) -> Result<Vec<f64>> {
        let n = walkers.x.dim(0)?;
        let info = self.bridge.step(walkers, &vec![beta; n], &vec![step; n], self.transition, noise)?;
        Ok(info.acceptance)
    }

    fn groups(&self) -> usize {
        self.groups
    }

    fn tuning(&self) -> Option<Tuning> {
        let first_step = self.transition.first_step(self.target.base.dimension());
        Some(Tuning { first_step, acceptance: self.transition.target_acceptance() })
    }

    fn evaluations(&self) -> u64 {
        self.transition.evaluations() as u64
    }
}
