//! Carbone's student: the energy of two unit Gaussians with free means and masses, by hand and in `f64`.
//!
//! ```text
//! U_θ(x) = −log(e^{−|x−a|²/2v} + e^{−|x−b|²/2v − z}),   θ = (a, b, z)
//! Z_θ = (2πv)^{d/2} (1 + e^{−z}),                        mass of the mode at a = 1/(1 + e^{−z})
//! r = responsibility of b,  s = r(1 − r),  Δ = b − a,  m = a + rΔ
//! ∇U = (x − m)/v           ∂U/∂a = (1 − r)(a − x)/v      ∂U/∂b = r (b − x)/v      ∂U/∂z = r
//! ```
//!
//! Everything that training by any method needs is in closed form, log Z and the mass too: what a method gets wrong is
//! seen without an estimate. `v` is 1, or 1 + σ² for data with noise of deviation σ.
//!
//! | method           | gradient here                                       | source                       |
//! |------------------|-----------------------------------------------------|------------------------------|
//! | likelihood's two terms | [`TwoModes::mean_gradient`]                   | Carbone's guide, Eq. 94      |
//! | score matching   | [`TwoModes::score_matching`], `½|∇U|² − ΔU`          | Hyvärinen (2005)             |
//! | denoising        | [`TwoModes::denoising`], `½|∇U(x + σε) − ε/σ|²`      | Vincent (2011)               |
//! | noise contrast   | [`TwoModes::noise_contrast`]                        | Gutmann & Hyvärinen (2010)   |
//!
//! Source: Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414, §4.1.

use genzoo_core::capability::Energy;
use genzoo_core::{Result, Tensor};
use genzoo_numerics::rows;

/// The energy and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwoModes {
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
    pub(crate) z: f64,
    pub(crate) variance: f64,
}

/// A gradient with respect to (a, b, z).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
    pub(crate) z: f64,
}

impl Slope {
    fn zero(d: usize) -> Self {
        Self { a: vec![0.0; d], b: vec![0.0; d], z: 0.0 }
    }

    /// `self + c · other`.
    pub(crate) fn plus(mut self, c: f64, other: &Self) -> Self {
        self.a.iter_mut().zip(&other.a).for_each(|(x, y)| *x += c * y);
        self.b.iter_mut().zip(&other.b).for_each(|(x, y)| *x += c * y);
        self.z += c * other.z;
        self
    }

    pub(crate) fn dot(&self, other: &Self) -> f64 {
        let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        sum(&self.a, &other.a) + sum(&self.b, &other.b) + self.z * other.z
    }
}

impl TwoModes {
    /// Dimensions.
    pub(crate) fn dims(&self) -> usize {
        self.a.len()
    }

    /// Mass of the mode at `a`.
    pub(crate) fn mass(&self) -> f64 {
        1.0 / (1.0 + (-self.z).exp())
    }

    /// log Z, exactly.
    pub(crate) fn log_z(&self) -> f64 {
        0.5 * self.dims() as f64 * (std::f64::consts::TAU * self.variance).ln() + (-self.z).exp().ln_1p()
    }

    /// A step against `slope`, with rates for means and z.
    pub(crate) fn descend(&mut self, slope: &Slope, means: f64, z: f64) {
        self.a.iter_mut().zip(&slope.a).for_each(|(x, g)| *x -= means * g);
        self.b.iter_mut().zip(&slope.b).for_each(|(x, g)| *x -= means * g);
        self.z -= z * slope.z;
    }

    /// `U(x)` and the responsibility of b.
    pub(crate) fn at(&self, x: &[f64]) -> (f64, f64) {
        let (mut to_a, mut to_b) = (0.0, 0.0);
        for ((x, a), b) in x.iter().zip(&self.a).zip(&self.b) {
            to_a += (x - a) * (x - a);
            to_b += (x - b) * (x - b);
        }
        let half = 0.5 / self.variance;
        let (first, second) = (-half * to_a, -half * to_b - self.z);
        let gap = second - first;
        let tail = (-gap.abs()).exp();
        let r = if gap >= 0.0 { 1.0 / (1.0 + tail) } else { tail / (1.0 + tail) };
        (-first.max(second) - tail.ln_1p(), r)
    }

