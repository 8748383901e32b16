//! A mixture of K normals, with full or diagonal covariances, and one step of expectation maximisation.
//!
//! ```text
//! p(x) = Σ_k w_k N(x; m_k, S_k)
//! E    r_ik = w_k N(x_i; m_k, S_k)/p(x_i)
//! M    n_k = Σ_i r_ik,   w_k = n_k/n,   m_k = Σ_i r_ik x_i/n_k,   S_k = Σ_i r_ik (x_i − m_k)(x_i − m_k)ᵀ/n_k + f I
//! ```
//!
//! | symbol | shape                      | meaning                                                      |
//! |--------|----------------------------|--------------------------------------------------------------|
//! | `w`    | `(K,)`                     | weights                                                      |
//! | `m`    | `(K, d)`                   | means                                                        |
//! | `S`    | `(K, d, d)` or `(K, d)`    | covariances, or their diagonals                              |
//! | `f`    | number ≥ 0                 | floor of the variances; with 0 no step lowers the likelihood |
//!
//! Moments are taken about the old means, so that no digit is lost to data far from the origin. Sums run over fixed
//! blocks of rows in order: the same bits on any number of threads.
//!
//! Sources: Dempster, Laird & Rubin (1977), J. R. Statist. Soc. B 39, 1–38; the start by Arthur & Vassilvitskii (2007),
//! k-means++, Algorithm 1.

use genzoo_core::{Error, Noise, Result, math};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// Rows per block of a sum.
const BLOCK: usize = 256;

/// The parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mixture {
    pub(super) dims: usize,
    pub(super) weights: Vec<f64>,
    pub(super) means: Vec<f64>,
    /// K matrices, row-major, or K diagonals.
    pub(super) covariances: Vec<f64>,
}

impl Mixture {
    /// Number of components.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    fn is_full(&self) -> bool {
        self.covariances.len() > self.means.len()
    }

    /// The means by k-means++ among `rows`, and everywhere the variance that is left around the nearest of them.
    pub(super) fn start(
        rows: &[f64],
        dims: usize,
        k: usize,
        full: bool,
        floor: f64,
        noise: &mut Noise,
    ) -> Self {
        let n = rows.len() / dims;
        let row = |i: usize| &rows[i * dims..(i + 1) * dims];
        let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let mut means = Vec::with_capacity(k * dims);
        let mut nearest = vec![f64::INFINITY; n];
        for (j, u) in noise.uniforms(k).into_iter().enumerate() {
            // The first row uniformly, the others with probability in proportion to their squared distance.
            let weight = |i: usize| if j == 0 { 1.0 } else { nearest[i] };
            let mut rest = u * (0..n).map(weight).sum::<f64>();
            let chosen = (0..n).find(|&i| {
                rest -= weight(i);
                rest <= 0.0
            });
            let centre = row(chosen.unwrap_or(n - 1)).to_vec();
            nearest.par_iter_mut().enumerate().for_each(|(i, r)| *r = r.min(square(row(i), &centre)));
            means.extend(centre);
        }
        let variance = nearest.iter().sum::<f64>() / (n * dims) as f64 + floor;
        let covariances = match full {
            true => (0..k * dims * dims)
                .map(|i| if (i % (dims * dims)).is_multiple_of(dims + 1) { variance } else { 0.0 })
                .collect(),
            false => vec![variance; k * dims],
        };
        Self { dims, weights: vec![1.0 / k as f64; k], means, covariances }
    }

    /// Factors the covariances.
    ///
    /// # Errors
    /// If one is not positive definite.
    pub(super) fn ready(&self) -> Result<Ready<'_>> {
        let d = self.dims;
        let (mut lower, mut inverse, mut constants) = (Vec::new(), Vec::new(), Vec::new());
        for (k, weight) in self.weights.iter().enumerate() {
            let bad = || {
                Error::data(
                    format!("component {k} of the mixture"),
                    "a positive definite covariance",
                    "another",
                )
            };
            let log_det = if self.is_full() {
                let s = DMatrix::from_row_slice(d, d, &self.covariances[k * d * d..(k + 1) * d * d]);
                let l = s.cholesky().ok_or_else(bad)?.l();
                let i = l.solve_lower_triangular(&DMatrix::identity(d, d)).ok_or_else(bad)?;
                lower.extend_from_slice(l.transpose().as_slice());
                inverse.extend_from_slice(i.transpose().as_slice());
                2.0 * l.diagonal().iter().map(|v| v.ln()).sum::<f64>()
            } else {
                let variances = &self.covariances[k * d..(k + 1) * d];
                if variances.iter().any(|v| !(v.is_finite() && *v > 0.0)) {
                    return Err(bad());
                }
                lower.extend(variances.iter().map(|v| v.sqrt()));
                inverse.extend(variances.iter().map(|v| 1.0 / v.sqrt()));
                variances.iter().map(|v| v.ln()).sum::<f64>()
            };
            constants.push(weight.ln() - 0.5 * log_det - d as f64 * math::HALF_LOG_TAU);
        }
        Ok(Ready { mixture: self, lower, inverse, constants })
    }

    /// One step over `rows`: the next mixture, and the mean log-likelihood under this one.
    ///
    /// # Errors
    /// As [`Mixture::ready`].
    pub(super) fn improve(&self, rows: &[f64], floor: f64) -> Result<(Self, f64)> {
        let ready = self.ready()?;
        let (d, k, n) = (self.dims, self.len(), rows.len() / self.dims);
        let blocks: Vec<Sums> = rows.par_chunks(BLOCK * d).map(|block| ready.sums(block)).collect();
        let mut total = Sums::zero(self);
        for block in &blocks {
            total.add(block);
        }
        let mut next = self.clone();
        let per = self.covariances.len() / k;
        for c in 0..k {
            // As scikit-learn does, so that an empty component divides by something.
            let n_k = total.count[c] + 10.0 * f64::EPSILON;
            next.weights[c] = n_k;
            let shift: Vec<f64> = total.first[c * d..(c + 1) * d].iter().map(|f| f / n_k).collect();
            next.means[c * d..(c + 1) * d].iter_mut().zip(&shift).for_each(|(m, s)| *m += s);
            let covariance = &mut next.covariances[c * per..(c + 1) * per];
            let second = &total.second[c * per..(c + 1) * per];
            for (i, (s, sum)) in covariance.iter_mut().zip(second).enumerate() {
                let (a, b) = if per == d { (i, i) } else { (i / d, i % d) };
                *s = sum / n_k - shift[a] * shift[b] + if a == b { floor } else { 0.0 };
            }
        }
        let all: f64 = next.weights.iter().sum();
        next.weights.iter_mut().for_each(|w| *w /= all);
        Ok((next, total.log_p / n as f64))
    }
}

