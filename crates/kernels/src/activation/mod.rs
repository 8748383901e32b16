//! Activations and their derivatives up to the third, as elementwise operations closed under differentiation.
//!
//! ```text
//! act(x)        = f(x)           d/dx = act_grad(x, ·)
//! act_grad(x, g) = g · f'(x)     d/dg = act_grad(x, ·),   d/dx = act_curvature(x, g · (·))
//! ```

mod curves;

use std::fmt;
use std::str::FromStr;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use curves::{Curve, Elu, Gelu, Identity, Leaky, Sigmoid, Silu, Softplus, Tanh};

use crate::plain;
use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::support::{fill_blocks, is_fast, output, slice, uninit, with_real};

/// An elementwise function between layers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`, with derivative 0 at 0 as in PyTorch.
    Relu,
    /// `x` where positive, `slope · x` elsewhere.
    LeakyRelu(f64),
    /// `x σ(x)`
    Silu,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `tanh(x)`
    Tanh,
    /// `σ(x) = 1 / (1 + exp(−x))`
    Sigmoid,
    /// `x Φ(x)`, Φ the standard normal distribution function (the exact form, not the tanh approximation).
    Gelu,
    /// `x` where positive, `exp(x) − 1` elsewhere.
    Elu,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::LeakyRelu(slope) => return write!(f, "leaky_relu({slope})"),
            Self::Silu => "silu",
            Self::Softplus => "softplus",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Gelu => "gelu",
            Self::Elu => "elu",
        };
        f.write_str(name)
    }
}

impl FromStr for Activation {
    type Err = String;

    /// Reads `silu`, `relu`, …; `leaky_relu` has slope 0.2 unless written as `leaky_relu(0.1)`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Ok(match text {
            "identity" | "none" | "linear" => Self::Identity,
            "relu" => Self::Relu,
            "leaky_relu" => Self::LeakyRelu(0.2),
            "silu" | "swish" => Self::Silu,
            "softplus" => Self::Softplus,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "gelu" => Self::Gelu,
            "elu" => Self::Elu,
            _ => {
                let slope = text
                    .strip_prefix("leaky_relu(")
                    .and_then(|t| t.strip_suffix(')'))
                    .and_then(|t| t.parse::<f64>().ok())
                    .filter(|s| s.is_finite());
                match slope {
                    Some(slope) => Self::LeakyRelu(slope),
                    None => {
                        return Err(format!(
                            "unknown activation {text:?}; expected identity, relu, leaky_relu, leaky_relu(SLOPE), \
                             silu, softplus, tanh, sigmoid, gelu or elu"
                        ));
                    }
                }
            }
        })
    }
}

/// `f(x)` for each element.
///
/// # Errors
/// On integer tensors.
pub fn act(x: &Tensor, f: Activation) -> Result<Tensor> {
    if f == Activation::Identity {
        return Ok(x.clone());
    }
    if !is_fast(x) {
        return plain::act(x, f, 0);
    }
    x.contiguous()?.apply_op1(Apply(f))
}

/// `g · f'(x)` for each element: the vector-Jacobian (and Jacobian-vector) product of [`act`].
///
/// # Errors
/// On integer tensors and on different shapes.
pub fn act_grad(x: &Tensor, g: &Tensor, f: Activation) -> Result<Tensor> {
    times_derivative(x, g, f, 1)
}

/// `g · f''(x)` for each element: what a second derivative along a direction adds where the activation bends.
///
/// # Errors
/// On integer tensors and on different shapes.
pub fn act_curvature(x: &Tensor, g: &Tensor, f: Activation) -> Result<Tensor> {
    times_derivative(x, g, f, 2)
}

/// `g · f⁽ᵏ⁾(x)`.
fn times_derivative(x: &Tensor, g: &Tensor, f: Activation, order: u8) -> Result<Tensor> {
    if x.shape() != g.shape() {
        bail!("act_grad: x has shape {:?}, g has {:?}; they must agree", x.dims(), g.dims());
    }
    if f == Activation::Identity {
        return if order == 1 { Ok(g.clone()) } else { g.zeros_like() };
    }
    if !is_fast(x) || order > 3 {
        return g.mul(&plain::act(x, f, order)?);
    }
    x.contiguous()?.apply_op2(&g.contiguous()?, TimesDerivative(f, order))
}

struct Apply(Activation);

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(x.len());
            par_blocks(&mut y, |at, y| map(self.0, &x[at..at + y.len()], y));
            Ok(output(y, l.shape()))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        act_grad(x, g, self.0).map(Some)
    }
}

struct TimesDerivative(Activation, u8);

impl CustomOp2 for TimesDerivative {
    fn name(&self) -> &'static str {
        "activation_grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(s1.dtype(), T, {
            let (x, g) = (slice::<T>(s1, l1)?, slice::<T>(s2, l2)?);
            let mut y = uninit::<T>(x.len());
            par_blocks(&mut y, |at, y| {
                let end = at + y.len();
                map_times(self.0, self.1, &x[at..end], &g[at..end], y);
            });
            Ok(output(y, l1.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        g: &Tensor,
        _: &Tensor,
        h: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = match x.track_op() {
            true => Some(times_derivative(x, &g.mul(h)?, self.0, self.1 + 1)?),
            false => None,
        };
        let dg = match g.track_op() {
            true => Some(times_derivative(x, h, self.0, self.1)?),
            false => None,
        };
        Ok((dx, dg))
    }
}

/// Elementwise work on blocks of one buffer, in parallel where that pays: `f(start, block)`.
pub(crate) fn par_blocks<T: Real>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    fill_blocks(out, 16 * 1024, f);
}

