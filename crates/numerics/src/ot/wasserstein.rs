//! Exact Wasserstein distances between equally many points.
//!
//! ```text
//! W_p(x, y)^p = min_σ (1/n) Σ_i |x_i − y_σ(i)|^p
//! ```

use candle_core::{DType, Tensor};
use genzoo_core::{Error, Result};

use super::assign;

/// `W_p` between two clouds `(n, event…)` of equally many rows, in `f64`; p = 1 or 2, usually.
///
/// # Errors
/// If the clouds differ in shape or are empty, if p < 1, or if a coordinate is not finite.
pub fn wasserstein(x: &Tensor, y: &Tensor, p: f64) -> Result<f64> {
    if x.dims() != y.dims() || x.elem_count() == 0 {
        return Err(Error::data(
            "second cloud",
            format!("shape {:?}, not empty", x.dims()),
            format!("{:?}", y.dims()),
        ));
    }
    if !(p >= 1.0 && p.is_finite()) {
        return Err(Error::config("p", "a finite number ≥ 1", p));
    }
    let n = x.dim(0)?;
    let mut costs = squared_distances(x, y)?;
    if p != 2.0 {
        costs.iter_mut().for_each(|c| *c = c.powf(0.5 * p));
    }
    Ok((assign(&costs, n)?.cost / n as f64).max(0.0).powf(1.0 / p))
}

/// `|x_i − y_j|²` for every pair of rows, row-major `(n, m)`, in `f64`.
///
/// In up to 16 dimensions by subtraction, which is exact for coinciding points; beyond by the product formula.
pub fn squared_distances(x: &Tensor, y: &Tensor) -> Result<Vec<f64>> {
    let (n, m) = (x.dim(0)?, y.dim(0)?);
    let (x, y) = (x.reshape((n, ()))?.to_dtype(DType::F64)?, y.reshape((m, ()))?.to_dtype(DType::F64)?);
    let d = x.dim(1)?;
    if y.dim(1)? != d {
        return Err(Error::data("second cloud", format!("{d} numbers per row"), y.dim(1)?));
    }
    if d <= 16 {
        let (x, y) = (x.flatten_all()?.to_vec1::<f64>()?, y.flatten_all()?.to_vec1::<f64>()?);
        let mut out = Vec::with_capacity(n * m);
        for a in x.chunks_exact(d) {
            out.extend(y.chunks_exact(d).map(|b| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()));
        }
        return Ok(out);
    }
    // Centring first keeps the cancellation small.
    let centre = x.mean_keepdim(0)?;
    let (x, y) = (x.broadcast_sub(&centre)?, y.broadcast_sub(&centre)?);
    let norms = |t: &Tensor| t.sqr()?.sum_keepdim(1);
    let cross = (x.matmul(&y.t()?)? * -2.0)?;
    let squared = cross.broadcast_add(&norms(&x)?)?.broadcast_add(&norms(&y)?.t()?)?.relu()?;
    Ok(squared.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ot::wasserstein_1d;
    use crate::rows;
    use candle_core::Device;
    use genzoo_core::Noise;

    fn cloud(n: usize, d: usize, seed: u64) -> Result<Tensor> {
        Noise::new(seed).normal((n, d), DType::F64, &Device::Cpu)
    }

    /// Moving every point by c moves the cloud by |c|; permuting the rows changes nothing.
    #[test]
    fn a_shift_costs_its_length() -> Result<()> {
        let x = cloud(100, 2, 1)?;
        let order: Vec<u32> = Noise::new(2).permutation(100).into_iter().map(|i| i as u32).collect();
        let shuffled = x.index_select(&Tensor::new(order, &Device::Cpu)?, 0)?;
        let moved = shuffled.broadcast_add(&Tensor::new(&[3f64, -4.0], &Device::Cpu)?)?;
        for p in [1.0, 2.0, 3.0] {
            assert!((wasserstein(&x, &moved, p)? - 5.0).abs() < 1e-12);
            assert!(wasserstein(&x, &shuffled, p)? == 0.0);
        }
        Ok(())
    }

    #[test]
    fn on_a_line_it_is_sorting() -> Result<()> {
        let (x, y) = (cloud(150, 1, 3)?, (cloud(150, 1, 4)?.exp()? * 2.0)?);
        for p in [1.0, 2.0] {
            let sorted = wasserstein_1d(&rows::host(&x)?, &rows::host(&y)?, p)?;
            assert!((wasserstein(&x, &y, p)? - sorted).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn both_distance_formulas_agree() -> Result<()> {
        let (x, y) = ((cloud(20, 30, 5)? + 100.0)?, (cloud(15, 30, 6)? + 101.0)?);
        let got = squared_distances(&x, &y)?;
        let (x, y) = (x.to_vec2::<f64>()?, y.to_vec2::<f64>()?);
        for (i, a) in x.iter().enumerate() {
            for (j, b) in y.iter().enumerate() {
                let want: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
                assert!((got[i * 15 + j] - want).abs() < 1e-10 * want);
            }
        }
        Ok(())
    }

    #[test]
    fn clouds_that_do_not_match_are_errors() -> Result<()> {
        assert!(wasserstein(&cloud(3, 2, 0)?, &cloud(4, 2, 0)?, 2.0).is_err());
        assert!(wasserstein(&cloud(3, 2, 0)?, &cloud(3, 1, 0)?, 2.0).is_err());
        assert!(wasserstein(&cloud(3, 2, 0)?, &cloud(3, 2, 0)?, 0.5).is_err());
        let nan = (cloud(3, 2, 0)? * f64::NAN)?;
        assert!(wasserstein(&nan, &cloud(3, 2, 0)?, 2.0).is_err());
        Ok(())
    }
}
