//! Multilayer perceptrons.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use genzoo_kernels as kernels;

use super::differentiable::{Pull, chain_jvp, chain_vjp};
use super::{Activation, Differentiable, Linear, require};

/// Tangents that [`Mlp::divergence`] pushes at once: the forward pass is shared, and memory stays bounded.
const TANGENTS: usize = 8;

/// Linear layers with one activation between them and one behind the last; parameters `0.weight`, `0.bias`, `1.weight`, …
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// `widths` lists input, hidden and output sizes: `&[2, 128, 128, 1]` has two hidden layers.
    ///
    /// # Errors
    /// With fewer than two widths.
    pub fn new(widths: &[usize], hidden: Activation, last: Activation, vb: &VarBuilder) -> Result<Self> {
        Self::build(widths, hidden, last, vb, false)
    }

    /// As [`Mlp::new`], with the last layer starting at zero: the network starts as the constant `last(0)`.
    ///
    /// # Errors
    /// With fewer than two widths.
    pub fn zero_last(
        widths: &[usize],
        hidden: Activation,
        last: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        Self::build(widths, hidden, last, vb, true)
    }

    /// A potential `(…, d) → (…, 1)`: the last layer starts at zero and has no bias, since a potential is
    /// defined up to a constant that no gradient could learn.
    ///
    /// # Errors
    /// As [`Mlp::new`].
    pub fn potential(dims: usize, hidden: &[usize], activation: Activation, vb: &VarBuilder) -> Result<Self> {
        let mut widths = vec![dims];
        widths.extend(hidden);
        let mut layers = Vec::with_capacity(widths.len());
        for (i, pair) in widths.windows(2).enumerate() {
            layers.push(Linear::new(pair[0], pair[1], activation, &vb.pp(i))?);
        }
        let last = widths.last().copied().unwrap_or(dims);
        layers.push(Linear::zeros_no_bias(last, 1, Activation::Identity, &vb.pp(hidden.len()))?);
        Ok(Self { layers })
    }

    fn build(
        widths: &[usize],
        hidden: Activation,
        last: Activation,
        vb: &VarBuilder,
        zero: bool,
    ) -> Result<Self> {
        require(widths.len() >= 2, || format!("an Mlp needs an input and an output width, got {widths:?}"))?;
        let count = widths.len() - 1;
        let layers = (0..count)
            .map(|i| {
                let vb = vb.pp(i);
                let (fan_in, fan_out) = (widths[i], widths[i + 1]);
                match i + 1 == count {
                    true if zero => Linear::zeros(fan_in, fan_out, last, &vb),
                    true => Linear::new(fan_in, fan_out, last, &vb),
                    false => Linear::new(fan_in, fan_out, hidden, &vb),
                }
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// `(…, first width) → (…, last width)`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not the first width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let layers: Vec<_> = self.layers.iter().map(Linear::dense).collect();
        kernels::perceptron(x, &layers)
    }

    /// `f(x)`, `(b, d)`, and the divergence `Σᵢ ∂fᵢ/∂xᵢ`, `(b,)`, over the first d inputs of a network with d outputs, as
    /// an ordinary graph; further inputs, such as a time, stand still. Costs about d + ⌈d/8⌉ forward passes.
    ///
    /// # Errors
    /// When the network has more outputs than inputs, or `x` is not `(b, inputs)`.
    pub fn divergence(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, wide) = x.dims2()?;
        let d = self.layers.last().map_or(0, Linear::fan_out);
        require(d > 0 && d <= wide, || {
            format!("a divergence needs 1 to {wide} outputs for {wide} inputs, this network has {d}")
        })?;
        let axes = Tensor::eye(wide, x.dtype(), x.device())?;
        let (mut value, mut divergence): (Option<Tensor>, Option<Tensor>) = (None, None);
        for first in (0..d).step_by(TANGENTS) {
            let k = TANGENTS.min(d - first);
            let tangents = axes.narrow(0, first, k)?.unsqueeze(1)?.broadcast_as((k, b, wide))?;
            let tangents = tangents.reshape((k * b, wide))?;
            let rows = Tensor::cat(&[x, &tangents], 0)?;
            let y = self.layers.iter().try_fold(rows, |x, layer| layer.with_tangents(&x, 1 + k))?;
            // Tangent i asks for component i alone.
            let own = kernels::mask(&y.narrow(0, b, k * b)?, &tangents.narrow(1, 0, d)?)?;
            let sum = kernels::sum_rows(&own.sum(1)?.reshape((k, b))?)?;
            divergence = Some(match divergence {
                None => sum,
                Some(before) => (before + sum)?,
            });
            if value.is_none() {
                value = Some(y.narrow(0, 0, b)?);
            }
        }
        match (value, divergence) {
            (Some(value), Some(divergence)) => Ok((value, divergence)),
            _ => candle_core::bail!("the divergence needs at least one dimension"),
        }
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self { layers: self.layers.iter().map(Linear::frozen).collect() }
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    fn chain(&self) -> Vec<&dyn Differentiable> {
        self.layers.iter().map(|l| l as &dyn Differentiable).collect()
    }
}

impl Differentiable for Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Mlp::forward(self, x)
    }
    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        chain_vjp(&self.chain(), x)
    }
    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        chain_jvp(&self.chain(), x, u)
    }
}

