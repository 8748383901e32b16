//! Optimiser steps in one pass over the raw slices of parameter, gradient and moments.

use std::cell::Cell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};

use crate::activation::par_blocks;
use crate::crew::collect;
use crate::real::Real;
use crate::reduce::fold_lanes;
use crate::simd::{Job, dispatch};
use crate::support::{Shared, is_fast, slices, with_real};

/// The constants of one Adam move; see [`adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate of this move.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Whether the decay acts on the weight (AdamW) or on the gradient (Adam).
    pub decoupled: bool,
    /// The number of this move, from 1.
    pub moves: u64,
    /// Factor on the gradient, from clipping.
    pub scale: f64,
}

/// The constants of one move of gradient descent; see [`sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate of this move.
    pub lr: f64,
    /// Momentum μ.
    pub momentum: f64,
    /// Weight decay λ, added to the gradient.
    pub weight_decay: f64,
    /// Factor on the gradient, from clipping.
    pub scale: f64,
    /// Whether the step looks ahead along its momentum.
    pub nesterov: bool,
}

/// One move of Adam (Kingma & Ba 2015, arXiv:1412.6980, Alg. 1) or AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101,
/// Alg. 2), in place on the parameter `w` and its moments `m` and `v`:
///
/// ```text
/// g ← scale · g  (+ λ w, without `decoupled`)        w ← w − lr λ w  (with `decoupled`)
/// m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²        w ← w − lr · m̂ / (√v̂ + ε)
/// m̂ = m / (1 − β₁ᵗ)            v̂ = v / (1 − β₂ᵗ)
/// ```
///
/// # Errors
/// If shapes or types differ, two tensors share their storage, or they are not contiguous and on the CPU.
pub fn adam(w: &Tensor, g: &Tensor, m: &Tensor, v: &Tensor, step: &AdamStep) -> Result<()> {
    same("adam", w, &[g, m, v])?;
    let t = step.moves.clamp(1, i32::MAX as u64) as i32;
    let (c1, c2) = (1.0 - step.beta1.powi(t), 1.0 - step.beta2.powi(t));
    let g = g.contiguous()?;
    with_real!(w.dtype(), T, {
        let decay = step.lr * step.weight_decay;
        let coefficients = AdamCoefficients {
            keep: T::of(if step.decoupled { 1.0 - decay } else { 1.0 }),
            decay: T::of(if step.decoupled { 0.0 } else { step.weight_decay }),
            rate: T::of(step.lr / c1),
            beta1: T::of(step.beta1),
            beta2: T::of(step.beta2),
            rest1: T::of(1.0 - step.beta1),
            rest2: T::of(1.0 - step.beta2),
            root: T::of(1.0 / c2.sqrt()),
            eps: T::of(step.eps),
            scale: T::of(step.scale),
        };
        slices!(T; g = &g);
        in_place::<T>(m, |m| {
            in_place::<T>(v, |v| {
                in_place::<T>(w, |w| {
                    let (m, v) = (Shared::new(m), Shared::new(v));
                    par_blocks(w, |at, w| {
                        // SAFETY: blocks are disjoint ranges of parameter indices.
                        let (m, v) = unsafe { (m.part(at, w.len()), v.part(at, w.len())) };
                        dispatch(AdamJob { g: &g[at..at + w.len()], w, m, v, c: coefficients });
                    });
                    Ok(())
                })
            })
        })
    })
}

/// One move of gradient descent with momentum, in place on `w` and `m`:
/// `d = scale · g + λ w`, `m ← μ m + d`, `w ← w − lr · m`, or `w ← w − lr (d + μ m)` with Nesterov's momentum
/// (Sutskever et al. 2013, ICML, in the form of PyTorch).
///
/// # Errors
/// If shapes or types differ, two tensors share their storage, or they are not contiguous and on the CPU.
pub fn sgd(w: &Tensor, g: &Tensor, m: &Tensor, step: &SgdStep) -> Result<()> {
    same("sgd", w, &[g, m])?;
    let g = g.contiguous()?;
    with_real!(w.dtype(), T, {
        let (lr, momentum) = (T::of(step.lr), T::of(step.momentum));
        let (decay, scale) = (T::of(step.weight_decay), T::of(step.scale));
        let ahead = if step.nesterov { (T::ONE, momentum) } else { (T::ZERO, T::ONE) };
        slices!(T; g = &g);
        in_place::<T>(m, |m| {
            in_place::<T>(w, |w| {
                let m = Shared::new(m);
                par_blocks(w, |at, w| {
                    // SAFETY: blocks are disjoint ranges of parameter indices.
                    let m = unsafe { m.part(at, w.len()) };
                    dispatch(SgdJob { g: &g[at..at + w.len()], w, m, lr, momentum, decay, scale, ahead });
                });
                Ok(())
            })
        })
    })
}

/// Exponential moving average in place: `average ← decay · average + (1 − decay) · value`.
///
/// # Errors
/// If shapes or types differ, the two share their storage, or they are not contiguous and on the CPU.
pub fn ema(average: &Tensor, value: &Tensor, decay: f64) -> Result<()> {
    same("ema", average, &[value])?;
    let value = value.contiguous()?;
    with_real!(average.dtype(), T, {
        slices!(T; x = &value);
        in_place::<T>(average, |average| {
            let rest = T::of(1.0 - decay);
            par_blocks(average, |at, a| dispatch(EmaJob { x: &x[at..at + a.len()], a, rest }));
            Ok(())
        })
    })
}

