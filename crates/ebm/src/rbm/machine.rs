//! The machine: energies, conditionals, and the path of machines that joins it to independent units.
//!
//! ```text
//! F(v) = −log Σ_h e^{−U(v, h)} = −ℓ(v) − Σ_j log(1 + e^{f_j}),   f = c + Wᵀ φ(v),   P(h_j = 1 | v) = σ(f_j)
//! U_β = (1 − β) U_0 + β U,   U_0(v, h) = −ℓ_0(v):   log q_β(v) = (1 − β) ℓ_0(v) + β ℓ(v) + Σ_j log(1 + e^{β f_j})
//! ```
//!
//! | symbol | shape    | meaning                                                                           |
//! |--------|----------|-----------------------------------------------------------------------------------|
//! | `v`    | `(n, D)` | visible states; what they are is said by [`Units`]                                 |
//! | `W`    | `(D, H)` | couplings, visible × hidden                                                       |
//! | `b, c` | `(D,)`, `(H,)` | biases of visible and hidden units                                          |
//! | `f`    | `(n, H)` | fields on the hidden units                                                        |
//! | `ℓ_0`  | `(n,)`   | of the base: `a·v` with the data's rates for discrete units, `−½‖v‖²` for Gaussian ones |
//!
//! Source: Hinton (2002), doi:10.1162/089976602760128018; Salakhutdinov & Murray (2008), "On the quantitative analysis of
//! deep belief networks", Eq. 13–18, for the path.

use genzoo_core::capability::Energy;
use genzoo_core::math::{self, HALF_LOG_TAU};
use genzoo_core::nn::Activation;
use genzoo_core::{DType, Error, Noise, Result, Tensor};
use genzoo_kernels::{linear, linear_transposed};
use genzoo_numerics::mcmc::discrete::Bipartite;
use genzoo_numerics::rows;
use genzoo_numerics::special::{log_sum_exp, softplus};

use super::Units;

/// A restricted Boltzmann machine: two layers, no couplings within a layer. All tensors have one float type.
#[derive(Clone, Debug)]
pub struct Machine {
    units: Units,
    weights: Tensor,
    visible: Tensor,
    hidden: Tensor,
    /// The biases `a` of the base; unused by Gaussian units, whose base is N(0, I).
    base: Tensor,
    base_log_z: f64,
}

/// Where on the path from the base (0) to the machine (1).
#[derive(Clone, Copy)]
pub enum Beta<'a> {
    /// All rows at one place.
    All(f64),
    /// Each row at its own, `(n, 1)`.
    Rows(&'a Tensor),
}

impl Beta<'_> {
    /// The machine itself.
    pub const TARGET: Beta<'static> = Beta::All(1.0);

    /// `β x`, row by row.
    fn times(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::All(1.0) => Ok(x.clone()),
            Self::All(beta) => Ok((x * beta)?),
            Self::Rows(beta) => Ok(x.broadcast_mul(beta)?),
        }
    }

    /// `(1 − β) x + β y`, row by row, where `x` and `y` may be one row for all.
    fn between(self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        match self {
            Self::All(beta) => Ok(((x * (1.0 - beta))? + (y * beta)?)?),
            Self::Rows(beta) => Ok((y - x)?.broadcast_mul(beta)?.broadcast_add(x)?),
        }
    }
}

