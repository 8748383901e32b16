//! The inner loops: bounds checked once, then the vectors of this processor, or plain loops where it has none.

use super::planes::Reads;
use super::weights::LANES;
#[cfg(target_arch = "x86_64")]
use super::x86;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};

/// `out[q · wide + o] = Σ_k w[k · ahead + o] · x[offsets[k] + oy · row + ox]` for o < wide, 16 or 32, and q = oy · ow + ox.
#[allow(clippy::too_many_arguments)]
pub(super) fn lanes(
    x: &[f32],
    reads: &Reads,
    row: usize,
    w: &[f32],
    ahead: usize,
    (oh, ow): (usize, usize),
    out: &mut [f32],
    wide: usize,
) {
    assert!(reads.furthest + (oh.max(1) - 1) * row + ow <= x.len() && matches!(wide, 16 | LANES));
    assert!(
        out.len() == oh * ow * wide && (reads.offsets.len().max(1) - 1) * ahead + wide <= w.len().max(wide)
    );
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: the features exist, and all ranges were checked above.
        unsafe { x86::lanes_avx512(x, &reads.offsets, row, w, ahead, (oh, ow), out, wide) };
        return;
    }
    for (q, out) in out.chunks_exact_mut(wide).enumerate() {
        let at = q / ow * row + q % ow;
        for (o, y) in out.iter_mut().enumerate() {
            *y = reads.offsets.iter().enumerate().map(|(k, from)| w[k * ahead + o] * x[from + at]).sum();
        }
    }
}

/// `out[j · out_stride + i] = x[i · stride + j]` for i < rows and j < columns.
pub(crate) fn transpose(
    x: &[f32],
    stride: usize,
    (rows, columns): (usize, usize),
    out: &mut [f32],
    out_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * stride + columns <= x.len() && (columns - 1) * out_stride + rows <= out.len());
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: the features exist, and both ranges were checked above.
        unsafe { x86::transpose_avx512(x, stride, (rows, columns), out, out_stride) };
        return;
    }
    for i in 0..rows {
        for j in 0..columns {
            out[j * out_stride + i] = x[i * stride + j];
        }
    }
}

/// `out[i · stride + q] = Σ_k w[k, i] · x[offsets[k] + q]` for one tile of outputs and all `q < len`.
/// `out` has room for `padded` rows of `stride ≥ len` rounded up to 16.
pub(super) fn tile(
    x: &[f32],
    reads: &Reads,
    w: &[f32],
    padded: usize,
    len: usize,
    out: &mut [f32],
    stride: usize,
) {
    assert!(reads.furthest + len.next_multiple_of(16) <= x.len() && w.len() == reads.offsets.len() * padded);
    assert!(stride >= len.next_multiple_of(16) && out.len() >= padded * stride);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the features exist; all reads lie below the end of x, checked above, and all writes within `padded` rows
    // of `stride` elements.
    unsafe {
        match level() {
            Level::Avx512 => return x86::tile_avx512(x, &reads.offsets, w, padded, len, out, stride),
            Level::Avx2 => return x86::tile_avx2(x, &reads.offsets, w, padded, len, out, stride),
            Level::Baseline => {}
        }
    }
    for (i, out) in out.chunks_exact_mut(stride).take(padded).enumerate() {
        for (q, y) in out.iter_mut().take(len).enumerate() {
            *y = reads.offsets.iter().enumerate().map(|(k, from)| w[k * padded + i] * x[from + q]).sum();
        }
    }
}

/// `acc[k · width + o] += Σ_q x[offsets[k] + oy · row + ox] · dy[q · width + o]` with `q = oy · ow + ox`.
pub(super) fn outer(
    x: &[f32],
    reads: &Reads,
    row: usize,
    dy: &[f32],
    (oh, ow): (usize, usize),
    acc: &mut [f32],
    width: usize,
) {
    assert!(reads.furthest + (oh.max(1) - 1) * row + ow <= x.len() && dy.len() == oh * ow * width);
    assert!(acc.len() == reads.offsets.len() * width && width.is_multiple_of(16));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `tile`: features present, reads within x and dy, writes within acc.
    unsafe {
        match level() {
            Level::Avx512 => return x86::outer_avx512(x, &reads.offsets, row, dy, (oh, ow), acc, width),
            Level::Avx2 => return x86::outer_avx2(x, &reads.offsets, row, dy, (oh, ow), acc, width),
            Level::Baseline => {}
        }
    }
    for (acc, from) in acc.chunks_exact_mut(width).zip(&reads.offsets) {
        for (q, dy) in dy.chunks_exact(width).enumerate() {
            let pixel = x[from + q / ow * row + q % ow];
            acc.iter_mut().zip(dy).for_each(|(a, d)| *a += pixel * d);
        }
    }
}
