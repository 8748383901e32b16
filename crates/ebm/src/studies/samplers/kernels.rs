//! Every sampler of `numerics::mcmc` behind one door: warmed up, started in the law, run for as many gradients as the others.

use std::time::Instant;

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};
use genzoo_numerics::mcmc::{
    Adapted, Baoab, Bridge, Chains, Hmc, Jittered, Kernel, Mala, Mass, Metropolis, Nuts, ParallelTempering,
    Preconditioned, Smc, StepInfo, Ula, WarmUp,
};
use genzoo_numerics::special::{Moments, normalised_weights};
use genzoo_numerics::{Counted, Gaussian, rows};

use super::targets::Target;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampler {
    Metropolis,
    Ula,
    Mala,
    Hmc,
    Nuts,
    Baoab,
    MalaDense,
    HmcDense,
    NutsDense,
    Tempering,
    Smc,
}

pub(super) const ALL: [Sampler; 11] = [
    Sampler::Metropolis,
    Sampler::Ula,
    Sampler::Mala,
    Sampler::Hmc,
    Sampler::Nuts,
    Sampler::Baoab,
    Sampler::MalaDense,
    Sampler::HmcDense,
    Sampler::NutsDense,
    Sampler::Tempering,
    Sampler::Smc,
];

/// Leapfrogs of a trajectory of HMC, whose step size varies by a half.
const LEAPFROGS: usize = 8;
/// States of a chain that are looked at, at most.
const SEEN: usize = 400;

impl Sampler {
    pub(super) fn name(self) -> &'static str {
        match self {
            Sampler::Metropolis => "random walk",
            Sampler::Ula => "ULA",
            Sampler::Mala => "MALA",
            Sampler::Hmc => "HMC",
            Sampler::Nuts => "NUTS",
            Sampler::Baoab => "BAOAB",
            Sampler::MalaDense => "MALA, dense masses",
            Sampler::HmcDense => "HMC, dense masses",
            Sampler::NutsDense => "NUTS, dense masses",
            Sampler::Tempering => "parallel tempering",
            Sampler::Smc => "tempered SMC",
        }
    }

    /// Whether it leaves the target exactly invariant.
    pub(super) fn exact(self) -> bool {
        !matches!(self, Sampler::Ula | Sampler::Baoab | Sampler::Smc)
    }

    fn mass(self) -> Mass {
        match self {
            Sampler::MalaDense | Sampler::HmcDense | Sampler::NutsDense => Mass::Dense,
            _ => Mass::Unit,
        }
    }

    /// The acceptance that suits it, and a step size to begin with.
    fn aim(self) -> (f64, f64) {
        match self {
            Sampler::Metropolis => (0.3, 0.5),
            Sampler::Mala | Sampler::MalaDense | Sampler::Ula => (0.574, 0.05),
            _ => (0.8, 0.2),
        }
    }

    fn kernel(self, step: f64) -> Result<Boxed> {
        Ok(Boxed(match self {
            Sampler::Metropolis => Box::new(Metropolis::new(step)?),
            Sampler::Mala | Sampler::MalaDense | Sampler::Ula => Box::new(Mala::new(step)?),
            Sampler::Nuts | Sampler::NutsDense => Box::new(Nuts::new(step, 8)?),
            _ => Box::new(Jittered::new(|step| Hmc::new(step, LEAPFROGS), step, 0.5)?),
        }))
    }
}

/// A kernel of any kind.
struct Boxed(Box<dyn Kernel>);

impl Kernel for Boxed {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        self.0.step(target, chains, noise)
    }
}

/// How long.
#[derive(Clone, Copy)]
pub(super) struct Length {
    pub(super) chains: usize,
    pub(super) warm_up: usize,
    /// Gradients per chain after the warm-up.
    pub(super) gradients: u64,
}

/// What it left behind.
pub(super) struct Trace {
    /// Statistic by statistic and chain by chain, states in order; for SMC each run is a chain of one weighted mean.
    pub(super) values: Vec<Vec<Vec<f64>>>,
    /// Rows whose gradient was evaluated after the warm-up, over all chains.
    pub(super) gradients: u64,
    /// Seconds on this machine.
    pub(super) seconds: f64,
    /// Size of a step; of tempering the number of replicas.
    pub(super) step: f64,
    /// Mean acceptance after the warm-up.
    pub(super) acceptance: f64,
}

