//! Two hidden layers: a deep Boltzmann machine is a machine whose visible layer is (v, h₂).
//!
//! ```text
//! U(v, h₁, h₂) = −b·v − c·h₁ − d·h₂ − vᵀ W₁ h₁ − h₁ᵀ W₂ h₂:   between h₁ and (v, h₂) there are no couplings within a layer
//! q(h₁, h₂ | v) = Π Bernoulli:   μ₁ = σ(c + W₁ᵀ v + W₂ μ₂),   μ₂ = σ(d + W₂ᵀ μ₁),   in turn
//! log p(v) ≥ E_q[−U] + H(q) − log Z = −F(v, μ₂) + H(μ₂) − log Z,   F the free energy of the machine of (v, h₂)
//! ```
//!
//! So chains, gradient, annealing and enumeration are those of the machine, with rows of data completed by μ₂. The rows
//! of its couplings are W₁ and below it W₂ᵀ.
//!
//! Source: Salakhutdinov & Hinton (2009), "Deep Boltzmann machines", §2 and §3.1; Montavon & Müller (2012) for joint
//! training by centred gradients, without layers trained one by one.

use genzoo_core::nn::Activation;
use genzoo_core::{DType, Result, Tensor};
use genzoo_kernels::{linear, linear_transposed};

use super::Machine;

/// μ₂ of every row after so many turns from ½, `(n, visible) → (n, second)`.
pub(super) fn mean_field(machine: &Machine, v: &Tensor, second: usize, turns: usize) -> Result<Tensor> {
    let (n, d) = v.dims2()?;
    let below = machine.weights().narrow(0, 0, d)?.contiguous()?;
    let above = machine.weights().narrow(0, d, second)?.contiguous()?; // W₂ᵀ, (second, first)
    let bias = machine.visible_bias().narrow(0, d, second)?.contiguous()?;
    let from_v = linear_transposed(v, &below, Some(machine.hidden_bias()), Activation::Identity)?;
    let mut means = (Tensor::zeros((n, second), v.dtype(), v.device())? + 0.5)?;
    for _ in 0..turns {
        let first = genzoo_core::math::sigmoid(&(&from_v + means.matmul(&above)?)?)?;
        means = linear(&first, &above, Some(&bias), Activation::Sigmoid)?;
    }
    Ok(means)
}

/// Entropy of independent bits with these means, `(n, k) → (n,)` in `f64`.
pub(super) fn entropy(means: &Tensor) -> Result<Tensor> {
    let p = means.to_dtype(DType::F64)?.clamp(1e-300, 1.0 - 1e-16)?;
    let q = p.affine(-1.0, 1.0)?;
    Ok(((&p * p.log()?)? + (&q * q.log()?)?)?.sum(1)?.neg()?)
}
