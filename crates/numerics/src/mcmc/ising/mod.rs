//! The Ising model on a square torus, and chains that move its clusters.
//!
//! ```text
//! E(s) = −Σ_⟨ij⟩ s_i s_j,   s_i = ±1,   p(s) ∝ e^{−β E(s)},   each site bound to its right and its lower neighbour
//! ```
//!
//! | update                       | moves                                                              | z      |
//! |------------------------------|--------------------------------------------------------------------|--------|
//! | [`Ising::heat_bath`]         | each spin given its neighbours                                     | ≈ 2.17 |
//! | [`Ising::metropolis`]        | each spin flipped with probability min(1, e^{−βΔE})                 | ≈ 2.17 |
//! | [`Ising::swendsen_wang`]     | all clusters of like spins, bonds closed with probability 1 − e^{−2β} | ≲ 0.35 |
//! | [`Ising::wolff`]             | the cluster of one random site                                     | ≲ 0.35 |
//!
//! z says how correlation times grow with the side at the critical point, τ ∝ L^z: local updates slow down, clusters
//! hardly do. The closed forms to judge them by are in [`exact`].
//! Source: Ising (1925); Swendsen & Wang (1987); Wolff (1989); Newman & Barkema (1999), §3–4, for z.

mod cluster;
pub mod exact;

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::discrete::Discrete;
use crate::rows;

/// The model on `side` × `side` sites at inverse temperature β, coupling 1 and no field.
#[derive(Clone, Debug)]
pub struct Ising {
    side: usize,
    beta: f64,
    neighbours: Vec<[usize; 4]>, // right, down, left, up
}

impl Ising {
    /// A torus of `side` ≥ 2 at `beta` ≥ 0. On side 2 each pair of neighbours is bound twice.
    ///
    /// # Errors
    /// If either makes no sense.
    pub fn new(side: usize, beta: f64) -> Result<Self> {
        if side < 2 {
            return Err(Error::config("side", "at least 2", side));
        }
        if !(beta.is_finite() && beta >= 0.0) {
            return Err(Error::config("beta", "a finite number from 0", beta));
        }
        let at = |row: usize, column: usize| (row % side) * side + column % side;
        let around = |i: usize| {
            let (r, c) = (i / side, i % side);
            [at(r, c + 1), at(r + 1, c), at(r, c + side - 1), at(r + side - 1, c)]
        };
        Ok(Self { side, beta, neighbours: (0..side * side).map(around).collect() })
    }

    /// Number of sites.
    pub fn sites(&self) -> usize {
        self.side * self.side
    }

    /// Independent fair coins: the law at β = 0.
    pub fn hot(&self, noise: &mut Noise) -> Vec<i8> {
        noise.words(self.sites()).into_iter().map(|w| if w >> 31 == 0 { -1 } else { 1 }).collect()
    }

    /// E(s) of one configuration, row by row.
    pub fn total_energy(&self, spins: &[i8]) -> f64 {
        let bonds = spins.iter().zip(&self.neighbours);
        -bonds.map(|(s, near)| f64::from(s * (spins[near[0]] + spins[near[1]]))).sum::<f64>()
    }

    /// The sum of the spins over their number.
    pub fn magnetisation(&self, spins: &[i8]) -> f64 {
        spins.iter().map(|s| f64::from(*s)).sum::<f64>() / self.sites() as f64
    }

    /// Draws every spin in turn given its neighbours.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn heat_bath(&self, spins: &mut [i8], noise: &mut Noise) -> Result<()> {
        self.sweep(spins, noise, |spin, field| {
            // P(+1) = 1/(1 + e^{−2βf}); what is returned is the probability to flip.
            1.0 / (1.0 + (2.0 * self.beta * f64::from(spin * field)).exp())
        })
    }

    /// Offers every spin in turn a flip.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn metropolis(&self, spins: &mut [i8], noise: &mut Noise) -> Result<()> {
        self.sweep(spins, noise, |spin, field| (-2.0 * self.beta * f64::from(spin * field)).exp())
    }

    /// Flips each spin with a probability that depends on it and on the sum of its neighbours.
    fn sweep(&self, spins: &mut [i8], noise: &mut Noise, flip: impl Fn(i8, i8) -> f64) -> Result<()> {
        self.check(spins)?;
        // Spin times field takes the values −4, −2, 0, 2, 4.
        let table: [f64; 5] = std::array::from_fn(|k| flip(1, 2 * k as i8 - 4));
        for (i, u) in noise.uniforms(spins.len()).into_iter().enumerate() {
            let field: i8 = self.neighbours[i].iter().map(|&j| spins[j]).sum();
            if u < table[((spins[i] * field + 4) / 2) as usize] {
                spins[i] = -spins[i];
            }
        }
        Ok(())
    }

    fn check(&self, spins: &[i8]) -> Result<()> {
        if spins.len() == self.sites() {
            return Ok(());
        }
        Err(Error::data("spins", format!("{} of them", self.sites()), spins.len()))
    }

    /// Rows of spins, `(b, side²)`, as numbers.
    fn rows(&self, x: &Tensor) -> Result<Vec<f64>> {
        if x.dims().len() != 2 || x.dim(1)? != self.sites() {
            return Err(Error::data("spins", format!("rows of {}", self.sites()), format!("{:?}", x.dims())));
        }
        rows::host(x)
    }
}

/// `U = β E` of rows of spins, `(b, side²)`.
impl Energy for Ising {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut energies, mut gradient) = (vec![], vec![]);
        for spins in self.rows(x)?.chunks(self.sites()) {
            let fields = self.neighbours.iter().map(|near| near.iter().map(|&j| spins[j]).sum::<f64>());
            let slopes: Vec<f64> = fields.map(|field| -self.beta * field).collect();
            energies.push(0.5 * spins.iter().zip(&slopes).map(|(s, g)| s * g).sum::<f64>());
            gradient.extend(slopes);
        }
        let b = energies.len();
        let energies = Tensor::from_vec(energies, b, x.device())?.to_dtype(x.dtype())?;
        Ok((energies, Tensor::from_vec(gradient, x.shape(), x.device())?.to_dtype(x.dtype())?))
    }
}

impl Discrete for Ising {
    fn levels(&self) -> &[f64] {
        &[-1.0, 1.0]
    }

    /// `±β` times the local field.
    fn conditional(&self, x: &Tensor, site: usize) -> Result<Tensor> {
        let spins = self.rows(x)?;
        let field = |row: &[f64]| self.beta * self.neighbours[site].iter().map(|&j| row[j]).sum::<f64>();
        let energies: Vec<f64> =
            spins.chunks(self.sites()).map(field).flat_map(|field| [field, -field]).collect();
        Ok(Tensor::from_vec(energies, (x.dim(0)?, 2), x.device())?)
    }
}

#[cfg(test)]
mod tests;
