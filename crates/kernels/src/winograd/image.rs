//! The convolution of one image, which is also the gradient by the input.

use super::loops::{Pixels, Strip, enter, leave, multiply};
use super::weights::Kernels;
use super::{Line, Scratch, floats, strip_rows, unwritten};
use crate::conv::Geometry;
use crate::shift::transpose;

/// Images `(channels, h, w)` as padded lines of 16 channels.
pub(super) struct Padded {
    channels: usize,
    /// Where each pixel of the image goes within a block.
    places: Vec<usize>,
    pub(super) pixels: Pixels,
}

impl Padded {
    /// With so many rows and columns of zeros before the image, and behind it as many as fill `pixels`.
    pub(super) fn new(
        channels: usize,
        (h, w): (usize, usize),
        before: (usize, usize),
        pixels: Pixels,
    ) -> Self {
        let place = |q: usize| (before.0 + q / w) * pixels.columns + before.1 + q % w;
        Self { channels, places: (0..h * w).map(place).collect(), pixels }
    }

    pub(super) fn blocks(&self) -> usize {
        self.channels.div_ceil(16)
    }

    pub(super) fn len(&self) -> usize {
        self.blocks() * self.pixels.rows * self.pixels.columns
    }

    /// Copies an image; what it leaves alone must be zero.
    pub(super) fn fill(&self, x: &[f32], out: &mut [Line]) {
        let area = self.pixels.rows * self.pixels.columns;
        for (x, out) in x.chunks(16 * self.places.len()).zip(out.chunks_exact_mut(area)) {
            super::loops::side_by_side(x, &self.places, out);
        }
    }
}

/// A convolution with transformed kernels, to be applied image by image.
pub(crate) struct TileConv {
    input: Padded,
    outputs: usize,
    /// Rows and columns of the output.
    size: (usize, usize),
    /// Tiles down and across.
    tiles: (usize, usize),
    kernel: usize,
    u: Vec<Line>,
}

impl TileConv {
    /// The convolution with `w (o, c, kh, 3)`.
    pub(crate) fn forward(g: &Geometry, w: &[f32]) -> Self {
        let entries = g.kh * g.kw;
        let kernels =
            Kernels { w, outputs: g.o, channels: g.c, steps: (g.c * entries, entries), turned: false };
        let padding = g.conv.padding;
        Self::new(kernels, g.kh, (g.h, g.w), (g.oh, g.ow), (padding, padding))
    }

    /// The gradient by its input.
    pub(crate) fn input_grad(g: &Geometry, w: &[f32]) -> Self {
        let entries = g.kh * g.kw;
        let kernels =
            Kernels { w, outputs: g.c, channels: g.o, steps: (entries, g.c * entries), turned: true };
        let padding = g.conv.padding;
        Self::new(kernels, g.kh, (g.oh, g.ow), (g.h, g.w), (g.kh - 1 - padding, g.kw - 1 - padding))
    }

    fn new(
        kernels: Kernels<'_>,
        kernel: usize,
        from: (usize, usize),
        size: (usize, usize),
        before: (usize, usize),
    ) -> Self {
        let tiles = (size.0.div_ceil(2), size.1.div_ceil(2));
        let pixels = Pixels { rows: 2 * tiles.0 + kernel - 1, columns: 2 * tiles.1 + 2 };
        let u = if kernel == 3 { kernels.transformed::<4>() } else { kernels.transformed::<3>() };
        let input = Padded::new(kernels.channels, from, before, pixels);
        Self { input, outputs: kernels.outputs, size, tiles, kernel, u }
    }

    /// A strip of the input and one of the output.
    fn strips(&self, first: usize, rows: usize) -> (Strip, Strip) {
        let across = self.tiles.1;
        let strip = |blocks| Strip { first, rows, across, blocks, at: 0, places: rows * across };
        (strip(self.input.blocks()), strip(self.outputs.div_ceil(16)))
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let (from, to) = self.strips(0, strip_rows(self.tiles));
        let rows = self.kernel + 1;
        Scratch {
            images: [vec![Line::ZERO; self.input.len()], Vec::new()],
            strips: [unwritten(from.len(rows)), unwritten(to.len(rows))],
            rest: unwritten(to.blocks * 2 * to.rows * self.size.1),
            waiting: 0,
            begun: false,
        }
    }

    /// `y (outputs, rows, columns)` of one image `x`; `finish(o, plane)` sees each output when it is done.
    pub(crate) fn image(
        &self,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut Scratch,
        finish: impl Fn(usize, &mut [f32]),
    ) {
        if self.kernel == 3 {
            self.convolve::<4>(x, y, scratch);
        } else {
            self.convolve::<3>(x, y, scratch);
        }
        for (o, plane) in y.chunks_exact_mut(self.size.0 * self.size.1).enumerate() {
            finish(o, plane);
        }
    }

    fn convolve<const R: usize>(&self, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let (height, width) = self.size;
        let plane = height * width;
        let Scratch { images: [image, _], strips: [v, m], rest, .. } = scratch;
        self.input.fill(x, image);
        let step = strip_rows(self.tiles);
        for first in (0..self.tiles.0).step_by(step) {
            let (from, to) = self.strips(first, step.min(self.tiles.0 - first));
            enter::<R>(image, self.input.pixels, from, v);
            multiply::<R>(from, v, self.input.channels, &self.u, to, m);
            leave::<R>(m, to, width, rest);
            let pixels = (2 * to.rows).min(height - 2 * first) * width;
            let room = 2 * to.rows * width;
            for (block, done) in rest.chunks_exact(room).enumerate().take(to.blocks) {
                let count = (self.outputs - 16 * block).min(16);
                let y = &mut y[16 * block * plane + 2 * first * width..];
                transpose(floats(done), 16, (pixels, count), y, plane);
            }
        }
    }
}
