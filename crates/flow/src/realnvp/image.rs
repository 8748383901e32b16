//! RealNVP for images: checkerboard and channel couplings at several scales, behind a logit.
//!
//! ```text
//! y   = g ⊙ logit(α + (1 − 2α)x̃) + h            g, h per pixel, started at the statistics of train rows
//! level: squeeze (c, H, W) → (4c, H/2, W/2), couplings by checkerboard, couplings by channel;
//!        half of the channels goes to the latent, half to the next level
//! ```
//!
//! After the squeeze the four pixels of a 2×2 cell are four channels, and the checkerboard of the paper's Fig. 3
//! is the split {top left, bottom right} | {top right, bottom left}: both masks are splits by channel, and the
//! networks see the kept half only.

use candle_core::Var;
use candle_nn::{Init, VarBuilder};
use genzoo_core::nn::{Activation, Conditioner, Conv, Conv2d, Coupling, Mlp};
use genzoo_core::{
    DType, DataSpec, Error, ParamStore, PixelMap, Result, Standardizer, Stream, Table, Tensor, config,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    alpha: f64,
    couplings: usize,
    network: String,
    hidden: usize,
    bound: f64,
}

/// Multi-scale couplings on logits of pixels.
#[derive(Clone)]
pub(super) struct ImageFlow {
    map: PixelMap,
    /// `log g` and `h`, `(1, c, h, w)` each.
    log_gain: Tensor,
    shift: Tensor,
    levels: Vec<Level>,
    spec: DataSpec,
}

/// The couplings at one size.
#[derive(Clone)]
struct Level {
    checkerboard: Vec<Coupling<Network>>,
    channelwise: Vec<Coupling<Network>>,
}

/// A coupling network on `(b, c, h, w)`.
#[derive(Clone)]
enum Network {
    /// 3×3, 1×1, 3×3 convolutions: local.
    Conv([Conv2d; 3]),
    /// A perceptron of the whole half: every pixel sees every other.
    Mlp(Mlp),
}

impl Network {
    /// From `channels` to twice as many, on `size`×`size` pixels. Ends with zeros: the flow starts as the identity.
    fn new(kind: &str, channels: usize, size: usize, hidden: usize, vb: &VarBuilder) -> Result<Self> {
        let relu = Activation::Relu;
        match kind {
            "conv" => {
                let (wide, narrow) = (Conv::same(3), Conv::same(1));
                let last = Activation::Identity;
                Ok(Self::Conv([
                    Conv2d::new(channels, hidden, 3, wide, relu, &vb.pp(0))?,
                    Conv2d::new(hidden, hidden, 1, narrow, relu, &vb.pp(1))?,
                    Conv2d::zeros(hidden, 2 * channels, 3, wide, last, &vb.pp(2))?,
                ]))
            }
            "mlp" => {
                let d = channels * size * size;
                let widths = [d, hidden, hidden, 2 * d];
                Ok(Self::Mlp(Mlp::zero_last(&widths, relu, Activation::Identity, vb)?))
            }
            other => Err(Error::config("model.network", "\"conv\" or \"mlp\"", other)),
        }
    }
}

impl Conditioner for Network {
    fn forward(&self, kept: &Tensor) -> candle_core::Result<Tensor> {
        let (b, c, h, w) = kept.dims4()?;
        match self {
            Self::Conv(layers) => {
                let mut y = kept.clone();
                for layer in layers {
                    y = layer.forward(&y)?;
                }
                Ok(y)
            }
            Self::Mlp(net) => net.forward(&kept.flatten_from(1)?)?.reshape((b, 2 * c, h, w)),
        }
    }

    fn frozen(&self) -> Self {
        match self {
            Self::Conv(layers) => Self::Conv(layers.each_ref().map(Conv2d::frozen)),
            Self::Mlp(net) => Self::Mlp(net.frozen()),
        }
    }
}

