//! The networks of time that families share: `(x, t) → one or more fields shaped like x`.
//!
//! ```text
//! vectors   a perceptron over x and features of t
//! images    a small U-Net over x, modulated by features of t
//! ```
//!
//! Beside many features of time, two coordinates start out too weak for a perceptron to bend around structure much
//! smaller than the data: `x` enters multiplied by `gain`, so that the first layer's kinks lie as dense as that.
//!
//! The U-Net also sees `sin(2ⁿπx)` and `cos(2ⁿπx)` for the exponents `fourier`: bytes live on a scale of 1/128 in
//! [−1, 1], which decides the likelihood and which no network of smooth layers resolves by itself. Where the noise
//! exceeds a wavelength they say nothing, so each is faded out by `exp(−(2ⁿπt)²/8)` (Kingma et al. 2021,
//! arXiv:2107.00630, §4.1 and appendix C, without the fading).
//!
//! Diffusion and interpolants build theirs here, from the same keys with the same defaults, so that the two
//! families differ in method and not in network.

use candle_nn::VarBuilder;
use serde::Deserialize;
use toml::Table;

use crate::nn::{Activation, TimeMlp, TimeMlpConfig, UNet, UNetConfig};
use crate::{DataSpec, Error, Result, Tensor, autograd, config};

/// A network of `(x, t)`: `x (b, event…)`, `t (b,)` in [0, 1].
#[derive(Clone)]
pub struct Backbone {
    net: Net,
    heads: usize,
}

#[derive(Clone)]
enum Net {
    Vector(TimeMlp, f64),
    Image(Box<UNet>, Vec<f64>),
}

#[derive(Deserialize)]
struct VectorConfig {
    width: usize,
    layers: usize,
    activation: String,
    gain: f64,
}

#[derive(Deserialize)]
struct ImageConfig {
    channels: usize,
    multipliers: Vec<usize>,
    stem_stride: usize,
    blocks: usize,
    fourier: Vec<f64>,
}

impl Backbone {
    /// The keys of a model table that describe the network, with the defaults for data of this kind.
    pub fn defaults(spec: &DataSpec) -> Table {
        match spec.image() {
            None => toml::toml! {
                width = 128
                layers = 3
                activation = "silu"
                gain = 16.0
            },
            Some(_) => toml::toml! {
                channels = 16
                multipliers = [1, 2, 2]
                stem_stride = 1
                blocks = 1
                fourier = [3.0, 5.0, 7.0]
            },
        }
    }

    /// Changes to [`Backbone::defaults`] that make the smallest network worth testing.
    pub fn tiny(spec: &DataSpec) -> Table {
        match spec.image() {
            None => toml::toml! {
                width = 16
                layers = 2
            },
            Some(_) => toml::toml! {
                channels = 8
                multipliers = [1, 1]
            },
        }
    }

    /// A network with `heads` outputs, each shaped like `x`.
    ///
    /// # Errors
    /// If a key of `table` cannot be used, or the data are neither vectors nor images.
    pub fn new(table: &Table, spec: &DataSpec, heads: usize, vb: &VarBuilder) -> Result<Self> {
        let net = match (&spec.shape[..], spec.image()) {
            (&[d], _) => {
                let c: VectorConfig = config::read(table, "model")?;
                let activation: Activation = c
                    .activation
                    .parse()
                    .map_err(|e: String| Error::config("model.activation", "a known activation", e))?;
                Net::Vector(
                    TimeMlp::new(
                        TimeMlpConfig {
                            outputs: heads * d,
                            width: c.width,
                            layers: c.layers,
                            activation,
                            ..TimeMlpConfig::new(d)
                        },
                        vb,
                    )?,
                    c.gain,
                )
            }
            (_, Some((channels, _, _))) => {
                let c: ImageConfig = config::read(table, "model")?;
                let unet = UNetConfig {
                    in_channels: channels * (1 + 2 * c.fourier.len()),
                    out_channels: heads * channels,
                    base: c.channels,
                    multipliers: c.multipliers,
                    blocks: c.blocks,
                    ..UNetConfig::new(c.stem_stride)
                };
                Net::Image(Box::new(UNet::new(&unet, vb)?), c.fourier)
            }
            _ => {
                return Err(Error::data("data", "vectors or images", format!("shape {:?}", spec.shape)));
            }
        };
        Ok(Self { net, heads })
    }

