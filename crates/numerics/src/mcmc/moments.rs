//! The path that averages moments: a bend of the geometric one, exact where both ends are Gaussian.
//!
//! ```text
//! m_β = β m,   S_β = (1 − β) I + β S + β (1 − β) m mᵀ            from N(0, I) to N(m, S)
//! R_β = −log N(z; m_β, S_β),   c_β = R_β − (1 − β) R_0 − β R_1,   U_β = (1 − β) U₀ + β U₁ + c_β
//! ```
//!
//! In between it is wide enough to hold both ends, where the geometric path of two narrow laws is narrow: its cost
//! does not grow with their distance in the same way. Where the target is not Gaussian, m and S are its moments, from
//! draws or data, and what is left of it goes the geometric way: q_β ∝ N(m_β, S_β) (e^{−U₁}/N(m, S))^β. Whatever m and
//! S are, c_β vanishes at both ends, so that weights stay unbiased.
//! Source: Grosse, Maddison & Salakhutdinov (2013), "Annealing between distributions by averaging moments", §4 and 5.

use candle_core::{DType, Tensor};
use genzoo_core::math::HALF_LOG_TAU;
use genzoo_core::{Error, Result};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{Gaussian, rows};

/// The bend between N(0, I), a base in its own whitened coordinates, and a normal law in those coordinates.
#[derive(Clone, Debug)]
pub struct MomentAverages {
    /// Q of S = Q diag(λ) Qᵀ, `(d, d)`; absent where S is diagonal.
    rotation: Option<Tensor>,
    mean: Tensor,      // Qᵀ m, (1, d)
    variances: Tensor, // λ, (1, d)
}

impl MomentAverages {
    /// The path from `base` to `target`, seen in the whitened coordinates of `base`.
    ///
    /// # Errors
    /// If their dimensions differ.
    pub fn between(base: &Gaussian, target: &Gaussian) -> Result<Self> {
        let d = base.dimension();
        if target.dimension() != d {
            return Err(Error::data("moments of the target", format!("{d} coordinates"), target.dimension()));
        }
        let (dtype, device) = (target.dtype(), target.device());
        let whiten = |z: &Tensor| -> Result<Vec<f64>> {
            rows::host(&base.whiten(&target.colour(z)?.to_dtype(base.dtype())?)?)
        };
        let mean = whiten(&Tensor::zeros((1, d), dtype, device)?)?;
        // Row i is m + the image of the i-th unit vector: S = Σ_i a_i a_iᵀ.
        let images = whiten(&Tensor::eye(d, dtype, device)?)?;
        let factor = DMatrix::from_fn(d, d, |i, j| images[i * d + j] - mean[j]);
        let covariance = factor.transpose() * factor;
        let diagonal = (0..d).all(|i| (0..i).all(|j| covariance[(i, j)] == 0.0));
        let row = |v: Vec<f64>| Tensor::from_vec(v, (1, d), device);
        if diagonal {
            let variances = (0..d).map(|i| covariance[(i, i)]).collect();
            return Ok(Self { rotation: None, mean: row(mean)?, variances: row(variances)? });
        }
        let eigen = SymmetricEigen::new(covariance);
        let q = &eigen.eigenvectors;
        let turned = (0..d).map(|j| (0..d).map(|i| q[(i, j)] * mean[i]).sum()).collect();
        let flat = (0..d * d).map(|k| q[(k / d, k % d)]).collect::<Vec<f64>>();
        Ok(Self {
            rotation: Some(Tensor::from_vec(flat, (d, d), device)?),
            mean: row(turned)?,
            variances: row(eigen.eigenvalues.iter().map(|v| v.max(f64::MIN_POSITIVE)).collect())?,
        })
    }

    /// c_β of rows `z`, `(b, d)`, at one β.
    pub(super) fn at(&self, z: &Tensor, beta: f64) -> Result<Vec<f64>> {
        let betas = Tensor::full(beta, z.dim(0)?, z.device())?;
        rows::host(&self.energy_and_gradient(z, &betas)?.0)
    }

    /// c_β and its gradient, `(b,)` and `(b, d)` in `f64`, for rows `z` with a β each.
    pub(super) fn energy_and_gradient(&self, z: &Tensor, betas: &Tensor) -> Result<(Tensor, Tensor)> {
        let z = z.to_dtype(DType::F64)?;
        let y = match &self.rotation {
            Some(q) => z.matmul(q)?,
            None => z,
        };
        let column = betas.to_dtype(DType::F64)?.unsqueeze(1)?;
        let (at, slope) = self.reference(&y, &column)?;
        let (start, first) = self.reference(&y, &column.zeros_like()?)?;
        let (end, last) = self.reference(&y, &column.ones_like()?)?;
        let rest = column.affine(-1.0, 1.0)?;
        let bent = |at: Tensor, start: &Tensor, end: &Tensor| -> Result<Tensor> {
            Ok(((at - start.broadcast_mul(&rest)?)? - end.broadcast_mul(&column)?)?)
        };
        let gradient = bent(slope, &first, &last)?;
        let gradient = match &self.rotation {
            Some(q) => gradient.matmul(&q.t()?)?,
            None => gradient,
        };
        Ok((bent(at, &start, &end)?.squeeze(1)?, gradient))
    }

