//! The residual block of a U-Net as one operation: two convolutions behind group norms with SiLU, and a way past them.
//!
//! ```text
//! h = conv(silu(norm₁(x)), w₁) + s        y = conv(silu(norm₂(h)), w₂) + b₂ + (conv(x, wₛ) + bₛ  or  x)
//! ```
//! (Ho et al. 2020, arXiv:2006.11239, App. B; s is what a layer makes of the time.) On the way up x is a smaller image,
//! each pixel repeated in a 2×2 block, beside one from the way down. Each image goes through the block
//! while it lies in the second-level cache, and the same in the backward pass; kept are h and the moments of the
//! norms. As single operations every arrow would be a tensor, with a gradient that candle adds to zeros.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::activation::Activation;
use crate::conv::{Conv, Geometry, conv2d};
use crate::gradients::hand_over;
use crate::norm::{Centre, Statistics, group_norm};
use crate::pad::{Margins, pad2d};
use crate::real::Real;
use crate::reduce::{add_rows, lane_sum, lane_sum2};
use crate::resample::{cat_channels, upsample2};
use crate::shift::{self, Forward, InputGrad, Scratch, WeightGrad, image_sets};
use crate::simd::{Job, dispatch};
use crate::support::{Shared, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit};

/// A group norm and the convolution behind its SiLU; the convolution keeps the size of the image.
#[derive(Debug, Clone, Copy)]
pub struct NormConv<'a> {
    /// Number of groups of channels.
    pub groups: usize,
    /// Scale of the norm, `(c)`.
    pub scale: &'a Tensor,
    /// Shift of the norm, `(c)`.
    pub shift: &'a Tensor,
    /// Weight of the convolution, `(o, c, k, k)` with an odd k.
    pub weight: &'a Tensor,
}

/// The parameters of [`residual_block`].
#[derive(Debug, Clone, Copy)]
pub struct ResidualBlock<'a> {
    /// Into the block; its bias is the s of the formula.
    pub first: NormConv<'a>,
    /// Out of the block.
    pub second: NormConv<'a>,
    /// Bias of the second convolution, `(o)`.
    pub bias: &'a Tensor,
    /// Weight `(o, c, 1, 1)` and bias `(o)` of the way past, where the numbers of channels differ.
    pub skip: Option<(&'a Tensor, &'a Tensor)>,
    /// Added to the variances.
    pub eps: f64,
}

/// What enters a block.
#[derive(Debug, Clone, Copy)]
pub enum BlockInput<'a> {
    /// `(b, c, h, w)`.
    Image(&'a Tensor),
    /// The channels of `low (b, p, l, m)`, doubled in size and cut to h × w, before those of `beside (b, c − p, h, w)`.
    Up {
        /// From the level below.
        low: &'a Tensor,
        /// From the way down.
        beside: &'a Tensor,
    },
}

impl BlockInput<'_> {
    /// As one tensor.
    fn image(&self) -> Result<Tensor> {
        match self {
            Self::Image(x) => Ok((*x).clone()),
            Self::Up { low, beside } => {
                let low = upsample2(low)?;
                let missing =
                    |dim| Ok::<_, candle_core::Error>(beside.dim(dim)? as isize - low.dim(dim)? as isize);
                let margins = Margins { bottom: missing(2)?, right: missing(3)?, ..Margins::default() };
                cat_channels(&pad2d(&low, margins)?, beside)
            }
        }
    }

    /// `(b, c, h, w)`, and `(p, l, m)` where a smaller image is enlarged.
    #[allow(clippy::type_complexity)]
    fn sizes(&self) -> Result<((usize, usize, usize, usize), Option<(usize, usize, usize)>)> {
        match self {
            Self::Image(x) => Ok((x.dims4()?, None)),
            Self::Up { low, beside } => {
                let ((n, p, l, m), (b, c, h, w)) = (low.dims4()?, beside.dims4()?);
                if n != b {
                    bail!("residual_block: {n} images below and {b} beside");
                }
                Ok(((b, p + c, h, w), Some((p, l, m))))
            }
        }
    }
}

