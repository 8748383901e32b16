//! The ChaCha8 keystream, sixteen blocks at a time where the processor has AVX-512. It keeps no state and draws nothing
//! itself: noise is whoever holds the key.
//!
//! ```text
//! block c of 16 words:   state + 4 double rounds of state,   state = constants | key | c (64 bits) | 0 (64 bits)
//! ```
//!
//! Source: Bernstein (2008), "ChaCha, a variant of Salsa20", with its 64-bit counter.

/// Writes the words from number `position` of the keystream of `key`, block after block. Where the processor is not
/// served nothing is written and the answer is false.
#[must_use]
pub fn chacha8(key: &[u8; 32], position: u64, out: &mut [u32]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::level() == crate::simd::Level::Avx512 {
        // SAFETY: `level` found the features on the running processor.
        unsafe { wide::fill(key, position, out) };
        return true;
    }
    let _ = (key, position, out);
    false
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use crate::avx512::turn;

    /// "expand 32-byte k".
    const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    /// Words of sixteen blocks.
    const WORDS: usize = 256;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) fn fill(key: &[u8; 32], position: u64, out: &mut [u32]) {
        let mut key_words = [0; 8];
        for (word, bytes) in key_words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut block = position / 16;
        let mut skip = (position % 16) as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let n = (WORDS - skip).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            match now.first_chunk_mut::<WORDS>() {
                Some(all) => sixteen(&key_words, block, all),
                None => {
                    let mut all = [0; WORDS];
                    sixteen(&key_words, block, &mut all);
                    now.copy_from_slice(&all[skip..skip + n]);
                }
            }
            (block, skip, rest) = (block.wrapping_add(16), 0, later);
        }
    }

    /// The sixteen blocks from number `first`: word w of all blocks in register w, turned at the end.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn sixteen(key: &[u32; 8], first: u64, out: &mut [u32; WORDS]) {
        let mut start = [_mm512_setzero_si512(); 16];
        for (register, word) in start.iter_mut().zip(CONSTANTS.iter().chain(key)) {
            *register = _mm512_set1_epi32(*word as i32);
        }
        let (mut low, mut high) = ([0; 16], [0; 16]);
        for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            let counter = first.wrapping_add(i as u64);
            (*low, *high) = (counter as u32, (counter >> 32) as u32);
        }
        // SAFETY: both arrays are 64 bytes long.
        unsafe {
            start[12] = _mm512_loadu_si512(low.as_ptr().cast());
            start[13] = _mm512_loadu_si512(high.as_ptr().cast());
        }
        let mut x = start;
        for _ in 0..4 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
                quarter(&mut x, a, b, c, d);
            }
            for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
                quarter(&mut x, a, b, c, d);
            }
        }
        let mut sums = [_mm512_setzero_ps(); 16];
        for ((sum, x), start) in sums.iter_mut().zip(x).zip(start) {
            *sum = _mm512_castsi512_ps(_mm512_add_epi32(x, start));
        }
        for (block, row) in out.as_chunks_mut::<16>().0.iter_mut().zip(turn(sums)) {
            // SAFETY: a block is 64 bytes long.
            unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), _mm512_castps_si512(row)) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn quarter(x: &mut [__m512i; 16], a: usize, b: usize, c: usize, d: usize) {
        x[a] = _mm512_add_epi32(x[a], x[b]);
        x[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(x[d], x[a]));
        x[c] = _mm512_add_epi32(x[c], x[d]);
        x[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(x[b], x[c]));
        x[a] = _mm512_add_epi32(x[a], x[b]);
        x[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(x[d], x[a]));
        x[c] = _mm512_add_epi32(x[c], x[d]);
        x[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(x[b], x[c]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ChaCha8 by the definition, one block.
    fn slow(key: &[u8; 32], block: u64) -> [u32; 16] {
        let word =
            |i: usize| u32::from_le_bytes([key[4 * i], key[4 * i + 1], key[4 * i + 2], key[4 * i + 3]]);
        let text = b"expand 32-byte k";
        let mut start = [0u32; 16];
        for i in 0..4 {
            start[i] = u32::from_le_bytes([text[4 * i], text[4 * i + 1], text[4 * i + 2], text[4 * i + 3]]);
        }
        (0..8).for_each(|i| start[4 + i] = word(i));
        (start[12], start[13]) = (block as u32, (block >> 32) as u32);
        let mut x = start;
        for round in 0..8 {
            for i in 0..4 {
                // Columns, then diagonals.
                let at = |row: usize| 4 * row + (i + (round % 2) * row) % 4;
                let [a, b, c, d] = [at(0), at(1), at(2), at(3)];
                for (left, right) in [(16, 12), (8, 7)] {
                    x[a] = x[a].wrapping_add(x[b]);
                    x[d] = (x[d] ^ x[a]).rotate_left(left);
                    x[c] = x[c].wrapping_add(x[d]);
                    x[b] = (x[b] ^ x[c]).rotate_left(right);
                }
            }
        }
        (0..16).for_each(|i| x[i] = x[i].wrapping_add(start[i]));
        x
    }

    #[test]
    fn a_key_of_zeros_gives_the_published_words() {
        // Strombergson, "Test Vectors for the Stream Cipher ChaCha", TC1, 256 bits of key, 8 rounds.
        let first = slow(&[0; 32], 0);
        assert_eq!(first[..4], [0x2fef_003e, 0xd640_5f89, 0xe8b8_5b7f, 0xa1a5_091f]);
    }

    #[test]
    fn blocks_are_those_of_the_definition_from_any_word_on() {
        let key: [u8; 32] = std::array::from_fn(|i| (i * i + 7) as u8);
        let carry = (1 << 36) - 80;
        for (position, n) in [(0, 1), (0, 256), (5, 256), (0, 700), (1234, 31), (carry, 600), (16, 16)] {
            let mut got = vec![0; n];
            if !chacha8(&key, position, &mut got) {
                assert!(got.iter().all(|w| *w == 0), "nothing is written where nothing is served");
                continue;
            }
            for (i, got) in got.iter().enumerate() {
                let at = position + i as u64;
                assert_eq!(*got, slow(&key, at / 16)[(at % 16) as usize], "word {at}");
            }
        }
    }
}
