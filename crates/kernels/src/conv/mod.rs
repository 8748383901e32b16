//! Two-dimensional convolution, its transpose, and their gradients, each expressed by the others:
//!
//! ```text
//! conv(x, w)             d/dx = input_grad(·, w)     d/dw = weight_grad(x, ·)
//! input_grad(g, w)       d/dg = conv(·, w)           d/dw = weight_grad(·, g)
//! weight_grad(x, g)      d/dx = input_grad(g, ·)     d/dg = conv(x, ·)
//! ```
//! The transposed convolution is `input_grad` under another name.

mod by_image;
mod columns;

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::{Activation, Bias, act, finish_row};
use crate::gradients::hand_over;
use crate::linear::pre_activation_grad;
use crate::plain;
use crate::real::Real;
use crate::reduce::{add_rows, lane_sum};
use crate::simd::{Job, dispatch};
use crate::support::{
    Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit, with_real,
};
pub(crate) use by_image::{ImageConv, Scratch, WeightGrad as ImageWeightGrad, image_sets};
use columns::{forward, input_grad, weight_grad};

/// The geometry of a convolution, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Distance between neighbouring windows.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Channels are split into so many independent groups.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Self {
        Self { stride: 1, padding: 0, groups: 1 }
    }
}

impl Conv {
    /// Stride 1 with the padding that keeps the size for an odd kernel.
    pub const fn same(kernel: usize) -> Self {
        Self { stride: 1, padding: kernel / 2, groups: 1 }
    }

    /// A stride and a padding, one group.
    pub const fn strided(stride: usize, padding: usize) -> Self {
        Self { stride, padding, groups: 1 }
    }

    /// `⌊(n + 2 padding − kernel) / stride⌋ + 1`, or `None` where the kernel does not fit.
    pub fn output_size(&self, n: usize, kernel: usize) -> Option<usize> {
        let room = (n + 2 * self.padding).checked_sub(kernel)?;
        (self.stride > 0).then(|| room / self.stride + 1)
    }

    /// `(n − 1) stride + kernel − 2 padding`, the smallest size whose convolution has size n.
    pub fn transposed_size(&self, n: usize, kernel: usize) -> Option<usize> {
        (n.checked_sub(1)? * self.stride + kernel).checked_sub(2 * self.padding)
    }
}

/// `f(conv(x, w) + bias)` with `x: (b, i, h, w)`, `w: (o, i / groups, kh, kw)`, `bias: (o)`, or `(b, o)` for one per image.
///
/// # Errors
/// On shapes that do not fit.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, conv: Conv, f: Activation) -> Result<Tensor> {
    let geometry = Geometry::new(x.dims4()?, w.dims4()?, conv)?;
    fused(x, w, bias, geometry.o, f, Fused::Forward(geometry), |x, w| conv_closed(x, w, geometry))
}

/// `f(convᵀ(x, w) + bias)` with `x: (b, i, h, w)`, `w: (i, o / groups, kh, kw)`, `bias: (o)` or `(b, o)`; the output is
/// `(n − 1) stride − 2 padding + kernel + output_padding` long, as in PyTorch.
///
/// # Errors
/// On shapes that do not fit, and an output padding not smaller than the stride.
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    conv: Conv,
    output_padding: usize,
    f: Activation,
) -> Result<Tensor> {
    let (b, c, h, width) = x.dims4()?;
    let (i, o, kh, kw) = w.dims4()?;
    if i != c || output_padding >= conv.stride.max(1) {
        bail!(
            "conv_transpose2d: weight {:?} must start with the {c} channels of x, and the output padding \
             {output_padding} must be smaller than the stride {}",
            w.dims(),
            conv.stride
        );
    }
    let size = |n, k| conv.transposed_size(n, k).map(|n| n + output_padding);
    let (Some(oh), Some(ow)) = (size(h, kh), size(width, kw)) else {
        bail!("conv_transpose2d: padding {} is too large for x {:?}", conv.padding, x.dims())
    };
    let outputs = o * conv.groups;
    let geometry = Geometry::new((b, outputs, oh, ow), w.dims4()?, conv)?;
    fused(x, w, bias, outputs, f, Fused::Transposed(geometry), |x, w| input_grad_closed(x, w, geometry))
}

