//! Mixtures of isotropic Gaussians in any dimension.
//!
//! ```text
//! p(x) = Σ_k w_k N(x; c_k, σ_k² I)        ∇ log p(x) = Σ_k r_k(x) (c_k − x)/σ_k²,   r_k the posterior of k
//! ```

use std::f64::consts::PI;

use genzoo_core::Modes;
use rayon::prelude::*;

use super::Law;
use super::draws::{normals, pick};
use super::entropy::Entropy;
use super::special::log_sum_exp;

pub(super) struct Mixture {
    pub(super) dims: usize,
    pub(super) weights: Vec<f64>,
    pub(super) centers: Vec<Vec<f64>>,
    pub(super) sds: Vec<f64>,
}

impl Mixture {
    /// Equal weights and widths.
    pub(super) fn even(centers: Vec<Vec<f64>>, sd: f64) -> Self {
        let k = centers.len();
        Self { dims: 2, weights: vec![1.0 / k as f64; k], centers, sds: vec![sd; k] }
    }

    /// `log w_k N(x; c_k, σ_k²)` in the first coordinates, as many as `x` has.
    fn terms(&self, x: &[f64]) -> Vec<f64> {
        let term = |((w, c), sd): ((&f64, &Vec<f64>), &f64)| {
            let square: f64 = x.iter().zip(c).map(|(x, c)| (x - c) * (x - c)).sum();
            w.ln() - square / (2.0 * sd * sd) - x.len() as f64 * (0.5 * (2.0 * PI).ln() + sd.ln())
        };
        self.weights.iter().zip(&self.centers).zip(&self.sds).map(term).collect()
    }

    /// How many leading coordinates tell the components apart.
    fn active(&self) -> usize {
        let differs = |i: &usize| self.centers.iter().any(|c| c[*i] != self.centers[0][*i]);
        (0..self.dims).rev().find(differs).map_or(0, |i| i + 1)
    }

    /// `−Σ_k w_k ∫ N(z) log p(c_k + σ_k z) dz` in the active coordinates by the trapezoid rule in z.
    fn active_entropy(&self, active: usize, step: f64) -> f64 {
        let half = (8.0 / step).round() as i64;
        let z = |i: i64| i as f64 * step;
        let mass = |i: i64| step * (-0.5 * z(i) * z(i)).exp() / (2.0 * PI).sqrt();
        let others = if active == 2 { -half..=half } else { 0..=0 };
        let component = |k: usize| {
            let mut x = vec![0.0; active];
            let mut sum = 0.0;
            for i in -half..=half {
                for j in others.clone() {
                    for (a, (x, m)) in x.iter_mut().zip([i, j]).enumerate() {
                        *x = self.centers[k][a] + self.sds[k] * z(m);
                    }
                    let weight = mass(i) * if active == 2 { mass(j) } else { 1.0 };
                    sum -= weight * log_sum_exp(&self.terms(&x));
                }
            }
            self.weights[k] * sum
        };
        let parts: Vec<f64> = (0..self.weights.len()).into_par_iter().map(component).collect();
        parts.iter().sum()
    }
}

impl Law for Mixture {
    fn dims(&self) -> usize {
        self.dims
    }

    fn uniforms(&self) -> usize {
        2 * self.dims.div_ceil(2) + 1
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let (last, u) = (u[u.len() - 1], &u[..u.len() - 1]);
        let k = pick(last, &self.weights);
        normals(u, x);
        for (x, c) in x.iter_mut().zip(&self.centers[k]) {
            *x = c + self.sds[k] * *x;
        }
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        log_sum_exp(&self.terms(x))
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let terms = self.terms(x);
        let total = log_sum_exp(&terms);
        s.fill(0.0);
        for ((term, c), sd) in terms.iter().zip(&self.centers).zip(&self.sds) {
            let pull = (term - total).exp() / (sd * sd);
            s.iter_mut().zip(x).zip(c).for_each(|((s, x), c)| *s += pull * (c - x));
        }
        true
    }

    /// The coordinates in which all centres agree are independent Gaussians and have a closed form.
    fn entropy(&self) -> Entropy {
        let active = self.active().max(1);
        let rest: f64 = self.weights.iter().zip(&self.sds).map(|(w, sd)| w * Entropy::gaussian(*sd)).sum();
        let rest = (self.dims - active) as f64 * rest;
        let fine = self.active_entropy(active, 0.125);
        let coarse = self.active_entropy(active, 0.25);
        let n = 129u64.pow(active as u32) * self.weights.len() as u64;
        Entropy { value: fine + rest, stderr: (fine - coarse).abs(), n }
    }

    /// The radius holds 999 of 1000 draws of the widest component.
    fn modes(&self) -> Option<Modes> {
        let widest = self.sds.iter().copied().fold(0.0, f64::max);
        Some(Modes {
            centers: self.centers.clone(),
            masses: self.weights.clone(),
            radius: widest * chi_quantile_999(self.dims),
        })
    }
}

/// The .999 quantile of the norm of a standard normal in `d` dimensions (Wilson & Hilferty 1931; within 2 % at
/// d = 1, 1 % at d = 2, and better beyond).
fn chi_quantile_999(d: usize) -> f64 {
    let v = 2.0 / (9.0 * d as f64);
    (d as f64 * (1.0 - v + 3.090_232 * v.sqrt()).powi(3)).sqrt()
}
