//! The network `f`, and the energy `U(u) = f(u) + ½κ‖u‖²` over standardised rows `u`.
//!
//! A perceptron sees `gain · u`, so that the kinks of its first layer lie dense enough for structure much smaller
//! than the data. A convolutional net, plain or residual, sees the image `x = m + s·u` as `2x − 1`, where neighbouring
//! pixels share one scale; its gradient returns through the same linear map.

use genzoo_core::capability::Energy;
use genzoo_core::math::log_sum_exp;
use genzoo_core::nn::{
    Activation, ConvConfig, ConvEncoder, Curved, Jet, Mlp, ResidualMlp, TimeMlp, input_gradient,
};
use genzoo_core::{DataSpec, Error, ParamStore, Result, Standardizer, Table, Tensor, config};
use genzoo_numerics::rows;
use serde::Deserialize;

use super::dims;
use super::residual::ResidualConv;
use super::statistics::Statistics;
use crate::settings::{count, positive};

#[derive(Deserialize)]
struct Vector {
    network: String,
    hidden: usize,
    layers: usize,
    gain: f64,
    activation: String,
}

#[derive(Deserialize)]
struct Convolutional {
    network: String,
    channels: Vec<usize>,
    activation: String,
}

/// The activation that a recipe names.
///
/// # Errors
/// If there is none of this name.
pub(crate) fn activation(name: &str) -> Result<Activation> {
    name.parse().map_err(|_| {
        Error::config("model.activation", "silu, softplus, tanh, gelu, elu, relu or leaky_relu", name)
    })
}

/// A potential of vectors.
#[derive(Clone)]
pub(crate) enum Perceptron {
    /// Layer behind layer.
    Plain(Mlp),
    /// Blocks that add to what they see.
    Residual(ResidualMlp),
}

impl Perceptron {
    fn frozen(&self) -> Self {
        match self {
            Self::Plain(net) => Self::Plain(net.frozen()),
            Self::Residual(net) => Self::Residual(net.frozen()),
        }
    }

    pub(super) fn graph(&self) -> &dyn Curved {
        match self {
            Self::Plain(net) => net,
            Self::Residual(net) => net,
        }
    }
}

/// A net of images.
#[derive(Clone)]
pub(crate) enum Filters {
    /// Layer behind layer, each of which halves the image.
    Plain(ConvEncoder),
    /// Blocks that add to what they see.
    Residual(ResidualConv),
}

impl Filters {
    /// With one output it is a potential.
    fn new(
        table: &Table,
        (channels, height, width): (usize, usize, usize),
        outputs: usize,
        params: &ParamStore,
    ) -> Result<Self> {
        if height != width {
            return Err(Error::Unsupported(format!(
                "energies of images are learned for square ones, not {height}x{width}"
            )));
        }
        let c: Convolutional = config::read(table, "model")?;
        let sizes = ConvConfig {
            image_channels: channels,
            channels: c.channels,
            activation: activation(&c.activation)?,
            ..ConvConfig::new(height, outputs)
        };
        let potential = outputs == 1;
        match c.network.as_str() {
            "residual" => Ok(Self::Residual(ResidualConv::new(&sizes, potential, params)?)),
            // Images of a few principal coordinates are vectors and have a perceptron; whole ones a plain net.
            "mlp" if potential => Ok(Self::Plain(ConvEncoder::potential(&sizes, &params.group("main"))?)),
            "mlp" => Ok(Self::Plain(ConvEncoder::new(&sizes, &params.group("main"))?)),
            other => {
                let want = "\"mlp\", which for whole images is a plain convolutional net, or \"residual\"";
                Err(Error::config("model.network", want, other))
            }
        }
    }

    fn frozen(&self) -> Self {
        match self {
            Self::Plain(net) => Self::Plain(net.frozen()),
            Self::Residual(net) => Self::Residual(net.frozen()),
        }
    }

    fn graph(&self) -> &dyn Curved {
        match self {
            Self::Plain(net) => net,
            Self::Residual(net) => net,
        }
    }
}

/// `f`, one number per row.
#[derive(Clone)]
pub(crate) enum Network {
    /// Of vectors, which enter multiplied by a gain.
    Vector(Perceptron, f64),
    /// Of images `(c, h, w)`.
    Image(Filters, (usize, usize, usize)),
    /// Of vectors, which enter multiplied by a gain, at one scale of noise, whose place is given as a time.
    Noised(TimeMlp, f64, f64),
    /// Minus the logarithm of the sum of a classifier's exponentials, of images.
    Classes(Filters, (usize, usize, usize)),
    /// Linear in its parameters.
    Statistics(Statistics),
}

