//! The linear path between data and noise, with an optional bridge of extra noise.
//!
//! ```text
//! x_t = a(t) x_0 + b(t) x_1 + γ(t) z,   a = 1 − t,   b = t,   γ(t) = c √(2 t (1 − t)),   z ~ N(0, I)
//! dx_t/dt = x_1 − x_0 + γ'(t) z,   γ' = c (1 − 2t) / √(2 t (1 − t)),   γ γ' = c² (1 − 2t)
//! ```
//!
//! x_0 is data, x_1 the source; c = 0 is flow matching. γ' is infinite at both ends, γγ' is not.
//! Source: Albergo, Boffi & Vanden-Eijnden (2023), arXiv:2303.08797, §2.1 and §4.3, with time reversed (t there is
//! 1 − t here); Lipman et al. (2023), arXiv:2210.02747, for c = 0.

use candle_core::Tensor;
use genzoo_core::{Error, Result};

use crate::rows;

/// The linear path with bridge coefficient c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearPath {
    bridge: f64,
}

impl LinearPath {
    /// A path with `bridge` c ≥ 0; 0 for none.
    pub fn new(bridge: f64) -> Result<Self> {
        if !(bridge >= 0.0 && bridge.is_finite()) {
            return Err(Error::config("gamma", "a finite number ≥ 0", bridge));
        }
        Ok(Self { bridge })
    }

    /// Whether the path has a bridge, so that E[z|x] must be learned for the score.
    pub fn has_bridge(&self) -> bool {
        self.bridge > 0.0
    }

    /// `a(t)`, the weight of the data.
    pub fn data_weight(&self, t: f64) -> f64 {
        1.0 - t
    }

    /// `b(t)`, the weight of the source.
    pub fn source_weight(&self, t: f64) -> f64 {
        t
    }

    /// `γ(t)`.
    pub fn gamma(&self, t: f64) -> f64 {
        self.bridge * (2.0 * t * (1.0 - t)).max(0.0).sqrt()
    }

    /// `γ'(t)`; infinite at 0 and 1 if there is a bridge.
    pub fn gamma_slope(&self, t: f64) -> f64 {
        if self.bridge == 0.0 {
            return 0.0;
        }
        self.bridge * (1.0 - 2.0 * t) / (2.0 * t * (1.0 - t)).max(0.0).sqrt()
    }

    /// `γ(t) γ'(t)`, finite everywhere.
    pub fn gamma_gamma_slope(&self, t: f64) -> f64 {
        self.bridge * self.bridge * (1.0 - 2.0 * t)
    }

    /// `x_t` for batches `x_0, x_1, z` and times `(b,)`.
    pub fn at(&self, data: &Tensor, source: &Tensor, z: &Tensor, t: &Tensor) -> Result<Tensor> {
        let line = (data + rows::scale(&(source - data)?, t)?)?;
        if !self.has_bridge() {
            return Ok(line);
        }
        Ok((line + rows::scale(z, &self.map(t, |t| self.gamma(t))?)?)?)
    }

    /// `dx_t/dt` for the same batches.
    pub fn velocity(&self, data: &Tensor, source: &Tensor, z: &Tensor, t: &Tensor) -> Result<Tensor> {
        let line = (source - data)?;
        if !self.has_bridge() {
            return Ok(line);
        }
        Ok((line + rows::scale(z, &self.map(t, |t| self.gamma_slope(t))?)?)?)
    }

    fn map(&self, t: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
        let values = rows::host(t)?.into_iter().map(f).collect();
        Ok(rows::tensor(values, t.device())?.to_dtype(t.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_velocity_is_the_time_derivative_of_the_path() -> Result<()> {
        let row = |v: [f64; 2]| Tensor::new(&[v], &Device::Cpu);
        let (data, source, z) = (row([1.0, -2.0])?, row([0.3, 0.4])?, row([-1.0, 0.5])?);
        for bridge in [0.0, 0.7] {
            let path = LinearPath::new(bridge)?;
            for t in [0.1, 0.5, 0.8] {
                let h = 1e-5;
                let at = |t: f64| rows::host(&path.at(&data, &source, &z, &rows::time(t, &data)?)?);
                let (ahead, behind) = (at(t + h)?, at(t - h)?);
                let velocity = rows::host(&path.velocity(&data, &source, &z, &rows::time(t, &data)?)?)?;
                for i in 0..2 {
                    assert!((velocity[i] - (ahead[i] - behind[i]) / (2.0 * h)).abs() < 1e-7);
                }
                assert!((path.gamma(t) * path.gamma_slope(t) - path.gamma_gamma_slope(t)).abs() < 1e-14);
                assert_eq!(path.data_weight(t) + path.source_weight(t), 1.0);
            }
        }
        Ok(())
    }

    #[test]
    fn the_ends_are_data_and_source() -> Result<()> {
        let path = LinearPath::new(1.0)?;
        let (data, source) = (Tensor::new(&[[1f64]], &Device::Cpu)?, Tensor::new(&[[5f64]], &Device::Cpu)?);
        for (t, want) in [(0.0, 1.0), (1.0, 5.0)] {
            let got = path.at(&data, &source, &data, &rows::time(t, &data)?)?;
            assert_eq!(rows::host(&got)?, [want]);
        }
        assert!((path.gamma(0.5) - 0.5f64.sqrt()).abs() < 1e-15);
        assert!(LinearPath::new(-1.0).is_err() && LinearPath::new(f64::NAN).is_err());
        Ok(())
    }
}
