//! The coordinates `u` that an energy sees, and the way back to data.
//!
//! ```text
//! standardised   u = (x − m)/s                       all D of them
//! principal      (u, r) = S⁻¹ Vᵀ (x − m)             Cov x = V S² Vᵀ, variances falling; u the first k, r the others
//!                p(x) = p(u) N(r; 0, I) / Π s
//! ```
//! With principal coordinates a model learns the law of the k directions in which the data vary most, and takes the others
//! for independent Gaussian ones: a normalised density of all of x. Chains live in k dimensions, and `r` is drawn. It is
//! probabilistic principal component analysis (Tipping & Bishop 1999) with the variances of all directions, and with a
//! learned law in place of the Gaussian one: an energy that is nothing but its confinement, κ = 1, is that of the Gaussian
//! fitted to the data.

use genzoo_core::{DType, DataSpec, Device, Error, Noise, Result, Standardizer, StateDict, Stream, Tensor};
use genzoo_numerics::rows;
use nalgebra::{DMatrix, SymmetricEigen};

use super::flat;

/// Most rows that the principal directions are found from.
const ROWS: usize = 20_000;
/// Rows read at once.
const PIECE: usize = 2000;
/// The least variance of a direction: that of a byte's dequantisation, 1/(12 · 256²).
const LEAST: f64 = 1.0 / (12.0 * 65_536.0);
const NAMES: [&str; 3] = ["principal.mean", "principal.basis", "principal.sd"];

/// From data to `u` and back.
#[derive(Clone)]
pub(crate) struct Coordinates {
    scaling: Standardizer,
    principal: Option<Principal>,
}

/// The principal directions of data, as f64.
#[derive(Clone)]
struct Principal {
    /// k.
    kept: usize,
    mean: Tensor,  // (1, D)
    basis: Tensor, // (D, D), a direction in each column
    sd: Tensor,    // (1, D)
    /// `V_k S_k⁻¹`, `(D, k)`, and `m V_k S_k⁻¹`, `(1, k)`.
    head: (Tensor, Tensor),
    log_sd: f64,
}

