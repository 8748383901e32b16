//! Laws with closed-form energies, written for one row in `f64`.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Device, Noise, Result};
use genzoo_numerics::rows;

/// An energy of one row: it writes the gradient and returns U.
pub(super) struct ByRows<F>(pub(super) F);

impl<F: Fn(&[f64], &mut [f64]) -> f64> Energy for ByRows<F> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, d) = x.dims2()?;
        let mut gradient = vec![0.0; b * d];
        let points = rows::host(x)?;
        let energies: Vec<f64> =
            points.chunks(d).zip(gradient.chunks_mut(d)).map(|(x, gradient)| (self.0)(x, gradient)).collect();
        let energies = Tensor::from_vec(energies, b, x.device())?.to_dtype(x.dtype())?;
        Ok((energies, Tensor::from_vec(gradient, (b, d), x.device())?.to_dtype(x.dtype())?))
    }
}

/// A mixture of isotropic Gaussians; U = −log p.
#[derive(Clone, Debug)]
pub(super) struct Mixture {
    /// Masses that sum to 1.
    pub(super) weights: Vec<f64>,
    /// Means, each of d numbers.
    pub(super) means: Vec<Vec<f64>>,
    /// Standard deviations.
    pub(super) deviations: Vec<f64>,
}

impl Mixture {
    /// `−log p(x)`; its gradient is written.
    pub(super) fn of_row(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let d = x.len() as f64;
        let log = |k: usize| {
            let (mean, s) = (&self.means[k], self.deviations[k]);
            let square: f64 = x.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).sum();
            self.weights[k].ln() - 0.5 * square / (s * s) - d * (s * std::f64::consts::TAU.sqrt()).ln()
        };
        let logs: Vec<f64> = (0..self.weights.len()).map(log).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logs.iter().map(|log| (log - top).exp()).sum();
        gradient.fill(0.0);
        for (k, log) in logs.iter().enumerate() {
            let pull = (log - top).exp() / total / self.deviations[k].powi(2);
            gradient
                .iter_mut()
                .zip(x.iter().zip(&self.means[k]))
                .for_each(|(g, (x, m))| *g += pull * (x - m));
        }
        -top - total.ln()
    }

    /// `n` independent draws, `(n, d)`.
    pub(super) fn sample(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        let d = self.means[0].len();
        let (sides, normals) = (noise.uniforms(n), noise.normals(n * d));
        let mut x = Vec::with_capacity(n * d);
        for (side, z) in sides.into_iter().zip(normals.chunks(d)) {
            let mut rest = side;
            let found = self.weights.iter().position(|w| {
                rest -= w;
                rest < 0.0
            });
            let k = found.unwrap_or(self.weights.len() - 1);
            x.extend(z.iter().zip(&self.means[k]).map(|(z, m)| m + self.deviations[k] * z));
        }
        Ok(Tensor::from_vec(x, (n, d), &Device::Cpu)?)
    }
}

impl Energy for Mixture {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        ByRows(|x: &[f64], g: &mut [f64]| self.of_row(x, g)).energy(x)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        ByRows(|x: &[f64], g: &mut [f64]| self.of_row(x, g)).energy_and_gradient(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_numerics::special::Moments;
    use genzoo_testkit::finite_difference_gradient;

    #[test]
    fn a_mixture_is_normalised_has_its_gradient_and_its_draws() -> Result<()> {
        let law = Mixture {
            weights: vec![0.3, 0.7],
            means: vec![vec![-1.0, 0.5], vec![1.0, 0.0]],
            deviations: vec![0.5, 0.8],
        };
        let h = 0.05;
        let grid: Vec<f64> = (-120..=120).map(|i| f64::from(i) * h).collect();
        let mut mass = 0.0;
        for &a in &grid {
            mass += grid.iter().map(|&b| h * h * (-law.of_row(&[a, b], &mut [0.0; 2])).exp()).sum::<f64>();
        }
        assert!((mass - 1.0).abs() < 1e-8, "{mass}");
        let x = law.sample(20_000, &mut Noise::new(1))?;
        let (energy, gradient) = law.energy_and_gradient(&x.narrow(0, 0, 5)?)?;
        let (rows, gradient) = (rows::host(&x)?, rows::host(&gradient)?);
        for (i, x) in rows.chunks(2).take(5).enumerate() {
            let want = finite_difference_gradient(|x| law.of_row(x, &mut [0.0; 2]), x);
            assert!((gradient[2 * i] - want[0]).abs() < 1e-6 && (gradient[2 * i + 1] - want[1]).abs() < 1e-6);
        }
        assert_eq!(energy.dims(), [5]);
        let second = Moments::of(&rows.chunks(2).map(|x| x[0] * x[0]).collect::<Vec<_>>());
        let want = 0.3 * 0.25 + 0.7 * 0.64 + 1.0;
        assert!((second.mean() - want).abs() < 4.0 * second.standard_error(), "{}", second.mean());
        Ok(())
    }
}