/// A mixture with the factors of its covariances.
pub(super) struct Ready<'a> {
    mixture: &'a Mixture,
    /// L with `S = L Lᵀ`, or standard deviations.
    lower: Vec<f64>,
    /// L⁻¹, or their inverses.
    inverse: Vec<f64>,
    /// `log w − ½ log|S| − d/2 log 2π`
    constants: Vec<f64>,
}

impl Ready<'_> {
    /// `log w_k N(x; m_k, S_k)` for every k.
    fn joint<'a>(&'a self, x: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let d = self.mixture.dims;
        let per = self.inverse.len() / self.constants.len();
        self.constants.iter().enumerate().map(move |(k, constant)| {
            let mean = &self.mixture.means[k * d..(k + 1) * d];
            let inverse = &self.inverse[k * per..(k + 1) * per];
            let squared: f64 = if per == d {
                x.iter().zip(mean).zip(inverse).map(|((x, m), i)| ((x - m) * i).powi(2)).sum()
            } else {
                let row = |i: usize| (0..=i).map(|j| inverse[i * d + j] * (x[j] - mean[j])).sum::<f64>();
                (0..d).map(|i| row(i).powi(2)).sum()
            };
            constant - 0.5 * squared
        })
    }

    /// `log p(x)`.
    pub(super) fn log_p(&self, x: &[f64]) -> f64 {
        let joint: Vec<f64> = self.joint(x).collect();
        log_sum_exp(&joint)
    }

    /// `m_k + L_k z`.
    pub(super) fn draw(&self, k: usize, z: &[f64]) -> Vec<f64> {
        let d = self.mixture.dims;
        let per = self.lower.len() / self.constants.len();
        let (mean, lower) = (&self.mixture.means[k * d..(k + 1) * d], &self.lower[k * per..(k + 1) * per]);
        let moved = |i: usize| match per == d {
            true => lower[i] * z[i],
            false => (0..=i).map(|j| lower[i * d + j] * z[j]).sum(),
        };
        (0..d).map(|i| mean[i] + moved(i)).collect()
    }

    fn sums(&self, rows: &[f64]) -> Sums {
        let d = self.mixture.dims;
        let per = self.mixture.covariances.len() / self.mixture.len();
        let mut sums = Sums::zero(self.mixture);
        let (mut joint, mut off) = (Vec::new(), vec![0.0; d]);
        for x in rows.chunks(d) {
            joint.clear();
            joint.extend(self.joint(x));
            let log_p = log_sum_exp(&joint);
            sums.log_p += log_p;
            for (k, j) in joint.iter().enumerate() {
                let r = (j - log_p).exp();
                if r == 0.0 {
                    continue;
                }
                sums.count[k] += r;
                let mean = &self.mixture.means[k * d..(k + 1) * d];
                off.iter_mut().zip(x).zip(mean).for_each(|((o, x), m)| *o = x - m);
                sums.first[k * d..(k + 1) * d].iter_mut().zip(&off).for_each(|(f, o)| *f += r * o);
                let second = &mut sums.second[k * per..(k + 1) * per];
                if per == d {
                    second.iter_mut().zip(&off).for_each(|(s, o)| *s += r * o * o);
                } else {
                    for (row, a) in second.chunks_mut(d).zip(&off) {
                        row.iter_mut().zip(&off).for_each(|(s, b)| *s += r * a * b);
                    }
                }
            }
        }
        sums
    }
}

/// `Σ r`, `Σ r (x − m)` and `Σ r (x − m)(x − m)ᵀ` per component, and `Σ log p`.
struct Sums {
    count: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    log_p: f64,
}

impl Sums {
    fn zero(m: &Mixture) -> Self {
        let zeros = |n: usize| vec![0.0; n];
        Self {
            count: zeros(m.len()),
            first: zeros(m.means.len()),
            second: zeros(m.covariances.len()),
            log_p: 0.0,
        }
    }

    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.count, &other.count),
            (&mut self.first, &other.first),
            (&mut self.second, &other.second),
        ];
        for (to, from) in pairs {
            to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        }
        self.log_p += other.log_p;
    }
}

/// `log Σ exp`, of finite numbers or −∞.
fn log_sum_exp(v: &[f64]) -> f64 {
    let top = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY { top } else { top + v.iter().map(|v| (v - top).exp()).sum::<f64>().ln() }
}
