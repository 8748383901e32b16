//! Second derivatives along a direction, carried forward through the layers as ordinary graphs.
//!
//! ```text
//! jet of x along u:        (x, u, 0)
//! f of a jet (y, y', y''):  (f(y),  ∂f y',  y'ᵀ ∂²f y' + ∂f y'')
//! at the end:              (f(x),  ∂f/∂x u,  uᵀ ∂²f/∂x² u)
//! ```
//! These are the first three Taylor coefficients of `f(x + εu)`, up to the ½. One first-order backward through the last
//! of them is `∂/∂θ uᵀ∇²U u`, which score matching needs; d directions make the Laplacian. A jet costs three forward
//! passes and no backward one.
//! Source: Griewank & Walther (2008), "Evaluating derivatives", ch. 13 (Taylor mode).

use candle_core::{Result, Tensor};
use genzoo_kernels as kernels;

use super::{Activation, Differentiable, Linear, Mlp, ResidualMlp};

/// A value and its first two derivatives along a direction, all of one shape.
#[derive(Clone, Debug)]
pub struct Jet {
    /// `y`.
    pub value: Tensor,
    /// `dy/dε`.
    pub first: Tensor,
    /// `d²y/dε²`; `None` where it is known to be zero.
    pub second: Option<Tensor>,
}

impl Jet {
    /// The straight line `x + εu`.
    pub fn line(x: &Tensor, u: &Tensor) -> Self {
        Self { value: x.clone(), first: u.clone(), second: None }
    }

    /// The image under an affine map: `affine` acts on the value, its `linear` part on the derivatives.
    ///
    /// # Errors
    /// When one of them fails.
    pub fn affine(
        &self,
        affine: impl Fn(&Tensor) -> Result<Tensor>,
        linear: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        Ok(Self {
            value: affine(&self.value)?,
            first: linear(&self.first)?,
            second: self.second.as_ref().map(linear).transpose()?,
        })
    }

    /// The sum of two jets.
    ///
    /// # Errors
    /// On different shapes.
    pub fn plus(&self, other: &Self) -> Result<Self> {
        let second = match (&self.second, &other.second) {
            (Some(a), Some(b)) => Some((a + b)?),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        Ok(Self { value: (&self.value + &other.value)?, first: (&self.first + &other.first)?, second })
    }

    /// The second derivative, zeros where it is known to vanish.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn curvature(&self) -> Result<Tensor> {
        match &self.second {
            Some(second) => Ok(second.clone()),
            None => self.value.zeros_like(),
        }
    }
}

/// A map that carries jets.
pub trait Curved: Differentiable {
    /// The jet of `f` along the curve whose jet is `at`.
    ///
    /// # Errors
    /// On wrong shapes, and when a layer has no second derivative here.
    fn jet(&self, at: &Jet) -> Result<Jet>;
}

impl Curved for Activation {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        let (a, first) = (&at.value, &at.first);
        let bend = match self {
            Self::Identity | Self::Relu | Self::LeakyRelu(_) => None,
            _ => Some(kernels::act_curvature(a, &first.sqr()?, *self)?),
        };
        let carried = at.second.as_ref().map(|s| kernels::act_grad(a, s, *self)).transpose()?;
        let second = match (bend, carried) {
            (Some(b), Some(c)) => Some((b + c)?),
            (b, c) => b.or(c),
        };
        Ok(Jet { value: kernels::act(a, *self)?, first: kernels::act_grad(a, first, *self)?, second })
    }
}

impl Curved for Linear {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        let a = at.affine(|x| self.affine(x), |u| self.push(u))?;
        self.activation().jet(&a)
    }
}

impl Curved for Mlp {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        self.layers().iter().try_fold(at.clone(), |at, layer| layer.jet(&at))
    }
}

impl Curved for ResidualMlp {
    fn jet(&self, at: &Jet) -> Result<Jet> {
        let (first, blocks, last) = self.parts();
        let mut h = first.jet(at)?;
        for (a, b) in blocks {
            h = h.plus(&b.jet(&a.jet(&h)?)?)?;
        }
        last.jet(&h)
    }
}