impl Network {
    pub(crate) fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let d = dims(table, spec)?;
        let Some(shape) = spec.image().filter(|_| d == spec.dims()) else {
            let c: Vector = config::read(table, "model")?;
            count("hidden", c.hidden, 1 << 14)?;
            count("layers", c.layers, 1 << 14)?;
            positive("gain", c.gain)?;
            // It starts at zero: the model starts as its base.
            let (act, vb) = (activation(&c.activation)?, params.group("main"));
            let net = match c.network.as_str() {
                "mlp" => Perceptron::Plain(Mlp::potential(d, &vec![c.hidden; c.layers], act, &vb)?),
                "residual" => Perceptron::Residual(ResidualMlp::potential(d, c.hidden, c.layers, act, &vb)?),
                other => return Err(Error::config("model.network", "\"mlp\" or \"residual\"", other)),
            };
            return Ok(Self::Vector(net, c.gain));
        };
        Ok(Self::Image(Filters::new(table, shape, 1, params)?, shape))
    }

    /// A classifier of images.
    ///
    /// # Errors
    /// For data that are no square images.
    pub(crate) fn of_classes(
        table: &Table,
        spec: &DataSpec,
        classes: usize,
        params: &ParamStore,
    ) -> Result<Self> {
        let shape = spec.image().ok_or_else(|| {
            Error::Unsupported(format!(
                "classifiers are learned for images, not for rows of {} numbers",
                spec.dims()
            ))
        })?;
        Ok(Self::Classes(Filters::new(table, shape, classes, params)?, shape))
    }

    /// How far apart the windows of the convolution of this name lie.
    pub(super) fn stride(&self, name: &str) -> usize {
        match self {
            Self::Image(Filters::Residual(_), _) | Self::Classes(Filters::Residual(_), _) => {
                ResidualConv::stride(name)
            }
            // Every layer of a plain net halves the image.
            _ => 2,
        }
    }

    pub(crate) fn frozen(&self) -> Self {
        match self {
            Self::Vector(net, gain) => Self::Vector(net.frozen(), *gain),
            Self::Image(net, shape) => Self::Image(net.frozen(), *shape),
            Self::Noised(net, gain, t) => Self::Noised(net.frozen(), *gain, *t),
            Self::Classes(net, shape) => Self::Classes(net.frozen(), *shape),
            Self::Statistics(s) => Self::Statistics(s.frozen()),
        }
    }

    /// `f(u)`, `(b, D) → (b,)`.
    pub(crate) fn forward(&self, scaling: &Standardizer, u: &Tensor) -> Result<Tensor> {
        let f = match self {
            Self::Vector(net, gain) => net.graph().forward(&(u * *gain)?)?,
            Self::Image(net, shape) => net.graph().forward(&image(scaling, u, *shape)?)?,
            Self::Noised(net, gain, t) => net.forward(&(u * *gain)?, &rows::time(*t, u)?, None)?,
            Self::Classes(..) => return Ok(log_sum_exp(&self.logits(scaling, u)?)?.neg()?),
            Self::Statistics(s) => return s.forward(scaling, u),
        };
        Ok(f.squeeze(1)?)
    }

    /// `f(u)`, `(b,)`, and `∇f`, `(b, D)`.
    pub(crate) fn forward_and_gradient(
        &self,
        scaling: &Standardizer,
        u: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        match self {
            Self::Vector(net, gain) => {
                let (f, g) = input_gradient(net.graph(), &(u * *gain)?)?;
                Ok((f, (g * *gain)?))
            }
            Self::Image(net, shape) => {
                let (f, g) = input_gradient(net.graph(), &image(scaling, u, *shape)?)?;
                Ok((f, of_standardised(scaling, &g)?))
            }
            Self::Classes(net, shape) => {
                let (logits, pull) = net.graph().vjp_with(&image(scaling, u, *shape)?)?;
                let total = log_sum_exp(&logits)?;
                let shares = logits.broadcast_sub(&total.unsqueeze(1)?)?.exp()?;
                Ok((total.neg()?, of_standardised(scaling, &pull(&shares.neg()?)?)?))
            }
            Self::Statistics(s) => s.forward_and_gradient(scaling, u),
            Self::Noised(net, gain, t) => {
                let (f, g) = input_gradient(&net.at(&rows::time(*t, u)?, None), &(u * *gain)?)?;
                Ok((f, (g * *gain)?))
            }
        }
    }

    /// The logits of a classifier, `(b, K)`.
    ///
    /// # Errors
    /// If this network is none.
    pub(crate) fn logits(&self, scaling: &Standardizer, u: &Tensor) -> Result<Tensor> {
        match self {
            Self::Classes(net, shape) => Ok(net.graph().forward(&image(scaling, u, *shape)?)?),
            _ => Err(Error::Unsupported("this energy is not that of a classifier".into())),
        }
    }

    /// `f(u)`, `v·∇f` and `vᵀ∇²f v`, each `(b,)`.
    pub(crate) fn jet(&self, scaling: &Standardizer, u: &Tensor, v: &Tensor) -> Result<Jet> {
        let jet = match self {
            Self::Statistics(s) => return s.jet(scaling, u, v),
            Self::Vector(net, gain) => net.graph().jet(&Jet::line(&(u * *gain)?, &(v * *gain)?))?,
            Self::Image(net, shape) | Self::Classes(net, shape) => {
                let x = image(scaling, u, *shape)?;
                let along = scaling.velocity(v)?.affine(2.0, 0.0)?.reshape(x.shape())?;
                net.graph().jet(&Jet::line(&x, &along))?
            }
            Self::Noised(net, gain, t) => {
                net.at(&rows::time(*t, u)?, None).jet(&Jet::line(&(u * *gain)?, &(v * *gain)?))?
            }
        };
        if let Self::Classes(..) = self {
            return classified(&jet);
        }
        let row = |x: &Tensor| x.squeeze(1);
        Ok(jet.affine(row, row)?)
    }
}

