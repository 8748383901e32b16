//! Simulated annealing: chains cooled until they rest in a mode, and descent to its bottom.
//!
//! ```text
//! chains move on U/T_k,   T_k = T_1 (T_K/T_1)^{(k−1)/(K−1)},   leapfrogs of size ε √T_k;   the lowest state seen is kept
//! descent   x ← x − η ∇U(x) where that lowers U, and η ← 1.5 η;   else η ← η/4;   one η per chain
//! ```
//!
//! Cooled slowly, chains end in the lowest mode; cooled fast, in modes by their basins. Neither is a sample.
//! Source: Kirkpatrick, Gelatt & Vecchi (1983); Geman & Geman (1984) for what slowly means.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Bridge, Chains, Landscape, Transition};
use crate::rows;

/// How to cool.
#[derive(Clone, Copy, Debug)]
pub struct Annealing {
    /// The first temperature, where chains should cross between modes.
    pub hot: f64,
    /// The last temperature, where they should no longer.
    pub cold: f64,
    /// Number of temperatures, at least 2.
    pub temperatures: usize,
    /// Moves at each.
    pub moves: usize,
    /// Leapfrogs per move; 1 is MALA.
    pub leapfrogs: usize,
    /// Size of a leapfrog at temperature 1.
    pub step: f64,
}

impl Annealing {
    /// The lowest state that each chain from `x` came by.
    ///
    /// # Errors
    /// If the settings make no sense or the energy fails.
    pub fn run(&self, target: &dyn Energy, x: &Tensor, noise: &mut Noise) -> Result<Chains> {
        if !(self.hot.is_finite() && self.cold > 0.0 && self.hot >= self.cold) {
            let got = format!("{} to {}", self.hot, self.cold);
            return Err(Error::config("temperatures", "from a finite one down to one above 0", got));
        }
        for (key, least, got) in [("temperatures", 2, self.temperatures), ("leapfrogs", 1, self.leapfrogs)] {
            if got < least {
                return Err(Error::config(key, format!("at least {least}"), got));
            }
        }
        super::positive(self.step)?;
        let (bridge, transition) = (Bridge::new(None, target), Transition::Hmc { leapfrogs: self.leapfrogs });
        let mut ends = bridge.at(x, transition)?;
        let (mut lowest, mut best) = (ends.energies()?, ends.x.clone());
        let n = lowest.len();
        for k in 0..self.temperatures {
            let share = k as f64 / (self.temperatures - 1) as f64;
            let temperature = self.hot * (self.cold / self.hot).powf(share);
            let (betas, steps) = (vec![1.0 / temperature; n], vec![self.step * temperature.sqrt(); n]);
            for _ in 0..self.moves {
                bridge.jittered(&mut ends, &betas, &steps, transition, noise)?;
                let energies = ends.energies()?;
                let lower: Vec<u8> = energies.iter().zip(&lowest).map(|(e, l)| u8::from(e < l)).collect();
                best = rows::select(&Tensor::from_vec(lower, n, best.device())?, &ends.x, &best)?;
                lowest.iter_mut().zip(energies).for_each(|(l, e)| *l = l.min(e));
            }
        }
        Chains::at(target, &best)
    }
}

