//! The models on one data set with one budget in the order of a table, and the cells that every table shares.

use std::cmp::Ordering;

use genzoo_core::{Better, Kind, Measurement};

use super::format::{fixed, plus_minus, printable, seconds, short, significant};
use super::rank::{self, Rank, best_by, best_estimate, competes, ranks};
use crate::row::{Budget, Likelihood, Row, Status};
use crate::seeds::{Summary, summaries};

/// The metric that is a likelihood: KL(data‖model) paired over the test rows, shown as the distance above the floor.
pub(super) const PAIRED: &str = "kl";

/// The models on one data set with one budget. References have no budget and stand in every section of their data.
pub(super) struct Section<'a> {
    pub(super) dataset: &'a str,
    /// What training was allowed to cost.
    pub(super) budget: Budget,
    /// Whether these data have sections of other budgets.
    pub(super) many_budgets: bool,
    /// The references first, then by rank, then models without likelihood, then failures.
    pub(super) all: Vec<Summary<'a>>,
    pub(super) ranks: Vec<Option<Rank>>,
    /// The groups of models that are not distinguishable by likelihood.
    pub(super) letters: Vec<String>,
}

/// One section per data set and budget, in the order of their first rows.
pub(super) fn sections(rows: &[Row]) -> Vec<Section<'_>> {
    let mut datasets: Vec<&str> = Vec::new();
    for row in rows {
        if !datasets.contains(&row.dataset.as_str()) {
            datasets.push(&row.dataset);
        }
    }
    datasets
        .into_iter()
        .flat_map(|d| of_dataset(d, rows.iter().filter(|r| r.dataset == d).collect()))
        .collect()
}

fn of_dataset<'a>(dataset: &'a str, rows: Vec<&'a Row>) -> Vec<Section<'a>> {
    let mut budgets: Vec<Budget> = Vec::new();
    for row in rows.iter().filter(|r| !is_reference(r)) {
        if !budgets.contains(&row.budget) {
            budgets.push(row.budget);
        }
    }
    if budgets.is_empty() {
        budgets.push(Budget::default());
    }
    // What failed before its budget was known belongs to the only budget there is.
    let known: Vec<Budget> = budgets.iter().copied().filter(|b| *b != Budget::default()).collect();
    if let [only] = known[..] {
        budgets = vec![only];
    }
    let many = budgets.len() > 1;
    let of = |budget: Budget| {
        let own = |r: &&&'a Row| is_reference(r) || r.budget == budget || !many;
        section(dataset, budget, many, summaries(&rows.iter().filter(own).copied().collect::<Vec<_>>()))
    };
    budgets.into_iter().map(of).collect()
}