/// `s: (b, o)`, result `(b, o, h, w)`.
///
/// Error as that of the composition: 1e-5 of the largest output in f32.
///
/// # Errors
/// On shapes that do not fit.
pub fn residual_block(x: BlockInput<'_>, s: &Tensor, block: &ResidualBlock<'_>) -> Result<Tensor> {
    let ((b, c, h, w), low) = x.sizes()?;
    let served = is_fast(s) && s.dtype() == DType::F32 && shift::available();
    let doubles = low.is_none_or(|(_, l, m)| 2 * l >= h && 2 * m >= w);
    if !served || !doubles || b * c * h * w == 0 || keeps_gradient_graphs() {
        return composed(&x.image()?, s, block);
    }
    let ResidualBlock { first, second, bias, skip, eps } = *block;
    let geometry = |c: usize, weight: &Tensor| {
        let (_, _, k, _) = weight.dims4()?;
        let g = Geometry::new((b, c, h, w), weight.dims4()?, Conv::same(k))?;
        if (g.oh, g.ow) != (h, w) {
            bail!("residual_block: the kernel of {:?} must be odd, to keep the size", weight.dims());
        }
        Ok(g)
    };
    let g1 = geometry(c, first.weight)?;
    let g2 = geometry(g1.o, second.weight)?;
    let gs = skip.map(|(weight, _)| geometry(c, weight)).transpose()?;
    let same = |t: &Tensor, n: usize| t.dims() == [n];
    let fits = g1.o > 0
        && g2.o == g1.o
        && s.dims() == [b, g1.o]
        && same(first.scale, c)
        && same(first.shift, c)
        && same(second.scale, g1.o)
        && same(second.shift, g1.o)
        && same(bias, g1.o)
        && gs.map_or(c == g1.o, |gs| gs.o == g1.o)
        && skip.is_none_or(|(_, bias)| same(bias, g1.o));
    if !fits || [(first.groups, c), (second.groups, g1.o)].iter().any(|(g, c)| *g == 0 || c % g != 0) {
        bail!("residual_block: {c} channels and s {:?} do not fit the parameters {block:?}", s.dims());
    }
    let mut parts =
        vec![s, first.weight, first.scale, first.shift, second.weight, second.scale, second.shift, bias];
    parts.extend(skip.map(|(weight, bias)| [weight, bias]).into_iter().flatten());
    let parts = parts.into_iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
    let parameters = Tensor::cat(&parts, 0)?;
    let (x, beside) = match x {
        BlockInput::Image(x) => (x.contiguous()?, Tensor::zeros(0, s.dtype(), s.device())?),
        BlockInput::Up { low, beside } => (low.contiguous()?, beside.contiguous()?),
    };
    let keep = x.track_op() || beside.track_op() || parameters.track_op();
    let op =
        Block { g1, g2, gs, low, groups: [first.groups, second.groups], eps, keep, kept: OnceLock::new() };
    x.apply_op3(&beside, &parameters, op)
}

/// The same of single operations.
fn composed(x: &Tensor, s: &Tensor, block: &ResidualBlock<'_>) -> Result<Tensor> {
    let ResidualBlock { first, second, bias, skip, eps } = *block;
    let part = |x: &Tensor, p: NormConv<'_>, bias: &Tensor| {
        let x = group_norm(x, p.groups, p.scale, p.shift, eps, true)?;
        conv2d(&x, p.weight, Some(bias), Conv::same(p.weight.dim(3)?), Activation::Identity)
    };
    let y = part(&part(x, first, s)?, second, bias)?;
    match skip {
        None => y + x,
        Some((w, b)) => y + conv2d(x, w, Some(b), Conv::same(1), Activation::Identity)?,
    }
}

struct Block {
    g1: Geometry,
    g2: Geometry,
    gs: Option<Geometry>,
    /// Channels, rows and columns of the image that is enlarged.
    low: Option<(usize, usize, usize)>,
    groups: [usize; 2],
    eps: f64,
    keep: bool,
    kept: OnceLock<Kept>,
}

/// What backward needs of the forward pass.
struct Kept {
    h: Vec<f32>,
    /// Per image mean and inverse deviation of the groups of the first norm, then of the second.
    moments: Vec<f32>,
}

