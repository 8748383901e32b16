//! A perceptron of a point and a time, for flows and diffusion in the plane.
//!
//! ```text
//! f(x, t, label) = MLP([x, features(t), embedding(label)])
//! ```

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::differentiable::Pull;
use super::{Activation, Curved, Differentiable, Jet, Mlp, require, time};

/// The sizes of a [`TimeMlp`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeMlpConfig {
    /// Dimensions of `x`.
    pub inputs: usize,
    /// Dimensions of the result.
    pub outputs: usize,
    /// Width of the hidden layers.
    pub width: usize,
    /// Number of hidden layers.
    pub layers: usize,
    /// Size of the features of time, an even number.
    pub time_features: usize,
    /// Number of labels, if the network takes one.
    pub classes: Option<usize>,
    /// Activation between the layers.
    pub activation: Activation,
    /// Whether the last layer starts at zero.
    pub zero_last: bool,
}

impl TimeMlpConfig {
    /// `d → d` with three hidden layers of 256 and SiLU.
    pub fn new(d: usize) -> Self {
        Self {
            inputs: d,
            outputs: d,
            width: 256,
            layers: 3,
            time_features: 32,
            classes: None,
            activation: Activation::Silu,
            zero_last: false,
        }
    }
}

/// `x: (b, d), t: (b,), label: (b,) → (b, outputs)`; parameters `mlp.i.…` and `label`.
///
/// The row of index `classes` of the label table stands for "no label", as guidance needs it.
#[derive(Debug, Clone)]
pub struct TimeMlp {
    config: TimeMlpConfig,
    mlp: Mlp,
    labels: Option<Tensor>,
}

impl TimeMlp {
    /// Builds the network.
    ///
    /// # Errors
    /// When a size is zero or the time features are odd.
    pub fn new(config: TimeMlpConfig, vb: &VarBuilder) -> Result<Self> {
        let build = if config.zero_last { Mlp::zero_last } else { Mlp::new };
        Self::build(config, vb, |widths, vb| build(widths, config.activation, Activation::Identity, vb))
    }

    /// A potential `x, t → (b, 1)`: see [`Mlp::potential`].
    ///
    /// # Errors
    /// As [`TimeMlp::new`], and with more than one output.
    pub fn potential(config: TimeMlpConfig, vb: &VarBuilder) -> Result<Self> {
        require(config.outputs == 1, || format!("a potential has one output: {config:?}"))?;
        Self::build(config, vb, |widths, vb| {
            let hidden = &widths[1..widths.len() - 1];
            Mlp::potential(widths[0], hidden, config.activation, vb)
        })
    }

    fn build(
        config: TimeMlpConfig,
        vb: &VarBuilder,
        mlp: impl FnOnce(&[usize], &VarBuilder) -> Result<Mlp>,
    ) -> Result<Self> {
        let TimeMlpConfig { inputs, outputs, width, layers, time_features, classes, .. } = config;
        require(inputs * outputs * width * layers > 0, || {
            format!("TimeMlp sizes must be positive: {config:?}")
        })?;
        let embedded = if classes.is_some() { time_features } else { 0 };
        let mut widths = vec![inputs + time_features + embedded];
        widths.extend(std::iter::repeat_n(width, layers));
        widths.push(outputs);
        let mlp = mlp(&widths, &vb.pp("mlp"))?;
        let labels = match classes {
            Some(n) => {
                let init = Init::Randn { mean: 0.0, stdev: 1.0 };
                Some(vb.get_with_hints((n + 1, time_features), "label", init)?)
            }
            None => None,
        };
        Ok(Self { config, mlp, labels })
    }

    /// The sizes.
    pub fn config(&self) -> &TimeMlpConfig {
        &self.config
    }

    /// `f(x, t, label)`; a missing label means "no label" for every row.
    ///
    /// # Errors
    /// On wrong shapes, and for a label where the network has none.
    pub fn forward(&self, x: &Tensor, t: &Tensor, label: Option<&Tensor>) -> Result<Tensor> {
        self.mlp.forward(&self.input(x, t, label)?)
    }

    /// `f` and `vᵀ ∂f/∂x` at fixed time and label, as an ordinary graph.
    ///
    /// # Errors
    /// As [`TimeMlp::forward`].
    pub fn vjp(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        v: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        self.at(t, label).vjp(x, v)
    }

