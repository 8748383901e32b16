//! How stored bytes become rows: dequantised, or drawn as 0 and 1.
//!
//! ```text
//! u8              x̃ = (k + u)/256,  u = m·2⁻¹⁶, m uniform on 0…65535, keyed by the address
//! binary_static   x ~ Bernoulli(k/255), keyed by the item: drawn once and for all, for every seed
//! binary_dynamic  x ~ Bernoulli(k/255), keyed by the address: drawn anew each epoch
//! ```
//!
//! `k + u` has 24 significant bits, so x̃ is exact in f32, lies in [0, 1) and gives `⌊256 x̃⌋ = k` back.

use std::ops::Range;

use genzoo_core::{Batch, DataSpec, Device, Error, Noise, Result, Space, Split, Tensor};
use rayon::prelude::*;

use super::split_name;

/// The values `space=` accepts.
pub const SPACES: &[&str] = &["u8", "binary_static", "binary_dynamic"];

/// The space of images called `name`, one of [`SPACES`].
///
/// # Errors
/// If the name is none of them.
pub fn space(name: &str) -> Result<Space> {
    match name {
        "u8" => Ok(Space::U8),
        "binary_static" => Ok(Space::BinaryStatic),
        "binary_dynamic" => Ok(Space::BinaryDynamic),
        _ => Err(Error::unknown("space", name, SPACES.iter().copied())),
    }
}

/// Presents the bytes of one data set in one space.
#[derive(Clone, Debug)]
pub struct Pixels {
    space: Space,
    shape: [usize; 3],
    fresh: Noise,
    fixed: Noise,
}

impl Pixels {
    /// For images of `shape` = `[channels, height, width]` of the data set called `name`.
    ///
    /// `noise` is the data set's stream (a function of the seed); the static draw does not depend on it.
    pub fn new(name: &str, space: Space, shape: [usize; 3], noise: &Noise) -> Self {
        Self {
            space,
            shape,
            fresh: noise.fork("pixels"),
            fixed: Noise::new(0).fork("binary_static").fork(name),
        }
    }

    /// What a model may know of such rows.
    pub fn spec(&self, classes: Option<usize>) -> DataSpec {
        DataSpec { shape: self.shape.to_vec(), space: self.space, classes, range: Some((0.0, 1.0)) }
    }

    /// The rows with these addresses. `items` are the stored numbers of the rows (the static draw is keyed
    /// by them), `bytes` their pixels one row after the other, `labels` their classes.
    ///
    /// # Errors
    /// If the lengths do not fit together.
    pub fn batch(
        &self,
        split: Split,
        rows: Range<u64>,
        items: &[u64],
        bytes: &[u8],
        labels: Option<Vec<u32>>,
    ) -> Result<Batch> {
        let dims: usize = self.shape.iter().product();
        let b = items.len();
        if bytes.len() != b * dims || rows.end.saturating_sub(rows.start) != b as u64 {
            let expected = format!("{b} rows of {dims} bytes");
            return Err(Error::data("pixels", expected, format!("{} bytes for rows {rows:?}", bytes.len())));
        }
        let fresh = self.fresh.fork(split_name(split));
        let fixed = self.fixed.fork(split_name(split));
        let mut x = vec![0f32; b * dims];
        x.par_chunks_mut(dims.max(1)).zip(bytes.par_chunks(dims.max(1))).enumerate().for_each(
            |(i, (x, k))| match self.space {
                Space::BinaryStatic => bernoulli(k, fixed.at(items[i]), x),
                Space::BinaryDynamic => bernoulli(k, fresh.at(rows.start + i as u64), x),
                Space::U8 | Space::Continuous => dequantise(k, fresh.at(rows.start + i as u64), x),
            },
        );
        let [c, h, w] = self.shape;
        let x = Tensor::from_vec(x, (b, c, h, w), &Device::Cpu)?;
        let label = labels.map(|l| Tensor::from_vec(l, b, &Device::Cpu)).transpose()?;
        Ok(Batch { x, label, source: None, rows })
    }
}

