//! `L = E ‖ε(x + ε, t) − ε‖²` with the zoo's U-Net at full resolution (Ho et al. 2020, arXiv:2006.11239, eq. 14), and
//! the forward pass that a sampler repeats.

use genzoo_core::Result;
use genzoo_core::nn::{UNet, UNetConfig};

use crate::{Built, Learner, built, normal, start, uniform};

const BATCH: usize = 64;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let net = UNet::new(&UNetConfig::new(1), &params.group("net"))?;
    let mut learner = Learner::adam(&params)?;
    let x = uniform((BATCH, 1, 28, 28), &mut noise)?;
    built(&params, move || {
        let (e, t) = (normal((BATCH, 1, 28, 28), &mut noise)?, uniform(BATCH, &mut noise)?);
        let y = net.forward(&(&x + &e)?, &t, None)?;
        learner.minimise(&(y - e)?.sqr()?.mean_all()?)
    })
}

pub(crate) fn forward() -> Result<Built> {
    let (params, mut noise) = start();
    let net = UNet::new(&UNetConfig::new(1), &params.group("net"))?.frozen();
    let x = uniform((BATCH, 1, 28, 28), &mut noise)?;
    let t = uniform(BATCH, &mut noise)?;
    built(&params, move || Ok(net.forward(&x, &t, None)?))
}
