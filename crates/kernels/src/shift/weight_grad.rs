//! The gradient by the weights: outer products of planes and output gradients, summed image by image.

use super::Scratch;
use super::loops::{outer, transpose};
use super::planes::{Planes, Reads, input_planes, input_reads};
use crate::conv::Geometry;

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
}
