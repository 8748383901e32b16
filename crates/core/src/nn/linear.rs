//! `y = f(x Wᵀ + b)`.

use candle_core::{D, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use genzoo_kernels as kernels;

use super::{Activation, Differentiable, default_init};

/// A fully connected layer with its activation, `(…, fan_in) → (…, fan_out)`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
}

impl Linear {
    /// Weight `(fan_out, fan_in)` and bias `(fan_out)`, both uniform in `±1/√fan_in`.
    ///
    /// # Errors
    /// When the builder has a parameter of this name with another shape.
    pub fn new(fan_in: usize, fan_out: usize, activation: Activation, vb: &VarBuilder) -> Result<Self> {
        Self::with_init(fan_in, fan_out, activation, default_init(fan_in), default_init(fan_in), vb)
    }

    /// With the given initial distributions of weight and bias.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn with_init(
        fan_in: usize,
        fan_out: usize,
        activation: Activation,
        weight: Init,
        bias: Init,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let weight = vb.get_with_hints((fan_out, fan_in), "weight", weight)?;
        let bias = Some(vb.get_with_hints(fan_out, "bias", bias)?);
        Ok(Self { weight, bias, activation })
    }

    /// Weight and bias 0: the layer that ends flows and diffusion networks, so that they start as the identity.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn zeros(fan_in: usize, fan_out: usize, activation: Activation, vb: &VarBuilder) -> Result<Self> {
        Self::with_init(fan_in, fan_out, activation, Init::Const(0.0), Init::Const(0.0), vb)
    }

    /// Without bias.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn no_bias(fan_in: usize, fan_out: usize, activation: Activation, vb: &VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints((fan_out, fan_in), "weight", default_init(fan_in))?;
        Ok(Self { weight, bias: None, activation })
    }

    /// Weight 0, without bias: the layer that ends a potential, which is defined up to a constant.
    ///
    /// # Errors
    /// When the store refuses the parameters.
    pub fn zeros_no_bias(
        fan_in: usize,
        fan_out: usize,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let weight = vb.get_with_hints((fan_out, fan_in), "weight", Init::Const(0.0))?;
        Ok(Self { weight, bias: None, activation })
    }

    /// From tensors: weight `(fan_out, fan_in)`, bias `(fan_out)`.
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>, activation: Activation) -> Self {
        Self { weight, bias, activation }
    }

    /// The weight, `(fan_out, fan_in)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `(fan_out)`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The activation behind the affine map.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The same layer with another activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// `f(x Wᵀ + b)`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `fan_in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::linear(x, &self.weight, self.bias.as_ref(), self.activation)
    }

    /// As a layer of [`kernels::perceptron`].
    pub(crate) fn dense(&self) -> kernels::Dense<'_> {
        kernels::Dense { weight: &self.weight, bias: self.bias.as_ref(), activation: self.activation }
    }

    /// Points and tangents at once: `x` holds `blocks` blocks of as many rows, first points `x`, then tangents `u`; so
    /// does the result, with `f(x Wᵀ + b)` and `f'(x Wᵀ + b) ⊙ (u Wᵀ)`.
    ///
    /// # Errors
    /// When `x` is not a matrix of such rows.
    pub fn with_tangents(&self, x: &Tensor, blocks: usize) -> Result<Tensor> {
        kernels::linear_tangents(x, &self.weight, self.bias.as_ref(), self.activation, blocks)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            weight: self.weight.detach(),
            bias: self.bias.as_ref().map(Tensor::detach),
            activation: self.activation,
        }
    }

    /// `x Wᵀ + b`, before the activation.
    pub(crate) fn affine(&self, x: &Tensor) -> Result<Tensor> {
        kernels::linear(x, &self.weight, self.bias.as_ref(), Activation::Identity)
    }

    /// `x Wᵀ`: the affine map's Jacobian applied to a tangent.
    pub(crate) fn push(&self, u: &Tensor) -> Result<Tensor> {
        kernels::linear(u, &self.weight, None, Activation::Identity)
    }

    /// `g W`: the adjoint of [`Self::push`].
    pub(crate) fn pull(&self, g: &Tensor) -> Result<Tensor> {
        let (fan_out, fan_in) = self.weight.dims2()?;
        let mut shape = g.dims().to_vec();
        if shape.pop() != Some(fan_out) {
            candle_core::bail!("the gradient must end with {fan_out} features, got {:?}", g.dims());
        }
        let rows: usize = shape.iter().product();
        shape.push(fan_in);
        g.reshape((rows, fan_out))?.matmul(&self.weight)?.reshape(shape)
    }

    /// Size of the last dimension of the output.
    pub fn fan_out(&self) -> usize {
        self.weight.dim(0).unwrap_or_default()
    }

    /// Size of the last dimension of the input.
    pub fn fan_in(&self) -> usize {
        self.weight.dim(D::Minus1).unwrap_or_default()
    }
}

impl Differentiable for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Linear::forward(self, x)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, super::differentiable::Pull<'_>)> {
        let tracked =
            x.track_op() || self.weight.track_op() || self.bias.as_ref().is_some_and(Tensor::track_op);
        if !tracked && self.activation != Activation::Identity {
            // Where no graph is wanted, as in Langevin sampling, the slope comes with the value.
            let (y, slope) = kernels::linear_and_slope(x, &self.weight, self.bias.as_ref(), self.activation)?;
            return Ok((y, Box::new(move |v: &Tensor| self.pull(&(v * &slope)?))));
        }
        let a = self.affine(x)?;
        let y = kernels::act(&a, self.activation)?;
        let pull = move |v: &Tensor| self.pull(&kernels::act_grad(&a, v, self.activation)?);
        Ok((y, Box::new(pull)))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let a = self.affine(x)?;
        let y = kernels::act(&a, self.activation)?;
        let tangent = kernels::act_grad(&a, &self.push(u)?, self.activation)?;
        Ok((y, tangent))
    }
}