/// Whether `f'` is cheap and accurate as a function of the value, so that nothing else needs keeping.
pub(crate) fn slope_from_value(f: Activation) -> bool {
    match f {
        Activation::Identity
        | Activation::Relu
        | Activation::Tanh
        | Activation::Sigmoid
        | Activation::Elu => true,
        Activation::LeakyRelu(slope) => slope > 0.0,
        Activation::Silu | Activation::Softplus | Activation::Gelu => false,
    }
}

macro_rules! with_curve {
    ($f:expr, $c:ident, $body:expr) => {
        match $f {
            Activation::Identity => {
                let $c = Identity;
                $body
            }
            Activation::Relu => {
                let $c = Leaky(0.0);
                $body
            }
            Activation::LeakyRelu(slope) => {
                let $c = Leaky(slope);
                $body
            }
            Activation::Silu => {
                let $c = Silu;
                $body
            }
            Activation::Softplus => {
                let $c = Softplus;
                $body
            }
            Activation::Tanh => {
                let $c = Tanh;
                $body
            }
            Activation::Sigmoid => {
                let $c = Sigmoid;
                $body
            }
            Activation::Gelu => {
                let $c = Gelu;
                $body
            }
            Activation::Elu => {
                let $c = Elu;
                $body
            }
        }
    };
}

/// `out = f(x)`.
pub(crate) fn map<T: Real>(f: Activation, x: &[T], out: &mut [T]) {
    struct Map<'a, C, T>(C, &'a [T], &'a mut [T]);
    impl<C: Curve, T: Real> Job for Map<'_, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, x, out) = self;
            for (y, &x) in out.iter_mut().zip(x) {
                *y = c.value(x);
            }
        }
    }
    with_curve!(f, c, dispatch(Map(c, x, out)))
}

/// `out = g · f⁽ᵏ⁾(x)`, k from 1 to 3.
pub(crate) fn map_times<T: Real>(f: Activation, order: u8, x: &[T], g: &[T], out: &mut [T]) {
    struct Map<'a, const K: u8, C, T>(C, &'a [T], &'a [T], &'a mut [T]);
    impl<const K: u8, C: Curve, T: Real> Job for Map<'_, K, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, x, g, out) = self;
            for ((y, &x), &g) in out.iter_mut().zip(x).zip(g) {
                let slope = match K {
                    1 => c.first(x),
                    2 => c.second(x),
                    _ => c.third(x),
                };
                *y = g * slope;
            }
        }
    }
    with_curve!(
        f,
        c,
        match order {
            1 => dispatch(Map::<1, _, T>(c, x, g, out)),
            2 => dispatch(Map::<2, _, T>(c, x, g, out)),
            _ => dispatch(Map::<3, _, T>(c, x, g, out)),
        }
    )
}

/// What is added before an activation: one number per element of the row, or one for the whole row.
#[derive(Clone, Copy)]
pub(crate) enum Bias<'a, T> {
    Each(&'a [T]),
    All(T),
}

/// In place `row = f(row + bias)`; where `slopes` is given it receives `f'(row + bias)`.
pub(crate) fn finish_row<T: Real>(f: Activation, bias: Bias<T>, row: &mut [T], slopes: Option<&mut [T]>) {
    struct Each<'a, C, T>(C, &'a [T], &'a mut [T]);
    impl<C: Curve, T: Real> Job for Each<'_, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, bias, row) = self;
            for (y, &b) in row.iter_mut().zip(bias) {
                *y = c.value(*y + b);
            }
        }
    }
    struct EachSlope<'a, C, T>(C, &'a [T], &'a mut [T], &'a mut [T]);
    impl<C: Curve, T: Real> Job for EachSlope<'_, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, bias, row, slopes) = self;
            for ((y, &b), s) in row.iter_mut().zip(bias).zip(slopes) {
                (*y, *s) = c.value_and_first(*y + b);
            }
        }
    }
    struct All<'a, C, T>(C, T, &'a mut [T]);
    impl<C: Curve, T: Real> Job for All<'_, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, b, row) = self;
            for y in row {
                *y = c.value(*y + b);
            }
        }
    }
    struct AllSlope<'a, C, T>(C, T, &'a mut [T], &'a mut [T]);
    impl<C: Curve, T: Real> Job for AllSlope<'_, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, b, row, slopes) = self;
            for (y, s) in row.iter_mut().zip(slopes) {
                (*y, *s) = c.value_and_first(*y + b);
            }
        }
    }
    with_curve!(
        f,
        c,
        match (bias, slopes) {
            (Bias::Each(b), None) => dispatch(Each(c, b, row)),
            (Bias::Each(b), Some(s)) => dispatch(EachSlope(c, b, row, s)),
            (Bias::All(b), None) => dispatch(All(c, b, row)),
            (Bias::All(b), Some(s)) => dispatch(AllSlope(c, b, row, s)),
        }
    )
}

/// `out = g · f'`, from the value `y = f(x)` (for the curves of [`slope_from_value`]).
pub(crate) fn times_slope_of_value<T: Real>(f: Activation, y: &[T], g: &[T], out: &mut [T]) {
    struct Map<'a, C, T>(C, &'a [T], &'a [T], &'a mut [T]);
    impl<C: Curve, T: Real> Job for Map<'_, C, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(c, y, g, out) = self;
            for ((o, &y), &g) in out.iter_mut().zip(y).zip(g) {
                *o = g * c.first_from_value(y);
            }
        }
    }
    with_curve!(f, c, dispatch(Map(c, y, g, out)))
}

/// `out = a · b`.
pub(crate) fn multiply<T: Real>(a: &[T], b: &[T], out: &mut [T]) {
    struct Map<'a, T>(&'a [T], &'a [T], &'a mut [T]);
    impl<T: Real> Job for Map<'_, T> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(a, b, out) = self;
            for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *o = a * b;
            }
        }
    }
    dispatch(Map(a, b, out))
}