impl Machine {
    /// `weights` W `(D, H)`, biases `visible` `(D,)` and `hidden` `(H,)`. The base has uniform units.
    ///
    /// # Errors
    /// If the shapes do not fit together.
    pub fn new(units: Units, weights: &Tensor, visible: &Tensor, hidden: &Tensor) -> Result<Self> {
        let (d, h) = weights.dims2()?;
        let check = |what: &str, bias: &Tensor, want: usize| {
            let fits = bias.dims() == [want] && bias.dtype() == weights.dtype();
            let shape = |t: &Tensor| format!("{:?} of {:?}", t.dims(), t.dtype());
            if fits {
                return Ok(());
            }
            Err(Error::data(what, format!("[{want}] of {:?}", weights.dtype()), shape(bias)))
        };
        check("visible biases", visible, d)?;
        check("hidden biases", hidden, h)?;
        match &units {
            Units::Gaussian { log_variance } => check("log-variances", log_variance, d)?,
            Units::Potts(levels) if *levels < 2 || !d.is_multiple_of(*levels) => {
                let want = format!("a multiple of {levels} levels, at least 2");
                return Err(Error::data("visible units of all levels", want, d));
            }
            _ => {}
        }
        let base = visible.zeros_like()?;
        let (weights, visible, hidden) = (weights.detach().contiguous()?, visible.detach(), hidden.detach());
        Self { units, weights, visible, hidden, base: base.clone(), base_log_z: 0.0 }.with_base(&base)
    }

    /// The path then starts from independent units with these biases, `(D,)`; Gaussian units keep N(0, I).
    pub fn with_base(mut self, biases: &Tensor) -> Result<Self> {
        if biases.dims() != self.visible.dims() {
            let (want, got) = (self.visible.dims(), biases.dims());
            return Err(Error::data("base biases", format!("{want:?}"), format!("{got:?}")));
        }
        self.base = biases.detach().to_dtype(self.weights.dtype())?;
        let (d, h) = self.sizes();
        let biases = rows::host(&self.base)?;
        let visible: f64 = match &self.units {
            Units::Binary => biases.into_iter().map(softplus).sum(),
            Units::Potts(levels) => biases.chunks(*levels).map(log_sum_exp).sum(),
            Units::Gaussian { .. } => d as f64 * HALF_LOG_TAU,
        };
        self.base_log_z = visible + h as f64 * std::f64::consts::LN_2;
        Ok(self)
    }

    /// The machine whose parameters are these ones more: where fast weights move its chains.
    pub(super) fn shifted(&self, weights: &Tensor, visible: &Tensor, hidden: &Tensor) -> Result<Self> {
        Ok(Self {
            weights: (&self.weights + weights)?,
            visible: (&self.visible + visible)?,
            hidden: (&self.hidden + hidden)?,
            ..self.clone()
        })
    }

    /// The machine of the base: its visible biases, no couplings, hidden units that are fair coins.
    pub(super) fn independent(&self) -> Result<Self> {
        Ok(Self {
            weights: self.weights.zeros_like()?,
            visible: self.base.clone(),
            hidden: self.hidden.zeros_like()?,
            ..self.clone()
        })
    }

    /// The machine whose parameters are `(1 − s)` of these and `s` of the other's.
    pub(super) fn towards(&self, other: &Self, s: f64) -> Result<Self> {
        let mix = |a: &Tensor, b: &Tensor| (a * (1.0 - s))? + (b * s)?;
        Ok(Self {
            weights: mix(&self.weights, &other.weights)?,
            visible: mix(&self.visible, &other.visible)?,
            hidden: mix(&self.hidden, &other.hidden)?,
            ..self.clone()
        })
    }

    /// The biases of the base, `(D,)`.
    pub(super) fn base(&self) -> &Tensor {
        &self.base
    }

    /// The kind of the visible units.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// W, `(D, H)`.
    pub fn weights(&self) -> &Tensor {
        &self.weights
    }

    /// b, `(D,)`.
    pub fn visible_bias(&self) -> &Tensor {
        &self.visible
    }

    /// c, `(H,)`.
    pub fn hidden_bias(&self) -> &Tensor {
        &self.hidden
    }

    /// Sizes of the visible and of the hidden layer.
    pub fn sizes(&self) -> (usize, usize) {
        (self.visible.elem_count(), self.hidden.elem_count())
    }

