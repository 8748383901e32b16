//! Parallel tempering along the path from independent units to the machine.
//!
//! ```text
//! replica k:  h ~ q_{β_k}(h | v),  v ~ q_{β_k}(v | h),          0 = β_1 < … < β_K = 1
//! k, k+1 swap with probability min(1, q_{β_k}(v') q_{β_{k+1}}(v) / (q_{β_k}(v) q_{β_{k+1}}(v')))
//! ```
//!
//! The hidden layer is summed out of the swap: it is drawn anew in the next sweep. Even and odd pairs take turns. The
//! ladder slowly moves to places where all pairs swap equally often; between two moves of the ladder every replica
//! keeps its own law exactly. Replica 1 draws its states anew from the base in every sweep.
//!
//! Source: Desjardins et al. (2010); Okabe et al. (2001) for the turns; Syed et al. (2022), arXiv:1905.02939, §5, for
//! ladders of equal rejection.

use genzoo_core::{DType, Device, Error, Noise, Result, StateDict, Tensor};
use genzoo_numerics::rows;

use super::{Beta, Machine};

/// Sweeps between two moves of the ladder.
const SETTLE: u64 = 100;
/// How much one sweep adds to the running swap rates.
const RATE: f64 = 0.02;

/// The ladder, and what it has seen.
pub(super) struct Tempering {
    betas: Vec<f64>,
    /// Running mean of the swap probability of each pair.
    rates: Vec<f64>,
    sweeps: u64,
}

impl Tempering {
    /// Evenly spaced places.
    pub(super) fn new(count: usize) -> Self {
        let betas = (0..count).map(|k| k as f64 / (count - 1) as f64).collect();
        Self { betas, rates: vec![0.5; count - 1], sweeps: 0 }
    }

    /// The mean swap probability.
    pub(super) fn mean_rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// One sweep and one round of swaps of all replicas, `(replicas · chains, D)`, those of the base first.
    pub(super) fn step(&mut self, machine: &Machine, v: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let (n, count) = (v.dim(0)?, self.betas.len());
        let chains = n / count;
        let each = |of: &dyn Fn(usize) -> f64| -> Result<Tensor> {
            let column: Vec<f64> = (0..n).map(|row| of(row / chains)).collect();
            Ok(Tensor::from_vec(column, (n, 1), v.device())?.to_dtype(v.dtype())?)
        };
        let own = each(&|k| self.betas[k])?;
        let v = machine.sweep(v, Beta::Rows(&own), noise)?;
        // Replica k looks at its partner of this turn: k + 1 for the lower of a pair, k − 1 for the upper.
        let turn = (self.sweeps % 2) as usize;
        let partner = |k: usize| match k >= turn && (k - turn).is_multiple_of(2) {
            true if k + 1 < count => k + 1,
            false if k > turn => k - 1,
            _ => k,
        };
        let other = each(&|k| self.betas[partner(k)])?;
        let fields = machine.fields(&v)?;
        let here = rows::host(&machine.log_weight(&v, &fields, Beta::Rows(&own))?)?;
        let there = rows::host(&machine.log_weight(&v, &fields, Beta::Rows(&other))?)?;
        let mut source: Vec<u32> = (0..n as u32).collect();
        for k in (turn..count - 1).step_by(2) {
            let mut mean = 0.0;
            for (c, u) in noise.uniforms(chains).into_iter().enumerate() {
                let (a, b) = (k * chains + c, (k + 1) * chains + c);
                let log = there[a] + there[b] - here[a] - here[b];
                mean += if log.is_nan() { 0.0 } else { log.min(0.0).exp() } / chains as f64;
                if u.ln() < log {
                    source.swap(a, b);
                }
            }
            self.rates[k] += RATE * (mean - self.rates[k]);
        }
        self.sweeps += 1;
        if self.sweeps.is_multiple_of(SETTLE) {
            self.respace();
        }
        Ok(v.index_select(&Tensor::from_vec(source, n, v.device())?, 0)?)
    }

    /// Moves the ladder half of the way to where all pairs would be rejected equally often.
    fn respace(&mut self) {
        let mut barrier = vec![0.0];
        for rate in &self.rates {
            // A pair that always swaps still is a pair.
            barrier.push(barrier[barrier.len() - 1] + (1.0 - rate).max(1e-2));
        }
        let pairs = self.rates.len();
        let total = barrier[pairs];
        let old = self.betas.clone();
        for (i, beta) in self.betas.iter_mut().enumerate().take(pairs).skip(1) {
            let wanted = total * i as f64 / pairs as f64;
            let k = barrier.iter().rposition(|b| *b <= wanted).unwrap_or(0).min(pairs - 1);
            let share = ((wanted - barrier[k]) / (barrier[k + 1] - barrier[k])).clamp(0.0, 1.0);
            *beta = 0.5 * (old[i] + old[k] + share * (old[k + 1] - old[k]));
        }
    }

    pub(super) fn state(&self) -> Result<StateDict> {
        let list = |values: &[f64]| Tensor::new(values, &Device::Cpu);
        Ok(StateDict::from([
            ("tempering.betas".to_string(), list(&self.betas)?),
            ("tempering.rates".to_string(), list(&self.rates)?),
            ("tempering.sweeps".to_string(), list(&[self.sweeps as f64])?),
        ]))
    }

    pub(super) fn load(&mut self, state: &StateDict) -> Result<()> {
        let list = |name: &str, n: usize| -> Result<Vec<f64>> {
            let like = Tensor::zeros(n, DType::F64, &Device::Cpu)?;
            rows::host(&super::saved(state, name, &like)?)
        };
        let betas = list("tempering.betas", self.betas.len())?;
        let rises = betas.windows(2).all(|p| p[0] < p[1]);
        if !(rises && betas.first() == Some(&0.0) && betas.last() == Some(&1.0)) {
            return Err(Error::data("tempering.betas", "numbers rising from 0 to 1", format!("{betas:?}")));
        }
        self.rates = list("tempering.rates", self.rates.len())?;
        self.sweeps = list("tempering.sweeps", 1)?[0] as u64;
        self.betas = betas;
        Ok(())
    }
}
