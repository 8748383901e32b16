//! The gradient by the kernel: products of transformed tiles of images and output gradients, summed tile by tile.

use super::image::Padded;
use super::loops::{Pixels, Strip, enter, outer, spread};
use super::weights::{Shrink, plane};
use super::{Line, Scratch, TILES, strip_rows, unwritten};
use crate::conv::Geometry;
use crate::simd::dispatch;

/// Sums gradients of kernels image by image.
pub(crate) struct WeightGrad {
    input: Padded,
    output: Padded,
    tiles: (usize, usize),
    kernel: usize,
    channels: usize,
}

impl WeightGrad {
    pub(crate) fn new(g: &Geometry) -> Self {
        let tiles = (g.oh.div_ceil(2), g.ow.div_ceil(2));
        let (rows, columns) = (2 * tiles.0, 2 * tiles.1);
        let around = Pixels { rows: rows + g.kh - 1, columns: columns + 2 };
        let padding = (g.conv.padding, g.conv.padding);
        Self {
            input: Padded::new(g.c, (g.h, g.w), padding, around),
            output: Padded::new(g.o, (g.oh, g.ow), (0, 0), Pixels { rows, columns }),
            tiles,
            kernel: g.kh,
            channels: g.c,
        }
    }

    /// A strip of the input and one of the output, among as many tiles as are worked on together.
    fn strips(&self, first: usize, rows: usize, at: usize) -> (Strip, Strip) {
        let across = self.tiles.1;
        let places = (strip_rows(self.tiles) * across).max(TILES);
        let strip = |blocks| Strip { first, rows, across, blocks, at, places };
        (strip(self.input.blocks()), strip(self.output.blocks()))
    }

    /// For the sum over some images.
    pub(crate) fn scratch(&self) -> Scratch {
        let (from, of) = self.strips(0, 1, 0);
        let rows = self.kernel + 1;
        Scratch {
            images: [vec![Line::ZERO; self.input.len()], vec![Line::ZERO; self.output.len()]],
            strips: [unwritten(from.len(rows)), unwritten(of.len(rows))],
            rest: unwritten(4 * rows * plane(self.channels, of.blocks)),
            waiting: 0,
            begun: false,
        }
    }

    /// Adds the share of one image `x (c, h, w)` with the output's gradient `dy (o, oh, ow)` to the sum in `scratch`.
    pub(crate) fn image(&self, x: &[f32], dy: &[f32], scratch: &mut Scratch) {
        match self.kernel {
            3 => self.take::<4>(x, dy, scratch),
            _ => self.take::<3>(x, dy, scratch),
        }
    }

    /// Transforms an image; adds the tiles once there are enough, so that those of small images are added together.
    fn take<const R: usize>(&self, x: &[f32], dy: &[f32], scratch: &mut Scratch) {
        self.input.fill(x, &mut scratch.images[0]);
        self.output.fill(dy, &mut scratch.images[1]);
        let step = strip_rows(self.tiles);
        for first in (0..self.tiles.0).step_by(step) {
            let rows = step.min(self.tiles.0 - first);
            let tiles = rows * self.tiles.1;
            if scratch.waiting + tiles > self.strips(0, 1, 0).0.places {
                self.add::<R>(scratch);
            }
            let (from, of) = self.strips(first, rows, scratch.waiting);
            let Scratch { images: [image, slope], strips: [v, d], .. } = scratch;
            enter::<R>(image, self.input.pixels, from, v);
            spread::<R>(slope, self.output.pixels, of, d);
            scratch.waiting += tiles;
        }
    }

    /// Adds the tiles that wait.
    fn add<const R: usize>(&self, scratch: &mut Scratch) {
        let (from, of) = self.strips(0, 1, 0);
        let Scratch { strips: [v, d], rest: sum, waiting, begun, .. } = scratch;
        outer::<R>(from, v, self.channels, of, d, *waiting, *begun, sum);
        (*waiting, *begun) = (0, true);
    }

    /// Adds the sum in `scratch` to `sum`, rows `(c, ky, kx)` of the outputs rounded up to 16.
    pub(crate) fn close(&self, sum: &mut [f32], scratch: &mut Scratch) {
        match self.kernel {
            3 => self.add::<4>(scratch),
            _ => self.add::<3>(scratch),
        }
        let (u, channels, blocks) = (&scratch.rest[..], self.channels, self.output.blocks());
        match self.kernel {
            3 => dispatch(Shrink::<4> { u, channels, blocks, sum }),
            _ => dispatch(Shrink::<3> { u, channels, blocks, sum }),
        }
    }
}
