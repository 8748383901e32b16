//! All states of a small machine: log Z, the means of the statistics, their covariance, and independent draws.

use genzoo_core::{Error, Noise, Result};
use genzoo_numerics::special::log_sum_exp;
use nalgebra::{DMatrix, DVector};

use super::{Data, Machine};

/// Sites beyond which states are not enumerated.
const MOST: usize = 20;

/// What all states say.
#[derive(Clone, Debug)]
pub struct Moments {
    /// log Σ_s e^{θ·t(s)}, nats.
    pub log_z: f64,
    /// E t = ∇ log Z.
    pub mean: Vec<f64>,
    /// The covariance of t, row-major: the Hessian of log Z and Fisher's information about θ.
    pub covariance: Vec<f64>,
}

impl Machine {
    fn states(&self) -> Result<impl Iterator<Item = Vec<i8>>> {
        if self.sites > MOST {
            return Err(Error::Unsupported(format!(
                "enumerating 2^{} states; fit larger machines by pseudo_likelihood or monte_carlo",
                self.sites
            )));
        }
        let n = self.sites;
        Ok((0..1usize << n).map(move |s| (0..n).map(|i| if s >> i & 1 == 1 { 1 } else { -1 }).collect()))
    }

    /// Every state with its probability.
    ///
    /// # Errors
    /// For more than 20 sites.
    pub fn law(&self) -> Result<Data> {
        let mut data = Data::default();
        self.states()?.for_each(|s| data.push(&s, -self.energy(&s)));
        let log_z = log_sum_exp(&data.weights);
        data.weights.iter_mut().for_each(|w| *w = (*w - log_z).exp());
        Ok(data)
    }

    /// log Z, means and covariance of the statistics.
    ///
    /// # Errors
    /// For more than 20 sites.
    pub fn moments(&self) -> Result<Moments> {
        let states: Vec<Vec<i8>> = self.states()?.collect();
        let logs: Vec<f64> = states.iter().map(|s| -self.energy(s)).collect();
        let log_z = log_sum_exp(&logs);
        let size = self.theta.len();
        let (mut mean, mut second) = (DVector::zeros(size), DMatrix::zeros(size, size));
        for (s, log) in states.iter().zip(logs) {
            let (t, p) = (DVector::from_vec(self.statistics(s)), (log - log_z).exp());
            mean.axpy(p, &t, 1.0);
            second.syger(p, &t, &t, 1.0);
        }
        second.syger(-1.0, &mean, &mean, 1.0);
        second.fill_upper_triangle_with_lower_triangle();
        Ok(Moments { log_z, mean: mean.as_slice().to_vec(), covariance: second.as_slice().to_vec() })
    }

    /// `n` independent draws as weights of the states.
    ///
    /// # Errors
    /// For more than 20 sites.
    pub fn draws(&self, n: usize, noise: &mut Noise) -> Result<Data> {
        let mut law = self.law()?;
        let mut cumulated = Vec::with_capacity(law.weights.len());
        let mut total = 0.0;
        for weight in &mut law.weights {
            total += std::mem::take(weight);
            cumulated.push(total);
        }
        for u in noise.uniforms(n) {
            let state = cumulated.partition_point(|c| *c < u * total).min(cumulated.len() - 1);
            law.weights[state] += 1.0;
        }
        let mut data = Data::default();
        let seen = law.spins.chunks(self.sites.max(1)).zip(&law.weights).filter(|(_, w)| **w > 0.0);
        seen.for_each(|(s, w)| data.push(s, *w));
        Ok(data)
    }
}
