//! Closed-form judges for this crate's tests: Gaussian mixtures, written row by row in plain `f64`.

use candle_core::Tensor;
use genzoo_core::capability::{Decoder, Energy, Velocity};
use genzoo_core::{Noise, Result};

use crate::rows;

/// The order of convergence of (step, error) pairs.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let (steps, errors): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    genzoo_testkit::order_of_convergence(&errors, &steps)
}

/// A mixture of isotropic Gaussians, whose energy is shifted by `log_z`.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    pub(crate) weights: Vec<f64>,
    pub(crate) means: Vec<Vec<f64>>,
    pub(crate) variances: Vec<f64>,
    /// The energy is −log p − log_z, so that the integral of e^{−U} is e^{log_z}.
    pub(crate) log_z: f64,
}

impl Mixture {
    /// Two unequal, overlapping components in the plane, with log Z = 1.7.
    pub(crate) fn pair() -> Self {
        Self {
            weights: vec![0.3, 0.7],
            means: vec![vec![-1.5, 0.5], vec![1.0, -0.5]],
            variances: vec![0.4, 0.9],
            log_z: 1.7,
        }
    }

    /// Log-density of one row and its gradient.
    pub(crate) fn log_density(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let d = x.len() as f64;
        let logs: Vec<f64> = (0..self.weights.len())
            .map(|k| {
                let v = self.variances[k];
                let square: f64 = x.iter().zip(&self.means[k]).map(|(x, m)| (x - m).powi(2)).sum();
                self.weights[k].ln() - 0.5 * square / v - 0.5 * d * (std::f64::consts::TAU * v).ln()
            })
            .collect();
        let top = logs.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = logs.iter().map(|l| (l - top).exp()).sum();
        let mut gradient = vec![0.0; x.len()];
        for (k, log) in logs.iter().enumerate() {
            let share = (log - top).exp() / total;
            for (g, (x, m)) in gradient.iter_mut().zip(x.iter().zip(&self.means[k])) {
                *g += share * (m - x) / self.variances[k];
            }
        }
        (top + total.ln(), gradient)
    }

    /// `vᵀ ∂²log p(x)`, from the responsibilities r and the pulls a_k = (m_k − x)/v_k:
    /// Σ r_k (a_k·v) a_k − (s·v) s − Σ r_k/v_k v.
    fn hessian_product(&self, x: &[f64], v: &[f64]) -> Vec<f64> {
        let (log_p, s) = self.log_density(x);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let sv = dot(&s, v);
        let mut out: Vec<f64> = s.iter().map(|s| -sv * s).collect();
        for k in 0..self.weights.len() {
            let var = self.variances[k];
            let pull: Vec<f64> = x.iter().zip(&self.means[k]).map(|(x, m)| (m - x) / var).collect();
            let log = self.weights[k].ln()
                - 0.5 * var * dot(&pull, &pull)
                - 0.5 * x.len() as f64 * (std::f64::consts::TAU * var).ln();
            let share = (log - log_p).exp();
            let pv = dot(&pull, v);
            for (i, out) in out.iter_mut().enumerate() {
                *out += share * (pv * pull[i] - v[i] / var);
            }
        }
        out
    }

    /// The mixture noised by x ↦ alpha x + sigma ε.
    pub(crate) fn noised(&self, alpha: f64, sigma: f64) -> Self {
        Self {
            weights: self.weights.clone(),
            means: self.means.iter().map(|m| m.iter().map(|m| alpha * m).collect()).collect(),
            variances: self.variances.iter().map(|v| alpha * alpha * v + sigma * sigma).collect(),
            log_z: self.log_z,
        }
    }

    /// Independent draws, `(n, d)` in `f64`.
    pub(crate) fn sample(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        let d = self.means[0].len();
        let (uniforms, normals) = (noise.uniforms(n), noise.normals(n * d));
        let mut out = Vec::with_capacity(n * d);
        for i in 0..n {
            let (mut k, mut mass) = (0, self.weights[0]);
            while uniforms[i] > mass && k + 1 < self.weights.len() {
                k += 1;
                mass += self.weights[k];
            }
            out.extend((0..d).map(|j| self.means[k][j] + self.variances[k].sqrt() * normals[i * d + j]));
        }
        Ok(Tensor::from_vec(out, (n, d), &candle_core::Device::Cpu)?)
    }

    /// Log-densities of every row.
    pub(crate) fn log_densities(&self, x: &Tensor) -> Result<Vec<f64>> {
        let d = x.dim(1)?;
        Ok(rows::host(x)?.chunks(d).map(|row| self.log_density(row).0).collect())
    }
}

impl Energy for Mixture {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, d) = x.dims2()?;
        let (mut energies, mut gradients) = (Vec::with_capacity(b), Vec::with_capacity(b * d));
        for row in rows::host(x)?.chunks(d) {
            let (log_p, gradient) = self.log_density(row);
            energies.push(-log_p - self.log_z);
            gradients.extend(gradient.iter().map(|g| -g));
        }
        let energies = Tensor::from_vec(energies, b, x.device())?.to_dtype(x.dtype())?;
        Ok((energies, Tensor::from_vec(gradients, (b, d), x.device())?.to_dtype(x.dtype())?))
    }
}

