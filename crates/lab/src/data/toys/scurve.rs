//! The S-curve in the plane (scikit-learn's `make_s_curve`, first and third coordinate), as TorchCFM scales it.
//!
//! ```text
//! x = scale · ((sin t, sign(t)(cos t − 1)) + noise · z),   t uniform on [−3π/2, 3π/2]
//! ```

use std::f64::consts::PI;

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::blurred::{Arc, Blurred};
use super::toy;

pub(in super::super) static SCURVE: DatasetEntry = DatasetEntry {
    name: "scurve",
    summary: "two three-quarter circles joined to an S (TorchCFM)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "noise",
            default: "0.05",
            accepts: Accepts::AtLeast(1e-3),
            meaning: "blur before scaling",
        },
        Parameter { name: "scale", default: "1.5", accepts: Accepts::Positive, meaning: "of everything" },
    ],
    presets: &[],
    open: |arguments, options| {
        let scale = arguments.number("scale")?;
        let law = Blurred::new(halves(scale).into(), scale * arguments.number("noise")?);
        Ok(toy(arguments, options, law))
    },
};

/// The two halves, cut where the curvature jumps: a panel must not straddle it.
pub(super) fn halves(scale: f64) -> [Arc; 2] {
    [(-1.5 * PI, 0.0), (0.0, 1.5 * PI)].map(|ends| Arc {
        mass: 0.5,
        ends,
        point: Box::new(move |t| [scale * t.sin(), scale * t.signum() * (t.cos() - 1.0)]),
        speed: Box::new(move |_| scale),
    })
}
