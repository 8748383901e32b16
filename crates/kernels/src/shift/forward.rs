//! The convolution itself.

use super::Scratch;
use super::planes::{Planes, Reads, Rows, input_planes, input_reads};
use super::weights::{Weights, pack, run_length};
use crate::conv::Geometry;
use crate::support::uninit;

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
