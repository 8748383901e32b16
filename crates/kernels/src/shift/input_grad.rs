//! The transposed convolution: the gradient by the input, phase by phase of a stride.

use super::Scratch;
use super::planes::{Planes, Reads, Rows};
use super::weights::{Weights, pack, run_length};
use crate::conv::Geometry;
use crate::support::uninit;

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