    /// `U` of every row of `x`, `n · d` numbers.
    pub(crate) fn energies<'a>(&'a self, x: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        x.chunks_exact(self.dims()).map(|x| self.at(x).0)
    }

    /// `Σ w ∂_θ U` over rows of `x` with weights; equal ones of sum 1 if there are none.
    pub(crate) fn mean_gradient(&self, x: &[f64], weights: Option<&[f64]>) -> Slope {
        let d = self.dims();
        let even = d as f64 / x.len() as f64;
        let mut out = Slope::zero(d);
        // Σ w(1 − r), Σ wr, and the same with x: the means are taken out of the sums.
        let (mut mass_a, mut mass_b) = (0.0, 0.0);
        for (i, x) in x.chunks_exact(d).enumerate() {
            let w = weights.map_or(even, |w| w[i]);
            let r = self.at(x).1;
            let (wa, wb) = (w * (1.0 - r), w * r);
            mass_a += wa;
            mass_b += wb;
            for ((x, a), b) in x.iter().zip(&mut out.a).zip(&mut out.b) {
                *a -= wa * x;
                *b -= wb * x;
            }
        }
        out.a.iter_mut().zip(&self.a).for_each(|(g, a)| *g = (*g + mass_a * a) / self.variance);
        out.b.iter_mut().zip(&self.b).for_each(|(g, b)| *g = (*g + mass_b * b) / self.variance);
        out.z = mass_b;
        out
    }

    /// Gradient of the mean of `½|∇U|² − ΔU` (v = 1), weighted as above: with e = x − m and κ = s((1 − 2r)|Δ|² − e·Δ),
    /// `−(1 − r)e − 2sΔ − κ(x − a)`, `−re + 2sΔ + κ(x − b)`, `−κ`.
    pub(crate) fn score_matching(&self, x: &[f64], weights: Option<&[f64]>) -> Slope {
        let d = self.dims();
        let even = d as f64 / x.len() as f64;
        let delta: Vec<f64> = self.b.iter().zip(&self.a).map(|(b, a)| b - a).collect();
        let length: f64 = delta.iter().map(|v| v * v).sum();
        let mut out = Slope::zero(d);
        for (k, x) in x.chunks_exact(d).enumerate() {
            let w = weights.map_or(even, |w| w[k]);
            let r = self.at(x).1;
            let s = r * (1.0 - r);
            let e = |i: usize| x[i] - self.a[i] - r * delta[i];
            let along: f64 = (0..d).map(|i| e(i) * delta[i]).sum();
            let kappa = s * ((1.0 - 2.0 * r) * length - along);
            for i in 0..d {
                out.a[i] += w * (-(1.0 - r) * e(i) - 2.0 * s * delta[i] - kappa * (x[i] - self.a[i]));
                out.b[i] += w * (-r * e(i) + 2.0 * s * delta[i] + kappa * (x[i] - self.b[i]));
            }
            out.z -= w * kappa;
        }
        out
    }

    /// Gradient of the mean of `½|∇U(y) − ε/σ|²` over y = x + σε: with e = ∇U(y) − ε/σ,
    /// `−((1 − r)e − s(e·Δ)(y − a)/v)/v`, `−(re + s(e·Δ)(y − b)/v)/v`, `s(e·Δ)/v`.
    pub(crate) fn denoising(&self, x: &[f64], epsilon: &[f64], sigma: f64) -> Slope {
        let (d, v) = (self.dims(), self.variance);
        let even = d as f64 / x.len() as f64;
        let delta: Vec<f64> = self.b.iter().zip(&self.a).map(|(b, a)| b - a).collect();
        let mut out = Slope::zero(d);
        let mut y = vec![0.0; d];
        for (x, epsilon) in x.chunks_exact(d).zip(epsilon.chunks_exact(d)) {
            y.iter_mut().zip(x).zip(epsilon).for_each(|((y, x), e)| *y = x + sigma * e);
            let r = self.at(&y).1;
            let s = r * (1.0 - r);
            let e = |i: usize| (y[i] - self.a[i] - r * delta[i]) / v - epsilon[i] / sigma;
            let along: f64 = (0..d).map(|i| e(i) * delta[i]).sum();
            for (i, y) in y.iter().enumerate() {
                out.a[i] -= even * ((1.0 - r) * e(i) - s * along * (y - self.a[i]) / v) / v;
                out.b[i] -= even * (r * e(i) + s * along * (y - self.b[i]) / v) / v;
            }
            out.z += even * s * along / v;
        }
        out
    }

    /// Gradient of `−mean log σ(G) − mean log σ(−G)` over data and as many noise rows, `G = −U − c − log q`, with
    /// respect to θ and to c. `log_q` is the noise's log-density at data and noise.
    pub(crate) fn noise_contrast(
        &self,
        data: (&[f64], &[f64]),
        noise: (&[f64], &[f64]),
        c: f64,
    ) -> (Slope, f64) {
        let side = |(x, log_q): (&[f64], &[f64]), sign: f64| {
            let n = log_q.len() as f64;
            let wrong: Vec<f64> = self
                .energies(x)
                .zip(log_q)
                .map(|(u, q)| 1.0 / (1.0 + (sign * (-u - c - q)).exp()) / n)
                .collect();
            (self.mean_gradient(x, Some(&wrong)), wrong.iter().sum::<f64>())
        };
        let ((on_data, missed), (on_noise, taken)) = (side(data, 1.0), side(noise, -1.0));
        (on_data.plus(-1.0, &on_noise), missed - taken)
    }
}

