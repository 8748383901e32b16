//! The tables of the page: quality, every metric, every seed, every likelihood, cost.

use genzoo_core::Better;
use serde::Serialize;

use super::machine_word;
use crate::metrics;
use crate::ood::PREFIX;
use crate::report::format::{bytes, count, fixed, plus_minus, printable, seconds, short, significant};
use crate::report::section::{
    self, Section, cell, distance, excess, family, floor_cell, heading, is_reference, steps_per_second,
};
use crate::row::Row;
use crate::seeds::{Spread, Summary, summaries};

/// Metrics in the first table; the rest stands in the table of every metric.
const METRICS: usize = 5;

/// A table with one line per model.
#[derive(Serialize)]
pub(super) struct Table {
    pub(super) columns: Vec<Heading>,
    lines: Vec<Line>,
    has_floor: bool,
    ranked: bool,
}

#[derive(Serialize)]
pub(super) struct Heading {
    text: String,
    title: String,
    floor: Option<String>,
    /// Whether a cell has an error, for which there must be room.
    errors: bool,
    /// Whether more is better: what a first click puts on top.
    higher: bool,
}

#[derive(Serialize)]
struct Line {
    rank: String,
    letters: String,
    family: String,
    model: String,
    seeds: Option<String>,
    reference: bool,
    status: &'static str,
    cells: Vec<Cell>,
}

#[derive(Serialize, Default)]
struct Cell {
    sign: &'static str,
    value: String,
    error: String,
    best: bool,
    /// What the column is sorted by.
    key: Option<f64>,
    /// The errors by name, if there are several.
    title: Option<String>,
}

impl Cell {
    fn text(value: impl Into<String>, key: f64) -> Option<Self> {
        Some(Self { value: value.into(), key: Some(key).filter(|k| k.is_finite()), ..Self::default() })
    }

    /// A value and its error, set apart.
    fn measured(sign: &'static str, text: &str, key: f64, spread: Spread, scale: f64) -> Self {
        let (value, error) = text.split_once('±').unwrap_or((text, ""));
        let title = named_errors(spread, scale);
        let key = Some(key).filter(|k| k.is_finite());
        Self { sign, value: value.into(), error: error.into(), key, title, best: false }
    }
}

/// `over 3 seeds ±0.012, data ±0.0040`; nothing for one seed.
fn named_errors(spread: Spread, scale: f64) -> Option<String> {
    let seeds = spread.seeds?;
    let data = spread.data.map_or(String::new(), |d| format!(", data ±{}", significant(scale * d, 2)));
    Some(format!("over {} seeds ±{}{data}", spread.count, significant(scale * seeds, 2)))
}

/// A table in the making: columns that say nothing are left out.
struct Columns<'s, 'a> {
    section: &'s Section<'a>,
    all: &'s [Summary<'a>],
    headings: Vec<Heading>,
    cells: Vec<Vec<Cell>>,
}

