//! Direct convolution for f32 on AVX2 and AVX-512: sums of shifted planes, without unrolled columns.
//!
//! ```text
//! y[o, q] = Σ_k w[o, k] · plane[offset_k + q]          q = oy · width + ox,  k = (channel, ky, kx)
//! ```
//! Images are copied once into zero-padded planes whose rows are as long as the output needs; then each entry k of
//! the kernel reads a contiguous run. A stride splits the image into phase planes, so runs stay contiguous; the
//! transposed convolution splits its output instead. The few columns at the end of each row that mix two rows are
//! computed and dropped; where there are outputs enough to fill vectors with them instead of pixels, there are none.
//! The sum over k is in one fixed order: bits depend on neither threads nor batch.
//!
//! Error in f32: at most K u Σ |w x| for K terms, u = 6e-8, the bound of any sum in order with fused products.

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use rayon::prelude::*;

use crate::conv::Geometry;
use crate::support::{fill_blocks, uninit};

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

/// Where each entry of a kernel reads for the first output, and the furthest of them.
struct Reads {
    offsets: Vec<usize>,
    furthest: usize,
}

impl Reads {
    fn new(offsets: Vec<usize>) -> Self {
        let furthest = offsets.iter().max().copied().unwrap_or(0);
        Self { offsets, furthest }
    }
}

/// Where entry `(channel, ky, kx)` of the kernel reads.
fn input_reads(g: &Geometry, planes: &Planes) -> Reads {
    let s = g.conv.stride;
    let channels = g.c / g.conv.groups;
    let mut offsets = Vec::with_capacity(channels * g.kh * g.kw);
    for c in 0..channels {
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let plane = (c * planes.phases.0 + ky % s) * planes.phases.1 + kx % s;
                offsets.push(plane * planes.plane() + ky / s * planes.width + kx / s);
            }
        }
    }
    Reads::new(offsets)
}

/// Weights in the order the inner loops read them.
enum Weights {
    /// For each tile of outputs, for each k, the tile's weights side by side: pixels fill the vectors.
    Tiles { data: Vec<f32>, tiles: Vec<Tile> },
    /// For each k, the weights of all outputs side by side, as many as `width` with zeros: outputs fill the vectors,
    /// so that none is wasted on the ends of short rows.
    Lanes { data: Vec<f32>, width: usize },
}

/// Some outputs that are computed together.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    count: usize,
    /// The count, rounded up to what the kernels serve.
    padded: usize,
    /// Where the weights begin.
    start: usize,
}

/// Outputs of two vectors, computed together.
const LANES: usize = 32;

/// Whether vectors of outputs are well filled, on a processor with enough registers.
fn outputs_fill_lanes(outputs: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::simd::level() == crate::simd::Level::Avx512 && 4 * outputs >= 3 * outputs.next_multiple_of(16)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = outputs;
        false
    }
}

