//! A continuous flow, `dx/dt = v(x, t)`, `d log p/dt = −tr ∂v/∂x` (Chen et al. 2018, arXiv:1806.07366, eq. 8), by RK4 of
//! 20 steps from data to noise with the exact trace; gradients flow through the solver (discretise, then optimise).

use candle_core::Tensor;
use genzoo_core::math::HALF_LOG_TAU;
use genzoo_core::nn::{Activation, Mlp};
use genzoo_core::{DType, Result};

use crate::{Built, Learner, built, normal, start};

const BATCH: usize = 256;
const STEPS: usize = 20;

/// `v (b, 2)` and `∇·v (b,)` at one time, of a network of `(x, t)`.
fn field(net: &Mlp, x: &Tensor, t: f64) -> Result<(Tensor, Tensor)> {
    let time = Tensor::full(t as f32, (BATCH, 1), x.device())?;
    Ok(net.divergence(&Tensor::cat(&[x, &time], 1)?)?)
}

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let net = Mlp::new(&[3, 64, 64, 64, 2], Activation::Tanh, Activation::Identity, &params.group("net"))?;
    let mut learner = Learner::adam(&params)?;
    let x = normal((BATCH, 2), &mut noise)?;
    built(&params, move || {
        let h = 1.0 / STEPS as f64;
        let mut z = x.clone();
        let mut integral = Tensor::zeros(BATCH, DType::F32, x.device())?;
        for n in 0..STEPS {
            let t = n as f64 * h;
            let (v1, d1) = field(&net, &z, t)?;
            let (v2, d2) = field(&net, &(&z + (&v1 * (h / 2.0))?)?, t + h / 2.0)?;
            let (v3, d3) = field(&net, &(&z + (&v2 * (h / 2.0))?)?, t + h / 2.0)?;
            let (v4, d4) = field(&net, &(&z + (&v3 * h)?)?, t + h)?;
            z = (z + (((v1 + v4)? + ((v2 + v3)? * 2.0)?)? * (h / 6.0))?)?;
            integral = (integral + (((d1 + d4)? + ((d2 + d3)? * 2.0)?)? * (h / 6.0))?)?;
        }
        let loss = ((z.sqr()?.sum(1)? * 0.5)? - integral)?.mean_all()?;
        learner.minimise(&(loss + 2.0 * HALF_LOG_TAU)?)
    })
}
