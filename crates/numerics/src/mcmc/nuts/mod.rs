//! The No-U-Turn sampler: Hamiltonian trajectories that end where they begin to come back.
//!
//! ```text
//! H(x, p) = U(x) + ½|p|²,   p ~ N(0, I);   a trajectory doubles forward or backward in time, by a fair coin, until
//! (x⁺ − x⁻)·p⁻ < 0  or  (x⁺ − x⁻)·p⁺ < 0   across it or across one of its dyadic parts, or H rises by 1000
//! next state ∝ e^{−H} among the states of the trajectory, in favour of the later doublings
//! ```
//!
//! It leaves e^{−U} invariant: from each of its states the same trajectory is built with the same probability. A
//! doubling that turns within itself is not used. Trees are walked state by state, and 1 + depth states are remembered,
//! those with which a later state closes a dyadic part; so chains at different depths share each evaluation, and
//! chains that are done leave the batch. Masses come from [`Preconditioned`](super::Preconditioned), steps from
//! [`WarmUp`](super::WarmUp) with an acceptance of 0.8.
//! Source: Hoffman & Gelman (2014), §3.1; Betancourt (2017), arXiv:1701.02434, App. A.3, for the choice of the state;
//! Phan, Pradhan & Jankowiak (2019), arXiv:1912.11554, App. A, for the walk.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, Kernel, StepInfo};
use crate::rows;

/// The rise of H at which a trajectory counts as diverged.
const DIVERGENCE: f64 = 1_000.0;

/// NUTS with unit masses.
#[derive(Clone, Copy, Debug)]
pub struct Nuts {
    step: f64,
    depth: usize,
}

/// What one transition did, chain by chain.
#[derive(Clone, Debug)]
pub struct NutsInfo {
    /// min(1, e^{H(start) − H}) averaged over the states tried.
    pub acceptance: Vec<f64>,
    /// Whether the chain ended elsewhere.
    pub moved: Vec<bool>,
    /// Doublings that were used.
    pub depth: Vec<usize>,
    /// Gradient evaluations.
    pub leapfrogs: Vec<usize>,
    /// Whether H rose beyond all measure: a sign of a step too large for some corner of the target.
    pub diverged: Vec<bool>,
    /// H(chosen) − H(start).
    pub energy_error: Vec<f64>,
}

impl Nuts {
    /// A kernel with step size `step` > 0 and at most 2^`depth` − 1 leapfrogs, 1 ≤ `depth` ≤ 20.
    ///
    /// # Errors
    /// If either makes no sense.
    pub fn new(step: f64, depth: usize) -> Result<Self> {
        if !(1..=20).contains(&depth) {
            return Err(Error::config("depth", "1 to 20", depth));
        }
        Ok(Self { step: super::positive(step)?, depth })
    }

    /// Moves every chain once, in place, and tells all about it.
    pub fn transition(
        &self,
        target: &dyn Energy,
        chains: &mut Chains,
        noise: &mut Noise,
    ) -> Result<NutsInfo> {
        let momentum = rows::host(&noise.normal_like(&chains.x)?)?;
        self.walk(target, chains, &momentum, noise)
    }

    /// The transition from given momenta, `(b, event…)` row-major.
    fn walk(
        &self,
        target: &dyn Energy,
        chains: &mut Chains,
        momentum: &[f64],
        noise: &mut Noise,
    ) -> Result<NutsInfo> {
        let mut shape = chains.x.dims().to_vec();
        let d = shape.iter().skip(1).product::<usize>().max(1);
        let (x, g) = (rows::host(&chains.x)?, rows::host(&chains.gradient)?);
        let energies = rows::host(&chains.energy)?;
        let starts = x.chunks(d).zip(momentum.chunks(d)).zip(g.chunks(d).zip(energies));
        let mut trees: Vec<Tree> = starts
            .map(|((x, p), (g, energy))| {
                Tree::new(State { x: x.to_vec(), p: p.to_vec(), gradient: g.to_vec(), energy })
            })
            .collect();
        loop {
            let active: Vec<usize> = (0..trees.len()).filter(|&i| !trees[i].done).collect();
            if active.is_empty() {
                break;
            }
            let uniforms = noise.uniforms(3 * active.len());
            let mut ends = Vec::with_capacity(active.len());
            for (&i, u) in active.iter().zip(uniforms.chunks(3)) {
                ends.push(trees[i].advance(self.step, u[0]));
            }
            shape[0] = active.len();
            let flat: Vec<f64> = ends.iter().flat_map(|end| end.x.iter().copied()).collect();
            let at =
                Tensor::from_vec(flat, shape.as_slice(), chains.x.device())?.to_dtype(chains.x.dtype())?;
            let (energy, gradient) = target.energy_and_gradient(&at)?;
            let (energy, gradient) = (rows::host(&energy)?, rows::host(&gradient)?);
            for (((&i, u), mut end), (energy, gradient)) in active
                .iter()
                .zip(uniforms.chunks(3))
                .zip(ends)
                .zip(energy.into_iter().zip(gradient.chunks(d)))
            {
                let tree = &mut trees[i];
                let half = 0.5 * tree.signed(self.step);
                end.p.iter_mut().zip(gradient).for_each(|(p, g)| *p -= half * g);
                end.gradient = gradient.to_vec();
                end.energy = energy;
                tree.take(end, u[1], u[2], self.depth);
            }
        }
        let host = |values: Vec<f64>, like: &Tensor| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, like.shape(), like.device())?.to_dtype(like.dtype())?)
        };
        let all = |of: fn(&State) -> &Vec<f64>| -> Vec<f64> {
            trees.iter().flat_map(|t| of(&t.chosen).iter().copied()).collect()
        };
        *chains = Chains {
            x: host(all(|s| &s.x), &chains.x)?,
            energy: host(trees.iter().map(|t| t.chosen.energy).collect(), &chains.energy)?,
            gradient: host(all(|s| &s.gradient), &chains.gradient)?,
        };
        Ok(NutsInfo {
            acceptance: trees.iter().map(|t| t.acceptance / t.leapfrogs.max(1) as f64).collect(),
            moved: trees.iter().map(|t| t.moved).collect(),
            depth: trees.iter().map(|t| t.depth).collect(),
            leapfrogs: trees.iter().map(|t| t.leapfrogs).collect(),
            diverged: trees.iter().map(|t| t.diverged).collect(),
            energy_error: trees.iter().map(|t| t.chosen.hamiltonian() - t.start).collect(),
        })
    }
}

