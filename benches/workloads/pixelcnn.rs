//! A gated PixelCNN of binary images, `−log p(x) = Σᵢ −log p(xᵢ | x before i)` (van den Oord et al. 2016,
//! arXiv:1606.05328): strict 7-windows, then five gated layers with 3-windows, then one logit per pixel.

use genzoo_core::Result;
use genzoo_core::math::bce_with_logits_event;
use genzoo_core::nn::{Activation, Causal, CausalConv2d, Conv, Conv2d, Differentiable, GatedCausalConv2d};

use crate::{Built, Learner, built, start, uniform};

const BATCH: usize = 32;
const CHANNELS: usize = 64;
const LAYERS: usize = 5;

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let vb = params.group("net");
    let vertical = CausalConv2d::new(1, CHANNELS, 7, Causal::StrictVertical, &vb.pp("vertical"))?;
    let horizontal = CausalConv2d::new(1, CHANNELS, 7, Causal::StrictHorizontal, &vb.pp("horizontal"))?;
    let layers = (0..LAYERS)
        .map(|i| GatedCausalConv2d::new(CHANNELS, 3, &vb.pp("layer").pp(i)))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let head = Conv2d::new(CHANNELS, 1, 1, Conv::same(1), Activation::Identity, &vb.pp("head"))?;
    let mut learner = Learner::adam(&params)?;
    let x = uniform((BATCH, 1, 28, 28), &mut noise)?.gt(0.5)?.to_dtype(params.dtype())?;
    built(&params, move || {
        let (mut v, mut h) = (vertical.forward(&x)?, horizontal.forward(&x)?);
        for layer in &layers {
            (v, h) = layer.forward(&v, &h)?;
        }
        let logits = head.forward(&Activation::Relu.forward(&h)?)?;
        learner.minimise(&bce_with_logits_event(&logits, &x)?.mean_all()?)
    })
}
