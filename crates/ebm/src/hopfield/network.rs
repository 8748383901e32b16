//! Pairwise couplings: Hopfield's network, and three rules to learn them.

use genzoo_core::{Error, Noise, Result};
use nalgebra::DMatrix;

use super::{Patterns, Settled};

/// Symmetric couplings with zero diagonal.
#[derive(Clone, Debug)]
pub struct Network {
    sites: usize,
    couplings: Vec<f32>, // (sites, sites), in units of `unit`
    unit: f64,
}

impl Network {
    /// `J_ij = 1/N Σ_μ ξ_i ξ_j`, `J_ii = 0` (Hebb 1949; Hopfield 1982). Couplings are whole numbers over N, so that fields
    /// are exact and a tie is a tie.
    pub fn hebb(patterns: &Patterns) -> Self {
        let (n, count) = (patterns.sites(), patterns.count());
        // A bit per pattern: like spins are zeros of an exclusive or.
        let words = count.div_ceil(64);
        let mut bits = vec![0u64; n * words];
        for mu in 0..count {
            for (i, s) in patterns.row(mu).iter().enumerate() {
                bits[i * words + mu / 64] |= u64::from(*s > 0) << (mu % 64);
            }
        }
        let mut couplings = vec![0.0f32; n * n];
        for i in 0..n {
            let own = &bits[i * words..(i + 1) * words];
            for j in 0..i {
                let other = &bits[j * words..(j + 1) * words];
                let unlike: u32 = own.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum();
                let coupling = (count as i64 - 2 * i64::from(unlike)) as f32;
                couplings[i * n + j] = coupling;
                couplings[j * n + i] = coupling;
            }
        }
        Self { sites: n, couplings, unit: 1.0 / n as f64 }
    }

    /// Pattern by pattern `ΔJ_ij = 1/N (ξ_i ξ_j − ξ_i h_ji − h_ij ξ_j)`, `h_ij = Σ_{k≠i,j} J_ik ξ_k` (Storkey 1997).
    pub fn storkey(patterns: &Patterns) -> Self {
        let n = patterns.sites();
        let mut couplings = vec![0.0f64; n * n];
        for mu in 0..patterns.count() {
            let xi: Vec<f64> = patterns.row(mu).iter().map(|s| f64::from(*s)).collect();
            let fields: Vec<f64> =
                couplings.chunks(n).map(|row| row.iter().zip(&xi).map(|(j, x)| j * x).sum()).collect();
            for (i, row) in couplings.chunks_mut(n).enumerate() {
                for (j, coupling) in row.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                    // The diagonal is 0, so only site j is left out of the field of site i.
                    let (to, from) = (fields[i] - *coupling * xi[j], fields[j] - *coupling * xi[i]);
                    *coupling += (xi[i] * xi[j] - xi[i] * from - to * xi[j]) / n as f64;
                }
            }
        }
        Self { sites: n, couplings: couplings.into_iter().map(|j| j as f32).collect(), unit: 1.0 }
    }

    /// `J = Ξ (ΞᵀΞ)⁻¹ Ξᵀ` without its diagonal: the projection onto the span of the patterns (Personnaz, Guyon & Dreyfus
    /// 1985). Every pattern is a fixed point.
    ///
    /// # Errors
    /// If the patterns depend on each other linearly, as N + 1 of them must.
    pub fn pseudo_inverse(patterns: &Patterns) -> Result<Self> {
        let (n, count) = (patterns.sites(), patterns.count());
        let matrix = DMatrix::from_iterator(n, count, patterns.spins().iter().map(|s| f64::from(*s)));
        let gram = (matrix.transpose() * &matrix).cholesky();
        let factor = gram.filter(|f| f.l_dirty().diagonal().iter().all(|l| *l > 1e-6)).ok_or_else(|| {
            Error::data(
                "patterns of a pseudo-inverse",
                "linearly independent ones",
                format!("{count} that are not"),
            )
        })?;
        let mut projection = &matrix * factor.solve(&matrix.transpose());
        projection.fill_diagonal(0.0);
        Ok(Self { sites: n, couplings: projection.iter().map(|j| *j as f32).collect(), unit: 1.0 })
    }

    /// Number of spins.
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// `J_ij`.
    pub fn coupling(&self, i: usize, j: usize) -> f64 {
        self.unit * f64::from(self.couplings[i * self.sites + j])
    }

    /// `E = −½ Σ J_ij s_i s_j`.
    pub fn energy(&self, state: &[i8]) -> f64 {
        let fields = self.fields(state);
        -0.5 * self.unit * fields.iter().zip(state).map(|(h, s)| h * f64::from(*s)).sum::<f64>()
    }

    /// Whether each spin has the sign of its field, or no field.
    pub fn stable(&self, state: &[i8]) -> Vec<bool> {
        self.fields(state).iter().zip(state).map(|(h, s)| h * f64::from(*s) >= 0.0).collect()
    }

    /// Fields in units of `unit`.
    fn fields(&self, state: &[i8]) -> Vec<f64> {
        let state: Vec<f32> = state.iter().map(|s| f32::from(*s)).collect();
        let row = |row: &[f32]| -> f64 {
            // Sums of eight lanes each, of few enough terms that whole numbers stay exact.
            let mut lanes = [0.0f32; 8];
            let (heads, tail) = row.as_chunks::<8>();
            let (spins, rest) = state.as_chunks::<8>();
            for (j, s) in heads.iter().zip(spins) {
                (0..8).for_each(|k| lanes[k] += j[k] * s[k]);
            }
            let tail: f32 = tail.iter().zip(rest).map(|(j, s)| j * s).sum();
            lanes.iter().map(|l| f64::from(*l)).sum::<f64>() + f64::from(tail)
        };
        self.couplings.chunks(self.sites).map(row).collect()
    }

    /// Visits the sites in random order, each against its field of that moment, until a sweep flips none or `sweeps` are
    /// over.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn settle(&self, state: &mut [i8], sweeps: usize, noise: &mut Noise) -> Result<Settled> {
        if state.len() != self.sites {
            return Err(Error::data("state", format!("{} spins", self.sites), state.len()));
        }
        let mut fields = self.fields(state);
        let mut flips = 0;
        for sweep in 1..=sweeps {
            let before = flips;
            for i in noise.permutation(self.sites) {
                let spin = f64::from(state[i]);
                if spin * fields[i] < 0.0 {
                    state[i] = -state[i];
                    flips += 1;
                    let row = &self.couplings[i * self.sites..(i + 1) * self.sites];
                    fields.iter_mut().zip(row).for_each(|(h, j)| *h -= 2.0 * spin * f64::from(*j));
                }
            }
            if flips == before {
                return Ok(Settled { sweeps: sweep, flips, stable: true });
            }
        }
        Ok(Settled { sweeps, flips, stable: false })
    }
}
