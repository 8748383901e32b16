//! What the tests of this family share: data, trained models, and laws that every energy keeps.

use genzoo_core::{
    Batch, Build, DataSpec, Dataset, Device, Entry, Model, NoZoo, Noise, ParamStore, Recipe, Result, Space,
    Split, Tensor, TrainConfig, Trainer,
};
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};
use std::ops::Range;

use crate::sampling_free::Potential;

pub(crate) type Check = std::result::Result<(), Box<dyn std::error::Error>>;

pub(crate) fn vectors(d: usize) -> DataSpec {
    DataSpec { shape: vec![d], space: Space::Continuous, classes: None, range: None }
}

pub(crate) fn images(size: usize) -> DataSpec {
    DataSpec { shape: vec![1, size, size], space: Space::U8, classes: None, range: Some((0.0, 1.0)) }
}

/// Vectors: halves of the rows around ±2 in the first dimension, everything of deviation 0.7. Images: uniform.
pub(crate) struct Data(pub(crate) DataSpec);

impl Dataset for Data {
    fn name(&self) -> &str {
        "test"
    }
    fn spec(&self) -> &DataSpec {
        &self.0
    }
    fn len(&self, _: Split) -> Option<u64> {
        None
    }
    fn sha256(&self) -> String {
        String::new()
    }
    fn rows(&self, _: Split, rows: Range<u64>) -> Result<Batch> {
        let d = self.0.dims();
        let mut values = Vec::new();
        for i in rows.clone() {
            let mut noise = Noise::new(11).at(i);
            let side = if i % 2 == 0 { 2.0 } else { -2.0 };
            let row = if self.0.image().is_some() {
                noise.uniforms(d)
            } else {
                noise.normals(d).iter().map(|z| 0.7 * z).collect()
            };
            values.extend(row.iter().enumerate().map(|(j, v)| {
                let shift = if j == 0 && d > 1 { side } else { 0.0 };
                (v + shift) as f32
            }));
        }
        let n = (rows.end - rows.start) as usize;
        let mut batch = Batch::of(Tensor::from_vec(values, self.0.batch_shape(n), &Device::Cpu)?);
        batch.rows = rows;
        Ok(batch)
    }
}

/// Mean and standard error.
pub(crate) fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Adds normal numbers of this deviation to all weights.
pub(crate) fn shake(params: &ParamStore, strength: f64) -> Result<()> {
    for (i, (_, var)) in params.entries().into_iter().enumerate() {
        let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
        var.set(&(var.as_detached_tensor() + (change * strength)?)?)?;
    }
    Ok(())
}

/// The checked recipe of an entry's tiny instance.
pub(crate) fn recipe(entry: &Entry, spec: &DataSpec, sets: &[&str]) -> Result<Recipe> {
    let mut recipe = Recipe::defaults(entry, spec)?;
    recipe.overlay(&(entry.tiny)(spec))?;
    for set in sets {
        recipe.set(set)?;
    }
    Ok(recipe)
}

/// A tiny instance as it starts.
pub(crate) fn built(entry: &Entry, spec: &DataSpec, sets: &[&str]) -> Result<Box<dyn Model>> {
    let build = Build { spec, device: &Device::Cpu, zoo: &NoZoo, noise: Noise::new(5) };
    (entry.build)(&recipe(entry, spec, sets)?.model, build)
}

/// A trained tiny instance.
pub(crate) fn trained<'a>(
    entry: &Entry,
    data: &'a dyn Dataset,
    sets: &[&str],
    steps: u64,
) -> Result<Trainer<'a>> {
    let model = built(entry, data.spec(), sets)?;
    let config = TrainConfig::read(&recipe(entry, data.spec(), sets)?.train)?;
    let mut trainer = Trainer::new(model, data, config, &Noise::new(1))?;
    trainer.set_steps(steps);
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(trainer)
}

