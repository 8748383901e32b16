//! Direct convolution for f32 on AVX2 and AVX-512: sums of shifted planes, without unrolled columns.
//!
//! ```text
//! y[o, q] = Σ_k w[o, k] · plane[offset_k + q]          q = oy · width + ox,  k = (channel, ky, kx)
//! ```
//! Images are copied once into zero-padded planes whose rows are as long as the output needs; then each entry k of
//! the kernel reads a contiguous run. A stride splits the image into phase planes, so runs stay contiguous; the
//! transposed convolution splits its output instead. The few columns at the end of each row that mix two rows are
//! computed and dropped. The sum over k is in one fixed order: bits depend on neither threads nor batch.

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use rayon::prelude::*;

use crate::conv::Geometry;
use crate::support::{Shared, uninit};

/// Whether this processor has the vectors for it.
pub(crate) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::simd::level() != crate::simd::Level::Baseline
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Slack behind every buffer: the last run may be read a full tile too far.
const SLACK: usize = 16 * 8;

/// Zero-padded planes of one side of a convolution, and where each entry of the kernel reads.
struct Planes {
    /// Planes per channel, down and across: the stride's phases.
    phases: (usize, usize),
    /// Distance of neighbouring pixels of one plane in the image.
    step: usize,
    /// Rows and columns of zeros before the image.
    before: (usize, usize),
    rows: usize,
    width: usize,
}

impl Planes {
    fn plane(&self) -> usize {
        self.rows * self.width
    }

    fn len(&self, channels: usize) -> usize {
        channels * self.phases.0 * self.phases.1 * self.plane() + SLACK
    }

    /// Copies `(channels, h, w)` into the planes; what it leaves alone must be zero.
    fn fill(&self, x: &[f32], h: usize, w: usize, out: &mut [f32]) {
        let step = self.step;
        let mut planes = out.chunks_exact_mut(self.plane());
        for image in x.chunks_exact(h * w) {
            for py in 0..self.phases.0 {
                for px in 0..self.phases.1 {
                    let Some(plane) = planes.next() else { return };
                    // Plane row a is image row a · step + py − before.
                    let first = self.before.0.saturating_sub(py).div_ceil(step);
                    let left = self.before.1.saturating_sub(px).div_ceil(step);
                    let (y0, x0) = (first * step + py, left * step + px);
                    let inside = first < self.rows && left < self.width;
                    if !inside || y0 >= h + self.before.0 || x0 >= w + self.before.1 {
                        continue;
                    }
                    let (y0, x0) = (y0 - self.before.0, x0 - self.before.1);
                    let rows = (self.rows - first).min((h - y0).div_ceil(step));
                    let columns = (self.width - left).min((w - x0).div_ceil(step));
                    let from = Rows { start: y0 * w + x0, stride: step * w, step };
                    let to = Rows { start: first * self.width + left, stride: self.width, step: 1 };
                    move_rows(image, from, plane, to, rows, columns);
                }
            }
        }
    }
}

/// Some pixels of a buffer: row i, column j at `start + i · stride + j · step`.
#[derive(Clone, Copy)]
struct Rows {
    start: usize,
    stride: usize,
    step: usize,
}

/// Copies `rows × columns` pixels, rows first to last; with `to.step = 1` up to 15 elements of `out` behind a row may
/// be set to zero. The rows are short: a call to memcpy for each would cost more than the copy.
fn move_rows(x: &[f32], from: Rows, out: &mut [f32], to: Rows, rows: usize, columns: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    let last = |r: Rows| r.start + (rows - 1) * r.stride + (columns - 1) * r.step;
    assert!(last(from) < x.len() && last(to) < out.len(), "rows out of bounds");
    #[cfg(target_arch = "x86_64")]
    if crate::simd::level() == crate::simd::Level::Avx512 && from.step * to.step <= 2 {
        // SAFETY: the features exist, and the last element of either side was checked; masks keep to it.
        unsafe { x86::move_rows_avx512(x, from, out, to, rows, columns) };
        return;
    }
    for i in 0..rows {
        let x = &x[from.start + i * from.stride..];
        let out = &mut out[to.start + i * to.stride..];
        for (o, v) in out.iter_mut().step_by(to.step).zip(x.iter().step_by(from.step)).take(columns) {
            *o = *v;
        }
    }
}