/// `at(o, k)` is the weight of output o for entry k.
fn pack(outputs: usize, entries: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Weights {
    if outputs_fill_lanes(outputs) {
        let width = outputs.next_multiple_of(16);
        let mut data = vec![0.0; entries * width];
        fill_blocks(&mut data, (8 * 1024 / width + 1) * width, |start, data| {
            for (k, row) in data.chunks_exact_mut(width).enumerate() {
                for (o, w) in row.iter_mut().enumerate().take(outputs) {
                    *w = at(o, start / width + k);
                }
            }
        });
        return Weights::Lanes { data, width };
    }
    let mut tiles = Vec::new();
    let (mut first, mut start) = (0, 0);
    while first < outputs {
        let left = outputs - first;
        let (count, padded) = match left {
            1 => (1, 1),
            2..=4 => (left, 4),
            _ => (left.min(8), 8),
        };
        tiles.push(Tile { first, count, padded, start });
        start += entries * padded;
        first += count;
    }
    let mut data = vec![0.0; start];
    // All tiles but the last are eight outputs wide.
    let wide = (8 * entries).max(1);
    data.par_chunks_mut(wide).zip(&tiles).with_min_len(32 * 1024 / wide + 1).for_each(|(data, tile)| {
        for o in 0..tile.count {
            for (k, w) in data.iter_mut().skip(o).step_by(tile.padded).enumerate() {
                *w = at(tile.first + o, k);
            }
        }
    });
    Weights::Tiles { data, tiles }
}

impl Weights {
    /// All outputs of one image: output i, of `size` rows and columns, goes to `to` within plane i of `out`, planes
    /// `plane` long. `row` is the distance of the rows in `x`; `runs` is [`run_length`] long.
    #[allow(clippy::too_many_arguments)]
    fn apply(
        &self,
        x: &[f32],
        reads: &Reads,
        row: usize,
        size: (usize, usize),
        out: &mut [f32],
        plane: usize,
        to: Rows,
        runs: &mut [f32],
    ) {
        if reads.offsets.is_empty() {
            return; // A phase that no entry of the kernel reaches stays zero.
        }
        let (height, width) = size;
        match self {
            Self::Tiles { data, tiles } => {
                let len = (height - 1) * row + width;
                let stride = len.next_multiple_of(16);
                let from = Rows { start: 0, stride: row, step: 1 };
                for t in tiles {
                    let weights = &data[t.start..][..reads.offsets.len() * t.padded];
                    tile(x, reads, weights, t.padded, len, runs, stride);
                    for i in 0..t.count {
                        let out = &mut out[(t.first + i) * plane..][..plane];
                        move_rows(&runs[i * stride..(i + 1) * stride], from, out, to, height, width);
                    }
                }
            }
            Self::Lanes { data, width: ahead } => {
                let pixels = height * width;
                let outputs = out.len() / plane;
                let (runs, turned) = runs.split_at_mut(pixels * LANES);
                for first in (0..outputs).step_by(LANES) {
                    let count = (outputs - first).min(LANES);
                    let wide = count.next_multiple_of(16);
                    lanes(x, reads, row, &data[first..], *ahead, size, &mut runs[..pixels * wide], wide);
                    let out = &mut out[first * plane..(first + count) * plane];
                    if to.step == 1 {
                        // The whole plane: rows follow each other.
                        transpose(runs, wide, (pixels, count), out, plane);
                        continue;
                    }
                    transpose(runs, wide, (pixels, count), turned, pixels);
                    let from = Rows { start: 0, stride: width, step: 1 };
                    for (out, turned) in out.chunks_exact_mut(plane).zip(turned.chunks_exact(pixels)) {
                        move_rows(turned, from, out, to, height, width);
                    }
                }
            }
        }
    }
}

/// Room that [`Weights::apply`] needs.
fn run_length(row: usize, (height, width): (usize, usize)) -> usize {
    let tiles = 8 * ((height.max(1) - 1) * row + width).next_multiple_of(16);
    tiles.max(2 * LANES * height * width)
}

/// `out[q · wide + o] = Σ_k w[k · ahead + o] · x[offsets[k] + oy · row + ox]` for o < wide, 16 or 32, and q = oy · ow + ox.
#[allow(clippy::too_many_arguments)]
fn lanes(
    x: &[f32],
    reads: &Reads,
    row: usize,
    w: &[f32],
    ahead: usize,
    (oh, ow): (usize, usize),
    out: &mut [f32],
    wide: usize,
) {
    assert!(reads.furthest + (oh.max(1) - 1) * row + ow <= x.len() && matches!(wide, 16 | LANES));
    assert!(
        out.len() == oh * ow * wide && (reads.offsets.len().max(1) - 1) * ahead + wide <= w.len().max(wide)
    );
    #[cfg(target_arch = "x86_64")]
    // SAFETY: such weights exist only where the features were found; all ranges were checked above.
    unsafe {
        x86::lanes_avx512(x, &reads.offsets, row, w, ahead, (oh, ow), out, wide);
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("such weights are not packed here");
}

/// `out[j · out_stride + i] = x[i · stride + j]` for i < rows and j < columns.
fn transpose(x: &[f32], stride: usize, (rows, columns): (usize, usize), out: &mut [f32], out_stride: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * stride + columns <= x.len() && (columns - 1) * out_stride + rows <= out.len());
    #[cfg(target_arch = "x86_64")]
    if crate::simd::level() == crate::simd::Level::Avx512 {
        // SAFETY: the features exist, and both ranges were checked above.
        unsafe { x86::transpose_avx512(x, stride, (rows, columns), out, out_stride) };
        return;
    }
    for i in 0..rows {
        for j in 0..columns {
            out[j * out_stride + i] = x[i * stride + j];
        }
    }
}

/// `out[i · stride + q] = Σ_k w[k, i] · x[offsets[k] + q]` for one tile of outputs and all `q < len`.
/// `out` has room for `padded` rows of `stride ≥ len` rounded up to 16.
fn tile(x: &[f32], reads: &Reads, w: &[f32], padded: usize, len: usize, out: &mut [f32], stride: usize) {
    assert!(reads.furthest + len.next_multiple_of(16) <= x.len() && w.len() == reads.offsets.len() * padded);
    assert!(stride >= len.next_multiple_of(16) && out.len() >= padded * stride);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `available` was checked by the callers, so the features exist; all reads lie below the end of x, checked
    // above, and all writes within `padded` rows of `stride` elements.
    unsafe {
        match crate::simd::level() {
            crate::simd::Level::Avx512 => x86::tile_avx512(x, &reads.offsets, w, padded, len, out, stride),
            _ => x86::tile_avx2(x, &reads.offsets, w, padded, len, out, stride),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("`available` is false here");
}

/// `acc[k · width + o] += Σ_q x[offsets[k] + oy · row + ox] · dy[q · width + o]` with `q = oy · ow + ox`.
fn outer(
    x: &[f32],
    reads: &Reads,
    row: usize,
    dy: &[f32],
    (oh, ow): (usize, usize),
    acc: &mut [f32],
    width: usize,
) {
    assert!(reads.furthest + (oh.max(1) - 1) * row + ow <= x.len() && dy.len() == oh * ow * width);
    assert!(acc.len() == reads.offsets.len() * width && width.is_multiple_of(16));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `tile`: features present, reads within x and dy, writes within acc.
    unsafe {
        match crate::simd::level() {
            crate::simd::Level::Avx512 => x86::outer_avx512(x, &reads.offsets, row, dy, (oh, ow), acc, width),
            _ => x86::outer_avx2(x, &reads.offsets, row, dy, (oh, ow), acc, width),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("`available` is false here");
}

/// Room for one image at a time: its planes, and the runs of one tile or the output turned round.
pub(crate) struct Scratch {
    planes: Vec<f32>,
    runs: Vec<f32>,
}

/// A convolution with packed weights, to be applied image by image.
pub(crate) struct Forward {
    g: Geometry,
    planes: Planes,
    reads: Reads,
    weights: Vec<Weights>,
}

impl Forward {
    /// `w (o, c / groups, kh, kw)`.
    pub(crate) fn new(g: &Geometry, w: &[f32]) -> Self {
        let outputs = g.o / g.conv.groups;
        let planes = input_planes(g);
        let reads = input_reads(g, &planes);
        let entries = reads.offsets.len();
        let weights = (0..g.conv.groups)
            .map(|k| pack(outputs, entries, |o, e| w[(k * outputs + o) * entries + e]))
            .collect();
        Self { g: *g, planes, reads, weights }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let channels = self.g.c / self.g.conv.groups;
        let runs = uninit(run_length(self.planes.width, (self.g.oh, self.g.ow)));
        Scratch { planes: vec![0.0; self.planes.len(channels)], runs }
    }

    /// `y (o, oh, ow)` of one image `x (c, h, w)`; `finish(o, plane)` sees each output while it is in cache.
    pub(crate) fn image(
        &self,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut Scratch,
        finish: impl Fn(usize, &mut [f32]),
    ) {
        let g = &self.g;
        let (outputs, plane) = (g.o / g.conv.groups, g.oh * g.ow);
        let part = x.len() / g.conv.groups;
        let to = Rows { start: 0, stride: g.ow, step: 1 };
        for (k, weights) in self.weights.iter().enumerate() {
            self.planes.fill(&x[k * part..(k + 1) * part], g.h, g.w, &mut scratch.planes);
            let y = &mut y[k * outputs * plane..(k + 1) * outputs * plane];
            let (row, size) = (self.planes.width, (g.oh, g.ow));
            weights.apply(&scratch.planes, &self.reads, row, size, y, plane, to, &mut scratch.runs);
            for (o, y) in y.chunks_exact_mut(plane).enumerate() {
                finish(k * outputs + o, y);
            }
        }
    }
}

/// `y (b, o, oh, ow)` of `x (b, c, h, w)`, `w (o, c / groups, kh, kw)`; `finish(b · o, plane)` as in [`Forward::image`].
pub(crate) fn forward(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let conv = Forward::new(g, w);
    let (image, out) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
    let mut y = uninit::<f32>(g.b * out);
    y.par_chunks_mut(out).zip(x.par_chunks(image)).enumerate().for_each_init(
        || conv.scratch(),
        |scratch, (n, (y, x))| conv.image(x, y, scratch, |o, plane| finish(n * g.o + o, plane)),
    );
    y
}

/// One phase of the output of a transposed convolution.
struct Phase {
    /// First row and column of the phase in the image.
    start: (usize, usize),
    /// Rows and columns of the phase.
    size: (usize, usize),
    reads: Reads,
    weights: Vec<Weights>,
}

/// A transposed convolution with packed weights, to be applied image by image.
pub(crate) struct InputGrad {
    g: Geometry,
    planes: Planes,
    phases: Vec<Phase>,
}

impl InputGrad {
    /// `w (o, c / groups, kh, kw)`.
    pub(crate) fn new(g: &Geometry, w: &[f32]) -> Self {
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
                            let column = (left as isize + dx) as usize;
                            offsets.push(o * planes.plane() + row * planes.width + column);
                            source.push(o * channels * g.kh * g.kw + ky * g.kw + kx);
                        }
                    }
                }
                let weights = (0..groups)
                    .map(|k| {
                        let w = &w[k * outputs * channels * g.kh * g.kw..];
                        pack(channels, offsets.len(), |c, e| w[source[e] + c * g.kh * g.kw])
                    })
                    .collect();
                let size = ((g.h - ry).div_ceil(s as usize), (g.w - rx).div_ceil(s as usize));
                phases.push(Phase { start: (ry, rx), size, reads: Reads::new(offsets), weights });
            }
        }
        Self { g: *g, planes, phases }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let outputs = self.g.o / self.g.conv.groups;
        let longest = self.phases.iter().map(|f| run_length(self.planes.width, f.size)).max().unwrap_or(0);
        Scratch { planes: vec![0.0; self.planes.len(outputs)], runs: uninit(longest) }
    }

    /// `dx (c, h, w)` of one image's `dy (o, oh, ow)`; `finish(c, plane)` sees each plane when it is done.
    pub(crate) fn image(
        &self,
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut Scratch,
        finish: impl Fn(usize, &mut [f32]),
    ) {
        let g = &self.g;
        let (channels, pixels, s) = (g.c / g.conv.groups, g.h * g.w, g.conv.stride);
        let part = dy.len() / g.conv.groups;
        if s > 1 {
            // Where phases interleave each reads what the others wrote.
            dx.fill(0.0);
        }
        for k in 0..g.conv.groups {
            self.planes.fill(&dy[k * part..(k + 1) * part], g.oh, g.ow, &mut scratch.planes);
            for Phase { start: (ry, rx), size, reads, weights } in &self.phases {
                let to = Rows { start: ry * g.w + rx, stride: s * g.w, step: s };
                let dx = &mut dx[k * channels * pixels..(k + 1) * channels * pixels];
                let row = self.planes.width;
                weights[k].apply(&scratch.planes, reads, row, *size, dx, pixels, to, &mut scratch.runs);
            }
            for c in k * channels..(k + 1) * channels {
                finish(c, &mut dx[c * pixels..(c + 1) * pixels]);
            }
        }
    }
}