/// Gradient descent of every chain by itself, for `steps` evaluations from a first η of `rate`. U never rises.
///
/// # Errors
/// If `rate` makes no sense or the energy fails.
pub fn descend(target: &dyn Energy, chains: &mut Chains, rate: f64, steps: usize) -> Result<()> {
    let n = chains.x.dim(0)?;
    let mut rates = vec![super::positive(rate)?; n];
    for _ in 0..steps {
        let push = rows::scale(&chains.gradient, &rows::tensor(rates.clone(), chains.x.device())?)?;
        let next = Chains::at(target, &(&chains.x - push)?)?;
        let change = rows::host(&(next.energy.to_dtype(DType::F64)? - chains.energy.to_dtype(DType::F64)?)?)?;
        let lower: Vec<u8> = change.iter().map(|c| u8::from(*c < 0.0)).collect();
        rates.iter_mut().zip(&lower).for_each(|(r, l)| *r *= if *l == 1 { 1.5 } else { 0.25 });
        *chains = target.select(&Tensor::from_vec(lower, n, chains.x.device())?, &next, chains)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// U = Σ 3 (x² − 1)² + 0.6 x: four wells in the plane, the lowest where both coordinates are near −1.
    struct Wells;

    impl Energy for Wells {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok(self.energy_and_gradient(x)?.0)
        }
        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            let well = (x.sqr()? - 1.0)?;
            let energy = ((well.sqr()? * 3.0)? + (x * 0.6)?)?.sum(1)?;
            Ok((energy, ((x * well)? * 12.0)?.affine(1.0, 0.6)?))
        }
    }

    /// Descent from far and wide finds each basin's own well; annealing finds the lowest, and its bottom to round-off.
    #[test]
    fn cooling_finds_the_lowest_mode_where_descent_finds_the_nearest() -> Result<()> {
        let n = 200;
        let x = (Noise::new(1).uniform((n, 2), DType::F64, &Device::Cpu)? * 4.0)?.affine(1.0, -2.0)?;
        // The roots of 12 x (x² − 1) + 0.6 beside ±1, by Newton.
        let root = |mut x: f64| {
            (0..20).for_each(|_| x -= (12.0 * x * (x * x - 1.0) + 0.6) / (36.0 * x * x - 12.0));
            x
        };
        let (low, high) = (root(-1.0), root(1.0));
        let at = |chains: &Chains, well: f64, j: usize| -> Result<Vec<bool>> {
            Ok(rows::host(&chains.x)?.chunks(2).map(|row| (row[j] - well).abs() < 1e-6).collect())
        };
        let mut greedy = Chains::at(&Wells, &x)?;
        descend(&Wells, &mut greedy, 0.005, 120)?;
        for j in [0, 1] {
            assert!(at(&greedy, low, j)?.into_iter().zip(at(&greedy, high, j)?).all(|(l, r)| l != r));
        }
        let lowest = |chains: &Chains| -> Result<f64> {
            let (first, second) = (at(chains, low, 0)?, at(chains, low, 1)?);
            Ok(first.iter().zip(&second).filter(|(a, b)| **a && **b).count() as f64 / n as f64)
        };
        // About a quarter of the starts lies in the lowest basin.
        assert!((0.15..0.45).contains(&lowest(&greedy)?), "{}", lowest(&greedy)?);
        let annealing =
            Annealing { hot: 3.0, cold: 0.02, temperatures: 1_000, moves: 1, leapfrogs: 4, step: 0.15 };
        let mut found = annealing.run(&Wells, &x, &mut Noise::new(2))?;
        let before = rows::host(&found.energy)?;
        descend(&Wells, &mut found, 0.01, 80)?;
        assert!(rows::host(&found.energy)?.iter().zip(before).all(|(after, before)| *after <= before));
        // Frozen at T = 0.6 each coordinate is right with probability 1/(1 + e^{−2}) = 0.88, and a right place that was
        // left again still counts.
        assert!(lowest(&found)? > 0.8, "{}", lowest(&found)?);
        Ok(())
    }

    #[test]
    fn schedules_that_make_no_sense_are_errors() -> Result<()> {
        let good = Annealing { hot: 1.0, cold: 0.1, temperatures: 2, moves: 1, leapfrogs: 1, step: 0.1 };
        let x = Tensor::zeros((2, 2), DType::F64, &Device::Cpu)?;
        let run = |a: Annealing| a.run(&Wells, &x, &mut Noise::new(0));
        assert!(run(good).is_ok());
        assert!(
            run(Annealing { cold: 0.0, ..good }).is_err() && run(Annealing { hot: 0.01, ..good }).is_err()
        );
        assert!(
            run(Annealing { temperatures: 1, ..good }).is_err()
                && run(Annealing { step: 0.0, ..good }).is_err()
        );
        assert!(descend(&Wells, &mut Chains::at(&Wells, &x)?, -1.0, 1).is_err());
        Ok(())
    }
}
