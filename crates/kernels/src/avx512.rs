//! What the kernels written for AVX-512 share.

use std::arch::x86_64::*;

/// The mask of the first n lanes, at most all.
#[inline(always)]
pub(crate) fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// Sixteen rows of sixteen numbers become its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) fn turn(mut r: [__m512; 16]) -> [__m512; 16] {
    let pairs = |a: __m512, b: __m512| {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        (_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)))
    };
    // Quarters of rows first, which leaves column 4l + c of four rows in quarter l of register c.
    for block in r.as_chunks_mut::<4>().0 {
        let (a, b) = (_mm512_unpacklo_ps(block[0], block[1]), _mm512_unpackhi_ps(block[0], block[1]));
        let (c, d) = (_mm512_unpacklo_ps(block[2], block[3]), _mm512_unpackhi_ps(block[2], block[3]));
        let ((p, q), (s, t)) = (pairs(a, c), pairs(b, d));
        *block = [p, q, s, t];
    }
    let mut turned = [_mm512_setzero_ps(); 16];
    for c in 0..4 {
        let even =
            (_mm512_shuffle_f32x4::<0x88>(r[c], r[4 + c]), _mm512_shuffle_f32x4::<0x88>(r[8 + c], r[12 + c]));
        let odd =
            (_mm512_shuffle_f32x4::<0xdd>(r[c], r[4 + c]), _mm512_shuffle_f32x4::<0xdd>(r[8 + c], r[12 + c]));
        turned[c] = _mm512_shuffle_f32x4::<0x88>(even.0, even.1);
        turned[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1);
        turned[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even.0, even.1);
        turned[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1);
    }
    turned
}
