//! Differential entropies: `H = −∫ p(x) log p(x) dx` in nats.

use std::f64::consts::{E, PI};

use genzoo_core::Noise;
use rayon::prelude::*;

use super::Law;

/// An entropy with its uncertainty and the number of evaluations it rests on (0: closed form).
#[derive(Clone, Copy, Debug)]
pub(super) struct Entropy {
    pub(super) value: f64,
    pub(super) stderr: f64,
    pub(super) n: u64,
}

impl Entropy {
    /// A closed form.
    pub(super) fn exact(value: f64) -> Self {
        Self { value, stderr: 0.0, n: 0 }
    }

    /// `½ log 2πeσ²`: one dimension of a Gaussian.
    pub(super) fn gaussian(sd: f64) -> f64 {
        0.5 * (2.0 * PI * E).ln() + sd.ln()
    }
}

/// More grid points than this take longer than Monte Carlo is inaccurate.
const MOST: f64 = 2e6;

/// By the trapezoid rule on a grid that covers the mass: spectrally accurate for smooth p once `step` is below
/// half its finest scale. The stated error is the change from the grid of twice the step.
/// Where the grid would be too large, by Monte Carlo with 2·10⁵ draws.
pub(super) fn on_grid(law: &dyn Law, low: [f64; 2], high: [f64; 2], step: f64) -> Entropy {
    let count = |i: usize| ((high[i] - low[i]) / (2.0 * step)).ceil() * 2.0 + 1.0;
    if count(0) * count(1) > MOST {
        return by_monte_carlo(law, 200_000);
    }
    let (nx, ny) = (count(0) as usize, count(1) as usize);
    let line = |iy: usize| {
        let y = low[1] + iy as f64 * step;
        let mut sums = [0.0; 2];
        for ix in 0..nx {
            let log_p = law.log_density(&[low[0] + ix as f64 * step, y]);
            let term = if log_p < -700.0 { 0.0 } else { -log_p.exp() * log_p };
            sums[0] += term;
            sums[1] += if (ix | iy) & 1 == 0 { 4.0 * term } else { 0.0 };
        }
        sums
    };
    // Collected in order before summing: the same bits on any number of threads.
    let lines: Vec<[f64; 2]> = (0..ny).into_par_iter().map(line).collect();
    let area = step * step;
    let value = area * lines.iter().map(|s| s[0]).sum::<f64>();
    let coarse = area * lines.iter().map(|s| s[1]).sum::<f64>();
    Entropy { value, stderr: (value - coarse).abs(), n: (nx * ny) as u64 }
}

/// By the mean of −log p over draws from the law.
pub(super) fn by_monte_carlo(law: &dyn Law, n: usize) -> Entropy {
    let width = law.uniforms();
    let block = 1000;
    let noise = Noise::new(0).fork("entropy");
    let sums = |i: usize| {
        let mut x = vec![0.0; law.dims()];
        let u = noise.at(i as u64).uniforms(block * width);
        u.chunks_exact(width).fold([0.0; 2], |[s, q], u| {
            law.draw(u, &mut x);
            let v = -law.log_density(&x);
            [s + v, q + v * v]
        })
    };
    let blocks: Vec<[f64; 2]> = (0..n.div_ceil(block)).into_par_iter().map(sums).collect();
    let n = (blocks.len() * block) as f64;
    let mean = blocks.iter().map(|b| b[0]).sum::<f64>() / n;
    let square = blocks.iter().map(|b| b[1]).sum::<f64>() / n;
    Entropy { value: mean, stderr: ((square - mean * mean).max(0.0) / n).sqrt(), n: n as u64 }
}
