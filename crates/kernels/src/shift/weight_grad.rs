//! The gradient by the weights: outer products of planes and output gradients, summed image by image.

use rayon::prelude::*;

use super::Scratch;
use super::loops::{outer, transpose};
use super::planes::{Planes, Reads, input_planes, input_reads};
use crate::conv::Geometry;
use crate::support::uninit;

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
