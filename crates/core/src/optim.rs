//! Optimisers with state that can be saved, learning-rate schedules and gradient clipping.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which rule moves the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Kingma & Ba (2014), arXiv:1412.6980, Algorithm 1; weight decay adds `λw` to the gradient.
    Adam,
    /// Loshchilov & Hutter (2017), arXiv:1711.05101: the decay acts on the weight, `w ← w − lr·λ·w`.
    Adamw,
    /// `v ← μv + g`, `w ← w − lr·v`.
    Sgd,
    /// `v ← μv + g`, `w ← w − lr·(g + μv)`: Nesterov's momentum as Sutskever et al. (2013) write it.
    Nesterov,
}

/// How the learning rate changes with the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// `lr` throughout.
    Constant,
    /// `lr · ½(1 + cos(π k/K))` from the end of the warm-up to the last step.
    Cosine,
    /// `lr · (1 − k/K)`.
    Linear,
}

/// One group's optimiser, as in a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimConfig {
    /// Learning rate.
    pub lr: f64,
    /// The rule.
    pub optimizer: Rule,
    /// Adam's decay of the first moment; SGD's momentum.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's ε.
    pub eps: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Largest global gradient norm of the group; 0 leaves gradients alone.
    pub clip: f64,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Steps over which the rate rises linearly from 0.
    pub warmup: u64,
}

impl OptimConfig {
    /// Names the first value that cannot work.
    ///
    /// # Errors
    /// See above; `prefix` is the dotted path of the table.
    pub fn check(&self, prefix: &str) -> Result<()> {
        let rule = |ok: bool, key: &str, want: &str, got: f64| {
            if ok { Ok(()) } else { Err(Error::config(format!("{prefix}.{key}"), want, got)) }
        };
        rule(self.lr > 0.0 && self.lr.is_finite(), "lr", "a number > 0", self.lr)?;
        rule((0.0..1.0).contains(&self.beta1), "beta1", "a number in [0, 1)", self.beta1)?;
        rule((0.0..1.0).contains(&self.beta2), "beta2", "a number in [0, 1)", self.beta2)?;
        rule(self.eps > 0.0, "eps", "a number > 0", self.eps)?;
        rule(self.weight_decay >= 0.0, "weight_decay", "a number ≥ 0", self.weight_decay)?;
        rule(self.clip >= 0.0, "clip", "a number ≥ 0 (0 is off)", self.clip)
    }

    /// The learning rate at `step` of `steps`.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        let span = steps.saturating_sub(self.warmup).max(1) as f64;
        let k = ((step - self.warmup) as f64 / span).min(1.0);
        self.lr
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * k).cos()),
                Schedule::Linear => 1.0 - k,
            }
    }
}

/// The optimiser of one group: first moment (or velocity), second moment and count of moves.
pub struct Optimizer {
    config: OptimConfig,
    moves: u64,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    m: Tensor,
    v: Tensor,
}

impl Optimizer {
    /// An optimiser at rest for the variables of a group.
    ///
    /// # Errors
    /// If the state cannot be made.
    pub fn new(config: OptimConfig, vars: Vec<(String, Var)>) -> Result<Self> {
        let slots = vars
            .into_iter()
            .map(|(name, var)| {
                Ok(Slot { name, m: var.zeros_like()?.detach(), v: var.zeros_like()?.detach(), var })
            })
            .collect::<Result<_>>()?;
        Ok(Self { config, moves: 0, slots })
    }

    /// The configuration.
    pub fn config(&self) -> &OptimConfig {
        &self.config
    }

