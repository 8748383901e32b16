//! `L = E_q[−log p(x|z)] + KL(q(z|x) ‖ N(0, I))` (Kingma & Welling 2013, arXiv:1312.6114, eq. 10).

use genzoo_core::Result;
use genzoo_core::math::bce_with_logits_event;
use genzoo_core::nn::{Activation, Linear, Mlp};

use crate::{Built, Learner, built, normal, start, uniform};

const BATCH: usize = 128;
const CODE: usize = 20;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let vb = params.group("vae");
    let hidden = Linear::new(784, 400, Activation::Relu, &vb.pp("hidden"))?;
    let heads = Linear::new(400, 2 * CODE, Activation::Identity, &vb.pp("heads"))?;
    let decoder = Mlp::new(&[CODE, 400, 784], Activation::Relu, Activation::Identity, &vb.pp("decoder"))?;
    let mut learner = Learner::adam(&params)?;
    let x = uniform((BATCH, 784), &mut noise)?;
    built(&params, move || {
        let code = heads.forward(&hidden.forward(&x)?)?;
        let (mu, lv) = (code.narrow(1, 0, CODE)?, code.narrow(1, CODE, CODE)?);
        let z = (&mu + ((&lv * 0.5)?.exp()? * normal((BATCH, CODE), &mut noise)?)?)?;
        let recon = bce_with_logits_event(&decoder.forward(&z)?, &x)?;
        let kl = ((((mu.sqr()? + lv.exp()?)? - &lv)? - 1.0)?.sum(1)? * 0.5)?;
        learner.minimise(&(recon + kl)?.mean_all()?)
    })
}
