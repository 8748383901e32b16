//! Annealing of energies with two layers of units, moved by block Gibbs sampling: log Z of Boltzmann machines.
//!
//! ```text
//! q_β(v) = Σ_h e^{−U_β(v, h)},   h ~ q_β(h | v),   v' ~ q_β(v | h)
//! ```
//!
//! The hidden layer is summed out of the weights, and v → v' is reversible with respect to q_β(v), so that the same
//! transition serves both directions. A binary machine goes from independent units that have the data's rates:
//!
//! ```text
//! U(v, h) = −a·v − b·h − v·W h,   v ∈ {0, 1}^D,  h ∈ {0, 1}^H
//! log q_β(v) = ((1 − β) a⁰ + β a)·v + Σ_j log(1 + e^{β (b + Wᵀ v)_j}),   log Z_0 = H log 2 + Σ_i log(1 + e^{a⁰_i})
//! ```
//!
//! Source: Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks", §4.1, Eq. 13–18;
//! Burda, Grosse & Salakhutdinov (2015), arXiv:1412.8566, for the reverse.

use candle_core::{DType, Tensor};
use genzoo_core::{Error, Noise, Result, math};

use super::path::Path;
use super::{Ais, AisEstimate, Bracket};
use crate::mcmc::discrete::bernoulli;
use crate::rows;
use crate::special::softplus;

/// Energies `U_β(v, h)` without couplings within a layer, from a base (β = 0) to a target (β = 1).
///
/// Visible states are `(n, visible…)`. What they exert on the hidden layer is computed once per state and shared by the
/// weights and by the next draw.
pub trait BipartitePath {
    /// `log Σ_{v,h} e^{−U_0}`, with integrals where units are continuous.
    fn base_log_z(&self) -> f64;
    /// `n` exact draws of the base's visible layer.
    fn draw_base(&self, n: usize, noise: &mut Noise) -> Result<Tensor>;
    /// The fields on the hidden units, `(n, hidden…)`, from which every temperature follows.
    fn fields(&self, visible: &Tensor) -> Result<Tensor>;
    /// `log q_β(v) = log Σ_h e^{−U_β(v, h)}`, `(n,)` in `f64`.
    fn log_weight(&self, visible: &Tensor, fields: &Tensor, beta: f64) -> Result<Tensor>;
    /// Draws of q_β(h | v), `(n, hidden…)`.
    fn draw_hidden(&self, fields: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor>;
    /// Draws of q_β(v | h), `(n, visible…)`.
    fn draw_visible(&self, hidden: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor>;
}

impl Ais {
    /// Estimates `log Σ e^{−U}` of a machine with two layers from draws of its base. [`Ais::transitions`] counts block
    /// Gibbs steps per temperature; [`Ais::transition`] and [`Ais::step`] mean nothing here.
    ///
    /// # Errors
    /// If the settings make no sense, the energy fails or is NaN somewhere on the way.
    pub fn estimate_bipartite(&self, target: &dyn BipartitePath, noise: &mut Noise) -> Result<AisEstimate> {
        self.run(&Layers { target }, None, noise)
    }

    /// The bound from above: anneals exact draws `visible` of the target, `(n, visible…)`, back to the base.
    ///
    /// # Errors
    /// As [`Ais::estimate_bipartite`].
    pub fn reverse_bipartite(
        &self,
        target: &dyn BipartitePath,
        visible: &Tensor,
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        self.run(&Layers { target }, Some(visible), noise)
    }

    /// Both: log Z lies between them. `visible` must be exact draws of the target.
    ///
    /// # Errors
    /// As [`Ais::estimate_bipartite`].
    pub fn bracket_bipartite(
        &self,
        target: &dyn BipartitePath,
        visible: &Tensor,
        noise: &mut Noise,
    ) -> Result<Bracket> {
        let forward = self.estimate_bipartite(target, noise)?;
        Ok(Bracket { forward, reverse: self.reverse_bipartite(target, visible, noise)? })
    }
}

/// The path as the runs see it.
pub(super) struct Layers<'a> {
    pub(super) target: &'a dyn BipartitePath,
}

/// Visible states, and what they exert on the hidden layer.
pub(super) struct Walkers {
    visible: Tensor,
    fields: Tensor,
}

impl Path for Layers<'_> {
    type Walkers = Walkers;

    fn draw(&self, n: usize, noise: &mut Noise) -> Result<Walkers> {
        self.at(&self.target.draw_base(n, noise)?)
    }

    fn at(&self, visible: &Tensor) -> Result<Walkers> {
        let visible = visible.detach();
        Ok(Walkers { fields: self.target.fields(&visible)?.detach(), visible })
    }

    fn positions(&self, walkers: &Walkers) -> Result<Tensor> {
        Ok(walkers.visible.clone())
    }

