//! `L = E D(G(z)) − E D(x) + 10 E (‖∇D(x̂)‖ − 1)²` with `x̂` between data and fakes (Gulrajani et al. 2017,
//! arXiv:1704.00028, eq. 3): a derivative of a gradient, with a critic that has one.

use genzoo_core::Result;
use genzoo_core::nn::{Activation, input_gradient};

use crate::dcgan::{BATCH, Generator, critic};
use crate::{Built, Learner, built, start, uniform};

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let critic = critic(Activation::Silu, &params)?;
    let generator = Generator::new(&start().0)?.frozen();
    let mut learner = Learner::adam(&params)?;
    let x = uniform((BATCH, 1, 28, 28), &mut noise)?;
    built(&params, move || {
        let fake = generator.sample(&mut noise)?;
        let along = uniform((BATCH, 1, 1, 1), &mut noise)?;
        let between = (&x + (&fake - &x)?.broadcast_mul(&along)?)?;
        let (_, gradient) = input_gradient(&critic, &between)?;
        let norm = gradient.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?;
        let penalty = ((norm - 1.0)?.sqr()?.mean_all()? * 10.0)?;
        let distance = (critic.forward(&fake)?.mean_all()? - critic.forward(&x)?.mean_all()?)?;
        learner.minimise(&(distance + penalty)?)
    })
}