/// The gradient with respect to `u` from that with respect to `2x − 1`, `x = m + s·u`: `∇ᵤ = 2s ∇`.
pub(super) fn of_standardised(scaling: &Standardizer, g: &Tensor) -> Result<Tensor> {
    scaling.velocity(&g.flatten_from(1)?.affine(2.0, 0.0)?)
}

/// The jet of `−log Σ e^{y}` along that of the logits: with `p` their softmax, the slope is `−E_p y'` and the curvature
/// `−E_p y'' − Var_p y'`.
fn classified(logits: &Jet) -> Result<Jet> {
    let total = log_sum_exp(&logits.value)?;
    let p = logits.value.broadcast_sub(&total.unsqueeze(1)?)?.exp()?;
    let mean = |x: &Tensor| -> Result<Tensor> { Ok((&p * x)?.sum(1)?) };
    let slope = mean(&logits.first)?;
    let variance = (mean(&logits.first.sqr()?)? - slope.sqr()?)?;
    let second = (mean(&logits.curvature()?)? + variance)?.neg()?;
    Ok(Jet { value: total.neg()?, first: slope.neg()?, second: Some(second) })
}

/// `2x − 1` as images, with `x = m + s·u`.
pub(super) fn image(scaling: &Standardizer, u: &Tensor, (c, h, w): (usize, usize, usize)) -> Result<Tensor> {
    let b = u.dim(0)?;
    Ok(scaling.inverse(u)?.affine(2.0, -1.0)?.reshape((b, c, h, w))?)
}

/// `U` over standardised rows.
pub(crate) struct Landscape {
    pub(crate) network: Network,
    pub(crate) scaling: Standardizer,
    pub(crate) confinement: f64,
}

/// `½κ‖u‖²`, `(b,)`: the energy of the base.
pub(crate) fn confining(u: &Tensor, confinement: f64) -> Result<Tensor> {
    Ok((rows::squared_norm(u)? * (0.5 * confinement))?)
}

impl Energy for Landscape {
    fn energy(&self, u: &Tensor) -> Result<Tensor> {
        Ok((self.network.forward(&self.scaling, u)? + confining(u, self.confinement)?)?)
    }

    fn energy_and_gradient(&self, u: &Tensor) -> Result<(Tensor, Tensor)> {
        let (f, g) = self.network.forward_and_gradient(&self.scaling, u)?;
        let energy = (f + confining(u, self.confinement)?)?;
        Ok((energy, (g + (u * self.confinement)?)?))
    }
}
