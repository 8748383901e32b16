//! Finding step sizes and masses before the chains count.
//!
//! ```text
//! dual averaging   H̄_t = (1 − 1/(t + t₀)) H̄_{t−1} + (δ − α_t)/(t + t₀)
//!                  log ε_t = μ − √t/γ H̄_t,   log ε̄_t = t^{−κ} log ε_t + (1 − t^{−κ}) log ε̄_{t−1}
//!                  μ = log 10 ε₀,   γ = 0.05,   t₀ = 10,   κ = 0.75
//! masses           M⁻¹ = n/(n + 5) Σ̂ + 5/(n + 5) 10⁻³ I
//! ```
//!
//! δ is the acceptance wanted, α_t the one measured, averaged over chains. What adapts does not sample: keep the draws
//! from after the warm-up only.
//! Source: Hoffman & Gelman (2014), Eq. 5–7 and §3.2; Stan Reference Manual, "HMC algorithm parameters", for masses
//! and windows.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, Kernel, Preconditioned};
use crate::special::Moments;
use crate::{Gaussian, rows};

/// Dual averaging of log ε.
#[derive(Clone, Copy, Debug)]
pub struct DualAveraging {
    acceptance: f64,
    centre: f64,
    gap: f64,
    log_step: f64,
    log_average: f64,
    count: u64,
}

impl DualAveraging {
    /// Starts at `step` > 0 and aims at the acceptance probability `acceptance`, strictly between 0 and 1.
    ///
    /// # Errors
    /// If either makes no sense.
    pub fn new(step: f64, acceptance: f64) -> Result<Self> {
        let log_step = super::positive(step)?.ln();
        if !(acceptance > 0.0 && acceptance < 1.0) {
            return Err(Error::config("acceptance", "a number between 0 and 1", acceptance));
        }
        let centre = log_step + 10f64.ln();
        Ok(Self { acceptance, centre, gap: 0.0, log_step, log_average: 0.0, count: 0 })
    }

    /// Learns from the acceptance probability measured at [`DualAveraging::step`]; NaN counts as 0.
    pub fn update(&mut self, acceptance: f64) {
        let acceptance = if acceptance.is_nan() { 0.0 } else { acceptance };
        self.count += 1;
        let t = self.count as f64;
        let weight = 1.0 / (t + 10.0);
        self.gap = (1.0 - weight) * self.gap + weight * (self.acceptance - acceptance);
        self.log_step = self.centre - t.sqrt() / 0.05 * self.gap;
        let share = t.powf(-0.75);
        self.log_average = share * self.log_step + (1.0 - share) * self.log_average;
    }

    /// The step size to try next.
    pub fn step(&self) -> f64 {
        self.log_step.exp()
    }

    /// The step size to keep.
    pub fn averaged(&self) -> f64 {
        if self.count == 0 { self.step() } else { self.log_average.exp() }
    }
}

/// What is learnt of the masses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mass {
    /// Nothing: unit masses.
    Unit,
    /// A mass per coordinate.
    Diagonal,
    /// A full matrix, d² numbers.
    Dense,
}

/// Mean and covariance of a stream of vectors in one stable pass (Welford 1962).
#[derive(Clone, Debug)]
pub struct Covariance {
    dense: bool,
    count: u64,
    mean: Vec<f64>,
    squares: Vec<f64>, // (d, d), or (d,) of the diagonal
}

impl Covariance {
    /// No vectors yet, of `d` numbers each; only variances are kept unless `dense`.
    pub fn new(d: usize, dense: bool) -> Self {
        Self { dense, count: 0, mean: vec![0.0; d], squares: vec![0.0; if dense { d * d } else { d }] }
    }

    /// Takes every row of `x`, `(n, event…)`, in.
    ///
    /// # Errors
    /// If the rows have another length.
    pub fn push_rows(&mut self, x: &Tensor) -> Result<()> {
        let d = self.mean.len();
        let got: usize = x.dims().iter().skip(1).product();
        if got != d {
            return Err(Error::data("row of a covariance", format!("{d} numbers"), got));
        }
        rows::host(x)?.chunks(d.max(1)).for_each(|row| self.push(row));
        Ok(())
    }