/// A perceptron whose hidden layers of one width add to their input: `h ← h + W₂ f(W₁ h)`; parameters
/// `first`, `blocks.i.{0,1}`, `last`.
#[derive(Debug, Clone)]
pub struct ResidualMlp {
    first: Linear,
    blocks: Vec<(Linear, Linear)>,
    last: Linear,
}

impl ResidualMlp {
    /// `(…, inputs) → (…, outputs)` through `blocks` residual blocks of the given width.
    ///
    /// # Errors
    /// When the builder has parameters of these names with other shapes.
    pub fn new(
        inputs: usize,
        width: usize,
        blocks: usize,
        outputs: usize,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let last = Linear::new(width, outputs, Activation::Identity, &vb.pp("last"))?;
        Self::ending_in(last, inputs, width, blocks, activation, vb)
    }

    /// A potential `(…, d) → (…, 1)`, as [`Mlp::potential`].
    ///
    /// # Errors
    /// As [`ResidualMlp::new`].
    pub fn potential(
        dims: usize,
        width: usize,
        blocks: usize,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let last = Linear::zeros_no_bias(width, 1, Activation::Identity, &vb.pp("last"))?;
        Self::ending_in(last, dims, width, blocks, activation, vb)
    }

    fn ending_in(
        last: Linear,
        inputs: usize,
        width: usize,
        blocks: usize,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let first = Linear::new(inputs, width, activation, &vb.pp("first"))?;
        let blocks = (0..blocks)
            .map(|i| {
                let vb = vb.pp("blocks").pp(i);
                Ok((
                    Linear::new(width, width, activation, &vb.pp(0))?,
                    Linear::new(width, width, Activation::Identity, &vb.pp(1))?,
                ))
            })
            .collect::<Result<_>>()?;
        Ok(Self { first, blocks, last })
    }

    /// `(…, inputs) → (…, outputs)`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `inputs`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.first.forward(x)?;
        for (a, b) in &self.blocks {
            h = (&h + b.forward(&a.forward(&h)?)?)?;
        }
        self.last.forward(&h)
    }

    /// The first layer, the blocks and the last layer.
    pub(crate) fn parts(&self) -> (&Linear, &[(Linear, Linear)], &Linear) {
        (&self.first, &self.blocks, &self.last)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            first: self.first.frozen(),
            blocks: self.blocks.iter().map(|(a, b)| (a.frozen(), b.frozen())).collect(),
            last: self.last.frozen(),
        }
    }
}

impl Differentiable for ResidualMlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ResidualMlp::forward(self, x)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        let (mut h, first) = self.first.vjp_with(x)?;
        let mut pulls = Vec::with_capacity(self.blocks.len());
        for (a, b) in &self.blocks {
            let (change, pull) = chain_vjp(&[a, b], &h)?;
            h = (&h + change)?;
            pulls.push(pull);
        }
        let (y, last) = self.last.vjp_with(&h)?;
        let pull = move |v: &Tensor| {
            let mut g = last(v)?;
            for pull in pulls.iter().rev() {
                g = (&g + pull(&g)?)?;
            }
            first(&g)
        };
        Ok((y, Box::new(pull)))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut h, mut t) = self.first.jvp(x, u)?;
        for (a, b) in &self.blocks {
            let (change, tangent) = chain_jvp(&[a, b], &h, &t)?;
            h = (&h + change)?;
            t = (&t + tangent)?;
        }
        self.last.jvp(&h, &t)
    }
}