/// The parameters, as they lie one behind the other.
struct Parameters<'a> {
    s: &'a [f32],
    w1: &'a [f32],
    norm1: [&'a [f32]; 2],
    w2: &'a [f32],
    norm2: [&'a [f32]; 2],
    bias: &'a [f32],
    skip: Option<(&'a [f32], &'a [f32])>,
}

impl Block {
    /// Lengths of the parameters, in order.
    fn lengths(&self) -> Vec<usize> {
        let (c, o) = (self.g1.c, self.g1.o);
        let weight = |g: &Geometry| g.o * g.c * g.kh * g.kw;
        let mut lengths = vec![self.g1.b * o, weight(&self.g1), c, c, weight(&self.g2), o, o, o];
        lengths.extend(self.gs.iter().flat_map(|g| [weight(g), o]));
        lengths
    }

    fn parameters<'a>(&self, mut all: &'a [f32]) -> Parameters<'a> {
        let mut parts = self.lengths().into_iter().map(|n| {
            let (part, rest) = all.split_at(n);
            all = rest;
            part
        });
        let mut next = || parts.next().unwrap_or_default();
        Parameters {
            s: next(),
            w1: next(),
            norm1: [next(), next()],
            w2: next(),
            norm2: [next(), next()],
            bias: next(),
            skip: self.gs.is_some().then(|| (next(), next())),
        }
    }

    fn moments(&self) -> usize {
        2 * (self.groups[0] + self.groups[1])
    }

    /// Image n as the first norm sees it, made in `room` where it has two parts.
    fn image<'a>(&self, x: &'a [f32], beside: &[f32], n: usize, room: &'a mut [f32]) -> &'a [f32] {
        let (h, w) = (self.g1.h, self.g1.w);
        let image = self.g1.c * h * w;
        let Some((p, l, m)) = self.low else { return &x[n * image..][..image] };
        let (up, rest) = room.split_at_mut(p * h * w);
        for (up, low) in up.chunks_exact_mut(h * w).zip(x[n * p * l * m..][..p * l * m].chunks_exact(l * m)) {
            for (rows, low) in up.chunks_mut(2 * w).zip(low.chunks_exact(m)) {
                let (upper, lower) = rows.split_at_mut(w);
                let (pairs, odd) = upper.as_chunks_mut::<2>();
                for (pair, v) in pairs.iter_mut().zip(low) {
                    *pair = [*v; 2];
                }
                odd.copy_from_slice(&low[w / 2..][..odd.len()]);
                let kept = lower.len();
                lower.copy_from_slice(&upper[..kept]);
            }
        }
        rest.copy_from_slice(&beside[n * rest.len()..][..rest.len()]);
        room
    }

    /// The adjoint of [`Self::image`] where it has two parts: the gradient of the smaller one.
    fn reduce(&self, d: &[f32], (l, m): (usize, usize), low: &mut [f32]) {
        let (h, w) = (self.g1.h, self.g1.w);
        low.fill(0.0);
        for (d, low) in d.chunks_exact(h * w).zip(low.chunks_exact_mut(l * m)) {
            for (rows, low) in d.chunks(2 * w).zip(low.chunks_exact_mut(m)) {
                for row in rows.chunks_exact(w) {
                    let (pairs, odd) = row.as_chunks::<2>();
                    for (low, [a, b]) in low.iter_mut().zip(pairs) {
                        *low += a + b;
                    }
                    for (low, d) in low[w / 2..].iter_mut().zip(odd) {
                        *low += d;
                    }
                }
            }
        }
    }

    fn forward(&self, x: &[f32], beside: &[f32], parameters: &[f32]) -> Vec<f32> {
        let p = self.parameters(parameters);
        let (g1, g2) = (&self.g1, &self.g2);
        let (conv1, conv2) = (Forward::new(g1, p.w1), Forward::new(g2, p.w2));
        let past = self.gs.as_ref().zip(p.skip).map(|(g, (w, bias))| (Forward::new(g, w), bias));
        let plane = g1.h * g1.w;
        let (image, out) = (g1.c * plane, g1.o * plane);
        let mut y = uninit::<f32>(g1.b * out);
        let mut h = uninit::<f32>(if self.keep { g1.b * out } else { 0 });
        let mut moments = uninit::<f32>(g1.b * self.moments());
        let kept = Shared::new(&mut h);
        struct Room {
            x: Vec<f32>,
            a: Vec<f32>,
            h: Vec<f32>,
            past: Vec<f32>,
            scratch: [Scratch; 2],
            past_scratch: Option<Scratch>,
        }
        let room = || Room {
            x: uninit(if self.low.is_some() { image } else { 0 }),
            a: uninit(image.max(out)),
            h: uninit(if self.keep { 0 } else { out }),
            past: uninit(if past.is_some() { out } else { 0 }),
            scratch: [conv1.scratch(), conv2.scratch()],
            past_scratch: past.as_ref().map(|(conv, _)| conv.scratch()),
        };
        let images = y.par_chunks_mut(out).zip(moments.par_chunks_mut(self.moments()));
        images.enumerate().for_each_init(room, |room, (n, (y, moments))| {
            let x = self.image(x, beside, n, &mut room.x);
            let (m1, m2) = moments.split_at_mut(2 * self.groups[0]);
            let [s1, s2] = &mut room.scratch;
            // SAFETY: image n alone touches its part.
            let h = if self.keep { unsafe { kept.part(n * out, out) } } else { &mut room.h };
            measure(x, self.eps, m1);
            normalise(x, m1, p.norm1, &mut room.a[..image], None);
            conv1.image(&room.a[..image], h, s1, |o, h| dispatch(Add(h, p.s[n * g1.o + o], &[])));
            let past: &[f32] = match (&past, &mut room.past_scratch) {
                (Some((conv, bias)), Some(scratch)) => {
                    conv.image(x, &mut room.past, scratch, |o, y| dispatch(Add(y, bias[o], &[])));
                    &room.past
                }
                _ => x,
            };
            measure(h, self.eps, m2);
            normalise(h, m2, p.norm2, &mut room.a[..out], None);
            let finish =
                |o: usize, y: &mut [f32]| dispatch(Add(y, p.bias[o], &past[o * plane..(o + 1) * plane]));
            conv2.image(&room.a[..out], y, s2, finish);
        });
        if self.keep {
            let _ = self.kept.set(Kept { h, moments });
        }
        y
    }

    /// By x, by what is beside it and by the parameters.
    fn backward(
        &self,
        x: &[f32],
        beside: &[f32],
        parameters: &[f32],
        kept: &Kept,
        dy: &[f32],
    ) -> [Vec<f32>; 3] {
        let p = self.parameters(parameters);
        let (g1, g2) = (&self.g1, &self.g2);
        let (by_w1, by_w2) = (WeightGrad::new(g1), WeightGrad::new(g2));
        let (by_in1, by_in2) = (InputGrad::new(g1, p.w1), InputGrad::new(g2, p.w2));
        let past = self.gs.as_ref().zip(p.skip).map(|(g, (w, _))| (WeightGrad::new(g), InputGrad::new(g, w)));
        let (c, o, plane) = (g1.c, g1.o, g1.h * g1.w);
        let (image, out) = (c * plane, o * plane);
        let mut dx = uninit::<f32>(x.len());
        let mut d_beside = uninit::<f32>(beside.len());
        let mut ds = uninit::<f32>(g1.b * o);
        let all = [Shared::new(&mut dx), Shared::new(&mut d_beside), Shared::new(&mut ds)];
        let (own, own_beside) = (x.len() / g1.b, beside.len() / g1.b);
        let past_len = past.as_ref().map_or(0, |(w, _)| w.len());
        // The sums over one set of images: three weights, then scale, shift of either norm, then the bias.
        let ends = [by_w1.len(), by_w1.len() + by_w2.len(), by_w1.len() + by_w2.len() + past_len];
        let len = ends[2] + 2 * c + 3 * o;
        let sets = image_sets(g1.b);
        let mut sums = vec![0f32; sets.len() * len];
        sums.par_chunks_mut(len).zip(sets).for_each(|(sums, images)| {
            let (sum1, rest) = sums.split_at_mut(by_w1.len());
            let (sum2, rest) = rest.split_at_mut(by_w2.len());
            let (sum_past, rest) = rest.split_at_mut(past_len);
            let (norm1, rest) = rest.split_at_mut(2 * c);
            let (norm2, bias) = rest.split_at_mut(2 * o);
            let mut values = uninit::<f32>(image.max(out));
            let mut slopes = uninit::<f32>(image.max(out));
            let (mut dh, mut other) = (uninit::<f32>(out), uninit::<f32>(image));
            let both = if self.low.is_some() { image } else { 0 };
            let (mut room, mut d_room) = (uninit::<f32>(both), uninit::<f32>(both));
            let mut scratch = [by_w1.scratch(), by_in1.scratch(), by_w2.scratch(), by_in2.scratch()];
            let mut past_scratch = past.as_ref().map(|(w, i)| (w.scratch(), i.scratch()));
            let [sw1, si1, sw2, si2] = &mut scratch;
            for n in images {
                let x = self.image(x, beside, n, &mut room);
                let h = &kept.h[n * out..][..out];
                let dy = &dy[n * out..][..out];
                let (m1, m2) =
                    kept.moments[n * self.moments()..][..self.moments()].split_at(2 * self.groups[0]);
                // SAFETY: each image belongs to one set, and its parts to it alone.
                let (own_dx, d_beside, ds) = unsafe {
                    (
                        all[0].part(n * own, own),
                        all[1].part(n * own_beside, own_beside),
                        all[2].part(n * o, o),
                    )
                };
                let dx = if self.low.is_some() { &mut d_room[..] } else { &mut own_dx[..] };
                normalise(h, m2, p.norm2, &mut values[..out], Some(&mut slopes[..out]));
                by_w2.image(&values[..out], dy, sum2, sw2);
                by_in2.image(dy, &mut dh, si2, |_, _| {});
                normalise_backward(h, m2, p.norm2[0], &slopes[..out], &mut dh, norm2);
                for (i, (dy, dh)) in dy.chunks_exact(plane).zip(dh.chunks_exact(plane)).enumerate() {
                    bias[i] += dispatch(Sum(dy));
                    ds[i] = dispatch(Sum(dh));
                }
                normalise(x, m1, p.norm1, &mut values[..image], Some(&mut slopes[..image]));
                by_w1.image(&values[..image], &dh, sum1, sw1);
                by_in1.image(&dh, dx, si1, |_, _| {});
                normalise_backward(x, m1, p.norm1[0], &slopes[..image], dx, norm1);
                match (&past, &mut past_scratch) {
                    (Some((by_w, by_in)), Some((sw, si))) => {
                        by_w.image(x, dy, sum_past, sw);
                        by_in.image(dy, &mut other, si, |_, _| {});
                        dispatch(Add(dx, 0.0, &other));
                    }
                    _ => dispatch(Add(dx, 0.0, dy)),
                }
                if let Some((p, l, m)) = self.low {
                    self.reduce(&d_room[..p * plane], (l, m), own_dx);
                    d_beside.copy_from_slice(&d_room[p * plane..]);
                }
            }
        });
        let part = |from: usize, to: usize| sums.chunks_exact(len).map(move |s| &s[from..to]);
        let mut vectors = vec![0f32; 2 * c + 3 * o];
        for share in part(ends[2], len) {
            add_rows(&mut vectors, share);
        }
        let mut dp = uninit::<f32>(parameters.len());
        let mut rest = &mut dp[..];
        let mut next = |n: usize| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(n);
            rest = tail;
            head
        };
        next(ds.len()).copy_from_slice(&ds);
        by_w1.total(part(0, ends[0]), next(p.w1.len()));
        next(2 * c).copy_from_slice(&vectors[..2 * c]);
        by_w2.total(part(ends[0], ends[1]), next(p.w2.len()));
        next(3 * o).copy_from_slice(&vectors[2 * c..]);
        if let (Some((by_w, _)), Some((w, bias))) = (&past, p.skip) {
            by_w.total(part(ends[1], ends[2]), next(w.len()));
            // Both biases are added to the same output.
            next(bias.len()).copy_from_slice(&vectors[2 * c + 2 * o..]);
        }
        [dx, d_beside, dp]
    }
}

