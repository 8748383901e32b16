//! `L = E U(data) − E U(x₄₀)` with Langevin steps `x ← x − ε ∇U + √(2ε) ξ` from noise (Hinton 2002; Nijkamp et al.
//! 2019, arXiv:1904.09770).

use genzoo_core::Result;
use genzoo_core::nn::{Activation, Mlp, input_gradient};

use crate::{Built, Learner, built, normal, start};

const BATCH: usize = 256;
const STEPS: usize = 40;
const SIZE: f64 = 0.01;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let net = Mlp::new(&[2, 128, 128, 128, 1], Activation::Silu, Activation::Identity, &params.group("net"))?;
    let frozen = net.frozen();
    let mut learner = Learner::adam(&params)?;
    let data = normal((BATCH, 2), &mut noise)?;
    built(&params, move || {
        let mut x = normal((BATCH, 2), &mut noise)?;
        for _ in 0..STEPS {
            let (_, gradient) = input_gradient(&frozen, &x)?;
            let kick = (normal((BATCH, 2), &mut noise)? * (2.0 * SIZE).sqrt())?;
            x = ((x - (gradient * SIZE)?)? + kick)?;
        }
        learner.minimise(&(net.forward(&data)?.mean_all()? - net.forward(&x)?.mean_all()?)?)
    })
}
