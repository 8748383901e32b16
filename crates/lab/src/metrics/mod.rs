//! Sample quality: every number with its error, its size, which way is better, and what real data score.
//!
//! | file            | metric                                                                  |
//! |-----------------|-------------------------------------------------------------------------|
//! | [`mmd`]         | squared maximum mean discrepancy, Gaussian kernel                        |
//! | [`energy`]      | energy distance                                                         |
//! | [`sliced`]      | sliced Wasserstein distance                                             |
//! | [`wasserstein`] | exact Wasserstein distance                                              |
//! | [`modes`]       | modes reached, and their masses                                         |
//!
//! [`METRICS`] is the list from which `genzoo list` and the checks of names follow. Everything accumulates in `f64`.
//! KL(data‖model) needs the density and is measured with it, in [`likelihood`](crate::likelihood).

pub mod energy;
pub mod mmd;
pub mod modes;
pub mod points;
mod reference;
pub mod sliced;
pub mod two_sample;
pub mod wasserstein;

pub use points::Points;
pub(crate) use reference::shuffled;
pub use reference::{Reference, compare};
pub use two_sample::Estimate;

use genzoo_core::{Better, Error, Measurement, Result};

/// A metric that can be asked for by name.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    /// Name in rows and on the command line.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Unit of the value; `1` for pure numbers.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Whether it is measured on images by default.
    pub on_images: bool,
}

/// Every metric, in the order of rows.
pub static METRICS: &[MetricInfo] = &[
    MetricInfo {
        name: "mmd2",
        summary: "squared maximum mean discrepancy, Gaussian kernel with the median distance of real data, unbiased",
        unit: "1",
        better: Better::Lower,
        on_images: true,
    },
    MetricInfo {
        name: "energy_distance",
        summary: "energy distance (squared form), unbiased",
        unit: "1",
        better: Better::Lower,
        on_images: true,
    },
    MetricInfo {
        name: "sliced_w2",
        summary: "sliced Wasserstein distance of order 2, 128 fixed directions",
        unit: "1",
        better: Better::Lower,
        on_images: true,
    },
    MetricInfo {
        name: "w2",
        summary: "exact Wasserstein distance of order 2 between at most 2000 samples of each",
        unit: "1",
        better: Better::Lower,
        on_images: false,
    },
    MetricInfo {
        name: "mode_coverage",
        summary: "number of modes that get at least a tenth of their mass",
        unit: "modes",
        better: Better::Higher,
        on_images: false,
    },
    MetricInfo {
        name: "mode_error",
        summary: "total variation between the shares of the modes and their true masses",
        unit: "1",
        better: Better::Lower,
        on_images: false,
    },
    MetricInfo {
        name: "kl",
        summary: "KL(data||model) in nats, where both densities are known: paired over test rows",
        unit: "nats",
        better: Better::Lower,
        on_images: false,
    },
];

/// The metric of this name.
///
/// # Errors
/// Names the nearest one.
pub fn find(name: &str) -> Result<&'static MetricInfo> {
    let found = METRICS.iter().find(|m| m.name == name);
    found.ok_or_else(|| Error::unknown("metric", name, METRICS.iter().map(|m| m.name)))
}

impl MetricInfo {
    /// A measurement of this metric.
    pub fn measured(&self, estimate: Estimate, n: usize, floor: Option<f64>) -> Measurement {
        Measurement {
            value: Some(estimate.value),
            stderr: Some(estimate.stderr),
            n: n as u64,
            unit: self.unit.to_string(),
            better: self.better,
            floor,
        }
    }
}
