//! Sample quality: every number with its error, its size, which way is better, and what real data score.
//!
//! | key                                                    | file             | standard error               |
//! |--------------------------------------------------------|------------------|------------------------------|
//! | `mmd2_unbiased`, `mmd2_biased`, `mmd2_mixture`, `mmd2_imq` | [`mmd`]      | closed form (U-statistic)    |
//! | `energy_distance_u`, `energy_distance_v`, `energy_distance_root` | [`energy`] | closed form (U-statistic) |
//! | `sliced_w1`, `sliced_w2`, `max_sliced_w2`              | [`sliced`]       | closed form (potentials)     |
//! | `w1`, `w2`                                             | [`wasserstein`]  | closed form (dual prices)    |
//! | `sinkhorn_cost`, `sinkhorn_entropic`, `sinkhorn_divergence`, `sinkhorn_divergence_cost` | [`sinkhorn`] | closed form (potentials) |
//! | `frechet`, `frechet_infinity`                          | [`frechet`]      | closed form (influence)      |
//! | `kid`, `kid_subsets`                                   | [`kid`]          | closed form (U-statistic)    |
//! | `precision`, `recall`, `density`, `coverage`           | [`neighbours`]   | quarters (delete-d jackknife) |
//! | `one_nn_accuracy`, `one_nn_p`                          | [`one_nn`]       | quarters; p-values have none |
//! | `classifier_accuracy`, `classifier_p`                  | [`classifier`]   | binomial; p-values have none |
//! | `ndb`                                                  | [`bins`]         | closed form (at most)        |
//! | `vendi`                                                | [`vendi`]        | quarters                     |
//! | `cf_distance`                                          | [`characteristic`] | closed form (influence)    |
//! | `entropy_knn`                                          | [`entropy`]      | closed form (mean of logs)   |
//! | `train_distance`, `authenticity`, `c_t`                | [`memorisation`] | closed form; needs training rows |
//! | `fld_gap`                                              | [`fld`]          | closed form (influence); needs training rows |
//! | `ksd2`                                                 | [`stein`]        | closed form (U-statistic); needs a score |
//! | `mode_coverage`, `mode_error`                          | [`modes`]        | closed form (binomial)       |
//! | `class_tv`, `confidence`, `inception_score`            | [`classes`]      | closed form (binomial, influence) |
//! | `kl`                                                   | [`likelihood`](crate::likelihood) | closed form (paired) |
//!
//! These keys are the only names: in rows, in `genzoo list metrics` and in the JSON of `genzoo compare`. [`metrics`]
//! lists them, and checks of names and `list` follow from it. Everything accumulates in `f64`, in an order fixed by the
//! data: the bits do not depend on the number of threads.

pub mod bins;
mod case;
pub mod characteristic;
pub mod classes;
pub mod classifier;
mod compare;
pub mod energy;
pub mod entropy;
pub mod features;
pub mod fld;
pub mod frechet;
pub mod kid;
pub mod memorisation;
pub mod mmd;
pub mod modes;
pub mod neighbours;
pub mod one_nn;
pub mod points;
mod reference;
mod resample;
pub mod sinkhorn;
pub mod sliced;
pub mod stein;
pub mod two_sample;
pub mod vendi;
pub mod wasserstein;

pub use case::{Case, Directions, Measured, Score, Settings};
pub use compare::{Compared, Comparison, compare};
pub use features::{Features, Seen};
pub use points::Points;
pub(crate) use reference::shuffled;
pub use reference::{Judgement, Known, Reference};
pub use two_sample::Estimate;

use genzoo_core::{Better, Error, Measurement, Result};

/// A metric that can be asked for by name.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    /// Name in rows and on the command line.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Unit of the value; `1` for pure numbers, and for what has the unit of the data.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Where it stands without being asked for.
    pub rows: Rows,
}

/// Which rows have a metric without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All where what it needs is known.
    Samples,
    /// Those of points.
    Points,
    /// Those of images in the space of a judge's features.
    Features,
    /// None: it is measured when it is asked for.
    OnRequest,
}

/// What a metric must know besides two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Samples,
    /// The modes of the data.
    Modes,
    /// The density of data and model: it is measured with the likelihood.
    Density,
    /// The rows the model was trained on.
    Train,
    /// The score of the data's law.
    Score,
    /// A judge's class probabilities.
    Classes,
}

impl Needs {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Modes => "modes",
            Self::Density => "density",
            Self::Train => "train",
            Self::Score => "score",
            Self::Classes => "classes",
        }
    }
}

/// Metrics that come from one computation.
struct Group {
    metrics: &'static [MetricInfo],
    needs: Needs,
    measure: fn(&Case) -> Result<Vec<Measured>>,
}

const fn group(
    metrics: &'static [MetricInfo],
    needs: Needs,
    measure: fn(&Case) -> Result<Vec<Measured>>,
) -> Group {
    Group { metrics, needs, measure }
}

static KL: [MetricInfo; 1] = [MetricInfo {
    name: "kl",
    summary: "KL(data||model) in nats, where both densities are known: paired over test rows",
    unit: "nats",
    better: Better::Lower,
    rows: Rows::Points,
}];