impl CustomOp3 for Block {
    fn name(&self) -> &'static str {
        "residual_block"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        bs: &CpuStorage,
        bl: &Layout,
        ps: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(slice(xs, xl)?, slice(bs, bl)?, slice(ps, pl)?);
        Ok(output(y, (self.g1.b, self.g1.o, self.g1.h, self.g1.w)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        beside: &Tensor,
        p: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = incoming("residual_block", dy)?;
        let Some(kept) = self.kept.get() else { bail!("residual_block: no forward pass was run") };
        type T = f32;
        slices!(T; xs = x, others = beside, parameters = p, dy = &dy);
        let [dx, db, dp] = self.backward(xs, others, parameters, kept, dy);
        let grad = |of: &Tensor, v: Vec<f32>| hand_over(of, || Tensor::from_vec(v, of.shape(), of.device()));
        Ok((grad(x, dx)?, grad(beside, db)?, grad(p, dp)?))
    }
}

/// `(mean, 1 / √(variance + ε))` of each group of one image.
fn measure(x: &[f32], eps: f64, moments: &mut [f32]) {
    let group = 2 * x.len() / moments.len();
    for (x, kept) in x.chunks_exact(group).zip(moments.chunks_exact_mut(2)) {
        let (mean, scale) = dispatch(Statistics(x, eps));
        kept.copy_from_slice(&[mean, scale]);
    }
}

/// `out = silu(γ x̂ + β)` of one image; `slopes` receives the derivative by what stands in the brackets.
fn normalise(x: &[f32], moments: &[f32], norm: [&[f32]; 2], out: &mut [f32], slopes: Option<&mut [f32]>) {
    let [gamma, beta] = norm;
    let (plane, per_group) = (x.len() / gamma.len(), 2 * gamma.len() / moments.len());
    let line = |c: usize| {
        let (mean, scale) = (moments[c / per_group * 2], moments[c / per_group * 2 + 1]);
        (gamma[c] * scale, beta[c] - gamma[c] * scale * mean)
    };
    let planes = x.chunks_exact(plane).zip(out.chunks_exact_mut(plane)).enumerate();
    match slopes {
        None => planes.for_each(|(c, (x, y))| {
            let (a, b) = line(c);
            dispatch(Silu { x, a, b, y });
        }),
        Some(slopes) => planes.zip(slopes.chunks_exact_mut(plane)).for_each(|((c, (x, y)), slopes)| {
            let (a, b) = line(c);
            dispatch(SiluSlope { x, a, b, y, slopes });
        }),
    }
}

/// From `d = ∂silu(γ x̂ + β)` to `d = ∂x` in place; adds the shares of γ and β to `sums`, one behind the other.
fn normalise_backward(
    x: &[f32],
    moments: &[f32],
    gamma: &[f32],
    slopes: &[f32],
    d: &mut [f32],
    sums: &mut [f32],
) {
    let (plane, per_group) = (x.len() / gamma.len(), 2 * gamma.len() / moments.len());
    let count = (per_group * plane) as f32;
    let (by_gamma, by_beta) = sums.split_at_mut(gamma.len());
    for (group, moments) in moments.chunks_exact(2).enumerate() {
        let (mean, scale) = (moments[0], moments[1]);
        let channels = group * per_group..(group + 1) * per_group;
        let (mut a, mut b) = (0.0, 0.0);
        for c in channels.clone() {
            let at = c * plane..(c + 1) * plane;
            let (sum, dot) = dispatch(TimesSlope {
                x: &x[at.clone()],
                slopes: &slopes[at.clone()],
                d: &mut d[at],
                mean,
                scale,
            });
            by_beta[c] += sum;
            by_gamma[c] += dot;
            a += gamma[c] * sum;
            b += gamma[c] * dot;
        }
        for c in channels {
            let at = c * plane..(c + 1) * plane;
            let (x, d, weight) = (&x[at.clone()], &mut d[at], gamma[c]);
            dispatch(Centre { x, d, mean, scale, weight, a: a / count, b: b / count });
        }
    }
}

/// `y += bias + other`, without other where there is none.
struct Add<'a>(&'a mut [f32], f32, &'a [f32]);

impl Job for Add<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(y, bias, other) = self;
        if other.is_empty() {
            y.iter_mut().for_each(|y| *y += bias);
        } else {
            y.iter_mut().zip(other).for_each(|(y, o)| *y += bias + o);
        }
    }
}

