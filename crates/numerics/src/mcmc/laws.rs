//! What every kernel must do, judged by exact draws and exact laws of targets that trip samplers.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result};

use super::{Chains, Hmc, Jittered, Kernel, Mala, Metropolis, Nuts, Preconditioned, Ula};
use crate::special::Moments;
use crate::targets::Mixture;
use crate::{Gaussian, rows};

/// A law with a closed-form energy and exact draws, row by row.
trait Law: Energy {
    fn dimension(&self) -> usize;
    /// `(n, d)`.
    fn draws(&self, n: usize, noise: &mut Noise) -> Result<Tensor>;
}

/// Draws made of D standard normals each.
fn made<const D: usize>(n: usize, noise: &mut Noise, of: impl Fn(&[f64]) -> [f64; D]) -> Result<Tensor> {
    let x: Vec<f64> = noise.normals(n * D).chunks(D).flat_map(of).collect();
    Ok(Tensor::from_vec(x, (n, D), &Device::Cpu)?)
}

/// Rows of (energy, gradient) as tensors.
fn tensors(x: &Tensor, of: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Result<(Tensor, Tensor)> {
    let (b, d) = x.dims2()?;
    let (mut energies, mut gradient) = (Vec::with_capacity(b), Vec::with_capacity(b * d));
    for row in rows::host(x)?.chunks(d) {
        let (energy, slope) = of(row);
        energies.push(energy);
        gradient.extend(slope);
    }
    Ok((Tensor::from_vec(energies, b, x.device())?, Tensor::from_vec(gradient, (b, d), x.device())?))
}

/// Neal's funnel: v ~ N(0, 3²), x_i | v ~ N(0, e^v) for two i. U = v²/18 + Σ x²e^{−v}/2 + v.
struct Funnel;

impl Energy for Funnel {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }
    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        tensors(x, |row| {
            let (v, narrow) = (row[0], (-row[0]).exp());
            let square = (row[1] * row[1] + row[2] * row[2]) * narrow;
            (
                v * v / 18.0 + 0.5 * square + v,
                vec![v / 9.0 - 0.5 * square + 1.0, row[1] * narrow, row[2] * narrow],
            )
        })
    }
}

impl Law for Funnel {
    fn dimension(&self) -> usize {
        3
    }
    fn draws(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        made(n, noise, |z| {
            let v = 3.0 * z[0];
            [v, (0.5 * v).exp() * z[1], (0.5 * v).exp() * z[2]]
        })
    }
}

/// Rosenbrock's valley as a density: x ~ N(1, 1/2), y | x ~ N(x², 1/10). U = (x − 1)² + 5 (y − x²)².
struct Rosenbrock;

impl Energy for Rosenbrock {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }
    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        tensors(x, |row| {
            let (along, across) = (row[0] - 1.0, row[1] - row[0] * row[0]);
            let slope = vec![2.0 * along - 20.0 * across * row[0], 10.0 * across];
            (along * along + 5.0 * across * across, slope)
        })
    }
}

impl Law for Rosenbrock {
    fn dimension(&self) -> usize {
        2
    }
    fn draws(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        made(n, noise, |z| {
            let x = 1.0 + 0.5f64.sqrt() * z[0];
            [x, x * x + 0.1f64.sqrt() * z[1]]
        })
    }
}

/// x = (2 z_0, z_0 + z_1): covariance [[4, 2], [2, 2]].
struct Correlated(Gaussian);

fn correlated() -> Result<Correlated> {
    Ok(Correlated(Gaussian::full(&[0.0; 2], &[4.0, 2.0, 2.0, 2.0], DType::F64, &Device::Cpu)?))
}

impl Energy for Correlated {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.0.energy(x)
    }
    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.0.energy_and_gradient(x)
    }
}

impl Law for Correlated {
    fn dimension(&self) -> usize {
        2
    }
    fn draws(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        made(n, noise, |z| [2.0 * z[0], z[0] + z[1]])
    }
}

