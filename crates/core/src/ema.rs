//! Exponential moving average of the weights.
//!
//! ```text
//! s ← d·s + (1 − d)·w,   d = min(decay, (1 + k)/(10 + k)) at update k
//! ```
//! The warm-up of `d` is Tensorflow's: early averages are not dominated by the initial weights.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::{ParamStore, Result};

/// Averaged copies of all parameters of a store.
pub struct Ema {
    decay: f64,
    updates: u64,
    shadow: Vec<(String, Var)>,
}

impl Ema {
    /// Starts from the present weights.
    ///
    /// # Errors
    /// If copying fails.
    pub fn new(params: &ParamStore, decay: f64) -> Result<Self> {
        let shadow = params
            .entries()
            .into_iter()
            .map(|(n, v)| Ok((n, Var::from_tensor(&v.as_tensor().copy()?.detach())?)))
            .collect::<Result<_>>()?;
        Ok(Self { decay, updates: 0, shadow })
    }

    /// Moves towards the present weights.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn update(&mut self, params: &ParamStore) -> Result<()> {
        let k = self.updates as f64;
        let d = self.decay.min((1.0 + k) / (10.0 + k));
        self.updates += 1;
        for ((_, s), (_, w)) in self.shadow.iter().zip(params.entries()) {
            genzoo_kernels::optim::ema(s.as_tensor(), w.as_tensor(), d)?;
        }
        Ok(())
    }

    /// Copies of the averages by parameter name.
    ///
    /// # Errors
    /// If copying fails.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.shadow.iter().map(|(n, v)| Ok((n.clone(), v.as_tensor().copy()?.detach()))).collect()
    }

    /// Restores averages and the count of updates.
    ///
    /// # Errors
    /// If a name or shape is missing.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, updates: u64) -> Result<()> {
        for (name, var) in &self.shadow {
            let t = tensors
                .get(name)
                .ok_or_else(|| crate::Error::data("checkpoint", format!("an average of {name}"), "none"))?;
            var.set(t)?;
        }
        self.updates = updates;
        Ok(())
    }

    /// Number of updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Noise};

    #[test]
    fn averages_follow_the_closed_form() -> Result<()> {
        let params = ParamStore::new(&Noise::new(0), DType::F64, &Device::Cpu);
        params.group("g").get_with_hints(1, "w", candle_nn::Init::Const(1.0))?;
        let mut ema = Ema::new(&params, 0.3)?;
        let var = &params.entries()[0].1;
        let mut want = 1.0f64;
        for (k, w) in [2.0f64, -1.0, 0.5, 4.0].into_iter().enumerate() {
            var.set(&Tensor::new(&[w], &Device::Cpu)?)?;
            ema.update(&params)?;
            let d = 0.3f64.min((1.0 + k as f64) / (10.0 + k as f64));
            want = d * want + (1.0 - d) * w;
        }
        let got = ema.snapshot()?["g/w"].to_vec1::<f64>()?[0];
        assert!((got - want).abs() < 1e-15);
        Ok(())
    }
}
