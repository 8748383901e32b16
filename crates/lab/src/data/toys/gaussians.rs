//! The Gaussian mixtures: eight on a ring, twenty-five on a grid, two of unequal mass, and Carbone's in 1-D.

use std::f64::consts::TAU;

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter, Preset};
use super::mixture::Mixture;
use super::toy;

const SD: Accepts = Accepts::Positive;

/// FFJORD's `8gaussians` divides a ring of radius 4 and width ½ by 1.414.
pub(in super::super) static GAUSSIANS8: DatasetEntry = DatasetEntry {
    name: "gaussians8",
    summary: "eight Gaussians on a ring (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "radius",
            default: "2.8284",
            accepts: Accepts::Positive,
            meaning: "of the ring of centres",
        },
        Parameter { name: "sd", default: "0.35355", accepts: SD, meaning: "standard deviation of each" },
    ],
    presets: &[
        Preset {
            name: "torchcfm",
            values: &[("radius", "5"), ("sd", "1")],
            source: "TorchCFM, the paper's runner",
        },
        Preset {
            name: "torchcfm-notebook",
            values: &[("radius", "5"), ("sd", "0.56234")],
            source: "TorchCFM, notebooks: √0.1 used as a variance",
        },
        Preset { name: "torchebm", values: &[("radius", "2"), ("sd", "0.02")], source: "torchebm, defaults" },
        Preset {
            name: "torchdyn",
            values: &[("radius", "0.5"), ("sd", "0.1")],
            source: "torchdyn, defaults",
        },
    ],
    open: |arguments, options| {
        let radius = arguments.number("radius")?;
        let center = |k: usize| {
            let (sin, cos) = (TAU * k as f64 / 8.0).sin_cos();
            vec![radius * cos, radius * sin]
        };
        let law = Mixture::even((0..8).map(center).collect(), arguments.number("sd")?);
        Ok(toy(arguments, options, law))
    },
};

pub(in super::super) static GRID25: DatasetEntry = DatasetEntry {
    name: "grid25",
    summary: "twenty-five narrow Gaussians on a square grid (Metz et al. 2017)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter { name: "spacing", default: "2", accepts: Accepts::Positive, meaning: "of the grid" },
        Parameter { name: "sd", default: "0.05", accepts: SD, meaning: "standard deviation of each" },
    ],
    presets: &[],
    open: |arguments, options| {
        let spacing = arguments.number("spacing")?;
        let center = |k: i32| vec![f64::from(k / 5 - 2) * spacing, f64::from(k % 5 - 2) * spacing];
        let law = Mixture::even((0..25).map(center).collect(), arguments.number("sd")?);
        Ok(toy(arguments, options, law))
    },
};

pub(in super::super) static TWO_MODES: DatasetEntry = DatasetEntry {
    name: "two-modes",
    summary: "two Gaussians of unequal mass on the first axis of d dimensions (Carbone)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter { name: "d", default: "2", accepts: Accepts::Integer(1, 4096), meaning: "dimensions" },
        Parameter { name: "mass", default: "0.25", accepts: Accepts::Fraction, meaning: "of the left mode" },
        Parameter {
            name: "left",
            default: "-5",
            accepts: Accepts::Number,
            meaning: "first coordinate of the left mode",
        },
        Parameter { name: "right", default: "5", accepts: Accepts::Number, meaning: "of the right mode" },
        Parameter { name: "sd", default: "1", accepts: SD, meaning: "standard deviation of both" },
    ],
    presets: &[Preset {
        name: "carbone",
        values: &[("d", "50"), ("left", "-10"), ("right", "6")],
        source: "Carbone et al., Efficient training of energy-based models using Jarzynski equality",
    }],
    open: |arguments, options| {
        let dims = arguments.integer("d")?;
        let (mass, sd) = (arguments.number("mass")?, arguments.number("sd")?);
        let center = |key| {
            let mut c = vec![0.0; dims];
            c[0] = arguments.number(key)?;
            genzoo_core::Result::Ok(c)
        };
        let centers = vec![center("left")?, center("right")?];
        Ok(toy(
            arguments,
            options,
            Mixture { dims, weights: vec![mass, 1.0 - mass], centers, sds: vec![sd; 2] },
        ))
    },
};

/// Example 2.1 of Carbone's guide, with the normalisers that its Eq. 4 leaves out.
pub(in super::super) static MIXTURE1D: DatasetEntry = DatasetEntry {
    name: "mixture1d",
    summary: "two Gaussians on the line, 0.7 N(0, 1) + 0.3 N(5, 0.5²) (Carbone)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter { name: "mass", default: "0.7", accepts: Accepts::Fraction, meaning: "of the mode at 0" },
        Parameter { name: "distance", default: "5", accepts: Accepts::Number, meaning: "to the other mode" },
        Parameter { name: "sd1", default: "1", accepts: SD, meaning: "standard deviation of the mode at 0" },
        Parameter { name: "sd2", default: "0.5", accepts: SD, meaning: "of the other" },
    ],
    presets: &[],
    open: |arguments, options| {
        let mass = arguments.number("mass")?;
        let law = Mixture {
            dims: 1,
            weights: vec![mass, 1.0 - mass],
            centers: vec![vec![0.0], vec![arguments.number("distance")?]],
            sds: vec![arguments.number("sd1")?, arguments.number("sd2")?],
        };
        Ok(toy(arguments, options, law))
    },
};