/// The gradient of [`conv2d`] with respect to its input of size `(h, w)`, from the output's gradient `g`.
///
/// # Errors
/// On shapes that do not fit.
pub fn conv2d_input_grad(g: &Tensor, w: &Tensor, size: (usize, usize), conv: Conv) -> Result<Tensor> {
    let (b, ..) = g.dims4()?;
    let (_, i, ..) = w.dims4()?;
    let geometry = Geometry::new((b, i * conv.groups, size.0, size.1), w.dims4()?, conv)?;
    input_grad_closed(g, w, geometry)
}

/// The gradient of [`conv2d`] with respect to a weight with kernel `(kh, kw)`, from the output's gradient `g`.
///
/// # Errors
/// On shapes that do not fit.
pub fn conv2d_weight_grad(x: &Tensor, g: &Tensor, kernel: (usize, usize), conv: Conv) -> Result<Tensor> {
    let (_, c, ..) = x.dims4()?;
    let (_, o, ..) = g.dims4()?;
    let geometry = Geometry::new(x.dims4()?, (o, c / conv.groups.max(1), kernel.0, kernel.1), conv)?;
    weight_grad_closed(x, g, geometry)
}

/// All sizes of one convolution `(b, c, h, w) → (b, o, oh, ow)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) b: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) o: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    pub(crate) conv: Conv,
}

impl Geometry {
    pub(crate) fn new(
        (b, c, h, w): (usize, usize, usize, usize),
        (o, ci, kh, kw): (usize, usize, usize, usize),
        conv: Conv,
    ) -> Result<Self> {
        let groups = conv.groups;
        if groups == 0 || c != ci * groups || o % groups != 0 {
            bail!(
                "conv2d: a weight of {o} x {ci} channels in {groups} groups does not fit {c} input channels"
            );
        }
        match (conv.output_size(h, kh), conv.output_size(w, kw)) {
            (Some(oh), Some(ow)) if kh > 0 && kw > 0 => Ok(Self { b, c, h, w, o, kh, kw, oh, ow, conv }),
            _ => bail!("conv2d: a {kh}x{kw} kernel with {conv:?} does not fit a {h}x{w} image"),
        }
    }

