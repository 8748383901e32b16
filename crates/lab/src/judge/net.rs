//! The judge's network: three halvings of a 28×28 image, 64 features, one logit per class.
//!
//! ```text
//! x (b, 1, 28, 28) → conv 3×3, 16 → conv 4×4/2, 32 → conv 4×4/2, 64 → conv 3×3/2, 64 (4×4)
//!   → linear, SiLU: the features (b, 64) → linear: the logits (b, classes)
//! ```
//! Group normalisation and SiLU stand behind every convolution, so that an image is judged without its neighbours.

use genzoo_core::nn::{Activation, Conv, Conv2d, GroupNorm, Linear};
use genzoo_core::{ParamStore, Result, Tensor};

/// Height and width of what the network sees.
pub(super) const SIZE: usize = 28;
/// Numbers per image in the feature space.
pub const FEATURES: usize = 64;

/// Channels in and out, kernel and geometry of each convolution.
const LAYERS: [(usize, usize, usize, Conv); 4] = [
    (1, 16, 3, Conv::same(3)),
    (16, 32, 4, Conv::strided(2, 1)),
    (32, 64, 4, Conv::strided(2, 1)),
    (64, 64, 3, Conv::strided(2, 1)),
];
/// Height and width behind the last convolution.
const LAST: usize = 4;
/// Mean and standard deviation of the pixels of digits.
const INK: (f64, f64) = (0.13, 0.31);

/// The layers.
#[derive(Clone)]
pub(super) struct Net {
    convs: Vec<(Conv2d, GroupNorm)>,
    features: Linear,
    logits: Linear,
}

impl Net {
    /// Takes the weights of the group `main`.
    pub(super) fn new(classes: usize, params: &ParamStore) -> Result<Self> {
        let vb = params.group("main");
        let mut convs = Vec::with_capacity(LAYERS.len());
        for (i, (inputs, outputs, kernel, conv)) in LAYERS.into_iter().enumerate() {
            let at = vb.pp("conv").pp(i);
            let layer = Conv2d::new(inputs, outputs, kernel, conv, Activation::Identity, &at)?;
            convs.push((layer, GroupNorm::new(outputs / 4, outputs, true, &vb.pp("norm").pp(i))?));
        }
        let wide = LAYERS[LAYERS.len() - 1].1 * LAST * LAST;
        Ok(Self {
            convs,
            features: Linear::new(wide, FEATURES, Activation::Silu, &vb.pp("features"))?,
            logits: Linear::new(FEATURES, classes, Activation::Identity, &vb.pp("logits"))?,
        })
    }

    /// Pixels `(b, 1, 28, 28)` in [0, 1] to features `(b, 64)`.
    pub(super) fn features(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.affine(1.0 / INK.1, -INK.0 / INK.1)?;
        for (conv, norm) in &self.convs {
            h = norm.forward(&conv.forward(&h)?)?;
        }
        Ok(self.features.forward(&h.flatten_from(1)?)?)
    }

    /// Features to logits `(b, classes)`.
    pub(super) fn logits(&self, features: &Tensor) -> Result<Tensor> {
        Ok(self.logits.forward(features)?)
    }

    /// The same weights outside every graph.
    pub(super) fn frozen(&self) -> Self {
        Self {
            convs: self.convs.iter().map(|(c, n)| (c.frozen(), n.frozen())).collect(),
            features: self.features.frozen(),
            logits: self.logits.frozen(),
        }
    }
}
