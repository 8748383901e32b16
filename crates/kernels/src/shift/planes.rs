//! Images as zero-padded planes, and where each entry of a kernel reads in them.

#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::conv::Geometry;

/// Slack behind every buffer: the last run may be read a full tile too far.
pub(super) const SLACK: usize = 16 * 8;

/// Zero-padded planes of one side of a convolution, and where each entry of the kernel reads.
pub(super) struct Planes {
    /// Planes per channel, down and across: the stride's phases.
    pub(super) phases: (usize, usize),
    /// Distance of neighbouring pixels of one plane in the image.
    pub(super) step: usize,
    /// Rows and columns of zeros before the image.
    pub(super) before: (usize, usize),
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Planes {
    pub(super) fn plane(&self) -> usize {
        self.rows * self.width
    }

    pub(super) fn len(&self, channels: usize) -> usize {
        channels * self.phases.0 * self.phases.1 * self.plane() + SLACK
    }

    /// Copies `(channels, h, w)` into the planes; what it leaves alone must be zero.
    pub(super) fn fill(&self, x: &[f32], h: usize, w: usize, out: &mut [f32]) {
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
pub(super) struct Rows {
    pub(super) start: usize,
    pub(super) stride: usize,
    pub(super) step: usize,
}

/// Copies `rows × columns` pixels, rows first to last; with `to.step = 1` up to 15 elements of `out` behind a row may
/// be set to zero. The rows are short: a call to memcpy for each would cost more than the copy.
pub(super) fn move_rows(x: &[f32], from: Rows, out: &mut [f32], to: Rows, rows: usize, columns: usize) {
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
pub(super) fn input_planes(g: &Geometry) -> Planes {
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
pub(super) struct Reads {
    pub(super) offsets: Vec<usize>,
    pub(super) furthest: usize,
}

impl Reads {
    pub(super) fn new(offsets: Vec<usize>) -> Self {
        let furthest = offsets.iter().max().copied().unwrap_or(0);
        Self { offsets, furthest }
    }
}

/// Where entry `(channel, ky, kx)` of the kernel reads.
pub(super) fn input_reads(g: &Geometry, planes: &Planes) -> Reads {
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
