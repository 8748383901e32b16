//! Ranking by intervals: A is above B only where their likelihoods cannot overlap.
//!
//! ```text
//! exact      [v − h, v + h]              lower bound of log p   (−∞, v + h]
//! estimate   widened by its tolerance    upper bound of log p   [v − h, ∞)
//! ```
//! `h` is two standard errors for one seed, and [`Spread::half`] for a mean over seeds. Where the entropy H of the data
//! is known, `v` is H + KL: the same number, but paired over the same test rows, so that the error they share cancels.
//! An estimate that states no tolerance is compatible with everything. Several likelihoods of one row in one space
//! sandwich it: their intervals intersect. Different spaces are never compared.
//!
//! Where two models were judged on the same test rows and kept what each row costs, they are also compared row by row
//! (`paired`): what makes a row hard for both cancels, and the models may be told apart although their intervals overlap.
//!
//! Models that are not distinguishable share a letter: the letters are the largest sets in which nobody is surely above
//! another (the compact letter display of Piepho, 2004).

use genzoo_core::{Better, Kind};

use super::paired;
use super::section::PAIRED;
use crate::row::{Likelihood, Row, Status};
use crate::seeds::{Spread, Summary};

/// Where the true negative log-likelihood lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Not below this.
    pub low: f64,
    /// Not above this.
    pub high: f64,
}

impl Interval {
    /// What one likelihood says if it is `value`, give or take `half`.
    fn of(l: &Likelihood, value: f64, half: f64) -> Self {
        let (low, high) = (value - half, value + half);
        match (l.kind, l.tolerance) {
            (Kind::Exact, _) => Self { low, high },
            (Kind::LowerBound, _) => Self { low: f64::NEG_INFINITY, high },
            (Kind::UpperBound, _) => Self { low, high: f64::INFINITY },
            (Kind::Estimate, Some(t)) => Self { low: low - t, high: high + t },
            (Kind::Estimate, None) => Self { low: f64::NEG_INFINITY, high: f64::INFINITY },
        }
    }

    /// What all likelihoods of a model say together; what its main one says if they contradict each other.
    pub fn of_summary(s: &Summary<'_>) -> Option<Self> {
        let unknown = f64::INFINITY;
        let (main, value, spread) = best_estimate(s)?;
        let own = Self::of(main, value, spread.half().unwrap_or(unknown));
        let others = s.likelihoods().skip(1).filter(|(l, _)| l.space == main.space && l.unit == main.unit);
        let all = others
            .map(|(l, spread)| Self::of(l, l.value, spread.half().unwrap_or(unknown)))
            .fold(own, |a, b| Self { low: a.low.max(b.low), high: a.high.min(b.high) });
        Some(if all.low <= all.high { all } else { own })
    }

    /// Whether everything here is better (lower) than everything there.
    pub fn beats(&self, other: &Self) -> bool {
        self.high < other.low
    }
}

/// The main likelihood, and the most certain value and error for it: paired with the truth where that exists.
pub fn best_estimate<'s>(s: &'s Summary<'_>) -> Option<(&'s Likelihood, f64, Spread)> {
    let (main, spread) = s.likelihoods().next()?;
    let paired = || {
        let (m, spread) = s.metric(PAIRED)?;
        Some((main, main.floor? + m.value?, spread))
    };
    match main.kind {
        Kind::Exact | Kind::Estimate => paired().or(Some((main, main.value, spread))),
        _ => Some((main, main.value, spread)),
    }
}

/// The ranks a model may hold: from one more than those surely above it, to all but those surely below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The best possible rank, from 1.
    pub best: usize,
    /// The worst possible rank.
    pub worst: usize,
}

impl Rank {
    /// `2`, or `1-3` where it is undecided.
    pub fn text(self) -> String {
        if self.best == self.worst { self.best.to_string() } else { format!("{}-{}", self.best, self.worst) }
    }
}

/// Whether a row takes part in rankings: it ended well and is a model, not a reference.
pub fn competes(row: &Row) -> bool {
    row.status == Status::Ok && row.family != "baseline"
}