impl Kernel for Nuts {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let info = self.transition(target, chains, noise)?;
        Ok(StepInfo { acceptance: info.acceptance, accepted: info.moved, energy_error: info.energy_error })
    }
}

/// A state of a trajectory.
#[derive(Clone, Debug)]
struct State {
    x: Vec<f64>,
    p: Vec<f64>,
    gradient: Vec<f64>,
    energy: f64,
}

impl State {
    fn hamiltonian(&self) -> f64 {
        self.energy + 0.5 * self.p.iter().map(|p| p * p).sum::<f64>()
    }
}

/// The trajectory of one chain, and the doubling it is in.
struct Tree {
    left: State,
    right: State,
    chosen: State,
    start: f64,
    log_weight: f64,
    depth: usize,
    done: bool,
    diverged: bool,
    moved: bool,
    leapfrogs: usize,
    acceptance: f64,
    // The doubling.
    forward: bool,
    leaves: usize,
    candidate: State,
    candidate_weight: f64,
    marks: Vec<State>,
}

impl Tree {
    fn new(state: State) -> Self {
        let start = state.hamiltonian();
        Self {
            left: state.clone(),
            right: state.clone(),
            chosen: state.clone(),
            start,
            log_weight: 0.0,
            depth: 0,
            // Where the energy is no number there is nowhere to go from.
            done: !start.is_finite(),
            diverged: false,
            moved: false,
            leapfrogs: 0,
            acceptance: 0.0,
            forward: true,
            leaves: 0,
            candidate_weight: f64::NEG_INFINITY,
            marks: vec![],
            candidate: state,
        }
    }

    fn signed(&self, step: f64) -> f64 {
        if self.forward { step } else { -step }
    }

    /// Half a kick and a drift from the edge of the trajectory; `coin` decides at the start of a doubling where to.
    fn advance(&mut self, step: f64, coin: f64) -> State {
        if self.leaves == 0 {
            self.forward = coin < 0.5;
            self.candidate_weight = f64::NEG_INFINITY;
        }
        let step = self.signed(step);
        let mut state = if self.forward { self.right.clone() } else { self.left.clone() };
        state.p.iter_mut().zip(&state.gradient).for_each(|(p, g)| *p -= 0.5 * step * g);
        state.x.iter_mut().zip(&state.p).for_each(|(x, p)| *x += step * p);
        state
    }

    /// Takes a new state in; `leaf` and `doubling` are the uniforms of the two choices.
    fn take(&mut self, state: State, leaf: f64, doubling: f64, deepest: usize) {
        let rise = state.hamiltonian() - self.start;
        self.leapfrogs += 1;
        if rise.is_nan() || rise > DIVERGENCE {
            (self.diverged, self.done) = (true, true);
            return;
        }
        self.acceptance += (-rise).min(0.0).exp();
        self.candidate_weight = log_add(self.candidate_weight, -rise);
        if leaf.ln() < -rise - self.candidate_weight {
            self.candidate = state.clone();
        }
        let n = self.leaves;
        self.leaves += 1;
        // Leaf n closes the dyadic parts that end with it, one per trailing 1 of n; part k began at the leaf kept in
        // slot `last` − k.
        let last = (n >> 1).count_ones() as usize;
        let closed = n.trailing_ones() as usize;
        if closed == 0 && last < self.marks.len() {
            self.marks[last] = state.clone();
        } else if closed == 0 {
            self.marks.push(state.clone());
        } else if self.marks[last + 1 - closed..=last].iter().any(|mark| turns(mark, &state, self.forward)) {
            self.done = true;
            return;
        }
        let whole = self.leaves == 1 << self.depth;
        if self.forward {
            self.right = state
        } else {
            self.left = state
        }
        if !whole {
            return;
        }
        if doubling.ln() < self.candidate_weight - self.log_weight {
            self.chosen = self.candidate.clone();
            self.moved = true;
        }
        self.log_weight = log_add(self.log_weight, self.candidate_weight);
        self.depth += 1;
        self.leaves = 0;
        self.done = self.depth == deepest || turns(&self.left, &self.right, true);
    }
}

/// Whether the stretch between two states begins to come back at either end.
fn turns(from: &State, to: &State, forward: bool) -> bool {
    let sign = if forward { 1.0 } else { -1.0 };
    let along = |p: &[f64]| -> f64 { (0..p.len()).map(|j| sign * (to.x[j] - from.x[j]) * p[j]).sum() };
    along(&from.p) < 0.0 || along(&to.p) < 0.0
}

fn log_add(a: f64, b: f64) -> f64 {
    let top = a.max(b);
    if top == f64::NEG_INFINITY { top } else { top + (-(a - b).abs()).exp().ln_1p() }
}

#[cfg(test)]
mod tests;
