//! Cluster updates: like neighbours are bound with probability 1 − e^{−2β}, and what is bound flips together.
//!
//! Bonds and spins together have the law of Fortuin–Kasteleyn, Π_⟨ij⟩ [e^{−2β} δ(open) + (1 − e^{−2β}) δ(closed) δ(s_i, s_j)],
//! whose spins are Ising's. Swendsen–Wang draws bonds given spins, then spins given bonds. Wolff grows the cluster of
//! one random site and flips it, always.
//! Source: Fortuin & Kasteleyn (1972); Swendsen & Wang (1987); Wolff (1989).

use genzoo_core::{Noise, Result};

use super::Ising;

impl Ising {
    /// Binds all like neighbours at random, then gives every cluster a fresh coin. Returns the number of clusters.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn swendsen_wang(&self, spins: &mut [i8], noise: &mut Noise) -> Result<usize> {
        self.check(spins)?;
        let n = spins.len();
        let closed = -(-2.0 * self.beta).exp_m1();
        let uniforms = noise.uniforms(2 * n);
        let mut parent: Vec<usize> = (0..n).collect();
        for i in 0..n {
            for direction in 0..2 {
                let j = self.neighbours[i][direction];
                if spins[i] == spins[j] && uniforms[2 * i + direction] < closed {
                    let (a, b) = (root(&mut parent, i), root(&mut parent, j));
                    parent[a.max(b)] = a.min(b);
                }
            }
        }
        let coins = noise.words(n);
        let mut clusters = 0;
        for (i, spin) in spins.iter_mut().enumerate() {
            let own = root(&mut parent, i);
            clusters += usize::from(own == i);
            *spin = if coins[own] >> 31 == 0 { -1 } else { 1 };
        }
        Ok(clusters)
    }

    /// Flips the cluster of one random site. Returns its size.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn wolff(&self, spins: &mut [i8], noise: &mut Noise) -> Result<usize> {
        self.check(spins)?;
        let closed = -(-2.0 * self.beta).exp_m1();
        let mut waiting = noise.below(spins.len(), 1);
        for &start in &waiting {
            spins[start] = -spins[start];
        }
        let mut size = 0;
        // Uniforms come in blocks: a cluster asks for at most four per site, and rarely says in advance for how many.
        let mut uniforms = Vec::new();
        while let Some(i) = waiting.pop() {
            size += 1;
            for &j in &self.neighbours[i] {
                // Those of the cluster have flipped already, so what is unlike site i now was like it before.
                if spins[j] == spins[i] {
                    continue;
                }
                if uniforms.is_empty() {
                    uniforms = noise.uniforms(64);
                }
                if uniforms.pop().is_some_and(|u| u < closed) {
                    spins[j] = -spins[j];
                    waiting.push(j);
                }
            }
        }
        Ok(size)
    }
}

/// The representative of a site, halving the path to it.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}
