//! Concentric circles blurred by Gaussian noise: `circles` (scikit-learn's `make_circles`) and `rings`.
//!
//! ```text
//! p(x) = Σ_k m_k/(2πσ²) · exp(−(r² + R_k²)/2σ²) · I₀(r R_k/σ²),   r = |x|
//! ∇ log p(x) = x/r · Σ_k posterior_k · (R_k I₁/I₀ − r)/σ²
//! ```

use std::f64::consts::{PI, TAU};

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter, Preset};
use super::Law;
use super::draws::normal_pair;
use super::entropy::Entropy;
use super::quadrature::panels;
use super::special::{bessel_i0e, log_sum_exp};
use super::toy;

pub(in super::super) static CIRCLES: DatasetEntry = DatasetEntry {
    name: "circles",
    summary: "two blurred concentric circles (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "factor",
            default: "0.5",
            accepts: Accepts::Fraction,
            meaning: "inner over outer radius",
        },
        Parameter {
            name: "noise",
            default: "0.08",
            accepts: Accepts::AtLeast(1e-3),
            meaning: "blur before scaling",
        },
        Parameter {
            name: "scale",
            default: "3",
            accepts: Accepts::Positive,
            meaning: "of everything: the outer radius",
        },
    ],
    presets: &[Preset {
        name: "torchcfm",
        values: &[("noise", "0.05"), ("scale", "3.5")],
        source: "TorchCFM, the paper's runner",
    }],
    open: |arguments, options| {
        let scale = arguments.number("scale")?;
        let radii = vec![scale, scale * arguments.number("factor")?];
        Ok(toy(arguments, options, Circles { radii, sd: scale * arguments.number("noise")? }))
    },
};

pub(in super::super) static RINGS: DatasetEntry = DatasetEntry {
    name: "rings",
    summary: "four blurred concentric circles (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter {
            name: "count",
            default: "4",
            accepts: Accepts::Integer(1, 64),
            meaning: "of evenly spaced rings",
        },
        Parameter { name: "radius", default: "3", accepts: Accepts::Positive, meaning: "of the outermost" },
        Parameter { name: "noise", default: "0.08", accepts: Accepts::AtLeast(1e-3), meaning: "blur" },
    ],
    presets: &[],
    open: |arguments, options| {
        let (count, radius) = (arguments.integer("count")?, arguments.number("radius")?);
        let radii = (1..=count).map(|k| radius * k as f64 / count as f64).collect();
        Ok(toy(arguments, options, Circles { radii, sd: arguments.number("noise")? }))
    },
};

/// Circles of equal mass.
struct Circles {
    radii: Vec<f64>,
    sd: f64,
}

impl Circles {
    /// Per circle, its log share of p at radius r, and the radial derivative of that share's logarithm.
    fn terms(&self, r: f64) -> (Vec<f64>, Vec<f64>) {
        let variance = self.sd * self.sd;
        let norm = (self.radii.len() as f64 * 2.0 * PI * variance).ln();
        let term = |&radius: &f64| {
            let (i0e, ratio) = bessel_i0e(r * radius / variance);
            (
                i0e.ln() - (r - radius) * (r - radius) / (2.0 * variance) - norm,
                (radius * ratio - r) / variance,
            )
        };
        self.radii.iter().map(term).unzip()
    }
}

impl Law for Circles {
    fn dims(&self) -> usize {
        2
    }

    fn uniforms(&self) -> usize {
        4
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let k = (u[2] * self.radii.len() as f64) as usize;
        let (sin, cos) = (TAU * u[3]).sin_cos();
        let z = normal_pair(u[0], u[1]);
        x[0] = self.radii[k] * cos + self.sd * z[0];
        x[1] = self.radii[k] * sin + self.sd * z[1];
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        log_sum_exp(&self.terms(x[0].hypot(x[1])).0)
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let r = x[0].hypot(x[1]);
        let (terms, slopes) = self.terms(r);
        let total = log_sum_exp(&terms);
        let slope: f64 = terms.iter().zip(&slopes).map(|(t, slope)| (t - total).exp() * slope).sum();
        let over_r = if r > 0.0 { slope / r } else { 0.0 };
        s[0] = over_r * x[0];
        s[1] = over_r * x[1];
        true
    }

    /// `−∫ p log p 2πr dr` over panels two standard deviations long, against panels of twice that.
    fn entropy(&self) -> Entropy {
        let reach = self.radii.iter().copied().fold(0.0, f64::max) + 9.0 * self.sd;
        let integral = |length: f64| {
            let nodes = panels(0.0, reach, length * self.sd, |_| 1.0);
            let term = |(r, dr): &(f64, f64)| {
                let log_p = self.log_density(&[*r, 0.0]);
                -TAU * r * dr * log_p.exp() * log_p
            };
            (nodes.iter().map(term).sum::<f64>(), nodes.len() as u64)
        };
        let (value, n) = integral(2.0);
        Entropy { value, stderr: (value - integral(4.0).0).abs(), n }
    }
}
