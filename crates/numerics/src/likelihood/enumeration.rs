//! log Z, entropy and means of an unnormalised law over small discrete spaces, by visiting every state.
//!
//! ```text
//! log Z = log Σ_s e^{ℓ(s)},   H = log Z − Σ_s p(s) ℓ(s),   E s_i = Σ_s p(s) s_i
//! ```
//!
//! With L levels, unit i of state number s has the level of digit i of s in base L; for two levels, bit i. Exact up to
//! round-off, and the judge of every estimator for binary energies and machines that fit: up to 2²⁴ states.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Result};

use crate::rows;
use crate::special::log_sum_exp;

/// Most states that are visited.
const MOST: f64 = 16_777_216.0;

/// Which states there are, and how they are shown to the log-weight.
#[derive(Clone, Debug)]
pub struct Enumeration {
    /// The values a unit can take.
    pub levels: Vec<f64>,
    /// Number of units.
    pub units: usize,
    /// States per evaluation.
    pub rows_at_once: usize,
    /// Dtype of the states.
    pub dtype: DType,
    /// Device of the states.
    pub device: Device,
}

/// What the whole space says.
#[derive(Clone, Debug)]
pub struct EnumerationEstimate {
    /// `log Σ e^ℓ`, nats.
    pub log_z: f64,
    /// Entropy of the normalised law, nats.
    pub entropy: f64,
    /// Mean of each unit.
    pub means: Vec<f64>,
    /// ℓ of every state, in their order.
    pub log_weights: Vec<f64>,
}

impl Enumeration {
    /// `units` units of these levels, in `f64` on the CPU.
    pub fn new(units: usize, levels: &[f64]) -> Self {
        Self { levels: levels.to_vec(), units, rows_at_once: 8_192, dtype: DType::F64, device: Device::Cpu }
    }

    /// Units of 0 and 1.
    pub fn binary(units: usize) -> Self {
        Self::new(units, &[0.0, 1.0])
    }

    /// Spins of −1 and 1.
    pub fn spins(units: usize) -> Self {
        Self::new(units, &[-1.0, 1.0])
    }

    /// Sums `e^{−U}` over states `(b, units)`.
    ///
    /// # Errors
    /// As [`Enumeration::estimate`].
    pub fn of_energy(&self, energy: &dyn Energy) -> Result<EnumerationEstimate> {
        self.estimate(&|s| Ok(energy.energy(s)?.neg()?))
    }

    /// Sums `e^ℓ`; `log_weight` takes states `(b, units)` and gives `(b,)`.
    ///
    /// # Errors
    /// If there are no states or more than 2²⁴, if `log_weight` fails, gives NaN or +∞, or −∞ everywhere.
    pub fn estimate(&self, log_weight: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<EnumerationEstimate> {
        let (levels, n) = (self.levels.len(), self.units);
        let states = (levels as f64).powi(n as i32);
        if levels == 0 || n == 0 || states > MOST {
            let want = "at least one unit and level, and at most 2^24 states";
            return Err(Error::data("discrete space", want, format!("{levels}^{n} states")));
        }
        let states = states as usize;
        let mut log_weights = Vec::with_capacity(states);
        for (start, b) in rows::pieces(states, self.rows_at_once) {
            let table = (start..start + b).flat_map(|s| self.state(s)).collect::<Vec<_>>();
            let s = Tensor::from_vec(table, (b, n), &self.device)?.to_dtype(self.dtype)?;
            log_weights.extend(rows::host(&log_weight(&s)?)?);
        }
        if log_weights.len() != states {
            return Err(Error::data("log-weights", format!("one per state, {states}"), log_weights.len()));
        }
        if let Some(i) = log_weights.iter().position(|w| w.is_nan() || *w == f64::INFINITY) {
            let got = format!("{} at {:?}", log_weights[i], self.state(i).collect::<Vec<_>>());
            return Err(Error::data("log-weight", "a number below +∞", got));
        }
        let log_z = log_sum_exp(&log_weights);
        if log_z == f64::NEG_INFINITY {
            return Err(Error::data("log-weights", "a state with a weight above 0", "−∞ everywhere"));
        }
        let (mut energy, mut means) = (0.0, vec![0.0; n]);
        for (s, w) in log_weights.iter().enumerate() {
            let p = (w - log_z).exp();
            if p > 0.0 {
                energy += p * w;
                means.iter_mut().zip(self.state(s)).for_each(|(m, v)| *m += p * v);
            }
        }
        Ok(EnumerationEstimate { log_z, entropy: log_z - energy, means, log_weights })
    }

    /// The units of state number `s`.
    fn state(&self, s: usize) -> impl Iterator<Item = f64> + '_ {
        let base = self.levels.len();
        (0..self.units).scan(s, move |rest, _| {
            let level = self.levels[*rest % base];
            *rest /= base;
            Some(level)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Independent units: log Z = Σ log Σ_l e^{a_i l}, with three levels.
    #[test]
    fn independent_units_factorise() -> Result<()> {
        let (a, levels) = ([0.3, -1.0, 2.0, 0.0, 0.7], [-1.0, 0.5, 2.0]);
        let slopes = Tensor::new(&a, &Device::Cpu)?;
        let all = Enumeration { rows_at_once: 100, ..Enumeration::new(5, &levels) };
        let got = all.estimate(&|s| Ok(s.broadcast_mul(&slopes)?.sum(1)?))?;
        let one = |a: f64| {
            let weights = levels.map(|l| (a * l).exp());
            let z: f64 = weights.iter().sum();
            (z.ln(), weights.iter().zip(levels).map(|(w, l)| w * l).sum::<f64>() / z)
        };
        let log_z: f64 = a.iter().map(|a| one(*a).0).sum();
        let entropy: f64 = a.iter().map(|a| one(*a).0 - a * one(*a).1).sum();
        assert!((got.log_z - log_z).abs() < 1e-12 && (got.entropy - entropy).abs() < 1e-12);
        assert!(got.means.iter().zip(a).all(|(m, a)| (m - one(a).1).abs() < 1e-12));
        assert_eq!(got.log_weights.len(), 243);
        Ok(())
    }

    /// A ring of spins with coupling K: log Z = log(λ₊ⁿ + λ₋ⁿ), λ₊ = 2 cosh K, λ₋ = 2 sinh K (Ising 1925).
    #[test]
    fn the_ring_of_ising() -> Result<()> {
        let (n, coupling) = (13, 0.7f64);
        let ring = |s: &Tensor| {
            let next = Tensor::cat(&[s.narrow(1, 1, n - 1)?, s.narrow(1, 0, 1)?], 1)?;
            Ok(((s * next)?.sum(1)? * coupling)?)
        };
        let got = Enumeration::spins(n).estimate(&ring)?;
        let want = ((2.0 * coupling.cosh()).powi(n as i32) + (2.0 * coupling.sinh()).powi(n as i32)).ln();
        assert!((got.log_z - want).abs() < 1e-11, "{} {want}", got.log_z);
        assert!(got.means.iter().all(|m| m.abs() < 1e-12));
        Ok(())
    }

    #[test]
    fn what_cannot_be_summed_is_an_error() {
        let constant = |value: f64| move |s: &Tensor| Ok((s.sum(1)?.zeros_like()? + value)?);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Enumeration::binary(3).estimate(&constant(value)).is_err(), "{value}");
        }
        assert!(Enumeration::binary(0).estimate(&constant(0.0)).is_err());
        assert!(Enumeration::binary(25).estimate(&constant(0.0)).is_err());
        assert!(Enumeration::new(2, &[]).estimate(&constant(0.0)).is_err());
    }
}