    /// The same machine in another float type.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            units: self.units.to_dtype(dtype)?,
            weights: self.weights.to_dtype(dtype)?,
            visible: self.visible.to_dtype(dtype)?,
            hidden: self.hidden.to_dtype(dtype)?,
            base: self.base.to_dtype(dtype)?,
            base_log_z: self.base_log_z,
        })
    }

    /// The fields on the hidden units, `(n, D) → (n, H)`.
    pub fn fields(&self, v: &Tensor) -> Result<Tensor> {
        Ok(linear_transposed(
            &self.units.features(v)?,
            &self.weights,
            Some(&self.hidden),
            Activation::Identity,
        )?)
    }

    /// `P(h_j = 1 | v)`, `(n, D) → (n, H)`.
    pub fn hidden_means(&self, v: &Tensor) -> Result<Tensor> {
        Ok(linear_transposed(
            &self.units.features(v)?,
            &self.weights,
            Some(&self.hidden),
            Activation::Sigmoid,
        )?)
    }

    /// The fields `a = b + W h` on the visible units, `(n, H) → (n, D)`.
    pub fn visible_fields(&self, h: &Tensor) -> Result<Tensor> {
        Ok(linear(h, &self.weights, Some(&self.visible), Activation::Identity)?)
    }

    /// Means of the visible units given the hidden ones, `(n, H) → (n, D)`: probabilities for discrete units.
    pub fn visible_means(&self, h: &Tensor) -> Result<Tensor> {
        let a = self.visible_fields(h)?;
        match &self.units {
            Units::Binary => Ok(math::sigmoid(&a)?),
            Units::Potts(levels) => {
                let (n, d) = a.dims2()?;
                Ok(genzoo_kernels::softmax(&a.reshape((n, d / levels, *levels))?)?.reshape((n, d))?)
            }
            Units::Gaussian { .. } => Ok(a),
        }
    }

    /// `U(v, h)`, `(n,)`.
    pub fn joint_energy(&self, v: &Tensor, h: &Tensor) -> Result<Tensor> {
        let own = self.units.log_weight(v, &self.visible)?.squeeze(1)?;
        Ok((own + (self.fields(v)? * h)?.sum(1)?)?.neg()?)
    }

    /// `F(v)`, `(n, D) → (n,)` in `f64`.
    pub fn free_energy(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.log_weight(v, &self.fields(v)?, Beta::TARGET)?.neg()?)
    }

    /// `log Σ_v e^{−U(v, h)}`, an integral for Gaussian units: `(n, H) → (n,)`.
    pub fn hidden_log_weight(&self, h: &Tensor) -> Result<Tensor> {
        let own = h.matmul(&self.hidden.unsqueeze(1)?)?.squeeze(1)?;
        Ok((own + self.units.log_partition(&self.visible_fields(h)?, &self.visible)?)?)
    }

    /// `log q_β(v)`, `(n,)` in `f64`; `fields` are those of `v`.
    pub fn log_weight(&self, v: &Tensor, fields: &Tensor, beta: Beta<'_>) -> Result<Tensor> {
        let wide = |x: Tensor| x.to_dtype(DType::F64);
        let hidden = wide(math::softplus(&beta.times(fields)?)?)?.sum(1)?;
        let own = wide(self.units.log_weight(v, &self.visible)?)?;
        let visible = match beta {
            Beta::All(1.0) => own,
            Beta::All(_) => beta.between(&wide(self.base_log_weight(v)?)?, &own)?,
            Beta::Rows(rows) => {
                Beta::Rows(&wide(rows.clone())?).between(&wide(self.base_log_weight(v)?)?, &own)?
            }
        };
        Ok((visible.squeeze(1)? + hidden)?)
    }

    /// ℓ_0(v), `(n, 1)`.
    fn base_log_weight(&self, v: &Tensor) -> Result<Tensor> {
        match &self.units {
            Units::Gaussian { .. } => Ok((v.sqr()?.sum_keepdim(1)? * -0.5)?),
            _ => self.units.log_weight(v, &self.base),
        }
    }

    /// `log Σ_{v,h} e^{−U_0(v, h)}`.
    pub fn base_log_z(&self) -> f64 {
        self.base_log_z
    }

    /// `n` exact draws of the base's visible layer.
    pub fn draw_base(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        let (d, _) = self.sizes();
        match &self.units {
            Units::Gaussian { .. } => noise.normal((n, d), self.weights.dtype(), self.weights.device()),
            _ => self.units.draw_discrete(&self.base.broadcast_as((n, d))?.contiguous()?, noise),
        }
    }

    /// Draws of `q_β(h | v)` from the fields of `v`, `(n, H)`.
    pub fn draw_hidden_at(&self, fields: &Tensor, beta: Beta<'_>, noise: &mut Noise) -> Result<Tensor> {
        noise.bernoulli(&math::sigmoid(&beta.times(fields)?)?)
    }

    /// Draws of `q_β(v | h)`, `(n, H) → (n, D)`.
    pub fn draw_visible_at(&self, h: &Tensor, beta: Beta<'_>, noise: &mut Noise) -> Result<Tensor> {
        let Units::Gaussian { log_variance } = &self.units else {
            return match (beta, &self.units) {
                // The product takes bias and sigmoid along.
                (Beta::All(_), Units::Binary) => {
                    let bias = beta.between(&self.base, &self.visible)?;
                    noise.bernoulli(&linear(
                        &beta.times(h)?,
                        &self.weights,
                        Some(&bias),
                        Activation::Sigmoid,
                    )?)
                }
                _ => {
                    let pull = linear(&beta.times(h)?, &self.weights, None, Activation::Identity)?;
                    let (base, own) = (self.base.unsqueeze(0)?, self.visible.unsqueeze(0)?);
                    self.units.draw_discrete(&pull.broadcast_add(&beta.between(&base, &own)?)?, noise)
                }
            };
        };
        // Precision 1 − β + β/σ², mean β (a/σ²) / precision.
        let precision = log_variance.neg()?.exp()?.unsqueeze(0)?;
        let mixed = beta.between(&precision.ones_like()?, &precision)?;
        let pull = beta.times(&self.visible_fields(h)?.broadcast_mul(&precision)?)?;
        let deviation = mixed.sqrt()?.recip()?.broadcast_as(pull.shape())?;
        Ok((pull.broadcast_div(&mixed)? + (noise.normal_like(&pull)? * deviation)?)?)
    }

    /// One block Gibbs step at `beta`: new visible states.
    pub fn sweep(&self, v: &Tensor, beta: Beta<'_>, noise: &mut Noise) -> Result<Tensor> {
        let h = match beta {
            Beta::All(1.0) => noise.bernoulli(&self.hidden_means(v)?)?,
            _ => self.draw_hidden_at(&self.fields(v)?, beta, noise)?,
        };
        self.draw_visible_at(&h, beta, noise)
    }
}

impl Bipartite for Machine {
    fn draw_hidden(&self, visible: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        noise.bernoulli(&self.hidden_means(visible)?)
    }

    fn draw_visible(&self, hidden: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        self.draw_visible_at(hidden, Beta::TARGET, noise)
    }
}

/// `F(v)` and its slope, for discrete units in the real numbers between their states: `∂F/∂v = −∂ℓ/∂v − (∂φ/∂v) W σ(f)`.
impl Energy for Machine {
    fn energy(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.free_energy(v)?.to_dtype(v.dtype())?)
    }

    fn energy_and_gradient(&self, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let pull = linear(&self.hidden_means(v)?, &self.weights, None, Activation::Identity)?;
        let gradient = match &self.units {
            Units::Gaussian { log_variance } => {
                (v.broadcast_sub(&self.visible)? - pull)?.broadcast_mul(&log_variance.neg()?.exp()?)?
            }
            _ => pull.broadcast_add(&self.visible)?.neg()?,
        };
        Ok((self.energy(v)?, gradient))
    }
}