    fn push(&mut self, x: &[f64]) {
        self.count += 1;
        let n = self.count as f64;
        let before: Vec<f64> = x.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        self.mean.iter_mut().zip(&before).for_each(|(m, gap)| *m += gap / n);
        let after = x.iter().zip(&self.mean).map(|(x, m)| x - m);
        if self.dense {
            for (row, after) in self.squares.chunks_mut(x.len()).zip(after) {
                row.iter_mut().zip(&before).for_each(|(s, before)| *s += after * before);
            }
        } else {
            self.squares.iter_mut().zip(before.iter().zip(after)).for_each(|(s, (b, a))| *s += b * a);
        }
    }

    /// How many vectors were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The unbiased estimate, `(d, d)` row-major or the `(d,)` variances; NaN for fewer than two vectors.
    pub fn estimate(&self) -> Vec<f64> {
        let n = self.count as f64;
        let scale = if self.count < 2 { f64::NAN } else { 1.0 / (n - 1.0) };
        self.squares.iter().map(|s| s * scale).collect()
    }

    /// The coordinates for [`Preconditioned`]: mean 0 and the estimate, shrunk as written above.
    ///
    /// # Errors
    /// For fewer than two vectors, or if the estimate is not positive definite.
    pub fn scale(&self, dtype: DType, device: &Device) -> Result<Gaussian> {
        let (d, n) = (self.mean.len(), self.count as f64);
        let (own, unit) = (n / (n + 5.0), 1e-3 * 5.0 / (n + 5.0));
        let mut shrunk: Vec<f64> = self.estimate().iter().map(|s| own * s).collect();
        let centre = vec![0.0; d];
        if self.dense {
            (0..d).for_each(|i| shrunk[i * d + i] += unit);
            return Gaussian::full(&centre, &shrunk, dtype, device);
        }
        let sd: Vec<f64> = shrunk.iter().map(|v| (v + unit).sqrt()).collect();
        Gaussian::diagonal(&centre, &sd, dtype, device)
    }
}

/// How to warm chains up.
#[derive(Clone, Copy, Debug)]
pub struct WarmUp {
    /// Steps of all chains.
    pub steps: usize,
    /// The acceptance probability to reach: 0.234 for random walks, 0.574 for MALA, 0.651 for HMC, 0.8 for NUTS.
    pub acceptance: f64,
    /// The first step size, a guess.
    pub step: f64,
    /// What to learn of the masses. All chains are pooled.
    pub mass: Mass,
}

/// What a warm-up found: `Preconditioned::new(make(step)?, scale)` is the kernel to go on with.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// Step size in the coordinates of `scale`.
    pub step: f64,
    /// Coordinates whose covariance is the inverse mass matrix.
    pub scale: Gaussian,
    /// Mean acceptance over the last twentieth of the steps.
    pub acceptance: f64,
}

impl WarmUp {
    /// Moves `chains` in place by kernels `make(ε)`, learning ε at every step and the masses at the ends of windows.
    ///
    /// # Errors
    /// If the settings make no sense or a step fails.
    pub fn run<K: Kernel>(
        &self,
        make: impl Fn(f64) -> Result<K>,
        target: &dyn Energy,
        chains: &mut Chains,
        noise: &mut Noise,
    ) -> Result<Adapted> {
        let d: usize = chains.x.dims().iter().skip(1).product();
        let (dtype, device) = (chains.x.dtype(), chains.x.device().clone());
        let mut scale = Gaussian::standard(d, dtype, &device)?;
        let mut averaging = DualAveraging::new(self.step, self.acceptance)?;
        let mut covariance = Covariance::new(d, self.mass == Mass::Dense);
        let windows = if self.mass == Mass::Unit { vec![] } else { windows(self.steps) };
        let mut acceptance = Moments::default();
        for k in 0..self.steps {
            let kernel = Preconditioned::new(make(averaging.step())?, scale.clone());
            let info = kernel.step(target, chains, noise)?;
            averaging.update(info.mean_acceptance());
            if k + (self.steps / 20).max(1) >= self.steps {
                acceptance.push(info.mean_acceptance());
            }
            if windows.iter().any(|(start, end)| (*start..*end).contains(&k)) {
                covariance.push_rows(&chains.x)?;
            }
            if windows.iter().any(|(_, end)| k + 1 == *end) {
                scale = covariance.scale(dtype, &device)?;
                covariance = Covariance::new(d, self.mass == Mass::Dense);
                averaging = DualAveraging::new(averaging.averaged(), self.acceptance)?;
            }
        }
        Ok(Adapted { step: averaging.averaged(), scale, acceptance: acceptance.mean() })
    }
}

