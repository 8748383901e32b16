//! Hamiltonian Monte Carlo: proposals far away along trajectories that keep the energy.
//!
//! ```text
//! H(x, p) = U(x) + ½|p|²,   p ~ N(0, I)
//! leapfrog, L times:   p ← p − ε/2 ∇U(x);   x ← x + ε p;   p ← p − ε/2 ∇U(x)
//! accept the end with probability min(1, e^{H(start) − H(end)})
//! ```
//!
//! The leapfrog map keeps volume, is undone by itself with p reversed, and errs in H by O(ε²) however long the
//! trajectory; so e^{−U} is left exactly invariant. It is stable on N(0, σ²) for ε < 2σ. Good chains accept about 0.651.
//! Source: Duane, Kennedy, Pendleton & Roweth (1987); Neal (2011), arXiv:1206.1901, §2–3; Beskos et al. (2013) for 0.651.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, Kernel, Landscape, StepInfo, accept};
use crate::rows;

/// Hamiltonian Monte Carlo with unit masses.
#[derive(Clone, Copy, Debug)]
pub struct Hmc {
    step: f64,
    leapfrogs: usize,
}

impl Hmc {
    /// A kernel whose trajectories have `leapfrogs` ≥ 1 steps of size `step` > 0.
    ///
    /// # Errors
    /// If either makes no sense.
    pub fn new(step: f64, leapfrogs: usize) -> Result<Self> {
        if leapfrogs == 0 {
            return Err(Error::config("leapfrogs", "at least 1", 0));
        }
        Ok(Self { step: super::positive(step)?, leapfrogs })
    }
}

impl Kernel for Hmc {
    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        transition(target, chains, self.step, self.leapfrogs, noise)
    }
}

/// One transition of every chain, `leapfrogs` ≥ 1 evaluations.
pub(crate) fn transition<L: Landscape + ?Sized>(
    landscape: &L,
    at: &mut L::At,
    step: f64,
    leapfrogs: usize,
    noise: &mut Noise,
) -> Result<StepInfo> {
    let from = landscape.seen(at)?;
    let start = noise.normal_like(&from.x)?;
    let (proposal, end) = leapfrog(landscape, &from, &start, step, leapfrogs)?;
    let change = (hamiltonian(&from, &start)? - hamiltonian(&landscape.seen(&proposal)?, &end)?)?;
    let (info, mask) = accept(&rows::host(&change)?, noise, from.x.device())?;
    *at = landscape.select(&mask, &proposal, at)?;
    Ok(info)
}

/// The end of a trajectory and its momentum.
fn leapfrog<L: Landscape + ?Sized>(
    landscape: &L,
    from: &Chains,
    momentum: &Tensor,
    step: f64,
    leapfrogs: usize,
) -> Result<(L::At, Tensor)> {
    let kick = |p: &Tensor, gradient: &Tensor, size: f64| (p - (gradient * size)?).map(|p| p.detach());
    let mut p = kick(momentum, &from.gradient, 0.5 * step)?;
    let drift = |x: &Tensor, p: &Tensor| (x + (p * step)?).map(|x| x.detach());
    let mut at = landscape.at(drift(&from.x, &p)?)?;
    for _ in 1..leapfrogs {
        let seen = landscape.seen(&at)?;
        p = kick(&p, &seen.gradient, step)?;
        at = landscape.at(drift(&seen.x, &p)?)?;
    }
    p = kick(&p, &landscape.seen(&at)?.gradient, 0.5 * step)?;
    Ok((at, p))
}

