//! The non-saturating GAN (Goodfellow et al. 2014, arXiv:1406.2661) with networks after DCGAN (Radford et al. 2016,
//! arXiv:1511.06434) without normalisation: the critic moves once, then the generator.

use candle_core::Tensor;
use genzoo_core::math::softplus;
use genzoo_core::nn::{Activation, ConvConfig, ConvDecoder, ConvEncoder, Differentiable};
use genzoo_core::{Noise, ParamStore, Result};

use crate::{Built, Learner, normal, start, uniform};

pub(crate) const BATCH: usize = 64;
const CODE: usize = 100;

/// 100 → 7·7·128 → 64 → 1 with ReLU, and tanh at the end.
pub(crate) struct Generator(ConvDecoder);

impl Generator {
    pub(crate) fn new(params: &ParamStore) -> Result<Self> {
        let config =
            ConvConfig { channels: vec![64, 128], activation: Activation::Relu, ..ConvConfig::new(28, CODE) };
        Ok(Self(ConvDecoder::new(&config, &params.group("generator"))?))
    }

    pub(crate) fn frozen(&self) -> Self {
        Self(self.0.frozen())
    }

    pub(crate) fn sample(&self, noise: &mut Noise) -> Result<Tensor> {
        Ok(Activation::Tanh.forward(&self.0.forward(&normal((BATCH, CODE), noise)?)?)?)
    }
}

/// 1 → 64 → 128 → 1 with windows of 4×4 and stride 2.
pub(crate) fn critic(activation: Activation, params: &ParamStore) -> Result<ConvEncoder> {
    let config = ConvConfig { channels: vec![64, 128], activation, ..ConvConfig::new(28, 1) };
    Ok(ConvEncoder::new(&config, &params.group("critic"))?)
}

pub(crate) fn step() -> Result<Built> {
    let (ours, mut noise) = start();
    let (theirs, _) = start();
    let (critic, generator) = (critic(Activation::LeakyRelu(0.2), &ours)?, Generator::new(&theirs)?);
    let (judge, source) = (critic.frozen(), generator.frozen());
    let (mut move_critic, mut move_generator) = (Learner::adam(&ours)?, Learner::adam(&theirs)?);
    let x = uniform((BATCH, 1, 28, 28), &mut noise)?;
    let step = move || {
        let fake = source.sample(&mut noise)?;
        let loss = (softplus(&critic.forward(&x)?.neg()?)? + softplus(&critic.forward(&fake)?)?)?;
        move_critic.minimise(&loss.mean_all()?)?;
        let fake = generator.sample(&mut noise)?;
        move_generator.minimise(&softplus(&judge.forward(&fake)?.neg()?)?.mean_all()?)
    };
    Ok(Built { parameters: ours.count() + theirs.count(), step: Box::new(step) })
}