/// The interval of each model that competes.
fn intervals(all: &[Summary<'_>]) -> Vec<Option<Interval>> {
    all.iter().map(|s| if competes(&s.row) { Interval::of_summary(s) } else { None }).collect()
}

/// Whether two models may be compared: the same data, budget, space and unit.
fn comparable(a: &Row, b: &Row) -> bool {
    let space = |r: &Row| r.likelihood.as_ref().map(|l| (l.space, l.unit.clone()));
    a.dataset == b.dataset && a.budget == b.budget && space(a) == space(b)
}

/// Who is surely above whom: `[i][j]` is whether model i is better than model j.
fn order(all: &[Summary<'_>]) -> Vec<Vec<bool>> {
    let intervals = intervals(all);
    let above = |i: usize, j: usize| match (intervals[i], intervals[j]) {
        (Some(a), Some(b)) if i != j && comparable(&all[i].row, &all[j].row) => {
            a.beats(&b) || (!b.beats(&a) && paired::beats(&all[i], &all[j]))
        }
        _ => false,
    };
    (0..all.len()).map(|i| (0..all.len()).map(|j| above(i, j)).collect()).collect()
}

/// The ranks by likelihood among models that may be compared; `None` without a likelihood.
pub fn ranks(all: &[Summary<'_>]) -> Vec<Option<Rank>> {
    let (intervals, order) = (intervals(all), order(all));
    let rank = |i: usize| {
        intervals[i]?;
        let others = (0..all.len()).filter(|&j| j != i && intervals[j].is_some());
        let others = others.filter(|&j| comparable(&all[j].row, &all[i].row)).count();
        let above = (0..all.len()).filter(|&j| order[j][i]).count();
        let below = (0..all.len()).filter(|&j| order[i][j]).count();
        Some(Rank { best: 1 + above, worst: 1 + others - below })
    };
    (0..all.len()).map(rank).collect()
}

/// Most groups: no table of models has as many.
const MOST_GROUPS: usize = 1_000;

/// For each model the letters of the groups it belongs to; empty without a likelihood.
pub fn letters(all: &[Summary<'_>]) -> Vec<String> {
    let (intervals, order) = (intervals(all), order(all));
    let known: Vec<usize> = (0..all.len()).filter(|&i| intervals[i].is_some()).collect();
    let alike =
        |i: usize, j: usize| i != j && comparable(&all[i].row, &all[j].row) && !order[i][j] && !order[j][i];
    let mut groups = Vec::new();
    largest(&alike, Vec::new(), known, Vec::new(), &mut groups);
    let start =
        |g: &[usize]| g.iter().filter_map(|&i| intervals[i]).map(|o| o.low).fold(f64::NEG_INFINITY, f64::max);
    groups.iter_mut().for_each(|g| g.sort_unstable());
    groups.sort_by(|a, b| start(a).total_cmp(&start(b)).then_with(|| a.cmp(b)));
    let letters = |i: usize| {
        let own = groups.iter().enumerate().filter(|(_, g)| g.contains(&i));
        own.map(|(k, _)| letter(k)).collect::<Vec<_>>().join("")
    };
    (0..all.len()).map(letters).collect()
}

/// The largest sets in which all are alike, by Bron & Kerbosch (1973): those that hold `group`, some of `open`, and none
/// of `closed`.
fn largest(
    alike: &dyn Fn(usize, usize) -> bool,
    group: Vec<usize>,
    mut open: Vec<usize>,
    mut closed: Vec<usize>,
    found: &mut Vec<Vec<usize>>,
) {
    if found.len() >= MOST_GROUPS {
        return;
    }
    if open.is_empty() && closed.is_empty() {
        found.extend((!group.is_empty()).then_some(group));
        return;
    }
    // Every largest set holds the pivot or somebody who is not like it.
    let likes = |p: usize| open.iter().filter(|&&v| alike(p, v)).count();
    let Some(pivot) = open.iter().chain(&closed).copied().max_by_key(|&p| likes(p)) else { return };
    for v in open.clone().into_iter().filter(|&v| !alike(pivot, v)) {
        let near = |of: &[usize]| of.iter().copied().filter(|&u| alike(u, v)).collect::<Vec<_>>();
        let grown = [&group[..], &[v]].concat();
        largest(alike, grown, near(&open), near(&closed), found);
        open.retain(|&u| u != v);
        closed.push(v);
    }
}

/// a … z, then a1 … z1 and so on.
fn letter(k: usize) -> String {
    let c = char::from(b'a' + (k % 26) as u8);
    if k < 26 { c.to_string() } else { format!("{c}{}", k / 26) }
}

/// Where a metric lies, lower being better; `None` if it or its error is not known, or the model does not compete.
fn range(s: &Summary<'_>, metric: &str) -> Option<Interval> {
    let (m, spread) = s.metric(metric).filter(|_| competes(&s.row))?;
    let (v, half) = (m.value?, spread.half()?);
    Some(match m.better {
        Better::Lower => Interval { low: v - half, high: v + half },
        Better::Higher => Interval { low: -v - half, high: half - v },
    })
}

/// The models that no other surely beats by a metric. Empty if fewer than two can be compared.
pub fn unbeaten(all: &[Summary<'_>], metric: &str) -> Vec<usize> {
    let ranges: Vec<(usize, Interval)> =
        (0..all.len()).filter_map(|i| Some((i, range(&all[i], metric)?))).collect();
    if ranges.len() < 2 {
        return Vec::new();
    }
    ranges.iter().filter(|(_, own)| !ranges.iter().any(|(_, o)| o.beats(own))).map(|(i, _)| *i).collect()
}

/// The model that surely beats all others by a metric.
pub fn best_by(all: &[Summary<'_>], metric: &str) -> Option<usize> {
    let ranges: Vec<(usize, Interval)> =
        (0..all.len()).filter_map(|i| Some((i, range(&all[i], metric)?))).collect();
    let first = |(i, own): &(usize, Interval)| ranges.iter().all(|(j, o)| j == i || own.beats(o));
    ranges.iter().find(|r| ranges.len() > 1 && first(r)).map(|(i, _)| *i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Budget;
    use crate::row::tests::specimen;
    use crate::seeds::summaries;
    use genzoo_core::{Measurement, Space};

    /// A model of its own: rows of one model would be averaged.
    fn row(kind: Kind, value: f64, stderr: f64, tolerance: Option<f64>) -> Row {
        let mut row = specimen();
        row.model = format!("{kind:?} {value} {stderr} {tolerance:?}");
        row.likelihood = row.likelihood.map(|l| Likelihood { kind, value, stderr, tolerance, ..l });
        row
    }

    fn text(rows: &[Row]) -> Vec<Option<String>> {
        let all: Vec<Summary<'_>> = rows.iter().flat_map(|r| summaries(&[r])).collect();
        ranks(&all).into_iter().map(|r| r.map(Rank::text)).collect()
    }

    fn some(t: &[&str]) -> Vec<Option<String>> {
        t.iter().map(|t| Some(t.to_string())).collect()
    }

    #[test]
    fn disjoint_intervals_rank_and_others_do_not() {
        use Kind::{Estimate, Exact, LowerBound, UpperBound};
        let e = |v, s| row(Exact, v, s, None);
        assert_eq!(text(&[e(2.0, 0.01), e(3.0, 0.01), e(2.5, 0.01)]), some(&["1", "3", "2"]));
        assert_eq!(text(&[e(2.0, 0.01), e(2.03, 0.01), e(2.5, 0.01)]), some(&["1-2", "1-2", "3"]));
        // The ELBO of 2.5 may hide a better model than 2.6, never a worse one.
        assert_eq!(text(&[row(LowerBound, 2.5, 0.01, None), e(2.6, 0.01)]), some(&["1", "2"]));
        assert_eq!(text(&[row(LowerBound, 2.7, 0.01, None), e(2.6, 0.01)]), some(&["1-2", "1-2"]));
        assert_eq!(text(&[row(UpperBound, 2.5, 0.01, None), e(2.6, 0.01)]), some(&["1-2", "1-2"]));
        assert_eq!(text(&[row(UpperBound, 2.7, 0.01, None), e(2.6, 0.01)]), some(&["2", "1"]));
        assert_eq!(text(&[row(Estimate, 2.5, 0.01, Some(0.02)), e(2.6, 0.01)]), some(&["1", "2"]));
        assert_eq!(text(&[row(Estimate, 2.5, 0.01, Some(0.1)), e(2.6, 0.01)]), some(&["1-2", "1-2"]));
        assert_eq!(text(&[row(Estimate, 2.5, 0.01, None), e(2.6, 0.01)]), some(&["1-2", "1-2"]));
    }

    #[test]
    fn two_bounds_make_a_sandwich() {
        let mut sandwich = row(Kind::LowerBound, 2.55, 0.001, None);
        sandwich.likelihoods = vec![Likelihood {
            kind: Kind::UpperBound,
            value: 2.5,
            ..row(Kind::Exact, 0.0, 0.001, None).likelihood.expect("one")
        }];
        let interval = |r: &Row| Interval::of_summary(&summaries(&[r])[0]);
        let i = interval(&sandwich).expect("an interval");
        assert!((i.low - 2.498).abs() < 1e-12 && (i.high - 2.552).abs() < 1e-12);
        assert_eq!(text(&[sandwich.clone(), row(Kind::Exact, 2.4, 0.01, None)]), some(&["2", "1"]));
        // A contradiction is no knowledge: the main one stands alone.
        sandwich.likelihoods[0].value = 3.0;
        assert_eq!(interval(&sandwich).map(|i| i.low), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn spaces_budgets_failures_and_references_are_kept_apart() {
        let a = row(Kind::Exact, 2.0, 0.01, None);
        let mut other_space = row(Kind::Exact, 1.0, 0.01, None);
        other_space.likelihood = other_space.likelihood.map(|l| Likelihood { space: Space::U8, ..l });
        let budget = Budget { seconds: Some(20.0), ..Budget::default() };
        let other_budget = Row { budget, ..row(Kind::Exact, 1.0, 0.01, None) };
        let failed = Row { status: Status::Failed, ..row(Kind::Exact, 1.0, 0.01, None) };
        let real = Row { family: "baseline".into(), ..row(Kind::Exact, 1.0, 0.01, None) };
        let none = Row { likelihood: None, ..specimen() };
        let got = text(&[a, other_space, other_budget, failed, real, none]);
        assert_eq!(got, [Some("1".into()), Some("1".into()), Some("1".into()), None, None, None]);
    }

    #[test]
    fn pairing_with_the_truth_decides_what_intervals_of_the_mean_cannot() {
        let with = |value: f64, kl: f64| {
            let mut row = row(Kind::Exact, value, 0.01, None);
            row.likelihood.as_mut().expect("one").floor = Some(2.0);
            let m = Measurement { value: Some(kl), stderr: Some(0.001), ..row.quality[0].1.clone() };
            row.quality.push((PAIRED.into(), m));
            row
        };
        let rows = [with(2.011, 0.01), with(2.019, 0.02)];
        assert_eq!(text(&rows), some(&["1", "2"]));
        let i = Interval::of_summary(&summaries(&[&rows[0]])[0]).expect("an interval");
        assert!((i.low - 2.008).abs() < 1e-12 && (i.high - 2.012).abs() < 1e-12);
    }

    #[test]
    fn few_seeds_decide_less_than_their_standard_error_suggests() {
        let seeds = |model: &str, values: [f64; 2]| {
            values.map(|v| {
                let seed = u64::from(v == values[1]);
                Row { model: model.into(), seed, ..row(Kind::Exact, v, 1e-4, None) }
            })
        };
        let rows = [seeds("a", [2.00, 2.02]), seeds("b", [2.10, 2.12])].concat();
        let all = summaries(&rows.iter().collect::<Vec<_>>());
        // Means 2.01 and 2.11, standard errors 0.01: ten of them apart, but with one degree of freedom t = 13.97.
        assert_eq!(ranks(&all)[0].map(Rank::text), Some("1-2".into()));
        assert_eq!(letters(&all), ["a", "a"]);
    }

    #[test]
    fn letters_are_the_largest_sets_of_intervals_with_a_common_point() {
        let e = |v: f64, s: f64| row(Kind::Exact, v, s, None);
        // [1.9, 2.1], [2.0, 2.4], [2.3, 2.5] and [3.9, 4.1]: a chain and one alone.
        let rows =
            [e(2.0, 0.05), e(2.2, 0.1), e(2.4, 0.05), e(4.0, 0.05), row(Kind::LowerBound, 5.0, 0.1, None)];
        let all: Vec<Summary<'_>> = rows.iter().flat_map(|r| summaries(&[r])).collect();
        assert_eq!(letters(&all), ["a", "ab", "b", "c", "abc"]);
        // By brute force: two share a letter exactly if neither is surely above the other.
        let (own, of) = (letters(&all), intervals(&all));
        for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
            let share = own[i].chars().any(|c| own[j].contains(c));
            let (a, b) = (of[i].expect("known"), of[j].expect("known"));
            assert_eq!(share, !a.beats(&b) && !b.beats(&a), "{i} {j}");
        }
        assert_eq!((letter(25), letter(27)), ("z".into(), "b1".into()));
    }

    /// Three models whose intervals overlap; row by row the first is told from the other two.
    #[test]
    fn rows_that_models_share_decide_ranks_and_letters() {
        let hard: Vec<f64> = genzoo_core::Noise::new(4).normals(1_000);
        let model = |name: &str, shift: f64| {
            let mut model = Row { model: name.into(), test_rows: Some("rows".into()), ..specimen() };
            model.nll = hard.iter().enumerate().map(|(i, h)| h + shift + 1e-3 * f64::from(i as u8)).collect();
            let value = model.nll.iter().sum::<f64>() / 1_000.0;
            model.likelihood = model.likelihood.map(|l| Likelihood { value, stderr: 0.03, n: 1_000, ..l });
            model
        };
        let mut rows = [model("a", 0.0), model("b", 0.02), model("c", 0.02)];
        rows[2].nll.iter_mut().zip(&hard).for_each(|(v, h)| *v += 0.1 * h);
        // A seed alone has the error of its rows and nothing more.
        rows.iter_mut().for_each(|r| {
            let stderr = genzoo_numerics::special::Moments::of(&r.nll).standard_error();
            r.likelihood = r.likelihood.take().map(|l| Likelihood { stderr, ..l });
        });
        assert_eq!(text(&rows), some(&["1", "2-3", "2-3"]));
        let all: Vec<Summary<'_>> = rows.iter().flat_map(|r| summaries(&[r])).collect();
        assert_eq!(letters(&all), ["a", "b", "b"]);
        rows.iter_mut().for_each(|r| r.nll.clear());
        assert_eq!(text(&rows), some(&["1-3", "1-3", "1-3"]));
    }

    #[test]
    fn the_best_of_a_column_must_be_sure() {
        let with = |v: f64, better: Better| {
            let mut r = specimen();
            r.model = v.to_string();
            let m = &mut r.quality[0].1;
            (m.value, m.stderr, m.better) = (Some(v), Some(0.1), better);
            r
        };
        let judged = |values: &[f64], better: Better| {
            let rows: Vec<Row> = values.iter().map(|v| with(*v, better)).collect();
            let all: Vec<Summary<'_>> = rows.iter().flat_map(|r| summaries(&[r])).collect();
            let name = rows[0].quality[0].0.as_str();
            (best_by(&all, name), unbeaten(&all, name))
        };
        assert_eq!(judged(&[1.0, 1.3, 3.0], Better::Lower), (None, vec![0, 1]));
        assert_eq!(judged(&[1.0, 3.0], Better::Lower), (Some(0), vec![0]));
        assert_eq!(judged(&[1.0, 3.0], Better::Higher), (Some(1), vec![1]));
        assert_eq!(judged(&[1.0], Better::Lower), (None, vec![]));
    }
}