/// The probability-flow velocity of a mixture under variance-preserving noise with constant rate β:
/// alpha = e^{−βt/2}, dx/dt = −½β (x + ∇ log p_t(x)).
#[derive(Clone, Debug)]
pub(crate) struct MixtureFlow {
    pub(crate) mixture: Mixture,
    pub(crate) rate: f64,
}

impl MixtureFlow {
    pub(crate) fn at(&self, t: f64) -> Mixture {
        let alpha = (-0.5 * self.rate * t).exp();
        self.mixture.noised(alpha, (1.0 - alpha * alpha).sqrt())
    }
}

impl Velocity for MixtureFlow {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        Ok(self.velocity_vjp(x, t, &x.zeros_like()?)?.0)
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let d = x.dim(1)?;
        let (mut velocity, mut product) = (Vec::new(), Vec::new());
        for ((x, v), t) in rows::host(x)?.chunks(d).zip(rows::host(v)?.chunks(d)).zip(rows::host(t)?) {
            let law = self.at(t);
            let score = law.log_density(x).1;
            velocity.extend(x.iter().zip(score).map(|(x, s)| -0.5 * self.rate * (x + s)));
            let hessian = law.hessian_product(x, v);
            product.extend(v.iter().zip(hessian).map(|(v, h)| -0.5 * self.rate * (v + h)));
        }
        let shape = x.shape();
        Ok((
            Tensor::from_vec(velocity, shape, x.device())?.to_dtype(x.dtype())?,
            Tensor::from_vec(product, shape, x.device())?.to_dtype(x.dtype())?,
        ))
    }
}

/// z ~ N(0, I₂), x | z ~ N(A z + b, σ² I₃): probabilistic PCA, whose evidence is N(b, A Aᵀ + σ² I).
#[derive(Clone, Debug)]
pub(crate) struct LinearGaussian {
    pub(crate) a: [[f64; 2]; 3],
    pub(crate) b: [f64; 3],
    pub(crate) sigma: f64,
}

impl LinearGaussian {
    pub(crate) fn ppca() -> Self {
        Self { a: [[1.5, 0.2], [-0.4, 0.9], [0.7, -0.6]], b: [1.0, -2.0, 0.5], sigma: 0.35 }
    }

    fn mean(&self, z: &[f64]) -> [f64; 3] {
        std::array::from_fn(|i| self.a[i][0] * z[0] + self.a[i][1] * z[1] + self.b[i])
    }

    /// Pairs `(x, z)`, `(n, 3)` and `(n, 2)`.
    pub(crate) fn sample(&self, n: usize, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
        let (z, e) = (noise.normals(2 * n), noise.normals(3 * n));
        let mut x = Vec::with_capacity(3 * n);
        for (z, e) in z.chunks(2).zip(e.chunks(3)) {
            x.extend(self.mean(z).iter().zip(e).map(|(m, e)| m + self.sigma * e));
        }
        let cpu = &candle_core::Device::Cpu;
        Ok((Tensor::from_vec(x, (n, 3), cpu)?, Tensor::from_vec(z, (n, 2), cpu)?))
    }

    /// `log N(x; b, C)`, C = A Aᵀ + σ² I, by cofactors.
    pub(crate) fn log_evidence(&self, x: &Tensor) -> Result<Vec<f64>> {
        let c: [[f64; 3]; 3] = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let own = if i == j { self.sigma * self.sigma } else { 0.0 };
                self.a[i][0] * self.a[j][0] + self.a[i][1] * self.a[j][1] + own
            })
        });
        let cofactor = |i: usize, j: usize| {
            let (p, q, r, s) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
            c[p][r] * c[q][s] - c[p][s] * c[q][r]
        };
        let det: f64 = (0..3).map(|j| c[0][j] * cofactor(0, j)).sum();
        let value = |row: &[f64]| {
            let gap: Vec<f64> = row.iter().zip(self.b).map(|(x, b)| x - b).collect();
            let form: f64 = (0..9).map(|k| gap[k / 3] * cofactor(k / 3, k % 3) * gap[k % 3]).sum();
            -0.5 * (form / det + det.ln() + 3.0 * std::f64::consts::TAU.ln())
        };
        Ok(rows::host(x)?.chunks(3).map(value).collect())
    }
}

impl Decoder for LinearGaussian {
    fn latent_dim(&self) -> usize {
        2
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let means: Vec<f64> = rows::host(z)?.chunks(2).flat_map(|z| self.mean(z)).collect();
        Ok(Tensor::from_vec(means, (z.dim(0)?, 3), z.device())?)
    }

    fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        Ok(self.log_likelihood_and_gradient(x, z)?.0)
    }

    fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut values, mut gradient) = (Vec::new(), Vec::new());
        let variance = self.sigma * self.sigma;
        for (x, z) in rows::host(x)?.chunks(3).zip(rows::host(z)?.chunks(2)) {
            let gap: Vec<f64> = x.iter().zip(self.mean(z)).map(|(x, m)| x - m).collect();
            let square: f64 = gap.iter().map(|g| g * g).sum();
            values.push(-0.5 * square / variance - 1.5 * (std::f64::consts::TAU * variance).ln());
            gradient.extend((0..2).map(|j| (0..3).map(|i| self.a[i][j] * gap[i]).sum::<f64>() / variance));
        }
        Ok((rows::tensor(values, z.device())?, Tensor::from_vec(gradient, z.shape(), z.device())?))
    }
}
