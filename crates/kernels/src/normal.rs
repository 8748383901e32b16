//! Words to normals by the map of Box and Muller, with arithmetic of this file alone, so that a word gives the same normal
//! on every processor and with every standard library.
//!
//! ```text
//! u = (w + ½)/2³²,   z₁ = √(−2 ln u₁) cos 2πu₂,   z₂ = √(−2 ln u₁) sin 2πu₂
//! ```
//!
//! The turn 2πu₂ is brought to an eighth of a circle in integers, exactly. Error in f64: 4e-16 of the radius.
//!
//! Source: Box & Muller (1958); the logarithm is that of fdlibm (Sun Microsystems 1993).

use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::waves::{cosine, sine};

/// Pairs that are made together.
const PAIRS: usize = 16;
const CELL: f64 = 1.0 / 4_294_967_296.0;

/// Two words give two normals, side by side, as far as the shorter slice has pairs.
pub fn normals_f32(words: &[u32], out: &mut [f32]) {
    dispatch(Pairs(words, out));
}

/// [`normals_f32`] in f64: rounded, these are those.
pub fn normals_f64(words: &[u32], out: &mut [f64]) {
    dispatch(Pairs(words, out));
}

struct Pairs<'a, T>(&'a [u32], &'a mut [T]);

impl<T: Real> Job for Pairs<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(words, out) = self;
        for (words, out) in words.chunks(2 * PAIRS).zip(out.chunks_mut(2 * PAIRS)) {
            let (mut first, mut second) = ([0; PAIRS], [0; PAIRS]);
            for ((pair, a), b) in words.as_chunks::<2>().0.iter().zip(&mut first).zip(&mut second) {
                [*a, *b] = *pair;
            }
            let (mut along, mut across) = ([0.0; PAIRS], [0.0; PAIRS]);
            for i in 0..PAIRS {
                (along[i], across[i]) = pair(first[i], second[i]);
            }
            for ((out, a), b) in out.as_chunks_mut::<2>().0.iter_mut().zip(along).zip(across) {
                *out = [T::of(a), T::of(b)];
            }
        }
    }
}

#[inline(always)]
fn pair(first: u32, second: u32) -> (f64, f64) {
    let radius = (-2.0 * log_of_midpoint(first)).sqrt();
    // The nearest quarter of the circle, and what is left of it, from −⅛ to ⅛ of the circle.
    let quarter = second.wrapping_add(1 << 29) >> 30;
    let rest = second.wrapping_sub(quarter << 30) as i32;
    let angle = std::f64::consts::TAU * ((f64::from(rest) + 0.5) * CELL);
    let (s, c) = (sine(angle), cosine(angle));
    let (along, across) = if quarter & 1 == 0 { (c, s) } else { (s, c) };
    // The signs of (cos, sin) in the quarters are ++, −+, −−, +−.
    let along = if (quarter + 1) & 2 == 0 { along } else { -along };
    let across = if quarter & 2 == 0 { across } else { -across };
    (radius * along, radius * across)
}

/// `ln((w + ½)/2³²)`, within one unit of the last place.
#[inline(always)]
fn log_of_midpoint(w: u32) -> f64 {
    let bits = ((f64::from(w) + 0.5) * CELL).to_bits();
    // x = 2ᵏ (1 + f) with 1 + f from √½ to √2.
    let (high, low) = ((bits >> 32) as u32, bits & 0xffff_ffff);
    let fraction = high & 0xf_ffff;
    let carry = (fraction + 0x9_5f64) & 0x10_0000;
    let one_plus = f64::from_bits((u64::from(fraction | (carry ^ 0x3ff0_0000)) << 32) | low);
    let k = f64::from((high >> 20) as i32 - 1023 + (carry >> 20) as i32);
    let f = one_plus - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (0.399_999_999_994_094_2 + w * (0.222_221_984_321_497_84 + w * 0.153_138_376_992_093_73));
    let odd = z
        * (0.666_666_666_666_673_5
            + w * (0.285_714_287_436_623_9 + w * (0.181_835_721_616_180_5 + w * 0.147_981_986_051_165_86)));
    let half = 0.5 * f * f;
    k * 0.693_147_180_369_123_8 - ((half - (s * (half + (even + odd)) + k * 1.908_214_929_270_587_7e-10)) - f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words at both ends, around every border of quarters and eighths, and many between.
    fn words() -> Vec<u32> {
        let borders = (0..8u32).flat_map(|i| (-3..3).map(move |j: i32| (i << 29).wrapping_add_signed(j)));
        let logarithmic = (0..32).flat_map(|k| [1u32 << k, (1 << k) + 1, u32::MAX - (1 << k)]);
        let mut all: Vec<u32> = borders.chain(logarithmic).collect();
        all.extend((0..20_000u32).map(|i| i.wrapping_mul(2_654_435_769).rotate_left(i % 7)));
        // Every border meets every other kind of word.
        let n = all.len();
        (0..4 * n).flat_map(|i| [all[i % n], all[(i * 31 + i / n) % n]]).collect()
    }

    #[test]
    fn normals_are_those_of_the_standard_functions() {
        let words = words();
        let (mut wide, mut narrow) = (vec![0.0; words.len()], vec![0.0; words.len()]);
        normals_f64(&words, &mut wide);
        normals_f32(&words, &mut narrow);
        let unit = |w: u32| (f64::from(w) + 0.5) / 4_294_967_296.0;
        for (i, pair) in words.chunks(2).enumerate() {
            let radius = (-2.0 * unit(pair[0]).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * unit(pair[1])).sin_cos();
            // Rounding 2πu moves the standard functions' argument by up to 4.4e-16.
            for (got, want) in [(wide[2 * i], radius * cos), (wide[2 * i + 1], radius * sin)] {
                assert!((got - want).abs() < 1e-15 * radius, "{pair:?}: {got} {want}");
            }
            assert_eq!([narrow[2 * i], narrow[2 * i + 1]], [wide[2 * i] as f32, wide[2 * i + 1] as f32]);
        }
    }

    #[test]
    fn logarithms_are_within_a_unit_of_the_last_place() {
        for w in words() {
            let want = ((f64::from(w) + 0.5) / 4_294_967_296.0).ln();
            let got = log_of_midpoint(w);
            // The standard one may itself be off by a unit.
            assert!((got - want).abs() <= 2.0 * f64::EPSILON * want.abs(), "{w}: {got} {want}");
        }
    }

    #[test]
    fn an_odd_end_and_a_short_slice_leave_the_rest_alone() {
        let mut out = [7.0; 5];
        normals_f32(&[1, 2, 3, 4, 5], &mut out);
        assert!(out[..4].iter().all(|z| *z != 7.0) && out[4] == 7.0);
        normals_f32(&[], &mut []);
    }
}