    /// The variables it moves, in order.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.slots.iter().map(|s| &s.var)
    }

    /// Moves every variable by its gradient, at learning rate `lr`. Returns the global norm of the gradients
    /// before clipping; if it is not finite nothing has moved.
    ///
    /// # Errors
    /// If the number or shape of the gradients differs from the variables'.
    pub fn step(&mut self, grads: &[Tensor], lr: f64) -> Result<f64> {
        if grads.len() != self.slots.len() {
            return Err(Error::data("gradients", format!("{} tensors", self.slots.len()), grads.len()));
        }
        let mut squared = 0.0f64;
        for g in grads {
            squared += genzoo_kernels::optim::squared_norm(g)?;
        }
        let norm = squared.sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.moves += 1;
        let clip = self.config.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let c = &self.config;
        for (slot, g) in self.slots.iter().zip(grads) {
            match c.optimizer {
                Rule::Adam | Rule::Adamw => {
                    let step = genzoo_kernels::optim::AdamStep {
                        lr,
                        beta1: c.beta1,
                        beta2: c.beta2,
                        eps: c.eps,
                        weight_decay: c.weight_decay,
                        decoupled: c.optimizer == Rule::Adamw,
                        moves: self.moves,
                        scale,
                    };
                    genzoo_kernels::optim::adam(slot.var.as_tensor(), g, &slot.m, &slot.v, &step)?;
                }
                Rule::Sgd | Rule::Nesterov => {
                    let step = genzoo_kernels::optim::SgdStep {
                        lr,
                        momentum: c.beta1,
                        weight_decay: c.weight_decay,
                        scale,
                        nesterov: c.optimizer == Rule::Nesterov,
                    };
                    genzoo_kernels::optim::sgd(slot.var.as_tensor(), g, &slot.m, &step)?;
                }
            }
        }
        Ok(norm)
    }

    /// The number of moves so far.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The state by parameter name: `m/…` and `v/…`.
    ///
    /// # Errors
    /// If copying fails.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut out = BTreeMap::new();
        for s in &self.slots {
            out.insert(format!("m/{}", s.name), s.m.copy()?);
            out.insert(format!("v/{}", s.name), s.v.copy()?);
        }
        Ok(out)
    }

    /// Restores what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// If a tensor is missing or mis-shaped.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, moves: u64) -> Result<()> {
        for s in &mut self.slots {
            for (kind, slot) in [("m", &mut s.m), ("v", &mut s.v)] {
                let name = format!("{kind}/{}", s.name);
                let t = state
                    .get(&name)
                    .ok_or_else(|| Error::data("checkpoint", format!("optimiser state {name}"), "none"))?;
                if t.dims() != slot.dims() {
                    return Err(Error::data(
                        format!("optimiser state {name}"),
                        format!("{:?}", slot.dims()),
                        format!("{:?}", t.dims()),
                    ));
                }
                *slot = t.to_dtype(slot.dtype())?.copy()?;
            }
        }
        self.moves = moves;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    fn config(optimizer: Rule) -> OptimConfig {
        OptimConfig {
            lr: 0.1,
            optimizer,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.01,
            clip: 0.0,
            schedule: Schedule::Constant,
            warmup: 0,
        }
    }

    /// The update rules written out on plain numbers, gradient of w⁴/4 − w.
    fn scalar(rule: Rule, steps: i32) -> f64 {
        let (mut w, mut m, mut v) = (3.0f64, 0.0f64, 0.0f64);
        for t in 1..=steps {
            let mut g = w.powi(3) - 1.0;
            if rule == Rule::Adamw {
                w -= 0.1 * 0.01 * w;
            } else {
                g += 0.01 * w;
            }
            if matches!(rule, Rule::Sgd | Rule::Nesterov) {
                m = 0.9 * m + g;
                w -= 0.001 * if rule == Rule::Sgd { m } else { g + 0.9 * m };
                continue;
            }
            m = 0.9 * m + 0.1 * g;
            v = 0.99 * v + 0.01 * g * g;
            w -= 0.1 * (m / (1.0 - 0.9f64.powi(t))) / ((v / (1.0 - 0.99f64.powi(t))).sqrt() + 1e-8);
        }
        w
    }

    #[test]
    fn rules_follow_their_formulas() -> Result<()> {
        for rule in [Rule::Adam, Rule::Adamw, Rule::Sgd, Rule::Nesterov] {
            let var = Var::new(&[3.0f64], &Device::Cpu)?;
            let mut opt = Optimizer::new(config(rule), vec![("w".into(), var.clone())])?;
            let lr = if matches!(rule, Rule::Sgd | Rule::Nesterov) { 0.001 } else { 0.1 };
            for k in 0..20 {
                if k == 10 {
                    // A save and a restore in the middle change nothing.
                    let (state, moves) = (opt.state()?, opt.moves());
                    opt = Optimizer::new(config(rule), vec![("w".into(), var.clone())])?;
                    opt.restore(&state, moves)?;
                }
                let g = (var.powf(3.0)?.detach() - 1.0)?;
                opt.step(&[g], lr)?;
            }
            let got = var.to_vec1::<f64>()?[0];
            assert!((got - scalar(rule, 20)).abs() < 1e-12, "{rule:?}: {got} {}", scalar(rule, 20));
        }
        Ok(())
    }

    #[test]
    fn clipping_rescales_to_the_norm() -> Result<()> {
        let var = Var::new(&[0.0f64, 0.0], &Device::Cpu)?;
        let c = OptimConfig { clip: 1.0, weight_decay: 0.0, ..config(Rule::Sgd) };
        let mut opt = Optimizer::new(c, vec![("w".into(), var.clone())])?;
        let norm = opt.step(&[Tensor::new(&[30.0f64, 40.0], &Device::Cpu)?], 1.0)?;
        assert_eq!(norm, 50.0);
        let w = var.to_vec1::<f64>()?;
        assert!((w[0] + 0.6).abs() < 1e-15 && (w[1] + 0.8).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn schedules_hit_their_ends() {
        let mut c = config(Rule::Adam);
        c.warmup = 10;
        c.schedule = Schedule::Cosine;
        assert!((c.rate(4, 110) - 0.05).abs() < 1e-15);
        assert!((c.rate(10, 110) - 0.1).abs() < 1e-15);
        assert!((c.rate(60, 110) - 0.05).abs() < 1e-15);
        assert!(c.rate(110, 110).abs() < 1e-15);
        c.schedule = Schedule::Linear;
        assert!((c.rate(60, 110) - 0.05).abs() < 1e-15);
    }
}
