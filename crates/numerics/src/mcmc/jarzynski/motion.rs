//! How walkers move, and what a move adds to their log-weights.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::super::{Chains, Kernel, StepInfo, Walls};
use super::wide;
use crate::rows;

/// A kernel that knows the weight of its moves.
pub enum Motion {
    /// ULA with this step size h; its weight carries the error of its discretisation.
    Ula(f64),
    /// ULA between walls. The target lives on the box.
    ReflectedUla(f64, Walls),
    /// Any kernel that leaves its target invariant.
    Invariant(Box<dyn Kernel>),
}

impl Motion {
    /// ULA with step size `step` > 0.
    ///
    /// # Errors
    /// If the step makes no sense.
    pub fn ula(step: f64) -> Result<Self> {
        Ok(Self::Ula(super::super::positive(step)?))
    }

    /// ULA with step size `step` > 0 between walls.
    ///
    /// # Errors
    /// If the step makes no sense.
    pub fn reflected_ula(step: f64, walls: Walls) -> Result<Self> {
        Ok(Self::ReflectedUla(super::super::positive(step)?, walls))
    }

    /// A kernel that leaves its target invariant: [`Mala`](super::super::Mala), [`Hmc`](super::super::Hmc),
    /// [`ReflectedMala`](super::super::ReflectedMala), ….
    pub fn invariant(kernel: impl Kernel + 'static) -> Self {
        Self::Invariant(Box::new(kernel))
    }

    /// From the target that `chains` know to `target`; with the gains of A.
    pub(super) fn carry(
        &self,
        chains: &mut Chains,
        target: &dyn Energy,
        noise: &mut Noise,
    ) -> Result<(StepInfo, Vec<f64>)> {
        match self {
            Self::Ula(step) => langevin(*step, None, chains, target, noise),
            Self::ReflectedUla(step, walls) => langevin(*step, Some(walls), chains, target, noise),
            Self::Invariant(kernel) => {
                let old = rows::host(&chains.energy)?;
                *chains = Chains::at(target, &chains.x)?;
                let gain = old.iter().zip(rows::host(&chains.energy)?).map(|(old, new)| old - new).collect();
                Ok((kernel.step(target, chains, noise)?, gain))
            }
        }
    }

    /// Under the target that `chains` know.
    pub(super) fn stay(
        &self,
        chains: &mut Chains,
        target: &dyn Energy,
        noise: &mut Noise,
    ) -> Result<(StepInfo, Vec<f64>)> {
        match self {
            Self::Invariant(kernel) => {
                let n = chains.x.dim(0)?;
                Ok((kernel.step(target, chains, noise)?, vec![0.0; n]))
            }
            _ => self.carry(chains, target, noise),
        }
    }
}

/// One step of ULA from the target that `chains` know to `target`.
fn langevin(
    step: f64,
    walls: Option<&Walls>,
    chains: &mut Chains,
    target: &dyn Energy,
    noise: &mut Noise,
) -> Result<(StepInfo, Vec<f64>)> {
    let length = (2.0 * step).sqrt();
    let xi = noise.normal_like(&chains.x)?;
    let p = (&xi - (&chains.gradient * (0.5 * length))?)?;
    let free = (&chains.x + (&p * length)?)?;
    let (x, p) = match walls {
        None => (free, p),
        Some(walls) => {
            let (x, sign) = walls.fold(&free)?;
            (x, (p * sign)?)
        }
    };
    let end = Chains::at(target, &x)?;
    let q = (p - (&end.gradient * (0.5 * length))?)?;
    let kinetic = (squares(&xi)? - squares(&q)?)?;
    let gain = ((wide(&chains.energy)? - wide(&end.energy)?)? + (kinetic * 0.5)?)?;
    *chains = end;
    let n = chains.x.dim(0)?;
    Ok((StepInfo::always(n), rows::host(&gain)?))
}

fn squares(x: &Tensor) -> Result<Tensor> {
    rows::squared_norm(&wide(x)?)
}
