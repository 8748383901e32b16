//! The inner loops, written once over a vector type, and the moves between layouts.

use std::arch::x86_64::*;

use super::planes::Rows;
use crate::avx512::{first, turn};
use crate::vector::Vector;

/// See `super::planes::move_rows`; one of the two steps is 1, the other 1 or 2.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn move_rows_avx512(
    x: &[f32],
    from: Rows,
    out: &mut [f32],
    to: Rows,
    rows: usize,
    columns: usize,
) {
    let even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    let low = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    let high = _mm512_set_epi32(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8);
    // Masked stores are slow, so all but the last rows are stored whole: what spills over their end is zero, and
    // lies where later rows, or nothing but zeros, belong.
    for i in 0..rows {
        let mut done = 0;
        while done < columns {
            let n = (columns - done).min(16);
            let at = to.start + i * to.stride + done * to.step;
            let room = out.len() - at;
            // SAFETY: masks end at the last element, which `super::planes::move_rows` checked, and whole stores at the
            // end of `out`; pointers beyond are formed by wrapping arithmetic and used under empty masks only.
            unsafe {
                let x = x.as_ptr().wrapping_add(from.start + i * from.stride + done * from.step);
                let out = out.as_mut_ptr().wrapping_add(at);
                // Images come from far memory: ask for what is read some rows later.
                _mm_prefetch::<_MM_HINT_T0>(x.wrapping_add(512).cast());
                let pixels = if from.step == 1 {
                    _mm512_maskz_loadu_ps(first(n), x)
                } else {
                    let reach = 2 * n - 1;
                    let a = _mm512_maskz_loadu_ps(first(reach), x);
                    let b = _mm512_maskz_loadu_ps(first(reach.saturating_sub(16)), x.wrapping_add(16));
                    _mm512_permutex2var_ps(a, even, b)
                };
                if to.step == 1 {
                    match room >= 16 {
                        true => _mm512_storeu_ps(out, pixels),
                        false => _mm512_mask_storeu_ps(out, first(n), pixels),
                    }
                } else {
                    let odd = 0x5555;
                    let reach = 2 * n - 1;
                    let (a, b) = (first(reach) & odd, first(reach.saturating_sub(16)) & odd);
                    let (p, q) = (_mm512_permutexvar_ps(low, pixels), _mm512_permutexvar_ps(high, pixels));
                    let next = out.wrapping_add(16);
                    if room >= 32 {
                        _mm512_storeu_ps(out, _mm512_mask_mov_ps(_mm512_loadu_ps(out), a, p));
                        _mm512_storeu_ps(next, _mm512_mask_mov_ps(_mm512_loadu_ps(next), b, q));
                    } else {
                        _mm512_mask_storeu_ps(out, a, p);
                        _mm512_mask_storeu_ps(next, b, q);
                    }
                }
            }
            done += n;
        }
    }
}

/// `O` outputs × `Q` registers of pixels.
#[inline(always)]
unsafe fn block<V: Vector, const O: usize, const Q: usize>(
    x: *const f32,
    offsets: &[usize],
    w: *const f32,
    ahead: usize,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: the callers checked the ranges; see `super::loops::tile`.
    unsafe {
        let mut acc = [[V::zero(); Q]; O];
        let mut w = w;
        for &offset in offsets {
            let mut pixels = [V::zero(); Q];
            for (q, p) in pixels.iter_mut().enumerate() {
                *p = V::load(x.add(offset + q * V::LANES));
            }
            for (o, acc) in acc.iter_mut().enumerate() {
                let weight = V::splat(*w.add(o));
                for (a, p) in acc.iter_mut().zip(pixels) {
                    *a = a.add_product(weight, p);
                }
            }
            w = w.add(ahead);
        }
        for (o, acc) in acc.iter().enumerate() {
            for (q, a) in acc.iter().enumerate() {
                a.store(out.add(o * stride + q * V::LANES));
            }
        }
    }
}

