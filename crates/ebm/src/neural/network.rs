//! The network `f`, and the energy `U(u) = f(u) + ½κ‖u‖²` over standardised rows `u`.
//!
//! A perceptron sees `gain · u`, so that the kinks of its first layer lie dense enough for structure much smaller
//! than the data. A convolutional net sees the image `x = m + s·u` as `2x − 1`, where neighbouring
//! pixels share one scale; its gradient returns through the same linear map.

use genzoo_core::capability::Energy;
use genzoo_core::nn::{Activation, ConvConfig, ConvEncoder, Differentiable, Mlp, input_gradient};
use genzoo_core::{DataSpec, Error, ParamStore, Result, Standardizer, Table, Tensor, config};
use genzoo_numerics::rows;
use serde::Deserialize;

#[derive(Deserialize)]
struct Perceptron {
    hidden: usize,
    layers: usize,
    gain: f64,
}

#[derive(Deserialize)]
struct Convolutional {
    channels: Vec<usize>,
}

/// `f`, one number per row.
#[derive(Clone)]
pub(crate) enum Network {
    /// Of vectors, which enter multiplied by a gain.
    Vector(Mlp, f64),
    /// Of images `(c, h, w)`.
    Image(ConvEncoder, (usize, usize, usize)),
}

impl Network {
    pub(crate) fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let vb = params.group("main");
        let Some((channels, height, width)) = spec.image() else {
            let c: Perceptron = config::read(table, "model")?;
            for (key, value) in [("hidden", c.hidden), ("layers", c.layers)] {
                if value == 0 || value > 1 << 14 {
                    return Err(Error::config(format!("model.{key}"), "an integer from 1 to 16384", value));
                }
            }
            if !(c.gain > 0.0 && c.gain.is_finite()) {
                return Err(Error::config("model.gain", "a number above 0", c.gain));
            }
            // It starts at zero: the model starts as its base.
            let net = Mlp::potential(spec.dims(), &vec![c.hidden; c.layers], Activation::Silu, &vb)?;
            return Ok(Self::Vector(net, c.gain));
        };
        if height != width {
            return Err(Error::Unsupported(format!(
                "energies of images are learned for square ones, not {height}x{width}"
            )));
        }
        let c: Convolutional = config::read(table, "model")?;
        let sizes =
            ConvConfig { image_channels: channels, channels: c.channels, ..ConvConfig::new(height, 1) };
        Ok(Self::Image(ConvEncoder::new(&sizes, &vb)?, (channels, height, width)))
    }

    pub(crate) fn frozen(&self) -> Self {
        match self {
            Self::Vector(net, gain) => Self::Vector(net.frozen(), *gain),
            Self::Image(net, shape) => Self::Image(net.frozen(), *shape),
        }
    }

    /// `f(u)`, `(b, D) → (b,)`.
    pub(crate) fn forward(&self, scaling: &Standardizer, u: &Tensor) -> Result<Tensor> {
        let f = match self {
            Self::Vector(net, gain) => net.forward(&(u * *gain)?)?,
            Self::Image(net, shape) => net.forward(&image(scaling, u, *shape)?)?,
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
                let (f, g) = input_gradient(net as &dyn Differentiable, &(u * *gain)?)?;
                Ok((f, (g * *gain)?))
            }
            Self::Image(net, shape) => {
                let (f, g) = input_gradient(net as &dyn Differentiable, &image(scaling, u, *shape)?)?;
                // x = m + s·u and the net sees 2x − 1: ∇ᵤ = 2s ∇.
                let unit = scaling.inverse(&g.flatten_from(1)?.affine(2.0, 0.0)?)?;
                let shift = scaling.inverse(&u.narrow(0, 0, 1)?.zeros_like()?)?;
                Ok((f, unit.broadcast_sub(&shift)?))
            }
        }
    }
}

/// `2x − 1` as images, with `x = m + s·u`.
fn image(scaling: &Standardizer, u: &Tensor, (c, h, w): (usize, usize, usize)) -> Result<Tensor> {
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
