//! A residual network of square images, without normalisation.
//!
//! ```text
//! h₀ = a(W ∗ x)                                          3×3, c₁ channels
//! hᵢ = a(Pᵢ ∗₂ hᵢ₋₁ + Vᵢ ∗ a(Uᵢ ∗₂ hᵢ₋₁))                 P: 2×2, U and V: 3×3, cᵢ channels;  ∗₂ halves the image
//! y  = w · hₙ                                            over all that is left of the image
//! ```
//!
//! | symbol | shape          | meaning                                                                  |
//! |--------|----------------|--------------------------------------------------------------------------|
//! | `x`    | `(b, c, n, n)` | images; a size that is odd is halved upwards                              |
//! | `P`    |                | the way past a block, by windows that do not overlap                       |
//! | `y`    | `(b, outputs)` | of an energy one number, whose w starts at zero                            |
//!
//! Every convolution has a bias. Where no operator norm exceeds λ and no slope of `a` exceeds m, a block multiplies distances
//! by at most `m(λ + mλ²)` and the whole network by `mλ · (m(λ + mλ²))ⁿ · λ`.
//!
//! Sources: He, Zhang, Ren & Sun (2016), arXiv:1512.03385, Fig. 3 and option B; Du & Mordatch (2019), arXiv:1903.08689,
//! its residual energies of images (no batch normalisation, halved between blocks).
//!
//! Departures: a way past of 2×2 windows instead of every second pixel, so that it sees the whole image; smooth
//! activations, whose energies have curvatures; a weight for every pixel at the end instead of their sum.

use candle_core::{Result, Tensor};
use genzoo_core::nn::{Activation, Conv, Conv2d, ConvConfig, Curved, Differentiable, Jet, Linear, Pull};
use genzoo_core::{Error, ParamStore};

/// One halving of the image.
#[derive(Debug, Clone)]
struct Block {
    /// U, with the activation.
    halving: Conv2d,
    /// V.
    second: Conv2d,
    /// P.
    past: Conv2d,
}

/// The network; parameters `stem`, `blocks.i.{halving, second, past}` and `head`.
#[derive(Debug, Clone)]
pub(crate) struct ResidualConv {
    stem: Conv2d,
    blocks: Vec<Block>,
    head: Linear,
    activation: Activation,
}

impl ResidualConv {
    /// Outputs as many as `config.features`; a `potential` starts at zero and has no bias at the end.
    ///
    /// # Errors
    /// When a size is zero or the image is too small.
    pub(crate) fn new(
        config: &ConvConfig,
        potential: bool,
        params: &ParamStore,
    ) -> genzoo_core::Result<Self> {
        let fits = config.channels.len() <= config.size.ilog2() as usize;
        if config.channels.is_empty() || config.channels.contains(&0) || !fits {
            let want = format!("positive numbers, at most as many as {0}x{0} can be halved", config.size);
            return Err(Error::config("model.channels", want, format!("{:?}", config.channels)));
        }
        let (vb, act) = (params.group("main"), config.activation);
        let (mut inputs, mut size) = (config.channels[0], config.size);
        let stem = Conv2d::new(config.image_channels, inputs, 3, Conv::same(3), act, &vb.pp("stem"))?;
        let mut blocks = Vec::with_capacity(config.channels.len());
        for (i, &outputs) in config.channels.iter().enumerate() {
            let (vb, linear) = (vb.pp("blocks").pp(i), Activation::Identity);
            let past = Conv::strided(2, size % 2);
            blocks.push(Block {
                halving: Conv2d::new(inputs, outputs, 3, Conv::strided(2, 1), act, &vb.pp("halving"))?,
                second: Conv2d::new(outputs, outputs, 3, Conv::same(3), linear, &vb.pp("second"))?,
                past: Conv2d::new(inputs, outputs, 2, past, linear, &vb.pp("past"))?,
            });
            (inputs, size) = (outputs, size.div_ceil(2));
        }
        let last = if potential { Linear::zeros_no_bias } else { Linear::new };
        let head = last(inputs * size * size, config.features, Activation::Identity, &vb.pp("head"))?;
        Ok(Self { stem, blocks, head, activation: act })
    }

    /// How far apart the windows of the convolution of this name are.
    pub(crate) fn stride(name: &str) -> usize {
        if name.contains("halving") || name.contains("past") { 2 } else { 1 }
    }

    /// The same weights outside every graph.
    pub(crate) fn frozen(&self) -> Self {
        let block = |b: &Block| Block {
            halving: b.halving.frozen(),
            second: b.second.frozen(),
            past: b.past.frozen(),
        };
        Self {
            stem: self.stem.frozen(),
            blocks: self.blocks.iter().map(block).collect(),
            head: self.head.frozen(),
            activation: self.activation,
        }
    }
}

impl Differentiable for ResidualConv {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.stem.forward(x)?;
        for b in &self.blocks {
            let sum = (b.past.forward(&h)? + b.second.forward(&b.halving.forward(&h)?)?)?;
            h = Differentiable::forward(&self.activation, &sum)?;
        }
        self.head.forward(&h.flatten_from(1)?)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        let (mut h, stem) = self.stem.vjp_with(x)?;
        let mut pulls = Vec::with_capacity(self.blocks.len());
        for b in &self.blocks {
            let (inner, halving) = b.halving.vjp_with(&h)?;
            let (change, second) = b.second.vjp_with(&inner)?;
            let (kept, past) = b.past.vjp_with(&h)?;
            let (next, bend) = self.activation.vjp_with(&(kept + change)?)?;
            pulls.push((halving, second, past, bend));
            h = next;
        }
        let shape = h.dims().to_vec();
        let (y, head) = self.head.vjp_with(&h.flatten_from(1)?)?;
        let pull = move |v: &Tensor| {
            let mut g = head(v)?.reshape(shape.as_slice())?;
            for (halving, second, past, bend) in pulls.iter().rev() {
                g = bend(&g)?;
                g = (past(&g)? + halving(&second(&g)?)?)?;
            }
            stem(&g)
        };
        Ok((y, Box::new(pull)))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let jet = self.jet(&Jet::line(x, u))?;
        Ok((jet.value, jet.first))
    }
}

impl Curved for ResidualConv {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        let mut h = self.stem.jet(at)?;
        for b in &self.blocks {
            let sum = b.past.jet(&h)?.plus(&b.second.jet(&b.halving.jet(&h)?)?)?;
            h = self.activation.jet(&sum)?;
        }
        let flat = |x: &Tensor| x.flatten_from(1);
        self.head.jet(&h.affine(flat, flat)?)
    }
}