    /// `f` and `∂f/∂x · u` at fixed time and label, as an ordinary graph.
    ///
    /// # Errors
    /// As [`TimeMlp::forward`].
    pub fn jvp(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        u: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        self.at(t, label).jvp(x, u)
    }

    /// `f` and its exact divergence over x, `(b,)`; costs one forward pass per dimension.
    ///
    /// # Errors
    /// As [`TimeMlp::forward`], and when the result has other dimensions than x.
    pub fn divergence(&self, x: &Tensor, t: &Tensor, label: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let TimeMlpConfig { inputs, outputs, .. } = self.config;
        require(inputs == outputs, || {
            format!("a divergence needs as many outputs as inputs, this network has {outputs} for {inputs}")
        })?;
        self.mlp.divergence(&self.input(x, t, label)?)
    }

    /// The map of x alone, at the given times and labels.
    pub fn at<'a>(&'a self, t: &'a Tensor, label: Option<&'a Tensor>) -> AtTime<'a> {
        AtTime { net: self, t, label }
    }

    /// The same weights outside every graph.
    pub fn frozen(&self) -> Self {
        Self { config: self.config, mlp: self.mlp.frozen(), labels: self.labels.as_ref().map(Tensor::detach) }
    }

    fn input(&self, x: &Tensor, t: &Tensor, label: Option<&Tensor>) -> Result<Tensor> {
        let (b, d) = x.dims2()?;
        require(d == self.config.inputs && t.dims() == [b], || {
            format!(
                "expected x (b, {}) and t (b,), got {:?} and {:?}",
                self.config.inputs,
                x.dims(),
                t.dims()
            )
        })?;
        let features = time::sinusoidal(t, self.config.time_features)?;
        match embed(self.labels.as_ref(), label, b)? {
            Some(embedding) => Tensor::cat(&[x, &features, &embedding], 1),
            None => Tensor::cat(&[x, &features], 1),
        }
    }
}

/// Rows of a label table; the last row for a missing label.
pub(crate) fn embed(table: Option<&Tensor>, label: Option<&Tensor>, b: usize) -> Result<Option<Tensor>> {
    match (table, label) {
        (None, None) => Ok(None),
        (None, Some(_)) => candle_core::bail!("this network was built without labels, but got some"),
        (Some(table), Some(label)) => {
            require(label.dims() == [b], || format!("expected {b} labels, got shape {:?}", label.dims()))?;
            table.index_select(&label.to_dtype(DType::U32)?, 0).map(Some)
        }
        (Some(table), None) => {
            let (rows, size) = table.dims2()?;
            table.narrow(0, rows - 1, 1)?.broadcast_as((b, size))?.contiguous().map(Some)
        }
    }
}

/// A [`TimeMlp`] at fixed times and labels: a map of x.
pub struct AtTime<'a> {
    net: &'a TimeMlp,
    t: &'a Tensor,
    label: Option<&'a Tensor>,
}

impl Differentiable for AtTime<'_> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.net.forward(x, self.t, self.label)
    }

    fn vjp_with(&self, x: &Tensor) -> Result<(Tensor, Pull<'_>)> {
        let d = self.net.config.inputs;
        let (y, pull) = self.net.mlp.vjp_with(&self.net.input(x, self.t, self.label)?)?;
        Ok((y, Box::new(move |v| pull(v)?.narrow(1, 0, d)?.contiguous())))
    }

    fn jvp(&self, x: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let input = self.net.input(x, self.t, self.label)?;
        let (b, wide) = input.dims2()?;
        let still = Tensor::zeros((b, wide - self.net.config.inputs), x.dtype(), x.device())?;
        self.net.mlp.jvp(&input, &Tensor::cat(&[u, &still], 1)?)
    }
}

impl Curved for AtTime<'_> {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        let (b, wide) = self.net.input(&at.value, self.t, self.label)?.dims2()?;
        let still = Tensor::zeros((b, wide - self.net.config.inputs), at.value.dtype(), at.value.device())?;
        let pad = |u: &Tensor| Tensor::cat(&[u, &still], 1);
        self.net.mlp.jet(&at.affine(|x| self.net.input(x, self.t, self.label), pad)?)
    }
}
