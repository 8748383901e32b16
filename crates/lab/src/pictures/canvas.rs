//! A square of paper on which points and lines are blended.

use image::{Rgb, RgbImage};

use super::Picture;

pub(super) type Color = [f64; 3];
pub(super) const PAPER: Color = [255.0, 255.0, 255.0];

/// `side × side` colours that can be drawn over.
pub(super) struct Canvas {
    side: u32,
    ink: Vec<Color>,
}

impl Canvas {
    /// The colour of each pixel from its column and row.
    pub(super) fn from_fn(side: u32, color: impl Fn(u32, u32) -> Color) -> Self {
        Self { side, ink: (0..side * side).map(|i| color(i % side, i / side)).collect() }
    }

    /// Blends `color` over the pixels around a shape within `left..right`, `top..bottom`, as much as `cover` says of
    /// the middle of each.
    fn blend(&mut self, [left, right, top, bottom]: [f64; 4], color: Color, cover: impl Fn(f64, f64) -> f64) {
        let end = f64::from(self.side) - 1.0;
        // What lies outside, or is not a number, is not drawn.
        if !(left <= end && top <= end && right >= 0.0 && bottom >= 0.0) {
            return;
        }
        let cells = |a: f64, b: f64| (a - 1.0).clamp(0.0, end) as u32..=(b + 1.0).clamp(0.0, end) as u32;
        for row in cells(top, bottom) {
            for column in cells(left, right) {
                let a = cover(f64::from(column) + 0.5, f64::from(row) + 0.5);
                let under = &mut self.ink[(row * self.side + column) as usize];
                under.iter_mut().zip(color).for_each(|(u, c)| *u += a * (c - *u));
            }
        }
    }

    /// A round point.
    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, color: Color, opacity: f64) {
        let around = [x - radius, x + radius, y - radius, y + radius];
        self.blend(around, color, |u, v| opacity * (radius + 0.5 - (u - x).hypot(v - y)).clamp(0.0, 1.0));
    }

    /// A line with round ends.
    pub(super) fn line(&mut self, a: (f64, f64), b: (f64, f64), width: f64, color: Color, opacity: f64) {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let square = dx * dx + dy * dy;
        let half = 0.5 * width;
        let around = [a.0.min(b.0) - half, a.0.max(b.0) + half, a.1.min(b.1) - half, a.1.max(b.1) + half];
        self.blend(around, color, |u, v| {
            let t =
                if square > 0.0 { (((u - a.0) * dx + (v - a.1) * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
            opacity * (half + 0.5 - (u - a.0 - t * dx).hypot(v - a.1 - t * dy)).clamp(0.0, 1.0)
        });
    }

    pub(super) fn picture(&self) -> Picture {
        let pixel = |x: u32, y: u32| Rgb(self.ink[(y * self.side + x) as usize].map(|v| v.round() as u8));
        Picture(RgbImage::from_fn(self.side, self.side, pixel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_lie_where_they_should_and_nonsense_is_not_drawn() {
        let mut c = Canvas::from_fn(40, |_, _| PAPER);
        c.line((5.0, 20.5), (35.0, 20.5), 3.0, [0.0; 3], 1.0);
        c.dot((20.5, 5.5), 2.0, [255.0, 0.0, 0.0], 1.0);
        for bad in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (-1e300, 1e300), (900.0, 900.0)] {
            c.dot(bad, 3.0, [0.0; 3], 1.0);
            c.line(bad, bad, 3.0, [0.0; 3], 1.0);
        }
        let p = c.picture();
        assert_eq!((p.pixel(20, 20), p.pixel(20, 22)), ([0; 3], [255; 3]));
        assert_eq!((p.pixel(20, 5), p.pixel(1, 1), p.pixel(39, 39)), ([255, 0, 0], [255; 3], [255; 3]));
    }
}
