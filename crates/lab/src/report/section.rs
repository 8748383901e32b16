//! The rows of one data set in the order of a table, and the cells that every table shares.

use std::cmp::Ordering;

use genzoo_core::{Kind, Measurement};

use super::format::{fixed, plus_minus, short};
use super::rank::{Rank, best_by, competes, ranks};
use crate::row::{Likelihood, Row, Status};

/// The rows of one data set.
pub(super) struct Section<'a> {
    pub(super) dataset: &'a str,
    /// The reference first, then by rank, then models without likelihood, then failures.
    pub(super) rows: Vec<&'a Row>,
    pub(super) ranks: Vec<Option<Rank>>,
    /// Whether the rows have different seeds.
    pub(super) many_seeds: bool,
}

/// One section per data set, in the order of their first rows.
pub(super) fn sections(rows: &[Row]) -> Vec<Section<'_>> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.dataset.as_str()) {
            names.push(&row.dataset);
        }
    }
    names.into_iter().map(|name| section(name, rows.iter().filter(|r| r.dataset == name).collect())).collect()
}

fn section<'a>(dataset: &'a str, rows: Vec<&'a Row>) -> Section<'a> {
    let all = ranks(&rows);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| {
        place(rows[a], all[a]).partial_cmp(&place(rows[b], all[b])).unwrap_or(Ordering::Equal)
    });
    let models = || rows.iter().filter(|r| r.family != "baseline");
    let many_seeds = models().any(|r| models().any(|o| o.seed != r.seed));
    Section {
        dataset,
        many_seeds,
        ranks: order.iter().map(|&i| all[i]).collect(),
        rows: order.into_iter().map(|i| rows[i]).collect(),
    }
}

/// Where a row stands in the table: group, then rank, then value.
fn place(row: &Row, rank: Option<Rank>) -> (u8, usize, usize, f64) {
    let likelihood = row.likelihood.as_ref().map(|l| l.value);
    let mmd2 = row.metric("mmd2").and_then(|m| m.value);
    match (row.family == "baseline", rank) {
        (true, _) => (0, 0, 0, 0.0),
        (_, Some(r)) => (1, r.best, r.worst, likelihood.unwrap_or(f64::MAX)),
        _ if competes(row) => (2, 0, 0, mmd2.unwrap_or(f64::MAX)),
        _ => (3, 0, 0, 0.0),
    }
}

impl<'a> Section<'a> {
    /// The unit of the likelihoods, if there are any.
    pub(super) fn unit(&self) -> Option<&'a str> {
        self.likelihoods().next().map(|l| l.unit.as_str())
    }

    fn likelihoods(&self) -> impl Iterator<Item = &'a Likelihood> {
        self.rows.iter().filter_map(|r| r.likelihood.as_ref())
    }

    /// The entropy of the data, if a row knows it.
    pub(super) fn entropy(&self) -> Option<f64> {
        self.likelihoods().find_map(|l| l.floor)
    }

    /// The floor of a metric: that of the model with the largest sample.
    pub(super) fn floor(&self, metric: &str) -> Option<f64> {
        let with_floor = self.rows.iter().filter_map(|r| r.metric(metric)).filter(|m| m.floor.is_some());
        with_floor.max_by_key(|m| m.n).and_then(|m| m.floor)
    }

    /// Whether any row has this metric.
    pub(super) fn has(&self, metric: &str) -> bool {
        self.rows.iter().any(|r| r.metric(metric).is_some())
    }

    /// The row that is surely the best by a metric.
    pub(super) fn best(&self, metric: &str) -> Option<usize> {
        best_by(&self.rows, |r| r.metric(metric))
    }

    /// The row that is surely the best by likelihood.
    pub(super) fn first(&self) -> Option<usize> {
        let sure = Some(Rank { best: 1, worst: 1 });
        let several = self.ranks.iter().flatten().count() > 1;
        // Another space or seed may have a first of its own; then no row of the table is the first.
        let mut firsts = (0..self.rows.len()).filter(|&i| self.ranks[i] == sure);
        match (several, firsts.next(), firsts.next()) {
            (true, Some(i), None) => Some(i),
            _ => None,
        }
    }
}

