//! The gradient of the negative log-likelihood, by hand.
//!
//! ```text
//! ∂L/∂θ = E_data ∂F/∂θ − E_model ∂F/∂θ,     −∂F/∂W = φ(v) pᵀ,   −∂F/∂b = φ(v),   −∂F/∂c = p,   p = σ(c + Wᵀ φ(v))
//! centred:   G ← ∂L/∂W − (∂L/∂b) λᵀ − μ (∂L/∂c)ᵀ,   ∂L/∂b − G λ,   ∂L/∂c − Gᵀ μ
//! ```
//!
//! (∂F/∂b of Gaussian units is `(b − v)/σ²`; its own mean cancels between the two terms.) The centred gradient is the
//! gradient in the coordinates of `U = −ℓ̃(v) − c̃·h − (φ(v) − μ)ᵀ W (h − λ)`, carried back: it turns with the labels 0 and 1
//! of the units and not against them, and vanishes where the plain one does. μ and λ are running means over data.
//!
//! Penalties: `½ d ‖W‖²`, and `s Σ_j KL(t ‖ q_j)` with q_j the mean of hidden unit j over the batch.
//!
//! Source: Hinton (2002); Montavon & Müller (2012), "Deep Boltzmann machines and the centering trick"; Melchior, Fischer
//! & Wiskott (2016), "How to center deep Boltzmann machines", for the running means; Lee, Ekanadham & Ng (2008) for
//! sparsity.

use genzoo_core::nn::Activation;
use genzoo_core::{Error, Result, StateDict, Tensor};
use genzoo_kernels::{linear, sum_rows};
use genzoo_numerics::rows;
use serde::Deserialize;

use super::{Beta, Machine};

/// What is added to the likelihood's gradient.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Penalties {
    /// d.
    pub(super) weight_decay: f64,
    /// s.
    pub(super) sparsity: f64,
    /// t.
    pub(super) sparsity_target: f64,
}

impl Penalties {
    pub(super) fn check(&self) -> Result<()> {
        let rule = |ok: bool, key: &str, want: &str, got: f64| {
            if ok { Ok(()) } else { Err(Error::config(format!("model.{key}"), want, got)) }
        };
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        rule(not_negative(self.weight_decay), "weight_decay", "a number ≥ 0", self.weight_decay)?;
        rule(not_negative(self.sparsity), "sparsity", "a number ≥ 0", self.sparsity)?;
        let inside = self.sparsity_target > 0.0 && self.sparsity_target < 1.0;
        rule(inside, "sparsity_target", "a number between 0 and 1", self.sparsity_target)
    }
}

/// Running means over data: μ of φ(v), `(D,)`, and λ of p, `(H,)`.
#[derive(Clone, Debug)]
pub(super) struct Centre {
    pub(super) visible: Tensor,
    pub(super) hidden: Tensor,
}

impl Centre {
    /// How much a batch adds to the running means.
    const RATE: f64 = 0.01;

    fn follow(&mut self, visible: &Tensor, hidden: &Tensor) -> Result<()> {
        let step = |old: &Tensor, new: &Tensor| (old * (1.0 - Self::RATE))? + (new * Self::RATE)?;
        self.visible = step(&self.visible, visible)?;
        self.hidden = step(&self.hidden, hidden)?;
        Ok(())
    }

    pub(super) fn state(&self) -> Result<StateDict> {
        Ok(StateDict::from([
            ("centre.visible".to_string(), self.visible.copy()?),
            ("centre.hidden".to_string(), self.hidden.copy()?),
        ]))
    }

    pub(super) fn load(&mut self, state: &StateDict) -> Result<()> {
        self.visible = super::saved(state, "centre.visible", &self.visible)?;
        self.hidden = super::saved(state, "centre.hidden", &self.hidden)?;
        Ok(())
    }
}

/// The gradient by every parameter, to be followed downhill.
pub(super) struct Gradient {
    pub(super) weights: Tensor,
    pub(super) visible: Tensor,
    pub(super) hidden: Tensor,
    pub(super) log_variance: Option<Tensor>,
    /// `mean F(data) − mean F(model)`: far below 0 the machine has seen the data too often, far above 0 the chains have run
    /// away.
    pub(super) gap: f64,
}

