//! Dense associative memories: energies that grow faster than the square of an overlap.

use genzoo_core::{Error, Noise, Result};

use super::{Patterns, Settled};

/// F in E = −Σ_μ F(ξ^μ·s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    /// xⁿ, n ≥ 2. With n = 2 it is Hopfield's network with Hebb's couplings.
    Power(u32),
    /// xⁿ where x > 0, else 0 (Krotov & Hopfield 2016).
    Rectified(u32),
    /// e^x (Demircigil et al. 2017), in units of e^N.
    Exponential,
}

/// Patterns and F.
#[derive(Clone, Debug)]
pub struct Dense {
    patterns: Patterns,
    columns: Vec<i8>,
    table: Vec<f64>, // F of −N, −N + 1, …, N
}

impl Dense {
    /// A memory that holds `patterns`.
    ///
    /// # Errors
    /// If a power is below 2.
    pub fn new(patterns: Patterns, interaction: Interaction) -> Result<Self> {
        if let Interaction::Power(n) | Interaction::Rectified(n) = interaction
            && n < 2
        {
            return Err(Error::config("power", "at least 2", n));
        }
        let n = patterns.sites() as i32;
        let of = |x: i32| match interaction {
            Interaction::Power(k) => f64::from(x).powi(k as i32),
            Interaction::Rectified(k) => f64::from(x.max(0)).powi(k as i32),
            Interaction::Exponential => f64::from(x - n).exp(),
        };
        let columns = patterns.columns();
        Ok(Self { patterns, columns, table: (-n..=n).map(of).collect() })
    }

    /// The patterns.
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// `E = −Σ_μ F(ξ^μ·s)`.
    pub fn energy(&self, state: &[i8]) -> f64 {
        -self.patterns.overlaps(state).into_iter().map(|o| self.of(o)).sum::<f64>()
    }

    fn of(&self, overlap: i32) -> f64 {
        self.table[(overlap + self.patterns.sites() as i32) as usize]
    }

    /// What flipping spin i adds to the energy.
    fn rise(&self, state: &[i8], overlaps: &[i32], i: usize) -> f64 {
        let count = overlaps.len();
        let column = &self.columns[i * count..(i + 1) * count];
        let twice = 2 * i32::from(state[i]);
        let terms =
            overlaps.iter().zip(column).map(|(o, x)| self.of(*o) - self.of(o - twice * i32::from(*x)));
        terms.sum()
    }

    /// Whether the flip of each spin would not lower the energy.
    pub fn stable(&self, state: &[i8]) -> Vec<bool> {
        let overlaps = self.patterns.overlaps(state);
        (0..state.len()).map(|i| self.rise(state, &overlaps, i) >= 0.0).collect()
    }

    /// Visits the sites in random order and flips where that lowers the energy, until a sweep flips none or `sweeps` are
    /// over.
    ///
    /// # Errors
    /// If there are not as many spins as sites.
    pub fn settle(&self, state: &mut [i8], sweeps: usize, noise: &mut Noise) -> Result<Settled> {
        let sites = self.patterns.sites();
        if state.len() != sites {
            return Err(Error::data("state", format!("{sites} spins"), state.len()));
        }
        let mut overlaps = self.patterns.overlaps(state);
        let count = overlaps.len();
        let mut flips = 0;
        for sweep in 1..=sweeps {
            let before = flips;
            for i in noise.permutation(sites) {
                if self.rise(state, &overlaps, i) < 0.0 {
                    let twice = 2 * i32::from(state[i]);
                    let column = &self.columns[i * count..(i + 1) * count];
                    overlaps.iter_mut().zip(column).for_each(|(o, x)| *o -= twice * i32::from(*x));
                    state[i] = -state[i];
                    flips += 1;
                }
            }
            if flips == before {
                return Ok(Settled { sweeps: sweep, flips, stable: true });
            }
        }
        Ok(Settled { sweeps, flips, stable: false })
    }
}
