//! Patterns of spins, one after the other.

use genzoo_core::{Error, Noise, Result};

/// `count` patterns of `sites` spins ±1.
#[derive(Clone, Debug)]
pub struct Patterns {
    sites: usize,
    spins: Vec<i8>, // (count, sites)
}

impl Patterns {
    /// Patterns row by row.
    ///
    /// # Errors
    /// If rows are not whole, or a spin is neither 1 nor −1.
    pub fn new(sites: usize, spins: Vec<i8>) -> Result<Self> {
        if sites == 0 || !spins.len().is_multiple_of(sites) {
            return Err(Error::data("patterns", format!("rows of {sites} spins"), spins.len()));
        }
        if let Some(bad) = spins.iter().find(|s| s.abs() != 1) {
            return Err(Error::data("spin", "1 or -1", bad));
        }
        Ok(Self { sites, spins })
    }

    /// Independent fair coins.
    ///
    /// # Errors
    /// If there are no sites.
    pub fn random(sites: usize, count: usize, noise: &mut Noise) -> Result<Self> {
        let coins = noise.words((sites * count).div_ceil(32));
        let bit = |i: usize| if coins[i / 32] >> (i % 32) & 1 == 1 { 1 } else { -1 };
        Self::new(sites, (0..sites * count).map(bit).collect())
    }

    /// Number of spins of each.
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// Number of patterns.
    pub fn count(&self) -> usize {
        self.spins.len() / self.sites
    }

    /// Pattern number `mu`.
    pub fn row(&self, mu: usize) -> &[i8] {
        &self.spins[mu * self.sites..(mu + 1) * self.sites]
    }

    /// All of them, row by row.
    pub fn spins(&self) -> &[i8] {
        &self.spins
    }

    /// `ξ^μ·s` of every pattern.
    pub fn overlaps(&self, state: &[i8]) -> Vec<i32> {
        self.spins.chunks(self.sites).map(|row| overlap(row, state)).collect()
    }

    /// Pattern number `mu` with `flips` different spins turned over.
    pub fn corrupted(&self, mu: usize, flips: usize, noise: &mut Noise) -> Vec<i8> {
        let mut state = self.row(mu).to_vec();
        noise.permutation(self.sites).into_iter().take(flips).for_each(|i| state[i] = -state[i]);
        state
    }

    /// The spins of each site over the patterns, `(sites, count)`.
    pub(super) fn columns(&self) -> Vec<i8> {
        let count = self.count();
        let mut columns = vec![0; self.spins.len()];
        for (mu, row) in self.spins.chunks(self.sites).enumerate() {
            row.iter().enumerate().for_each(|(i, s)| columns[i * count + mu] = *s);
        }
        columns
    }
}

/// `a·b`.
pub(super) fn overlap(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(a * b)).sum()
}
