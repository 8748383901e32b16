//! Two interleaved half circles (scikit-learn's `make_moons`), scaled and shifted.
//!
//! ```text
//! outer (cos t, sin t),  inner (1 − cos t, ½ − sin t),  t uniform on [0, π];   x = scale · (c + noise · z) + shift
//! ```

use std::f64::consts::PI;

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter, Preset};
use super::blurred::{Arc, Blurred};
use super::toy;

pub(in super::super) static MOONS: DatasetEntry = DatasetEntry {
    name: "moons",
    summary: "two interleaved half circles (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "noise",
            default: "0.1",
            accepts: Accepts::AtLeast(1e-3),
            meaning: "blur before scaling",
        },
        Parameter { name: "scale", default: "2", accepts: Accepts::Positive, meaning: "of everything" },
        Parameter {
            name: "shift_x",
            default: "-1",
            accepts: Accepts::Number,
            meaning: "added after scaling",
        },
        Parameter {
            name: "shift_y",
            default: "-0.2",
            accepts: Accepts::Number,
            meaning: "added after scaling",
        },
    ],
    presets: &[
        Preset {
            name: "torchcfm",
            values: &[("noise", "0.05"), ("shift_y", "0")],
            source: "TorchCFM, the paper's runner",
        },
        Preset {
            name: "sklearn",
            values: &[("scale", "1"), ("shift_x", "0"), ("shift_y", "0")],
            source: "scikit-learn's make_moons with noise 0.1",
        },
    ],
    open: |arguments, options| {
        let scale = arguments.number("scale")?;
        let arcs = arcs(scale, [arguments.number("shift_x")?, arguments.number("shift_y")?]);
        Ok(toy(arguments, options, Blurred::new(arcs, scale * arguments.number("noise")?)))
    },
};

/// The two half circles.
pub(super) fn arcs(scale: f64, shift: [f64; 2]) -> Vec<Arc> {
    let arc = |point: fn(f64) -> [f64; 2]| Arc {
        mass: 0.5,
        ends: (0.0, PI),
        point: Box::new(move |t| {
            let [x, y] = point(t);
            [scale * x + shift[0], scale * y + shift[1]]
        }),
        speed: Box::new(move |_| scale),
    };
    vec![arc(|t| [t.cos(), t.sin()]), arc(|t| [1.0 - t.cos(), 0.5 - t.sin()])]
}
