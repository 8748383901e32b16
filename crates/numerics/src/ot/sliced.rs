//! Sliced Wasserstein distance: the mean over directions of the distance between projections.
//!
//! ```text
//! SW_2² = E_θ W_2²(θ·x, θ·y),   θ uniform on the unit sphere
//! ```
//!
//! Source: Bonneel et al. (2015), §2–3. For clouds that differ by a shift c, SW_2² = |c|²/d.

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Error, Noise, Result};

use super::one_dimensional::{sorted, sorted_cost};
use crate::special::Moments;

/// A sliced distance and the error that its finitely many directions leave.
#[derive(Clone, Copy, Debug)]
pub struct SlicedEstimate {
    /// `SW_2`.
    pub value: f64,
    /// Its standard error over directions, by the delta method.
    pub standard_error: f64,
}

/// `k` directions uniform on the unit sphere, `(k, d)` in `f64`.
pub fn projections(k: usize, d: usize, noise: &mut Noise) -> Result<Tensor> {
    let theta = noise.normal((k, d), DType::F64, &Device::Cpu)?;
    Ok(theta.broadcast_div(&theta.sqr()?.sum_keepdim(1)?.sqrt()?)?)
}

/// `SW_2` between clouds `(n, event…)` and `(m, event…)` along `directions`, `(k, d)`.
///
/// # Errors
/// If the shapes do not match, a cloud is empty, or a coordinate is not finite.
pub fn sliced_wasserstein(x: &Tensor, y: &Tensor, directions: &Tensor) -> Result<SlicedEstimate> {
    let project = |cloud: &Tensor| -> Result<Vec<Vec<f64>>> {
        let flat = cloud.reshape((cloud.dim(0)?, ()))?.to_dtype(DType::F64)?;
        let d = directions.dim(1)?;
        if flat.dim(1)? != d {
            return Err(Error::data("cloud", format!("{d} numbers per row"), flat.dim(1)?));
        }
        directions.matmul(&flat.t()?)?.to_vec2::<f64>()?.iter().map(|line| sorted(line)).collect()
    };
    let (x, y) = (project(x)?, project(y)?);
    let squares: Vec<f64> = x.iter().zip(&y).map(|(x, y)| sorted_cost(x, y, 2.0)).collect();
    let moments = Moments::of(&squares);
    let value = moments.mean().sqrt();
    let standard_error = if value > 0.0 { moments.standard_error() / (2.0 * value) } else { 0.0 };
    Ok(SlicedEstimate { value, standard_error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_costs_its_length_over_root_d() -> Result<()> {
        let mut noise = Noise::new(1);
        let x = noise.normal((50, 3), DType::F64, &Device::Cpu)?;
        let y = x.broadcast_add(&Tensor::new(&[2f64, -1.0, 2.0], &Device::Cpu)?)?;
        let got = sliced_wasserstein(&x, &y, &projections(4000, 3, &mut noise)?)?;
        assert!((got.value - 3f64.sqrt()).abs() < 4.0 * got.standard_error, "{got:?}");
        assert!(got.standard_error < 0.02);
        assert_eq!(sliced_wasserstein(&x, &x, &projections(5, 3, &mut noise)?)?.value, 0.0);
        Ok(())
    }

    #[test]
    fn along_an_axis_it_is_the_marginal() -> Result<()> {
        let mut noise = Noise::new(2);
        let x = noise.normal((40, 2), DType::F64, &Device::Cpu)?;
        let y = noise.normal((30, 2), DType::F64, &Device::Cpu)?;
        let axis = Tensor::new(&[[0f64, 1.0]], &Device::Cpu)?;
        let column = |t: &Tensor| Ok::<_, Error>(t.narrow(1, 1, 1)?.flatten_all()?.to_vec1::<f64>()?);
        let want = crate::ot::wasserstein_1d(&column(&x)?, &column(&y)?, 2.0)?;
        assert!((sliced_wasserstein(&x, &y, &axis)?.value - want).abs() < 1e-14);
        assert!(sliced_wasserstein(&x, &y, &projections(3, 5, &mut noise)?).is_err());
        Ok(())
    }

    #[test]
    fn directions_are_unit_vectors_without_preference() -> Result<()> {
        let theta = projections(20_000, 3, &mut Noise::new(4))?.to_vec2::<f64>()?;
        let mut squares = Moments::default();
        for t in theta {
            assert!((t.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
            squares.push(t[0] * t[0]);
        }
        assert!((squares.mean() - 1.0 / 3.0).abs() < 4.0 * squares.standard_error());
        Ok(())
    }
}