/// Runs `sampler` on `target`.
pub(super) fn run(sampler: Sampler, target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    match sampler {
        Sampler::Tempering => tempering(target, length, noise),
        Sampler::Smc => smc(target, length, noise),
        _ => markov(sampler, target, length, noise),
    }
}

/// Moves all chains once; tells where they are and what was accepted.
type Advance<'a> = Box<dyn FnMut(&mut Noise) -> Result<(Tensor, f64)> + 'a>;

/// Steps of the pilot that tells what a step costs.
const PILOT: usize = 20;

/// Runs what `begin` starts for the gradients of `length` per chain, after `run_in` steps that nobody looks at.
///
/// How many steps there are and which of them are looked at is settled by a pilot beforehand. Were a state looked at
/// whenever so many gradients have been spent, states behind long trajectories would be seen more often than others, and
/// NUTS, whose trajectories are long where the target is wide, would seem to be wrong.
fn follow<'a>(
    target: &Target,
    counted: &Counted<&dyn Energy>,
    (length, run_in): (Length, usize),
    begin: impl Fn(&mut Noise) -> Result<Advance<'a>>,
    noise: &mut Noise,
) -> Result<Trace> {
    let spent = || counted.evaluations().examples;
    let mut advance = begin(noise)?;
    let before = spent();
    for _ in 0..PILOT {
        advance(noise)?;
    }
    let cost = (spent() - before) as f64 / (PILOT * length.chains) as f64;
    let steps = (length.gradients as f64 / cost).ceil() as usize;
    let stride = (steps / SEEN).max(1);
    let mut advance = begin(noise)?;
    for _ in 0..run_in {
        advance(noise)?;
    }
    let mut values = vec![vec![Vec::new(); length.chains]; target.truth.len()];
    let (mut accepted, clock, before) = (Moments::default(), Instant::now(), spent());
    for step in 1..=steps {
        let (x, acceptance) = advance(noise)?;
        accepted.push(acceptance);
        if step % stride != 0 {
            continue;
        }
        for (c, row) in rows::host(&x)?.chunks(target.dims).enumerate() {
            for (of, value) in values.iter_mut().zip((target.statistics)(row)) {
                of[c].push(value);
            }
        }
    }
    Ok(Trace {
        values,
        gradients: spent() - before,
        seconds: clock.elapsed().as_secs_f64(),
        step: 0.0,
        acceptance: accepted.mean(),
    })
}

fn markov(sampler: Sampler, target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    let n = length.chains;
    let mut chains = Chains::at(&*target.energy, &(target.draws)(n, noise)?)?;
    let (acceptance, step) = sampler.aim();
    let warm_up = WarmUp { steps: length.warm_up, acceptance, step, mass: sampler.mass() };
    let Adapted { step, scale, .. } =
        warm_up.run(|step| sampler.kernel(step), &*target.energy, &mut chains, noise)?;
    // Uncorrected kernels take smaller steps than their corrected kin, or their bias is all there is to see.
    let step = if sampler == Sampler::Ula { 0.25 * step } else { step };
    let counted = &Counted::new(&*target.energy);
    // Adaptation looked at its chains; fresh ones have no memory of it and begin in the law.
    let begin = |noise: &mut Noise| -> Result<Advance<'_>> {
        let start = (target.draws)(n, noise)?;
        if sampler == Sampler::Baoab {
            let kernel = Baoab::new(step, 1.0)?;
            let mut phase = kernel.init(counted, &start, noise)?;
            return Ok(Box::new(move |noise| {
                kernel.step(counted, &mut phase, noise)?;
                Ok((phase.chains.x.clone(), 1.0))
            }));
        }
        let kernel: Box<dyn Kernel> = match sampler {
            Sampler::Ula => Box::new(Ula::new(step)?),
            _ if sampler.mass() == Mass::Unit => Box::new(sampler.kernel(step)?),
            _ => Box::new(Preconditioned::new(sampler.kernel(step)?, scale.clone())),
        };
        let mut chains = Chains::at(counted, &start)?;
        Ok(Box::new(move |noise| {
            let acceptance = kernel.step(counted, &mut chains, noise)?.mean_acceptance();
            Ok((chains.x.clone(), acceptance))
        }))
    };
    Ok(Trace { step, ..follow(target, counted, (length, 0), begin, noise)? })
}

/// A base for tempering: as wide as the target.
fn base(target: &Target, noise: &mut Noise) -> Result<Gaussian> {
    Gaussian::fit(&(target.draws)(1_000, noise)?, 1.3)
}

