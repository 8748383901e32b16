//! Energies linear in what is learned: `f(u) = ⟨θ, φ(u)⟩` with fixed statistics φ.

use candle_nn::Init;
use genzoo_core::math::softplus;
use genzoo_core::nn::{Activation, Conv, Conv2d, Curved, Differentiable, Jet, Linear};
use genzoo_core::{DataSpec, ParamStore, Result, Standardizer, Tensor};

use super::network::{image, of_standardised};

/// Fixed statistics and their multipliers.
#[derive(Clone)]
pub(crate) struct Statistics {
    map: Map,
    /// θ of equalities; for inequalities `θ = softplus(multipliers)`.
    multipliers: Tensor, // (K,)
    at_most: bool,
}

#[derive(Clone)]
enum Map {
    /// `tanh(W · gain · u + b)`.
    Vector(Linear, f64),
    /// Spatial means of `softplus(filters ∗ image)`.
    Image(Conv2d, (usize, usize, usize)),
}

/// Height and width of a filter.
const FILTER: usize = 5;

impl Statistics {
    /// `(count, gain)` statistics with weights from `fixed`, and multipliers that start where they do nothing.
    ///
    /// # Errors
    /// If a store refuses its tensors.
    pub(crate) fn new(
        spec: &DataSpec,
        (count, gain): (usize, f64),
        at_most: bool,
        fixed: &ParamStore,
        params: &ParamStore,
    ) -> Result<Self> {
        let vb = fixed.group("statistics");
        let map = match spec.image() {
            None => Map::Vector(Linear::new(spec.dims(), count, Activation::Tanh, &vb)?.frozen(), gain),
            Some(shape) => {
                let conv = Conv::same(FILTER);
                let net = Conv2d::new(shape.0, count, FILTER, conv, Activation::Softplus, &vb)?;
                Map::Image(net.frozen(), shape)
            }
        };
        // softplus(−3) ≈ 0.05: next to nothing, with a slope to leave it by.
        let start = Init::Const(if at_most { -3.0 } else { 0.0 });
        let multipliers = params.group("main").get_with_hints(count, "multipliers", start)?;
        Ok(Self { map, multipliers, at_most })
    }

    pub(super) fn frozen(&self) -> Self {
        Self { multipliers: self.multipliers.detach(), ..self.clone() }
    }

    /// θ, `(K,)`.
    pub(crate) fn theta(&self) -> Result<Tensor> {
        if self.at_most { Ok(softplus(&self.multipliers)?) } else { Ok(self.multipliers.clone()) }
    }

    /// `φ(u)`, `(b, K)`.
    pub(crate) fn values(&self, scaling: &Standardizer, u: &Tensor) -> Result<Tensor> {
        Ok(match &self.map {
            Map::Vector(net, gain) => net.forward(&(u * *gain)?)?,
            Map::Image(net, shape) => net.forward(&image(scaling, u, *shape)?)?.mean((2, 3))?,
        })
    }

    /// `⟨θ, φ(u)⟩`, `(b,)`.
    pub(super) fn forward(&self, scaling: &Standardizer, u: &Tensor) -> Result<Tensor> {
        self.weigh(&self.values(scaling, u)?)
    }

    fn weigh(&self, values: &Tensor) -> Result<Tensor> {
        Ok(values.matmul(&self.theta()?.unsqueeze(1)?)?.squeeze(1)?)
    }

    /// The same with its gradient, `(b, D)`.
    pub(super) fn forward_and_gradient(
        &self,
        scaling: &Standardizer,
        u: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let theta = self.theta()?;
        match &self.map {
            Map::Vector(net, gain) => {
                let (values, pull) = net.vjp_with(&(u * *gain)?)?;
                let g = pull(&theta.unsqueeze(0)?.broadcast_as(values.shape())?.contiguous()?)?;
                Ok((self.weigh(&values)?, (g * *gain)?))
            }
            Map::Image(net, shape) => {
                let (maps, pull) = net.vjp_with(&image(scaling, u, *shape)?)?;
                let (_, count, h, w) = maps.dims4()?;
                let each = (theta / (h * w) as f64)?.reshape((1, count, 1, 1))?;
                let g = pull(&each.broadcast_as(maps.shape())?.contiguous()?)?;
                Ok((self.weigh(&maps.mean((2, 3))?)?, of_standardised(scaling, &g)?))
            }
        }
    }

    /// The jet along `u + εv`, each `(b,)`.
    pub(super) fn jet(&self, scaling: &Standardizer, u: &Tensor, v: &Tensor) -> Result<Jet> {
        let values = match &self.map {
            Map::Vector(net, gain) => net.jet(&Jet::line(&(u * *gain)?, &(v * *gain)?))?,
            Map::Image(net, shape) => {
                let x = image(scaling, u, *shape)?;
                let along = scaling.velocity(v)?.affine(2.0, 0.0)?.reshape(x.shape())?;
                let mean = |x: &Tensor| x.mean((2, 3));
                net.jet(&Jet::line(&x, &along))?.affine(mean, mean)?
            }
        };
        let theta = self.theta()?.unsqueeze(1)?;
        let weigh = |x: &Tensor| x.matmul(&theta)?.squeeze(1);
        Ok(values.affine(weigh, weigh)?)
    }
}
