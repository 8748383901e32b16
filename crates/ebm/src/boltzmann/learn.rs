//! Learning couplings and fields from configurations.
//!
//! ```text
//! likelihood          ∇ = E_data t − E_model t                            Hessian −Cov_model t
//! pseudo-likelihood   Σ_i log p(s_i | others) = Σ_i (s_i H_i − log 2 cosh H_i)   ∇ = Σ_i (s_i − tanh H_i) f_i,   f_i = ∂H_i/∂θ
//! ```
//!
//! Both are concave; Newton's method with halved steps finds the maximum where there is one. Where the data leave a
//! direction free (two spins that were always alike) there is none, and that is an error.

use genzoo_core::{Error, Noise, Result};
use nalgebra::{DMatrix, DVector};

use super::{Data, Machine, coins};

/// How chains learn: `rounds` steps of `rate`, one sweep of `chains` chains each; the second half is averaged.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Number of steps.
    pub rounds: usize,
    /// Number of persistent chains.
    pub chains: usize,
    /// Step over the variance of each statistic.
    pub rate: f64,
}

/// A coupling or field of this size leaves one case in e²⁴: no sample determines it, so the climb goes to infinity.
const BEYOND: f64 = 12.0;

/// Value, gradient and the negative Hessian of a concave function.
type Local = (f64, DVector<f64>, DMatrix<f64>);

impl Machine {
    /// The machine whose mean statistics are those of the data.
    ///
    /// # Errors
    /// For more than 20 sites, or if the likelihood has no maximum.
    pub fn maximum_likelihood(&self, data: &Data) -> Result<Self> {
        let wanted = self.mean_statistics(data)?;
        self.climb("likelihood", |machine| {
            let moments = machine.moments()?;
            let size = wanted.len();
            let value = machine.theta.iter().zip(&wanted).map(|(w, t)| w * t).sum::<f64>() - moments.log_z;
            let gradient = wanted.iter().zip(&moments.mean).map(|(a, b)| a - b);
            let gradient = DVector::from_iterator(size, gradient);
            Ok((value, gradient, DMatrix::from_vec(size, size, moments.covariance)))
        })
    }

    /// The machine under which each spin is predicted best from the others.
    ///
    /// # Errors
    /// If the pseudo-likelihood has no maximum.
    pub fn pseudo_likelihood(&self, data: &Data) -> Result<Self> {
        self.check(data)?;
        self.climb("pseudo-likelihood", |machine| Ok(machine.pseudo(data)))
    }

    /// The machine whose statistics chains of its own and the data agree on: Boltzmann-machine learning, with chains
    /// that go on where they were and a step for each statistic by its variance.
    ///
    /// # Errors
    /// If the data have another number of sites.
    pub fn monte_carlo(&self, data: &Data, schedule: Schedule, noise: &mut Noise) -> Result<Self> {
        let wanted = self.mean_statistics(data)?;
        let mut machine = self.clone();
        let mut walkers: Vec<Vec<i8>> = (0..schedule.chains).map(|_| coins(self.sites, noise)).collect();
        let mut average = vec![0.0; wanted.len()];
        let averaged = schedule.rounds.div_ceil(2);
        for round in 0..schedule.rounds {
            let mut mean = vec![0.0; wanted.len()];
            for spins in &mut walkers {
                machine.heat_bath(spins, noise)?;
                for (k, &(i, j)) in machine.bonds.iter().enumerate() {
                    mean[k] += f64::from(spins[i] * spins[j]);
                }
                mean[machine.bonds.len()..].iter_mut().zip(spins).for_each(|(m, s)| *m += f64::from(*s));
            }
            for ((theta, want), mean) in machine.theta.iter_mut().zip(&wanted).zip(mean) {
                // A statistic that never varied in the data still may move.
                let variance = (1.0 - want * want).max(1e-2);
                *theta += schedule.rate * (want - mean / schedule.chains.max(1) as f64) / variance;
            }
            if round + averaged >= schedule.rounds {
                average.iter_mut().zip(&machine.theta).for_each(|(a, t)| *a += t / averaged as f64);
            }
        }
        machine.with(average)
    }

