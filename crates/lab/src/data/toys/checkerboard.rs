//! The uniform law on the dark squares of a 4 × 4 board.
//!
//! ```text
//! p(x) = 1/(8 side²)  where ⌊x₁/side⌋ + ⌊x₂/side⌋ is even and |x₁|, |x₂| ≤ 2 side,   else 0
//! H = log(8 side²)
//! ```

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::Law;
use super::entropy::Entropy;
use super::toy;

pub(in super::super) static CHECKERBOARD: DatasetEntry = DatasetEntry {
    name: "checkerboard",
    summary: "uniform on the dark squares of a 4 by 4 board (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[Parameter {
        name: "side",
        default: "2",
        accepts: Accepts::Positive,
        meaning: "of a square",
    }],
    presets: &[],
    open: |arguments, options| Ok(toy(arguments, options, Checkerboard { side: arguments.number("side")? })),
};

struct Checkerboard {
    side: f64,
}

/// Points this close to a dark square, in units of its side, count as within it: rounding a row to f32 must
/// not move it off the board.
const EDGE: f64 = 1e-6;

impl Law for Checkerboard {
    fn dims(&self) -> usize {
        2
    }

    fn uniforms(&self) -> usize {
        3
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let square = (u[0] * 8.0) as usize;
        let (column, row) = (square / 2, 2 * (square % 2) + (square / 2) % 2);
        x[0] = self.side * (column as f64 - 2.0 + u[1]);
        x[1] = self.side * (row as f64 - 2.0 + u[2]);
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        let (a, b) = (x[0] / self.side, x[1] / self.side);
        let dark = |a: f64, b: f64| {
            (a.floor() + b.floor()).rem_euclid(2.0) == 0.0
                && (-2.0..2.0).contains(&a)
                && (-2.0..2.0).contains(&b)
        };
        let near = |v: f64| [v, v - EDGE, v + EDGE];
        if near(a).iter().any(|&a| near(b).iter().any(|&b| dark(a, b))) {
            -(8.0 * self.side * self.side).ln()
        } else {
            f64::NEG_INFINITY
        }
    }

    fn score(&self, _: &[f64], _: &mut [f64]) -> bool {
        false
    }

    fn entropy(&self) -> Entropy {
        Entropy::exact((8.0 * self.side * self.side).ln())
    }

    fn range(&self) -> Option<(f64, f64)> {
        Some((-2.0 * self.side, 2.0 * self.side))
    }
}