impl Coordinates {
    /// Those that change nothing, until they are fitted: all of them, or the first `principal`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub(super) fn identity(spec: &DataSpec, principal: usize) -> Result<Self> {
        let d = spec.dims();
        if principal == 0 {
            return Ok(Self::standardised(Standardizer::identity(&flat(d, spec))?));
        }
        let mut eye = vec![0.0; d * d];
        eye.iter_mut().step_by(d + 1).for_each(|v| *v = 1.0);
        let principal = Principal::new(principal, vec![0.0; d], eye, vec![1.0; d])?;
        Ok(Self { scaling: Standardizer::identity(&flat(principal.kept, spec))?, principal: Some(principal) })
    }

    /// `u = (x − m)/s`.
    pub(super) fn standardised(scaling: Standardizer) -> Self {
        Self { scaling, principal: None }
    }

    /// The scaling that a network of images undoes; that of principal coordinates does nothing.
    pub(crate) fn scaling(&self) -> &Standardizer {
        &self.scaling
    }

    /// The number of coordinates.
    pub(crate) fn dims(&self, spec: &DataSpec) -> usize {
        self.principal.as_ref().map_or(spec.dims(), |p| p.kept)
    }

    /// `u`, `(b, dims)`, of data `(b, D)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.principal {
            None => self.scaling.forward(x),
            Some(p) => {
                let like = |t: &Tensor| t.to_dtype(x.dtype())?.to_device(x.device());
                Ok(x.matmul(&like(&p.head.0)?)?.broadcast_sub(&like(&p.head.1)?)?)
            }
        }
    }

    /// `u`, and `½‖r‖²`, `(b,)`, in f64, of what is left.
    pub(crate) fn split(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let u = self.forward(x)?;
        let rest = self.principal.as_ref().map(|p| Ok::<_, Error>((rows::squared_norm(&p.rest(x)?)? * 0.5)?));
        Ok((u, rest.transpose()?))
    }

    /// Data with these `u`; what they leave open is drawn.
    pub(crate) fn inverse(&self, u: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        match &self.principal {
            None => self.scaling.inverse(u),
            Some(p) => {
                let n = u.dim(0)?;
                let rest = noise.normal((n, p.sd.dim(1)? - p.kept), DType::F64, &Device::Cpu)?;
                let all = Tensor::cat(&[&host(u)?, &rest], 1)?.broadcast_mul(&p.sd)?;
                let x = all.matmul(&p.basis.t()?)?.broadcast_add(&p.mean)?;
                Ok(x.to_dtype(u.dtype())?.to_device(u.device())?)
            }
        }
    }

    /// The gradient with respect to data `x` of `U(u) + ½‖r‖²`, from that of U with respect to `u`.
    pub(crate) fn gradient(&self, x: &Tensor, g: &Tensor) -> Result<Tensor> {
        match &self.principal {
            None => self.scaling.gradient(g),
            Some(p) => {
                let all = Tensor::cat(&[&host(g)?, &p.rest(x)?], 1)?.broadcast_div(&p.sd)?;
                Ok(all.matmul(&p.basis.t()?)?.to_dtype(x.dtype())?.to_device(x.device())?)
            }
        }
    }

    /// `log|det|` of the map to all coordinates, and `−½ (D − k) log 2π` of the Gaussian of those that are left.
    pub(crate) fn ladj(&self) -> f64 {
        match &self.principal {
            None => self.scaling.ladj(),
            Some(p) => -p.log_sd - 0.5 * p.left() * std::f64::consts::TAU.ln(),
        }
    }

    /// The mean of `½‖r‖²` over the rows that the directions were found from.
    pub(crate) fn mean_rest(&self) -> f64 {
        self.principal.as_ref().map_or(0.0, |p| 0.5 * p.left())
    }

    /// Fits them to the first rows; `smoothing` is the deviation of noise that will be added.
    pub(super) fn fit(&mut self, stream: &mut dyn Stream, smoothing: f64) -> Result<()> {
        match &mut self.principal {
            None => {
                let rows = stream.epoch().map_or(Standardizer::ROWS, |e| Standardizer::ROWS.min(e as usize));
                let x = stream.next(rows.max(2))?.x.flatten_from(1)?.to_dtype(DType::F64)?;
                let mean = x.mean(0)?;
                // Smoothing adds its variance; without it a dimension that never varies is left unscaled.
                let variance = (x.broadcast_sub(&mean)?.sqr()?.mean(0)? + smoothing.powi(2))?;
                let sd =
                    variance.to_vec1::<f64>()?.into_iter().map(|v| if v > 1e-12 { v.sqrt() } else { 1.0 });
                self.scaling =
                    Standardizer::new(mean.to_vec1()?, sd.collect(), &flat(x.dim(1)?, stream.spec()))?;
            }
            Some(p) => {
                let (mean, covariance) = moments(stream)?;
                *p = Principal::of(p.kept, mean, covariance, smoothing)?;
            }
        }
        Ok(())
    }

    /// What must be saved.
    pub(super) fn state(&self) -> Result<StateDict> {
        let Some(p) = &self.principal else { return self.scaling.state() };
        let all = [&p.mean, &p.basis, &p.sd];
        NAMES.iter().zip(all).map(|(name, t)| Ok((name.to_string(), t.to_dtype(DType::F32)?))).collect()
    }

    /// What [`Coordinates::state`] gave.
    pub(super) fn load(&self, state: &StateDict, spec: &DataSpec) -> Result<Self> {
        let Some(p) = &self.principal else {
            return Ok(Self::standardised(Standardizer::load(state, &flat(spec.dims(), spec))?));
        };
        let mut read = NAMES.iter().zip([&p.mean, &p.basis, &p.sd]).map(|(name, own)| {
            let found = state.get(*name).ok_or_else(|| Error::data(*name, "a tensor", "none"))?;
            if found.elem_count() != own.elem_count() {
                let want = format!("{:?}", own.dims());
                return Err(Error::data(*name, want, format!("{:?}", found.dims())));
            }
            rows::host(&found.flatten_all()?)
        });
        let mut next = || read.next().unwrap_or_else(|| Ok(Vec::new()));
        let principal = Principal::new(p.kept, next()?, next()?, next()?)?;
        Ok(Self { scaling: self.scaling.clone(), principal: Some(principal) })
    }
}

