//! Points of the plane, model over data.

use std::path::Path;

use candle_core::{DType, Tensor};
use genzoo_core::checkpoint::write_atomic;
use genzoo_core::{Error, Result};

use super::Picture;
use super::canvas::{Canvas, Color, PAPER};

/// Width and height of the picture.
const SIDE: u32 = 360;
/// Radius of a point, in pixels, and how much of what lies beneath it hides.
const RADIUS: f64 = 1.7;
const OPACITY: f64 = 0.55;
const REAL: Color = [190.0, 194.0, 200.0];
const MODEL: Color = [36.0, 84.0, 140.0];

/// A square piece of the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its centre.
    pub center: [f64; 2],
    /// Half its side.
    pub half: f64,
}

impl Window {
    /// The window that shows all but the outermost hundredth of the points on each side, with a margin.
    ///
    /// # Errors
    /// If there are no finite points.
    pub fn around(points: &Tensor) -> Result<Self> {
        let points = plane(points)?;
        let range = |axis: usize| {
            let mut v: Vec<f64> = points.iter().map(|p| p[axis]).filter(|v| v.is_finite()).collect();
            v.sort_by(f64::total_cmp);
            let cut = v.len() / 100;
            Some((*v.get(cut)?, *v.get(v.len().checked_sub(1 + cut)?)?))
        };
        let (Some(x), Some(y)) = (range(0), range(1)) else {
            return Err(Error::data("points to draw", "at least one finite point", "none"));
        };
        let half = 0.5 * (x.1 - x.0).max(y.1 - y.0);
        Ok(Self {
            center: [0.5 * (x.0 + x.1), 0.5 * (y.0 + y.1)],
            half: if half > 0.0 { 1.18 * half } else { 1.0 },
        })
    }

    /// Pixel coordinates of a point; the second axis points up.
    pub(super) fn place(&self, p: [f64; 2], side: f64) -> (f64, f64) {
        let unit = |v: f64, c: f64| 0.5 + 0.5 * (v - c) / self.half;
        (unit(p[0], self.center[0]) * side, (1.0 - unit(p[1], self.center[1])) * side)
    }

    /// The point in the middle of a pixel.
    pub(super) fn point(&self, x: u32, y: u32, side: u32) -> [f64; 2] {
        let unit = |i: u32| 2.0 * (f64::from(i) + 0.5) / f64::from(side) - 1.0;
        [self.center[0] + self.half * unit(x), self.center[1] - self.half * unit(y)]
    }
}

/// The first two coordinates of `(n, d)`; points of the line get their order as the second.
fn plane(points: &Tensor) -> Result<Vec<[f64; 2]>> {
    let (n, d) = points.dims2()?;
    let values = points.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let point = |(i, p): (usize, &[f64])| match p {
        [x] => [*x, i as f64 / n as f64],
        [x, y, ..] => [*x, *y],
        [] => [f64::NAN; 2],
    };
    Ok(values.chunks_exact(d.max(1)).enumerate().map(point).collect())
}

/// Points in blue over `real` ones in grey. Without a window, that of the real points, or of the points.
///
/// # Errors
/// If a tensor is not `(n, d)` or nothing is finite.
pub fn scatter(points: &Tensor, real: Option<&Tensor>, window: Option<Window>) -> Result<Picture> {
    let window = match window {
        Some(window) => window,
        None => Window::around(real.unwrap_or(points))?,
    };
    let mut canvas = Canvas::from_fn(SIDE, |_, _| PAPER);
    if let Some(real) = real {
        paint(&mut canvas, real, window, REAL)?;
    }
    paint(&mut canvas, points, window, MODEL)?;
    Ok(canvas.picture())
}

/// Draws points on a canvas of [`SIDE`] pixels.
pub(super) fn paint(canvas: &mut Canvas, points: &Tensor, window: Window, color: Color) -> Result<()> {
    for p in plane(points)? {
        canvas.dot(window.place(p, f64::from(SIDE)), RADIUS, color, OPACITY);
    }
    Ok(())
}

/// Writes [`scatter`].
///
/// # Errors
/// As [`scatter`], or if the disk refuses.
pub fn scatter_png(points: &Tensor, real: Option<&Tensor>, path: &Path) -> Result<()> {
    write_atomic(path, &scatter(points, real, None)?.png()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn points_lie_where_they_should_and_up_is_up() -> Result<()> {
        let window = Window { center: [0.0, 0.0], half: 2.0 };
        let x =
            Tensor::new(&[[1.0f64, 1.0], [50.0, 0.0], [f64::NAN, 0.0], [f64::INFINITY, 0.0]], &Device::Cpu)?;
        let picture = scatter(&x, None, Some(window))?;
        assert!(picture.pixel(270, 90)[0] < 200, "upper right");
        for (x, y) in [(90, 90), (90, 270), (270, 270), (180, 180)] {
            assert_eq!(picture.pixel(x, y), [255; 3]);
        }
        let back = window.point(270, 90, SIDE);
        assert!((back[0] - 1.0).abs() < 0.02 && (back[1] - 1.0).abs() < 0.02);
        Ok(())
    }

    #[test]
    fn the_window_is_that_of_the_bulk() -> Result<()> {
        let mut v: Vec<f64> = (0..400).map(|i| f64::from(i % 200) / 100.0 - 1.0).collect();
        v[0] = 1e9;
        let w = Window::around(&Tensor::from_vec(v, (200, 2), &Device::Cpu)?)?;
        assert!(w.half < 1.5 && w.center[0].abs() < 0.1, "{w:?}");
        let same = Window::around(&Tensor::new(&[[3.0f64, 4.0]], &Device::Cpu)?)?;
        assert_eq!(same, Window { center: [3.0, 4.0], half: 1.0 });
        assert!(Window::around(&Tensor::new(&[[f64::NAN, 4.0]], &Device::Cpu)?).is_err());
        assert!(scatter(&Tensor::new(&[[3.0f64], [4.0]], &Device::Cpu)?, None, None).is_ok());
        Ok(())
    }
}