    /// R_β, `(b, 1)`, and its gradient, in rotated coordinates. S_β is a diagonal D plus k m mᵀ, k = β (1 − β), so that
    /// `S⁻¹ = A − k A m mᵀ A/(1 + k mᵀ A m)` with A = D⁻¹, and log|S| = log|D| + log(1 + k mᵀ A m).
    fn reference(&self, y: &Tensor, beta: &Tensor) -> Result<(Tensor, Tensor)> {
        let rest = beta.affine(-1.0, 1.0)?;
        let variances = self.variances.broadcast_mul(beta)?.broadcast_add(&rest)?;
        let gap = (y - self.mean.broadcast_mul(beta)?)?;
        let scaled = (&gap / &variances)?; // A δ
        let pull = variances.recip()?.broadcast_mul(&self.mean)?; // A m
        let sum = |x: Tensor| x.sum_keepdim(1);
        let k = (beta * &rest)?;
        let grown = (sum(pull.broadcast_mul(&self.mean)?)? * &k)?.affine(1.0, 1.0)?;
        let along = sum(scaled.broadcast_mul(&self.mean)?)?; // mᵀ A δ
        let share = ((&along * &k)? / &grown)?;
        let form = (sum((&gap * &scaled)?)? - (&share * &along)?)?;
        let log_det = (sum(variances.log()?)? + grown.log()?)?;
        let d = self.mean.elem_count() as f64;
        let energy = ((form + log_det)? * 0.5)?.affine(1.0, d * HALF_LOG_TAU)?;
        Ok((energy, (scaled - pull.broadcast_mul(&share)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use genzoo_core::Noise;

    const BASE: ([f64; 2], [f64; 4]) = ([0.5, -1.0], [2.0, 0.6, 0.6, 0.5]);
    const END: ([f64; 2], [f64; 4]) = ([-2.0, 3.0], [0.3, -0.2, -0.2, 0.9]);

    /// −log N(x; mean, covariance) in the plane, by the textbook formula.
    fn minus_log(x: &[f64], mean: [f64; 2], c: [f64; 4]) -> f64 {
        let det = c[0] * c[3] - c[1] * c[2];
        let (a, b) = (x[0] - mean[0], x[1] - mean[1]);
        let form = (c[3] * a * a - (c[1] + c[2]) * a * b + c[0] * b * b) / det;
        0.5 * (form + det.ln()) + std::f64::consts::TAU.ln()
    }

    /// The normal law whose first and second moments are the averages of those of both ends.
    fn averaged(beta: f64) -> ([f64; 2], [f64; 4]) {
        let mix = |a: f64, b: f64| (1.0 - beta) * a + beta * b;
        let mean = [0, 1].map(|i| mix(BASE.0[i], END.0[i]));
        let second = |(m, c): ([f64; 2], [f64; 4]), k: usize| c[k] + m[k / 2] * m[k % 2];
        let covariance =
            [0, 1, 2, 3].map(|k| mix(second(BASE, k), second(END, k)) - mean[k / 2] * mean[k % 2]);
        (mean, covariance)
    }

    #[test]
    fn the_bend_leads_along_the_laws_of_averaged_moments() -> Result<()> {
        let cpu = Device::Cpu;
        let full = |(m, c): ([f64; 2], [f64; 4])| Gaussian::full(&m, &c, DType::F64, &cpu);
        let (base, end) = (full(BASE)?, full(END)?);
        let path = MomentAverages::between(&base, &end)?;
        assert!(path.rotation.is_some());
        let x = (Noise::new(1).normal((40, 2), DType::F64, &cpu)? * 3.0)?;
        let z = base.whiten(&x)?;
        for beta in [0.0, 0.1, 0.5, 0.83, 1.0] {
            let (m, c) = averaged(beta);
            for (x, bend) in rows::host(&x)?.chunks(2).zip(path.at(&z, beta)?) {
                // Densities of x and of z differ by the same constant at every β.
                let straight =
                    (1.0 - beta) * minus_log(x, BASE.0, BASE.1) + beta * minus_log(x, END.0, END.1);
                let want = minus_log(x, m, c) - straight;
                assert!((bend - want).abs() < 1e-10 * (1.0 + want.abs()), "{beta}: {bend} {want}");
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_the_energies() -> Result<()> {
        let cpu = Device::Cpu;
        let base = Gaussian::diagonal(&[0.2, -0.1, 0.0], &[2.0, 1.0, 0.5], DType::F64, &cpu)?;
        let ends = [
            Gaussian::diagonal(&[1.0, 2.0, -3.0], &[0.3, 1.4, 0.5], DType::F64, &cpu)?,
            Gaussian::full(
                &[1.0, 2.0, -3.0],
                &[1.0, 0.3, 0.1, 0.3, 0.8, -0.2, 0.1, -0.2, 0.5],
                DType::F64,
                &cpu,
            )?,
        ];
        let z = Noise::new(2).normal((7, 3), DType::F64, &cpu)?;
        let betas = Tensor::new(&[0.0, 0.2, 0.4, 0.5, 0.7, 0.9, 1.0], &cpu)?;
        for end in &ends {
            let path = MomentAverages::between(&base, end)?;
            let gradient = rows::host(&path.energy_and_gradient(&z, &betas)?.1)?;
            let h = 1e-5;
            for j in 0..3 {
                let mut unit = vec![0.0; 3];
                unit[j] = h;
                let unit = Tensor::from_vec(unit, (1, 3), &cpu)?;
                let at = |z: Tensor| rows::host(&path.energy_and_gradient(&z, &betas)?.0);
                let (up, down) = (at(z.broadcast_add(&unit)?)?, at(z.broadcast_sub(&unit)?)?);
                for (i, (up, down)) in up.iter().zip(down).enumerate() {
                    let (want, got) = ((up - down) / (2.0 * h), gradient[3 * i + j]);
                    assert!((got - want).abs() < 1e-7 * (1.0 + want.abs()), "{i} {j}: {got} {want}");
                }
            }
        }
        assert!(MomentAverages::between(&base, &Gaussian::standard(2, DType::F64, &cpu)?).is_err());
        Ok(())
    }
}