/// `flow/realnvp`; references without their family.
pub(super) fn name(row: &Row) -> String {
    if row.family == "baseline" || row.family.is_empty() {
        row.model.clone()
    } else {
        format!("{}/{}", row.family, row.model)
    }
}

/// `≤2.843±.010`.
pub(super) fn likelihood(l: &Likelihood) -> String {
    format!("{}{}", l.kind.sign(), plus_minus(l.value, Some(l.stderr)))
}

/// How far above the floor, with the sign of the bound.
pub(super) fn excess(row: &Row) -> Option<String> {
    let l = row.likelihood.as_ref()?;
    // Paired over the same rows, KL is the same number with a far smaller error.
    let paired = row.metric("kl").and_then(|m| Some((m.value?, m.stderr)));
    let (value, stderr) = match (l.kind, paired) {
        (Kind::Exact | Kind::Estimate, Some((value, stderr))) => (value, stderr),
        _ => (l.value - l.floor?, Some(l.stderr)),
    };
    let digits = |s: f64| {
        if s > 0.0 { (1.0 - s.log10().floor()).clamp(0.0, 3.0) as usize } else { 3 }
    };
    Some(format!("{}{}", l.kind.sign(), fixed(value, stderr.map_or(3, digits))))
}

/// `8/8`.
pub(super) fn modes(row: &Row) -> Option<String> {
    let m = row.metric("mode_coverage")?;
    let covered = fixed(m.value?, 0);
    Some(m.floor.map_or_else(|| covered.clone(), |floor| format!("{covered}/{}", fixed(floor, 0))))
}

/// A metric in thousandths, for MMD².
pub(super) fn thousandths(m: &Measurement) -> Option<String> {
    Some(plus_minus(1e3 * m.value?, m.stderr.map(|s| 1e3 * s)))
}

/// Training steps per second.
pub(super) fn steps_per_second(row: &Row) -> Option<String> {
    let train = row.train.as_ref().filter(|t| t.seconds > 0.0)?;
    Some(short(train.steps as f64 / train.seconds))
}

/// `52k @40`: samples per second, and evaluations of each, of the judged sampler.
pub(super) fn samples_per_second(row: &Row) -> Option<String> {
    let s = row.sampling.first()?;
    Some(format!("{} @{}", short(s.examples_per_second?), s.evaluations))
}

