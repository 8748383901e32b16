//! A binary RBM, `U(v, h) = −hᵀWv − b·v − c·h`, by persistent contrastive divergence with one Gibbs sweep (Tieleman
//! 2008): the gradient is written by hand,
//!
//! ```text
//! ∂L/∂W = E_chain[h vᵀ] − E_data[h vᵀ],   ∂L/∂b = E_chain[v] − E_data[v],   ∂L/∂c = E_chain[h] − E_data[h].
//! ```

use candle_core::Tensor;
use genzoo_core::Result;
use genzoo_core::nn::{Activation, Linear};
use genzoo_kernels::{contrast, linear_transposed};

use crate::{Built, Learner, built, start};

const BATCH: usize = 128;
const VISIBLE: usize = 784;
const HIDDEN: usize = 500;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let vb = params.group("rbm");
    // P(h = 1 | v); the optimiser moves the storage that the frozen layer shares.
    let up = Linear::new(VISIBLE, HIDDEN, Activation::Sigmoid, &vb.pp("hidden"))?.frozen();
    let visible_bias = vb.get(VISIBLE, "visible_bias")?.detach();
    let mut learner = Learner::descent(&params)?;
    let half = Tensor::full(0.5f32, (BATCH, VISIBLE), params.device())?;
    let data = noise.bernoulli(&half)?;
    let mut chain = noise.bernoulli(&half)?;
    built(&params, move || {
        let (h_data, h) = (up.forward(&data)?, up.forward(&chain)?);
        let h = noise.bernoulli(&h)?;
        let p = linear_transposed(&h, up.weight(), Some(&visible_bias), Activation::Sigmoid)?;
        chain = noise.bernoulli(&p)?;
        let h_chain = up.forward(&chain)?;
        let share = 1.0 / BATCH as f64;
        let [by_weight, by_hidden, by_visible] = contrast((&h_chain, &chain), (&h_data, &data), share)?;
        learner.follow(&[by_weight, by_hidden, by_visible])?;
        Ok(chain.clone())
    })
}