/// `dx (b, c, h, w)` of `dy (b, o, oh, ow)`, `w (o, c / groups, kh, kw)`; `finish(b · c, plane)`.
pub(crate) fn input_grad(
    g: &Geometry,
    dy: &[f32],
    w: &[f32],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let conv = InputGrad::new(g, w);
    let (image, out) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
    let mut dx = uninit::<f32>(g.b * image);
    dx.par_chunks_mut(image).zip(dy.par_chunks(out)).enumerate().for_each_init(
        || conv.scratch(),
        |scratch, (n, (dx, dy))| conv.image(dy, dx, scratch, |c, plane| finish(n * g.c + c, plane)),
    );
    dx
}

/// Partial sums of weight gradients over sets of images: fixed, so that the bits are.
const PARTS: usize = 16;

/// The sets of images of the partial sums, at most [`PARTS`].
pub(crate) fn image_sets(images: usize) -> Vec<std::ops::Range<usize>> {
    let parts = images.min(PARTS);
    (0..parts).map(|p| p * images / parts..(p + 1) * images / parts).collect()
}

/// Sums weight gradients image by image.
pub(crate) struct WeightGrad {
    g: Geometry,
    planes: Planes,
    reads: Reads,
    /// Outputs of a group, rounded up.
    width: usize,
}

