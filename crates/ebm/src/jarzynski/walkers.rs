//! The weighted walkers of a training, the windows in which they move, and how they are kept.

use genzoo_core::{DType, Device, Error, Noise, Result, Scalars, StateDict, Tensor};
use genzoo_numerics::mcmc::jarzynski::{Ledger, Motion, Walkers};
use genzoo_numerics::mcmc::{Chains, Hmc, Mala};
use genzoo_numerics::rows;
use genzoo_numerics::special::normalised_weights;
use serde::Deserialize;

use super::Config;
use crate::neural::langevin::{GAIN, TARGET_ACCEPTANCE};
use crate::neural::restart::base_scale;
use crate::neural::{NeuralEnergy, confining, health};

/// How walkers move.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Moves {
    Ula,
    Mala,
    Hmc,
}

impl Moves {
    /// The acceptance that the step follows; none for what always accepts.
    fn target(self) -> Option<f64> {
        match self {
            Moves::Ula => None,
            Moves::Mala => Some(TARGET_ACCEPTANCE),
            Moves::Hmc => Some(0.651),
        }
    }

    fn motion(self, step: f64, leapfrogs: usize) -> Result<Motion> {
        Ok(match self {
            Moves::Ula => Motion::ula(step)?,
            Moves::Mala => Motion::invariant(Mala::new(step)?),
            Moves::Hmc => Motion::invariant(Hmc::new(step, leapfrogs)?),
        })
    }
}

/// All walkers, and whose turn it is.
pub(super) struct Population {
    walkers: Walkers,
    moves: Moves,
    chains: usize,
    log_step: f64,
    cursor: usize,
    /// log Z of the base.
    first_log_z: f64,
}

impl Population {
    /// Draws of the base, weighted for the first energy.
    pub(super) fn new(energy: &NeuralEnergy, c: &Config, noise: &Noise) -> Result<Self> {
        let (d, params) = (energy.dims(), energy.params());
        let scale = base_scale(energy.confinement());
        let xi = noise.fork("walkers").normal((c.walkers, d), params.dtype(), params.device())?;
        Ok(Self {
            walkers: weighted(energy, &(xi * scale)?)?,
            moves: c.kernel,
            chains: c.chains,
            log_step: c.step.ln(),
            cursor: 0,
            first_log_z: d as f64 * (scale * std::f64::consts::TAU.sqrt()).ln(),
        })
    }

    /// Weights the same draws for the energy as it now is.
    pub(super) fn begin(&mut self, energy: &NeuralEnergy) -> Result<()> {
        self.walkers = weighted(energy, &self.walkers.chains().x)?;
        Ok(())
    }

    pub(super) fn walkers(&self) -> &Walkers {
        &self.walkers
    }

    pub(super) fn first_log_z(&self) -> f64 {
        self.first_log_z
    }

    /// The step size in use, if it is one that Metropolis accepts.
    pub(super) fn step(&self) -> Option<f64> {
        (self.moves == Moves::Mala).then(|| self.log_step.exp())
    }

    /// The walkers as samples of the energy as it now is, which need not be the one they followed.
    pub(super) fn now(&self, energy: &NeuralEnergy) -> Result<Walkers> {
        let mut walkers = self.walkers.clone();
        walkers.retarget(&energy.landscape())?;
        Ok(walkers)
    }

    /// The window whose turn it is, `(chains, D)`, and its weights, of sum 1.
    pub(super) fn active(&self) -> Result<(Tensor, Tensor)> {
        let x = self.walkers.chains().x.narrow(0, self.cursor, self.chains)?.contiguous()?;
        let weights = normalised_weights(&self.walkers.log_weights()[self.cursor..self.cursor + self.chains]);
        let weights = rows::tensor(weights, x.device())?;
        Ok((x, weights))
    }

