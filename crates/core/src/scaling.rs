//! Scalings of data, with the log-determinants that make their densities honest.
//!
//! ```text
//! standardise   y = (x − m)/s            log|det ∂y/∂x| = −Σ log s
//! centre        y = 2x − 1               log|det ∂y/∂x| = D log 2
//! logit         y = log(v/(1 − v))       log|det ∂y/∂x| = Σ log(1 − 2α) − log v − log(1 − v),   v = α + (1 − 2α)x
//! ```
//!
//! | symbol | shape | meaning |
//! |--------|-------|---------|
//! | `x`    | `(b, event…)` | data as the stream gives it |
//! | `y`    | like `x` | what a network sees |
//! | `m, s` | `(1, d)` for vectors, numbers for images | mean and standard deviation of train rows |
//! | `α`    | number in (0, ½) | keeps the logit of black and white finite |
//!
//! A density of `y` becomes one of `x` by adding the log-determinant: `log p(x) = log p(y) + log|det ∂y/∂x|`.
//! Source of the logit map: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803, §4.1.

use candle_core::{DType, Device, Tensor};

use crate::math::{softplus, sum_event};
use crate::{DataSpec, Error, Result, StateDict, Stream};

/// Per-dimension mean and standard deviation for vectors, one pair of numbers for images.
///
/// Fitted in [`Model::prepare`](crate::Model::prepare), saved in the model's state.
#[derive(Clone, Debug)]
pub struct Standardizer {
    mean: Vec<f64>,
    sd: Vec<f64>,
    dims: usize,
    /// `m`, `1/s` and `s` as f32 rows `(1, d)`: conversions stay out of the training loop.
    rows: Option<[Tensor; 3]>,
}

impl Standardizer {
    /// How many train rows are enough for a scaling.
    pub const ROWS: usize = 4096;

    /// The scaling that changes nothing, until [`Standardizer::fit`] or [`Standardizer::load`].
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn identity(spec: &DataSpec) -> Result<Self> {
        let n = if spec.image().is_some() { 1 } else { spec.dims() };
        Self::new(vec![0.0; n], vec![1.0; n], spec)
    }

    /// A scaling with these statistics: as many as dimensions for vectors, one each for images.
    ///
    /// # Errors
    /// If their number is wrong, one is not finite or a deviation is not positive.
    pub fn new(mean: Vec<f64>, sd: Vec<f64>, spec: &DataSpec) -> Result<Self> {
        let n = if spec.image().is_some() { 1 } else { spec.dims() };
        let fine = mean.len() == n
            && sd.len() == n
            && mean.iter().all(|m| m.is_finite())
            && sd.iter().all(|s| s.is_finite() && *s > 0.0);
        if !fine {
            return Err(Error::data(
                "scaling",
                format!("{n} finite means and {n} positive standard deviations"),
                format!("{mean:?} and {sd:?}"),
            ));
        }
        let rows = if spec.image().is_some() {
            None
        } else {
            let row = |v: Vec<f64>| Tensor::from_vec(v, (1, n), &Device::Cpu)?.to_dtype(DType::F32);
            let inverse = sd.iter().map(|s| 1.0 / s).collect();
            Some([row(mean.clone())?, row(inverse)?, row(sd.clone())?])
        };
        Ok(Self { mean, sd, dims: spec.dims(), rows })
    }

    /// Statistics of the next [`Standardizer::ROWS`] rows, in f64. A dimension that does not vary is left unscaled.
    ///
    /// # Errors
    /// If the rows cannot be read.
    pub fn fit(stream: &mut dyn Stream) -> Result<Self> {
        let spec = stream.spec().clone();
        let n = stream.epoch().map_or(Self::ROWS, |e| Self::ROWS.min(e as usize)).max(2);
        let x = stream.next(n)?.x.to_dtype(DType::F64)?;
        let x = match spec.image() {
            Some(_) => x.flatten_all()?.unsqueeze(1)?,
            None => x.flatten_from(1)?,
        };
        let mean = x.mean(0)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        let sd =
            variance.to_vec1::<f64>()?.into_iter().map(|v| if v > 1e-12 { v.sqrt() } else { 1.0 }).collect();
        Self::new(mean.to_vec1()?, sd, &spec)
    }

    /// What models that turn data into noise work in: vectors are standardised, images brought from [0, 1] to
    /// [−1, 1] (`m = s = ½`).
    ///
    /// # Errors
    /// If the rows cannot be read.
    pub fn fit_or_centre(stream: &mut dyn Stream) -> Result<Self> {
        let spec = stream.spec().clone();
        match spec.image() {
            Some(_) => Self::new(vec![0.5], vec![0.5], &spec),
            None => Self::fit(stream),
        }
    }

