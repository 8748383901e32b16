//! Gibbs with gradients: a Metropolis step on discrete states that asks the slope of U which site to change.
//!
//! ```text
//! q(i, l | x) ∝ exp(−½ (l − x_i) ∂_i U(x)),   l ≠ x_i
//! accept x' = x with x_i ← l with probability min(1, e^{U(x) − U(x')} q(i, x_i | x') / q(i, l | x))
//! ```
//!
//! The exponent is half the first-order change of −U, which is nearly the best of all proposals that know only local
//! changes. Where U is quadratic without squares (Ising, Boltzmann machines) the first order is the change itself.
//! Source: Grathwohl, Swersky, Hashemi, Duvenaud & Maddison (2021), arXiv:2102.04509, Eq. 4–6, Algorithm 1; Zanella
//! (2020), arXiv:1711.07424, for the square root.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::choose;
use crate::mcmc::{Chains, Kernel, Landscape, StepInfo, accept};
use crate::rows;
use crate::special::log_sum_exp;

/// Gibbs with gradients on states `(b, n)` whose sites take these levels.
#[derive(Clone, Debug)]
pub struct GibbsWithGradients {
    levels: Vec<f64>,
}

impl GibbsWithGradients {
    /// A kernel for sites with the given values, at least two.
    ///
    /// # Errors
    /// If there are fewer, or two are equal.
    pub fn new(levels: &[f64]) -> Result<Self> {
        let apart = levels.iter().enumerate().all(|(i, a)| levels[..i].iter().all(|b| a != b));
        if levels.len() < 2 || !apart || levels.iter().any(|l| !l.is_finite()) {
            return Err(Error::config("levels", "at least two different numbers", format!("{levels:?}")));
        }
        Ok(Self { levels: levels.to_vec() })
    }

    /// The level nearest to a value: states may be rounded.
    fn level(&self, value: f64) -> usize {
        let gap = |i: usize| (self.levels[i] - value).abs();
        (1..self.levels.len()).fold(0, |best, i| if gap(i) < gap(best) { i } else { best })
    }

    /// `log q(i, l | x)` of one row, site by site and level by level; −∞ for staying.
    fn proposals(&self, x: &[f64], gradient: &[f64]) -> Vec<f64> {
        let mut logs = Vec::with_capacity(x.len() * self.levels.len());
        for (x, g) in x.iter().zip(gradient) {
            let own = self.level(*x);
            logs.extend(self.levels.iter().enumerate().map(|(l, level)| {
                if l == own { f64::NEG_INFINITY } else { -0.5 * (level - self.levels[own]) * g }
            }));
        }
        let total = log_sum_exp(&logs);
        logs.iter_mut().for_each(|log| *log -= total);
        logs
    }
}

impl Kernel for GibbsWithGradients {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let (b, n) = chains.x.dims2()?;
        if n == 0 {
            return Err(Error::data("sites", "at least 1", 0));
        }
        let q = self.levels.len();
        let (mut x, gradient) = (rows::host(&chains.x)?, rows::host(&chains.gradient)?);
        let (mut ratio, mut moves) = (Vec::with_capacity(b), Vec::with_capacity(b));
        let each = x.chunks_mut(n).zip(gradient.chunks(n)).zip(noise.uniforms(b));
        for ((x, gradient), uniform) in each {
            let logs = self.proposals(x, gradient);
            let chosen = choose(&logs, uniform);
            let (site, level) = (chosen / q, chosen % q);
            moves.push((site, self.level(x[site])));
            ratio.push(-logs[chosen]);
            x[site] = self.levels[level];
        }
        let there = Tensor::from_vec(x.clone(), (b, n), chains.x.device())?.to_dtype(chains.x.dtype())?;
        let proposal = Chains::at(target, &there)?;
        let gradient = rows::host(&proposal.gradient)?;
        let change = (chains.energy.to_dtype(DType::F64)? - proposal.energy.to_dtype(DType::F64)?)?;
        for (i, change) in rows::host(&change)?.into_iter().enumerate() {
            let (site, old) = moves[i];
            let row = i * n..(i + 1) * n;
            ratio[i] += change + self.proposals(&x[row.clone()], &gradient[row])[site * q + old];
        }
        let (info, mask) = accept(&ratio, noise, chains.x.device())?;
        *chains = target.select(&mask, &proposal, chains)?;
        Ok(info)
    }
}