/// Stan's schedule in proportion: 15 % for the step size alone, windows that double from 5 %, 10 % to settle. The
/// last window takes what would be too short for one more.
fn windows(steps: usize) -> Vec<(usize, usize)> {
    let (first, last) = (steps * 15 / 100, steps - steps / 10);
    let mut windows = Vec::new();
    let (mut start, mut length) = (first, (steps / 20).max(2));
    while start + length <= last {
        let end = if start + 3 * length > last { last } else { start + length };
        windows.push((start, end));
        start = end;
        length *= 2;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::super::{Mala, Nuts};
    use super::*;

    /// The first three iterates by the paper's formulas, and the root of a response that falls in ε.
    #[test]
    fn dual_averaging_follows_its_recursion_and_finds_the_step() -> Result<()> {
        let mut averaging = DualAveraging::new(0.5, 0.7)?;
        let alpha = [0.9, 0.2, 0.6];
        let (mut h, mut mean) = (0.0, 0.0);
        for (t, alpha) in (1..).map(f64::from).zip(alpha) {
            averaging.update(alpha);
            h = h * (1.0 - 1.0 / (t + 10.0)) + (0.7 - alpha) / (t + 10.0);
            let log_step = 5f64.ln() - t.sqrt() / 0.05 * h;
            mean = t.powf(-0.75) * log_step + (1.0 - t.powf(-0.75)) * mean;
            assert!((averaging.step().ln() - log_step).abs() < 1e-12);
            assert!((averaging.averaged().ln() - mean).abs() < 1e-12);
        }
        let mut noise = Noise::new(1);
        for start in [1e-3, 1.0, 50.0] {
            let mut averaging = DualAveraging::new(start, 0.7)?;
            for z in noise.normals(3_000) {
                averaging.update((-averaging.step()).exp() + 0.1 * z);
            }
            // e^{−ε} = 0.7 at ε = 0.357; the iterates scatter by 0.03, and some 18 independent ones enter the average.
            assert!((averaging.averaged() + 0.7f64.ln()).abs() < 0.03, "{start}: {}", averaging.averaged());
        }
        averaging.update(f64::NAN);
        assert!(averaging.step().is_finite());
        assert!(DualAveraging::new(0.0, 0.7).is_err() && DualAveraging::new(1.0, 1.0).is_err());
        Ok(())
    }

    #[test]
    fn covariances_are_those_of_two_passes() -> Result<()> {
        let n = 50;
        let values: Vec<f64> = Noise::new(2).normals(3 * n).iter().map(|z| 1e6 + z).collect();
        let x = Tensor::from_vec(values.clone(), (n, 3), &Device::Cpu)?;
        let mean: Vec<f64> =
            (0..3).map(|j| values.chunks(3).map(|r| r[j] - 1e6).sum::<f64>() / n as f64).collect();
        let (mut dense, mut diagonal) = (Covariance::new(3, true), Covariance::new(3, false));
        for part in [x.narrow(0, 0, 20)?, x.narrow(0, 20, 30)?] {
            dense.push_rows(&part)?;
            diagonal.push_rows(&part)?;
        }
        for i in 0..3 {
            for j in 0..3 {
                let products = values.chunks(3).map(|r| (r[i] - 1e6 - mean[i]) * (r[j] - 1e6 - mean[j]));
                let want = products.sum::<f64>() / (n - 1) as f64;
                assert!((dense.estimate()[3 * i + j] - want).abs() < 1e-8);
                assert!(i != j || (diagonal.estimate()[i] - want).abs() < 1e-8);
            }
        }
        assert!(Covariance::new(3, true).scale(DType::F64, &Device::Cpu).is_err());
        assert!(dense.push_rows(&x.narrow(1, 0, 2)?).is_err());
        Ok(())
    }

    #[test]
    fn windows_double_and_leave_room_at_both_ends() {
        assert_eq!(windows(1_000), [(150, 200), (200, 300), (300, 500), (500, 900)]);
        for steps in [0, 1, 5, 20, 33, 100, 777] {
            let windows = windows(steps);
            assert!(windows.windows(2).all(|w| w[0].1 == w[1].0));
            assert!(windows.iter().all(|(start, end)| start + 2 <= *end && *end <= steps));
        }
    }

    /// A badly scaled Gaussian, started far from its covariance: the warm-up finds acceptance, scale and correlation.
    #[test]
    fn a_warm_up_learns_step_and_masses() -> Result<()> {
        let covariance = [25.0, 0.4, 0.4, 0.01];
        let target = Gaussian::full(&[3.0, -1.0], &covariance, DType::F64, &Device::Cpu)?;
        let start = Noise::new(5).normal((100, 2), DType::F64, &Device::Cpu)?;
        for mass in [Mass::Diagonal, Mass::Dense] {
            let mut noise = Noise::new(6);
            let mut chains = Chains::at(&target, &start)?;
            let warm_up = WarmUp { steps: 300, acceptance: 0.7, step: 1.0, mass };
            let found = warm_up.run(Mala::new, &target, &mut chains, &mut noise)?;
            assert!((found.acceptance - 0.7).abs() < 0.1, "{found:?}");
            let kernel = Preconditioned::new(Mala::new(found.step)?, found.scale.clone());
            let mut after = Moments::default();
            for _ in 0..30 {
                after.push(kernel.step(&target, &mut chains, &mut noise)?.mean_acceptance());
            }
            assert!((after.mean() - 0.7).abs() < 0.1, "{mass:?} {}", after.mean());
            // Unit vectors of z, seen in x, give the covariance.
            let unit = Tensor::new(&[[1.0f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
            let factor = found.scale.colour(&unit)?.to_vec2::<f64>()?;
            for (i, j) in [(0, 0), (0, 1), (1, 1)] {
                let got = factor[0][i] * factor[0][j] + factor[1][i] * factor[1][j];
                let want = if mass == Mass::Diagonal && i != j { 0.0 } else { covariance[2 * i + j] };
                let size = (covariance[3 * i] * covariance[3 * j]).sqrt();
                // The last window holds some thousands of independent rows.
                assert!((got - want).abs() < 0.1 * size, "{mass:?} {i} {j}: {got} {want}");
            }
        }
        let mut chains = Chains::at(&target, &start)?;
        let warm_up = WarmUp { steps: 300, acceptance: 0.574, step: 10.0, mass: Mass::Unit };
        let found = warm_up.run(Mala::new, &target, &mut chains, &mut Noise::new(7))?;
        assert!((found.acceptance - 0.574).abs() < 0.1, "{found:?}");
        // Without masses the narrow direction limits the step.
        assert!(found.step < 0.05, "{found:?}");
        // Trajectories of any length adapt by the same statistic.
        let mut chains = Chains::at(&target, &start.narrow(0, 0, 30)?)?;
        let warm_up = WarmUp { steps: 100, acceptance: 0.8, step: 0.5, mass: Mass::Diagonal };
        let found = warm_up.run(|step| Nuts::new(step, 6), &target, &mut chains, &mut Noise::new(8))?;
        assert!((found.acceptance - 0.8).abs() < 0.1, "{found:?}");
        Ok(())
    }
}