impl ImageFlow {
    pub(super) fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let c: Config = config::read(table, "model")?;
        super::at_least("couplings", c.couplings, 2)?;
        super::at_least("hidden", c.hidden, 1)?;
        super::check_bound(c.bound)?;
        let (mut channels, mut size, width) = spec.image().unwrap_or_default();
        if size != width || size % 2 != 0 {
            return Err(Error::Unsupported(format!(
                "realnvp needs square images of even size, got {size}×{width}"
            )));
        }
        let root = params.group("main");
        let shape = (1, channels, size, size);
        let log_gain = root.pp("pixel").get_with_hints(shape, "log_gain", Init::Const(0.0))?;
        let shift = root.pp("pixel").get_with_hints(shape, "shift", Init::Const(0.0))?;
        let mut levels = Vec::new();
        while size % 2 == 0 && size > 2 {
            size /= 2;
            let half = 2 * channels; // of the 4c channels behind the squeeze
            let vb = root.pp(format!("level{}", levels.len()));
            let make = |mask: &str| -> Result<Vec<_>> {
                let one = |i: usize| {
                    let vb = vb.pp(format!("{mask}{i}"));
                    let net = Network::new(&c.network, half, size, c.hidden, &vb)?;
                    Ok(Coupling::new(net, c.bound))
                };
                (0..c.couplings).map(one).collect()
            };
            levels.push(Level { checkerboard: make("checker")?, channelwise: make("channelwise")? });
            channels = half; // the other half leaves to the latent
        }
        Ok(Self { map: PixelMap::logit(c.alpha)?, log_gain, shift, levels, spec: spec.clone() })
    }

    /// Starts `g` and `h` so that every pixel has mean 0 and at most deviation 1 on train rows.
    pub(super) fn prepare(&self, stream: &mut dyn Stream, params: &ParamStore) -> Result<()> {
        let n = stream.epoch().map_or(Standardizer::ROWS, |e| Standardizer::ROWS.min(e as usize));
        let y = self.map.forward_and_ladj(&stream.next(n.max(2))?.x)?.0.to_dtype(DType::F64)?;
        let mean = y.mean_keepdim(0)?;
        let variance = y.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?;
        // A pixel that never varied may vary in the next row: its gain stays moderate.
        let sd = variance.sqrt()?.clamp(LEAST_DEVIATION, f64::INFINITY)?;
        let (log_gain, shift) = (sd.log()?.neg()?, (mean / &sd)?.neg()?);
        let set = |name: &str, value: Tensor| -> Result<()> {
            for (n, var) in params.entries() {
                if n == name {
                    Var::set(&var, &value.to_dtype(var.dtype())?)?;
                }
            }
            Ok(())
        };
        set("main/pixel.log_gain", log_gain)?;
        set("main/pixel.shift", shift)
    }

    /// The same flow with weights that no gradient reaches.
    pub(super) fn frozen(&self) -> Self {
        let freeze = |v: &[Coupling<Network>]| v.iter().map(Coupling::frozen).collect();
        Self {
            log_gain: self.log_gain.detach(),
            shift: self.shift.detach(),
            levels: self
                .levels
                .iter()
                .map(|l| Level { checkerboard: freeze(&l.checkerboard), channelwise: freeze(&l.channelwise) })
                .collect(),
            ..self.clone()
        }
    }

    /// `z`, `(b, D)`: what left at each level, the coarsest last; and `log|det|`, `(b,)`.
    pub(super) fn to_latent(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, mut ladj) = self.map.forward_and_ladj(x)?;
        let y = y.broadcast_mul(&self.log_gain.exp()?)?.broadcast_add(&self.shift)?;
        ladj = ladj.broadcast_add(&self.log_gain.sum_all()?)?;
        let mut rest = y;
        let mut latent = Vec::with_capacity(self.levels.len() + 1);
        for level in &self.levels {
            let [q0, q1, q2, q3] = squeeze(&rest)?;
            let mut halves = (Tensor::cat(&[q0, q3], 1)?, Tensor::cat(&[q1, q2], 1)?);
            forth(&level.checkerboard, &mut halves, &mut ladj)?;
            halves = exchange(&halves)?;
            forth(&level.channelwise, &mut halves, &mut ladj)?;
            latent.push(halves.0.flatten_from(1)?);
            rest = halves.1;
        }
        latent.push(rest.flatten_from(1)?);
        Ok((Tensor::cat(&latent, 1)?, ladj))
    }

    /// Undoes [`ImageFlow::to_latent`].
    pub(super) fn to_data(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, d) = z.dims2()?;
        let (c, h, _) = self.spec.image().unwrap_or_default();
        let mut ladj = z.zeros_like()?.narrow(1, 0, 1)?.squeeze(1)?;
        // The last level left d/2ⁿ numbers, in 2ⁿ·c channels of h/2ⁿ pixels squared.
        let n = self.levels.len();
        let mut end = d - (d >> n);
        let shape = |level: usize| (b, c << level, h >> level, h >> level);
        let mut rest = z.narrow(1, end, d >> n)?.reshape(shape(n))?;
        for (i, level) in self.levels.iter().enumerate().rev() {
            let width = d >> (i + 1);
            end -= width;
            let mut halves = (z.narrow(1, end, width)?.reshape(shape(i + 1))?, rest);
            back(&level.channelwise, &mut halves, &mut ladj)?;
            halves = exchange(&halves)?;
            back(&level.checkerboard, &mut halves, &mut ladj)?;
            let ((q0, q3), (q1, q2)) = (split(&halves.0)?, split(&halves.1)?);
            rest = unsqueeze(&[q0, q1, q2, q3])?;
        }
        let y = rest.broadcast_sub(&self.shift)?.broadcast_mul(&self.log_gain.neg()?.exp()?)?;
        let (x, own) = self.map.inverse_and_ladj(&y)?;
        let ladj = (ladj + own)?.broadcast_sub(&self.log_gain.sum_all()?)?;
        Ok((x, ladj))
    }
}

