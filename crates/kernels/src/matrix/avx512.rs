//! Products in f32 on AVX-512: eight rows by three registers, from panels of the right matrix packed by the thread that
//! reads them.
//!
//! ```text
//! for each panel of up to 48 columns          packed: (KC, 48), in the second cache
//!   for each block of 8 rows                  read where it lies, element by element
//!     24 registers += a[i, l] · panel[l, ·]   l from first to last
//! ```
//! gemm packs by one thread what all of them then read; with 128 rows, as in a training step, that thread is waited for.
//!
//! Each element is one chain of fused products over l, cut after [`KC`] terms alone: who computes it does not matter,
//! and the cut of the output may follow the number of threads. Error: at most k u Σ |a b| for k terms, u = 6e-8.

use std::arch::x86_64::*;

use crate::avx512::{first, turn};
use crate::support::uninit;

/// Terms of a sum between two visits to the output.
const KC: usize = 512;
/// Columns of a panel.
const WIDE: usize = 48;
/// Rows of a block.
const TALL: usize = 8;

/// A matrix by address: element `(i, j)` at `data[i · row + j · col]`, one of the steps being 1.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) data: *const f32,
    pub(super) row: usize,
    pub(super) col: usize,
}

impl Place {
    /// The matrix from row i and column j on.
    fn from(self, i: usize, j: usize) -> Self {
        Self { data: self.data.wrapping_add(i * self.row + j * self.col), ..self }
    }
}

/// Where results go, and how: `out = factor · sum`, or `out += factor · sum`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) out: *mut f32,
    pub(super) stride: usize,
    pub(super) accumulate: bool,
    pub(super) factor: f32,
}

impl Target {
    fn from(self, i: usize, j: usize) -> Self {
        Self { out: self.out.wrapping_add(i * self.stride + j), ..self }
    }
}

/// `out (m, n)` from `a (m, k)` and `b (k, n)`.
///
/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL; all elements of the three matrices exist, and no one else touches those
/// of `out`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn multiply((m, k, n): (usize, usize, usize), a: Place, b: Place, to: Target) {
    let blocks = k.div_ceil(KC).max(1);
    let most = k.div_ceil(blocks);
    let mut buffer = uninit::<f32>(most * WIDE + 16);
    let aligned = buffer.as_ptr().align_offset(64).min(16);
    let panel = buffer[aligned..].as_mut_ptr();
    let (mut at, mut registers) = (0, n.div_ceil(16));
    while registers > 0 {
        // One register alone would wait for its own sums.
        let wide = match registers {
            1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let columns = (n - at).min(16 * wide);
        for l in (0..k).step_by(most) {
            let depth = most.min(k - l);
            let (a, b) = (a.from(0, l), b.from(l, at));
            let to = Target { accumulate: to.accumulate || l > 0, ..to.from(0, at) };
            // SAFETY: rows, columns and depth stay within the matrices, and the panel holds depth × 48.
            unsafe {
                match wide {
                    1 => sweep::<1>((m, depth, columns), a, b, to, panel),
                    2 => sweep::<2>((m, depth, columns), a, b, to, panel),
                    _ => sweep::<3>((m, depth, columns), a, b, to, panel),
                }
            }
        }
        at += columns;
        registers -= wide;
    }
}

/// All rows of one panel.
#[inline(always)]
unsafe fn sweep<const Q: usize>(
    (m, k, columns): (usize, usize, usize),
    a: Place,
    b: Place,
    to: Target,
    panel: *mut f32,
) {
    // SAFETY: passed on from `multiply`; blocks of rows end at m.
    unsafe {
        pack::<Q>(k, columns, b, panel);
        let mask = first(columns - 16 * (Q - 1));
        let mut i = 0;
        while i < m {
            let (a, to) = (a.from(i, 0), to.from(i, 0));
            i += match (m - i, a.row) {
                (TALL.., 1) => block::<TALL, Q, true>(k, a, panel, to, mask),
                (TALL.., _) => block::<TALL, Q, false>(k, a, panel, to, mask),
                (4.., _) => block::<4, Q, false>(k, a, panel, to, mask),
                _ => block::<1, Q, false>(k, a, panel, to, mask),
            };
        }
    }
}

/// `panel[l · 16 Q + j] = b[l, j]`, zero for j ≥ columns.
#[inline(always)]
unsafe fn pack<const Q: usize>(k: usize, columns: usize, b: Place, panel: *mut f32) {
    for q in 0..Q {
        let columns = columns.saturating_sub(16 * q).min(16);
        let (b, panel) = (b.from(0, 16 * q), panel.wrapping_add(16 * q));
        // SAFETY: masks end at the last column and the last row; the panel has k rows.
        unsafe {
            if b.col == 1 {
                for l in 0..k {
                    let row = _mm512_maskz_loadu_ps(first(columns), b.from(l, 0).data);
                    _mm512_store_ps(panel.add(l * 16 * Q), row);
                }
                continue;
            }
            for l in (0..k).step_by(16) {
                let depth = (k - l).min(16);
                let mut r = [_mm512_setzero_ps(); 16];
                for (j, r) in r.iter_mut().enumerate().take(columns) {
                    *r = _mm512_maskz_loadu_ps(first(depth), b.from(l, j).data);
                }
                for (i, row) in turn(r).iter().enumerate().take(depth) {
                    _mm512_store_ps(panel.add((l + i) * 16 * Q), *row);
                }
            }
        }
    }
}

/// `R` rows × `Q` registers; the last register ends with the mask. Returns R.
#[inline(always)]
unsafe fn block<const R: usize, const Q: usize, const DOWN: bool>(
    k: usize,
    a: Place,
    panel: *const f32,
    to: Target,
    mask: __mmask16,
) -> usize {
    // Known steps spare address registers.
    let (down, across) = if DOWN { (1, a.col) } else { (a.row, a.col) };
    // SAFETY: rows, terms and columns exist; see `multiply`.
    unsafe {
        let mut sum = [[_mm512_setzero_ps(); Q]; R];
        let (mut a, mut panel) = (a.data, panel);
        for _ in 0..k {
            let mut b = [_mm512_setzero_ps(); Q];
            for (q, b) in b.iter_mut().enumerate() {
                *b = _mm512_load_ps(panel.add(16 * q));
            }
            for (i, sum) in sum.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*a.add(i * down));
                for (s, b) in sum.iter_mut().zip(b) {
                    *s = _mm512_fmadd_ps(a, b, *s);
                }
            }
            (a, panel) = (a.wrapping_add(across), panel.add(16 * Q));
        }
        let factor = _mm512_set1_ps(to.factor);
        for (i, sum) in sum.iter().enumerate() {
            for (q, s) in sum.iter().enumerate() {
                let out = to.from(i, 16 * q).out;
                let whole = q + 1 < Q || mask == !0;
                let old = match (to.accumulate, whole) {
                    (false, _) => _mm512_setzero_ps(),
                    (true, true) => _mm512_loadu_ps(out),
                    (true, false) => _mm512_maskz_loadu_ps(mask, out),
                };
                let new = _mm512_fmadd_ps(factor, *s, old);
                match whole {
                    true => _mm512_storeu_ps(out, new),
                    false => _mm512_mask_storeu_ps(out, mask, new),
                }
            }
        }
    }
    R
}
