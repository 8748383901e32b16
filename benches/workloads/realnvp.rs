//! `−log p(x) = −log N(z; 0, I) − Σ s` with couplings `y = x e^s + t` (Dinh et al. 2017, arXiv:1605.08803, eq. 7).

use genzoo_core::Result;
use genzoo_core::math::HALF_LOG_TAU;
use genzoo_core::nn::{Activation, Differentiable, Mlp};

use crate::{Built, Learner, built, normal, start};

const BATCH: usize = 512;
const COUPLINGS: usize = 8;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let vb = params.group("flow");
    let nets = (0..COUPLINGS)
        .map(|i| Mlp::new(&[1, 64, 64, 2], Activation::Relu, Activation::Identity, &vb.pp(i)))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let mut learner = Learner::adam(&params)?;
    let x = normal((BATCH, 2), &mut noise)?;
    let halves = [x.narrow(1, 0, 1)?.contiguous()?, x.narrow(1, 1, 1)?.contiguous()?];
    built(&params, move || {
        let mut z = halves.clone();
        let mut scales = Vec::with_capacity(COUPLINGS);
        for (i, net) in nets.iter().enumerate() {
            let (kept, moved) = (i % 2, 1 - i % 2);
            let raw = net.forward(&z[kept])?;
            let s = Activation::Tanh.forward(&raw.narrow(1, 0, 1)?)?;
            z[moved] = ((&z[moved] * s.exp()?)? + raw.narrow(1, 1, 1)?)?;
            scales.push(s);
        }
        let squares = ((z[0].sqr()? + z[1].sqr()?)? * 0.5)?;
        let ladj = scales[1..].iter().try_fold(scales[0].clone(), |sum, s| sum + s)?;
        learner.minimise(&((squares - ladj)?.mean_all()? + 2.0 * HALF_LOG_TAU)?)
    })
}
