//! A density on a square of the plane, white to blue, under the contours of another.
//!
//! Colour is `√(p / max p)`, so that tails are seen. A contour encloses the smallest set that holds a given share of the
//! mass within the window (a highest-density region; Hyndman, 1996).

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Error, Result};

use super::canvas::{Canvas, Color, PAPER};
use super::{Picture, Window};

/// Width and height of the picture.
const SIDE: u32 = 360;
/// Points along a side of the grid, the finest that time allows.
const GRIDS: [u32; 6] = [24, 36, 54, 80, 120, 180];
const INK: Color = [20.0, 60.0, 120.0];
const FAULT: Color = [210.0, 40.0, 40.0];
const CONTOUR: Color = [214.0, 112.0, 36.0];
/// The shares of the mass within the contours.
const SHARES: [f64; 2] = [0.5, 0.95];

/// Gets points `(b, 2)`, gives their log-densities `(b,)`, up to a constant.
pub type LogDensity<'f> = dyn FnMut(&Tensor) -> Result<Tensor> + 'f;

/// A log-density on a square grid of points, the middles of equal cells.
#[derive(Clone, Debug)]
pub struct Grid {
    side: u32,
    values: Vec<f64>,
}

impl Grid {
    /// The values of `log_density` on the finest grid that takes about `seconds`; a first coarse one tells the speed.
    ///
    /// # Errors
    /// If `log_density` fails or gives another number of values.
    pub fn within(log_density: &mut LogDensity<'_>, window: Window, seconds: f64) -> Result<Self> {
        let start = Instant::now();
        let coarse = Self::of(log_density, window, GRIDS[0])?;
        let (spent, budget) = (start.elapsed(), Duration::from_secs_f64(seconds.clamp(0.0, 1e6)));
        let cost = |side: u32| spent.mul_f64(f64::from(side * side) / f64::from(GRIDS[0] * GRIDS[0]));
        let finer = GRIDS.iter().skip(1).rev().find(|s| spent + cost(**s) <= budget);
        finer.map_or(Ok(coarse), |side| Self::of(log_density, window, *side))
    }

    /// The values on `side × side` points.
    ///
    /// # Errors
    /// If `log_density` fails or gives another number of values.
    pub fn of(log_density: &mut LogDensity<'_>, window: Window, side: u32) -> Result<Self> {
        let points: Vec<f32> =
            (0..side * side).flat_map(|i| window.point(i % side, i / side, side).map(|v| v as f32)).collect();
        let mut values = Vec::with_capacity(points.len() / 2);
        for part in points.chunks(2 * 4000) {
            let x = Tensor::from_slice(part, (part.len() / 2, 2), &Device::Cpu)?;
            values.extend(log_density(&x)?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        }
        if values.len() != (side * side) as usize {
            return Err(Error::data("log-densities", (side * side).to_string(), values.len()));
        }
        Ok(Self { side, values })
    }

    /// Points along a side.
    pub fn side(&self) -> u32 {
        self.side
    }

    fn value(&self, column: u32, row: u32) -> f64 {
        self.values[(row * self.side + column) as usize]
    }

    /// The value at `(u, v)` in [0, 1]², rows downwards, between its four neighbours; where one of them is not finite,
    /// that of the nearest.
    fn at(&self, u: f64, v: f64) -> f64 {
        let last = f64::from(self.side - 1);
        let place = |t: f64| (t * f64::from(self.side) - 0.5).clamp(0.0, last);
        let (x, y) = (place(u), place(v));
        let (i, j) = (x.floor().min(last - 1.0).max(0.0), y.floor().min(last - 1.0).max(0.0));
        let (a, b) = (x - i, y - j);
        let corner = |di: u32, dj: u32| {
            self.value((i as u32 + di).min(self.side - 1), (j as u32 + dj).min(self.side - 1))
        };
        let four = [corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)];
        if four.iter().all(|v| v.is_finite()) {
            (1.0 - b) * ((1.0 - a) * four[0] + a * four[1]) + b * ((1.0 - a) * four[2] + a * four[3])
        } else {
            four[usize::from(a > 0.5) + 2 * usize::from(b > 0.5)]
        }
    }

