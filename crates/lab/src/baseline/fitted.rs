//! What the fitted baselines share: rows collected once, parameters in `f64`, one density and one sampler each.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Batch, DataSpec, Error, LogProb, Noise, ParamStore, Result, Samples, Stream};
use rayon::prelude::*;

/// Rows per read, so that no more than a piece is held twice.
const PIECE: usize = 1000;

/// The next `most` rows (an epoch if that is shorter), flat in `f64`.
pub(super) fn collect(stream: &mut dyn Stream, most: usize) -> Result<Vec<f64>> {
    let n = stream.epoch().map_or(most, |e| most.min(e as usize));
    let mut rows = Vec::with_capacity(n * stream.spec().dims());
    for start in (0..n).step_by(PIECE) {
        rows.extend(flat(&stream.next(PIECE.min(n - start))?.x)?);
    }
    Ok(rows)
}

/// The values of a tensor, `f64`, on the host.
pub(super) fn flat(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// A matrix of `f64` on the host.
pub(super) fn matrix(values: &[f64], rows: usize, columns: usize) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, (rows, columns), &Device::Cpu)?)
}

/// A store of the group `main` with these first values.
pub(super) fn parameters(noise: &Noise, first: &[(&str, Tensor)]) -> Result<ParamStore> {
    let params = ParamStore::new(noise, DType::F64, &Device::Cpu);
    let group = params.group("main");
    for (name, value) in first {
        group.get(value.shape(), name)?;
    }
    set(&params, first)?;
    Ok(params)
}

/// Sets all parameters of [`parameters`].
pub(super) fn set(params: &ParamStore, values: &[(&str, Tensor)]) -> Result<()> {
    let named: BTreeMap<String, Tensor> =
        values.iter().map(|(name, value)| (format!("main/{name}"), value.clone())).collect();
    params.load(&named)
}

/// A parameter of [`parameters`].
pub(super) fn get(params: &ParamStore, name: &str) -> Result<Vec<f64>> {
    let full = format!("main/{name}");
    match params.entries().into_iter().find(|(n, _)| *n == full) {
        Some((_, var)) => flat(var.as_tensor()),
        None => Err(Error::data("weights", format!("a parameter {full}"), "none")),
    }
}

/// The rows a model was to collect, or a word of what is missing.
pub(super) fn rows_of<'a>(rows: &'a [f64], model: &str) -> Result<&'a [f64]> {
    if rows.is_empty() {
        return Err(Error::Unsupported(format!("{model} has not seen any rows yet: train it first")));
    }
    Ok(rows)
}

/// `log p` of every row of a batch.
pub(super) fn each_row(batch: &Batch, dims: usize, log_p: impl Fn(&[f64]) -> f64 + Sync) -> Result<LogProb> {
    let x = flat(&batch.x)?;
    let values: Vec<f64> = x.par_chunks(dims).map(&log_p).collect();
    Ok(LogProb { values: Tensor::from_vec(values, batch.len(), &Device::Cpu)?, shared_error: 0.0 })
}

/// Flat rows as samples in the shape and range of the data, f32.
pub(super) fn samples(x: Vec<f64>, n: usize, spec: &DataSpec) -> Result<Samples> {
    let x: Vec<f32> = x.into_iter().map(|v| v as f32).collect();
    let x = Tensor::from_vec(x, spec.batch_shape(n), &Device::Cpu)?;
    Ok(Samples { x: spec.clamp(&x)?, evaluations: 0 })
}

/// Integers of `[model]` that must be at least one.
pub(super) fn positive(key: &str, value: usize) -> Result<()> {
    if value == 0 {
        return Err(Error::config(format!("model.{key}"), "an integer ≥ 1", value));
    }
    Ok(())
}