impl Principal {
    fn new(kept: usize, mean: Vec<f64>, basis: Vec<f64>, sd: Vec<f64>) -> Result<Self> {
        let d = mean.len();
        let log_sd = sd.iter().map(|s| s.ln()).sum();
        let tensor = |v: Vec<f64>, n: usize| Tensor::from_vec(v, (n, d), &Device::Cpu);
        let (mean, basis, sd) = (tensor(mean, 1)?, tensor(basis, d)?, tensor(sd, 1)?);
        let map = basis.narrow(1, 0, kept)?.broadcast_div(&sd.narrow(1, 0, kept)?)?;
        let head = (map.clone(), mean.matmul(&map)?);
        Ok(Self { kept, mean, basis, sd, head, log_sd })
    }

    /// From mean and covariance, row by row, of D numbers.
    fn of(kept: usize, mean: Vec<f64>, covariance: DMatrix<f64>, smoothing: f64) -> Result<Self> {
        let d = mean.len();
        let eigen = SymmetricEigen::new(covariance);
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let sd = order.iter().map(|i| eigen.eigenvalues[*i].max(LEAST) + smoothing.powi(2)).map(f64::sqrt);
        // Checkpoints hold f32: a fitted model is the one that is loaded again.
        let kept_f32 = |v: f64| f64::from(v as f32);
        let sd = sd.map(kept_f32).collect();
        let basis = (0..d).flat_map(|row| order.iter().map(move |c| (row, *c)));
        let basis = basis.map(|at| kept_f32(eigen.eigenvectors[at])).collect();
        Self::new(kept, mean.into_iter().map(kept_f32).collect(), basis, sd)
    }

    /// `r`, `(b, D − k)`, f64.
    fn rest(&self, x: &Tensor) -> Result<Tensor> {
        let (d, left) = (self.sd.dim(1)?, self.sd.dim(1)? - self.kept);
        let x = host(&x.reshape(((), d))?)?.broadcast_sub(&self.mean)?;
        let along = x.matmul(&self.basis.narrow(1, self.kept, left)?.contiguous()?)?;
        Ok(along.broadcast_div(&self.sd.narrow(1, self.kept, left)?)?)
    }

    /// D − k.
    fn left(&self) -> f64 {
        self.sd.elem_count() as f64 - self.kept as f64
    }
}

/// In f64, where the directions are kept.
fn host(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(DType::F64)?.to_device(&Device::Cpu)?)
}

/// Mean and covariance of the first rows of a stream.
fn moments(stream: &mut dyn Stream) -> Result<(Vec<f64>, DMatrix<f64>)> {
    let d = stream.spec().dims();
    let n = stream.epoch().map_or(ROWS, |e| ROWS.min(e as usize)).max(2);
    let (mut sum, mut square) = (vec![0.0; d], DMatrix::zeros(d, d));
    for (_, size) in rows::pieces(n, PIECE) {
        let x = rows::host(&stream.next(size)?.x.flatten_all()?)?;
        x.chunks_exact(d).for_each(|row| sum.iter_mut().zip(row).for_each(|(s, v)| *s += v));
        // A row of data is a column here.
        let x = DMatrix::from_vec(d, size, x);
        square.gemm(1.0, &x, &x.transpose(), 1.0);
    }
    let mean: Vec<f64> = sum.into_iter().map(|s| s / n as f64).collect();
    let covariance = DMatrix::from_fn(d, d, |i, j| square[(i, j)] / n as f64 - mean[i] * mean[j]);
    Ok((mean, covariance))
}

#[cfg(test)]
mod tests;