/// `x̃ = (k + m·2⁻¹⁶)/256`: two 16-bit fractions from each word.
fn dequantise(k: &[u8], mut noise: Noise, x: &mut [f32]) {
    let words = noise.words(k.len().div_ceil(2));
    for (i, (x, &k)) in x.iter_mut().zip(k).enumerate() {
        let m = (words[i / 2] >> (16 * (i % 2))) & 0xffff;
        *x = ((u32::from(k) << 16) | m) as f32 * (1.0 / 16_777_216.0);
    }
}

/// `x = 1` with probability `k/255`, exactly 0 or 1 at the ends.
fn bernoulli(k: &[u8], mut noise: Noise, x: &mut [f32]) {
    for ((x, &k), word) in x.iter_mut().zip(k).zip(noise.words(k.len())) {
        *x = f32::from(u8::from(u64::from(word) * 255 < u64::from(k) << 32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(space: Space, split: Split, start: u64, items: &[u64], bytes: &[u8]) -> Vec<f32> {
        let pixels = Pixels::new("test", space, [1, 16, 16], &Noise::new(3));
        let rows = start..start + items.len() as u64;
        pixels.batch(split, rows, items, bytes, None).unwrap().x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn every_byte() -> Vec<u8> {
        (0..=255).collect()
    }

    #[test]
    fn dequantisation_gives_the_byte_back_and_is_uniform_within_it() {
        let mut fractions = Vec::new();
        for address in 0..40 {
            for (k, x) in
                every_byte().iter().zip(values(Space::U8, Split::Train, address, &[0], &every_byte()))
            {
                assert!((0.0..1.0).contains(&x));
                assert_eq!((256.0 * x).floor(), f32::from(*k));
                fractions.push(f64::from(256.0 * x - f32::from(*k)));
            }
        }
        let n = fractions.len() as f64;
        let mean = fractions.iter().sum::<f64>() / n;
        let square = fractions.iter().map(|u| u * u).sum::<f64>() / n;
        assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / n).sqrt(), "mean {mean}");
        assert!((square - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / n).sqrt(), "mean square {square}");
    }

    #[test]
    fn binary_pixels_have_the_probability_of_their_byte() {
        let draws = 2000u64;
        let mut count = vec![0f64; 256];
        for a in 0..draws {
            for (c, x) in
                count.iter_mut().zip(values(Space::BinaryDynamic, Split::Test, a, &[0], &every_byte()))
            {
                *c += f64::from(x);
            }
        }
        assert_eq!((count[0], count[255]), (0.0, draws as f64));
        let chi2: f64 = (1..255)
            .map(|k| {
                let p = k as f64 / 255.0;
                (count[k] - draws as f64 * p).powi(2) / (draws as f64 * p * (1.0 - p))
            })
            .sum();
        // 254 degrees of freedom: mean 254, standard deviation 22.5.
        assert!((chi2 - 254.0).abs() < 4.0 * 22.5, "chi2 {chi2}");
    }

    #[test]
    fn dynamic_draws_follow_the_address_and_static_draws_the_item() {
        let grey = vec![128u8; 256];
        let at = |space, address, item| values(space, Split::Train, address, &[item], &grey);
        assert_eq!(at(Space::BinaryStatic, 4, 9), at(Space::BinaryStatic, 77, 9));
        assert_ne!(at(Space::BinaryStatic, 4, 9), at(Space::BinaryStatic, 4, 8));
        assert_ne!(at(Space::BinaryDynamic, 4, 9), at(Space::BinaryDynamic, 77, 9));
        assert_eq!(at(Space::BinaryDynamic, 4, 9), at(Space::BinaryDynamic, 4, 8));
        assert_ne!(at(Space::U8, 4, 9), at(Space::U8, 77, 9));
        let both = values(Space::U8, Split::Train, 4, &[9, 9], &[grey.clone(), grey.clone()].concat());
        assert_eq!(both[..256], at(Space::U8, 4, 9)[..]);
        assert_eq!(both[256..], at(Space::U8, 5, 9)[..]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let pixels = Pixels::new("test", Space::U8, [1, 2, 2], &Noise::new(0));
        assert!(pixels.batch(Split::Train, 0..2, &[0, 1], &[0; 7], None).is_err());
        assert!(pixels.batch(Split::Train, 0..3, &[0, 1], &[0; 8], None).is_err());
    }
}
