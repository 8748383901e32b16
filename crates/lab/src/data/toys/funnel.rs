//! Neal's funnel: a width that is itself random.
//!
//! ```text
//! v ~ N(0, sd²),   x_i | v ~ N(0, e^v),  i = 2…d
//! H = ½ log 2πe sd² + (d − 1) · ½ log 2πe          (E v = 0)
//! ```
//!
//! Source: Neal (2003), Slice sampling, §8, with sd = 3.

use std::f64::consts::PI;

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::Law;
use super::draws::normals;
use super::entropy::Entropy;
use super::toy;

pub(in super::super) static FUNNEL: DatasetEntry = DatasetEntry {
    name: "funnel",
    summary: "a Gaussian whose width is log-normal (Neal 2003)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter { name: "d", default: "2", accepts: Accepts::Integer(2, 4096), meaning: "dimensions" },
        Parameter {
            name: "sd",
            default: "3",
            accepts: Accepts::Positive,
            meaning: "standard deviation of v",
        },
    ],
    presets: &[],
    open: |arguments, options| {
        Ok(toy(arguments, options, Funnel { dims: arguments.integer("d")?, sd: arguments.number("sd")? }))
    },
};

struct Funnel {
    dims: usize,
    sd: f64,
}

impl Law for Funnel {
    fn dims(&self) -> usize {
        self.dims
    }

    fn uniforms(&self) -> usize {
        2 * self.dims.div_ceil(2)
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        normals(u, x);
        x[0] *= self.sd;
        let width = (0.5 * x[0]).exp();
        x[1..].iter_mut().for_each(|x| *x *= width);
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        let (v, rest) = (x[0], &x[1..]);
        let others = rest.len() as f64;
        let square: f64 = rest.iter().map(|x| x * x).sum();
        // 0 · e^{−v} is 0, even where the exponential overflows.
        let spread = if square > 0.0 { 0.5 * square * (-v).exp() } else { 0.0 };
        let constant = 0.5 * self.dims as f64 * (2.0 * PI).ln() + self.sd.ln();
        -0.5 * (v / self.sd).powi(2) - 0.5 * others * v - spread - constant
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let (v, rest) = (x[0], &x[1..]);
        let precision = (-v).exp();
        let square: f64 = rest.iter().map(|x| x * x).sum();
        s[0] = -v / (self.sd * self.sd) - 0.5 * rest.len() as f64 + 0.5 * square * precision;
        s[1..].iter_mut().zip(rest).for_each(|(s, x)| *s = -x * precision);
        true
    }

    fn entropy(&self) -> Entropy {
        Entropy::exact(Entropy::gaussian(self.sd) + (self.dims - 1) as f64 * Entropy::gaussian(1.0))
    }
}
