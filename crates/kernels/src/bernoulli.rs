//! Random words against probabilities: the comparison of a Bernoulli draw. It draws nothing itself.

use crate::simd::{Job, dispatch};

/// `out = 1` where `u < p`, else 0, u being the midpoint `(w + ½) / 2³²` of the word's cell, rounded to f32; as far as
/// the shortest slice reaches.
pub fn ones_below(words: &[u32], p: &[f32], out: &mut [f32]) {
    struct Below<'a>(&'a [u32], &'a [f32], &'a mut [f32]);
    impl Job for Below<'_> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Self(words, p, out) = self;
            for ((one, w), p) in out.iter_mut().zip(words).zip(p) {
                let u = ((f64::from(*w) + 0.5) * (1.0 / 4_294_967_296.0)) as f32;
                *one = f32::from(u < *p);
            }
        }
    }
    dispatch(Below(words, p, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_are_where_the_midpoint_lies_below() {
        // A quarter of the words lie below ¼; the last cells round to 1, which is not below 1; nothing is below NaN.
        let words = [0, 1 << 30, (1 << 30) - 1, 1 << 31, u32::MAX, u32::MAX, 0, 5];
        let p = [0.0, 0.25, 0.25, 0.5, 1.0, 1.5, 1e-9, f32::NAN];
        let mut out = [7.0; 8];
        ones_below(&words, &p, &mut out);
        // (2³⁰ − ½) / 2³² rounds to ¼ in f32, as (2³¹ + ½) / 2³² does to ½.
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        let words: Vec<u32> = (0..1000u32).map(|i| i.wrapping_mul(2_654_435_769)).collect();
        let p: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
        let mut out = vec![7.0; 1000];
        ones_below(&words, &p, &mut out);
        for ((one, w), p) in out.iter().zip(&words).zip(&p) {
            // In integers: 2w + 1 against p 2³³, far from a tie.
            let exact = f64::from(*p) * 8_589_934_592.0 - (2.0 * f64::from(*w) + 1.0);
            assert!(exact.abs() < 1e4 || (*one == 1.0) == (exact > 0.0), "{w} {p}");
        }
    }
}
