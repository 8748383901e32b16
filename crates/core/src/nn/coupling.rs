//! Affine couplings: maps with a triangular Jacobian, inverted as cheaply as applied.
//!
//! ```text
//! y_a = x_a,   y_b = x_b ⊙ e^{s(x_a)} + t(x_a)          log|det ∂y/∂x| = Σ_i s_i
//! s = a·tanh(u/a)                                        |s| < a, ds/du = 1 at u = 0
//! ```
//!
//! | symbol     | shape            | meaning                                                |
//! |------------|------------------|--------------------------------------------------------|
//! | `x_a, x_b` | `(b, n, …)` each | the kept and the moved half                            |
//! | `u, t`     | like `x_b`       | raw log-scale and shift, a network of `x_a`            |
//! | `a`        |                  | bound of the log-scale                                 |
//!
//! The bound keeps e^s from overflowing f32 on the first outlier, and the inverse from multiplying rounding
//! errors by more than e^a per coupling.
//! Source: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803, Eq. 4–8.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Activation, Differentiable, Mlp, require};
use crate::math::sum_event;

/// The network of a coupling: the kept half to log-scale and shift, stacked on dimension 1.
pub trait Conditioner: Clone {
    /// `(b, m, …)` to `(b, 2n, …)`.
    ///
    /// # Errors
    /// On another shape.
    fn forward(&self, kept: &Tensor) -> Result<Tensor>;
    /// The same network with weights that no gradient reaches.
    #[must_use]
    fn frozen(&self) -> Self;
}

impl Conditioner for Mlp {
    fn forward(&self, kept: &Tensor) -> Result<Tensor> {
        Mlp::forward(self, kept)
    }

    fn frozen(&self) -> Self {
        Mlp::frozen(self)
    }
}

/// One affine coupling.
#[derive(Clone, Debug)]
pub struct Coupling<N> {
    net: N,
    bound: f64,
}

impl<N: Conditioner> Coupling<N> {
    /// With log-scales within `±bound`.
    pub fn new(net: N, bound: f64) -> Self {
        Self { net, bound }
    }

    /// The same weights outside every graph.
    #[must_use]
    pub fn frozen(&self) -> Self {
        Self { net: self.net.frozen(), bound: self.bound }
    }

    /// The moved half on its way to the latent, and `log|det|`, `(b,)`.
    ///
    /// # Errors
    /// When the halves do not fit the network.
    pub fn to_latent(&self, kept: &Tensor, moved: &Tensor) -> Result<(Tensor, Tensor)> {
        let (s, t) = self.scale_and_shift(kept, moved)?;
        Ok(((moved * s.exp()?)?.add(&t)?, sum_event(&s)?))
    }

    /// The moved half on its way to the data, and `log|det|`, `(b,)`.
    ///
    /// # Errors
    /// As [`Coupling::to_latent`].
    pub fn to_data(&self, kept: &Tensor, moved: &Tensor) -> Result<(Tensor, Tensor)> {
        let (s, t) = self.scale_and_shift(kept, moved)?;
        let minus = s.neg()?;
        Ok((((moved - t)? * minus.exp()?)?, sum_event(&minus)?))
    }

    fn scale_and_shift(&self, kept: &Tensor, moved: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = moved.dims().get(1).copied().unwrap_or(0);
        let raw = self.net.forward(kept)?;
        let u = raw.narrow(1, 0, n)?.affine(1.0 / self.bound, 0.0)?;
        Ok((Activation::Tanh.forward(&u)?.affine(self.bound, 0.0)?, raw.narrow(1, n, n)?))
    }
}

/// The sizes of [`Couplings`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CouplingsConfig {
    /// Dimensions of the vectors, at least 2.
    pub dims: usize,
    /// Couplings, which move the odd and the even dimensions in turns.
    pub couplings: usize,
    /// Width and number of the hidden layers of each network.
    pub hidden: usize,
    /// See `hidden`.
    pub layers: usize,
    /// Bound of the log-scales.
    pub bound: f64,
}

/// Couplings over the even and the odd dimensions of vectors in turns; parameters `coupling{i}.…`. Starts as the identity
/// up to the order of the dimensions.
#[derive(Clone, Debug)]
pub struct Couplings {
    couplings: Vec<Coupling<Mlp>>,
    /// Positions of even and odd dimensions, and where each dimension lies among (even, odd).
    even: Tensor,
    odd: Tensor,
    order: Tensor,
}

