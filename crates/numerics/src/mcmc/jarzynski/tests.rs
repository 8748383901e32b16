//! `E[e^A] = Z₁/Z₀` for every motion in one and two dimensions, against sums over a grid; the weight of ULA against
//! its formula typed out, and proof that the test would notice a wrong sign.

use super::*;
use crate::mcmc::{Hmc, Mala, Metropolis, ReflectedMala, Walls};
use crate::special::Moments;
use candle_core::Device;

/// `U_s = (1 − s) ½|x|² + s (¾ Σ (x_i² − 1)² + 0.4 x_0 + 0.5 Π x_i)`: from a Gaussian to unequal wells.
struct Wells(f64);

impl Wells {
    fn at(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let (s, product) = (self.0, x.iter().product::<f64>());
        let pair = if x.len() == 2 { 0.5 } else { 0.0 };
        let well: f64 = x.iter().map(|x| 0.75 * (x * x - 1.0).powi(2)).sum();
        let square: f64 = x.iter().map(|x| x * x).sum();
        let energy = (1.0 - s) * 0.5 * square + s * (well + 0.4 * x[0] + pair * product);
        let gradient = (0..x.len()).map(|i| {
            let tilt = if i == 0 { 0.4 } else { 0.0 };
            let other = if x.len() == 2 { x[1 - i] } else { 0.0 };
            (1.0 - s) * x[i] + s * (3.0 * x[i] * (x[i] * x[i] - 1.0) + tilt + pair * other)
        });
        (energy, gradient.collect())
    }

    /// Sums over a grid of the box `[low, high]^d`: log Z and the means of x_0 and x_0².
    fn grid(&self, d: usize, low: f64, high: f64) -> [f64; 3] {
        let n = if d == 1 { 4000 } else { 400 };
        let cell = (high - low) / n as f64;
        let at = |i: usize| low + (i as f64 + 0.5) * cell;
        let mut sums = [0.0; 3];
        let mut add = |x: &[f64]| {
            let p = (-self.at(x).0).exp() * cell.powi(d as i32);
            sums[0] += p;
            sums[1] += p * x[0];
            sums[2] += p * x[0] * x[0];
        };
        for i in 0..n {
            match d {
                1 => add(&[at(i)]),
                _ => (0..n).for_each(|j| add(&[at(i), at(j)])),
            }
        }
        [sums[0].ln(), sums[1] / sums[0], sums[2] / sums[0]]
    }
}

impl Energy for Wells {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n, d) = x.dims2()?;
        let host = rows::host(x)?;
        let (energies, gradients): (Vec<f64>, Vec<Vec<f64>>) = host.chunks(d).map(|x| self.at(x)).unzip();
        let gradient = Tensor::from_vec(gradients.concat(), (n, d), x.device())?;
        Ok((rows::tensor(energies, x.device())?, gradient))
    }
}

const STEPS: usize = 10;

fn protocol(k: usize) -> Wells {
    Wells(k as f64 / STEPS as f64)
}

/// Exact draws of the first target: normals, or normals refused outside the box.
fn start(n: usize, d: usize, walls: Option<(f64, f64)>, noise: &mut Noise) -> Result<Tensor> {
    let (low, high) = walls.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let mut values = Vec::new();
    while values.len() < n * d {
        values.extend(noise.normals(n).into_iter().filter(|x| (low..=high).contains(x)));
    }
    values.truncate(n * d);
    Ok(Tensor::from_vec(values, (n, d), &Device::Cpu)?)
}

/// `(mean e^A − e^{log ratio}) / its error`, and the same of the self-normalised means. A mean whose own error is above a
/// tenth rests on a few weights and proves nothing: infinitely many errors.
fn scores(log_weights: &[f64], x: &Tensor, log_ratio: f64, means: [f64; 2]) -> Result<Vec<f64>> {
    let w: Vec<f64> = log_weights.iter().map(|a| a.exp()).collect();
    let ratio = Moments::of(&w);
    if ratio.standard_error().is_nan() || ratio.standard_error() > 0.1 * ratio.mean() {
        return Ok(vec![f64::INFINITY]);
    }
    let mut out = vec![(ratio.mean() - log_ratio.exp()) / ratio.standard_error()];
    let d = x.dim(1)?;
    let first: Vec<f64> = rows::host(x)?.chunks(d).map(|x| x[0]).collect();
    for (power, mean) in [1, 2].into_iter().zip(means) {
        // Σ w (g − E g) has mean 0.
        let terms: Vec<f64> = w.iter().zip(&first).map(|(w, x)| w * (x.powi(power) - mean)).collect();
        let m = Moments::of(&terms);
        out.push(m.mean() / m.standard_error());
    }
    Ok(out)
}

