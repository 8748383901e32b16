//! Suites: which data, and what training and judging may cost.

use genzoo_core::study::Effort;
use genzoo_core::{DataSpec, Error, Result};

use crate::evaluate::EvalOptions;

/// A set of rows that are comparable because everything but the model is the same.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Name, as in `genzoo bench NAME`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Data sets, in order.
    pub datasets: &'static [&'static str],
    /// The models, if not all.
    pub models: Option<&'static [&'static str]>,
    /// For points.
    points: Plan,
    /// For images.
    images: Plan,
    /// The share of these seconds that `--budget small` spends.
    small: f64,
    /// What to take where a data set lacks its files.
    pub fallback: Option<&'static str>,
}

/// What one row may cost, and how many examples judge it.
#[derive(Clone, Copy, Debug)]
struct Plan {
    train_seconds: f64,
    eval_seconds: Option<f64>,
    n_likelihood: usize,
    n_quality: usize,
}

const QUICK_POINTS: Plan =
    Plan { train_seconds: 6.0, eval_seconds: Some(6.0), n_likelihood: 10_000, n_quality: 2000 };
const POINTS: Plan =
    Plan { train_seconds: 30.0, eval_seconds: Some(30.0), n_likelihood: 10_000, n_quality: 2000 };
const QUICK_IMAGES: Plan =
    Plan { train_seconds: 12.0, eval_seconds: Some(12.0), n_likelihood: 500, n_quality: 500 };
/// Annealing takes longer than drawing, and the error of a mean over few rows would hide what it finds.
const MACHINES: Plan =
    Plan { train_seconds: 600.0, eval_seconds: Some(1000.0), n_likelihood: 10_000, n_quality: 500 };
/// As many samples as there are pairs of test rows, so that a share of .571 is known to ± .033.
const MASSES: Plan =
    Plan { train_seconds: 150.0, eval_seconds: Some(80.0), n_likelihood: 500, n_quality: 900 };
const IMAGES: Plan =
    Plan { train_seconds: 120.0, eval_seconds: Some(120.0), n_likelihood: 2000, n_quality: 1000 };

/// What stands side by side unless a suite is about something else: one model of each family, and two energies, over the
/// data and over the latent of a flow.
const BASE: &[&str] = &[
    "gaussian",
    "gmm",
    "kde",
    "memorizer",
    "pcd",
    "neural-transport",
    "vae",
    "ns-gan",
    "realnvp",
    "ddpm",
    "linear",
];

/// Every suite, the default first.
pub static SUITES: &[Suite] = &[
    Suite {
        name: "quick",
        summary: "two toys and small glyphs, seconds per row, nothing to download",
        datasets: &["gaussians8", "moons", "glyphs{size=14}"],
        models: Some(BASE),
        points: QUICK_POINTS,
        images: QUICK_IMAGES,
        small: 0.5,
        fallback: None,
    },
    Suite {
        name: "toys",
        summary: "eight toys of the plane, 30 s of training per row",
        datasets: &[
            "gaussians8",
            "moons",
            "circles",
            "rings",
            "checkerboard",
            "pinwheel",
            "spirals",
            "swissroll",
        ],
        models: Some(BASE),
        points: POINTS,
        images: IMAGES,
        small: 0.1,
        fallback: None,
    },
    Suite {
        name: "mnist",
        summary: "MNIST as bytes, 120 s of training per row",
        datasets: &["mnist"],
        models: Some(BASE),
        points: POINTS,
        images: IMAGES,
        small: 0.1,
        fallback: None,
    },
    Suite {
        name: "mnist-binary",
        summary: "MNIST binarised once, 120 s of training per row",
        datasets: &["mnist{space=binary_static}"],
        models: Some(BASE),
        points: POINTS,
        images: IMAGES,
        small: 0.1,
        fallback: None,
    },
    Suite {
        name: "rbm",
        summary: "Boltzmann machines on MNIST binarised once, 600 s of training per row",
        datasets: &["mnist{space=binary_static}"],
        models: Some(&["rbm-cd", "rbm-cd25", "rbm-pcd", "rbm-fpcd", "rbm-pt", "dbm"]),
        points: POINTS,
        images: MACHINES,
        small: 0.02,
        fallback: Some("glyphs{space=binary_static}"),
    },
    Suite {
        name: "mode-mass",
        summary: "two modes with a quarter and three quarters of the mass, and digits 2, 3 and 6 as 4 : 2 : 1",
        datasets: &["two-modes", "two-modes{d=10}", "mnist{digits=[2,3,6],masses=[4,2,1]}"],
        models: Some(&[
            "cd",
            "dsm",
            "jarzynski",
            "nce",
            "pcd",
            "sm",
            "vae",
            "ns-gan",
            "realnvp",
            "ddpm",
            "linear",
        ]),
        points: POINTS,
        images: MASSES,
        small: 0.05,
        fallback: Some("glyphs{size=14,digits=[2,3,6],masses=[4,2,1]}"),
    },
];

/// The suite of this name.
///
/// # Errors
/// Names the nearest one.
pub fn find(name: &str) -> Result<&'static Suite> {
    let found = SUITES.iter().find(|s| s.name == name);
    found.ok_or_else(|| Error::unknown("suite", name, SUITES.iter().map(|s| s.name)))
}

impl Suite {
    /// Seconds of pure training for data of this kind.
    pub fn train_seconds(&self, spec: &DataSpec, effort: Effort) -> f64 {
        self.plan(spec, effort).train_seconds
    }

    /// How rows on data of this kind are judged.
    pub fn evaluation(&self, spec: &DataSpec, effort: Effort) -> EvalOptions {
        self.plan(spec, effort).evaluation()
    }

    fn plan(&self, spec: &DataSpec, effort: Effort) -> Plan {
        let plan = if spec.image().is_some() { self.images } else { self.points };
        let share = if effort == Effort::Small { self.small } else { 1.0 };
        Plan {
            train_seconds: share * plan.train_seconds,
            eval_seconds: plan.eval_seconds.map(|s| share * s),
            ..plan
        }
    }
}

impl Plan {
    fn evaluation(&self) -> EvalOptions {
        EvalOptions {
            n_likelihood: self.n_likelihood,
            n_quality: self.n_quality,
            seconds: self.eval_seconds,
            ..EvalOptions::default()
        }
    }
}

/// How a run is judged outside a suite: with the examples of the long suites, and without a deadline on points.
pub fn default_evaluation(spec: &DataSpec) -> EvalOptions {
    let plan = if spec.image().is_some() { IMAGES } else { Plan { eval_seconds: None, ..POINTS } };
    plan.evaluation()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DATASETS;

    #[test]
    fn suites_name_known_data() -> Result<()> {
        for name in SUITES.iter().flat_map(|s| s.datasets) {
            let bare = name.split(['{', '@']).next().unwrap_or_default();
            assert!(DATASETS.iter().any(|d| d.name == bare), "{name}");
        }
        assert_eq!(find("quick")?.name, SUITES[0].name);
        assert!(find("quik").expect_err("no such suite").to_string().contains("quick"));
        Ok(())
    }
}