    /// H⁻¹ V H⁻¹, row-major: M times the covariance of the pseudo-likelihood's maximum from M configurations of the law
    /// that `data` stand for, H the mean negative Hessian and V the covariance of the gradient at this machine. With
    /// every state and its probability it is exact; with samples it is an estimate, whose V uses every `thin`th.
    ///
    /// # Errors
    /// If H has no inverse.
    pub fn sandwich(&self, data: &Data, thin: usize) -> Result<Vec<f64>> {
        self.check(data)?;
        let size = self.theta.len();
        let (_, _, hessian) = self.pseudo(data);
        let inverse = hessian.cholesky().ok_or_else(|| free("pseudo-likelihood"))?.inverse();
        let mut out = DMatrix::zeros(size, size);
        for (spins, share) in data.every(thin).shares() {
            let mut gradient = DVector::zeros(size);
            for i in 0..self.sites {
                let residual = f64::from(spins[i]) - self.field(spins, i).tanh();
                gradient[self.bonds.len() + i] += residual;
                self.around[i].iter().for_each(|&(j, k)| gradient[k] += residual * f64::from(spins[j]));
            }
            let pulled = &inverse * gradient;
            out.syger(share, &pulled, &pulled, 1.0);
        }
        out.fill_upper_triangle_with_lower_triangle();
        Ok(out.as_slice().to_vec())
    }

    fn pseudo(&self, data: &Data) -> Local {
        let size = self.theta.len();
        let (mut value, mut gradient, mut hessian) = (0.0, DVector::zeros(size), DMatrix::zeros(size, size));
        let mut features: Vec<(usize, f64)> = Vec::new();
        for (spins, share) in data.shares() {
            for i in 0..self.sites {
                features.clear();
                features.push((self.bonds.len() + i, 1.0));
                features.extend(self.around[i].iter().map(|&(j, k)| (k, f64::from(spins[j]))));
                let (s, field) = (f64::from(spins[i]), self.field(spins, i));
                let tanh = field.tanh();
                // log 2 cosh H = |H| + log(1 + e^{−2|H|})
                value += share * (s * field - field.abs() - (-2.0 * field.abs()).exp().ln_1p());
                let curvature = share * (1.0 - tanh * tanh);
                for &(a, f) in &features {
                    gradient[a] += share * (s - tanh) * f;
                    features.iter().for_each(|&(b, g)| hessian[(a, b)] += curvature * f * g);
                }
            }
        }
        (value, gradient, hessian)
    }

    fn climb(&self, what: &str, local: impl Fn(&Self) -> Result<Local>) -> Result<Self> {
        let mut machine = self.clone();
        let (mut value, mut gradient, mut hessian) = local(&machine)?;
        for _ in 0..100 {
            let factor = hessian.cholesky().ok_or_else(|| free(what))?;
            let step = factor.solve(&gradient);
            // Half the decrement is what the step should gain.
            let decrement = gradient.dot(&step);
            if decrement < 1e-20 {
                return Ok(machine);
            }
            let mut size = 1.0;
            loop {
                let moved = machine.theta.iter().zip(step.iter()).map(|(t, s)| t + size * s).collect();
                let next = machine.clone().with(moved)?;
                if next.theta.iter().any(|t| t.abs() > BEYOND) {
                    return Err(free(what));
                }
                let at = local(&next)?;
                // Near the maximum gains drown in the round-off of a sum over all configurations, and full steps are right.
                let near = decrement < 1e-8 * (1.0 + value.abs());
                if near || at.0 >= value + 0.25 * size * decrement {
                    machine = next;
                    (value, gradient, hessian) = at;
                    break;
                }
                size *= 0.5;
                if size < 1e-6 {
                    return Err(free(what));
                }
            }
        }
        Err(free(what))
    }

    fn mean_statistics(&self, data: &Data) -> Result<Vec<f64>> {
        self.check(data)?;
        let mut mean = vec![0.0; self.theta.len()];
        for (spins, share) in data.shares() {
            mean.iter_mut().zip(self.statistics(spins)).for_each(|(m, t)| *m += share * t);
        }
        Ok(mean)
    }

    fn check(&self, data: &Data) -> Result<()> {
        if !data.weights.is_empty() && data.spins.len() == self.sites * data.weights.len() {
            return Ok(());
        }
        let expected = format!("{} spins for each of at least one configuration", self.sites);
        let got = format!("{} spins, {} weights", data.spins.len(), data.weights.len());
        Err(Error::data("configurations", expected, got))
    }
}

fn free(what: &str) -> Error {
    Error::Unsupported(format!(
        "the {what} of these configurations has no maximum: some couplings or fields are not determined by them; take more configurations or fewer bonds"
    ))
}