/// Mean and standard error of `−log p` above the entropy of the one-dimensional test data, `N(0, 0.7²)`.
pub(crate) fn excess(model: &dyn Model, data: &Data, density: &str) -> Result<(f64, f64)> {
    let mut noise = Noise::new(0);
    let info = model.densities().iter().find(|d| d.name == density).copied();
    let options = info.map(|d| (d.defaults)()).unwrap_or_default();
    let density = model.density(density, &options, &mut noise)?;
    let batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
    let log_p = rows::host(&density.log_prob(&batch, &mut noise)?.values)?;
    let truth = |x: f64| -0.5 * (x / 0.7).powi(2) - (0.7 * std::f64::consts::TAU.sqrt()).ln();
    let gaps: Vec<f64> = rows::host(&batch.x)?.iter().zip(&log_p).map(|(x, l)| truth(*x) - l).collect();
    Ok(mean(&gaps))
}

/// Every one of these settings is refused, in a message that holds its word.
pub(crate) fn refused(entry: &Entry, spec: &DataSpec, settings: &[(&str, &str)]) -> Check {
    for (set, word) in settings {
        let e = built(entry, spec, &[set]).err().ok_or_else(|| format!("{set} is accepted"))?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    Ok(())
}

/// A run that was saved goes on as one that was not interrupted: every tensor of its state, to the bit.
pub(crate) fn resumes_exactly(entry: &Entry, data: &dyn Dataset, sets: &[&str], holds: &[&str]) -> Check {
    let mut whole = trained(entry, data, sets, 4)?;
    let saved = whole.checkpoint("id")?;
    let mut resumed = trained(entry, data, sets, 0)?;
    resumed.restore(&saved)?;
    for _ in 0..4 {
        whole.step()?;
        resumed.step()?;
    }
    let (a, b) = (whole.model().state()?, resumed.model().state()?);
    assert!(holds.iter().all(|name| a.contains_key(*name)));
    for (name, tensor) in &a {
        assert_close(tensor, &b[name], Tol::EQUAL);
    }
    Ok(())
}

/// Gradient and jet of an energy at rows `u` of f64 against differences of its values along a random line.
pub(crate) fn derivatives_agree(energy: &dyn Potential, u: &Tensor) -> Check {
    let (v, h) = (Noise::new(2).normal_like(u)?, 1e-4);
    let at = |by: f64| -> Result<Vec<f64>> { rows::host(&energy.energy(&(u + (&v * by)?)?)?) };
    let (up, here, down) = (at(h)?, at(0.0)?, at(-h)?);
    let slope: Vec<f64> = up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * h)).collect();
    let bend: Vec<f64> =
        up.iter().zip(&down).zip(&here).map(|((a, b), c)| (a - 2.0 * c + b) / (h * h)).collect();
    let (value, gradient) = energy.energy_and_gradient(u)?;
    assert_close(&value, &here, Tol::rel(1e-12));
    assert_close(&(gradient * &v)?.sum(1)?, &slope, Tol { abs: 1e-5, rel: 1e-5 });
    let jet = energy.jet(u, &v)?;
    assert_close(&jet.value, &here, Tol::rel(1e-12));
    assert_close(&jet.first, &slope, Tol { abs: 1e-5, rel: 1e-5 });
    assert_close(&jet.curvature()?, &bend, Tol { abs: 1e-4, rel: 1e-4 });
    Ok(())
}

/// The gradient of a loss against its slope along a random direction of all these weights together.
pub(crate) fn descends(vars: &[(String, candle_core::Var)], loss: impl Fn() -> Result<Tensor>) -> Check {
    let grads = loss()?.backward()?;
    let direction = |i: usize| Noise::new(13).at(i as u64).normal_like(vars[i].1.as_tensor());
    let directions = (0..vars.len()).map(direction).collect::<Result<Vec<_>>>()?;
    let (mut want, mut start, h) = (0.0, vec![], 1e-5);
    for ((name, var), direction) in vars.iter().zip(&directions) {
        let gradient = grads.get(var.as_tensor()).ok_or_else(|| format!("{name} has no gradient"))?;
        want += (gradient * direction)?.sum_all()?.to_scalar::<f64>()?;
        start.push(var.as_detached_tensor().copy()?);
    }
    let at = |by: f64| -> Result<f64> {
        for (((_, var), start), direction) in vars.iter().zip(&start).zip(&directions) {
            var.set(&(start + (direction * by)?)?)?;
        }
        Ok(loss()?.to_scalar::<f64>()?)
    };
    assert_close((at(h)? - at(-h)?) / (2.0 * h), want, Tol { abs: 1e-6, rel: 1e-5 });
    Ok(())
}
