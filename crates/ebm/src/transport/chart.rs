//! From data to the coordinates of the flow: rows of finite spread in every dimension, and back.
//!
//! ```text
//! vectors   y = (x − m)/s
//! bytes     y = (logit(α + (1 − 2α)x) − m)/s           per pixel
//! ```

use genzoo_core::math::sum_event;
use genzoo_core::{DType, DataSpec, PixelMap, Result, Standardizer, StateDict, Stream, Tensor};
use genzoo_numerics::rows;

use crate::neural::flat;

/// Smallest deviation by which a pixel's logit is divided: one that never varied may vary in the next row.
const LEAST_DEVIATION: f64 = 0.1;

/// A fixed, invertible map with its log-determinant.
#[derive(Clone)]
pub(super) struct Chart {
    /// Absent for vectors.
    pixels: Option<PixelMap>,
    scaling: Standardizer,
    spec: DataSpec,
}

impl Chart {
    /// The chart that only takes logits, until [`Chart::fit`] or [`Chart::load`].
    pub(super) fn new(spec: &DataSpec, alpha: f64) -> Result<Self> {
        let pixels = spec.image().map(|_| PixelMap::logit(alpha)).transpose()?;
        Ok(Self { pixels, scaling: Standardizer::identity(&flat(spec.dims(), spec))?, spec: spec.clone() })
    }

    /// Takes mean and deviation of every dimension from the first rows.
    pub(super) fn fit(&mut self, stream: &mut dyn Stream) -> Result<()> {
        let rows = stream.epoch().map_or(Standardizer::ROWS, |e| Standardizer::ROWS.min(e as usize));
        let y = self.unscaled(&stream.next(rows.max(2))?.x)?.0.to_dtype(DType::F64)?;
        let mean = y.mean(0)?;
        let variance = y.broadcast_sub(&mean)?.sqr()?.mean(0)?.to_vec1::<f64>()?;
        let sd = variance.into_iter().map(|v| match self.pixels {
            Some(_) => v.sqrt().max(LEAST_DEVIATION),
            None if v > 1e-12 => v.sqrt(),
            None => 1.0,
        });
        self.scaling = Standardizer::new(mean.to_vec1()?, sd.collect(), &flat(self.spec.dims(), &self.spec))?;
        Ok(())
    }

    fn unscaled(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let x = x.flatten_from(1)?;
        match self.pixels {
            Some(map) => map.forward_and_ladj(&x),
            None => {
                let none = sum_event(&x.detach().zeros_like()?)?;
                Ok((x, none))
            }
        }
    }

    /// `y`, `(b, D)`, and `log|det ∂y/∂x|`, `(b,)`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, ladj) = self.unscaled(x)?;
        Ok((self.scaling.forward(&y)?, ladj.affine(1.0, self.scaling.ladj())?))
    }

    /// Which rows lie where the chart is defined: a logit ends a margin beyond black and white.
    pub(super) fn covers(&self, x: &Tensor) -> Result<Vec<bool>> {
        let Some(PixelMap::Logit { alpha }) = self.pixels else {
            return Ok(vec![true; x.dim(0)?]);
        };
        let margin = alpha / (1.0 - 2.0 * alpha);
        let x = x.flatten_from(1)?;
        let (low, high) = (rows::host(&x.min(1)?)?, rows::host(&x.max(1)?)?);
        Ok(low.iter().zip(&high).map(|(l, h)| *l > -margin && *h < 1.0 + margin).collect())
    }

    /// `x` as rows `(b, D)`.
    pub(super) fn inverse(&self, y: &Tensor) -> Result<Tensor> {
        let y = self.scaling.inverse(y)?;
        match self.pixels {
            Some(map) => Ok(map.inverse_and_ladj(&y)?.0),
            None => Ok(y),
        }
    }

    pub(super) fn state(&self) -> Result<StateDict> {
        self.scaling.state()
    }

    pub(super) fn load(&mut self, state: &StateDict) -> Result<()> {
        self.scaling = Standardizer::load(state, &flat(self.spec.dims(), &self.spec))?;
        Ok(())
    }
}