impl WeightGrad {
    pub(crate) fn new(g: &Geometry) -> Self {
        let planes = input_planes(g);
        let reads = input_reads(g, &planes);
        Self { g: *g, planes, reads, width: (g.o / g.conv.groups).next_multiple_of(16) }
    }

    /// Length of a sum; it starts at zero.
    pub(crate) fn len(&self) -> usize {
        self.g.conv.groups * self.reads.offsets.len() * self.width
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let channels = self.g.c / self.g.conv.groups;
        Scratch {
            planes: vec![0.0; self.planes.len(channels)],
            runs: vec![0.0; self.g.oh * self.g.ow * self.width],
        }
    }

    /// Adds the share of one image `x (c, h, w)` with the output's gradient `dy (o, oh, ow)`.
    pub(crate) fn image(&self, x: &[f32], dy: &[f32], sum: &mut [f32], scratch: &mut Scratch) {
        let g = &self.g;
        let (image, out) = (x.len() / g.conv.groups, dy.len() / g.conv.groups);
        for (k, sum) in sum.chunks_exact_mut(self.reads.offsets.len() * self.width).enumerate() {
            self.planes.fill(&x[k * image..(k + 1) * image], g.h, g.w, &mut scratch.planes);
            // Columns beyond the outputs stay zero.
            let (size, pixels) = ((g.oh, g.ow), g.oh * g.ow);
            transpose(
                &dy[k * out..(k + 1) * out],
                pixels,
                (out / pixels, pixels),
                &mut scratch.runs,
                self.width,
            );
            outer(&scratch.planes, &self.reads, self.planes.width, &scratch.runs, size, sum, self.width);
        }
    }