    /// `y = (x − m)/s`, shaped like `x`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.rows {
            None => x.affine(1.0 / self.sd[0], -self.mean[0] / self.sd[0])?,
            Some([m, inverse, _]) => x.broadcast_sub(&like(m, x)?)?.broadcast_mul(&like(inverse, x)?)?,
        })
    }

    /// `x = m + s·y`, shaped like `y`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn inverse(&self, y: &Tensor) -> Result<Tensor> {
        Ok(match &self.rows {
            None => y.affine(self.sd[0], self.mean[0])?,
            Some([m, _, s]) => y.broadcast_mul(&like(s, y)?)?.broadcast_add(&like(m, y)?)?,
        })
    }

    /// A gradient with respect to `y` as one with respect to `x`: `∇ₓ = ∇ᵧ/s`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn gradient(&self, g: &Tensor) -> Result<Tensor> {
        Ok(match &self.rows {
            None => g.affine(1.0 / self.sd[0], 0.0)?,
            Some([_, inverse, _]) => g.broadcast_mul(&like(inverse, g)?)?,
        })
    }

    /// A velocity of `y` as one of `x`: `s·v`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn velocity(&self, v: &Tensor) -> Result<Tensor> {
        Ok(match &self.rows {
            None => v.affine(self.sd[0], 0.0)?,
            Some([_, _, s]) => v.broadcast_mul(&like(s, v)?)?,
        })
    }

    /// `log|det ∂y/∂x|`, the same for every row, in nats.
    pub fn ladj(&self) -> f64 {
        let each = self.dims as f64 / self.sd.len() as f64;
        -each * self.sd.iter().map(|s| s.ln()).sum::<f64>()
    }

    /// The means.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviations.
    pub fn sd(&self) -> &[f64] {
        &self.sd
    }

    /// The statistics as `scaling.mean` and `scaling.sd`, f64.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn state(&self) -> Result<StateDict> {
        let t = |v: &[f64]| Tensor::new(v, &Device::Cpu);
        Ok(StateDict::from([
            ("scaling.mean".to_string(), t(&self.mean)?),
            ("scaling.sd".to_string(), t(&self.sd)?),
        ]))
    }

    /// The scaling that [`Standardizer::state`] saved.
    ///
    /// # Errors
    /// If a statistic is missing or does not fit `spec`.
    pub fn load(state: &StateDict, spec: &DataSpec) -> Result<Self> {
        let get = |name: &str| -> Result<Vec<f64>> {
            let t = state
                .get(name)
                .ok_or_else(|| Error::data("model state", format!("a tensor '{name}'"), "none"))?;
            Ok(t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
        };
        Self::new(get("scaling.mean")?, get("scaling.sd")?, spec)
    }
}

/// `row` in the dtype and on the device of `x`; free where they already agree.
fn like(row: &Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(row.to_dtype(x.dtype())?.to_device(x.device())?)
}

/// A fixed map from pixels in [0, 1] to what a network sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PixelMap {
    /// `y = 2x − 1`.
    Centre,
    /// `y = logit(α + (1 − 2α)x)`, which takes [0, 1] to a bounded part of the real line.
    Logit {
        /// In (0, ½).
        alpha: f64,
    },
}

impl PixelMap {
    /// The logit map with a checked `alpha`.
    ///
    /// # Errors
    /// If `alpha` lies outside (0, ½).
    pub fn logit(alpha: f64) -> Result<Self> {
        if alpha > 0.0 && alpha < 0.5 {
            Ok(Self::Logit { alpha })
        } else {
            Err(Error::config("model.alpha", "a number in (0, 0.5)", alpha))
        }
    }