fn motions(walls: Option<(f64, f64)>) -> Result<Vec<(&'static str, Motion)>> {
    // A longer step overshoots where the wells are steep, and weights then rest on a few walkers.
    let h = 0.05;
    let Some((low, high)) = walls else {
        return Ok(vec![
            ("ULA", Motion::ula(h)?),
            ("MALA", Motion::invariant(Mala::new(0.2)?)),
            ("HMC", Motion::invariant(Hmc::new(0.3, 4)?)),
            ("random walk", Motion::invariant(Metropolis::new(0.7)?)),
        ]);
    };
    let walls = Walls::cube(low, high, DType::F64, &Device::Cpu)?;
    Ok(vec![
        ("reflected ULA", Motion::reflected_ula(h, walls.clone())?),
        ("reflected MALA", Motion::invariant(ReflectedMala::new(0.2, walls)?)),
    ])
}

#[test]
fn the_mean_weight_is_the_ratio_of_partition_functions() -> Result<()> {
    let n = 10_000;
    for d in [1, 2] {
        for walls in [None, Some((-0.8, 1.3))] {
            let (low, high) = walls.unwrap_or((-6.0, 6.0));
            let (first, last) = (Wells(0.0).grid(d, low, high), Wells(1.0).grid(d, low, high));
            for (name, motion) in motions(walls)? {
                for windowed in [false, true] {
                    let mut noise = Noise::new(3).fork(name).at(d as u64);
                    let x = start(n, d, walls, &mut noise)?;
                    let mut walkers = Walkers::new(&Wells(0.0), &x)?;
                    for k in 1..=STEPS {
                        let target = protocol(k);
                        if windowed {
                            let at = (k % 4) * n / 4;
                            walkers.follow_window(&motion, &target, at..at + n / 4, 2, &mut noise)?;
                        } else {
                            walkers.follow(&motion, &target, &mut noise)?;
                            walkers.stay(&motion, &target, &mut noise)?;
                        }
                    }
                    let x = &walkers.chains().x;
                    let scores = scores(walkers.log_weights(), x, last[0] - first[0], [last[1], last[2]])?;
                    // 48 numbers: one beyond four errors would be a coincidence of three in a thousand.
                    assert!(
                        scores.iter().all(|z| z.abs() < 4.0),
                        "{name}, d = {d}, windowed {windowed}: {scores:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// The weight of ULA as Carbone's Eqs. 102–103 write it, row by row, with signs that can be got wrong.
fn typed_out(n: usize, d: usize, h: f64, signs: [f64; 3], noise: &mut Noise) -> Result<(Tensor, Vec<f64>)> {
    let mut x = rows::host(&start(n, d, None, noise)?)?;
    let mut a = vec![0.0; n];
    let alpha = |target: &Wells, x: &[f64], y: &[f64]| {
        let (u, g) = target.at(x);
        let along: f64 = (0..d).map(|i| (y[i] - x[i]) * g[i]).sum();
        let square: f64 = g.iter().map(|g| g * g).sum();
        u + signs[0] * 0.5 * along + signs[1] * 0.25 * h * square
    };
    for k in 0..STEPS {
        let (old, new) = (protocol(k), protocol(k + 1));
        let xi = noise.normals(n * d);
        for i in 0..n {
            let from = x[i * d..(i + 1) * d].to_vec();
            let g = old.at(&from).1;
            let to: Vec<f64> =
                (0..d).map(|j| from[j] - h * g[j] + (2.0 * h).sqrt() * xi[i * d + j]).collect();
            a[i] += signs[2] * (alpha(&old, &from, &to) - alpha(&new, &to, &from));
            x[i * d..(i + 1) * d].copy_from_slice(&to);
        }
    }
    Ok((Tensor::from_vec(x, (n, d), &Device::Cpu)?, a))
}

#[test]
fn the_weight_of_ula_is_that_of_the_formula_and_no_sign_of_it_can_be_wrong() -> Result<()> {
    for d in [1, 2] {
        let (n, h) = (20_000, 0.05);
        let root = Noise::new(8).at(d as u64);
        let (first, last) = (Wells(0.0).grid(d, -6.0, 6.0), Wells(1.0).grid(d, -6.0, 6.0));
        let judge = |x: &Tensor, a: &[f64]| scores(a, x, last[0] - first[0], [last[1], last[2]]);
        let (x, a) = typed_out(n, d, h, [1.0; 3], &mut root.clone())?;
        assert!(judge(&x, &a)?.iter().all(|z| z.abs() < 4.0));

        let mut noise = root.clone();
        let mut walkers = Walkers::new(&Wells(0.0), &start(n, d, None, &mut noise)?)?;
        for k in 1..=STEPS {
            walkers.follow(&Motion::ula(h)?, &protocol(k), &mut noise)?;
        }
        let gap = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(gap(walkers.log_weights(), &a) < 1e-10);
        assert!(gap(&rows::host(&walkers.chains().x)?, &rows::host(&x)?) < 1e-12);

        for wrong in [[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]] {
            let (x, a) = typed_out(n, d, h, wrong, &mut root.clone())?;
            let worst = judge(&x, &a)?.into_iter().map(f64::abs).fold(0.0, f64::max);
            assert!(worst > 8.0, "d = {d}, signs {wrong:?} pass with {worst:.1} errors");
        }
    }
    Ok(())
}

/// With resampling the estimate keeps its mean, and its stated error is the spread over repetitions.
#[test]
fn resampling_keeps_log_z_and_its_error() -> Result<()> {
    let (n, repeats) = (400, 60);
    let want = Wells(1.0).grid(2, -6.0, 6.0)[0] - Wells(0.0).grid(2, -6.0, 6.0)[0];
    let (mut estimates, mut errors, mut resampled) = (Vec::new(), Moments::default(), 0);
    for r in 0..repeats {
        let mut noise = Noise::new(11).at(r);
        let mut walkers = Walkers::new(&Wells(0.0), &start(n, 2, None, &mut noise)?)?;
        for k in 1..=STEPS {
            walkers.follow(&Motion::ula(0.07)?, &protocol(k), &mut noise)?;
            walkers.resample(0.7, &mut noise)?;
        }
        resampled += walkers.resampled();
        let (log_z, error) = walkers.log_z();
        estimates.push(log_z);
        errors.push(error);
    }
    assert!(resampled >= repeats, "{resampled}");
    let spread = Moments::of(&estimates);
    assert!((spread.mean() - want).abs() < 4.0 * spread.standard_error(), "{} {want}", spread.mean());
    // A standard deviation of 60 is known to 9 %.
    let ratio = errors.mean() / spread.variance().sqrt();
    assert!((0.7..1.4).contains(&ratio), "{ratio}");
    Ok(())
}

#[test]
fn walkers_left_behind_are_an_error_and_restored_ones_go_on_to_the_bit() -> Result<()> {
    let mut noise = Noise::new(1);
    let mut walkers = Walkers::new(&Wells(0.0), &start(16, 2, None, &mut noise)?)?;
    walkers.follow(&Motion::ula(0.05)?, &protocol(3), &mut noise)?;
    let mut again = Walkers::restore(walkers.chains().clone(), walkers.ledger())?;
    let mut copy = noise.clone();
    for (w, noise) in [(&mut walkers, &mut noise), (&mut again, &mut copy)] {
        w.follow(&Motion::ula(0.05)?, &protocol(4), noise)?;
        w.resample(1.1, noise)?;
    }
    assert_eq!(rows::host(&walkers.chains().x)?, rows::host(&again.chains().x)?);
    assert_eq!(walkers.log_z(), again.log_z());
    assert!(
        Walkers::restore(walkers.chains().clone(), Ledger { log_weights: vec![0.0], ..walkers.ledger() })
            .is_err()
    );
    walkers.log_weights.fill(f64::NEG_INFINITY);
    assert!(walkers.resample(0.5, &mut noise).is_err_and(|e| e.to_string().contains("no walker of 16")));
    assert!(Motion::ula(0.0).is_err());
    Ok(())
}
