//! Kernels as the products read them, `u = G g Gᵀ`, and the way back of their gradient, `g = Gᵀ u G`.
//!
//! Both lie as `[plane][pair of blocks of outputs][channel][block of the pair]`, a line of 16 outputs each; the last pair
//! may be one block.

use rayon::prelude::*;

use super::Line;
use crate::simd::{Job, dispatch};
use crate::support::Shared;

/// Lines from one plane to the next: odd, as those of the tiles.
pub(super) fn plane(channels: usize, blocks: usize) -> usize {
    (channels * blocks) | 1
}

/// Where the line of a channel and a block of outputs lies in its plane.
fn place(channels: usize, blocks: usize, channel: usize, block: usize) -> usize {
    let first = block / 2 * 2;
    first * channels + channel * (blocks - first).min(2) + block % 2
}

type Row = [f32; 16];

fn each(f: impl Fn(usize) -> f32) -> Row {
    std::array::from_fn(f)
}

/// `G g`, column by column, for a kernel of R − 1 entries.
#[inline(always)]
fn stretch<const R: usize>(g: [Row; 3]) -> [Row; 4] {
    let [a, b, c] = g;
    if R == 4 {
        let middle = each(|i| 0.5 * (a[i] + c[i]));
        [a, each(|i| middle[i] + 0.5 * b[i]), each(|i| middle[i] - 0.5 * b[i]), c]
    } else {
        [a, each(|i| a[i] + b[i]), b, b]
    }
}

/// `Gᵀ u`.
#[inline(always)]
fn shrink<const R: usize>(u: [Row; 4]) -> [Row; 3] {
    let [a, b, c, d] = u;
    if R == 4 {
        let half = each(|i| 0.5 * (b[i] + c[i]));
        [each(|i| a[i] + half[i]), each(|i| 0.5 * (b[i] - c[i])), each(|i| half[i] + d[i])]
    } else {
        [each(|i| a[i] + b[i]), each(|i| b[i] + c[i]), [0.0; 16]]
    }
}

/// The kernels of `outputs × channels`; entry `(ky, kx)` of the kernel from channel c to output o is
/// `w[o · steps.0 + c · steps.1 + 3 ky + kx]`, or, turned by half a circle, that entry from behind.
pub(super) struct Kernels<'a> {
    pub(super) w: &'a [f32],
    pub(super) outputs: usize,
    pub(super) channels: usize,
    pub(super) steps: (usize, usize),
    pub(super) turned: bool,
}

impl Kernels<'_> {
    pub(super) fn transformed<const R: usize>(&self) -> Vec<Line> {
        let blocks = self.outputs.div_ceil(16);
        let mut u = vec![Line::ZERO; 4 * R * plane(self.channels, blocks)];
        let lines = Shared::new(&mut u);
        let least = (64 / blocks.max(1)).max(1);
        (0..self.channels).into_par_iter().with_min_len(least).for_each(|c| {
            for block in 0..blocks {
                dispatch(Stretch::<R> { kernels: self, c, block, blocks, lines });
            }
        });
        u
    }
}

/// The kernels from one channel to a block of outputs.
struct Stretch<'a, const R: usize> {
    kernels: &'a Kernels<'a>,
    c: usize,
    block: usize,
    blocks: usize,
    lines: Shared<Line>,
}

impl<const R: usize> Job for Stretch<'_, R> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Kernels { w, outputs, channels, steps, turned } = *self.kernels;
        let entries = 3 * (R - 1);
        let mut g = [[0.0; 16]; 9];
        for lane in 0..(outputs - 16 * self.block).min(16) {
            let w = &w[(16 * self.block + lane) * steps.0 + self.c * steps.1..][..entries];
            for (k, w) in w.iter().enumerate() {
                g[if turned { entries - 1 - k } else { k }][lane] = *w;
            }
        }
        let [a, b, c] = std::array::from_fn(|kx| stretch::<R>([g[kx], g[3 + kx], g[6 + kx]]));
        let at = place(channels, self.blocks, self.c, self.block);
        for (r, ((a, b), c)) in a.into_iter().zip(b).zip(c).enumerate().take(R) {
            for (j, row) in stretch::<4>([a, b, c]).into_iter().enumerate() {
                let p = 4 * r + j;
                // SAFETY: each line belongs to one channel and one block.
                unsafe { self.lines.part(p * plane(channels, self.blocks) + at, 1)[0] = Line(row) };
            }
        }
    }
}

/// Adds `Gᵀ u G` to `sum`, `[channel][ky][kx]` of rows of `blocks` lines.
pub(super) struct Shrink<'a, const R: usize> {
    pub(super) u: &'a [Line],
    pub(super) channels: usize,
    pub(super) blocks: usize,
    pub(super) sum: &'a mut [f32],
}

impl<const R: usize> Job for Shrink<'_, R> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { u, channels, blocks, sum } = self;
        for channel in 0..channels {
            for block in 0..blocks {
                let at = place(channels, blocks, channel, block);
                let line = |p: usize| u[p * plane(channels, blocks) + at].0;
                let [a, b, c, d] = std::array::from_fn(|r| match r < R {
                    true => shrink::<4>([line(4 * r), line(4 * r + 1), line(4 * r + 2), line(4 * r + 3)]),
                    false => [[0.0; 16]; 3],
                });
                for (kx, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
                    for (ky, values) in shrink::<R>([a, b, c, d]).iter().enumerate().take(R - 1) {
                        let to = ((channel * (R - 1) + ky) * 3 + kx) * blocks + block;
                        for (sum, v) in sum[16 * to..][..16].iter_mut().zip(values) {
                            *sum += v;
                        }
                    }
                }
            }
        }
    }
}