    fn input(&self) -> (usize, usize, usize, usize) {
        (self.b, self.c, self.h, self.w)
    }
    fn output(&self) -> (usize, usize, usize, usize) {
        (self.b, self.o, self.oh, self.ow)
    }
    fn weight(&self) -> (usize, usize, usize, usize) {
        (self.o, self.c / self.conv.groups, self.kh, self.kw)
    }
    fn pixels(&self) -> usize {
        self.oh * self.ow
    }
    /// Rows of the unrolled matrix, all groups together.
    fn rows(&self) -> usize {
        self.c * self.kh * self.kw
    }
    /// Images unrolled side by side, so that small ones still make a wide matrix.
    fn images(&self) -> usize {
        (256 / self.pixels().max(1)).clamp(1, self.b.max(1))
    }
    /// A 1×1 convolution of stride 1 needs no unrolling.
    fn is_pointwise(&self) -> bool {
        self.kh == 1 && self.kw == 1 && self.conv.stride == 1 && self.conv.padding == 0
    }
    fn check(&self, what: &str, x: &Tensor, expected: (usize, usize, usize, usize)) -> Result<()> {
        if x.dims4()? != expected {
            bail!("{what}: expected shape {expected:?}, got {:?}", x.dims());
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        self.b * self.c * self.h * self.w * self.o == 0
    }
}

fn conv_closed(x: &Tensor, w: &Tensor, geometry: Geometry) -> Result<Tensor> {
    geometry.check("conv2d", x, geometry.input())?;
    if !is_fast(x) || geometry.is_empty() {
        return plain::conv2d(x, w, geometry.conv);
    }
    x.contiguous()?.apply_op2(&w.contiguous()?, Forward(geometry))
}

fn input_grad_closed(g: &Tensor, w: &Tensor, geometry: Geometry) -> Result<Tensor> {
    geometry.check("conv2d_input_grad", g, geometry.output())?;
    if !is_fast(g) || geometry.is_empty() {
        return plain::conv_transpose2d(g, w, geometry.conv, (geometry.h, geometry.w));
    }
    g.contiguous()?.apply_op2(&w.contiguous()?, InputGrad(geometry))
}

fn weight_grad_closed(x: &Tensor, g: &Tensor, geometry: Geometry) -> Result<Tensor> {
    geometry.check("conv2d_weight_grad", x, geometry.input())?;
    geometry.check("conv2d_weight_grad", g, geometry.output())?;
    if !is_fast(x) || geometry.is_empty() {
        bail!("conv2d_weight_grad: expected non-empty f32 or f64 tensors on the CPU, got {:?}", x.dims());
    }
    x.contiguous()?.apply_op2(&g.contiguous()?, WeightGrad(geometry))
}

struct Forward(Geometry);
struct InputGrad(Geometry);
struct WeightGrad(Geometry);

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(xs.dtype(), T, {
            let y = forward(&self.0, slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, &|_, _| {});
            Ok(output(y, self.0.output()))
        })
    }
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((
            hand_over(x, || input_grad_closed(g, w, self.0))?,
            hand_over(w, || weight_grad_closed(x, g, self.0))?,
        ))
    }
}

impl CustomOp2 for InputGrad {
    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }
    fn cpu_fwd(
        &self,
        gs: &CpuStorage,
        gl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(gs.dtype(), T, {
            let x = input_grad(&self.0, slice::<T>(gs, gl)?, slice::<T>(ws, wl)?, &|_, _| {});
            Ok(output(x, self.0.input()))
        })
    }
    fn bwd(
        &self,
        g: &Tensor,
        w: &Tensor,
        _: &Tensor,
        h: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((hand_over(g, || conv_closed(h, w, self.0))?, hand_over(w, || weight_grad_closed(h, g, self.0))?))
    }
}

impl CustomOp2 for WeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }
    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(xs.dtype(), T, {
            let w = weight_grad(&self.0, slice::<T>(xs, xl)?, slice::<T>(gs, gl)?);
            Ok(output(w, self.0.weight()))
        })
    }
    fn bwd(
        &self,
        x: &Tensor,
        g: &Tensor,
        _: &Tensor,
        h: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((hand_over(x, || input_grad_closed(g, h, self.0))?, hand_over(g, || conv_closed(x, h, self.0))?))
    }
}

/// With bias and activation: one operation where only first derivatives are wanted.
fn fused(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    outputs: usize,
    f: Activation,
    kind: Fused,
    closed: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let batch = x.dim(0)?;
    if let Some(b) = bias
        && b.dims() != [outputs]
        && b.dims() != [batch, outputs]
    {
        bail!(
            "{}: the bias must have shape [{outputs}] or [{batch}, {outputs}], got {:?}",
            kind.name(),
            b.dims()
        );
    }
    let simple = bias.is_none() && f == Activation::Identity;
    if simple || !is_fast(x) || kind.geometry().is_empty() || keeps_gradient_graphs() {
        return act(&plain::channel_bias(&closed(x, w)?, bias)?, f);
    }
    let bias = match bias {
        Some(b) => b.contiguous()?,
        None => Tensor::zeros(outputs, w.dtype(), w.device())?,
    };
    let tracked = x.track_op() || w.track_op() || bias.track_op();
    let keep = tracked && !crate::activation::slope_from_value(f);
    let op = FusedConv { kind, f, keep, slopes: OnceLock::new() };
    x.contiguous()?.apply_op3(&w.contiguous()?, &bias, op)
}

