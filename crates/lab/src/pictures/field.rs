//! A vector field on a square of the plane, as arrows over the data.

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Error, Result};

use super::canvas::{Canvas, Color, PAPER};
use super::scatter::paint;
use super::{Picture, Window};

/// Width and height of the picture.
const SIDE: u32 = 360;
/// Arrows along a side.
const ARROWS: u32 = 15;
const ARROW: Color = [36.0, 84.0, 140.0];
const DATA: Color = [206.0, 209.0, 214.0];

/// Arrows along `field`, over `real` points in grey. Lengths are relative to the ninth decile; longer ones are cut, so
/// that a few large vectors do not hide the rest.
///
/// # Errors
/// If `field` fails or gives anything but `(b, 2)`.
pub fn quiver(
    field: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    real: Option<&Tensor>,
    window: Window,
) -> Result<Picture> {
    let points: Vec<[f64; 2]> =
        (0..ARROWS * ARROWS).map(|i| window.point(i % ARROWS, i / ARROWS, ARROWS)).collect();
    let flat: Vec<f32> = points.iter().flatten().map(|v| *v as f32).collect();
    let arrows = field(&Tensor::from_vec(flat, (points.len(), 2), &Device::Cpu)?)?.to_dtype(DType::F64)?;
    if arrows.dims() != [points.len(), 2] {
        let want = format!("({}, 2)", points.len());
        return Err(Error::data("a vector field on the plane", want, format!("{:?}", arrows.dims())));
    }
    let arrows = arrows.to_vec2::<f64>()?;
    let mut lengths: Vec<f64> = arrows.iter().map(|a| a[0].hypot(a[1])).filter(|l| l.is_finite()).collect();
    lengths.sort_by(f64::total_cmp);
    let unit = lengths.get(9 * lengths.len() / 10).copied().filter(|l| *l > 0.0).unwrap_or(1.0);
    let mut canvas = Canvas::from_fn(SIDE, |_, _| PAPER);
    if let Some(real) = real {
        paint(&mut canvas, real, window, DATA)?;
    }
    let side = f64::from(SIDE);
    let longest = 0.92 * side / f64::from(ARROWS);
    for (point, arrow) in points.iter().zip(&arrows) {
        let length = arrow[0].hypot(arrow[1]);
        if !length.is_finite() || length == 0.0 {
            continue;
        }
        let drawn = longest * (length / unit).min(1.0);
        // The second axis of a picture points down.
        let (dx, dy) = (arrow[0] / length * drawn, -arrow[1] / length * drawn);
        let (x, y) = window.place(*point, side);
        let tip = (x + 0.5 * dx, y + 0.5 * dy);
        canvas.line((x - 0.5 * dx, y - 0.5 * dy), tip, 1.2, ARROW, 0.9);
        for turn in [-1.0, 1.0] {
            let barb = (tip.0 - 0.28 * dx - 0.16 * turn * dy, tip.1 - 0.28 * dy + 0.16 * turn * dx);
            canvas.line(barb, tip, 1.2, ARROW, 0.9);
        }
    }
    Ok(canvas.picture())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_along_the_field() -> Result<()> {
        let window = Window { center: [0.0, 0.0], half: 1.0 };
        // To the right everywhere: ink on the line through the middle of an arrow, with the head at its right.
        let right = Tensor::new(&[[1f64, 0.0]], &Device::Cpu)?;
        let p = quiver(&mut |x| Ok(right.broadcast_as((x.dim(0)?, 2))?), None, window)?;
        let cell = 360.0 / 15.0;
        let (x, y) = (7.5 * cell, 7.5 * cell);
        let at = |dx: f64, dy: f64| p.pixel((x + dx) as u32, (y + dy) as u32)[0];
        assert!(at(-8.0, 0.0) < 170 && at(8.0, 0.0) < 170, "the shaft");
        assert!(at(6.0, 2.4) < 230 && at(6.0, -2.4) < 230 && at(-6.0, 3.0) == 255, "the head");
        let wrong = quiver(&mut |x| Ok(x.narrow(1, 0, 1)?), None, window);
        assert!(wrong.is_err());
        let still = quiver(&mut |x| Ok((x * 0.0)?), None, window)?;
        assert_eq!(still.pixel(180, 180), [255; 3]);
        Ok(())
    }
}
