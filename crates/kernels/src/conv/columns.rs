//! The three products of a convolution through unrolled columns, for any float type and processor.
//!
//! Row `(c, ky, kx)` of the columns holds what each window sees at that place; the convolution is then one matrix
//! product per image, or per few images where they are small. f32 on wide vectors goes to [`by_image`] instead.

use rayon::prelude::*;

use super::{Conv, Geometry, by_image};
use crate::matrix::{Threads, View, product};
use crate::real::Real;
use crate::reduce::add_rows;
use crate::shift;
use crate::support::uninit;

/// The `ox` for which `ox · stride + k − padding` lies in `0..n`.
fn inside(n: usize, out: usize, k: usize, conv: Conv) -> std::ops::Range<usize> {
    let low = conv.padding.saturating_sub(k).div_ceil(conv.stride).min(out);
    let high = (n + conv.padding).saturating_sub(k).div_ceil(conv.stride).min(out);
    low..high.max(low)
}

/// Unrolls one image into columns: row `(c, ky, kx)` of `cols` holds, from `at` on, what each window sees there.
fn unroll<T: Real>(g: &Geometry, x: &[T], cols: &mut [T], width: usize, at: usize) {
    let Conv { stride, padding, .. } = g.conv;
    let mut row = 0;
    for plane in x.chunks_exact(g.h * g.w) {
        for ky in 0..g.kh {
            let ys = inside(g.h, g.oh, ky, g.conv);
            for kx in 0..g.kw {
                let xs = inside(g.w, g.ow, kx, g.conv);
                let out = &mut cols[row * width + at..row * width + at + g.pixels()];
                row += 1;
                if xs.is_empty() || ys.is_empty() {
                    out.fill(T::ZERO);
                    continue;
                }
                out[..ys.start * g.ow].fill(T::ZERO);
                out[ys.end * g.ow..].fill(T::ZERO);
                for oy in ys.clone() {
                    let line = &plane[(oy * stride + ky - padding) * g.w..][..g.w];
                    let out = &mut out[oy * g.ow..(oy + 1) * g.ow];
                    out[..xs.start].fill(T::ZERO);
                    out[xs.end..].fill(T::ZERO);
                    let first = xs.start * stride + kx - padding;
                    let out = &mut out[xs.clone()];
                    if stride == 1 {
                        out.copy_from_slice(&line[first..first + xs.len()]);
                    } else {
                        for (o, v) in out.iter_mut().zip(line[first..].iter().step_by(stride)) {
                            *o = *v;
                        }
                    }
                }
            }
        }
    }
}

/// The adjoint of [`unroll`]: adds each column entry to the pixel it was taken from.
fn roll_up<T: Real>(g: &Geometry, cols: &[T], width: usize, at: usize, x: &mut [T]) {
    let Conv { stride, padding, .. } = g.conv;
    x.fill(T::ZERO);
    let mut row = 0;
    for plane in x.chunks_exact_mut(g.h * g.w) {
        for ky in 0..g.kh {
            let ys = inside(g.h, g.oh, ky, g.conv);
            for kx in 0..g.kw {
                let xs = inside(g.w, g.ow, kx, g.conv);
                let from = &cols[row * width + at..row * width + at + g.pixels()];
                row += 1;
                if xs.is_empty() {
                    continue;
                }
                for oy in ys.clone() {
                    let line = &mut plane[(oy * stride + ky - padding) * g.w..][..g.w];
                    let from = &from[oy * g.ow..(oy + 1) * g.ow][xs.clone()];
                    let first = xs.start * stride + kx - padding;
                    if stride == 1 {
                        for (o, v) in line[first..first + from.len()].iter_mut().zip(from) {
                            *o += *v;
                        }
                    } else {
                        for (o, v) in line[first..].iter_mut().step_by(stride).zip(from) {
                            *o += *v;
                        }
                    }
                }
            }
        }
    }
}

/// What happens to each plane of a result, numbered through, while it is in cache.
pub(super) type Finish<'a, T> = &'a (dyn Fn(usize, &mut [T]) + Sync);