    /// Follows the energy: the next window moves, all weights change, walkers are resampled if need be.
    pub(super) fn follow(&mut self, energy: &NeuralEnergy, c: &Config, noise: &mut Noise) -> Result<Scalars> {
        let landscape = energy.landscape();
        let step = self.log_step.exp();
        let motion = c.kernel.motion(step, c.leapfrogs)?;
        let n = self.walkers.log_weights().len();
        self.cursor = (self.cursor + c.chains) % n;
        let mut moves = noise.fork("moves");
        let acceptance = if c.chains == n {
            let mut acceptance = 0.0;
            for i in 0..c.moves {
                let info = if i == 0 {
                    self.walkers.follow(&motion, &landscape, &mut moves)?
                } else {
                    self.walkers.stay(&motion, &landscape, &mut moves)?
                };
                acceptance += info.mean_acceptance() / c.moves as f64;
            }
            acceptance
        } else {
            let window = self.cursor..self.cursor + c.chains;
            self.walkers.follow_window(&motion, &landscape, window, c.moves, &mut moves)?
        };
        health::check_weights(self.walkers.effective(), n)?;
        self.walkers.resample(c.resample, &mut noise.fork("resample"))?;
        if let Some(target) = c.kernel.target() {
            self.log_step = (self.log_step + GAIN * (acceptance - target)).clamp(-20.0, 3.0);
        }
        Ok(vec![("acceptance", acceptance), ("step", step), ("resampled", self.walkers.resampled() as f64)])
    }

    pub(super) fn state(&self) -> Result<StateDict> {
        let (chains, ledger) = (self.walkers.chains(), self.walkers.ledger());
        let numbers =
            [ledger.log_z, ledger.variance, ledger.resampled as f64, self.log_step, self.cursor as f64];
        Ok(StateDict::from([
            (NAMES[0].into(), chains.x.copy()?),
            (NAMES[1].into(), chains.energy.copy()?),
            (NAMES[2].into(), chains.gradient.copy()?),
            (NAMES[3].into(), rows::tensor(ledger.log_weights, &Device::Cpu)?),
            (NAMES[4].into(), Tensor::new(&numbers, &Device::Cpu)?),
        ]))
    }

    pub(super) fn load(&mut self, state: &StateDict) -> Result<()> {
        let get = |name: &str| {
            state.get(name).ok_or_else(|| Error::data("model state", format!("a tensor '{name}'"), "none"))
        };
        let own = self.walkers.chains();
        let like = |name: &str, own: &Tensor| -> Result<Tensor> {
            let found = get(name)?;
            if found.dims() != own.dims() {
                return Err(Error::data(name, format!("{:?}", own.dims()), format!("{:?}", found.dims())));
            }
            Ok(found.to_dtype(own.dtype())?.to_device(own.device())?)
        };
        let chains = Chains {
            x: like(NAMES[0], &own.x)?,
            energy: like(NAMES[1], &own.energy)?,
            gradient: like(NAMES[2], &own.gradient)?,
        };
        let log_weights = rows::host(get(NAMES[3])?)?;
        let numbers = get(NAMES[4])?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let [log_z, variance, resampled, log_step, cursor] = numbers[..] else {
            return Err(Error::data(NAMES[4], "five numbers", format!("{numbers:?}")));
        };
        let n = log_weights.len();
        if !(cursor >= 0.0 && cursor as usize + self.chains <= n && log_step.is_finite()) {
            return Err(Error::data(NAMES[4], "a step and a window of the walkers", format!("{numbers:?}")));
        }
        let ledger = Ledger { log_weights, log_z, variance, resampled: resampled as u64 };
        self.walkers = Walkers::restore(chains, ledger)?;
        (self.log_step, self.cursor) = (log_step, cursor as usize);
        Ok(())
    }
}

const NAMES: [&str; 5] =
    ["walkers.u", "walkers.energy", "walkers.gradient", "walkers.log_weights", "walkers.numbers"];

/// Draws `u` of the base as samples of `energy`: `A = ½κ‖u‖² − U(u)`.
fn weighted(energy: &NeuralEnergy, u: &Tensor) -> Result<Walkers> {
    let chains = Chains::at(&energy.landscape(), u)?;
    let base = rows::host(&confining(u, energy.confinement())?)?;
    let log_weights = base.iter().zip(rows::host(&chains.energy)?).map(|(base, u)| base - u).collect();
    Walkers::restore(chains, Ledger { log_weights, log_z: 0.0, variance: 0.0, resampled: 0 })
}