fn tempering(target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    let n = length.chains;
    let base = base(target, noise)?;
    let counted = Counted::new(&*target.energy);
    let bridge = &Bridge::new(Some(&base), &counted);
    let ladder = ParallelTempering::new(&[0.0, 0.25, 0.5, 0.75, 1.0], &[0.2; 5], LEAPFROGS)?;
    let replicas = ladder.init(bridge, &(target.draws)(n, noise)?)?;
    let rounds = (3, (length.warm_up / 3).max(4));
    let ladder = &ladder.tune(bridge, replicas, 0.6, rounds, noise)?.0;
    let last = ladder.betas().len() - 1;
    // Fresh replicas: those of the target begin in its law, the others forget in a few sweeps, but swaps would let the
    // last one see them before; so they run in first.
    let run_in = (length.warm_up / 2).max(10);
    let begin = |noise: &mut Noise| -> Result<Advance<'_>> {
        let mut replicas = ladder.init(bridge, &(target.draws)(n, noise)?)?;
        Ok(Box::new(move |noise| {
            let info = ladder.step(bridge, &mut replicas, noise)?;
            Ok((replicas.at(last)?, info.acceptance[last]))
        }))
    };
    let trace = follow(target, &counted, (length, run_in), begin, noise)?;
    Ok(Trace { step: ladder.betas().len() as f64, ..trace })
}

/// Independent runs, as many as fit the gradients of half the chains; each is a chain of one state, its weighted mean.
fn smc(target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    let base = base(target, noise)?;
    let counted = Counted::new(&*target.energy);
    let runner = Smc { particles: 200, ..Smc::default() };
    // A run tells what one costs. It is no part of the answer, or cheap runs would count for more.
    runner.run(&counted, &base, &[target.dims], noise)?;
    let before = counted.evaluations().examples;
    let runs = (length.gradients * length.chains as u64 / 2).div_ceil(before.max(1)).max(16);
    let mut values = vec![Vec::new(); target.truth.len()];
    let (mut accepted, clock) = (Moments::default(), Instant::now());
    for _ in 0..runs {
        let out = runner.run(&counted, &base, &[target.dims], noise)?;
        let mut means = vec![0.0; target.truth.len()];
        let weights = normalised_weights(&out.log_weights);
        for (x, weight) in rows::host(&out.x)?.chunks(target.dims).zip(weights) {
            means.iter_mut().zip((target.statistics)(x)).for_each(|(mean, v)| *mean += weight * v);
        }
        values.iter_mut().zip(means).for_each(|(of, mean)| of.push(vec![mean]));
        out.acceptance.iter().for_each(|a| accepted.push(*a));
    }
    Ok(Trace {
        values,
        gradients: counted.evaluations().examples - before,
        seconds: clock.elapsed().as_secs_f64(),
        step: runner.step,
        acceptance: accepted.mean(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::targets;
    use super::*;
    use candle_core::DType;
    use genzoo_core::Device;

    /// A fair coin, heads nine times as dear as tails, comes up heads in half of what is seen.
    #[test]
    fn what_is_seen_does_not_depend_on_what_it_costs() -> Result<()> {
        let target = targets::make("two modes")?;
        let counted = &Counted::new(&*target.energy);
        let begin = |_: &mut Noise| -> Result<Advance<'_>> {
            Ok(Box::new(move |noise| {
                let heads = noise.uniforms(1)[0] < 0.5;
                counted.energy(&Tensor::zeros((if heads { 9 } else { 1 }, 2), DType::F64, &Device::Cpu)?)?;
                Ok((Tensor::new(&[[f64::from(heads), 0.0]], &Device::Cpu)?, 1.0))
            }))
        };
        let length = Length { chains: 1, warm_up: 0, gradients: 20_000 };
        let trace = follow(&target, counted, (length, 3), begin, &mut Noise::new(1))?;
        let heads = Moments::of(&trace.values[0][0]);
        assert!(heads.count() >= 400, "{}", heads.count());
        assert!((heads.mean() - 0.5).abs() < 4.0 * heads.standard_error(), "{}", heads.mean());
        // Twenty tosses of the pilot tell the cost of one to a quarter.
        assert!((trace.gradients as f64 / 20_000.0 - 1.0).abs() < 0.9, "{}", trace.gradients);
        Ok(())
    }
}
