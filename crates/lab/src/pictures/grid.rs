//! Images side by side.

use std::path::Path;

use candle_core::{DType, Tensor};
use genzoo_core::checkpoint::write_atomic;
use genzoo_core::{Error, Result};
use image::{Rgb, RgbImage};

use super::Picture;

/// Space between images, in pixels of the picture.
const GAP: usize = 2;
const BETWEEN: Rgb<u8> = Rgb([222, 222, 226]);
/// Small images are enlarged by whole factors to at least this size.
const SIDE: usize = 56;

/// Images `(n, c, h, w)` with values in [0, 1] (clipped; what is not finite is red), one or three channels.
///
/// # Errors
/// If the shape is another one.
pub fn grid(images: &Tensor, columns: usize) -> Result<Picture> {
    let wrong = || Error::data("images to draw", "(n, 1 or 3, h, w)", format!("{:?}", images.dims()));
    let &[n, c, h, w] = images.dims() else {
        return Err(wrong());
    };
    if n == 0 || !matches!(c, 1 | 3) || h * w == 0 {
        return Err(wrong());
    }
    let values = images.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let columns = columns.clamp(1, n);
    let rows = n.div_ceil(columns);
    let zoom = SIDE.div_ceil(h.max(w)).max(1);
    let (tile_w, tile_h) = (w * zoom + GAP, h * zoom + GAP);
    let mut out =
        RgbImage::from_pixel((columns * tile_w + GAP) as u32, (rows * tile_h + GAP) as u32, BETWEEN);
    for (i, image) in values.chunks_exact(c * h * w).enumerate() {
        let (left, top) = (GAP + (i % columns) * tile_w, GAP + (i / columns) * tile_h);
        for y in 0..h * zoom {
            for x in 0..w * zoom {
                let at = |channel: usize| image[(channel.min(c - 1) * h + y / zoom) * w + x / zoom];
                out.put_pixel((left + x) as u32, (top + y) as u32, color([at(0), at(1), at(2)]));
            }
        }
    }
    Ok(Picture(out))
}

fn color(v: [f32; 3]) -> Rgb<u8> {
    if v.iter().all(|v| v.is_finite()) {
        Rgb(v.map(|v| (255.0 * v.clamp(0.0, 1.0)).round() as u8))
    } else {
        Rgb([210, 40, 40])
    }
}

/// Writes [`grid`].
///
/// # Errors
/// As [`grid`], or if the disk refuses.
pub fn grid_png(images: &Tensor, columns: usize, path: &Path) -> Result<()> {
    write_atomic(path, &grid(images, columns)?.png()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn every_image_lies_where_it_should() -> Result<()> {
        let n = 5;
        let values: Vec<f32> = (0..n * 4).map(|i| (i / 4) as f32 / 4.0).collect();
        let picture = grid(&Tensor::from_vec(values, (n, 1, 2, 2), &Device::Cpu)?, 3)?;
        let tile = 56 + GAP as u32;
        assert_eq!(picture.size(), (3 * tile + 2, 2 * tile + 2));
        for i in 0..n as u32 {
            let grey = (255.0 * i as f32 / 4.0).round() as u8;
            assert_eq!(picture.pixel(30 + (i % 3) * tile, 30 + (i / 3) * tile), [grey; 3]);
        }
        Ok(())
    }

    #[test]
    fn values_beyond_the_range_are_clipped_and_nan_is_seen() -> Result<()> {
        let x = Tensor::new(&[[[[-1f32, 7.0], [f32::NAN, f32::INFINITY]]]], &Device::Cpu)?;
        let picture = grid(&x, 8)?;
        let got = [(10, 10), (50, 10), (10, 50), (50, 50)].map(|(x, y)| picture.pixel(x, y));
        assert_eq!(got, [[0; 3], [255; 3], [210, 40, 40], [210, 40, 40]]);
        assert!(grid(&Tensor::zeros((1, 2, 3, 3), DType::F32, &Device::Cpu)?, 1).is_err());
        assert_eq!(&picture.png()?[1..4], b"PNG");
        Ok(())
    }
}