impl Law for Mixture {
    fn dimension(&self) -> usize {
        2
    }
    fn draws(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        self.sample(n, noise)
    }
}

/// Chains that start in the law stay in it. Bounded statistics, because the funnel's moments are ruled by its tails.
fn assert_stationary(
    name: &str,
    law: &dyn Law,
    kernel: &dyn Kernel,
    (n, steps): (usize, usize),
) -> Result<()> {
    let mut noise = Noise::new(12).fork(name);
    let mut chains = kernel.init(law, &law.draws(n, &mut noise)?)?;
    let start = chains.x.clone();
    let mut acceptance = 0.0;
    for _ in 0..steps {
        acceptance += kernel.step(law, &mut chains, &mut noise)?.mean_acceptance() / steps as f64;
    }
    assert!((0.25..1.0).contains(&acceptance), "{name}: acceptance {acceptance}");
    let moved = rows::host(&(&chains.x - start)?)?.iter().map(|gap| gap.abs()).sum::<f64>() / n as f64;
    assert!(moved > 0.3, "{name}: moved by {moved}");
    let (got, fresh) = (rows::host(&chains.x)?, rows::host(&law.draws(n, &mut noise)?)?);
    let d = law.dimension();
    type Statistic = fn(f64) -> f64;
    let statistics: [Statistic; 4] =
        [f64::tanh, f64::cos, |x| f64::from(x > 0.7), |x| (0.3 * x).tanh().powi(2)];
    for j in 0..d {
        for (s, statistic) in statistics.iter().enumerate() {
            let of = |x: &[f64]| Moments::of(&x.chunks(d).map(|row| statistic(row[j])).collect::<Vec<_>>());
            let (got, fresh) = (of(&got), of(&fresh));
            let error = 4.0 * got.standard_error().hypot(fresh.standard_error());
            assert!((got.mean() - fresh.mean()).abs() < error, "{name}: statistic {s} of coordinate {j}");
        }
    }
    Ok(())
}

#[test]
fn every_corrected_kernel_leaves_every_target_invariant() -> Result<()> {
    let (gaussian, mixture) = (correlated()?, Mixture::pair());
    // A target, a step for the leapfrog, and one for the random walk.
    let targets: [(&str, &dyn Law, f64, f64); 4] = [
        ("gaussian", &gaussian, 0.9, 1.2),
        ("mixture", &mixture, 0.7, 1.2),
        ("funnel", &Funnel, 0.5, 0.8),
        ("rosenbrock", &Rosenbrock, 0.25, 0.4),
    ];
    for (name, law, step, walk) in targets {
        let d = law.dimension();
        let sd: Vec<f64> = (0..d).map(|j| 0.8 + 0.3 * j as f64).collect();
        let scale = Gaussian::diagonal(&vec![0.2; d], &sd, DType::F64, &Device::Cpu)?;
        let size = (4_000, 8);
        assert_stationary(name, law, &Metropolis::new(walk)?, size)?;
        assert_stationary(name, law, &Mala::new(0.5 * step * step)?, size)?;
        assert_stationary(name, law, &Hmc::new(step, 4)?, size)?;
        assert_stationary(
            name,
            law,
            &Preconditioned::new(Mala::new(0.5 * step * step)?, scale.clone()),
            size,
        )?;
        assert_stationary(name, law, &Jittered::new(|step| Hmc::new(step, 4), step, 0.5)?, size)?;
        assert_stationary(name, law, &Nuts::new(step, 6)?, (3_000, 4))?;
        assert_stationary(name, law, &Preconditioned::new(Nuts::new(step, 6)?, scale), (2_000, 3))?;
    }
    Ok(())
}

type Square = [[f64; 2]; 2];

fn times(a: Square, b: Square) -> Square {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]))
}

fn inverse(a: Square) -> Square {
    let det = a[0][0] * a[1][1] - a[0][1] * a[1][0];
    [[a[1][1] / det, -a[0][1] / det], [-a[1][0] / det, a[0][0] / det]]
}