/// Smallest deviation by which a pixel's logit is divided at the start.
const LEAST_DEVIATION: f64 = 0.1;

type Halves = (Tensor, Tensor);

/// Couplings in turns: the first half moves the second, then the second the first.
fn forth(couplings: &[Coupling<Network>], halves: &mut Halves, ladj: &mut Tensor) -> Result<()> {
    for (i, coupling) in couplings.iter().enumerate() {
        let (a, b) = (&mut halves.0, &mut halves.1);
        let (kept, moved) = if i % 2 == 0 { (&*a, b) } else { (&*b, a) };
        let (y, own) = coupling.to_latent(kept, moved)?;
        *moved = y;
        *ladj = (&*ladj + own)?;
    }
    Ok(())
}

/// Undoes [`forth`].
fn back(couplings: &[Coupling<Network>], halves: &mut Halves, ladj: &mut Tensor) -> Result<()> {
    for (i, coupling) in couplings.iter().enumerate().rev() {
        let (a, b) = (&mut halves.0, &mut halves.1);
        let (kept, moved) = if i % 2 == 0 { (&*a, b) } else { (&*b, a) };
        let (y, own) = coupling.to_data(kept, moved)?;
        *moved = y;
        *ladj = (&*ladj + own)?;
    }
    Ok(())
}

/// `(q0 q3 | q1 q2)` to `(q0 q1 | q2 q3)` up to order: its own inverse.
fn exchange(halves: &Halves) -> Result<Halves> {
    let ((a, b), (c, d)) = (split(&halves.0)?, split(&halves.1)?);
    Ok((Tensor::cat(&[a, c], 1)?, Tensor::cat(&[b, d], 1)?))
}

/// The first and the second half of the channels.
fn split(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = x.dim(1)? / 2;
    Ok((x.narrow(1, 0, n)?, x.narrow(1, n, n)?))
}

/// `(b, c, h, w)` to four `(b, c, h/2, w/2)`: top left, top right, bottom left, bottom right of each 2×2 cell.
fn squeeze(x: &Tensor) -> Result<[Tensor; 4]> {
    let (b, c, h, w) = x.dims4()?;
    let cells = x.reshape((b, c, h / 2, 2, w))?;
    let quarter = |row: usize, column: usize| -> Result<Tensor> {
        let rows = cells.narrow(3, row, 1)?.reshape((b, c, h / 2, w / 2, 2))?;
        Ok(rows.narrow(4, column, 1)?.reshape((b, c, h / 2, w / 2))?)
    };
    Ok([quarter(0, 0)?, quarter(0, 1)?, quarter(1, 0)?, quarter(1, 1)?])
}

/// Undoes [`squeeze`].
fn unsqueeze(quarters: &[Tensor; 4]) -> Result<Tensor> {
    let (b, c, h, w) = quarters[0].dims4()?;
    let row = |left: &Tensor, right: &Tensor| -> Result<Tensor> {
        Ok(Tensor::stack(&[left, right], 4)?.reshape((b, c, h, 2 * w))?)
    };
    let rows = [row(&quarters[0], &quarters[1])?, row(&quarters[2], &quarters[3])?];
    Ok(Tensor::stack(&rows, 3)?.reshape((b, c, 2 * h, 2 * w))?)
}
