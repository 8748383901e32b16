//! Models as pictures: a grid of images, points of the plane, a density, a field of arrows.
//!
//! A [`Picture`] is made in memory and written atomically; the report embeds it as it is. A [`Gallery`] is what a run
//! shows beside its samples.

mod canvas;
mod density;
mod field;
mod folder;
mod gallery;
mod grid;
mod scatter;

use std::io::Cursor;
use std::path::Path;

use candle_core::Tensor;
use genzoo_core::checkpoint::write_atomic;
use genzoo_core::{Error, Result};
use image::{ImageFormat, RgbImage};

pub use density::{Grid, LogDensity, density};
pub use field::quiver;
pub use folder::read_folder;
pub use gallery::{Gallery, Shown};
pub use grid::{grid, grid_png};
pub use scatter::{Window, scatter, scatter_png};

/// A picture in memory, 8 bits of red, green and blue.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture(RgbImage);

impl Picture {
    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        let encoded = self.0.write_to(&mut bytes, ImageFormat::Png);
        encoded.map_err(|e| Error::Unsupported(format!("cannot encode a picture: {e}")))?;
        Ok(bytes.into_inner())
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    /// The pixel at column `x`, row `y`.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        self.0.get_pixel(x, y).0
    }
}

/// Samples of any kind: images as a grid, points as a scatter of their first two coordinates (on the line: against
/// their order).
///
/// # Errors
/// If there are none, or they are neither.
pub fn samples(x: &Tensor, window: Option<Window>) -> Result<Picture> {
    match x.dims() {
        [0, ..] => Err(Error::data("samples to draw", "at least one", 0)),
        [n, _, _, _] => grid(x, (*n as f64).sqrt().ceil() as usize),
        [_, _] => scatter(x, None, window),
        dims => Err(Error::data("samples to draw", "(n, d) or (n, c, h, w)", format!("{dims:?}"))),
    }
}

/// Writes [`samples`].
///
/// # Errors
/// As [`samples`], or if the disk refuses.
pub fn samples_png(x: &Tensor, path: &Path) -> Result<()> {
    write_atomic(path, &samples(x, None)?.png()?)
}