/// The planes of the input of a convolution, shared by forward pass and weight gradient.
fn input_planes(g: &Geometry) -> Planes {
    let s = g.conv.stride;
    Planes {
        phases: (s.min(g.kh), s.min(g.kw)),
        step: s,
        before: (g.conv.padding, g.conv.padding),
        rows: g.oh + (g.kh - 1) / s,
        width: g.ow + (g.kw - 1) / s,
    }
}

/// Where entry `(channel, ky, kx)` of the kernel reads for the first output.
fn input_offsets(g: &Geometry, planes: &Planes, channels: usize) -> Vec<usize> {
    let s = g.conv.stride;
    let mut offsets = Vec::with_capacity(channels * g.kh * g.kw);
    for c in 0..channels {
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let plane = (c * planes.phases.0 + ky % s) * planes.phases.1 + kx % s;
                offsets.push(plane * planes.plane() + ky / s * planes.width + kx / s);
            }
        }
    }
    offsets
}

/// Weights in the order the tiles read them: for each tile of outputs, for each k, the tile's weights side by side.
struct Packed {
    data: Vec<f32>,
    /// First output, number of outputs and padded number of each tile, and where its weights begin.
    tiles: Vec<(usize, usize, usize, usize)>,
}

/// `at(o, k)` is the weight of output o for entry k.
fn pack(outputs: usize, entries: usize, at: impl Fn(usize, usize) -> f32) -> Packed {
    let mut data = Vec::with_capacity(outputs.next_multiple_of(8) * entries);
    let mut tiles = Vec::new();
    let mut first = 0;
    while first < outputs {
        let left = outputs - first;
        let (count, padded) = match left {
            1 => (1, 1),
            2..=4 => (left, 4),
            _ => (left.min(8), 8),
        };
        tiles.push((first, count, padded, data.len()));
        let start = data.len();
        data.resize(start + entries * padded, 0.0);
        let tile = &mut data[start..];
        for i in 0..count {
            for (k, w) in tile.iter_mut().skip(i).step_by(padded).enumerate() {
                *w = at(first + i, k);
            }
        }
        first += count;
    }
    Packed { data, tiles }
}