/// All pixels of `O` outputs out of `ahead`, `Q` registers at a time and one at the end.
#[inline(always)]
unsafe fn sweep<V: Vector, const O: usize, const Q: usize>(
    x: &[f32],
    offsets: &[usize],
    w: *const f32,
    ahead: usize,
    len: usize,
    out: *mut f32,
    stride: usize,
) {
    let mut q = 0;
    // SAFETY: q stays below `len` rounded up to 16; see `super::loops::tile`.
    unsafe {
        while q + (Q - 1) * V::LANES < len {
            block::<V, O, Q>(x.as_ptr().add(q), offsets, w, ahead, out.add(q), stride);
            q += Q * V::LANES;
        }
        while q < len {
            block::<V, O, 1>(x.as_ptr().add(q), offsets, w, ahead, out.add(q), stride);
            q += V::LANES;
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn tile_avx512(
    x: &[f32],
    offsets: &[usize],
    w: &[f32],
    padded: usize,
    len: usize,
    out: &mut [f32],
    stride: usize,
) {
    let (w, out) = (w.as_ptr(), out.as_mut_ptr());
    // SAFETY: passed on from `super::loops::tile`.
    unsafe {
        match padded {
            8 => sweep::<__m512, 8, 2>(x, offsets, w, 8, len, out, stride),
            4 => sweep::<__m512, 4, 4>(x, offsets, w, 4, len, out, stride),
            _ => sweep::<__m512, 1, 8>(x, offsets, w, 1, len, out, stride),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile_avx2(
    x: &[f32],
    offsets: &[usize],
    w: &[f32],
    padded: usize,
    len: usize,
    out: &mut [f32],
    stride: usize,
) {
    let (w, out) = (w.as_ptr(), out.as_mut_ptr());
    // SAFETY: passed on from `super::loops::tile`; sixteen registers hold four outputs by two.
    unsafe {
        match padded {
            8 => {
                sweep::<__m256, 4, 2>(x, offsets, w, 8, len, out, stride);
                sweep::<__m256, 4, 2>(x, offsets, w.add(4), 8, len, out.add(4 * stride), stride);
            }
            4 => sweep::<__m256, 4, 2>(x, offsets, w, 4, len, out, stride),
            _ => sweep::<__m256, 1, 8>(x, offsets, w, 1, len, out, stride),
        }
    }
}

/// `P` neighbouring pixels × `O` registers of outputs.
#[inline(always)]
unsafe fn lanes_block<V: Vector, const P: usize, const O: usize>(
    x: *const f32,
    offsets: &[usize],
    w: *const f32,
    ahead: usize,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: see `super::loops::lanes`.
    unsafe {
        let mut acc = [[V::zero(); O]; P];
        let mut w = w;
        for &offset in offsets {
            let mut weights = [V::zero(); O];
            for (o, weight) in weights.iter_mut().enumerate() {
                *weight = V::load(w.add(o * V::LANES));
            }
            let x = x.add(offset);
            for (p, acc) in acc.iter_mut().enumerate() {
                let pixel = V::splat(*x.add(p));
                for (a, weight) in acc.iter_mut().zip(weights) {
                    *a = a.add_product(weight, pixel);
                }
            }
            w = w.add(ahead);
        }
        for (p, acc) in acc.iter().enumerate() {
            for (o, a) in acc.iter().enumerate() {
                a.store(out.add(p * stride + o * V::LANES));
            }
        }
    }
}

/// All pixels of `O` registers of outputs; see `super::loops::lanes`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn lanes_sweep<V: Vector, const O: usize>(
    x: *const f32,
    offsets: &[usize],
    row: usize,
    w: *const f32,
    ahead: usize,
    (oh, ow): (usize, usize),
    out: *mut f32,
    stride: usize,
) {
    for y in 0..oh {
        let mut at = 0;
        while at < ow {
            // SAFETY: pixels stay within their row; see `super::loops::lanes`.
            unsafe {
                let (x, out) = (x.add(y * row + at), out.add((y * ow + at) * stride));
                at += match ow - at {
                    14.. => {
                        lanes_block::<V, 14, O>(x, offsets, w, ahead, out, stride);
                        14
                    }
                    8..=13 => {
                        lanes_block::<V, 8, O>(x, offsets, w, ahead, out, stride);
                        8
                    }
                    7 => {
                        lanes_block::<V, 7, O>(x, offsets, w, ahead, out, stride);
                        7
                    }
                    4..=6 => {
                        lanes_block::<V, 4, O>(x, offsets, w, ahead, out, stride);
                        4
                    }
                    2..=3 => {
                        lanes_block::<V, 2, O>(x, offsets, w, ahead, out, stride);
                        2
                    }
                    _ => {
                        lanes_block::<V, 1, O>(x, offsets, w, ahead, out, stride);
                        1
                    }
                };
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn lanes_avx512(
    x: &[f32],
    offsets: &[usize],
    row: usize,
    w: &[f32],
    ahead: usize,
    size: (usize, usize),
    out: &mut [f32],
    stride: usize,
) {
    let (x, w, out) = (x.as_ptr(), w.as_ptr(), out.as_mut_ptr());
    // SAFETY: passed on from `super::loops::lanes`.
    unsafe {
        match stride {
            32 => lanes_sweep::<__m512, 2>(x, offsets, row, w, ahead, size, out, 32),
            _ => lanes_sweep::<__m512, 1>(x, offsets, row, w, ahead, size, out, 16),
        }
    }
}

/// `out[j · out_stride + i] = x[i · stride + j]` for i < rows, j < columns; see `super::loops::transpose`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn transpose_avx512(
    x: &[f32],
    stride: usize,
    (rows, columns): (usize, usize),
    out: &mut [f32],
    out_stride: usize,
) {
    for i in (0..rows).step_by(16) {
        for j in (0..columns).step_by(16) {
            let (height, width) = ((rows - i).min(16), (columns - j).min(16));
            let mut r = [_mm512_setzero_ps(); 16];
            for (k, r) in r.iter_mut().enumerate().take(height) {
                // SAFETY: row i + k exists, and the mask ends at its last column.
                *r = unsafe { _mm512_maskz_loadu_ps(first(width), x.as_ptr().add((i + k) * stride + j)) };
            }
            let turned = turn(r);
            for (k, t) in turned.iter().enumerate().take(width) {
                // SAFETY: row j + k of `out` has room for the height, where the mask ends.
                unsafe {
                    let to = out.as_mut_ptr().add((j + k) * out_stride + i);
                    match height {
                        16 => _mm512_storeu_ps(to, *t),
                        _ => _mm512_mask_storeu_ps(to, first(height), *t),
                    }
                }
            }
        }
    }
}

/// `K` entries of the kernel × `O` registers of outputs, over all pixels of one image.
#[inline(always)]
unsafe fn outer_block<V: Vector, const K: usize, const O: usize>(
    x: *const f32,
    offsets: &[usize],
    row: usize,
    dy: *const f32,
    (oh, ow): (usize, usize),
    acc: *mut f32,
    width: usize,
) {
    // SAFETY: see `super::loops::outer`.
    unsafe {
        let mut sum = [[V::zero(); O]; K];
        for (k, sum) in sum.iter_mut().enumerate() {
            for (o, s) in sum.iter_mut().enumerate() {
                *s = V::load(acc.add(k * width + o * V::LANES));
            }
        }
        let mut from = [x; K];
        for (p, &offset) in from.iter_mut().zip(offsets) {
            *p = x.add(offset);
        }
        let mut dy = dy;
        for y in 0..oh {
            for ox in 0..ow {
                let at = y * row + ox;
                let mut g = [V::zero(); O];
                for (o, g) in g.iter_mut().enumerate() {
                    *g = V::load(dy.add(o * V::LANES));
                }
                for (sum, p) in sum.iter_mut().zip(from) {
                    let pixel = V::splat(*p.add(at));
                    for (s, g) in sum.iter_mut().zip(g) {
                        *s = s.add_product(pixel, g);
                    }
                }
                dy = dy.add(width);
            }
        }
        for (k, sum) in sum.iter().enumerate() {
            for (o, s) in sum.iter().enumerate() {
                s.store(acc.add(k * width + o * V::LANES));
            }
        }
    }
}

#[inline(always)]
unsafe fn outer_sweep<V: Vector, const K: usize, const O: usize>(
    x: &[f32],
    offsets: &[usize],
    row: usize,
    dy: &[f32],
    size: (usize, usize),
    acc: &mut [f32],
    width: usize,
) {
    let mut o = 0;
    // SAFETY: see `super::loops::outer`; o and k stay within the width and the entries.
    unsafe {
        while o < width {
            let wide = o + O * V::LANES <= width;
            let (dy, acc) = (dy.as_ptr().add(o), acc.as_mut_ptr().add(o));
            let mut k = 0;
            while k < offsets.len() {
                let (part, acc) = (&offsets[k..], acc.add(k * width));
                match (part.len() >= K, wide) {
                    (true, true) => {
                        outer_block::<V, K, O>(x.as_ptr(), &part[..K], row, dy, size, acc, width);
                        k += K;
                    }
                    (true, false) => {
                        outer_block::<V, K, 1>(x.as_ptr(), &part[..K], row, dy, size, acc, width);
                        k += K;
                    }
                    (false, true) => {
                        outer_block::<V, 1, O>(x.as_ptr(), &part[..1], row, dy, size, acc, width);
                        k += 1;
                    }
                    (false, false) => {
                        outer_block::<V, 1, 1>(x.as_ptr(), &part[..1], row, dy, size, acc, width);
                        k += 1;
                    }
                }
            }
            o += if wide { O * V::LANES } else { V::LANES };
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn outer_avx512(
    x: &[f32],
    offsets: &[usize],
    row: usize,
    dy: &[f32],
    size: (usize, usize),
    acc: &mut [f32],
    width: usize,
) {
    // SAFETY: passed on from `super::loops::outer`.
    unsafe { outer_sweep::<__m512, 9, 2>(x, offsets, row, dy, size, acc, width) }
}

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn outer_avx2(
    x: &[f32],
    offsets: &[usize],
    row: usize,
    dy: &[f32],
    size: (usize, usize),
    acc: &mut [f32],
    width: usize,
) {
    // SAFETY: passed on from `super::loops::outer`.
    unsafe { outer_sweep::<__m256, 4, 2>(x, offsets, row, dy, size, acc, width) }
}