    /// The fields, one per head, each shaped like `x`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn forward(&self, x: &Tensor, t: &Tensor) -> Result<Vec<Tensor>> {
        let y = match &self.net {
            Net::Vector(net, gain) => net.forward(&(x * *gain)?, t, None)?,
            Net::Image(net, fourier) => net.forward(&fine(x, t, fourier)?, t, None)?,
        };
        Ok(if self.heads == 1 { vec![y] } else { y.chunk(self.heads, 1)? })
    }

    /// The first field and `vᵀ` times its derivative in `x`, both detached.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let frozen = self.frozen();
        Ok(match &frozen.net {
            Net::Vector(net, gain) if self.heads == 1 => {
                let (y, product) = net.vjp(&(x.detach() * *gain)?, t, None, &v.detach())?;
                (y, (product * *gain)?)
            }
            _ => autograd::input_vjp(
                |x| {
                    let fields = frozen.forward(x, t).map_err(candle_core::Error::wrap)?;
                    Ok(fields[0].clone())
                },
                x,
                v,
            )?,
        })
    }

    /// The same network with weights cut from candle's graph: gradients reach `x` alone.
    #[must_use]
    pub fn frozen(&self) -> Self {
        let net = match &self.net {
            Net::Vector(net, gain) => Net::Vector(net.frozen(), *gain),
            Net::Image(net, fourier) => Net::Image(Box::new(net.frozen()), fourier.clone()),
        };
        Self { net, heads: self.heads }
    }
}

/// `x (b, c, h, w)` with the sines and cosines of its fine structure as further channels.
fn fine(x: &Tensor, t: &Tensor, exponents: &[f64]) -> Result<Tensor> {
    let mut channels = vec![x.clone()];
    for n in exponents {
        let frequency = n.exp2() * std::f64::consts::PI;
        let fade = (t.sqr()? * (-frequency * frequency / 8.0))?.exp()?.reshape(((), 1, 1, 1))?;
        let angle = (x * frequency)?;
        for wave in [genzoo_kernels::sin(&angle)?, genzoo_kernels::cos(&angle)?] {
            channels.push(wave.broadcast_mul(&fade)?);
        }
    }
    Ok(Tensor::cat(&channels, 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Noise, ParamStore, Space};

    fn spec(shape: &[usize]) -> DataSpec {
        DataSpec { shape: shape.to_vec(), space: Space::Continuous, classes: None, range: None }
    }

    /// Both routes to the derivative agree with central differences of the field.
    #[test]
    fn the_product_is_the_derivative() -> Result<()> {
        for (shape, heads) in [(vec![3], 1), (vec![3], 2), (vec![1, 8, 8], 1)] {
            let spec = spec(&shape);
            let mut table = Backbone::defaults(&spec);
            table.extend(Backbone::tiny(&spec));
            let store = ParamStore::new(&Noise::new(0), DType::F64, &Device::Cpu);
            let net = Backbone::new(&table, &spec, heads, &store.group("main"))?;
            // The head of a U-Net starts at zero: move every weight, so that there is something to differentiate.
            let mut noise = Noise::new(1);
            for (_, var) in store.entries() {
                var.set(&(var.as_tensor() + (noise.normal_like(var.as_tensor())? * 0.1)?)?)?;
            }
            let x = noise.normal(spec.batch_shape(2), DType::F64, &Device::Cpu)?;
            let t = Tensor::new(&[0.3f64, 0.8], &Device::Cpu)?;
            let (u, v) = (noise.normal_like(&x)?, noise.normal_like(&x)?);
            let (y, product) = net.vjp(&x, &t, &v)?;
            assert_eq!(y.dims(), x.dims());
            let h = 1e-5;
            let at = |s: f64| -> Result<Tensor> { Ok(net.forward(&(&x + (&u * s)?)?, &t)?[0].clone()) };
            let slope = ((at(h)? - at(-h)?)? * (0.5 / h))?;
            let left = (slope * v)?.sum_all()?.to_scalar::<f64>()?;
            let right = (product * u)?.sum_all()?.to_scalar::<f64>()?;
            assert!((left - right).abs() < 1e-6 * left.abs().max(1.0), "{left} {right}");
        }
        Ok(())
    }
}