/// The gradient at states `data` `(B, D)` and states `model` `(C, D)` of the model's chains.
pub(super) fn gradient(
    machine: &Machine,
    data: &Tensor,
    model: &Tensor,
    centre: Option<&mut Centre>,
    penalties: &Penalties,
) -> Result<Gradient> {
    let (b, c) = (data.dim(0)?, model.dim(0)?);
    let v = Tensor::cat(&[data, model], 0)?;
    let fields = machine.fields(&v)?;
    let p = genzoo_core::math::sigmoid(&fields)?;
    let free = rows::host(&machine.log_weight(&v, &fields, Beta::TARGET)?)?;
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
    let gap = mean(&free[b..]) - mean(&free[..b]);

    let p_data = p.narrow(0, 0, b)?;
    let mut signed = (&p_data * (-1.0 / b as f64))?;
    if penalties.sparsity > 0.0 {
        signed = (signed + sparsity(&p_data, penalties)?)?;
    }
    let signed = Tensor::cat(&[signed, (p.narrow(0, b, c)? * (1.0 / c as f64))?], 0)?;
    let phi = machine.units().features(&v)?;
    let phi_data = (sum_rows(&phi.narrow(0, 0, b)?)? * (1.0 / b as f64))?;
    let visible = ((sum_rows(&phi.narrow(0, b, c)?)? * (1.0 / c as f64))? - &phi_data)?;
    let hidden = sum_rows(&signed)?;
    let s: Vec<f64> = (0..b + c).map(|i| if i < b { 1.0 / b as f64 } else { -1.0 / c as f64 }).collect();
    let s = Tensor::from_vec(s, (b + c, 1), v.device())?.to_dtype(v.dtype())?;
    let log_variance = machine.units().variance_gradient(&v, &s, machine.visible_bias(), || {
        Ok(linear(&signed, machine.weights(), None, Activation::Identity)?)
    })?;

    let row = |x: &Tensor| x.unsqueeze(0);
    let decayed = |w: Tensor| match penalties.weight_decay {
        0.0 => Ok::<_, Error>(w),
        d => Ok((w + (machine.weights() * d)?)?),
    };
    let Some(centre) = centre else {
        let weights = decayed(phi.t()?.matmul(&signed)?)?;
        return Ok(Gradient { weights, visible, hidden, log_variance, gap });
    };
    // −(∂L/∂b) λᵀ − μ (∂L/∂c)ᵀ as two more rows of the same product.
    let (mu, lambda) = (centre.visible.clone(), centre.hidden.clone());
    let left = Tensor::cat(&[&phi, &row(&visible.neg()?)?, &row(&mu.neg()?)?], 0)?;
    let right = Tensor::cat(&[&signed, &row(&lambda)?, &row(&hidden)?], 0)?;
    let weights = left.t()?.matmul(&right)?;
    let visible = (visible - weights.matmul(&lambda.unsqueeze(1)?)?.squeeze(1)?)?;
    let hidden = (hidden - row(&mu)?.matmul(&weights)?.squeeze(0)?)?;
    centre.follow(&phi_data, &(sum_rows(&p_data)? * (1.0 / b as f64))?)?;
    Ok(Gradient { weights: decayed(weights)?, visible, hidden, log_variance, gap })
}

/// The slope of `s Σ_j KL(t ‖ q_j)` by the fields of every row, `(B, H)`: `s (q − t)/(q (1 − q)) p (1 − p)/B`.
fn sparsity(p: &Tensor, penalties: &Penalties) -> Result<Tensor> {
    let b = p.dim(0)? as f64;
    let q = (sum_rows(p)? * (1.0 / b))?.clamp(1e-6, 1.0 - 1e-6)?;
    let spread = (&q * q.affine(-1.0, 1.0)?)?;
    let slope = ((q - penalties.sparsity_target)? / spread)?;
    let slope = (slope * (penalties.sparsity / b))?;
    Ok((p * p.affine(-1.0, 1.0)?)?.broadcast_mul(&slope)?)
}
