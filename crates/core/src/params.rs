//! Parameters in a fixed order, with initial values that are a function of seed and name.
//!
//! A [`ParamStore`] hands out [`VarBuilder`]s, so the layers of `core::nn` and of candle-nn both take their
//! weights from it. A name is `group/path.to.weight`; the group is what a [`Turn`](crate::Turn) moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, Init, NormalOrUniform};
use candle_nn::var_builder::{SimpleBackend, VarBuilder};

use crate::{Error, Noise, Result};

/// The ordered parameters of a model. Clones share the same parameters.
#[derive(Clone)]
pub struct ParamStore {
    inner: Arc<Mutex<Vec<(String, Var)>>>,
    noise: Noise,
    dtype: DType,
    device: Device,
}

impl ParamStore {
    /// An empty store; parameter `name` will start from `noise.fork(name)`.
    pub fn new(noise: &Noise, dtype: DType, device: &Device) -> Self {
        let noise = noise.fork("parameters");
        Self { inner: Arc::default(), noise, dtype, device: device.clone() }
    }

    /// A builder whose parameters are named `group/…`.
    pub fn group(&self, group: &str) -> VarBuilder<'static> {
        let backend = GroupBackend { store: self.clone(), prefix: format!("{group}/") };
        VarBuilder::from_backend(Box::new(backend), self.dtype, self.device.clone())
    }

    /// Device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Float type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Names and variables in the order of their creation.
    pub fn entries(&self) -> Vec<(String, Var)> {
        self.lock().clone()
    }

    /// Variables of one group, in order.
    pub fn of_group(&self, group: &str) -> Vec<(String, Var)> {
        let prefix = format!("{group}/");
        self.lock().iter().filter(|(n, _)| n.starts_with(&prefix)).cloned().collect()
    }

    /// The groups in the order of their first parameter.
    pub fn groups(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for (name, _) in self.lock().iter() {
            let group = name.split('/').next().unwrap_or_default();
            if out.iter().all(|g| g != group) {
                out.push(group.to_string());
            }
        }
        out
    }

    /// Number of scalars.
    pub fn count(&self) -> usize {
        self.lock().iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Sets every parameter from `tensors`. Names must agree exactly.
    ///
    /// # Errors
    /// Names the missing, the surplus and the mis-shaped parameters; then nothing has been changed.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let entries = self.lock();
        let mut problems = Vec::new();
        for (name, var) in entries.iter() {
            match tensors.get(name) {
                None => problems.push(format!("missing {name} {:?}", var.dims())),
                Some(t) if t.dims() != var.dims() => {
                    problems.push(format!("{name} has shape {:?} instead of {:?}", t.dims(), var.dims()));
                }
                Some(_) => {}
            }
        }
        for name in tensors.keys().filter(|n| entries.iter().all(|(e, _)| e != *n)) {
            problems.push(format!("surplus {name}"));
        }
        if !problems.is_empty() {
            let more = problems.len().saturating_sub(5);
            problems.truncate(5);
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(Error::data("weights", "the parameters of this model", problems.join("; ") + &tail));
        }
        for (name, var) in entries.iter() {
            if let Some(t) = tensors.get(name) {
                var.set(&t.to_dtype(var.dtype())?.to_device(var.device())?.contiguous()?)?;
            }
        }
        Ok(())
    }

    /// Copies of all parameters by name.
    ///
    /// # Errors
    /// If a copy fails.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.lock().iter().map(|(n, v)| Ok((n.clone(), v.as_tensor().copy()?.detach()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Var)>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_or_init(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut entries = self.lock();
        if let Some((_, var)) = entries.iter().find(|(n, _)| n == name) {
            if var.shape() != &shape {
                candle_core::bail!(
                    "parameter {name} was made with shape {:?}, asked for {shape:?}",
                    var.shape()
                );
            }
            return Ok(var.as_tensor().clone());
        }
        let values = initial(&shape, init, &mut self.noise.fork(name));
        let tensor = Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?;
        let var = Var::from_tensor(&tensor)?;
        let out = var.as_tensor().clone();
        entries.push((name.to_string(), var));
        Ok(out)
    }
}

