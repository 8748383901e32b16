//! Annealed importance sampling: log Z of any unnormalised density, log p(x) of any decoder.
//!
//! ```text
//! U_β = (1 − β) U_base + β U,   0 = β_0 < … < β_K = 1,   U_base normalised
//! z_0 ~ base;   log w += (β_k − β_{k−1}) (U_base − U)(z_{k−1});   z_k ~ a transition at β_k
//! Ẑ = mean w,   E Ẑ = Z,   E log Ẑ ≤ log Z
//! ```
//!
//! Because log Ẑ falls short in mean, −U − log Ẑ overstates the log p of an energy, and log Ẑ understates the log p(x)
//! of a decoder. Run backward from exact samples of the target, the same weights give a bound from the other side:
//! bidirectional Monte Carlo encloses log Z, and the gap closes as temperatures are added. The path above is the
//! geometric one; [`Ais::moments`] bends it through the averages of moments.
//!
//! The chains live in coordinates whitened by the base. A pilot run with its own draws tunes the step size per
//! temperature to the best acceptance and places the temperatures; the run proper then holds both fixed, so that
//! E Ẑ = Z is kept.
//!
//! | file          | what it holds                                             |
//! |---------------|-----------------------------------------------------------|
//! | `ladder`      | where temperatures lie                                    |
//! | `path`        | what the runs need of tempered targets and their chains   |
//! | `continuous`  | the path to an energy, in whitened coordinates            |
//! | `bipartite`   | two layers of discrete units, moved by block Gibbs        |
//! | `pilot`       | step sizes and temperatures by a trial run                |
//! | `run`         | weights, forward and in reverse                           |
//! | `estimate`    | log Ẑ with its error, and the bracket of both directions  |
//! | `integration` | log Z as an area along the same path                      |
//! | `decoder`     | the same row by row for latent-variable models            |
//!
//! Source: Neal (2001), Eq. 11–18; Grosse, Ghahramani & Adams (2015), arXiv:1511.02543, for the reverse; Gelman &
//! Meng (1998), §4.2, for balanced temperatures; Zhou, Johansen & Aston (2016), arXiv:1303.3123, for adaptive ones;
//! Salakhutdinov & Murray (2008) for restricted Boltzmann machines.

mod bipartite;
mod continuous;
mod decoder;
mod estimate;
mod integration;
mod ladder;
mod path;
mod pilot;
mod run;

pub use crate::mcmc::Transition;
pub use bipartite::{BinaryRbm, BipartitePath};
pub use decoder::EvidenceEstimate;
pub use estimate::{AisEstimate, Bracket};
pub use integration::ThermodynamicEstimate;
pub use ladder::Ladder;

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use crate::gaussian::Gaussian;
use crate::rows;
use crate::special::{Moments, effective_sample_size, log_mean_weight};
use bipartite::Layers;
use path::Path;

/// How to anneal.
#[derive(Clone, Debug)]
pub struct Ais {
    /// Independent chains, of each row for decoders; each gives one weight.
    pub chains: usize,
    /// The temperatures.
    pub ladder: Ladder,
    /// What moves the chains; two layers of discrete units have their own way.
    pub transition: Transition,
    /// Transitions at each temperature.
    pub transitions: usize,
    /// Step size in whitened coordinates; tuned by the pilot run if absent.
    pub step: Option<f64>,
    /// Chains of the pilot run, 0 for none.
    pub pilot_chains: usize,
    /// Most chains that enter the network at once.
    pub rows_at_once: usize,
    /// The normal law with the target's moments, as draws or data tell them: the path then averages moments instead of
    /// log-densities ([`MomentAverages`](crate::mcmc::MomentAverages)). For one continuous target.
    pub moments: Option<Gaussian>,
}

impl Default for Ais {
    /// 512 chains, 500 balanced temperatures, one MALA transition each.
    fn default() -> Self {
        Self {
            chains: 512,
            ladder: Ladder::Balanced(500),
            transition: Transition::Mala,
            transitions: 1,
            step: None,
            pilot_chains: 64,
            rows_at_once: 4_096,
            moments: None,
        }
    }
}