/// `U(x) + ½|p|²`, `(b,)` in `f64`.
fn hamiltonian(chains: &Chains, momentum: &Tensor) -> Result<Tensor> {
    let kinetic = (rows::squared_norm(&momentum.to_dtype(DType::F64)?)? * 0.5)?;
    Ok((chains.energy.to_dtype(DType::F64)? + kinetic)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use crate::targets::{Mixture, slope};
    use candle_core::Device;

    fn start(n: usize, seed: u64) -> Result<(Mixture, Chains, Tensor)> {
        let (target, mut noise) = (Mixture::pair(), Noise::new(seed));
        let chains = Chains::at(&target, &target.sample(n, &mut noise)?)?;
        let momentum = noise.normal_like(&chains.x)?;
        Ok((target, chains, momentum))
    }

    #[test]
    fn a_trajectory_reversed_leads_back_to_round_off() -> Result<()> {
        let (target, from, momentum) = start(50, 1)?;
        let landscape: &dyn Energy = &target;
        let (end, p) = leapfrog(landscape, &from, &momentum, 0.2, 40)?;
        let moved = rows::host(&(&end.x - &from.x)?)?;
        assert!(moved.iter().any(|v| v.abs() > 1.0));
        let (back, q) = leapfrog(landscape, &end, &p.neg()?, 0.2, 40)?;
        for gap in [rows::host(&(&back.x - &from.x)?)?, rows::host(&(q + &momentum)?)?] {
            // Round-off grows along the trajectory, hardly beyond a thousandfold here.
            assert!(gap.iter().all(|v| v.abs() < 1e-12), "{gap:?}");
        }
        Ok(())
    }

    /// The Jacobian of (x, p) ↦ (x', p') by central differences: its determinant is 1, and the map is symplectic.
    #[test]
    fn a_trajectory_keeps_volume() -> Result<()> {
        let (target, from, momentum) = start(1, 7)?;
        let landscape: &dyn Energy = &target;
        let start = [rows::host(&from.x)?, rows::host(&momentum)?].concat();
        let h = 1e-5;
        let map = |state: &[f64]| -> Result<Vec<f64>> {
            let row = |v: &[f64]| Tensor::from_vec(v.to_vec(), (1, 2), &Device::Cpu);
            let from = Chains::at(&target, &row(&state[..2])?)?;
            let (end, p) = leapfrog(landscape, &from, &row(&state[2..])?, 0.5, 6)?;
            Ok([rows::host(&end.x)?, rows::host(&p)?].concat())
        };
        let mut jacobian = nalgebra::Matrix4::<f64>::zeros();
        for j in 0..4 {
            let moved = |by: f64| {
                let mut state = start.clone();
                state[j] += by;
                map(&state)
            };
            let (above, below) = (moved(h)?, moved(-h)?);
            (0..4).for_each(|i| jacobian[(i, j)] = (above[i] - below[i]) / (2.0 * h));
        }
        // Differences err by h² and round-off/h, both about 1e-10, times what the trajectory stretches.
        assert!((jacobian.determinant() - 1.0).abs() < 1e-6, "{}", jacobian.determinant());
        let pairing = nalgebra::Matrix4::new(
            0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0,
        );
        assert!((jacobian.transpose() * pairing * jacobian - pairing).abs().max() < 1e-6);
        assert!((jacobian - nalgebra::Matrix4::identity()).abs().max() > 0.5, "it went nowhere");
        Ok(())
    }

    /// Halving ε at a fixed length of the trajectory quarters the error in H.
    #[test]
    fn the_energy_error_is_of_order_two() -> Result<()> {
        let (target, from, momentum) = start(200, 2)?;
        let landscape: &dyn Energy = &target;
        let before = hamiltonian(&from, &momentum)?;
        let mut errors = Vec::new();
        for leapfrogs in [10, 20, 40, 80] {
            let step = 2.0 / leapfrogs as f64;
            let (end, p) = leapfrog(landscape, &from, &momentum, step, leapfrogs)?;
            let change = rows::host(&(hamiltonian(&end, &p)? - &before)?)?;
            errors.push((step, change.iter().map(|e| e.abs()).sum::<f64>() / 200.0));
        }
        assert!((slope(&errors) - 2.0).abs() < 0.1, "{errors:?}");
        Ok(())
    }

    /// On a Gaussian every moment is known; steps near the limit of stability cost acceptance and not truth.
    #[test]
    fn a_gaussian_is_stationary() -> Result<()> {
        let target =
            Mixture { weights: vec![1.0], means: vec![vec![1.0]], variances: vec![0.25], log_z: 0.0 };
        let n = 20_000;
        for (step, leapfrogs) in [(0.2, 5), (0.8, 3)] {
            let mut noise = Noise::new(3);
            let kernel = Hmc::new(step, leapfrogs)?;
            let mut chains = kernel.init(&target, &Tensor::zeros((n, 1), DType::F64, &Device::Cpu)?)?;
            let mut acceptance = 0.0;
            for _ in 0..40 {
                acceptance += kernel.step(&target, &mut chains, &mut noise)?.mean_acceptance() / 40.0;
            }
            assert!((0.3..1.0).contains(&acceptance), "{acceptance}");
            let moments = Moments::of(&rows::host(&chains.x)?);
            assert!((moments.mean() - 1.0).abs() < 4.0 * moments.standard_error(), "{}", moments.mean());
            let error = 4.0 * 0.25 * (2.0 / n as f64).sqrt();
            assert!((moments.variance() - 0.25).abs() < error, "{}", moments.variance());
        }
        Ok(())
    }

    /// Long trajectories carry mass between modes in the right proportion.
    #[test]
    fn a_mixture_keeps_its_masses() -> Result<()> {
        let (target, mut chains, _) = start(8_000, 4)?;
        let mut noise = Noise::new(5);
        let kernel = Hmc::new(0.5, 6)?;
        for _ in 0..10 {
            kernel.step(&target, &mut chains, &mut noise)?;
        }
        let fresh = target.sample(8_000, &mut noise)?;
        let left = |x: &Tensor| -> Result<Moments> {
            let is_left = |row: &[f64]| f64::from(row[0] < -0.5);
            Ok(Moments::of(&rows::host(x)?.chunks(2).map(is_left).collect::<Vec<_>>()))
        };
        let (got, want) = (left(&chains.x)?, left(&fresh)?);
        let error = 4.0 * got.standard_error().hypot(want.standard_error());
        assert!((got.mean() - want.mean()).abs() < error, "{} {}", got.mean(), want.mean());
        assert!(Hmc::new(0.1, 0).is_err() && Hmc::new(0.0, 3).is_err());
        Ok(())
    }
}