/// Values of `init` for a tensor of `shape`, in f64.
fn initial(shape: &Shape, init: Init, noise: &mut Noise) -> Vec<f64> {
    let n = shape.elem_count();
    let uniform = |lo: f64, up: f64, noise: &mut Noise| {
        noise.uniforms(n).into_iter().map(|u| lo + (up - lo) * u).collect()
    };
    let normal =
        |mean: f64, sd: f64, noise: &mut Noise| noise.normals(n).into_iter().map(|z| mean + sd * z).collect();
    match init {
        Init::Const(c) => vec![c; n],
        Init::Uniform { lo, up } => uniform(lo, up, noise),
        Init::Randn { mean, stdev } => normal(mean, stdev, noise),
        Init::Kaiming { dist, fan, non_linearity } => {
            let fan: FanInOut = fan;
            let sd = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Uniform => uniform(-3f64.sqrt() * sd, 3f64.sqrt() * sd, noise),
                NormalOrUniform::Normal => normal(0.0, sd, noise),
            }
        }
    }
}

struct GroupBackend {
    store: ParamStore,
    prefix: String,
}

impl SimpleBackend for GroupBackend {
    fn get(&self, s: Shape, name: &str, h: Init, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        self.store.get_or_init(s, &format!("{}{name}", self.prefix), h, dtype, dev)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let full = format!("{}{name}", self.prefix);
        let entries = self.store.lock();
        match entries.iter().find(|(n, _)| *n == full) {
            Some((_, v)) => Ok(v.as_tensor().clone()),
            None => candle_core::bail!("no parameter {full}; its shape is needed to make it"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let full = format!("{}{name}", self.prefix);
        self.store.lock().iter().any(|(n, _)| *n == full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> ParamStore {
        ParamStore::new(&Noise::new(0), DType::F32, &Device::Cpu)
    }

    #[test]
    fn initial_values_do_not_depend_on_the_order_of_creation() -> Result<()> {
        let (a, b) = (store(), store());
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        a.group("g").get_with_hints((2, 3), "x", init)?;
        a.group("g").get_with_hints(4, "y", init)?;
        b.group("g").get_with_hints(4, "y", init)?;
        b.group("g").get_with_hints((2, 3), "x", init)?;
        let (sa, sb) = (a.snapshot()?, b.snapshot()?);
        for (name, t) in &sa {
            assert_eq!(t.flatten_all()?.to_vec1::<f32>()?, sb[name].flatten_all()?.to_vec1::<f32>()?);
        }
        assert_eq!(a.entries()[0].0, "g/x");
        Ok(())
    }

    #[test]
    fn candle_layers_take_their_weights_here() -> Result<()> {
        let s = store();
        let layer = candle_nn::linear(3, 2, s.group("main").pp("fc"))?;
        let names: Vec<_> = s.entries().into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["main/fc.weight", "main/fc.bias"]);
        let var = &s.entries()[1].1;
        var.set(&Tensor::new(&[5f32, 7.0], &Device::Cpu)?)?;
        use candle_nn::Module;
        let y = layer.forward(&Tensor::zeros((1, 3), DType::F32, &Device::Cpu)?)?;
        assert_eq!(y.to_vec2::<f32>()?, [[5.0, 7.0]]); // the layer sees what the optimiser sets
        Ok(())
    }

    #[test]
    fn loading_reports_missing_surplus_and_misshaped() -> Result<()> {
        let s = store();
        s.group("g").get_with_hints(2, "a", Init::Const(0.0))?;
        s.group("g").get_with_hints(2, "b", Init::Const(0.0))?;
        let t = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu);
        let e =
            s.load(&BTreeMap::from([("g/a".into(), t(3)?), ("g/c".into(), t(2)?)])).unwrap_err().to_string();
        assert!(
            e.contains("g/a has shape [3] instead of [2]")
                && e.contains("missing g/b")
                && e.contains("surplus g/c"),
            "{e}"
        );
        Ok(())
    }
}
