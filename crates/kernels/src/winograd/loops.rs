//! The inner loops: bounds checked once, then the registers of this processor.
//!
//! `R` is the number of rows of a transformed tile, one more than the kernel has: 3 or 4. It has four columns.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use super::{Line, floats, floats_mut};
use crate::simd::{Level, level};
use crate::vector::Vector;

/// Some rows of tiles of an image, and where their transforms lie: `[plane][block][tile]`, a line each.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    /// The first row of tiles, and how many.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Tiles in a row.
    pub(super) across: usize,
    /// Blocks of 16 channels.
    pub(super) blocks: usize,
    /// Place of the first tile within its block of the transforms, and the number of places.
    pub(super) at: usize,
    pub(super) places: usize,
}

impl Strip {
    /// Lines from one plane of a transform to the next: an odd number, so that the planes do not compete for the same
    /// places of the cache.
    fn plane(&self) -> usize {
        (self.blocks * self.places) | 1
    }
    /// Lines of all planes.
    pub(super) fn len(&self, rows: usize) -> usize {
        4 * rows * self.plane()
    }
    /// Whether the transforms have room in so many lines.
    fn fits(&self, rows: usize, lines: usize) -> bool {
        self.at + self.rows * self.across <= self.places && self.len(rows) <= lines
    }
}