    /// Pixels to `y`, shaped like `x`, and `log|det ∂y/∂x|`, `(b,)` nats.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn forward_and_ladj(self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let d = x.dims().iter().skip(1).product::<usize>() as f64;
        match self {
            Self::Centre => {
                let ladj = Tensor::full(d * 2f64.ln(), x.dims()[..1].to_vec(), x.device())?;
                Ok((x.affine(2.0, -1.0)?, ladj.to_dtype(x.dtype())?))
            }
            Self::Logit { alpha } => {
                // f64 inside: 1 − v loses its digits near white in f32.
                let v = x.to_dtype(DType::F64)?.affine(1.0 - 2.0 * alpha, alpha)?;
                let (black, white) = (v.log()?, v.affine(-1.0, 1.0)?.log()?);
                let ladj = sum_event(&(&black + &white)?)?.affine(-1.0, d * (1.0 - 2.0 * alpha).ln())?;
                let y = (black - white)?;
                Ok((y.to_dtype(x.dtype())?, ladj.to_dtype(x.dtype())?))
            }
        }
    }

    /// `y` to pixels, shaped like `y`, and `log|det ∂x/∂y|`, `(b,)` nats. Not clamped: the logit map leaves
    /// [0, 1] by at most `α/(1 − 2α)`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn inverse_and_ladj(self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let d = y.dims().iter().skip(1).product::<usize>() as f64;
        match self {
            Self::Centre => {
                let ladj = Tensor::full(-d * 2f64.ln(), y.dims()[..1].to_vec(), y.device())?;
                Ok((y.affine(0.5, 0.5)?, ladj.to_dtype(y.dtype())?))
            }
            Self::Logit { alpha } => {
                // log v = −softplus(−y) and log(1 − v) = −softplus(y).
                let wide = y.to_dtype(DType::F64)?;
                let (minus_black, minus_white) = (softplus(&wide.neg()?)?, softplus(&wide)?);
                let scale = 1.0 - 2.0 * alpha;
                let x = minus_black.neg()?.exp()?.affine(1.0 / scale, -alpha / scale)?;
                let ladj = sum_event(&(minus_black + minus_white)?)?.affine(-1.0, -d * scale.ln())?;
                Ok((x.to_dtype(y.dtype())?, ladj.to_dtype(y.dtype())?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Noise, Space};

    fn spec(shape: &[usize]) -> DataSpec {
        DataSpec { shape: shape.to_vec(), space: Space::Continuous, classes: None, range: None }
    }

    struct Fixed(Tensor, DataSpec);
    impl Stream for Fixed {
        fn spec(&self) -> &DataSpec {
            &self.1
        }
        fn next(&mut self, _: usize) -> Result<Batch> {
            Ok(Batch::of(self.0.clone()))
        }
        fn epoch(&self) -> Option<u64> {
            None
        }
    }

    fn vec(t: &Tensor) -> Vec<f64> {
        let t = t.flatten_all().and_then(|t| t.to_dtype(DType::F64));
        t.and_then(|t| t.to_vec1()).expect("a readable tensor")
    }

    #[test]
    fn standardised_rows_have_mean_0_and_deviation_1() -> Result<()> {
        let z = Noise::new(0).normal((500, 2), DType::F64, &Device::Cpu)?;
        let s = Tensor::new(&[[3f64, 0.2]], &Device::Cpu)?;
        let m = Tensor::new(&[[-7f64, 40.0]], &Device::Cpu)?;
        let x = z.broadcast_mul(&s)?.broadcast_add(&m)?;
        let scaling = Standardizer::fit(&mut Fixed(x.clone(), spec(&[2])))?;
        let y = scaling.forward(&x)?;
        for (mean, square) in vec(&y.mean(0)?).into_iter().zip(vec(&y.sqr()?.mean(0)?)) {
            // The rows are kept in f32: 40 ± 0.2 has 200 s.d. of offset at 6e-8 relative.
            assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-4, "{mean} {square}");
        }
        for (a, b) in vec(&scaling.inverse(&y)?).into_iter().zip(vec(&x)) {
            assert!((a - b).abs() < 1e-5);
        }
        let want: f64 = -scaling.sd()[0].ln() - scaling.sd()[1].ln();
        assert!((scaling.ladj() - want).abs() < 1e-12);
        let again = Standardizer::load(&scaling.state()?, &spec(&[2]))?;
        assert_eq!(vec(&again.forward(&x)?), vec(&y));
        Ok(())
    }

    #[test]
    fn images_share_one_pair_of_numbers() -> Result<()> {
        let x = Noise::new(0).uniform((50, 1, 4, 4), DType::F32, &Device::Cpu)?;
        let scaling = Standardizer::fit(&mut Fixed(x, spec(&[1, 4, 4])))?;
        assert_eq!(scaling.mean().len(), 1);
        // U(0, 1) has deviation 1/√12; 800 pixels give it 4 s.e. ≈ 0.02.
        assert!((scaling.sd()[0] - 12f64.sqrt().recip()).abs() < 0.02);
        assert!((scaling.ladj() + 16.0 * scaling.sd()[0].ln()).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn a_constant_dimension_is_left_alone() -> Result<()> {
        let x = Tensor::ones((8, 3), DType::F32, &Device::Cpu)?;
        assert_eq!(Standardizer::fit(&mut Fixed(x, spec(&[3])))?.sd(), [1.0; 3]);
        assert!(Standardizer::new(vec![0.0; 3], vec![1.0, 0.0, 1.0], &spec(&[3])).is_err());
        Ok(())
    }

    #[test]
    fn pixel_maps_are_undone_and_their_log_determinants_are_slopes() -> Result<()> {
        let x = Tensor::new(&[[0f64, 0.3, 0.999, 1.0]], &Device::Cpu)?;
        for map in [PixelMap::Centre, PixelMap::logit(0.05)?, PixelMap::logit(1e-6)?] {
            let (y, ladj) = map.forward_and_ladj(&x)?;
            let (back, minus) = map.inverse_and_ladj(&y)?;
            for (a, b) in vec(&back).into_iter().zip(vec(&x)) {
                assert!((a - b).abs() < 1e-9, "{map:?}: {a} {b}");
            }
            assert!((vec(&ladj)[0] + vec(&minus)[0]).abs() < 1e-6, "{map:?}");
            let h = 1e-8; // far below α, far above rounding
            let up = vec(&map.forward_and_ladj(&(&x + h)?)?.0);
            let down = vec(&map.forward_and_ladj(&(&x - h)?)?.0);
            let want: f64 = up.iter().zip(down).map(|(u, d)| ((u - d) / (2.0 * h)).ln()).sum();
            assert!((vec(&ladj)[0] - want).abs() < 1e-3, "{map:?}: {} {want}", vec(&ladj)[0]);
        }
        assert!(PixelMap::logit(0.0).is_err() && PixelMap::logit(0.5).is_err());
        Ok(())
    }
}