fn identity_plus(a: Square, factor: f64) -> Square {
    std::array::from_fn(|i| std::array::from_fn(|j| f64::from(i == j) + factor * a[i][j]))
}

/// On N(m, Σ) every law of ULA is Gaussian: with A = I − hΣ⁻¹ the mean is m + Aᵏ (x_0 − m) and the covariance
/// 2h Σ_{i<k} A^{2i} (Carbone, Eq. 71), in the limit Σ (I − hΣ⁻¹/2)⁻¹ (Eq. 73), up to h = 2 λ_min(Σ).
#[test]
fn ula_follows_its_exact_law_at_every_step() -> Result<()> {
    let (sigma, mean, from, n): (Square, _, _, usize) =
        ([[1.6, 0.7], [0.7, 0.9]], [0.5, -1.0], [3.0, 2.0], 20_000);
    let h = 0.6; // λ_min = 0.467
    let flat = [sigma[0][0], sigma[0][1], sigma[1][0], sigma[1][1]];
    let target = Gaussian::full(&mean, &flat, DType::F64, &Device::Cpu)?;
    let (kernel, mut noise) = (Ula::new(h)?, Noise::new(8));
    let start = Tensor::new(&[from], &Device::Cpu)?.broadcast_as((n, 2))?.contiguous()?;
    let mut chains: Chains = kernel.init(&target, &start)?;
    let precision = inverse(sigma);
    let a = identity_plus(precision, -h);
    let (mut gap, mut covariance): (Square, Square) =
        ([[from[0] - mean[0], 0.0], [from[1] - mean[1], 0.0]], [[0.0; 2]; 2]);
    for k in 1..=80 {
        kernel.step(&target, &mut chains, &mut noise)?;
        gap = times(a, gap);
        // A is symmetric.
        covariance = times(times(a, covariance), a);
        (0..2).for_each(|i| covariance[i][i] += 2.0 * h);
        if k > 8 && k != 80 {
            continue;
        }
        let x = rows::host(&chains.x)?;
        for i in 0..2 {
            let mine = |row: &[f64], i: usize| row[i] - mean[i] - gap[i][0];
            let first = Moments::of(&x.chunks(2).map(|row| mine(row, i)).collect::<Vec<_>>());
            assert!(first.mean().abs() < 4.0 * (covariance[i][i] / n as f64).sqrt(), "mean at {k}");
            for j in 0..=i {
                let products: Vec<f64> = x.chunks(2).map(|row| mine(row, i) * mine(row, j)).collect();
                let want = covariance[i][j];
                let spread = covariance[i][i] * covariance[j][j] + want * want;
                let got = Moments::of(&products).mean();
                assert!(
                    (got - want).abs() < 4.0 * (spread / n as f64).sqrt(),
                    "covariance at {k}: {got} {want}"
                );
            }
        }
    }
    let limit = times(sigma, inverse(identity_plus(precision, -0.5 * h)));
    for (got, want) in covariance.iter().flatten().zip(limit.iter().flatten()) {
        assert!((got - want).abs() < 1e-10, "{got} {want}");
    }
    Ok(())
}

/// One step beyond h = 2 λ_min the chain explodes, one step short of it stays.
#[test]
fn ula_is_stable_up_to_twice_the_smallest_variance() -> Result<()> {
    let target = Gaussian::diagonal(&[0.0; 2], &[0.5, 2.0], DType::F64, &Device::Cpu)?;
    for (h, stable) in [(0.48, true), (0.52, false)] {
        let kernel = Ula::new(h)?;
        let mut chains = kernel.init(&target, &Tensor::zeros((50, 2), DType::F64, &Device::Cpu)?)?;
        for k in 0..400 {
            kernel.step(&target, &mut chains, &mut Noise::new(9).at(k))?;
        }
        let largest = rows::host(&chains.x)?.into_iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        assert_eq!(largest < 100.0, stable, "{h}: {largest}");
    }
    Ok(())
}
