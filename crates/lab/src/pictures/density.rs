//! A density on a square of the plane, white to blue.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use genzoo_core::checkpoint::write_atomic;
use genzoo_core::{Error, Result};
use image::{Rgb, RgbImage};

use super::{Picture, Window};

const SIDE: u32 = 240;
const PAPER: [f64; 3] = [255.0, 255.0, 255.0];
const INK: [f64; 3] = [20.0, 60.0, 120.0];

/// Draws `exp(log_prob)` relative to its maximum, on a scale of square roots so that tails are seen, and writes it.
/// `log_prob` gets points `(b, 2)` and gives `(b,)`.
///
/// # Errors
/// If `log_prob` fails or gives another number of values, or the disk refuses.
pub fn density_png(
    log_prob: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    window: Window,
    path: &Path,
) -> Result<()> {
    let points: Vec<f32> =
        (0..SIDE * SIDE).flat_map(|i| window.point(i % SIDE, i / SIDE, SIDE).map(|v| v as f32)).collect();
    let mut values = Vec::with_capacity((SIDE * SIDE) as usize);
    for part in points.chunks(2 * 4000) {
        let x = Tensor::from_slice(part, (part.len() / 2, 2), &Device::Cpu)?;
        values.extend(log_prob(&x)?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    if values.len() != (SIDE * SIDE) as usize {
        return Err(Error::data("log-densities", (SIDE * SIDE).to_string(), values.len()));
    }
    let top = values.iter().copied().filter(|v| v.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let color = |x: u32, y: u32| {
        let v = (0.5 * (values[(y * SIDE + x) as usize] - top)).exp();
        if v.is_nan() {
            Rgb([210, 40, 40])
        } else {
            Rgb(std::array::from_fn(|c| (PAPER[c] + v.min(1.0) * (INK[c] - PAPER[c])).round() as u8))
        }
    };
    write_atomic(path, &Picture(RgbImage::from_fn(SIDE, SIDE, color)).png()?)
}