fn section<'a>(dataset: &'a str, budget: Budget, many_budgets: bool, all: Vec<Summary<'a>>) -> Section<'a> {
    let of_all = ranks(&all);
    let first = metrics(&all).into_iter().next();
    let mut placed: Vec<(Place, Option<Rank>, Summary<'a>)> =
        all.into_iter().zip(of_all).map(|(s, r)| (place(&s, r, first.as_deref()), r, s)).collect();
    placed.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    let (ranks, all): (Vec<_>, Vec<_>) = placed.into_iter().map(|(_, r, s)| (r, s)).unzip();
    Section { dataset, budget, many_budgets, letters: rank::letters(&all), ranks, all }
}

type Place = (u8, usize, usize, f64);

/// Where a model stands in the table: group, then rank, then value.
fn place(s: &Summary<'_>, rank: Option<Rank>, first: Option<&str>) -> Place {
    let value = s.row.likelihood.as_ref().map_or(f64::MAX, |l| l.value);
    match (is_reference(&s.row), rank) {
        // The order of references is that of their rows.
        (true, _) => (0, 0, 0, 0.0),
        (_, Some(r)) => (1, r.best, r.worst, value),
        _ if competes(&s.row) => {
            let signed =
                |m: &Measurement| if m.better == Better::Lower { m.value } else { m.value.map(|v| -v) };
            (2, 0, 0, first.and_then(|n| signed(s.row.metric(n)?)).unwrap_or(f64::MAX))
        }
        _ => (3, 0, 0, 0.0),
    }
}

/// The metrics of samples that any of the rows has, in the order of the rows.
fn metrics(all: &[Summary<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in all.iter().flat_map(|s| &s.row.quality) {
        if name != PAIRED && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// What real data or a baseline score: shown, never ranked.
pub(super) fn is_reference(row: &Row) -> bool {
    row.family == "baseline"
}

impl<'a> Section<'a> {
    /// The rows of the seeds.
    pub(super) fn members(&self) -> impl Iterator<Item = &'a Row> {
        self.all.iter().flat_map(|s| s.members.iter().copied())
    }

    /// The models, without references.
    pub(super) fn models(&self) -> impl Iterator<Item = &Summary<'a>> {
        self.all.iter().filter(|s| !is_reference(&s.row))
    }

    /// Whether a model has several seeds, or models have different ones.
    pub(super) fn many_seeds(&self) -> bool {
        let first = self.models().flat_map(|s| &s.members).map(|r| r.seed).next();
        self.models().any(|s| s.is_mean() || s.members.iter().any(|r| Some(r.seed) != first))
    }

    /// The unit of the likelihoods, if there are any.
    pub(super) fn unit(&self) -> Option<&str> {
        self.likelihoods().next().map(|l| l.unit.as_str())
    }

    fn likelihoods(&self) -> impl Iterator<Item = &Likelihood> {
        self.all.iter().filter_map(|s| s.row.likelihood.as_ref())
    }

    /// The entropy of the data, if a row knows it.
    pub(super) fn entropy(&self) -> Option<f64> {
        self.likelihoods().find_map(|l| l.floor)
    }

    /// The metrics of samples, in the order of the rows.
    pub(super) fn metrics(&self) -> Vec<String> {
        metrics(&self.all)
    }

    /// The floor of a metric: that of the row with the largest sample.
    pub(super) fn floor(&self, metric: &str) -> Option<f64> {
        let all = self.all.iter().filter_map(|s| s.row.metric(metric)).filter(|m| m.floor.is_some());
        all.max_by_key(|m| m.n).and_then(|m| m.floor)
    }

    /// By what the numbers of a metric are multiplied: 1,000 where most would begin with zeros.
    pub(super) fn scale(&self, metric: &str) -> f64 {
        scale(self.all.iter().filter_map(|s| s.row.metric(metric)?.value).collect())
    }

    /// The model that is surely the best by a metric.
    pub(super) fn best(&self, metric: &str) -> Option<usize> {
        best_by(&self.all, metric)
    }

    /// The model that is surely the best by likelihood.
    pub(super) fn first(&self) -> Option<usize> {
        let sure = Some(Rank { best: 1, worst: 1 });
        let several = self.ranks.iter().flatten().count() > 1;
        // Another space may have a first of its own; then no row of the table is the first.
        let mut firsts = (0..self.all.len()).filter(|&i| self.ranks[i] == sure);
        match (several, firsts.next(), firsts.next()) {
            (true, Some(i), None) => Some(i),
            _ => None,
        }
    }

    /// `6 s of training`, `2000 steps`; nothing if no budget is known.
    pub(super) fn budget(&self) -> Option<String> {
        let b = self.budget;
        let parts = [
            b.seconds.map(|s| format!("{} of training", seconds(s))),
            b.steps.map(|n| format!("{n} steps")),
            b.examples.map(|n| format!("{} examples", short(n as f64))),
        ];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        (!text.is_empty()).then_some(text)
    }

    /// `moons`, or `moons, 6 s of training` where there are other budgets.
    pub(super) fn title(&self) -> String {
        let budget = self.budget().filter(|_| self.many_budgets).map_or(String::new(), |b| format!(", {b}"));
        printable(self.dataset) + &budget
    }
}

/// A thousand if the median of these numbers would begin with two zeros, else one.
pub(super) fn scale(mut values: Vec<f64>) -> f64 {
    values.iter_mut().for_each(|v| *v = v.abs());
    values.sort_by(f64::total_cmp);
    if values.get(values.len() / 2).is_some_and(|v| *v > 0.0 && *v < 0.005) { 1e3 } else { 1.0 }
}

/// `flow/realnvp`; references without their family.
pub(super) fn name(row: &Row) -> String {
    if is_reference(row) || row.family.is_empty() {
        row.model.clone()
    } else {
        format!("{}/{}", row.family, row.model)
    }
}

/// The family as a word that may stand in a class name.
pub(super) fn family(row: &Row) -> String {
    let word = printable(&row.family).replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    word.chars().take(24).collect()
}

/// `≤2.843±.010`.
pub(super) fn likelihood(l: &Likelihood) -> String {
    format!("{}{}", l.kind.sign(), plus_minus(l.value, Some(l.stderr)))
}

/// The distance above the floor and its error; for bounds the distance of the bound.
pub(super) fn distance(s: &Summary<'_>) -> Option<(f64, Option<f64>)> {
    let (main, value, spread) = best_estimate(s)?;
    Some((value - main.floor?, spread.standard_error()))
}

/// How far above the floor, with the sign of the bound and the digits that its error allows.
pub(super) fn excess(s: &Summary<'_>) -> Option<String> {
    let kind: Kind = s.row.likelihood.as_ref()?.kind;
    let (value, stderr) = distance(s)?;
    let digits = |s: f64| if s > 0.0 { (1.0 - s.log10().floor()).clamp(0.0, 4.0) as usize } else { 3 };
    Some(format!("{}{}", kind.sign(), fixed(value, stderr.map_or(3, digits))))
}

/// A metric as a table prints it: `8/8` for counts, else the value with its error, times `scale`.
pub(super) fn cell(m: &Measurement, scale: f64) -> Option<String> {
    let value = m.value?;
    let whole = |v: f64| v.fract() == 0.0;
    match m.floor.filter(|f| m.unit != "1" && m.better == Better::Higher && whole(*f) && whole(value)) {
        Some(floor) => Some(format!("{}/{}", fixed(value, 0), fixed(floor, 0))),
        None => Some(plus_minus(scale * value, m.stderr.map(|s| scale * s))),
    }
}

/// The floor of a metric as a table prints it.
pub(super) fn floor_cell(section: &Section<'_>, metric: &str, scale: f64) -> Option<String> {
    let floor = section.floor(metric)?;
    let counted = section
        .all
        .iter()
        .filter_map(|s| s.row.metric(metric))
        .any(|m| m.unit != "1" && floor.fract() == 0.0);
    Some(if counted { fixed(floor, 0) } else { significant(scale * floor, 2) })
}

/// The title of a metric: its key with spaces, and the factor of its numbers.
pub(super) fn heading(metric: &str, scale: f64) -> String {
    let factor = if scale == 1e3 { " ·10³" } else { "" };
    printable(&metric.replace('_', " ")) + factor
}

/// Training steps per second.
pub(super) fn steps_per_second(row: &Row) -> Option<f64> {
    let train = row.train.as_ref().filter(|t| t.seconds > 0.0)?;
    Some(train.steps as f64 / train.seconds)
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
        (Some(reason), Status::Ok) => Some(reason.clone()),
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
                ("mmd2_unbiased".into(), measured(mmd2, 0.00012, "1", Better::Lower, 0.00003)),
                ("energy_distance_u".into(), measured(3.0 * mmd2, 0.0004, "1", Better::Lower, 0.0001)),
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
        (real.train, real.parameters, real.budget) = (None, None, Budget::default());
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
        let names: Vec<&str> = all[0].all.iter().map(|s| s.row.model.as_str()).collect();
        assert_eq!(names, ["real", "linear", "realnvp", "vae", "pcd", "ns-gan", "ddpm"]);
        assert_eq!(all[0].entropy(), Some(2.8301));
        assert!(all[0].first().is_none(), "linear and realnvp overlap");
        assert_eq!(all[0].best("mmd2_unbiased"), None);
        assert_eq!(note(&all[1].all[0].row).map(|n| n.starts_with("diverged: vae diverged")), Some(true));
    }

    #[test]
    fn cells_say_what_they_know() {
        let rows = zoo();
        assert_eq!(likelihood(rows[3].likelihood.as_ref().expect("one")), "≤3.0124±.0091");
        let all = sections(&rows);
        let of = |model: &str| all[0].all.iter().find(|s| s.row.model == model).expect("a model");
        assert_eq!(excess(of("vae")).as_deref(), Some("≤0.1823"));
        let text = |model: &str, metric: &str| cell(of(model).row.metric(metric)?, all[0].scale(metric));
        assert_eq!(text("pcd", "mode_coverage").as_deref(), Some("7/8"));
        assert_eq!(text("vae", "mmd2_unbiased").as_deref(), Some("4.20±.12"));
        assert_eq!(heading("mmd2_unbiased", all[0].scale("mmd2_unbiased")), "mmd2 unbiased ·10³");
        assert_eq!(samples_per_second(&rows[2]).as_deref(), Some("21.0k @40"));
        assert_eq!((excess(of("ns-gan")), steps_per_second(&rows[0])), (None, None));
    }

    #[test]
    fn budgets_are_never_mixed_and_references_stand_in_each() {
        let mut rows = zoo();
        rows.truncate(3);
        let budget = Budget { seconds: Some(60.0), ..Budget::default() };
        rows.push(Row { budget, ..rows[1].clone() });
        rows[0].budget = Budget::default();
        let all = sections(&rows);
        let titles: Vec<String> = all.iter().map(Section::title).collect();
        assert_eq!(titles, ["gaussians8, 10 s of training", "gaussians8, 60 s of training"]);
        assert_eq!(all.iter().map(|s| s.all.len()).collect::<Vec<_>>(), [3, 2]);
        assert!(all.iter().all(|s| s.all[0].row.model == "real"));
        assert_eq!(sections(&rows[..3])[0].title(), "gaussians8");
    }

    #[test]
    fn seeds_are_one_line_with_all_of_them_behind_it() {
        let mut rows = zoo();
        rows.truncate(3);
        rows.push(Row { seed: 1, ..rows[1].clone() });
        let all = sections(&rows);
        let names: Vec<(&str, usize)> =
            all[0].all.iter().map(|s| (s.row.model.as_str(), s.members.len())).collect();
        assert_eq!(names, [("real", 1), ("linear", 1), ("realnvp", 2)]);
        assert!(all[0].many_seeds() && all[0].members().count() == 4);
        assert!(!sections(&rows[..3])[0].many_seeds());
    }
}
