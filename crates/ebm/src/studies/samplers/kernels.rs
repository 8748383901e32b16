//! Every sampler of `numerics::mcmc` behind one door: warmed up, started in the law, run for as many gradients as the others.

use std::time::Instant;

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};
use genzoo_numerics::mcmc::{
    Adapted, Baoab, Bridge, Chains, Hmc, Jittered, Kernel, Mala, Mass, Metropolis, Nuts, ParallelTempering,
    Preconditioned, Smc, StepInfo, Ula, WarmUp,
};
use genzoo_numerics::special::Moments;
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

/// Collects statistics of the states of all chains.
struct Collector<'a> {
    target: &'a Target,
    stride: u64,
    next: u64,
    values: Vec<Vec<Vec<f64>>>,
}

impl<'a> Collector<'a> {
    /// Looks at a state whenever `stride` more gradients per chain have been spent.
    fn new(target: &'a Target, length: Length) -> Self {
        let values = vec![vec![Vec::new(); length.chains]; target.truth.len()];
        Self { target, stride: (length.gradients / SEEN as u64).max(1), next: 0, values }
    }

    fn look(&mut self, x: &Tensor, spent: u64) -> Result<()> {
        if spent < self.next {
            return Ok(());
        }
        self.next = spent + self.stride;
        for (c, row) in rows::host(x)?.chunks(self.target.dims).enumerate() {
            for (of, value) in self.values.iter_mut().zip((self.target.statistics)(row)) {
                of[c].push(value);
            }
        }
        Ok(())
    }
}

fn markov(sampler: Sampler, target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    let n = length.chains;
    let mut chains = Chains::at(&*target.energy, &(target.draws)(n, noise)?)?;
    let (acceptance, step) = sampler.aim();
    let warm_up = WarmUp { steps: length.warm_up, acceptance, step, mass: sampler.mass() };
    let Adapted { step, scale, .. } =
        warm_up.run(|step| sampler.kernel(step), &*target.energy, &mut chains, noise)?;
    // Adaptation looked at these chains; fresh ones have no memory of it and begin in the law.
    let counted = Counted::new(&*target.energy);
    let start = (target.draws)(n, noise)?;
    let mut chains = Chains::at(&counted, &start)?;
    let before = counted.evaluations().examples;
    let mut collector = Collector::new(target, length);
    let (mut accepted, clock) = (Moments::default(), Instant::now());
    let spent = || (counted.evaluations().examples - before) / n as u64;
    // Uncorrected kernels take smaller steps than their corrected kin, or their bias is all there is to see.
    let step = if sampler == Sampler::Ula { 0.25 * step } else { step };
    if sampler == Sampler::Baoab {
        let kernel = Baoab::new(step, 1.0)?;
        let mut phase = kernel.init(&counted, &start, noise)?;
        while spent() < length.gradients {
            kernel.step(&counted, &mut phase, noise)?;
            collector.look(&phase.chains.x, spent())?;
        }
        accepted.push(1.0);
    } else {
        let kernel: Box<dyn Kernel> = match sampler {
            Sampler::Ula => Box::new(Ula::new(step)?),
            _ if sampler.mass() == Mass::Unit => Box::new(sampler.kernel(step)?),
            _ => Box::new(Preconditioned::new(sampler.kernel(step)?, scale)),
        };
        while spent() < length.gradients {
            accepted.push(kernel.step(&counted, &mut chains, noise)?.mean_acceptance());
            collector.look(&chains.x, spent())?;
        }
    }
    Ok(Trace {
        values: collector.values,
        gradients: counted.evaluations().examples - before,
        seconds: clock.elapsed().as_secs_f64(),
        step,
        acceptance: accepted.mean(),
    })
}

/// A base for tempering: as wide as the target.
fn base(target: &Target, noise: &mut Noise) -> Result<Gaussian> {
    Gaussian::fit(&(target.draws)(1_000, noise)?, 1.3)
}

fn tempering(target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    let n = length.chains;
    let base = base(target, noise)?;
    let counted = Counted::new(&*target.energy);
    let bridge = Bridge::new(Some(&base), &counted);
    let ladder = ParallelTempering::new(&[0.0, 0.25, 0.5, 0.75, 1.0], &[0.2; 5], LEAPFROGS)?;
    let replicas = ladder.init(&bridge, &(target.draws)(n, noise)?)?;
    let rounds = (3, (length.warm_up / 3).max(4));
    let (ladder, _) = ladder.tune(&bridge, replicas, 0.6, rounds, noise)?;
    // Fresh replicas: those of the target begin in its law, the others forget in a few sweeps, but swaps would let the
    // last one see them before; so they run in first.
    let mut replicas = ladder.init(&bridge, &(target.draws)(n, noise)?)?;
    for _ in 0..(length.warm_up / 2).max(10) {
        ladder.step(&bridge, &mut replicas, noise)?;
    }
    let last = ladder.betas().len() - 1;
    let before = counted.evaluations().examples;
    let mut collector = Collector::new(target, length);
    let (mut accepted, clock) = (Moments::default(), Instant::now());
    let spent = || (counted.evaluations().examples - before) / n as u64;
    while spent() < length.gradients {
        let info = ladder.step(&bridge, &mut replicas, noise)?;
        accepted.push(info.acceptance[last]);
        collector.look(&replicas.at(last)?, spent())?;
    }
    Ok(Trace {
        values: collector.values,
        gradients: counted.evaluations().examples - before,
        seconds: clock.elapsed().as_secs_f64(),
        step: ladder.betas().len() as f64,
        acceptance: accepted.mean(),
    })
}

/// Independent runs, as many as fit the gradients of half the chains; each is a chain of one state, its weighted mean.
fn smc(target: &Target, length: Length, noise: &mut Noise) -> Result<Trace> {
    let base = base(target, noise)?;
    let counted = Counted::new(&*target.energy);
    let runner = Smc { particles: 200, ..Smc::default() };
    let mut values = vec![Vec::new(); target.truth.len()];
    let (mut accepted, clock) = (Moments::default(), Instant::now());
    let budget = length.gradients * length.chains as u64 / 2;
    while counted.evaluations().examples < budget || values[0].len() < 16 {
        let out = runner.run(&counted, &base, &[target.dims], noise)?;
        let top = out.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sums, mut total) = (vec![0.0; target.truth.len()], 0.0);
        for (x, log) in rows::host(&out.x)?.chunks(target.dims).zip(&out.log_weights) {
            let weight = (log - top).exp();
            sums.iter_mut().zip((target.statistics)(x)).for_each(|(s, v)| *s += weight * v);
            total += weight;
        }
        values.iter_mut().zip(sums).for_each(|(of, sum)| of.push(vec![sum / total]));
        out.acceptance.iter().for_each(|a| accepted.push(*a));
    }
    Ok(Trace {
        values,
        gradients: counted.evaluations().examples,
        seconds: clock.elapsed().as_secs_f64(),
        step: runner.step,
        acceptance: accepted.mean(),
    })
}
