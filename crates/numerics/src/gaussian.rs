//! The multivariate normal `N(m, L Lᵀ)`: density, sampling, and the change to whitened coordinates.
//!
//! ```text
//! x = m + L z,   z ~ N(0, I),   log p(x) = −½|z|² − d/2 log 2π − log|det L|
//! ```
//!
//! Events of any shape are seen flat, as vectors of d numbers.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result, math};

/// A normal distribution with a diagonal or a full covariance.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Tensor, // (d,)
    factor: Factor,
    log_det: f64,
}

#[derive(Clone, Debug)]
enum Factor {
    Diagonal { sd: Tensor },                                 // (d,)
    Full { transposed: Tensor, inverse_transposed: Tensor }, // Lᵀ and L⁻ᵀ, (d, d)
}

impl Gaussian {
    /// `N(0, I)` in `d` dimensions.
    pub fn standard(d: usize, dtype: DType, device: &Device) -> Result<Self> {
        Self::diagonal(&vec![0.0; d], &vec![1.0; d], dtype, device)
    }

    /// Independent coordinates with the given means and standard deviations.
    pub fn diagonal(mean: &[f64], sd: &[f64], dtype: DType, device: &Device) -> Result<Self> {
        if sd.len() != mean.len() {
            return Err(Error::data("standard deviations", format!("{} of them", mean.len()), sd.len()));
        }
        if let Some(bad) = sd.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(Error::data("standard deviation", "a finite number above 0", bad));
        }
        let log_det = sd.iter().map(|s| s.ln()).sum();
        let sd = Tensor::new(sd, device)?.to_dtype(dtype)?;
        Ok(Self {
            mean: Tensor::new(mean, device)?.to_dtype(dtype)?,
            factor: Factor::Diagonal { sd },
            log_det,
        })
    }

    /// A full covariance, row-major `(d, d)`.
    pub fn full(mean: &[f64], covariance: &[f64], dtype: DType, device: &Device) -> Result<Self> {
        let d = mean.len();
        if covariance.len() != d * d {
            return Err(Error::data("covariance", format!("{d}×{d} numbers"), covariance.len()));
        }
        let lower = cholesky(covariance, d)?;
        let log_det = (0..d).map(|i| lower[i * d + i].ln()).sum();
        let matrix = |m: Vec<f64>| {
            Ok::<_, Error>(Tensor::from_vec(m, (d, d), device)?.t()?.contiguous()?.to_dtype(dtype)?)
        };
        let inverse_transposed = matrix(invert_lower(&lower, d))?;
        let factor = Factor::Full { transposed: matrix(lower)?, inverse_transposed };
        Ok(Self { mean: Tensor::new(mean, device)?.to_dtype(dtype)?, factor, log_det })
    }

    /// The normal with the sample mean and covariance of `x`, `(n, event…)`, n ≥ 2, its standard deviations widened
    /// by `widen` (1 leaves them). Beyond 64 dimensions, or with too few rows for a full covariance, it is diagonal.
    pub fn fit(x: &Tensor, widen: f64) -> Result<Self> {
        let n = x.dim(0)?;
        let x = x.reshape((n, ()))?;
        let d = x.dim(1)?;
        if n < 2 {
            return Err(Error::data("rows to fit a Gaussian to", "at least 2", n));
        }
        let wide = x.to_dtype(DType::F64)?;
        let mean = wide.mean(0)?;
        let centred = wide.broadcast_sub(&mean)?;
        let means = mean.to_vec1::<f64>()?;
        if d <= 64 && n > 2 * d {
            let covariance =
                (centred.t()?.contiguous()?.matmul(&centred)? * (widen * widen / (n - 1) as f64))?;
            if let Ok(full) = Self::full(&means, &covariance.flatten_all()?.to_vec1()?, x.dtype(), x.device())
            {
                return Ok(full);
            }
        }
        let variance = (centred.sqr()?.sum(0)? / (n - 1) as f64)?.to_vec1::<f64>()?;
        // A constant coordinate gets a small width instead of none, or the density would not exist.
        let largest = variance.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let sd: Vec<f64> = variance.iter().map(|v| widen * v.max(1e-6 * largest).sqrt()).collect();
        Self::diagonal(&means, &sd, x.dtype(), x.device())
    }

    /// Number of coordinates.
    pub fn dimension(&self) -> usize {
        self.mean.elem_count()
    }

    /// The dtype of its tensors.
    pub fn dtype(&self) -> DType {
        self.mean.dtype()
    }

    /// The device of its tensors.
    pub fn device(&self) -> &Device {
        self.mean.device()
    }

    /// `log|det L|`.
    pub fn log_det(&self) -> f64 {
        self.log_det
    }

    /// `m + L z` of rows `(b, d)`.
    pub fn colour(&self, z: &Tensor) -> Result<Tensor> {
        let scaled = match &self.factor {
            Factor::Diagonal { sd } => z.broadcast_mul(sd)?,
            Factor::Full { transposed, .. } => z.matmul(transposed)?,
        };
        Ok(scaled.broadcast_add(&self.mean)?)
    }

    /// `L⁻¹ (x − m)` of rows `(b, d)`.
    pub fn whiten(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&self.mean)?;
        match &self.factor {
            Factor::Diagonal { sd } => Ok(centred.broadcast_div(sd)?),
            Factor::Full { inverse_transposed, .. } => Ok(centred.matmul(inverse_transposed)?),
        }
    }

    /// A gradient in x turned into the gradient in z: `Lᵀ g` of rows `(b, d)`.
    pub fn pull_gradient(&self, gradient: &Tensor) -> Result<Tensor> {
        match &self.factor {
            Factor::Diagonal { sd } => Ok(gradient.broadcast_mul(sd)?),
            Factor::Full { transposed, .. } => Ok(gradient.matmul(&transposed.t()?)?),
        }
    }

    /// A gradient in z turned into the gradient in x: `L⁻ᵀ g` of rows `(b, d)`.
    pub fn push_gradient(&self, gradient: &Tensor) -> Result<Tensor> {
        match &self.factor {
            Factor::Diagonal { sd } => Ok(gradient.broadcast_div(sd)?),
            Factor::Full { inverse_transposed, .. } => Ok(gradient.matmul(&inverse_transposed.t()?)?),
        }
    }

    /// `n` independent draws, `(n, d)`.
    pub fn sample(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        self.colour(&noise.normal((n, self.dimension()), self.dtype(), self.device())?)
    }

    /// Log-density of rows `(b, d)`, `(b,)` in `f64`.
    pub fn log_density(&self, x: &Tensor) -> Result<Tensor> {
        let z = self.whiten(x)?.to_dtype(DType::F64)?;
        Ok((math::log_standard_normal(&z)? - self.log_det)?)
    }
}

