//! Where the states of the model come from.
//!
//! | estimator  | chains                                                             | bias                            |
//! |------------|--------------------------------------------------------------------|---------------------------------|
//! | `cd`       | k sweeps from the rows of the batch                                | the chains stay near the data   |
//! | `pcd`      | kept from update to update, k sweeps each                          | they lag behind the parameters  |
//! | `fast-pcd` | the same, on parameters plus fast ones that decay                  | the same; they flee where they have been |
//! | `pt`       | kept at several places of the path to independent units, swapping  | the least, at so many times the cost |
//!
//! ```text
//! fast ← (1 − δ) fast − η_f ∂L        after each update; chains move under parameters + fast
//! ```
//!
//! Source: Hinton (2002) for cd; Tieleman (2008) for pcd; Tieleman & Hinton (2009), "Using fast weights to improve
//! persistent contrastive divergence", Algorithm 2, δ = 1/20; Desjardins, Courville, Bengio, Vincent & Delalleau (2010),
//! "Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines".

use genzoo_core::{Error, Noise, Result, Scalars, StateDict, Tensor};
use serde::Deserialize;

use super::gradient::Gradient;
use super::tempering::Tempering;
use super::{Beta, Machine};

/// Which chains there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Estimator {
    Cd,
    Pcd,
    FastPcd,
    Pt,
}

/// How they move.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Settings {
    pub(super) estimator: Estimator,
    /// Sweeps per update.
    k: usize,
    /// Persistent chains; the batch takes their place in `cd`.
    pub(super) chains: usize,
    /// Places on the path, for `pt`.
    temperatures: usize,
    /// η_f, for `fast-pcd`.
    fast_lr: f64,
    /// δ, for `fast-pcd`.
    fast_decay: f64,
}

impl Settings {
    /// Whether chains outlive an update.
    pub(super) fn is_persistent(&self) -> bool {
        self.estimator != Estimator::Cd
    }

    pub(super) fn check(&self) -> Result<()> {
        let count = |key: &str, value: usize, from: usize, to: usize| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!("model.{key}"), format!("an integer from {from} to {to}"), value))
        };
        count("k", self.k, 1, 100_000)?;
        count("chains", self.chains, 1, 1 << 16)?;
        count("temperatures", self.temperatures, 2, 1000)?;
        if !(self.fast_lr >= 0.0 && self.fast_lr.is_finite()) {
            return Err(Error::config("model.fast_lr", "a number ≥ 0", self.fast_lr));
        }
        if !(self.fast_decay > 0.0 && self.fast_decay <= 1.0) {
            return Err(Error::config("model.fast_decay", "a number above 0 and at most 1", self.fast_decay));
        }
        Ok(())
    }
}

/// The chains of a machine in training.
pub(super) struct Chains {
    settings: Settings,
    /// Persistent states, `(chains, D)`, for `pt` those of every temperature, the first ones at the base.
    v: Option<Tensor>,
    fast: Option<Fast>,
    tempering: Option<Tempering>,
}

/// What is added to the parameters where the chains move.
struct Fast {
    weights: Tensor,
    visible: Tensor,
    hidden: Tensor,
}

impl Chains {
    /// Chains at exact draws of the base of `machine`.
    pub(super) fn new(settings: &Settings, machine: &Machine, noise: &mut Noise) -> Result<Self> {
        let mut chains = Self { settings: settings.clone(), v: None, fast: None, tempering: None };
        let n = match settings.estimator {
            Estimator::Cd => return Ok(chains),
            Estimator::Pt => settings.chains * settings.temperatures,
            _ => settings.chains,
        };
        chains.v = Some(machine.draw_base(n, noise)?);
        match settings.estimator {
            Estimator::FastPcd => {
                chains.fast = Some(Fast {
                    weights: machine.weights().zeros_like()?,
                    visible: machine.visible_bias().zeros_like()?,
                    hidden: machine.hidden_bias().zeros_like()?,
                });
            }
            Estimator::Pt => chains.tempering = Some(Tempering::new(settings.temperatures)),
            _ => {}
        }
        Ok(chains)
    }

    /// Persistent states at the machine itself, `(chains, D)`; none for `cd`.
    pub(super) fn target(&self) -> Result<Option<Tensor>> {
        let Some(v) = &self.v else { return Ok(None) };
        let n = v.dim(0)?;
        Ok(Some(v.narrow(0, n - self.settings.chains, self.settings.chains)?.contiguous()?))
    }

    /// Moves the chains under `machine` and gives the states of the model that stand against `data`, `(n, D)`.
    pub(super) fn advance(
        &mut self,
        machine: &Machine,
        data: &Tensor,
        noise: &mut Noise,
    ) -> Result<(Tensor, Scalars)> {
        let shifted;
        let machine = match &self.fast {
            Some(fast) => {
                shifted = machine.shifted(&fast.weights, &fast.visible, &fast.hidden)?;
                &shifted
            }
            None => machine,
        };
        let mut v = self.v.clone().unwrap_or_else(|| data.clone());
        let mut log = Scalars::new();
        match &mut self.tempering {
            Some(tempering) => {
                for _ in 0..self.settings.k {
                    v = tempering.step(machine, &v, noise)?;
                }
                log.push(("swap_rate", tempering.mean_rate()));
                self.v = Some(v);
                let target = self.target()?;
                return Ok((target.ok_or_else(|| Error::Unsupported("no chains".into()))?, log));
            }
            None => {
                for _ in 0..self.settings.k {
                    v = machine.sweep(&v, Beta::TARGET, noise)?;
                }
            }
        }
        if self.v.is_some() {
            self.v = Some(v.clone());
        }
        Ok((v, log))
    }

    /// The fast parameters follow the gradient.
    pub(super) fn learn(&mut self, gradient: &Gradient) -> Result<()> {
        let Some(fast) = &mut self.fast else { return Ok(()) };
        let (keep, rate) = (1.0 - self.settings.fast_decay, self.settings.fast_lr);
        let step = |old: &Tensor, g: &Tensor| (old * keep)? - (g * rate)?;
        fast.weights = step(&fast.weights, &gradient.weights)?;
        fast.visible = step(&fast.visible, &gradient.visible)?;
        fast.hidden = step(&fast.hidden, &gradient.hidden)?;
        Ok(())
    }

    pub(super) fn state(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        if let Some(v) = &self.v {
            state.insert("chains.v".into(), v.copy()?);
        }
        if let Some(fast) = &self.fast {
            state.insert("fast.W".into(), fast.weights.copy()?);
            state.insert("fast.b_v".into(), fast.visible.copy()?);
            state.insert("fast.b_h".into(), fast.hidden.copy()?);
        }
        if let Some(tempering) = &self.tempering {
            state.extend(tempering.state()?);
        }
        Ok(state)
    }

    pub(super) fn load(&mut self, state: &StateDict) -> Result<()> {
        if let Some(v) = &mut self.v {
            *v = super::saved(state, "chains.v", v)?;
        }
        if let Some(fast) = &mut self.fast {
            fast.weights = super::saved(state, "fast.W", &fast.weights)?;
            fast.visible = super::saved(state, "fast.b_v", &fast.visible)?;
            fast.hidden = super::saved(state, "fast.b_h", &fast.hidden)?;
        }
        if let Some(tempering) = &mut self.tempering {
            tempering.load(state)?;
        }
        Ok(())
    }
}