/// `Σ x²` in f64, in an order that depends on the size alone.
///
/// # Errors
/// On integer tensors.
pub fn squared_norm(x: &Tensor) -> Result<f64> {
    if !is_fast(x) {
        return x.to_dtype(candle_core::DType::F64)?.sqr()?.sum_all()?.to_scalar();
    }
    const BLOCK: usize = 16 * 1024;
    let x = x.contiguous()?;
    with_real!(x.dtype(), T, {
        slices!(T; x = &x);
        // Four blocks are worth handing over.
        let partial = collect(x.len().div_ceil(4 * BLOCK), |i| {
            let four = &x[4 * BLOCK * i..x.len().min(4 * BLOCK * (i + 1))];
            four.chunks(BLOCK).map(|b| dispatch(SquaresJob(b))).sum::<f64>()
        });
        Ok(partial.iter().sum())
    })
}

#[derive(Clone, Copy)]
struct AdamCoefficients<T> {
    keep: T,
    decay: T,
    rate: T,
    beta1: T,
    beta2: T,
    rest1: T,
    rest2: T,
    root: T,
    eps: T,
    scale: T,
}

struct AdamJob<'a, T> {
    g: &'a [T],
    w: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
    c: AdamCoefficients<T>,
}

impl<T: Real> Job for AdamJob<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { g, w, m, v, c } = self;
        for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * c.scale + c.decay * *w;
            *m = c.beta1 * *m + c.rest1 * g;
            *v = c.beta2 * *v + c.rest2 * (g * g);
            *w = c.keep * *w - c.rate * *m / (v.root() * c.root + c.eps);
        }
    }
}

struct SgdJob<'a, T> {
    g: &'a [T],
    w: &'a mut [T],
    m: &'a mut [T],
    lr: T,
    momentum: T,
    decay: T,
    scale: T,
    /// Factors of gradient and momentum in the step.
    ahead: (T, T),
}

impl<T: Real> Job for SgdJob<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { g, w, m, lr, momentum, decay, scale, ahead } = self;
        for ((w, &g), m) in w.iter_mut().zip(g).zip(m) {
            let d = scale * g + decay * *w;
            *m = momentum * *m + d;
            *w -= lr * (ahead.0 * d + ahead.1 * *m);
        }
    }
}

struct EmaJob<'a, T> {
    x: &'a [T],
    a: &'a mut [T],
    rest: T,
}

impl<T: Real> Job for EmaJob<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { x, a, rest } = self;
        for (a, &x) in a.iter_mut().zip(x) {
            *a += rest * (x - *a);
        }
    }
}

struct SquaresJob<'a, T>(&'a [T]);

impl<T: Real> Job for SquaresJob<'_, T> {
    type Out = f64;
    #[inline(always)]
    fn run(self) -> f64 {
        let mut lanes = [0f64; 32];
        let mut blocks = self.0.chunks_exact(32);
        for block in &mut blocks {
            for (lane, &v) in lanes.iter_mut().zip(block) {
                let v = v.wide();
                *lane += v * v;
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(blocks.remainder()) {
            let v = v.wide();
            *lane += v * v;
        }
        fold_lanes(lanes)
    }
}

fn same(what: &str, w: &Tensor, others: &[&Tensor]) -> Result<()> {
    for other in others {
        if other.shape() != w.shape() || other.dtype() != w.dtype() {
            bail!(
                "{what}: the parameter is {:?} {:?}, its companion {:?} {:?}; they must agree",
                w.dtype(),
                w.dims(),
                other.dtype(),
                other.dims()
            );
        }
    }
    // Two locks on one storage would wait for each other for ever.
    let mut addresses = vec![address(w)?];
    for other in others {
        addresses.push(address(other)?);
    }
    addresses.sort_unstable();
    if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
        bail!("{what}: the parameter and its companions must not share their storage");
    }
    Ok(())
}

/// Where a CPU tensor's storage begins.
fn address(x: &Tensor) -> Result<usize> {
    let (storage, _) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("expected a parameter on the CPU, got one on {:?}", x.device().location())
    };
    with_real!(x.dtype(), T, Ok(T::cpu_storage_as_slice(storage)?.as_ptr() as usize))
}

/// Calls `f` with the elements of a contiguous CPU tensor, to be changed in place.
fn in_place<T: Real>(x: &Tensor, f: impl FnOnce(&mut [T]) -> Result<()>) -> Result<()> {
    struct Op<F, T>(Cell<Option<F>>, std::marker::PhantomData<T>);
    impl<T: Real, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for Op<F, T> {
        fn name(&self) -> &'static str {
            "in_place"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let Some((start, end)) = layout.contiguous_offsets() else {
                bail!("expected a contiguous parameter, got strides {:?}", layout.stride())
            };
            match self.0.take() {
                Some(f) => f(&mut T::as_mut_slice(storage)?[start..end]),
                None => Ok(()),
            }
        }
    }
    x.inplace_op1(&Op(Cell::new(Some(f)), std::marker::PhantomData))
}