/// `U = −log p` in `f64`, so that log Z is 0. Events of any shape are seen flat.
impl Energy for Gaussian {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let z = self.whiten(&x.reshape((x.dim(0)?, ()))?)?.detach();
        let energy = (math::log_standard_normal(&z.to_dtype(DType::F64)?)?.neg()? + self.log_det)?;
        Ok((energy, self.push_gradient(&z)?.reshape(x.shape())?))
    }
}

/// The lower triangular L with L Lᵀ = `matrix`, row-major.
fn cholesky(matrix: &[f64], d: usize) -> Result<Vec<f64>> {
    let mut lower = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| lower[i * d + k] * lower[j * d + k]).sum();
            let rest = matrix[i * d + j] - dot;
            lower[i * d + j] = if i == j { rest.sqrt() } else { rest / lower[j * d + j] };
        }
        let pivot = lower[i * d + i];
        if !(pivot.is_finite() && pivot > 0.0) {
            return Err(Error::data(
                "covariance",
                "a positive definite matrix",
                format!("pivot {i} is {pivot}"),
            ));
        }
    }
    Ok(lower)
}

/// The inverse of a lower triangular matrix, column by column.
fn invert_lower(lower: &[f64], d: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; d * d];
    for j in 0..d {
        for i in j..d {
            let unit = if i == j { 1.0 } else { 0.0 };
            let dot: f64 = (j..i).map(|k| lower[i * d + k] * inverse[k * d + j]).sum();
            inverse[i * d + j] = (unit - dot) / lower[i * d + i];
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    const MEAN: [f64; 2] = [1.0, -2.0];
    const COVARIANCE: [f64; 4] = [2.0, 0.6, 0.6, 0.5];

    fn full() -> Result<Gaussian> {
        Gaussian::full(&MEAN, &COVARIANCE, DType::F64, &Device::Cpu)
    }

    #[test]
    fn the_density_is_the_textbook_formula() -> Result<()> {
        let x = Tensor::new(&[[0.3f64, -1.0], [4.0, 2.0]], &Device::Cpu)?;
        let got = rows::host(&full()?.log_density(&x)?)?;
        let det = COVARIANCE[0] * COVARIANCE[3] - COVARIANCE[1] * COVARIANCE[2];
        for (row, got) in x.to_vec2::<f64>()?.iter().zip(got) {
            let (a, b) = (row[0] - MEAN[0], row[1] - MEAN[1]);
            let form = (COVARIANCE[3] * a * a - 2.0 * COVARIANCE[1] * a * b + COVARIANCE[0] * b * b) / det;
            let want = -0.5 * form - std::f64::consts::TAU.ln() - 0.5 * det.ln();
            assert!((got - want).abs() < 1e-13);
        }
        Ok(())
    }

    #[test]
    fn whitening_undoes_colouring_and_gradients_follow_the_chain_rule() -> Result<()> {
        let z = Tensor::new(&[[0.3f64, -1.0], [1.1, 0.4]], &Device::Cpu)?;
        let diagonal = Gaussian::diagonal(&MEAN, &[0.5, 3.0], DType::F64, &Device::Cpu)?;
        for gaussian in [full()?, diagonal] {
            let x = gaussian.colour(&z)?;
            let back = rows::host(&(gaussian.whiten(&x)? - &z)?)?;
            assert!(back.iter().all(|e| e.abs() < 1e-14));
            // d/dz of c·x(z) is Lᵀc; x is affine in z, so a difference quotient is exact.
            let c = Tensor::new(&[[1.0f64, -0.7], [0.2, 2.0]], &Device::Cpu)?;
            let pulled = gaussian.pull_gradient(&c)?.to_vec2::<f64>()?;
            for j in [0, 1] {
                let unit = Tensor::new(&[[1.0 - j as f64, j as f64]; 2], &Device::Cpu)?;
                let moved = (gaussian.colour(&(&z + unit)?)? - &x)?;
                let change = (moved * &c)?.sum(1)?.to_vec1::<f64>()?;
                for (change, pulled) in change.iter().zip(&pulled) {
                    assert!((change - pulled[j]).abs() < 1e-14);
                }
            }
            let pushed = rows::host(&gaussian.push_gradient(&gaussian.pull_gradient(&c)?)?)?;
            for (pushed, c) in pushed.iter().zip(rows::host(&c)?) {
                assert!((pushed - c).abs() < 1e-14);
            }
        }
        Ok(())
    }

    #[test]
    fn the_energy_is_minus_the_log_density_and_has_its_gradient() -> Result<()> {
        let x = Tensor::new(&[[0.3f64, -1.0], [4.0, 2.0]], &Device::Cpu)?;
        let (energy, gradient) = full()?.energy_and_gradient(&x)?;
        let sum = rows::host(&(energy + full()?.log_density(&x)?)?)?;
        assert!(sum.iter().all(|s| s.abs() < 1e-13));
        for j in [0, 1] {
            // The energy is quadratic, so a symmetric difference quotient is exact.
            let unit = Tensor::new(&[[1.0 - j as f64, j as f64]; 2], &Device::Cpu)?;
            let slope = ((full()?.energy(&(&x + &unit)?)? - full()?.energy(&(&x - &unit)?)?)? * 0.5)?;
            for (slope, row) in rows::host(&slope)?.iter().zip(gradient.to_vec2::<f64>()?) {
                assert!((slope - row[j]).abs() < 1e-11, "{slope} {}", row[j]);
            }
        }
        Ok(())
    }

    #[test]
    fn fitting_recovers_mean_and_covariance() -> Result<()> {
        let n = 20_000;
        let x = full()?.sample(n, &mut Noise::new(5))?;
        let fitted = Gaussian::fit(&x, 1.0)?;
        let want = full()?.log_density(&x)?.mean_all()?.to_scalar::<f64>()?;
        let got = fitted.log_density(&x)?.mean_all()?.to_scalar::<f64>()?;
        // Twice the gain in log-likelihood of the maximum is χ² with 5 degrees of freedom: mean 5, sd √10.
        let chi = 2.0 * n as f64 * (got - want);
        assert!((0.0..5.0 + 4.0 * 10f64.sqrt()).contains(&chi), "{chi}");
        Ok(())
    }

    #[test]
    fn impossible_covariances_are_errors() {
        let cpu = Device::Cpu;
        assert!(Gaussian::full(&[0.0; 2], &[1.0, 2.0, 2.0, 1.0], DType::F64, &cpu).is_err());
        assert!(Gaussian::full(&[0.0; 2], &[1.0], DType::F64, &cpu).is_err());
        assert!(Gaussian::diagonal(&[0.0], &[0.0], DType::F64, &cpu).is_err());
        assert!(Gaussian::diagonal(&[0.0], &[1.0, 1.0], DType::F64, &cpu).is_err());
    }
}
