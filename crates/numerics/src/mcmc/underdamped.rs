//! Underdamped Langevin dynamics: positions with momenta, unit masses, by the splitting BAOAB.
//!
//! ```text
//! dx = p dt,   dp = −∇U(x) dt − γ p dt + √(2γ) dW
//! B  p ← p − h/2 ∇U(x)        A  x ← x + h/2 p        O  p ← c p + √(1 − c²) ξ,  c = e^{−γh},  ξ ~ N(0, I)
//! A  x ← x + h/2 p            B  p ← p − h/2 ∇U(x)
//! ```
//!
//! It is not corrected. Positions err by O(h²) in general; on a Gaussian N(0, Σ) with h < 2 √λ_min(Σ) their stationary
//! law is exact, while the momenta have covariance I − h² Σ⁻¹/4. One gradient per step.
//! Source: Leimkuhler & Matthews (2013), arXiv:1203.5428, §3 and Eq. 9.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, StepInfo};

/// BAOAB with step size h and friction γ.
#[derive(Clone, Copy, Debug)]
pub struct Baoab {
    step: f64,
    friction: f64,
}

/// Positions and momenta.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Positions, energies and gradients.
    pub chains: Chains,
    /// Momenta, shaped like the positions.
    pub momentum: Tensor,
}

impl Baoab {
    /// The integrator with step size `step` > 0 and friction `friction` > 0; 1/`friction` is how long momenta last.
    ///
    /// # Errors
    /// If either makes no sense.
    pub fn new(step: f64, friction: f64) -> Result<Self> {
        if !(friction.is_finite() && friction > 0.0) {
            return Err(Error::config("friction", "a finite number above 0", friction));
        }
        Ok(Self { step: super::positive(step)?, friction })
    }

    /// Chains at `x` with momenta drawn from N(0, I).
    pub fn init(&self, target: &dyn Energy, x: &Tensor, noise: &mut Noise) -> Result<Phase> {
        let chains = Chains::at(target, x)?;
        let momentum = noise.normal_like(&chains.x)?;
        Ok(Phase { chains, momentum })
    }

    /// Moves every chain once, in place.
    pub fn step(&self, target: &dyn Energy, phase: &mut Phase, noise: &mut Noise) -> Result<StepInfo> {
        let half = 0.5 * self.step;
        let keep = (-self.friction * self.step).exp();
        // 1 − c² without cancellation where γh is small.
        let fresh = (-(-2.0 * self.friction * self.step).exp_m1()).sqrt();
        let kick = |p: &Tensor, gradient: &Tensor| p - (gradient * half)?;
        let drift = |x: &Tensor, p: &Tensor| x + (p * half)?;
        let p = kick(&phase.momentum, &phase.chains.gradient)?;
        let x = drift(&phase.chains.x, &p)?;
        let p = ((p * keep)? + (noise.normal_like(&x)? * fresh)?)?;
        let chains = Chains::at(target, &drift(&x, &p)?)?;
        let momentum = kick(&p, &chains.gradient)?.detach();
        let n = chains.x.dim(0)?;
        *phase = Phase { chains, momentum };
        Ok(StepInfo::always(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use crate::{Gaussian, rows};
    use candle_core::{DType, Device};

    /// One step on N(0, v) is (x, p) ↦ M (x, p) + n ξ: M is the product of the five parts and n is what the last two
    /// make of the noise, so means and covariances follow a recursion of 2×2 matrices.
    fn linear(v: f64, h: f64, friction: f64) -> ([[f64; 2]; 2], [f64; 2]) {
        let times = |a: [[f64; 2]; 2], b: [[f64; 2]; 2]| -> [[f64; 2]; 2] {
            std::array::from_fn(|i| std::array::from_fn(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]))
        };
        let c = (-friction * h).exp();
        let b = [[1.0, 0.0], [-0.5 * h / v, 1.0]];
        let a = [[1.0, 0.5 * h], [0.0, 1.0]];
        let o = [[1.0, 0.0], [0.0, c]];
        let last = times(b, a);
        let noise = (1.0 - c * c).sqrt();
        (times(last, times(o, times(a, b))), [last[0][1] * noise, last[1][1] * noise])
    }

    #[test]
    fn means_and_variances_follow_their_exact_law_and_positions_end_unbiased() -> Result<()> {
        let (n, sd, h, friction, from) = (20_000, [0.6, 1.5], 0.9, 0.7, 2.0);
        let target = Gaussian::diagonal(&[0.0; 2], &sd, DType::F64, &Device::Cpu)?;
        let (kernel, mut noise) = (Baoab::new(h, friction)?, Noise::new(3));
        let start = Tensor::full(from, (n, 2), &Device::Cpu)?;
        let mut phase = kernel.init(&target, &start, &mut noise)?;
        let mut law = sd.map(|sd| (linear(sd * sd, h, friction), [from, 0.0], [0.0, 0.0, 1.0]));
        for k in 1..=80 {
            kernel.step(&target, &mut phase, &mut noise)?;
            for (j, ((m, r), mean, [xx, xp, pp])) in law.iter_mut().enumerate() {
                *mean = [m[0][0] * mean[0] + m[0][1] * mean[1], m[1][0] * mean[0] + m[1][1] * mean[1]];
                let entry = |a: usize, b: usize| {
                    m[a][0] * m[b][0] * *xx
                        + (m[a][0] * m[b][1] + m[a][1] * m[b][0]) * *xp
                        + m[a][1] * m[b][1] * *pp
                        + r[a] * r[b]
                };
                let next = [entry(0, 0), entry(0, 1), entry(1, 1)];
                [*xx, *xp, *pp] = next;
                if ![1, 2, 5, 80].contains(&k) {
                    continue;
                }
                let x = Moments::of(&rows::host(&phase.chains.x.narrow(1, j, 1)?)?);
                let p = Moments::of(&rows::host(&phase.momentum.narrow(1, j, 1)?)?);
                for (got, mean, variance) in [(x, mean[0], *xx), (p, mean[1], *pp)] {
                    assert!((got.mean() - mean).abs() < 4.0 * (variance / n as f64).sqrt(), "step {k}");
                    let error = 4.0 * variance * (2.0 / n as f64).sqrt();
                    assert!((got.variance() - variance).abs() < error, "step {k}: {}", got.variance());
                }
            }
        }
        for (sd, (_, _, [xx, _, pp])) in sd.iter().zip(law) {
            let v = sd * sd;
            assert!((xx - v).abs() < 1e-6 * v, "{xx} {v}");
            assert!((pp - (1.0 - h * h / (4.0 * v))).abs() < 1e-6, "{pp}");
        }
        Ok(())
    }

    #[test]
    fn parameters_that_make_no_sense_are_errors() {
        for (step, friction) in [(0.0, 1.0), (f64::NAN, 1.0), (0.1, 0.0), (0.1, f64::INFINITY)] {
            assert!(Baoab::new(step, friction).is_err());
        }
    }
}