impl Energy for TwoModes {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        rows::tensor(self.energies(&rows::host(x)?).collect(), x.device())
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut gradient = rows::host(x)?;
        let energies = gradient
            .chunks_exact_mut(self.dims())
            .map(|x| {
                let (energy, r) = self.at(x);
                for ((x, a), b) in x.iter_mut().zip(&self.a).zip(&self.b) {
                    *x = (*x - a - r * (b - a)) / self.variance;
                }
                energy
            })
            .collect();
        Ok((rows::tensor(energies, x.device())?, Tensor::from_vec(gradient, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::{Device, Noise};
    use genzoo_testkit::{Tol, assert_close, finite_difference_gradient};

    fn student(theta: &[f64], variance: f64) -> TwoModes {
        let d = (theta.len() - 1) / 2;
        TwoModes { a: theta[..d].to_vec(), b: theta[d..2 * d].to_vec(), z: theta[2 * d], variance }
    }

    const THETA: [f64; 7] = [-0.8, 0.3, 0.1, 1.1, -0.2, 0.4, 0.35];

    fn flat(s: &Slope) -> Vec<f64> {
        [&s.a[..], &s.b[..], &[s.z]].concat()
    }

    /// log of the two bells added up, without a trick.
    fn plain(theta: &[f64], variance: f64, x: &[f64]) -> f64 {
        let d = x.len();
        let bell = |m: &[f64]| {
            (-x.iter().zip(m).map(|(x, m)| (x - m).powi(2)).sum::<f64>() / (2.0 * variance)).exp()
        };
        -(bell(&theta[..d]) + bell(&theta[d..2 * d]) * (-theta[2 * d]).exp()).ln()
    }

    fn data(n: usize) -> Vec<f64> {
        Noise::new(4).normals(3 * n).iter().map(|x| 1.3 * x).collect()
    }

    #[test]
    fn the_energy_is_that_of_the_mixture_and_its_gradient_its_slope() -> Result<()> {
        let model = student(&THETA, 1.4);
        let x = data(6);
        let (energy, gradient) =
            model.energy_and_gradient(&Tensor::from_vec(x.clone(), (6, 3), &Device::Cpu)?)?;
        let (energy, gradient) = (rows::host(&energy)?, rows::host(&gradient)?);
        for (i, x) in x.chunks(3).enumerate() {
            assert_close(energy[i], plain(&THETA, 1.4, x), Tol::rel(1e-13));
            let slope = finite_difference_gradient(|x| plain(&THETA, 1.4, x), x);
            assert_close(&gradient[3 * i..3 * i + 3], &slope, Tol::abs(1e-8));
        }
        // Far from both modes nothing overflows.
        let (u, r) = model.at(&[1e3, 0.0, 0.0]);
        assert!(u > 1e5 && u.is_finite() && (r - 1.0).abs() < 1e-12);
        Ok(())
    }

    /// Z and mass against a sum over a grid of the plane.
    #[test]
    fn log_z_and_mass_are_those_of_a_grid() {
        let model = student(&[-3.0, 0.0, 3.0, 0.5, 0.7], 1.0);
        let (mut z, mut left, cell) = (0.0, 0.0, 0.05f64);
        for i in -200..200 {
            for j in -200..200 {
                let x = [(f64::from(i) + 0.5) * cell, (f64::from(j) + 0.5) * cell];
                let (u, r) = model.at(&x);
                z += (-u).exp() * cell * cell;
                left += (1.0 - r) * (-u).exp() * cell * cell;
            }
        }
        assert!((z.ln() - model.log_z()).abs() < 1e-9);
        assert!((left / z - model.mass()).abs() < 1e-9);
    }

    /// Every method's gradient against differences of its loss, typed out from plain energies.
    #[test]
    fn gradients_are_the_slopes_of_the_losses() {
        let x = data(40);
        let n = 40.0;
        let by_difference = |loss: &dyn Fn(&[f64]) -> f64| finite_difference_gradient(loss, &THETA);
        let mean = |t: &[f64]| x.chunks(3).map(|x| plain(t, 1.0, x)).sum::<f64>() / n;
        assert_close(
            flat(&student(&THETA, 1.0).mean_gradient(&x, None)),
            by_difference(&mean),
            Tol::abs(1e-7),
        );

        let h = 1e-3;
        let space = |t: &[f64], v: f64, x: &[f64]| -> (Vec<f64>, f64) {
            let at = |i: usize, by: f64| {
                let mut x = x.to_vec();
                x[i] += by;
                plain(t, v, &x)
            };
            let here = plain(t, v, x);
            let gradient = (0..3).map(|i| (at(i, h) - at(i, -h)) / (2.0 * h)).collect();
            let laplacian = (0..3).map(|i| (at(i, h) + at(i, -h) - 2.0 * here) / (h * h)).sum();
            (gradient, laplacian)
        };
        let hyvarinen = |t: &[f64]| {
            let one = |x: &[f64]| {
                let (g, l) = space(t, 1.0, x);
                0.5 * g.iter().map(|g| g * g).sum::<f64>() - l
            };
            x.chunks(3).map(one).sum::<f64>() / n
        };
        let got = flat(&student(&THETA, 1.0).score_matching(&x, None));
        assert_close(&got, by_difference(&hyvarinen), Tol::abs(1e-4));

        let (sigma, epsilon) = (0.6, Noise::new(9).normals(120));
        let v = 1.0 + sigma * sigma;
        let vincent = |t: &[f64]| {
            let one = |(x, e): (&[f64], &[f64])| {
                let y: Vec<f64> = x.iter().zip(e).map(|(x, e)| x + sigma * e).collect();
                let g = space(t, v, &y).0;
                0.5 * g.iter().zip(e).map(|(g, e)| (g - e / sigma).powi(2)).sum::<f64>()
            };
            x.chunks(3).zip(epsilon.chunks(3)).map(one).sum::<f64>() / n
        };
        let got = flat(&student(&THETA, v).denoising(&x, &epsilon, sigma));
        assert_close(&got, by_difference(&vincent), Tol::abs(1e-5));

        let other: Vec<f64> = Noise::new(6).normals(120).iter().map(|x| 2.0 * x).collect();
        let log_q = |x: &[f64]| -> Vec<f64> {
            x.chunks(3).map(|x| -x.iter().map(|x| x * x).sum::<f64>() / 8.0 - 4.8).collect()
        };
        let c = 2.9;
        let logistic = |t: &[f64], c: f64| {
            let g = |x: &[f64], q: f64| -plain(t, 1.0, x) - c - q;
            let sum = |x: &[f64], sign: f64| -> f64 {
                x.chunks(3).zip(log_q(x)).map(|(x, q)| (1.0 + (-sign * g(x, q)).exp()).ln()).sum()
            };
            (sum(&x, 1.0) + sum(&other, -1.0)) / n
        };
        let (slope, by_c) =
            student(&THETA, 1.0).noise_contrast((&x, &log_q(&x)), (&other, &log_q(&other)), c);
        assert_close(flat(&slope), by_difference(&|t| logistic(t, c)), Tol::abs(1e-7));
        let difference = (logistic(&THETA, c + 1e-4) - logistic(&THETA, c - 1e-4)) / 2e-4;
        assert_close(by_c, difference, Tol::abs(1e-7));
    }
}