    fn log_ratios(&self, walkers: &Walkers, from: f64, to: f64) -> Result<Vec<f64>> {
        let at = |beta| self.target.log_weight(&walkers.visible, &walkers.fields, beta);
        rows::host(&(at(to)? - at(from)?)?)
    }

    fn step(&self, walkers: &mut Walkers, beta: f64, _: f64, noise: &mut Noise) -> Result<Vec<f64>> {
        let hidden = self.target.draw_hidden(&walkers.fields, beta, noise)?.detach();
        *walkers = self.at(&self.target.draw_visible(&hidden, beta, noise)?)?;
        Ok(vec![1.0; walkers.visible.dim(0)?])
    }

    fn base_log_z(&self) -> f64 {
        self.target.base_log_z()
    }
}

/// A machine of binary units, and the independent units that annealing starts from.
#[derive(Clone, Debug)]
pub struct BinaryRbm {
    weights: Tensor,    // W, (D, H)
    transposed: Tensor, // Wᵀ, (H, D)
    visible: Tensor,    // a, (1, D)
    hidden: Tensor,     // b, (1, H)
    base: Tensor,       // a⁰, (1, D)
    base_log_z: f64,
}

impl BinaryRbm {
    /// `weights` W `(D, H)`, biases `visible` a `(D,)` and `hidden` b `(H,)`, all of one float dtype. The base is uniform.
    ///
    /// # Errors
    /// If the shapes do not fit together.
    pub fn new(weights: &Tensor, visible: &Tensor, hidden: &Tensor) -> Result<Self> {
        let (d, h) = weights.dims2()?;
        for (name, bias, want) in [("visible biases", visible, d), ("hidden biases", hidden, h)] {
            if bias.dims() != [want] {
                return Err(Error::data(name, format!("shape [{want}]"), format!("{:?}", bias.dims())));
            }
        }
        let row = |bias: &Tensor| bias.detach().unsqueeze(0);
        Ok(Self {
            weights: weights.detach(),
            transposed: weights.t()?.contiguous()?.detach(),
            visible: row(visible)?,
            hidden: row(hidden)?,
            base: row(&visible.zeros_like()?)?,
            base_log_z: (d + h) as f64 * std::f64::consts::LN_2,
        })
    }

    /// The base whose units are 1 as often as in the rows `x`, `(n, D)`, with one more 0 and 1 each:
    /// `a⁰_i = log (n₁ + 1)/(n − n₁ + 1)`. Draws of it are near the data already, so that far fewer temperatures do.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn with_base_rates(mut self, x: &Tensor) -> Result<Self> {
        let (n, d) = x.dims2()?;
        if d != self.visible.elem_count() {
            return Err(Error::data(
                "rows for base rates",
                format!("{} units", self.visible.elem_count()),
                d,
            ));
        }
        let ones = rows::host(&x.to_dtype(DType::F64)?.sum(0)?)?;
        let biases: Vec<f64> = ones.iter().map(|k| ((k + 1.0) / (n as f64 - k + 1.0)).ln()).collect();
        self.base = Tensor::from_vec(biases, (1, d), x.device())?.to_dtype(self.visible.dtype())?;
        let units: f64 = rows::host(&self.base)?.into_iter().map(softplus).sum();
        self.base_log_z = units + self.hidden.elem_count() as f64 * std::f64::consts::LN_2;
        Ok(self)
    }
}

impl BipartitePath for BinaryRbm {
    fn base_log_z(&self) -> f64 {
        self.base_log_z
    }

    fn draw_base(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        bernoulli(&self.base.broadcast_as((n, self.base.elem_count()))?.contiguous()?, noise)
    }

    fn fields(&self, visible: &Tensor) -> Result<Tensor> {
        Ok(visible.matmul(&self.weights)?.broadcast_add(&self.hidden)?)
    }

    fn log_weight(&self, visible: &Tensor, fields: &Tensor, beta: f64) -> Result<Tensor> {
        let wide = |x: &Tensor| x.to_dtype(DType::F64);
        let bias = ((wide(&self.base)? * (1.0 - beta))? + (wide(&self.visible)? * beta)?)?;
        let linear = wide(visible)?.matmul(&bias.t()?)?.squeeze(1)?;
        Ok((linear + math::softplus(&(wide(fields)? * beta)?)?.sum(1)?)?)
    }

    fn draw_hidden(&self, fields: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor> {
        bernoulli(&(fields * beta)?, noise)
    }

    fn draw_visible(&self, hidden: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor> {
        let target = hidden.matmul(&self.transposed)?.broadcast_add(&self.visible)?;
        bernoulli(&(target * beta)?.broadcast_add(&(&self.base * (1.0 - beta))?)?, noise)
    }
}

#[cfg(test)]
mod tests;