impl<'s, 'a> Columns<'s, 'a> {
    fn of(section: &'s Section<'a>, all: &'s [Summary<'a>]) -> Self {
        Self { section, all, headings: Vec::new(), cells: all.iter().map(|_| Vec::new()).collect() }
    }

    fn add(
        &mut self,
        (text, title): (String, String),
        (floor, best, higher): (Option<String>, Option<usize>, bool),
        cell: impl Fn(&Summary<'_>) -> Option<Cell>,
    ) {
        let cells: Vec<Option<Cell>> = self.all.iter().map(cell).collect();
        if cells.iter().all(Option::is_none) {
            return;
        }
        let errors = cells.iter().flatten().any(|c| !c.error.is_empty());
        self.headings.push(Heading { text, title, floor, errors, higher });
        for (i, (line, cell)) in self.cells.iter_mut().zip(cells).enumerate() {
            line.push(Cell { best: best == Some(i), ..cell.unwrap_or_default() });
        }
    }

    /// The likelihood and its distance above the floor; `first` is surely the best.
    fn likelihood(&mut self, first: Option<usize>) {
        let section = self.section;
        let (nll, unit) = match section.unit() {
            Some("bits_per_dim") => ("bits/dim", "bits per dimension"),
            _ => ("NLL", "nats"),
        };
        let title = format!(
            "negative log-likelihood per test example in {unit}; ≤ and ≥ say on which side the truth lies"
        );
        let floor = section.entropy().map(|e| fixed(e, 4));
        self.add((nll.into(), title), (floor, first, false), |s| {
            let (l, spread) = s.likelihoods().next()?;
            Some(Cell::measured(l.kind.sign(), &plus_minus(l.value, Some(l.stderr)), l.value, spread, 1.0))
        });
        let title = format!(
            "{unit} above the entropy of the data, paired over the same test examples where possible"
        );
        let floor = section.entropy().map(|_| "0".into());
        self.add(("above floor".into(), title), (floor, None, false), |s| {
            let (l, spread) = s.likelihoods().next()?;
            let spread = s.metric(section::PAIRED).map_or(spread, |(_, s)| s);
            let (sign, text) = (l.kind.sign(), excess(s)?);
            Some(Cell::measured(sign, text.trim_start_matches(sign), distance(s)?.0, spread, 1.0))
        });
    }

    /// A metric of samples; `best` is surely the best.
    fn metric(&mut self, name: &str, best: Option<usize>) {
        let section = self.section;
        let scale = section.scale(name);
        let known = match name.strip_prefix(PREFIX) {
            Some(other) => format!("area under the ROC curve, own test rows against {other}"),
            None => metrics::find(name).map_or(String::new(), |m| m.summary.to_string()),
        };
        let factor = if scale == 1.0 { "" } else { ", in thousandths" };
        let better = self.all.iter().find_map(|s| Some(s.row.metric(name)?.better));
        let higher = better == Some(Better::Higher);
        let title = format!("{known}{factor}; {} is better", if higher { "higher" } else { "lower" });
        let floor = floor_cell(section, name, scale);
        self.add((heading(name, scale), title), (floor, best, higher), |s| {
            let (m, spread) = s.metric(name)?;
            Some(Cell::measured("", &cell(m, scale)?, m.value?, spread, scale))
        });
    }

    /// Text without an error or a floor.
    fn text(&mut self, text: &str, title: &str, higher: bool, cell: impl Fn(&Row) -> Option<Cell>) {
        self.add((text.into(), title.into()), (None, None, higher), |s| cell(&s.row));
    }

    fn table(self, ranked: bool) -> Table {
        let section = self.section;
        let line = |(i, (s, cells)): (usize, (&Summary<'_>, Vec<Cell>))| Line {
            rank: match section.ranks.get(i) {
                Some(Some(r)) if ranked => r.text().replace('-', "–"),
                _ => String::new(),
            },
            letters: section.letters.get(i).filter(|_| ranked).cloned().unwrap_or_default(),
            family: family(&s.row),
            model: printable(&s.row.model),
            seeds: seeds(section, s),
            reference: is_reference(&s.row),
            status: s.row.status.name(),
            cells,
        };
        Table {
            lines: self.all.iter().zip(self.cells).enumerate().map(line).collect(),
            has_floor: self.headings.iter().any(|h| h.floor.is_some()),
            columns: self.headings,
            ranked,
        }
    }
}

/// `3 seeds`, or `seed 1` where there are others.
pub(super) fn seeds(section: &Section<'_>, s: &Summary<'_>) -> Option<String> {
    match &s.members[..] {
        [one] => (section.many_seeds() && !is_reference(one)).then(|| format!("seed {}", one.seed)),
        many => Some(format!("{} seeds", many.len())),
    }
}

/// The metrics of samples, without those that tell the model's own rows from others.
fn of_samples(section: &Section<'_>) -> Vec<String> {
    section.metrics().into_iter().filter(|n| !n.starts_with(PREFIX)).collect()
}

/// How good: likelihood and the first metrics of the samples.
pub(super) fn quality(section: &Section<'_>) -> Table {
    let mut t = Columns::of(section, &section.all);
    t.likelihood(section.first());
    for name in of_samples(section).iter().take(METRICS) {
        t.metric(name, section.best(name));
    }
    t.table(true)
}

/// All metrics of the samples, if they are more than the first table holds.
pub(super) fn every_metric(section: &Section<'_>) -> Option<Table> {
    let mut t = Columns::of(section, &section.all);
    let names = of_samples(section);
    names.iter().for_each(|name| t.metric(name, section.best(name)));
    (names.len() > METRICS).then(|| t.table(false))
}

/// How well each model tells its own rows from others, if that was asked.
pub(super) fn told_apart(section: &Section<'_>) -> Option<Table> {
    let mut t = Columns::of(section, &section.all);
    let names: Vec<String> = section.metrics().into_iter().filter(|n| n.starts_with(PREFIX)).collect();
    names.iter().for_each(|name| t.metric(name, section.best(name)));
    (!names.is_empty()).then(|| t.table(false))
}

/// The rows of the seeds, below the mean of each model, if a model has several.
pub(super) fn every_seed(section: &Section<'_>) -> Option<Table> {
    let mut all: Vec<Summary<'_>> = Vec::new();
    for s in section.models().filter(|s| s.is_mean()) {
        all.push(s.clone());
        all.extend(s.members.iter().flat_map(|r| summaries(&[*r])));
    }
    let mut t = Columns::of(section, &all);
    t.likelihood(None);
    of_samples(section).iter().take(METRICS).for_each(|name| t.metric(name, None));
    let of_nll = |s: &Summary<'_>| named_errors(s.likelihoods().next()?.1, 1.0);
    t.add(
        ("errors of the NLL".into(), "standard errors of the mean, by name".into()),
        (None, None, false),
        |s| Some(Cell { value: of_nll(s)?, ..Cell::default() }),
    );
    (!all.is_empty()).then(|| t.table(false))
}

/// At what price: training and sampling.
pub(super) fn cost(section: &Section<'_>) -> Table {
    let mut t = Columns::of(section, &section.all);
    t.text("parameters", "number of trained parameters", false, |r| {
        let n = r.parameters.filter(|p| *p > 0)?;
        Cell::text(count(n), n as f64)
    });
    t.text("training", "seconds of pure training", false, |r| {
        let s = r.train.as_ref()?.seconds;
        Cell::text(seconds(s), s)
    });
    t.text("steps", "training steps", false, |r| {
        let n = r.train.as_ref()?.steps as f64;
        Cell::text(short(n), n)
    });
    t.text("examples", "training examples seen", false, |r| {
        let n = r.train.as_ref()?.examples as f64;
        Cell::text(short(n), n)
    });
    t.text("steps/s", "training steps per second", true, |r| {
        let v = steps_per_second(r)?;
        Cell::text(short(v), v)
    });
    t.text("memory", "peak resident memory of training", false, |r| {
        let b = r.train.as_ref()?.peak_rss_bytes?;
        Cell::text(bytes(b), b as f64)
    });
    t.text("evaluations", "network evaluations per sample, as counted", false, |r| {
        let n = r.sampling.first()?.evaluations;
        Cell::text(n.to_string(), n as f64)
    });
    t.text(
        "1,000 samples",
        "seconds for a thousand samples by the judged sampler, in large batches",
        false,
        |r| {
            let s = 1e3 / r.sampling.first()?.examples_per_second?;
            Cell::text(seconds(s), s)
        },
    );
    t.text("first sample", "seconds until a single sample stands", false, |r| {
        let s = r.sampling.first()?.seconds_to_first?;
        Cell::text(seconds(s), s)
    });
    t.table(false)
}

/// The speed of a sampler.
#[derive(Serialize)]
pub(super) struct Speed {
    family: String,
    model: String,
    sampler: String,
    evaluations: u64,
    rate: String,
    first: String,
}

/// Every sampler of every model.
pub(super) fn speeds(section: &Section<'_>) -> Vec<Speed> {
    let of = |s: &Summary<'_>| {
        let one = |v: &crate::row::Sampling| Speed {
            family: family(&s.row),
            model: printable(&s.row.model),
            sampler: printable(&v.sampler),
            evaluations: v.evaluations,
            rate: v.examples_per_second.map_or("–".into(), short),
            first: v.seconds_to_first.map_or("–".into(), seconds),
        };
        s.row.sampling.iter().map(one).collect::<Vec<_>>()
    };
    section.models().flat_map(of).collect()
}

/// One likelihood of a model.
#[derive(Serialize)]
pub(super) struct Evidence {
    family: String,
    model: String,
    value: String,
    says: String,
    method: String,
    n: u64,
}

/// Every likelihood of every model, if one has several.
pub(super) fn evidence(section: &Section<'_>) -> Vec<Evidence> {
    let of = |s: &Summary<'_>| {
        let one = |l: &crate::row::Likelihood| Evidence {
            family: family(&s.row),
            model: printable(&s.row.model),
            value: section::likelihood(l),
            says: machine_word(&format!("{:?}", l.kind)),
            method: printable(&l.method),
            n: l.n,
        };
        s.likelihoods().map(|(l, _)| one(l)).collect::<Vec<_>>()
    };
    if section.all.iter().all(|s| s.row.likelihoods.is_empty()) {
        return Vec::new();
    }
    section.all.iter().flat_map(of).collect()
}
