//! Machines small enough that every state of both layers can be visited, in plain loops.

mod averages;
mod deep;
mod gradient;
mod law;
mod training;

use super::*;
use genzoo_core::{Device, Space};
use genzoo_testkit::{Tol, assert_close};

type Check = std::result::Result<(), Box<dyn std::error::Error>>;

/// `U(v, h)` written out, and sums over all states of it.
struct Slow {
    w: Vec<Vec<f64>>,
    b: Vec<f64>,
    c: Vec<f64>,
    /// The visible states.
    states: Vec<Vec<f64>>,
}

fn bits(state: usize, n: usize) -> Vec<f64> {
    (0..n).map(|i| (state >> i & 1) as f64).collect()
}

impl Slow {
    fn energy(&self, v: &[f64], h: &[f64]) -> f64 {
        let mut u = 0.0;
        for (i, v) in v.iter().enumerate() {
            u -= v * self.b[i];
            for (j, h) in h.iter().enumerate() {
                u -= v * self.w[i][j] * h;
            }
        }
        h.iter().zip(&self.c).for_each(|(h, c)| u -= h * c);
        u
    }

    fn hidden_states(&self) -> Vec<Vec<f64>> {
        (0..1 << self.c.len()).map(|s| bits(s, self.c.len())).collect()
    }

    /// `Σ_h e^{−U(v, h)}`.
    fn weight(&self, v: &[f64]) -> f64 {
        self.hidden_states().iter().map(|h| (-self.energy(v, h)).exp()).sum()
    }

    fn z(&self) -> f64 {
        self.states.iter().map(|v| self.weight(v)).sum()
    }

    fn probabilities(&self) -> Vec<f64> {
        let z = self.z();
        self.states.iter().map(|v| self.weight(v) / z).collect()
    }

    fn machine(&self, units: Units) -> Result<Machine> {
        let cpu = Device::Cpu;
        let (w, d, h) = (self.w.concat(), self.b.len(), self.c.len());
        let t = |v: &[f64]| Tensor::new(v, &cpu);
        Machine::new(units, &Tensor::from_vec(w, (d, h), &cpu)?, &t(&self.b)?, &t(&self.c)?)
    }
}

fn numbers(n: usize, seed: u64, size: f64) -> Vec<f64> {
    Noise::new(seed).normals(n).into_iter().map(|z| size * z).collect()
}

fn slow(d: usize, h: usize, states: Vec<Vec<f64>>, seed: u64) -> Slow {
    let w = numbers(d * h, seed, 0.9).chunks(h).map(<[f64]>::to_vec).collect();
    Slow { w, b: numbers(d, seed + 100, 0.6), c: numbers(h, seed + 200, 0.6), states }
}

fn binary(d: usize, h: usize, seed: u64) -> Slow {
    slow(d, h, (0..1 << d).map(|s| bits(s, d)).collect(), seed)
}

/// `sites` sites of three levels.
fn potts(sites: usize, h: usize, seed: u64) -> Slow {
    let one = |s: usize, site: usize| {
        (0..3).map(move |l| f64::from(u8::from(s / 3usize.pow(site as u32) % 3 == l)))
    };
    let states =
        (0..3usize.pow(sites as u32)).map(|s| (0..sites).flat_map(|i| one(s, i)).collect()).collect();
    slow(3 * sites, h, states, seed)
}

fn rows_of(states: &[Vec<f64>]) -> Result<Tensor> {
    let (n, d) = (states.len(), states[0].len());
    Ok(Tensor::from_vec(states.concat(), (n, d), &Device::Cpu)?)
}

fn list(t: &Tensor) -> Vec<f64> {
    rows::host(t).expect("a readable tensor")
}

/// A Gaussian machine of two dimensions.
fn gaussian(h: usize, seed: u64) -> Result<Machine> {
    let cpu = Device::Cpu;
    let w = Tensor::from_vec(numbers(2 * h, seed, 0.8), (2, h), &cpu)?;
    let units = Units::Gaussian { log_variance: Tensor::new(&[-0.7, 0.4], &cpu)? };
    let hidden = Tensor::from_vec(numbers(h, seed + 1, 0.5), h, &cpu)?;
    Machine::new(units, &w, &Tensor::new(&[0.3, -0.5], &cpu)?, &hidden)
}

/// `(log Z, E v, E v²)` of `log_weight` over a grid of the plane.
fn grid(log_weight: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(f64, [f64; 2], [f64; 2])> {
    let (n, half) = (400usize, 12.0);
    let cell = 2.0 * half / n as f64;
    let at = |i: usize| -half + (i as f64 + 0.5) * cell;
    let (mut z, mut first, mut second) = (0.0, [0.0; 2], [0.0; 2]);
    for i in 0..n {
        let row: Vec<f64> = (0..n).flat_map(|j| [at(i), at(j)]).collect();
        let log = list(&log_weight(&Tensor::from_vec(row.clone(), (n, 2), &Device::Cpu)?)?);
        for (v, log) in row.chunks(2).zip(log) {
            let p = log.exp() * cell * cell;
            z += p;
            for k in 0..2 {
                first[k] += p * v[k];
                second[k] += p * v[k] * v[k];
            }
        }
    }
    Ok((z.ln(), first.map(|m| m / z), second.map(|m| m / z)))
}
