//! Weights in the order the inner loops read them, and their application to one image.

use rayon::prelude::*;

use super::loops::{lanes, tile, transpose};
use super::planes::{Reads, Rows, move_rows};
use crate::support::fill_blocks;

/// Weights in the order the inner loops read them.
pub(super) enum Weights {
    /// For each tile of outputs, for each k, the tile's weights side by side: pixels fill the vectors.
    Tiles { data: Vec<f32>, tiles: Vec<Tile> },
    /// For each k, the weights of all outputs side by side, as many as `width` with zeros: outputs fill the vectors,
    /// so that none is wasted on the ends of short rows.
    Lanes { data: Vec<f32>, width: usize },
}

/// Some outputs that are computed together.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    first: usize,
    count: usize,
    /// The count, rounded up to what the kernels serve.
    padded: usize,
    /// Where the weights begin.
    start: usize,
}

/// Outputs of two vectors, computed together.
pub(super) const LANES: usize = 32;

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
pub(super) fn pack(outputs: usize, entries: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Weights {
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
    pub(super) fn apply(
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
pub(super) fn run_length(row: usize, (height, width): (usize, usize)) -> usize {
    let tiles = 8 * ((height.max(1) - 1) * row + width).next_multiple_of(16);
    tiles.max(2 * LANES * height * width)
}
