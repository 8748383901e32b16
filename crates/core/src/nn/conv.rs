//! Convolutional layers on images `(b, c, h, w)`.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use genzoo_kernels as kernels;

use super::differentiable::Pull;
use super::{Activation, Conv, Curved, Differentiable, Jet, default_init};

/// `f(conv(x, W) + b)`, `(b, in, h, w) → (b, out, h', w')`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    conv: Conv,
    activation: Activation,
}

impl Conv2d {
    /// Weight `(outputs, inputs / groups, kernel, kernel)` and bias, uniform in `±1/√(inputs/groups · kernel²)`.
    ///
    /// # Errors
    /// When the builder has a parameter of this name with another shape.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        conv: Conv,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let fan_in = inputs / conv.groups.max(1) * kernel * kernel;
        Self::with_init(inputs, outputs, kernel, conv, activation, default_init(fan_in), vb)
    }

    /// Weight and bias 0, for the last layer of a diffusion network.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn zeros(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        conv: Conv,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        Self::with_init(inputs, outputs, kernel, conv, activation, Init::Const(0.0), vb)
    }

    /// With one initial distribution for weight and bias.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        conv: Conv,
        activation: Activation,
        init: Init,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let shape = (outputs, inputs / conv.groups.max(1), kernel, kernel);
        let weight = vb.get_with_hints(shape, "weight", init)?;
        let bias = vb.get_with_hints(outputs, "bias", init)?;
        Ok(Self { weight, bias, conv, activation })
    }

    /// `(b, in, h, w) → (b, out, h', w')`.
    ///
    /// # Errors
    /// When `x` has other channels or is smaller than the kernel.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv2d(x, &self.weight, Some(&self.bias), self.conv, self.activation)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            conv: self.conv,
            activation: self.activation,
        }
    }

    /// The weight, `(out, in / groups, kernel, kernel)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `(out)`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}

impl Differentiable for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Conv2d::forward(self, x)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        let (_, _, h, w) = x.dims4()?;
        let a = kernels::conv2d(x, &self.weight, Some(&self.bias), self.conv, Activation::Identity)?;
        let y = kernels::act(&a, self.activation)?;
        let pull = move |v: &Tensor| {
            let g = kernels::act_grad(&a, v, self.activation)?;
            kernels::conv2d_input_grad(&g, &self.weight, (h, w), self.conv)
        };
        Ok((y, Box::new(pull)))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let a = kernels::conv2d(x, &self.weight, Some(&self.bias), self.conv, Activation::Identity)?;
        let y = kernels::act(&a, self.activation)?;
        let tangent = kernels::conv2d(u, &self.weight, None, self.conv, Activation::Identity)?;
        let tangent = kernels::act_grad(&a, &tangent, self.activation)?;
        Ok((y, tangent))
    }
}

impl Curved for Conv2d {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        let conv = |x: &Tensor, bias| kernels::conv2d(x, &self.weight, bias, self.conv, Activation::Identity);
        self.activation.jet(&at.affine(|x| conv(x, Some(&self.bias)), |u| conv(u, None))?)
    }
}

/// `f(convᵀ(x, W) + b)`, the layer that makes images larger; `(b, in, h, w) → (b, out, h', w')` with
/// `h' = (h − 1) stride − 2 padding + kernel`.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Tensor,
    conv: Conv,
    activation: Activation,
}

impl ConvTranspose2d {
    /// Weight `(inputs, outputs / groups, kernel, kernel)`; uniform in `±1/√(outputs/groups · kernel²)`, as PyTorch.
    ///
    /// # Errors
    /// When the builder has a parameter of this name with another shape.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        conv: Conv,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let init = default_init(outputs / conv.groups.max(1) * kernel * kernel);
        Self::with_init(inputs, outputs, kernel, conv, activation, init, vb)
    }

    /// Weight and bias 0, for the last layer of a diffusion network.
    ///
    /// # Errors
    /// As [`ConvTranspose2d::new`].
    pub fn zeros(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        conv: Conv,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        Self::with_init(inputs, outputs, kernel, conv, activation, Init::Const(0.0), vb)
    }

    /// With one initial distribution for weight and bias.
    ///
    /// # Errors
    /// As [`ConvTranspose2d::new`].
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        conv: Conv,
        activation: Activation,
        init: Init,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let per_group = outputs / conv.groups.max(1);
        let weight = vb.get_with_hints((inputs, per_group, kernel, kernel), "weight", init)?;
        let bias = vb.get_with_hints(outputs, "bias", init)?;
        Ok(Self { weight, bias, conv, activation })
    }

    /// `(b, in, h, w) → (b, out, h', w')`.
    ///
    /// # Errors
    /// When `x` has other channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv_transpose2d(x, &self.weight, Some(&self.bias), self.conv, 0, self.activation)
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            conv: self.conv,
            activation: self.activation,
        }
    }
}

/// Each pixel repeated in a 2×2 block: `(b, c, h, w) → (b, c, 2h, 2w)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upsample2;

impl Upsample2 {
    /// `(b, c, h, w) → (b, c, 2h, 2w)`.
    ///
    /// # Errors
    /// On tensors that are not images.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::upsample2(x)
    }
}
