//! The persistent chains.
//!
//! ```text
//! restart, plain:       u ← base                                           with probability α
//! restart, metropolis:  u ← base   with probability α · min(1, e^{f(u) − f(base)})
//! move:                 u ← MALA_h(u),   log h += ¼ (acceptance − 0.574)   after each update
//! ```
//!
//! Changing `h` between updates does not touch what the moves leave invariant: within an update it is fixed.
//! Source: Carbone, "Hitchhiker's guide on energy-based models", Algorithm 2; Tierney (1994), §2.3.3 (independence
//! chains); Roberts & Rosenthal (1998) for 0.574.

use genzoo_core::capability::Energy;
use genzoo_core::{DType, Device, Error, Noise, ParamStore, Result, StateDict, Tensor};
use genzoo_numerics::mcmc::{Chains, Kernel, Mala};
use genzoo_numerics::rows;
use serde::Deserialize;

use super::Config;
use crate::neural::langevin::{GAIN, TARGET_ACCEPTANCE};
use crate::neural::restart::{base, base_scale, restart};

/// How a walker returns to the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rule {
    /// Always.
    Plain,
    /// If the Metropolis rule accepts it.
    Metropolis,
}

/// The buffer of walkers; each update moves one window of it.
pub(crate) struct Walkers {
    u: Tensor, // (walkers, D)
    /// Of the base.
    confinement: f64,
    log_step: f64,
    /// First row of the window whose turn it is.
    cursor: usize,
}

impl Walkers {
    /// Draws of the base.
    pub(crate) fn new(
        dims: usize,
        confinement: f64,
        config: &Config,
        params: &ParamStore,
        noise: &Noise,
    ) -> Result<Self> {
        let xi = noise.fork("walkers").normal((config.walkers, dims), params.dtype(), params.device())?;
        Ok(Self { u: (xi * base_scale(confinement))?, confinement, log_step: config.step.ln(), cursor: 0 })
    }

    /// All of them, `(walkers, D)`.
    pub(crate) fn all(&self) -> &Tensor {
        &self.u
    }

    /// The step size in use.
    pub(crate) fn step(&self) -> f64 {
        self.log_step.exp()
    }

    /// The window whose turn it is, `(chains, D)`.
    pub(crate) fn active(&self, chains: usize) -> Result<Tensor> {
        Ok(self.u.narrow(0, self.cursor, chains)?.contiguous()?)
    }

    /// Passes the turn on.
    pub(crate) fn next_window(&mut self, chains: usize) {
        self.cursor = (self.cursor + chains) % self.u.dims()[0];
    }

    /// Restarts and moves the active window under `target`; gives the mean acceptance of the moves.
    pub(crate) fn advance(&mut self, target: &dyn Energy, c: &Config, noise: &mut Noise) -> Result<f64> {
        let mut u = self.active(c.chains)?;
        if c.restart_rule == Rule::Plain && c.restart > 0.0 {
            let chosen = noise.uniforms(c.chains).into_iter().map(|p| u8::from(p < c.restart));
            let mask = Tensor::from_vec(chosen.collect::<Vec<_>>(), c.chains, u.device())?;
            u = rows::select(&mask, &base(&u, self.confinement, noise)?, &u)?;
        }
        let mut chains = Chains::at(target, &u)?;
        if c.restart_rule == Rule::Metropolis && c.restart > 0.0 {
            restart(target, self.confinement, &mut chains, c.restart, noise)?;
        }
        let kernel = Mala::new(self.step())?;
        let mut acceptance = 0.0;
        for _ in 0..c.moves {
            acceptance += kernel.step(target, &mut chains, noise)?.mean_acceptance() / c.moves as f64;
        }
        self.log_step = (self.log_step + GAIN * (acceptance - TARGET_ACCEPTANCE)).clamp(-20.0, 3.0);
        let walkers = self.u.dims()[0];
        self.u = if c.chains == walkers {
            chains.x
        } else {
            let after = self.cursor + c.chains;
            let parts =
                [self.u.narrow(0, 0, self.cursor)?, chains.x, self.u.narrow(0, after, walkers - after)?];
            let parts: Vec<_> = parts.into_iter().filter(|p| p.dims()[0] > 0).collect();
            Tensor::cat(&parts, 0)?
        };
        Ok(acceptance)
    }

    pub(crate) fn state(&self) -> Result<StateDict> {
        let numbers = Tensor::new(&[self.log_step, self.cursor as f64], &Device::Cpu)?;
        Ok(StateDict::from([
            ("walkers.u".to_string(), self.u.copy()?),
            ("walkers.log_step_and_cursor".to_string(), numbers),
        ]))
    }

    pub(crate) fn load(&mut self, state: &StateDict) -> Result<()> {
        let get = |name: &str| {
            state.get(name).ok_or_else(|| Error::data("model state", format!("a tensor '{name}'"), "none"))
        };
        let u = get("walkers.u")?;
        if u.dims() != self.u.dims() {
            return Err(Error::data("walkers.u", format!("{:?}", self.u.dims()), format!("{:?}", u.dims())));
        }
        let numbers = get("walkers.log_step_and_cursor")?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        match numbers[..] {
            [log_step, cursor]
                if log_step.is_finite() && cursor >= 0.0 && cursor < self.u.dims()[0] as f64 =>
            {
                self.u = u.to_dtype(self.u.dtype())?.to_device(self.u.device())?;
                (self.log_step, self.cursor) = (log_step, cursor as usize);
                Ok(())
            }
            _ => Err(Error::data(
                "walkers.log_step_and_cursor",
                "a finite number and a row of the buffer",
                format!("{numbers:?}"),
            )),
        }
    }
}