    /// The largest finite value.
    fn top(&self) -> f64 {
        self.values.iter().copied().filter(|v| v.is_finite()).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The log-density at the edge of the smallest set that holds this share of the mass.
    fn level(&self, share: f64) -> Option<f64> {
        let top = self.top();
        let mut sorted: Vec<f64> = self.values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = sorted.iter().map(|v| (v - top).exp()).sum();
        let mut sum = 0.0;
        sorted.into_iter().find(|v| {
            sum += (v - top).exp();
            sum >= share * total
        })
    }

    /// The line on which the log-density is `level`, as segments in [0, 1]² (marching squares).
    fn contour(&self, level: f64) -> Vec<[(f64, f64); 2]> {
        // Where the density is zero the crossing stands in the middle rather than at infinity.
        let value = |i: u32, j: u32| {
            let v = self.value(i, j) - level;
            if v.is_finite() { v } else { -1.0 }
        };
        let place = |i: f64| (i + 0.5) / f64::from(self.side);
        let mut out = Vec::new();
        for (j, i) in (0..self.side - 1).flat_map(|j| (0..self.side - 1).map(move |i| (j, i))) {
            let corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)];
            let mut crossings = Vec::with_capacity(4);
            for k in 0..4 {
                let ((ai, aj), (bi, bj)) = (corners[k], corners[(k + 1) % 4]);
                let (a, b) = (value(ai, aj), value(bi, bj));
                if (a >= 0.0) != (b >= 0.0) {
                    let t = a / (a - b);
                    let between = |a: u32, b: u32| place(f64::from(a) + t * (f64::from(b) - f64::from(a)));
                    crossings.push((between(ai, bi), between(aj, bj)));
                }
            }
            // Two crossings are one segment, four (a saddle) are two.
            out.extend(crossings.chunks_exact(2).map(|c| [c[0], c[1]]));
        }
        out
    }
}

/// The density of `model` as a heat-map, under the contours of 50 % and 95 % of the mass of `truth`.
pub fn density(model: &Grid, truth: Option<&Grid>) -> Picture {
    let top = model.top();
    let unit = |i: u32| (f64::from(i) + 0.5) / f64::from(SIDE);
    let mut canvas = Canvas::from_fn(SIDE, |x, y| {
        let v = (0.5 * (model.at(unit(x), unit(y)) - top)).exp();
        if v.is_nan() { FAULT } else { std::array::from_fn(|c| PAPER[c] + v.min(1.0) * (INK[c] - PAPER[c])) }
    });
    let side = f64::from(SIDE);
    for (share, truth) in SHARES.into_iter().flat_map(|s| truth.map(|t| (s, t))) {
        for [a, b] in truth.level(share).map_or(Vec::new(), |level| truth.contour(level)) {
            canvas.line((a.0 * side, a.1 * side), (b.0 * side, b.1 * side), 1.3, CONTOUR, 1.0);
        }
    }
    canvas.picture()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(x: &Tensor) -> Result<Tensor> {
        Ok((x.sqr()?.sum(1)? * -0.5)?)
    }

    const WINDOW: Window = Window { center: [0.0, 0.0], half: 5.0 };

    #[test]
    fn contours_of_a_normal_are_circles_of_the_known_radius() -> Result<()> {
        let grid = Grid::of(&mut normal, WINDOW, 120)?;
        for share in SHARES {
            // P(r² ≤ R²) = 1 − exp(−R²/2) in two dimensions.
            let radius = (-2.0 * (1.0f64 - share).ln()).sqrt();
            let level = grid.level(share).expect("a level");
            assert!((level + 0.5 * radius * radius).abs() < 0.06, "{share}: {level}");
            let lines = grid.contour(level);
            assert!(lines.len() > 50);
            for (x, y) in lines.into_iter().flatten() {
                let r = (10.0 * x - 5.0).hypot(10.0 * y - 5.0);
                assert!((r - radius).abs() < 0.03, "{r} against {radius}");
            }
        }
        Ok(())
    }

    #[test]
    fn colours_follow_the_density_and_nonsense_is_seen() -> Result<()> {
        let grid = Grid::within(&mut normal, WINDOW, 1e9)?;
        assert_eq!((grid.side(), Grid::within(&mut normal, WINDOW, 0.0)?.side()), (180, GRIDS[0]));
        let p = density(&grid, None);
        let (centre, edge) = (p.pixel(180, 180), p.pixel(1, 180));
        assert!(centre[0] < 24 && edge[0] > 250, "{centre:?} {edge:?}");
        let half = p.pixel(180 + 36, 180)[0]; // one standard deviation: √e^(−1/2) of the way
        assert!((f64::from(half) - (255.0 - 235.0 * (-0.25f64).exp())).abs() < 6.0, "{half}");
        let mut holes = |x: &Tensor| Ok((normal(x)? * f64::NAN)?);
        assert_eq!(density(&Grid::of(&mut holes, WINDOW, 16)?, Some(&grid)).pixel(3, 3), [210, 40, 40]);
        let mut short = |x: &Tensor| normal(&x.narrow(0, 0, 1)?);
        assert!(Grid::of(&mut short, WINDOW, 16).is_err());
        Ok(())
    }
}
