//! Boltzmann machines without hidden units: Ising models with any couplings and fields, and how to learn them.
//!
//! ```text
//! p(s) = e^{θ·t(s)} / Z,   θ·t(s) = Σ_⟨ij⟩ J_ij s_i s_j + Σ_i h_i s_i,   s_i = ±1,   θ = (couplings, fields)
//! ```
//!
//! It is an exponential family: the statistics t are sufficient, log Z is convex in θ, and the gradient of the
//! log-likelihood is E_data t − E_model t.
//!
//! | fit                              | needs                      | error with M samples                        |
//! |----------------------------------|----------------------------|---------------------------------------------|
//! | [`Machine::maximum_likelihood`]  | all 2ⁿ states, n ≤ 20      | F⁻¹/M, F the covariance of t (Cramér–Rao)    |
//! | [`Machine::pseudo_likelihood`]   | the samples                | H⁻¹ V H⁻¹/M ([`Machine::sandwich`])          |
//! | [`Machine::monte_carlo`]         | chains of the model        | F⁻¹/M, and the noise of the chains          |
//!
//! Source: Ackley, Hinton & Sejnowski (1985); Besag (1975) for the pseudo-likelihood; Hyvärinen (2006) for it on
//! Boltzmann machines; Godambe (1960) for its error; Carbone, "Hitchhiker's guide on energy-based models", Eq. 108.

mod exact;
mod learn;

use genzoo_core::{Error, Noise, Result};

pub use exact::Moments;
pub use learn::Schedule;

/// A machine: which sites are bound, and θ.
#[derive(Clone, Debug)]
pub struct Machine {
    sites: usize,
    bonds: Vec<(usize, usize)>,
    theta: Vec<f64>,
    around: Vec<Vec<(usize, usize)>>, // of each site: neighbour and number of the bond
}

/// Configurations with weights, which need not sum to 1.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Spins, one configuration after the other.
    pub spins: Vec<i8>,
    /// One weight per configuration.
    pub weights: Vec<f64>,
}

impl Machine {
    /// `sites` spins with the given bonds, all couplings and fields 0.
    ///
    /// # Errors
    /// If a bond is one of a site with itself, or twice there, or leads nowhere.
    pub fn new(sites: usize, bonds: &[(usize, usize)]) -> Result<Self> {
        let mut around: Vec<Vec<(usize, usize)>> = vec![Vec::new(); sites];
        for (k, &(i, j)) in bonds.iter().enumerate() {
            let good = i != j && i < sites && j < sites && !around[i].iter().any(|(n, _)| *n == j);
            if !good {
                let expected = format!("two different sites below {sites}, each pair once");
                return Err(Error::data(format!("bond {k}"), expected, format!("({i}, {j})")));
            }
            around[i].push((j, k));
            around[j].push((i, k));
        }
        Ok(Self { sites, bonds: bonds.to_vec(), theta: vec![0.0; bonds.len() + sites], around })
    }

    /// The same bonds with couplings and fields `theta`, couplings first.
    ///
    /// # Errors
    /// If they are not as many, or not finite.
    pub fn with(mut self, theta: Vec<f64>) -> Result<Self> {
        if theta.len() != self.theta.len() || theta.iter().any(|t| !t.is_finite()) {
            let expected = format!("{} couplings and {} fields, finite", self.bonds.len(), self.sites);
            return Err(Error::data("parameters of a Boltzmann machine", expected, theta.len()));
        }
        self.theta = theta;
        Ok(self)
    }

    /// Number of spins.
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// The couplings, bond by bond, then the fields.
    pub fn theta(&self) -> &[f64] {
        &self.theta
    }

    /// The couplings alone.
    pub fn couplings(&self) -> &[f64] {
        &self.theta[..self.bonds.len()]
    }

    /// t(s): the products of bound spins, then the spins.
    pub fn statistics(&self, spins: &[i8]) -> Vec<f64> {
        let products = self.bonds.iter().map(|&(i, j)| f64::from(spins[i] * spins[j]));
        products.chain(spins.iter().map(|s| f64::from(*s))).collect()
    }

    /// U(s) = −θ·t(s).
    pub fn energy(&self, spins: &[i8]) -> f64 {
        -self.theta.iter().zip(self.statistics(spins)).map(|(w, t)| w * t).sum::<f64>()
    }

    /// H_i = h_i + Σ_j J_ij s_j: p(s_i | others) ∝ e^{s_i H_i}.
    fn field(&self, spins: &[i8], i: usize) -> f64 {
        let bound = self.around[i].iter().map(|&(j, k)| self.theta[k] * f64::from(spins[j]));
        self.theta[self.bonds.len() + i] + bound.sum::<f64>()
    }

    /// Draws every spin in turn given the others.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn heat_bath(&self, spins: &mut [i8], noise: &mut Noise) -> Result<()> {
        if spins.len() != self.sites {
            return Err(Error::data("spins", format!("{} of them", self.sites), spins.len()));
        }
        for (i, u) in noise.uniforms(self.sites).into_iter().enumerate() {
            // u < 1/(1 + e^{−2H})
            spins[i] = if u * (1.0 + (-2.0 * self.field(spins, i)).exp()) < 1.0 { 1 } else { -1 };
        }
        Ok(())
    }

    /// `chains` independent chains from fair coins: after `burn` sweeps each gives a configuration every `stride` sweeps,
    /// `keep` of them.
    ///
    /// # Errors
    /// None with a machine that was made by its constructors.
    pub fn sample(
        &self,
        chains: usize,
        (burn, stride, keep): (usize, usize, usize),
        noise: &mut Noise,
    ) -> Result<Data> {
        let mut data = Data::default();
        for chain in 0..chains {
            let mut noise = noise.at(chain as u64);
            let mut spins = coins(self.sites, &mut noise);
            (0..burn).try_for_each(|_| self.heat_bath(&mut spins, &mut noise))?;
            for _ in 0..keep {
                (0..stride).try_for_each(|_| self.heat_bath(&mut spins, &mut noise))?;
                data.push(&spins, 1.0);
            }
        }
        Ok(data)
    }
}

impl Data {
    /// Takes a configuration in.
    pub fn push(&mut self, spins: &[i8], weight: f64) {
        self.spins.extend_from_slice(spins);
        self.weights.push(weight);
    }

    /// Configurations with their shares of the total weight.
    pub fn shares(&self) -> impl Iterator<Item = (&[i8], f64)> {
        let total: f64 = self.weights.iter().sum();
        let sites = self.spins.len() / self.weights.len().max(1);
        self.spins.chunks(sites.max(1)).zip(self.weights.iter().map(move |w| w / total))
    }

    /// Every `n`th configuration.
    #[must_use]
    pub fn every(&self, n: usize) -> Self {
        let mut data = Self::default();
        let sites = self.spins.len() / self.weights.len().max(1);
        let rows = self.spins.chunks(sites.max(1)).zip(&self.weights).step_by(n.max(1));
        rows.for_each(|(spins, weight)| data.push(spins, *weight));
        data
    }
}

fn coins(n: usize, noise: &mut Noise) -> Vec<i8> {
    noise.words(n).into_iter().map(|w| if w >> 31 == 0 { -1 } else { 1 }).collect()
}

#[cfg(test)]
mod tests;
