//! `L = E ‖v(x_t, t) − (z − x)‖²` with `x_t = (1 − t) x + t z` (Lipman et al. 2023, arXiv:2210.02747).

use genzoo_core::Result;
use genzoo_core::nn::{TimeMlp, TimeMlpConfig};

use crate::{Built, Learner, built, normal, start, uniform};

const BATCH: usize = 512;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let net = TimeMlp::new(TimeMlpConfig::new(2), &params.group("net"))?;
    let mut learner = Learner::adam(&params)?;
    let x = normal((BATCH, 2), &mut noise)?;
    built(&params, move || {
        let z = normal((BATCH, 2), &mut noise)?;
        let t = uniform(BATCH, &mut noise)?;
        let along = (&z - &x)?;
        let xt = (&x + along.broadcast_mul(&t.unsqueeze(1)?)?)?;
        let v = net.forward(&xt, &t, None)?;
        learner.minimise(&(v - along)?.sqr()?.mean_all()?)
    })
}