struct Sum<'a>(&'a [f32]);

impl Job for Sum<'_> {
    type Out = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        lane_sum(self.0, |v| v)
    }
}

/// `y = silu(a x + b)`.
struct Silu<'a> {
    x: &'a [f32],
    a: f32,
    b: f32,
    y: &'a mut [f32],
}

impl Job for Silu<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            let z = self.a * x + self.b;
            *y = z * z.logistic();
        }
    }
}

/// [`Silu`], and its derivative by `a x + b`.
struct SiluSlope<'a> {
    x: &'a [f32],
    a: f32,
    b: f32,
    y: &'a mut [f32],
    slopes: &'a mut [f32],
}

impl Job for SiluSlope<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for ((y, slope), x) in self.y.iter_mut().zip(self.slopes).zip(self.x) {
            let z = self.a * x + self.b;
            let s = z.logistic();
            *y = z * s;
            *slope = s + z * s * (1.0 - s);
        }
    }
}

/// In place `d = d · slope`; returns `Σ d` and `Σ d x̂`.
struct TimesSlope<'a> {
    x: &'a [f32],
    slopes: &'a [f32],
    d: &'a mut [f32],
    mean: f32,
    scale: f32,
}

impl Job for TimesSlope<'_> {
    type Out = (f32, f32);
    #[inline(always)]
    fn run(self) -> (f32, f32) {
        let Self { x, slopes, d, mean, scale } = self;
        for (d, slope) in d.iter_mut().zip(slopes) {
            *d *= slope;
        }
        (lane_sum(d, |d| d), lane_sum2(d, x, |d, x| d * ((x - mean) * scale)))
    }
}
