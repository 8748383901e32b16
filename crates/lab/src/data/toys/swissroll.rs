//! The Swiss roll seen from its end (scikit-learn's `make_swiss_roll`, first and third coordinate).
//!
//! ```text
//! x = ((t cos t, t sin t) + noise · z)/5,   t uniform on [3π/2, 9π/2]
//! ```

use std::f64::consts::PI;

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::blurred::{Arc, Blurred};
use super::toy;

pub(in super::super) static SWISSROLL: DatasetEntry = DatasetEntry {
    name: "swissroll",
    summary: "one and a half turns of a spiral (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "noise",
            default: "1",
            accepts: Accepts::AtLeast(1e-2),
            meaning: "blur before scaling",
        },
        Parameter { name: "scale", default: "0.2", accepts: Accepts::Positive, meaning: "of everything" },
    ],
    presets: &[],
    open: |arguments, options| {
        let scale = arguments.number("scale")?;
        let law = Blurred::new(vec![roll(scale)], scale * arguments.number("noise")?);
        Ok(toy(arguments, options, law))
    },
};

/// The centre line.
pub(super) fn roll(scale: f64) -> Arc {
    Arc {
        mass: 1.0,
        ends: (1.5 * PI, 4.5 * PI),
        point: Box::new(move |t| [scale * t * t.cos(), scale * t * t.sin()]),
        speed: Box::new(move |t| scale * (1.0 + t * t).sqrt()),
    }
}
