//! One pass over parameter, gradient and moments: Adam, AdamW and SGD on raw slices, and the squared norm.

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor, bail};

/// The constants of one Adam move; see [`adam`].
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate of this move.
    pub lr: f64,
    /// Momentum μ.
    pub momentum: f64,
    /// Weight decay λ, added to the gradient.
    pub weight_decay: f64,
    /// Factor on the gradient, from clipping.
    pub scale: f64,
}

/// `Σ gᵢ²` in f64, summed in one fixed order.
///
/// # Errors
/// For tensors that are not floats.
pub fn squared_norm(g: &Tensor) -> Result<f64> {
    let g = g.flatten_all()?;
    Ok(match g.dtype() {
        DType::F32 => g
            .to_vec1::<f32>()?
            .iter()
            .map(|&x| f64::from(x) * f64::from(x))
            .sum(),
        _ => g
            .to_dtype(DType::F64)?
            .to_vec1::<f64>()?
            .iter()
            .map(|x| x * x)
            .sum(),
    })
}

/// One move of Adam (Kingma & Ba 2014, Algorithm 1) or AdamW, in place on `w`, `m` and `v`:
///
/// ```text
/// m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²    w ← w − lr · m̂ / (√v̂ + ε)
/// ```
///
/// # Errors
/// If shapes or types differ.
pub fn adam(w: &Tensor, g: &Tensor, m: &Tensor, v: &Tensor, step: &AdamStep) -> Result<()> {
    let t = step.moves.min(i32::MAX as u64) as i32;
    let (c1, c2) = (1.0 - step.beta1.powi(t), 1.0 - step.beta2.powi(t));
    let s = *step;
    let rule = move |w: f64, g: f64, m: &mut f64, v: &mut f64| {
        let (mut w, mut g) = (w, g * s.scale);
        if s.decoupled {
            w -= s.lr * s.weight_decay * w;
        } else {
            g += s.weight_decay * w;
        }
        *m = s.beta1 * *m + (1.0 - s.beta1) * g;
        *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
        w - s.lr * (*m / c1) / ((*v / c2).sqrt() + s.eps)
    };
    apply(w, g, m, v, &rule)
}

/// One move of gradient descent with momentum, in place on `w` and `m`: `m ← μm + g`, `w ← w − lr·m`.
///
/// # Errors
/// If shapes or types differ.
pub fn sgd(w: &Tensor, g: &Tensor, m: &Tensor, step: &SgdStep) -> Result<()> {
    let s = *step;
    let rule = move |w: f64, g: f64, m: &mut f64, _: &mut f64| {
        *m = s.momentum * *m + g * s.scale + s.weight_decay * w;
        w - s.lr * *m
    };
    apply(w, g, m, m, &rule)
}

type Rule<'a> = &'a (dyn Fn(f64, f64, &mut f64, &mut f64) -> f64 + Sync);

fn apply(w: &Tensor, g: &Tensor, m: &Tensor, v: &Tensor, rule: Rule<'_>) -> Result<()> {
    let flat = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    if w.dims() != g.dims() {
        bail!(
            "gradient of shape {:?} for a parameter of shape {:?}",
            g.dims(),
            w.dims()
        );
    }
    let (ws, gs, mut ms, mut vs) = (flat(w)?, flat(g)?, flat(m)?, flat(v)?);
    let out: Vec<f64> = (0..ws.len())
        .map(|i| rule(ws[i], gs[i], &mut ms[i], &mut vs[i]))
        .collect();
    assign(w, out)?;
    if !std::ptr::eq(m, v) {
        assign(v, vs)?;
    }
    assign(m, ms)
}

struct Assign(Vec<f64>);

impl InplaceOp2 for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        let v = &self.0;
        let Some((start, end)) = l1.contiguous_offsets() else {
            bail!("parameters must be contiguous")
        };
        match s1 {
            CpuStorage::F32(s) => s[start..end]
                .iter_mut()
                .zip(v.iter())
                .for_each(|(a, b)| *a = *b as f32),
            CpuStorage::F64(s) => s[start..end].copy_from_slice(v),
            _ => bail!("parameters must be f32 or f64"),
        }
        Ok(())
    }
}

fn assign(t: &Tensor, v: Vec<f64>) -> Result<()> {
    let dummy = Tensor::zeros(1, t.dtype(), t.device())?;
    t.inplace_op2(&dummy, &Assign(v))
}