impl Ais {
    /// Estimates log ∫ e^{−U} from draws of `base`. `event` is the shape of one example, of base dimension in all.
    ///
    /// # Errors
    /// If the settings make no sense, the energy fails or is NaN somewhere on the way.
    pub fn estimate(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        event: &[usize],
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        self.run_energy(target, base, event, None, noise)
    }

    /// The bound from above: anneals exact draws `x` of the target, `(n, event…)`, back to the base.
    ///
    /// # Errors
    /// As [`Ais::estimate`].
    pub fn reverse(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        x: &Tensor,
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        let event = x.dims().get(1..).unwrap_or_default().to_vec();
        self.run_energy(target, base, &event, Some(x), noise)
    }

    /// Both: log Z lies between them. `x`, `(n, event…)`, must be exact draws of the target.
    ///
    /// # Errors
    /// As [`Ais::estimate`].
    pub fn bracket(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        x: &Tensor,
        noise: &mut Noise,
    ) -> Result<Bracket> {
        let event = x.dims().get(1..).unwrap_or_default().to_vec();
        let forward = self.run_energy(target, base, &event, None, noise)?;
        Ok(Bracket { forward, reverse: self.run_energy(target, base, &event, Some(x), noise)? })
    }

    fn check(&self) -> Result<()> {
        let leapfrogs = self.transition.evaluations();
        for (key, value) in
            [("chains", self.chains), ("transitions", self.transitions), ("leapfrogs", leapfrogs)]
        {
            if value == 0 {
                return Err(Error::config(key, "at least 1", 0));
            }
        }
        if let Some(step) = self.step.filter(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Error::config("step", "a finite number above 0", step));
        }
        self.ladder.check()
    }

    /// Forward from the base, or backward from `samples`.
    fn run_energy(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        event: &[usize],
        samples: Option<&Tensor>,
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        self.check_event(base, event)?;
        self.along(target, base, event, 1, |path| self.run(path, samples, noise))
    }

    fn check_event(&self, base: &Gaussian, event: &[usize]) -> Result<()> {
        let d: usize = event.iter().product();
        if d == base.dimension() && !event.is_empty() {
            return Ok(());
        }
        Err(Error::data("event", format!("{} numbers, as the base has", base.dimension()), d))
    }

    /// Forward from the base, or backward from `samples`.
    fn run<P: Path>(&self, path: &P, samples: Option<&Tensor>, noise: &mut Noise) -> Result<AisEstimate> {
        self.check()?;
        let plan = self.plan(path, self.pilot_chains, noise)?;
        let chains = samples.map_or(Ok(self.chains), |x| x.dim(0))?;
        let mut acceptance = vec![Moments::default(); plan.betas.len() - 1];
        let (mut log_weights, mut ends, mut evaluations) = (vec![], vec![], plan.evaluations);
        for (start, n) in rows::pieces(chains, self.rows_at_once) {
            let exact = samples.map(|x| x.narrow(0, start, n)).transpose()?;
            let annealed = self.anneal(path, &plan, (n, exact.as_ref()), noise, &mut |_, _| ())?;
            log_weights.extend(annealed.log_weights);
            ends.push(annealed.x);
            evaluations += annealed.evaluations;
            acceptance.iter_mut().zip(annealed.acceptance).for_each(|(a, b)| *a = a.merge(b));
        }
        let (log_mean, standard_error) = log_mean_weight(&log_weights);
        let (acceptance, lowest_acceptance) = run::acceptances(&acceptance);
        Ok(AisEstimate {
            log_z: if samples.is_some() { -log_mean } else { log_mean },
            standard_error,
            effective_sample_size: effective_sample_size(&log_weights),
            acceptance,
            lowest_acceptance,
            temperatures: plan.betas,
            log_weights,
            x: Tensor::cat(&ends, 0)?,
            evaluations,
        })
    }
}

#[cfg(test)]
mod tests;
