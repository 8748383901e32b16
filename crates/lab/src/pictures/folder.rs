//! A folder of PNG files as samples, whoever made them.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use genzoo_core::{Error, Result};
use image::{ImageReader, Limits, RgbImage};

/// Most files that are read.
const MOST_FILES: usize = 100_000;
/// Largest side of an image.
const MOST_SIDE: u32 = 2048;

/// All `.png` files of a folder in the order of their names, `(n, c, h, w)` with values in [0, 1]: one channel if
/// all are grey, whether or not they say so three times, else three.
///
/// # Errors
/// If there are none, they differ in size, or one cannot be read.
pub fn read_folder(folder: &Path) -> Result<Tensor> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(Error::io("list", folder))?
        .map(|entry| entry.map(|e| e.path()).map_err(Error::io("list", folder)))
        .collect::<Result<_>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")));
    files.sort();
    if files.is_empty() || files.len() > MOST_FILES {
        let found = format!("expected 1 to {MOST_FILES} PNG files, found {}", files.len());
        return Err(Error::file(folder, found));
    }
    let images = files.iter().map(|f| decode(f)).collect::<Result<Vec<_>>>()?;
    let (w, h) = (images[0].width(), images[0].height());
    if let Some(i) = images.iter().position(|image| (image.width(), image.height()) != (w, h)) {
        let (got_w, got_h) = (images[i].width(), images[i].height());
        return Err(Error::file(
            &files[i],
            format!("expected {w}×{h} pixels as the first file, found {got_w}×{got_h}"),
        ));
    }
    let grey = images.iter().all(|image| !image.color().has_color() || is_grey(&image.to_rgb8()));
    let (n, w, h) = (images.len(), w as usize, h as usize);
    let mut values = Vec::with_capacity(n * w * h * if grey { 1 } else { 3 });
    for image in images {
        if grey {
            values.extend(image.into_luma8().into_raw().into_iter().map(|v| f32::from(v) / 255.0));
        } else {
            let raw = image.into_rgb8().into_raw();
            for channel in 0..3 {
                values.extend(raw.iter().skip(channel).step_by(3).map(|v| f32::from(*v) / 255.0));
            }
        }
    }
    Ok(Tensor::from_vec(values, (n, if grey { 1 } else { 3 }, h, w), &Device::Cpu)?)
}

fn is_grey(image: &RgbImage) -> bool {
    image.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2])
}

fn decode(path: &Path) -> Result<image::DynamicImage> {
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(Error::io("read", path))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    reader.limits(limits);
    reader.decode().map_err(|e| Error::file(path, format!("expected a PNG picture: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::Picture;
    use image::Rgb;

    fn write(folder: &Path, name: &str, side: u32, color: [u8; 3]) -> Result<()> {
        let png = Picture(RgbImage::from_pixel(side, side, Rgb(color))).png()?;
        std::fs::write(folder.join(name), png).map_err(Error::io("write", folder))
    }

    #[test]
    fn colours_come_back_in_the_order_of_names() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
        let at = folder.path();
        assert!(read_folder(at).is_err(), "empty");
        write(at, "a.png", 4, [51, 51, 51])?;
        let x = read_folder(at)?;
        assert_eq!((x.dims(), x.max_all()?.to_scalar::<f32>()?), (&[1, 1, 4, 4][..], 0.2));
        write(at, "b.png", 4, [0, 51, 255])?;
        write(at, "a.png", 4, [255, 255, 255])?;
        let x = read_folder(at)?;
        assert_eq!(x.dims(), [2, 3, 4, 4]);
        let v = x.flatten_from(2)?.max(2)?.to_vec2::<f32>()?;
        assert_eq!(v, [[1.0, 1.0, 1.0], [0.0, 0.2, 1.0]]);
        write(at, "c.png", 5, [0, 0, 0])?;
        assert!(read_folder(at).expect_err("another size").to_string().contains("c.png"));
        std::fs::write(at.join("c.png"), b"\x89PNG nonsense").map_err(Error::io("write", at))?;
        assert!(read_folder(at).is_err());
        Ok(())
    }
}
