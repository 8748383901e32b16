//! The block as one operation: image by image, forward and backward.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::norms::{Add, Sum, measure, normalise, normalise_backward};
use crate::conv::{Geometry, ImageConv, ImageWeightGrad, Scratch, image_sets};
use crate::gradients::hand_over;
use crate::reduce::add_rows;
use crate::simd::dispatch;
use crate::support::{Shared, incoming, output, slice, slices, uninit};

/// The operation, with its sizes.
pub(super) struct Block {
    pub(super) g1: Geometry,
    pub(super) g2: Geometry,
    pub(super) gs: Option<Geometry>,
    /// Channels, rows and columns of the image that is enlarged.
    pub(super) low: Option<(usize, usize, usize)>,
    pub(super) groups: [usize; 2],
    pub(super) eps: f64,
    pub(super) keep: bool,
    pub(super) kept: OnceLock<Kept>,
}

/// What backward needs of the forward pass.
pub(super) struct Kept {
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
        let (conv1, conv2) = (ImageConv::forward(g1, p.w1), ImageConv::forward(g2, p.w2));
        let past = self.gs.as_ref().zip(p.skip).map(|(g, (w, bias))| (ImageConv::forward(g, w), bias));
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
        let (by_w1, by_w2) = (ImageWeightGrad::new(g1), ImageWeightGrad::new(g2));
        let (by_in1, by_in2) = (ImageConv::input_grad(g1, p.w1), ImageConv::input_grad(g2, p.w2));
        let past = self
            .gs
            .as_ref()
            .zip(p.skip)
            .map(|(g, (w, _))| (ImageWeightGrad::new(g), ImageConv::input_grad(g, w)));
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
            by_w1.close(sum1, sw1);
            by_w2.close(sum2, sw2);
            if let (Some((by_w, _)), Some((scratch, _))) = (&past, &mut past_scratch) {
                by_w.close(sum_past, scratch);
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