/// Where pixels lie: `[block][row][column]`, a line each.
#[derive(Clone, Copy)]
pub(super) struct Pixels {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Makes `$name` call `$body` for the registers of this processor.
macro_rules! compiled {
    ($(#[$doc:meta])* $name:ident, $body:ident, ($($arg:ident: $t:ty),*), $check:expr) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name<const R: usize>($($arg: $t),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512<const R: usize>($($arg: $t),*) {
                // SAFETY: passed on.
                unsafe { $body::<__m512, R>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2<const R: usize>($($arg: $t),*) {
                // SAFETY: passed on.
                unsafe { $body::<__m256, R>($($arg),*) }
            }
            $check;
            // SAFETY: `level` found the features, and the ranges were checked.
            unsafe {
                match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => avx512::<R>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => avx2::<R>($($arg),*),
                    Level::Baseline => $body::<[f32; 16], R>($($arg),*),
                }
            }
        }
    };
}

compiled!(
    /// `v = Bᵀ d B` of the tiles d of `x`, those of one strip.
    enter, enter_all, (x: &[Line], from: Pixels, s: Strip, v: &mut [Line]),
    assert!(
        s.blocks * from.rows * from.columns <= x.len()
            && 2 * (s.first + s.rows) + R - 2 <= from.rows
            && 2 * s.across + 2 <= from.columns
            && s.fits(R, v.len())
    )
);

compiled!(
    /// `v = A d Aᵀ` of the 2 × 2 tiles d of `x`, those of one strip.
    spread, spread_all, (x: &[Line], from: Pixels, s: Strip, v: &mut [Line]),
    assert!(
        s.blocks * from.rows * from.columns <= x.len()
            && 2 * (s.first + s.rows) <= from.rows
            && 2 * s.across <= from.columns
            && s.fits(R, v.len())
    )
);

compiled!(
    /// `y = Aᵀ m A`, `[block][pixel]` of rows `width` long with room for one more row behind; of the last column of
    /// tiles as much as there is.
    leave, leave_all, (m: &[Line], s: Strip, width: usize, y: &mut [Line]),
    assert!(
        s.fits(R, m.len()) && width.div_ceil(2) == s.across && s.blocks * 2 * s.rows * width <= y.len()
    )
);

compiled!(
    /// `m[p, o, t] = Σ_c v[p, c, t] u[p, c, o]`, in the order of c; `u` as `super::weights` packs it.
    multiply, multiply_all, (s: Strip, v: &[Line], channels: usize, u: &[Line], to: Strip, m: &mut [Line]),
    assert!(
        s.len(R) <= v.len()
            && to.len(R) <= m.len()
            && s.places == to.places
            && channels.div_ceil(16) == s.blocks
            && 4 * R * super::weights::plane(channels, to.blocks) <= u.len()
    )
);

compiled!(
    /// `sum[p, c, o] = Σ_t v[p, c, t] d[p, o, t]` over the first `tiles`, or as much added with `add`, in the order of t.
    outer, outer_all,
    (s: Strip, v: &[Line], channels: usize, of: Strip, d: &[Line], tiles: usize, add: bool, sum: &mut [Line]),
    assert!(
        s.len(R) <= v.len()
            && of.len(R) <= d.len()
            && tiles <= s.places.min(of.places)
            && channels.div_ceil(16) == s.blocks
            && 4 * R * super::weights::plane(channels, of.blocks) <= sum.len()
    )
);

/// `Bᵀ d` for one column of a tile.
#[inline(always)]
unsafe fn down<V: Vector, const R: usize>(x: *const f32, row: usize) -> [V; R] {
    // SAFETY: the rows of the tile exist.
    unsafe {
        let d: [V; R] = std::array::from_fn(|r| V::load(x.add(r * row)));
        let mut v = [V::zero(); R];
        if R == 4 {
            (v[0], v[1]) = (d[0].minus(d[2]), d[1].plus(d[2]));
            (v[2], v[3]) = (d[2].minus(d[1]), d[1].minus(d[3]));
        } else {
            (v[0], v[1], v[2]) = (d[0].minus(d[1]), d[1], d[2].minus(d[1]));
        }
        v
    }
}

#[inline(always)]
unsafe fn enter_all<V: Vector, const R: usize>(x: &[Line], from: Pixels, s: Strip, v: &mut [Line]) {
    let (x, v) = (floats(x).as_ptr(), floats_mut(v).as_mut_ptr());
    let (row, plane) = (16 * from.columns, 16 * s.plane());
    for block in 0..s.blocks {
        for i in 0..s.rows {
            for half in (0..16).step_by(V::LANES) {
                // SAFETY: see `enter`.
                unsafe {
                    let mut x = x.add((block * from.rows + 2 * (s.first + i)) * row + half);
                    let mut v = v.add((block * s.places + s.at + i * s.across) * 16 + half);
                    let mut a: [V; R] = down(x, row);
                    let mut b: [V; R] = down(x.add(16), row);
                    for _ in 0..s.across {
                        x = x.add(32);
                        let c: [V; R] = down(x, row);
                        let d: [V; R] = down(x.add(16), row);
                        for r in 0..R {
                            let v = v.add(4 * r * plane);
                            a[r].minus(c[r]).store(v);
                            b[r].plus(c[r]).store(v.add(plane));
                            c[r].minus(b[r]).store(v.add(2 * plane));
                            b[r].minus(d[r]).store(v.add(3 * plane));
                        }
                        v = v.add(16);
                        (a, b) = (c, d);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn spread_all<V: Vector, const R: usize>(x: &[Line], from: Pixels, s: Strip, v: &mut [Line]) {
    let (x, v) = (floats(x).as_ptr(), floats_mut(v).as_mut_ptr());
    let (row, plane) = (16 * from.columns, 16 * s.plane());
    for block in 0..s.blocks {
        for i in 0..s.rows {
            for half in (0..16).step_by(V::LANES) {
                // SAFETY: see `spread`.
                unsafe {
                    let mut x = x.add((block * from.rows + 2 * (s.first + i)) * row + half);
                    let mut v = v.add((block * s.places + s.at + i * s.across) * 16 + half);
                    for _ in 0..s.across {
                        let columns: [[V; R]; 2] = std::array::from_fn(|j| {
                            let (a, b) = (V::load(x.add(16 * j)), V::load(x.add(row + 16 * j)));
                            let mut d = [V::zero(); R];
                            (d[0], d[1]) = (a, a.plus(b));
                            if R == 4 {
                                (d[2], d[3]) = (a.minus(b), V::zero().minus(b));
                            } else {
                                d[2] = b;
                            }
                            d
                        });
                        let [left, right] = columns;
                        for (r, (a, b)) in left.into_iter().zip(right).enumerate() {
                            let v = v.add(4 * r * plane);
                            a.store(v);
                            a.plus(b).store(v.add(plane));
                            a.minus(b).store(v.add(2 * plane));
                            V::zero().minus(b).store(v.add(3 * plane));
                        }
                        x = x.add(32);
                        v = v.add(16);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn leave_all<V: Vector, const R: usize>(m: &[Line], s: Strip, width: usize, y: &mut [Line]) {
    let (m, y) = (floats(m).as_ptr(), floats_mut(y).as_mut_ptr());
    let (row, plane) = (16 * width, 16 * s.plane());
    for block in 0..s.blocks {
        for i in 0..s.rows {
            for half in (0..16).step_by(V::LANES) {
                // SAFETY: see `leave`.
                unsafe {
                    let mut m = m.add((block * s.places + s.at + i * s.across) * 16 + half);
                    let mut y = y.add((block * s.rows + i) * 2 * row + half);
                    for t in 0..s.across {
                        let mut left = [V::zero(); R];
                        let mut right = [V::zero(); R];
                        for r in 0..R {
                            let m = m.add(4 * r * plane);
                            let (b, c) = (V::load(m.add(plane)), V::load(m.add(2 * plane)));
                            left[r] = b.plus(c).plus(V::load(m));
                            right[r] = b.minus(c).minus(V::load(m.add(3 * plane)));
                        }
                        let up = |p: [V; R]| match R {
                            4 => (p[1].plus(p[2]).plus(p[0]), p[1].minus(p[2]).minus(p[R - 1])),
                            _ => (p[0].plus(p[1]), p[1].plus(p[2])),
                        };
                        let ((p, q), (f, g)) = (up(left), up(right));
                        p.store(y);
                        q.store(y.add(row));
                        if 2 * t + 1 < width {
                            f.store(y.add(16));
                            g.store(y.add(row + 16));
                        }
                        (m, y) = (m.add(16), y.add(32));
                    }
                }
            }
        }
    }
}

/// `P` tiles × `O` registers of outputs.
#[inline(always)]
unsafe fn tiles_by_outputs<V: Vector, const P: usize, const O: usize>(
    v: *const f32,
    block: usize,
    channels: usize,
    u: *const f32,
    ahead: usize,
    out: [*mut f32; O],
) {
    // SAFETY: see `multiply`.
    unsafe {
        let mut sum = [[V::zero(); O]; P];
        let (mut v, mut u) = (v, u);
        let mut left = channels;
        while left > 0 {
            let n = left.min(16);
            for c in 0..n {
                let weights: [V; O] = std::array::from_fn(|o| V::load(u.add(o * V::LANES)));
                for (p, sum) in sum.iter_mut().enumerate() {
                    let pixel = V::splat(*v.add(16 * p + c));
                    for (s, weight) in sum.iter_mut().zip(weights) {
                        *s = s.add_product(weight, pixel);
                    }
                }
                u = u.add(ahead);
            }
            v = v.add(block);
            left -= n;
        }
        for (p, sum) in sum.iter().enumerate() {
            for (s, out) in sum.iter().zip(out) {
                s.store(out.add(16 * p));
            }
        }
    }
}

/// All tiles of `O` registers of outputs.
#[inline(always)]
unsafe fn all_tiles<V: Vector, const O: usize>(
    tiles: usize,
    mut v: *const f32,
    block: usize,
    channels: usize,
    u: *const f32,
    ahead: usize,
    mut out: [*mut f32; O],
) {
    // As many as registers hold, or fewer of equal size.
    let most = if V::LANES == 8 { 6 } else { 14 };
    let size = tiles.div_ceil(tiles.div_ceil(most).max(1));
    let mut left = tiles;
    while left > 0 {
        let n = left.min(size);
        macro_rules! sizes {
            ($($p:literal)*) => {
                match n {
                    // SAFETY: see `multiply`.
                    $($p => unsafe { tiles_by_outputs::<V, $p, O>(v, block, channels, u, ahead, out) },)*
                    _ => unreachable!(),
                }
            };
        }
        sizes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        v = v.wrapping_add(16 * n);
        out = out.map(|out| out.wrapping_add(16 * n));
        left -= n;
    }
}

#[inline(always)]
unsafe fn multiply_all<V: Vector, const R: usize>(
    s: Strip,
    v: &[Line],
    channels: usize,
    u: &[Line],
    to: Strip,
    m: &mut [Line],
) {
    let (v, u, m) = (floats(v).as_ptr(), floats(u).as_ptr(), floats_mut(m).as_mut_ptr());
    let (tiles, block) = (s.places, 16 * s.places);
    for p in 0..4 * R {
        // SAFETY: see `multiply`.
        unsafe {
            let (v, m) = (v.add(16 * p * s.plane()), m.add(16 * p * to.plane()));
            let mut u = u.add(16 * p * super::weights::plane(channels, to.blocks));
            for first in (0..to.blocks).step_by(2) {
                let ahead = 16 * (to.blocks - first).min(2);
                let m = m.add(first * block);
                match (V::LANES, ahead) {
                    (16, 32) => {
                        all_tiles::<V, 2>(tiles, v, block, channels, u, ahead, [m, m.add(block)]);
                    }
                    (16, _) => all_tiles::<V, 1>(tiles, v, block, channels, u, ahead, [m]),
                    _ => {
                        for k in 0..ahead / 16 {
                            let m = m.add(k * block);
                            let out = [m, m.add(8)];
                            all_tiles::<V, 2>(tiles, v, block, channels, u.add(16 * k), ahead, out);
                        }
                    }
                }
                u = u.add(channels * ahead);
            }
        }
    }
}

/// `C` channels × `O` registers of outputs, over all tiles of a strip.
#[inline(always)]
unsafe fn channels_by_outputs<V: Vector, const C: usize, const O: usize>(
    v: *const f32,
    d: [*const f32; O],
    tiles: usize,
    add: bool,
    sum: *mut f32,
    ahead: usize,
) {
    // SAFETY: see `outer`.
    unsafe {
        let mut acc = [[V::zero(); O]; C];
        if add {
            for (c, acc) in acc.iter_mut().enumerate() {
                for (o, a) in acc.iter_mut().enumerate() {
                    *a = V::load(sum.add(c * ahead + o * V::LANES));
                }
            }
        }
        for t in 0..tiles {
            let g: [V; O] = std::array::from_fn(|o| V::load(d[o].add(16 * t)));
            for (c, acc) in acc.iter_mut().enumerate() {
                let pixel = V::splat(*v.add(16 * t + c));
                for (a, g) in acc.iter_mut().zip(g) {
                    *a = a.add_product(pixel, g);
                }
            }
        }
        for (c, acc) in acc.iter().enumerate() {
            for (o, a) in acc.iter().enumerate() {
                a.store(sum.add(c * ahead + o * V::LANES));
            }
        }
    }
}

/// All channels of `O` registers of outputs.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn all_channels<V: Vector, const O: usize>(
    channels: usize,
    v: *const f32,
    block: usize,
    d: [*const f32; O],
    tiles: usize,
    add: bool,
    sum: *mut f32,
    ahead: usize,
) {
    let mut c = 0;
    while c < channels {
        let left = (channels - c).min(16 - c % 16);
        // SAFETY: see `outer`.
        unsafe {
            let (v, sum) = (v.add(c / 16 * block + c % 16), sum.add(c * ahead));
            c += match (left, V::LANES * O) {
                (16.., 16) if O == 1 => {
                    channels_by_outputs::<V, 16, O>(v, d, tiles, add, sum, ahead);
                    16
                }
                (8.., 32) => {
                    channels_by_outputs::<V, 8, O>(v, d, tiles, add, sum, ahead);
                    8
                }
                (4.., _) => {
                    channels_by_outputs::<V, 4, O>(v, d, tiles, add, sum, ahead);
                    4
                }
                _ => {
                    channels_by_outputs::<V, 1, O>(v, d, tiles, add, sum, ahead);
                    1
                }
            };
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn outer_all<V: Vector, const R: usize>(
    s: Strip,
    v: &[Line],
    channels: usize,
    of: Strip,
    d: &[Line],
    tiles: usize,
    add: bool,
    sum: &mut [Line],
) {
    let (v, d, sum) = (floats(v).as_ptr(), floats(d).as_ptr(), floats_mut(sum).as_mut_ptr());
    let (block, out) = (16 * s.places, 16 * of.places);
    for p in 0..4 * R {
        // SAFETY: see `outer`.
        unsafe {
            let (v, d) = (v.add(16 * p * s.plane()), d.add(16 * p * of.plane()));
            let mut sum = sum.add(16 * p * super::weights::plane(channels, of.blocks));
            for first in (0..of.blocks).step_by(2) {
                let ahead = 16 * (of.blocks - first).min(2);
                let d = d.add(first * out);
                match (V::LANES, ahead) {
                    (16, 32) => {
                        all_channels::<V, 2>(channels, v, block, [d, d.add(out)], tiles, add, sum, ahead);
                    }
                    (16, _) => all_channels::<V, 1>(channels, v, block, [d], tiles, add, sum, ahead),
                    _ => {
                        for k in 0..ahead / 16 {
                            let (d, sum) = (d.add(k * out), sum.add(16 * k));
                            all_channels::<V, 2>(channels, v, block, [d, d.add(8)], tiles, add, sum, ahead);
                        }
                    }
                }
                sum = sum.add(channels * ahead);
            }
        }
    }
}

/// Pixel q of channel c goes to lane c of line `places[q]`; lanes without a channel become zero.
pub(super) fn side_by_side(x: &[f32], places: &[usize], out: &mut [Line]) {
    let pixels = places.len();
    let channels = x.len() / pixels.max(1);
    assert!(channels <= 16 && channels * pixels == x.len() && places.iter().all(|&p| p < out.len()));
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: the features exist, and the ranges were checked.
        unsafe { side_by_side_avx512(x, channels, places, out) };
        return;
    }
    for (q, &place) in places.iter().enumerate() {
        out[place] = Line(std::array::from_fn(|c| if c < channels { x[c * pixels + q] } else { 0.0 }));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn side_by_side_avx512(x: &[f32], channels: usize, places: &[usize], out: &mut [Line]) {
    use std::arch::x86_64::*;

    use crate::avx512::{first, turn};
    let pixels = places.len();
    for (k, places) in places.chunks(16).enumerate() {
        let mask = first(places.len());
        let mut r = [_mm512_setzero_ps(); 16];
        for (c, r) in r.iter_mut().enumerate().take(channels) {
            // SAFETY: the mask ends at the last pixel; what is asked for early is not read.
            unsafe {
                let x = x.as_ptr().add(c * pixels + 16 * k);
                _mm_prefetch::<_MM_HINT_T0>(x.wrapping_add(64).cast());
                *r = _mm512_maskz_loadu_ps(mask, x);
            }
        }
        for (line, &place) in turn(r).iter().zip(places) {
            // SAFETY: all places were checked.
            unsafe { _mm512_store_ps(out.as_mut_ptr().add(place).cast(), *line) };
        }
    }
}