/// `out[i · stride + q] = Σ_k w[k, i] · x[offsets[k] + q]` for one tile of outputs and all `q < len`.
/// `out` has room for `padded` rows of `stride ≥ len` rounded up to 16.
fn tile(x: &[f32], offsets: &[usize], w: &[f32], padded: usize, len: usize, out: &mut [f32], stride: usize) {
    let reach = offsets.iter().max().map_or(0, |m| m + len.next_multiple_of(16));
    assert!(reach <= x.len() && w.len() == offsets.len() * padded);
    assert!(stride >= len.next_multiple_of(16) && out.len() >= padded * stride);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `available` was checked by the callers, so the features exist; all reads lie below `reach`, checked
    // above, and all writes within `padded` rows of `stride` elements.
    unsafe {
        match crate::simd::level() {
            crate::simd::Level::Avx512 => x86::tile_avx512(x, offsets, w, padded, len, out, stride),
            _ => x86::tile_avx2(x, offsets, w, padded, len, out, stride),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("`available` is false here");
}

/// `acc[k · width + o] += Σ_q x[offsets[k] + oy · row + ox] · dy[q · width + o]` with `q = oy · ow + ox`.
fn outer(
    x: &[f32],
    offsets: &[usize],
    row: usize,
    dy: &[f32],
    (oh, ow): (usize, usize),
    acc: &mut [f32],
    width: usize,
) {
    let reach = offsets.iter().max().map_or(0, |m| m + (oh.max(1) - 1) * row + ow);
    assert!(reach <= x.len() && dy.len() == oh * ow * width);
    assert!(acc.len() == offsets.len() * width && width.is_multiple_of(16));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `tile`: features present, reads below `reach` and within dy, writes within acc.
    unsafe {
        match crate::simd::level() {
            crate::simd::Level::Avx512 => x86::outer_avx512(x, offsets, row, dy, (oh, ow), acc, width),
            _ => x86::outer_avx2(x, offsets, row, dy, (oh, ow), acc, width),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("`available` is false here");
}

/// `y (b, o, oh, ow)` of `x (b, c, h, w)`, `w (o, c / groups, kh, kw)`.
pub(crate) fn forward(g: &Geometry, x: &[f32], w: &[f32]) -> Vec<f32> {
    let groups = g.conv.groups;
    let (outputs, channels) = (g.o / groups, g.c / groups);
    let planes = input_planes(g);
    let offsets = input_offsets(g, &planes, channels);
    let entries = offsets.len();
    let packed: Vec<Packed> =
        (0..groups).map(|k| pack(outputs, entries, |o, e| w[(k * outputs + o) * entries + e])).collect();
    let len = (g.oh - 1) * planes.width + g.ow;
    let stride = len.next_multiple_of(16);
    let (image, plane) = (channels * g.h * g.w, g.oh * g.ow);
    let mut y = uninit::<f32>(g.b * g.o * plane);
    y.par_chunks_mut(g.o * plane).zip(x.par_chunks(groups * image)).for_each_init(
        || (vec![0.0; planes.len(channels)], uninit::<f32>(8 * stride)),
        |(buffer, rows), (y, x)| {
            for (k, packed) in packed.iter().enumerate() {
                planes.fill(&x[k * image..(k + 1) * image], g.h, g.w, buffer);
                for &(first, count, padded, start) in &packed.tiles {
                    let weights = &packed.data[start..start + entries * padded];
                    tile(buffer, &offsets, weights, padded, len, rows, stride);
                    for i in 0..count {
                        let y = &mut y[(k * outputs + first + i) * plane..][..plane];
                        let row = &rows[i * stride..(i + 1) * stride];
                        if planes.width == g.ow {
                            y.copy_from_slice(&row[..plane]);
                        } else {
                            let from = Rows { start: 0, stride: planes.width, step: 1 };
                            let to = Rows { start: 0, stride: g.ow, step: 1 };
                            move_rows(row, from, y, to, g.oh, g.ow);
                        }
                    }
                }
            }
        },
    );
    y
}

/// One phase of the output of a transposed convolution.
struct Phase {
    /// First row and column of the phase in the image.
    start: (usize, usize),
    /// Rows and columns of the phase.
    size: (usize, usize),
    offsets: Vec<usize>,
    packed: Vec<Packed>,
}

/// `dx (b, c, h, w)` of `dy (b, o, oh, ow)`, `w (o, c / groups, kh, kw)`.
pub(crate) fn input_grad(g: &Geometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let (s, p, groups) = (g.conv.stride as isize, g.conv.padding as isize, g.conv.groups);
    let (outputs, channels) = (g.o / groups, g.c / groups);
    // Image row a·s + r takes output row a + d from kernel row k where r + p − k = d·s.
    let before = |k: usize| (-(p - (k as isize - 1)).div_euclid(s)).max(0) as usize;
    let after = ((s - 1 + p) / s) as usize;
    let (top, left) = (before(g.kh), before(g.kw));
    let planes = Planes {
        phases: (1, 1),
        step: 1,
        before: (top, left),
        rows: g.h.div_ceil(s as usize) + after + top,
        width: g.w.div_ceil(s as usize) + after + left,
    };
    let taps = |r: usize, k: usize| -> Vec<(usize, isize)> {
        (0..k)
            .filter_map(|tap| {
                let d = r as isize + p - tap as isize;
                (d.rem_euclid(s) == 0).then(|| (tap, d.div_euclid(s)))
            })
            .collect()
    };
    let mut phases = Vec::new();
    for ry in 0..(s as usize).min(g.h) {
        for rx in 0..(s as usize).min(g.w) {
            let (ys, xs) = (taps(ry, g.kh), taps(rx, g.kw));
            let mut offsets = Vec::new();
            let mut source = Vec::new();
            for o in 0..outputs {
                for &(ky, dy) in &ys {
                    for &(kx, dx) in &xs {
                        let row = (top as isize + dy) as usize;
                        offsets.push(o * planes.plane() + row * planes.width + (left as isize + dx) as usize);
                        source.push((o, ky * g.kw + kx));
                    }
                }
            }
            let packed = (0..groups)
                .map(|k| {
                    pack(channels, offsets.len(), |c, e| {
                        let (o, tap) = source[e];
                        w[((k * outputs + o) * channels + c) * g.kh * g.kw + tap]
                    })
                })
                .collect();
            let size = ((g.h - ry).div_ceil(s as usize), (g.w - rx).div_ceil(s as usize));
            phases.push(Phase { start: (ry, rx), size, offsets, packed });
        }
    }
    let longest = phases.iter().map(|f| (f.size.0 - 1) * planes.width + f.size.1).max().unwrap_or(0);
    let stride = longest.next_multiple_of(16);
    let (image, pixels) = (outputs * g.oh * g.ow, g.h * g.w);
    // Zeros where phases interleave: each reads what the others wrote.
    let mut x = if s > 1 { vec![0.0; g.b * g.c * pixels] } else { uninit::<f32>(g.b * g.c * pixels) };
    x.par_chunks_mut(g.c * pixels).zip(dy.par_chunks(groups * image)).for_each_init(
        || (vec![0.0; planes.len(outputs)], uninit::<f32>(8 * stride)),
        |(buffer, rows), (x, dy)| {
            for k in 0..groups {
                planes.fill(&dy[k * image..(k + 1) * image], g.oh, g.ow, buffer);
                for phase in &phases {
                    let (height, width) = phase.size;
                    let len = (height - 1) * planes.width + width;
                    for &(first, count, padded, start) in &phase.packed[k].tiles {
                        let weights = &phase.packed[k].data[start..start + phase.offsets.len() * padded];
                        tile(buffer, &phase.offsets, weights, padded, len, rows, stride);
                        for i in 0..count {
                            let x = &mut x[(k * channels + first + i) * pixels..][..pixels];
                            let from = Rows { start: i * stride, stride: planes.width, step: 1 };
                            let (ry, rx) = phase.start;
                            let s = s as usize;
                            let to = Rows { start: ry * g.w + rx, stride: s * g.w, step: s };
                            move_rows(rows, from, x, to, height, width);
                        }
                    }
                }
            }
        },
    );
    x
}

/// `dw (o, c / groups, kh, kw)` of `x (b, c, h, w)`, `dy (b, o, oh, ow)`.
pub(crate) fn weight_grad(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    /// Partial sums over sets of images: fixed, so that the bits are.
    const PARTS: usize = 16;
    let groups = g.conv.groups;
    let (outputs, channels) = (g.o / groups, g.c / groups);
    let planes = input_planes(g);
    let offsets = input_offsets(g, &planes, channels);
    let entries = offsets.len();
    let width = outputs.next_multiple_of(16);
    let (image, pixels) = (channels * g.h * g.w, g.oh * g.ow);
    let parts = g.b.min(PARTS);
    let mut sums = vec![0f32; parts * groups * entries * width];
    sums.par_chunks_mut(groups * entries * width).enumerate().for_each(|(part, acc)| {
        let mut buffer = vec![0.0; planes.len(channels)];
        let mut turned = vec![0.0; pixels * width];
        for n in part * g.b / parts..(part + 1) * g.b / parts {
            for (k, acc) in acc.chunks_exact_mut(entries * width).enumerate() {
                planes.fill(&x[(n * groups + k) * image..][..image], g.h, g.w, &mut buffer);
                turn(
                    &dy[(n * groups + k) * outputs * pixels..][..outputs * pixels],
                    pixels,
                    width,
                    &mut turned,
                );
                outer(&buffer, &offsets, planes.width, &turned, (g.oh, g.ow), acc, width);
            }
        }
    });
    // Sum the parts in order, and turn (k, o) into (o, k).
    let mut dw = uninit::<f32>(g.o * entries);
    let out = Shared::new(&mut dw);
    (0..groups).for_each(|k| {
        let total: Vec<f32> = {
            let (first, rest) = sums.split_at(groups * entries * width);
            let at = k * entries * width..(k + 1) * entries * width;
            let mut total = first[at.clone()].to_vec();
            for part in rest.chunks_exact(groups * entries * width) {
                crate::reduce::add_rows(&mut total, &part[at.clone()]);
            }
            total
        };
        // SAFETY: group k owns its outputs' rows.
        let out = unsafe { out.part(k * outputs * entries, outputs * entries) };
        for o in 0..outputs {
            for e in 0..entries {
                out[o * entries + e] = total[e * width + o];
            }
        }
    });
    dw
}

/// `(outputs, pixels)` to `(pixels, width)`; columns beyond the outputs stay as they are.
fn turn(dy: &[f32], pixels: usize, width: usize, out: &mut [f32]) {
    for (block, rows) in dy.chunks(16 * pixels).enumerate() {
        let count = rows.len() / pixels;
        for q in 0..pixels {
            let out = &mut out[q * width + block * 16..][..count];
            for (i, o) in out.iter_mut().enumerate() {
                *o = rows[i * pixels + q];
            }
        }
    }
}
