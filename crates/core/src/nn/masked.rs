//! Autoregressive perceptrons: output group i of a [`Made`] sees only the inputs before i.
//!
//! ```text
//! mask[o, i] = 1 where m(o) ≥ m(i)     hidden layers     (Germain et al. 2015, arXiv:1502.03509, eq. 8)
//! mask[o, i] = 1 where m(o) > m(i)     the last layer    (eq. 9)
//! ```
//! The degree m of an input is its place in the order, from 1; those of hidden units are spread evenly over
//! 1 … d − 1 rather than drawn, so that a network is a function of its sizes.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use genzoo_kernels as kernels;

use super::{Activation, default_init, require};

/// A linear layer whose weight is zero wherever an output may not see an input: `f(x (W ⊙ M)ᵀ + b)`.
#[derive(Debug, Clone)]
pub struct MaskedLinear {
    weight: Tensor,
    bias: Tensor,
    pattern: kernels::Pattern,
    activation: Activation,
}

impl MaskedLinear {
    /// An output sees the inputs of at most its own degree, or with `strict` those of smaller degree.
    /// Weight `(outputs, inputs)` and bias start uniform in `±1/√inputs`.
    ///
    /// # Errors
    /// When the builder has a parameter of this name with another shape.
    pub fn new(
        inputs: &[usize],
        outputs: &[usize],
        strict: bool,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let shape = (outputs.len(), inputs.len());
        let init = default_init(inputs.len());
        let weight = vb.get_with_hints(shape, "weight", init)?;
        let bias = vb.get_with_hints(outputs.len(), "bias", init)?;
        let sees = |o: usize, i: usize| if strict { o > i } else { o >= i };
        let mask: Vec<f32> =
            outputs.iter().flat_map(|&o| inputs.iter().map(move |&i| f32::from(sees(o, i)))).collect();
        let mask = Tensor::from_vec(mask, shape, weight.device())?.to_dtype(weight.dtype())?;
        Ok(Self { weight, bias, pattern: kernels::Pattern::new(&mask)?, activation })
    }

    /// `(…, inputs) → (…, outputs)`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not the number of inputs.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::masked_linear(x, &self.weight, &self.pattern, Some(&self.bias), self.activation)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.detach(), ..self.clone() }
    }

    /// `W ⊙ M`.
    fn masked_weight(&self) -> Result<Tensor> {
        kernels::mask(&self.weight, self.pattern.mask())
    }
}

/// A masked autoencoder, `(b, d) → (b, outputs · d)`: `outputs` numbers per dimension, each block of d in the order
/// of the inputs. Number i of a block is a function of the inputs that come before i.
///
/// Parameters `0.weight`, `0.bias`, `1.weight`, …
#[derive(Debug, Clone)]
pub struct Made {
    first: MaskedLinear,
    middle: Vec<MaskedLinear>,
    last: MaskedLinear,
    /// The dimensions in their order.
    sequence: Vec<usize>,
}

impl Made {
    /// `order[i]` is the place of input i, a permutation of 0 … d − 1; `hidden` lists the widths between.
    ///
    /// # Errors
    /// When `order` is no permutation, or a width is zero.
    pub fn new(
        order: &[usize],
        hidden: &[usize],
        outputs: usize,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let d = order.len();
        let mut places = order.to_vec();
        places.sort_unstable();
        require(places.iter().copied().eq(0..d) && d > 0, || {
            format!("the order of {d} dimensions must be a permutation of 0..{d}, got {order:?}")
        })?;
        require(outputs > 0 && !hidden.is_empty() && !hidden.contains(&0), || {
            format!("a Made needs outputs and hidden widths above 0, got {outputs} and {hidden:?}")
        })?;
        let inputs: Vec<usize> = order.iter().map(|place| place + 1).collect();
        let degrees = |width: usize| (0..width).map(|k| 1 + k * (d - 1) / width).collect::<Vec<_>>();
        let mut seen = degrees(hidden[0]);
        let first = MaskedLinear::new(&inputs, &seen, false, activation, &vb.pp(0))?;
        let mut middle = Vec::with_capacity(hidden.len() - 1);
        for (l, &width) in hidden.iter().enumerate().skip(1) {
            let next = degrees(width);
            middle.push(MaskedLinear::new(&seen, &next, false, activation, &vb.pp(l))?);
            seen = next;
        }
        let (last, vb) = (inputs.repeat(outputs), vb.pp(hidden.len()));
        let last = MaskedLinear::new(&seen, &last, true, Activation::Identity, &vb)?;
        let mut sequence: Vec<usize> = (0..d).collect();
        sequence.sort_unstable_by_key(|&i| order[i]);
        Ok(Self { first, middle, last, sequence })
    }

    /// `(b, d) → (b, outputs · d)`.
    ///
    /// # Errors
    /// When `x` has other dimensions.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.first.forward(x)?;
        self.last.forward(&self.middle.iter().try_fold(h, |h, layer| layer.forward(&h))?)
    }

    /// The `x (b, d)` that solves `x_i = step(i, net_i(x))` for every dimension i, where `net_i` are the network's
    /// `(b, outputs)` numbers of i, and `step` returns `(b, 1)`. One dimension follows the other in the network's
    /// order, outside every graph; the first layer is summed up on the way, the later ones are run d times.
    ///
    /// # Errors
    /// When `step` fails or returns another shape.
    pub fn solve(&self, b: usize, step: impl Fn(usize, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let Self { first, middle, last, sequence } = &self.frozen();
        let (d, (width, _)) = (sequence.len(), first.weight.dims2()?);
        let columns = first.masked_weight()?.t()?.contiguous()?; // (d, width)
        let (rows, seen) = last.weight.dims2()?;
        let rows = (rows / d, d, seen);
        let weights = last.masked_weight()?.reshape(rows)?.transpose(0, 1)?.contiguous()?; // (d, outputs, seen)
        let biases = last.bias.reshape((rows.0, d))?.t()?.contiguous()?;
        let mut a = first.bias.broadcast_as((b, width))?.contiguous()?;
        let mut x: Vec<Option<Tensor>> = vec![None; d];
        for &i in sequence {
            let h = kernels::act(&a, first.activation)?;
            let h = middle.iter().try_fold(h, |h, layer| layer.forward(&h))?;
            let net = kernels::linear(&h, &weights.get(i)?, Some(&biases.get(i)?), Activation::Identity)?;
            let xi = step(i, &net)?;
            require(xi.dims() == [b, 1], || format!("a step must give ({b}, 1), got {:?}", xi.dims()))?;
            a = (a + xi.matmul(&columns.narrow(0, i, 1)?)?)?;
            x[i] = Some(xi);
        }
        Tensor::cat(&x.into_iter().flatten().collect::<Vec<_>>(), 1)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            first: self.first.frozen(),
            middle: self.middle.iter().map(MaskedLinear::frozen).collect(),
            last: self.last.frozen(),
            sequence: self.sequence.clone(),
        }
    }
}