impl Couplings {
    /// Builds the networks.
    ///
    /// # Errors
    /// With fewer than two dimensions, without couplings, or with a bound that is not positive.
    pub fn new(config: &CouplingsConfig, vb: &VarBuilder) -> Result<Self> {
        let CouplingsConfig { dims: d, couplings: count, hidden, layers, bound } = *config;
        let fine = d >= 2 && count >= 1 && hidden >= 1 && layers >= 1 && bound > 0.0;
        require(fine, || format!("couplings need two halves, networks and a positive bound: {config:?}"))?;
        let (n_even, n_odd) = (d.div_ceil(2), d / 2);
        let mut couplings = Vec::with_capacity(count);
        for i in 0..count {
            let (kept, moved) = if i % 2 == 0 { (n_even, n_odd) } else { (n_odd, n_even) };
            let mut widths = vec![kept];
            widths.extend(std::iter::repeat_n(hidden, layers));
            widths.push(2 * moved);
            // The last layer starts at zero: the flow starts as the identity.
            let vb = vb.pp(format!("coupling{i}"));
            let net = Mlp::zero_last(&widths, Activation::Relu, Activation::Identity, &vb)?;
            couplings.push(Coupling::new(net, bound));
        }
        let index = |v: Vec<u32>| Tensor::new(v, vb.device());
        let order = (0..d).map(|i| if i % 2 == 0 { i / 2 } else { n_even + i / 2 } as u32);
        Ok(Self {
            couplings,
            even: index((0..d as u32).step_by(2).collect())?,
            odd: index((1..d as u32).step_by(2).collect())?,
            order: index(order.collect())?,
        })
    }

    /// The same weights outside every graph.
    #[must_use]
    pub fn frozen(&self) -> Self {
        Self { couplings: self.couplings.iter().map(Coupling::frozen).collect(), ..self.clone() }
    }

    /// From `(b, d)` to `z`, `(b, d)`, even dimensions first, then odd ones; and `log|det ∂z/∂x|`, `(b,)`.
    ///
    /// # Errors
    /// When `x` has other dimensions.
    pub fn to_latent(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut even, mut odd) = (x.index_select(&self.even, 1)?, x.index_select(&self.odd, 1)?);
        let mut total: Option<Tensor> = None;
        for (i, coupling) in self.couplings.iter().enumerate() {
            let (kept, moved) = if i % 2 == 0 { (&even, &mut odd) } else { (&odd, &mut even) };
            let (y, ladj) = coupling.to_latent(kept, moved)?;
            *moved = y;
            total = plus(total, ladj)?;
        }
        done(Tensor::cat(&[even, odd], 1)?, total)
    }

    /// Undoes [`Couplings::to_latent`]; `log|det ∂x/∂z|`, `(b,)`.
    ///
    /// # Errors
    /// When `z` has other dimensions.
    pub fn to_data(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n_even, n_odd) = (self.even.elem_count(), self.odd.elem_count());
        let mut even = z.narrow(1, 0, n_even)?.contiguous()?;
        let mut odd = z.narrow(1, n_even, n_odd)?.contiguous()?;
        let mut total: Option<Tensor> = None;
        for (i, coupling) in self.couplings.iter().enumerate().rev() {
            let (kept, moved) = if i % 2 == 0 { (&even, &mut odd) } else { (&odd, &mut even) };
            let (y, ladj) = coupling.to_data(kept, moved)?;
            *moved = y;
            total = plus(total, ladj)?;
        }
        done(Tensor::cat(&[even, odd], 1)?.index_select(&self.order, 1)?, total)
    }
}

fn plus(total: Option<Tensor>, ladj: Tensor) -> Result<Option<Tensor>> {
    Ok(Some(match total {
        None => ladj,
        Some(t) => (t + ladj)?,
    }))
}

fn done(x: Tensor, total: Option<Tensor>) -> Result<(Tensor, Tensor)> {
    match total {
        Some(t) => Ok((x, t)),
        None => candle_core::bail!("a flow needs at least one coupling"),
    }
}
