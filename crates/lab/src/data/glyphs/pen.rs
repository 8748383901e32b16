//! The rasteriser: a round pen of varying radius along a polyline, antialiased by distance.
//!
//! ```text
//! grey = 255 · ramp(½ + (radius − distance)/soft),   ramp(t) = t²(3 − 2t) on [0, 1]
//! ```

/// A point of the pen's path with the radius of the pen there, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) radius: f64,
}

/// Width of the grey edge in pixels.
const SOFT: f64 = 1.3;

/// Draws the strokes on black, `size × size` bytes row by row. Pixel `(i, j)` has its centre at `(j + ½, i + ½)`.
pub(super) fn render(strokes: &[Vec<Dot>], size: usize) -> Box<[u8]> {
    // The largest radius − distance of any pen position.
    let mut depth = vec![f32::NEG_INFINITY; size * size];
    for stroke in strokes {
        if let [dot] = stroke[..] {
            segment(&mut depth, size, dot, dot);
        }
        for pair in stroke.windows(2) {
            segment(&mut depth, size, pair[0], pair[1]);
        }
    }
    depth.into_iter().map(grey).collect()
}

fn grey(depth: f32) -> u8 {
    let t = (0.5 + depth / SOFT as f32).clamp(0.0, 1.0);
    (255.0 * t * t * (3.0 - 2.0 * t)).round() as u8
}

fn segment(depth: &mut [f32], size: usize, a: Dot, b: Dot) {
    let reach = a.radius.max(b.radius) + 0.5 * SOFT;
    let span = |low: f64, high: f64| {
        let first = (low - reach - 0.5).ceil().clamp(0.0, size as f64) as usize;
        let last = (high + reach + 0.5).floor().clamp(0.0, size as f64) as usize;
        first..last
    };
    let (rows, columns) = (span(a.y.min(b.y), a.y.max(b.y)), span(a.x.min(b.x), a.x.max(b.x)));
    let (dx, dy, dr) = ((b.x - a.x) as f32, (b.y - a.y) as f32, (b.radius - a.radius) as f32);
    let over_square = 1.0 / (dx * dx + dy * dy).max(1e-12);
    for row in rows {
        let y = row as f32 + 0.5 - a.y as f32;
        for column in columns.clone() {
            let x = column as f32 + 0.5 - a.x as f32;
            let t = ((x * dx + y * dy) * over_square).clamp(0.0, 1.0);
            let (ex, ey) = (x - t * dx, y - t * dy);
            let here = a.radius as f32 + t * dr - (ex * ex + ey * ey).sqrt();
            let deepest = &mut depth[row * size + column];
            *deepest = deepest.max(here);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_a_disc_of_its_area() {
        let image = render(&[vec![Dot { x: 14.2, y: 13.7, radius: 6.0 }]], 28);
        let area: f64 = image.iter().map(|&v| f64::from(v) / 255.0).sum();
        assert!((area / (std::f64::consts::PI * 36.0) - 1.0).abs() < 0.02, "{area}");
        assert_eq!((image[13 * 28 + 14], image[0]), (255, 0));
    }

    #[test]
    fn a_line_has_its_width_in_every_direction() {
        for angle in [0.0f64, 0.4, 1.1, std::f64::consts::FRAC_PI_2] {
            let end = |s: f64| Dot {
                x: 32.0 + s * 20.0 * angle.cos(),
                y: 32.0 + s * 20.0 * angle.sin(),
                radius: 1.5,
            };
            let image = render(&[vec![end(-1.0), end(1.0)]], 64);
            let area: f64 = image.iter().map(|&v| f64::from(v) / 255.0).sum();
            let exact = 40.0 * 3.0 + std::f64::consts::PI * 2.25;
            assert!((area / exact - 1.0).abs() < 0.02, "{angle}: {area} against {exact}");
        }
    }

    #[test]
    fn strokes_may_leave_the_image_or_be_empty() {
        let far = Dot { x: -1e9, y: 1e9, radius: 2.0 };
        assert!(render(&[vec![far, far], vec![], vec![far]], 8).iter().all(|&v| v == 0));
    }
}