    /// The parts summed in order, as `dw (o, c / groups, kh, kw)`.
    pub(crate) fn total<'a>(&self, mut parts: impl Iterator<Item = &'a [f32]>, dw: &mut [f32]) {
        let Some(first) = parts.next() else { return dw.fill(0.0) };
        let mut total = first.to_vec();
        for part in parts {
            crate::reduce::add_rows(&mut total, part);
        }
        let (outputs, entries) = (self.g.o / self.g.conv.groups, self.reads.offsets.len());
        for (dw, total) in
            dw.chunks_exact_mut(outputs * entries).zip(total.chunks_exact(entries * self.width))
        {
            for (o, dw) in dw.chunks_exact_mut(entries).enumerate() {
                for (dw, total) in dw.iter_mut().zip(total.chunks_exact(self.width)) {
                    *dw = total[o];
                }
            }
        }
    }
}

/// `dw (o, c / groups, kh, kw)` of `x (b, c, h, w)`, `dy (b, o, oh, ow)`.
pub(crate) fn weight_grad(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let conv = WeightGrad::new(g);
    let (image, out) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
    let sets = image_sets(g.b);
    let mut sums = vec![0f32; sets.len() * conv.len()];
    sums.par_chunks_mut(conv.len()).zip(sets).for_each(|(sum, images)| {
        let mut scratch = conv.scratch();
        for n in images {
            conv.image(&x[n * image..][..image], &dy[n * out..][..out], sum, &mut scratch);
        }
    });
    let mut dw = uninit::<f32>(g.o * conv.reads.offsets.len());
    conv.total(sums.chunks_exact(conv.len()), &mut dw);
    dw
}
