//! A Gaussian bent along a parabola.
//!
//! ```text
//! x₁ = length · z₁,   x₂ = bend · (x₁² − length²) + width · z₂
//! ```
//!
//! The bend has unit Jacobian, so the entropy is that of the unbent Gaussian: `log(2πe · length · width)`.
//!
//! Source: the twist of Haario, Saksman & Tamminen (1999), Computational Statistics 14, 375–395.

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::Law;
use super::draws::normal_pair;
use super::entropy::Entropy;
use super::toy;

pub(in super::super) static BANANA: DatasetEntry = DatasetEntry {
    name: "banana",
    summary: "a Gaussian bent along a parabola (Haario et al. 1999)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "length",
            default: "2",
            accepts: Accepts::Positive,
            meaning: "standard deviation along",
        },
        Parameter {
            name: "width",
            default: "0.5",
            accepts: Accepts::Positive,
            meaning: "standard deviation across",
        },
        Parameter {
            name: "bend",
            default: "0.25",
            accepts: Accepts::Number,
            meaning: "curvature of the parabola",
        },
    ],
    presets: &[],
    open: |arguments, options| {
        let (length, width) = (arguments.number("length")?, arguments.number("width")?);
        Ok(toy(arguments, options, Banana { length, width, bend: arguments.number("bend")? }))
    },
};

struct Banana {
    length: f64,
    width: f64,
    bend: f64,
}

impl Banana {
    fn axis(&self, x: f64) -> f64 {
        self.bend * (x * x - self.length * self.length)
    }
}

impl Law for Banana {
    fn dims(&self) -> usize {
        2
    }

    fn uniforms(&self) -> usize {
        2
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let z = normal_pair(u[0], u[1]);
        x[0] = self.length * z[0];
        x[1] = self.axis(x[0]) + self.width * z[1];
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        let along = x[0] / self.length;
        let across = (x[1] - self.axis(x[0])) / self.width;
        -0.5 * (along * along + across * across)
            - (2.0 * std::f64::consts::PI * self.length * self.width).ln()
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let across = (x[1] - self.axis(x[0])) / (self.width * self.width);
        s[0] = -x[0] / (self.length * self.length) + across * 2.0 * self.bend * x[0];
        s[1] = -across;
        true
    }

    fn entropy(&self) -> Entropy {
        Entropy::exact(Entropy::gaussian(self.length) + Entropy::gaussian(self.width))
    }
}