/// Both operands as f32, where the direct kernels serve them.
fn direct<'a, T: Real>(a: &'a [T], b: &'a [T]) -> Option<(&'a [f32], &'a [f32])> {
    if shift::available() { T::as_f32(a).zip(T::as_f32(b)) } else { None }
}

/// `finish` for planes that are f32 already.
fn finish_f32<T: Real>(finish: Finish<'_, T>) -> impl Fn(usize, &mut [f32]) + Sync {
    move |i, plane| {
        if let Some(plane) = T::of_f32(plane) {
            finish(i, plane);
        }
    }
}

/// How a product is threaded: over sets of images where there are several, inside the product otherwise.
fn inner_threads(sets: usize) -> Threads {
    if sets > 1 { Threads::One } else { Threads::All }
}

pub(super) fn forward<T: Real>(g: &Geometry, x: &[T], w: &[T], finish: Finish<'_, T>) -> Vec<T> {
    if let Some((x, w)) = direct(x, w) {
        return T::from_f32(by_image::forward(g, x, w, finish_f32(finish)));
    }
    let (image, pixels) = (g.c * g.h * g.w, g.pixels());
    let mut y = uninit::<T>(g.b * g.o * pixels);
    let set = if g.is_pointwise() { 1 } else { g.images() };
    let sets = g.b.div_ceil(set);
    let work = |(x, y): (&[T], &mut [T])| {
        let n = x.len() / image;
        let width = n * pixels;
        let mut unrolled;
        let cols: &[T] = if g.is_pointwise() {
            x
        } else {
            unrolled = uninit::<T>(g.rows() * width);
            for i in 0..n {
                unroll(g, &x[i * image..(i + 1) * image], &mut unrolled, width, i * pixels);
            }
            &unrolled
        };
        if n == 1 {
            weights_times_columns(g, w, cols, width, y, inner_threads(sets));
        } else {
            let mut side_by_side = uninit::<T>(g.o * width);
            weights_times_columns(g, w, cols, width, &mut side_by_side, inner_threads(sets));
            for (i, y) in y.chunks_mut(g.o * pixels).enumerate() {
                for (o, y) in y.chunks_mut(pixels).enumerate() {
                    y.copy_from_slice(&side_by_side[o * width + i * pixels..][..pixels]);
                }
            }
        }
    };
    x.par_chunks(set * image).zip(y.par_chunks_mut(set * g.o * pixels)).for_each(work);
    y.par_chunks_mut(pixels).enumerate().for_each(|(i, plane)| finish(i, plane));
    y
}

/// `out (o, width) = w (o, rows) · cols (rows, width)`, group by group.
fn weights_times_columns<T: Real>(
    g: &Geometry,
    w: &[T],
    cols: &[T],
    width: usize,
    out: &mut [T],
    threads: Threads,
) {
    let groups = g.conv.groups;
    let (outputs, rows) = (g.o / groups, g.rows() / groups);
    for k in 0..groups {
        product(
            &mut out[k * outputs * width..(k + 1) * outputs * width],
            width,
            false,
            View::rows(&w[k * outputs * rows..(k + 1) * outputs * rows], outputs, rows, rows),
            View::rows(&cols[k * rows * width..(k + 1) * rows * width], rows, width, width),
            threads,
        );
    }
}

/// `n` images `(n, o, pixels)` as one matrix `(o, n · pixels)`.
fn side_by_side<'a, T: Real>(g: &Geometry, y: &'a [T], room: &'a mut Vec<T>) -> &'a [T] {
    let pixels = g.pixels();
    let n = y.len() / (g.o * pixels);
    if n == 1 {
        return y;
    }
    let width = n * pixels;
    *room = uninit::<T>(g.o * width);
    for (i, y) in y.chunks(g.o * pixels).enumerate() {
        for (o, y) in y.chunks(pixels).enumerate() {
            room[o * width + i * pixels..][..pixels].copy_from_slice(y);
        }
    }
    room
}