#[derive(Clone, Copy)]
enum Fused {
    Forward(Geometry),
    Transposed(Geometry),
}

impl Fused {
    fn geometry(&self) -> &Geometry {
        match self {
            Self::Forward(g) | Self::Transposed(g) => g,
        }
    }
    fn name(&self) -> &'static str {
        match self {
            Self::Forward(_) => "conv2d",
            Self::Transposed(_) => "conv_transpose2d",
        }
    }
    fn output(&self) -> (usize, usize, usize, usize) {
        match self {
            Self::Forward(g) => g.output(),
            Self::Transposed(g) => g.input(),
        }
    }
}

struct FusedConv {
    kind: Fused,
    f: Activation,
    keep: bool,
    slopes: OnceLock<Tensor>,
}

impl CustomOp3 for FusedConv {
    fn name(&self) -> &'static str {
        "conv2d_fused"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
        bs: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = self.kind.output();
        let plane = shape.2 * shape.3;
        with_real!(xs.dtype(), T, {
            let (x, w, b) = (slice::<T>(xs, xl)?, slice::<T>(ws, wl)?, slice::<T>(bs, bl)?);
            let mut slopes = if self.keep { uninit::<T>(shape.0 * shape.1 * plane) } else { Vec::new() };
            let kept = Shared::new(&mut slopes);
            let finish = |i: usize, y: &mut [T]| {
                // SAFETY: plane i of the slopes belongs to plane i of the result, which is finished once.
                let slopes = if self.keep { Some(unsafe { kept.part(i * plane, plane) }) } else { None };
                finish_row(self.f, Bias::All(b[i % b.len()]), y, slopes);
            };
            let y = match &self.kind {
                Fused::Forward(g) => forward(g, x, w, &finish),
                Fused::Transposed(g) => input_grad(g, x, w, &finish),
            };
            if self.keep {
                let _ = self.slopes.set(Tensor::from_vec(slopes, shape, &candle_core::Device::Cpu)?);
            }
            Ok(output(y, shape))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = &incoming(self.kind.name(), g)?;
        let d = pre_activation_grad(self.f, self.slopes.get(), y, g)?;
        let (x_, w_) = (x.detach(), w.detach());
        let (dx, dw) = match self.kind {
            Fused::Forward(geometry) => (
                hand_over(x, || input_grad_closed(&d, &w_, geometry))?,
                hand_over(w, || weight_grad_closed(&x_, &d, geometry))?,
            ),
            Fused::Transposed(geometry) => (
                hand_over(x, || conv_closed(&d, &w_, geometry))?,
                hand_over(w, || weight_grad_closed(&d, &x_, geometry))?,
            ),
        };
        Ok((dx, dw, hand_over(b, || channel_sums(&d, b.dims()))?))
    }
}

/// `(b, c, h, w) → (c)` or `(b, c)`: the sum over pixels, and over images unless each has its own bias.
fn channel_sums(g: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let (_, _, h, w) = g.dims4()?;
    struct PlaneSum<'a, T>(&'a [T]);
    impl<T: Real> Job for PlaneSum<'_, T> {
        type Out = T;
        #[inline(always)]
        fn run(self) -> T {
            lane_sum(self.0, |v| v)
        }
    }
    with_real!(g.dtype(), T, {
        slices!(T; planes = g);
        let planes: Vec<T> = planes
            .par_chunks(h * w)
            .with_min_len(16 * 1024 / (h * w).max(1) + 1)
            .map(|plane| dispatch(PlaneSum(plane)))
            .collect();
        if shape.len() == 2 {
            return Tensor::from_vec(planes, shape, g.device());
        }
        let mut sums = vec![T::ZERO; shape[0]];
        add_rows(&mut sums, &planes);
        Tensor::from_vec(sums, shape, g.device())
    })
}