/// Every metric, in the order of rows.
static GROUPS: &[Group] = &[
    group(&frechet::PLAIN, Needs::Samples, frechet::plain),
    group(&kid::FULL, Needs::Samples, kid::full),
    group(&neighbours::METRICS, Needs::Samples, neighbours::measure),
    group(&mmd::GAUSSIAN, Needs::Samples, mmd::gaussian),
    group(&energy::METRICS, Needs::Samples, energy::measure),
    group(&sliced::SECOND, Needs::Samples, sliced::second),
    group(&wasserstein::SECOND, Needs::Samples, wasserstein::second),
    group(&modes::METRICS, Needs::Modes, modes::measure),
    group(&mmd::MIXTURE, Needs::Samples, mmd::mixture),
    group(&mmd::IMQ, Needs::Samples, mmd::imq),
    group(&wasserstein::FIRST, Needs::Samples, wasserstein::first),
    group(&sliced::FIRST, Needs::Samples, sliced::first),
    group(&sliced::LARGEST, Needs::Samples, sliced::largest),
    group(&sinkhorn::PLAIN, Needs::Samples, sinkhorn::plain),
    group(&sinkhorn::DIVERGENCE, Needs::Samples, sinkhorn::divergence),
    group(&frechet::INFINITY, Needs::Samples, frechet::infinity),
    group(&kid::BY_SUBSETS, Needs::Samples, kid::by_subsets),
    group(&one_nn::METRICS, Needs::Samples, one_nn::measure),
    group(&classifier::METRICS, Needs::Samples, classifier::measure),
    group(&bins::METRICS, Needs::Samples, bins::measure),
    group(&vendi::METRICS, Needs::Samples, vendi::measure),
    group(&characteristic::METRICS, Needs::Samples, characteristic::measure),
    group(&entropy::METRICS, Needs::Samples, entropy::measure),
    group(&classes::METRICS, Needs::Classes, classes::measure),
    group(&memorisation::METRICS, Needs::Train, memorisation::measure),
    group(&fld::METRICS, Needs::Train, fld::measure),
    group(&stein::METRICS, Needs::Score, stein::measure),
    group(&KL, Needs::Density, of_the_density),
];

fn of_the_density(_: &Case) -> Result<Vec<Measured>> {
    Err(Error::Unsupported("metric 'kl' cannot be measured on samples alone".into()))
}

/// Every metric, in the order of rows.
pub fn metrics() -> impl Iterator<Item = &'static MetricInfo> {
    GROUPS.iter().flat_map(|g| g.metrics)
}

/// The metric of this name.
///
/// # Errors
/// Names the nearest one.
pub fn find(name: &str) -> Result<&'static MetricInfo> {
    if let Some(found) = metrics().find(|m| m.name == name) {
        return Ok(found);
    }
    // A stem such as `mmd2` stands for a family of keys.
    match metrics().find(|m| !name.is_empty() && m.name.starts_with(name)) {
        Some(m) => Err(Error::Unknown { kind: "metric", name: name.into(), nearest: Some(m.name.into()) }),
        None => Err(Error::unknown("metric", name, metrics().map(|m| m.name))),
    }
}

impl MetricInfo {
    /// A measurement of this metric.
    pub fn measured(&self, estimate: Estimate, n: usize, floor: Option<f64>) -> Measurement {
        let known = |v: f64| v.is_finite().then_some(v);
        Measurement {
            value: known(estimate.value),
            stderr: known(estimate.stderr),
            n: n as u64,
            unit: self.unit.to_string(),
            better: self.better,
            floor,
        }
    }

    /// What it must know besides two samples.
    pub fn needs(&self) -> Needs {
        let group = GROUPS.iter().find(|g| g.metrics.iter().any(|m| m.name == self.name));
        group.map_or(Needs::Samples, |g| g.needs)
    }
}

/// Measures each group that one of `wanted` is in, and hands out those wanted, in the order of rows.
fn measure(
    wanted: &[&'static MetricInfo],
    mut one: impl FnMut(&Group) -> Result<Vec<Measured>>,
) -> Result<Vec<(&'static MetricInfo, Measured)>> {
    let asked = |m: &MetricInfo| wanted.iter().any(|w| w.name == m.name);
    let mut found = Vec::new();
    for group in GROUPS.iter().filter(|g| g.metrics.iter().any(asked)) {
        let measured = one(group)?;
        found.extend(group.metrics.iter().zip(measured).filter(|(m, _)| asked(m)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_has_one_name_and_stands_in_the_table_above() {
        let names: Vec<&str> = metrics().map(|m| m.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let table = include_str!("mod.rs");
        for m in metrics() {
            assert!(table.contains(&format!("`{}`", m.name)), "{} is not in the table", m.name);
            assert!(!m.summary.is_empty() && find(m.name).is_ok_and(|f| f.name == m.name));
        }
        assert!(find("mmd2").expect_err("a former name").to_string().contains("mmd2_unbiased"));
    }
}