/// Why a row is not all right, or lacks a number.
pub(super) fn note(row: &Row) -> Option<String> {
    match (&row.reason, row.status) {
        (None, Status::Ok) => None,
        (reason, status) => {
            Some(format!("{}: {}", status.name(), reason.as_deref().unwrap_or("no reason given")))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::row::tests::{bare, specimen};
    use crate::row::{Sampling, TrainStats};
    use genzoo_core::{Better, Space};

    fn measured(value: f64, stderr: f64, unit: &str, better: Better, floor: f64) -> Measurement {
        let (value, stderr, floor) = (Some(value), Some(stderr), Some(floor));
        Measurement { value, stderr, n: 2000, unit: unit.into(), better, floor }
    }

    /// A row on `gaussians8` with everything that a toy has.
    fn toy(
        family: &str,
        model: &str,
        likelihood: Option<(Kind, f64, f64, Option<f64>)>,
        quality: [f64; 5],
        evaluations: u64,
    ) -> Row {
        let [mmd2, w2, covered, off, speed] = quality;
        let likelihood = likelihood.map(|(kind, value, stderr, tolerance)| Likelihood {
            value,
            stderr,
            n: 10_000,
            unit: "nats".into(),
            kind,
            space: Space::Continuous,
            method: "a method".into(),
            floor: Some(2.8301),
            tolerance,
        });
        Row {
            likelihood,
            quality: vec![
                ("mmd2".into(), measured(mmd2, 0.00012, "1", Better::Lower, 0.00003)),
                ("energy_distance".into(), measured(3.0 * mmd2, 0.0004, "1", Better::Lower, 0.0001)),
                ("sliced_w2".into(), measured(0.4 * w2, 0.02, "1", Better::Lower, 0.08)),
                ("w2".into(), measured(w2, 0.03, "1", Better::Lower, 0.281)),
                ("mode_coverage".into(), measured(covered, 0.0, "modes", Better::Higher, 8.0)),
                ("mode_error".into(), measured(off, 0.01, "1", Better::Lower, 0.021)),
            ],
            sampling: vec![Sampling {
                sampler: "default".into(),
                evaluations,
                examples_per_second: Some(speed),
                seconds_to_first: Some(0.002 * evaluations as f64),
            }],
            dataset: "gaussians8".into(),
            train: Some(TrainStats {
                steps: 3000 + 10 * evaluations,
                examples: 768_000,
                seconds: 5.9,
                examples_per_second: 130_000.0,
                peak_rss_bytes: Some(81_000_000),
                final_loss: Some(1.1),
            }),
            family: family.into(),
            model: model.into(),
            ..specimen()
        }
    }

    /// Six families and the reference on a toy, two of them in trouble, and an unlucky one on glyphs.
    pub(crate) fn zoo() -> Vec<Row> {
        use Kind::{Estimate, Exact, LowerBound, UpperBound};
        let mut real = toy(
            "baseline",
            "real",
            Some((Exact, 2.8312, 0.0081, None)),
            [0.00004, 0.284, 8.0, 0.02, 4.1e6],
            0,
        );
        (real.train, real.parameters) = (None, None);
        let mut below = toy(
            "diffusion",
            "ddpm",
            Some((Estimate, 2.71, 0.008, Some(0.002))),
            [0.0011, 0.33, 8.0, 0.03, 5200.0],
            50,
        );
        (below.status, below.reason) = (Status::Failed, Some("below_floor".into()));
        let diverged = Row {
            status: Status::Diverged,
            reason: Some("vae diverged at step 120 (the loss of group 'all' is not finite)".into()),
            ..bare("quick", "vae", "vae", "glyphs{size=14}", 0)
        };
        vec![
            real,
            toy(
                "flow",
                "realnvp",
                Some((Exact, 2.8712, 0.0083, None)),
                [0.00021, 0.302, 8.0, 0.022, 212_000.0],
                1,
            ),
            toy(
                "interpolant",
                "linear",
                Some((Estimate, 2.8581, 0.0084, Some(0.001))),
                [0.00009, 0.291, 8.0, 0.021, 21_000.0],
                40,
            ),
            toy("vae", "vae", Some((LowerBound, 3.0124, 0.0091, None)), [0.0042, 0.41, 8.0, 0.04, 1.3e6], 1),
            toy("ebm", "pcd", Some((UpperBound, 3.2, 0.031, None)), [0.0122, 0.71, 7.0, 0.09, 3100.0], 200),
            toy("gan", "ns-gan", None, [0.0301, 0.92, 6.0, 0.19, 1.4e6], 1),
            below,
            diverged,
        ]
    }

    #[test]
    fn the_reference_leads_then_ranks_then_the_rest() {
        let rows = zoo();
        let all = sections(&rows);
        assert_eq!(all.iter().map(|s| s.dataset).collect::<Vec<_>>(), ["gaussians8", "glyphs{size=14}"]);
        let names: Vec<&str> = all[0].rows.iter().map(|r| r.model.as_str()).collect();
        assert_eq!(names, ["real", "linear", "realnvp", "vae", "pcd", "ns-gan", "ddpm"]);
        assert_eq!(all[0].entropy(), Some(2.8301));
        assert!(all[0].first().is_none(), "linear and realnvp overlap");
        assert_eq!(all[0].best("mmd2"), None);
        assert_eq!(note(all[1].rows[0]).map(|n| n.starts_with("diverged: vae diverged")), Some(true));
    }

    #[test]
    fn cells_say_what_they_know() {
        let rows = zoo();
        assert_eq!(likelihood(rows[3].likelihood.as_ref().expect("one")), "≤3.0124±.0091");
        assert_eq!(excess(&rows[3]).as_deref(), Some("≤0.182"));
        assert_eq!(modes(&rows[4]).as_deref(), Some("7/8"));
        assert_eq!(samples_per_second(&rows[2]).as_deref(), Some("21.0k @40"));
        assert_eq!((excess(&rows[5]), modes(&rows[7]), steps_per_second(&rows[0])), (None, None, None));
    }
}
