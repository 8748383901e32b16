//! Whether an energy grows along every ray, so that `∫ e^{−U}` is finite.

use genzoo_core::capability::Energy;
use genzoo_core::{Noise, Result, Tensor};

/// Rays, and doublings of the distance along each: from 8 to 4096 times the spread of the data.
const RAYS: usize = 32;
const DOUBLINGS: std::ops::Range<i32> = 3..12;

/// The least that `U` rises when the distance from `centre`, `(1, event…)`, doubles, far outside the data.
///
/// Dissipative energies, `x·∇U ≥ a‖x‖²` outside a compact set, rise by `1.5 a r²` (Carbone, "Hitchhiker's guide on
/// energy-based models", Assumption 2.1).
pub(super) fn least_rise(
    energy: &dyn Energy,
    centre: &Tensor,
    spread: f64,
    noise: &mut Noise,
) -> Result<f64> {
    let mut shape = centre.dims().to_vec();
    shape[0] = RAYS;
    let direction = noise.normal(shape, centre.dtype(), centre.device())?.flatten_from(1)?;
    let length = direction.sqr()?.sum_keepdim(1)?.sqrt()?;
    let direction = direction.broadcast_div(&length)?;
    let at = |doublings: i32| -> Result<Vec<f64>> {
        let away = (&direction * (spread * f64::from(doublings).exp2()))?;
        let mut shape = centre.dims().to_vec();
        shape[0] = RAYS;
        let x = away.reshape(shape)?.broadcast_add(centre)?;
        Ok(energy.energy(&x)?.to_dtype(genzoo_core::DType::F64)?.flatten_all()?.to_vec1()?)
    };
    let mut least = f64::INFINITY;
    for k in DOUBLINGS {
        for (near, far) in at(k)?.into_iter().zip(at(k + 1)?) {
            let rise = match far - near {
                // Outside its support a density is zero for good.
                _ if far == f64::INFINITY => f64::INFINITY,
                rise if rise.is_nan() => f64::NEG_INFINITY,
                rise => rise,
            };
            least = least.min(rise);
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;

    /// An energy of the distance from 0 alone.
    struct Radial(fn(f64) -> f64);

    impl Energy for Radial {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            let r = x.to_dtype(genzoo_core::DType::F64)?.sqr()?.flatten_from(1)?.sum(1)?.sqrt()?;
            let values: Vec<f64> = r.to_vec1::<f64>()?.into_iter().map(self.0).collect();
            let n = values.len();
            Ok(Tensor::from_vec(values, n, x.device())?)
        }
        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            Ok((self.energy(x)?, x.zeros_like()?))
        }
    }

    #[test]
    fn energies_that_do_not_grow_are_found() -> Result<()> {
        let rise = |f| {
            let centre = Tensor::zeros((1, 3), genzoo_core::DType::F64, &Device::Cpu)?;
            least_rise(&Radial(f), &centre, 0.5, &mut Noise::new(0))
        };
        // ½r² rises by 1.5 r² on doubling, least at the nearest distance, 4.
        assert!((rise(|r| 0.5 * r * r)? - 24.0).abs() < 1e-9);
        // r^{−ν − D} with ν = 1 has a finite integral in three dimensions, r^{−D} has not.
        let needed = 3.0 * 2f64.ln();
        assert!(rise(|r| 4.0 * r.ln())? > needed && rise(|r| 2.9 * r.ln())? < needed);
        assert!(rise(|r| r.sin())? < needed && rise(|_| 1.0)? < needed);
        assert!(rise(|r| if r > 1000.0 { f64::NAN } else { r * r })? == f64::NEG_INFINITY);
        // A density of bounded support, and one that comes back.
        assert!(rise(|r| if r > 100.0 { f64::INFINITY } else { r * r })? > needed);
        assert!(rise(|r| if r > 100.0 && r < 200.0 { f64::INFINITY } else { r * r })? == f64::NEG_INFINITY);
        // A well far outside.
        assert!(rise(|r| r * r - 1e9 * (-(r - 512.0).powi(2)).exp())? < 0.0);
        Ok(())
    }
}