pub(super) fn input_grad<T: Real>(g: &Geometry, dy: &[T], w: &[T], finish: Finish<'_, T>) -> Vec<T> {
    if let Some((dy, w)) = direct(dy, w) {
        return T::from_f32(by_image::input_grad(g, dy, w, finish_f32(finish)));
    }
    let (image, pixels, groups) = (g.c * g.h * g.w, g.pixels(), g.conv.groups);
    let (outputs, rows) = (g.o / groups, g.rows() / groups);
    let mut dx = uninit::<T>(g.b * image);
    let set = if g.is_pointwise() { 1 } else { g.images() };
    let sets = g.b.div_ceil(set);
    let work = |(dy, dx): (&[T], &mut [T])| {
        let n = dx.len() / image;
        let width = n * pixels;
        let mut room = Vec::new();
        let dy = side_by_side(g, dy, &mut room);
        let columns = |cols: &mut [T]| {
            for k in 0..groups {
                product(
                    &mut cols[k * rows * width..(k + 1) * rows * width],
                    width,
                    false,
                    View::rows(&w[k * outputs * rows..(k + 1) * outputs * rows], outputs, rows, rows).t(),
                    View::rows(&dy[k * outputs * width..(k + 1) * outputs * width], outputs, width, width),
                    inner_threads(sets),
                );
            }
        };
        if g.is_pointwise() {
            columns(dx);
        } else {
            let mut cols = uninit::<T>(g.rows() * width);
            columns(&mut cols);
            for (i, dx) in dx.chunks_mut(image).enumerate() {
                roll_up(g, &cols, width, i * pixels, dx);
            }
        }
    };
    dy.par_chunks(set * g.o * pixels).zip(dx.par_chunks_mut(set * image)).for_each(work);
    dx.par_chunks_mut(g.h * g.w).enumerate().for_each(|(i, plane)| finish(i, plane));
    dx
}

pub(super) fn weight_grad<T: Real>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<T> {
    if let Some((x, dy)) = direct(x, dy) {
        return T::from_f32(by_image::weight_grad(g, x, dy));
    }
    /// Partial sums: enough for many cores, few enough to stay cheap. Fixed, so that the bits are.
    const PARTS: usize = 16;
    let (image, pixels, groups) = (g.c * g.h * g.w, g.pixels(), g.conv.groups);
    let (outputs, rows) = (g.o / groups, g.rows() / groups);
    let set = g.images();
    let sets = g.b.div_ceil(set);
    let parts = sets.min(PARTS);
    let partial: Vec<Vec<T>> = (0..parts)
        .into_par_iter()
        .map(|p| {
            let mut dw = uninit::<T>(outputs * groups * rows);
            let mut fresh = true;
            let mut cols = Vec::new();
            for s in p * sets / parts..(p + 1) * sets / parts {
                let images = s * set..((s + 1) * set).min(g.b);
                let width = images.len() * pixels;
                let mut room = Vec::new();
                let dy =
                    side_by_side(g, &dy[images.start * g.o * pixels..images.end * g.o * pixels], &mut room);
                if cols.len() != g.rows() * width {
                    cols = uninit::<T>(g.rows() * width);
                }
                for (i, n) in images.enumerate() {
                    unroll(g, &x[n * image..(n + 1) * image], &mut cols, width, i * pixels);
                }
                for k in 0..groups {
                    product(
                        &mut dw[k * outputs * rows..(k + 1) * outputs * rows],
                        rows,
                        !fresh,
                        View::rows(
                            &dy[k * outputs * width..(k + 1) * outputs * width],
                            outputs,
                            width,
                            width,
                        ),
                        View::rows(&cols[k * rows * width..(k + 1) * rows * width], rows, width, width).t(),
                        inner_threads(parts),
                    );
                }
                fresh = false;
            }
            dw
        })
        .collect();
    let mut parts = partial.into_iter();
    let mut dw = parts.next().unwrap_or_default();
    for p in parts {
        add_rows(&mut dw, &p);
    }
    dw
}
