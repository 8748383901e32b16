//! Ranking by intervals: A is above B only where their likelihoods cannot overlap.
//!
//! ```text
//! exact      [v − 2s, v + 2s]            lower bound of log p   (−∞, v + 2s]
//! estimate   widened by its tolerance    upper bound of log p   [v − 2s, ∞)
//! ```
//! An estimate that states no tolerance is compatible with everything. Several likelihoods of one row in one space
//! sandwich it: their intervals intersect. Different spaces are never compared.

use genzoo_core::{Kind, Measurement};

use crate::row::{Likelihood, Row, Status};

/// Where the true negative log-likelihood lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Not below this.
    pub low: f64,
    /// Not above this.
    pub high: f64,
}

impl Interval {
    /// What one likelihood says.
    pub fn of(l: &Likelihood) -> Self {
        let (low, high) = (l.value - 2.0 * l.stderr, l.value + 2.0 * l.stderr);
        match (l.kind, l.tolerance) {
            (Kind::Exact, _) => Self { low, high },
            (Kind::LowerBound, _) => Self { low: f64::NEG_INFINITY, high },
            (Kind::UpperBound, _) => Self { low, high: f64::INFINITY },
            (Kind::Estimate, Some(t)) => Self { low: low - t, high: high + t },
            (Kind::Estimate, None) => Self { low: f64::NEG_INFINITY, high: f64::INFINITY },
        }
    }

    /// What all likelihoods of a row say together; what its main one says if they contradict each other.
    pub fn of_row(row: &Row) -> Option<Self> {
        let main = row.likelihood.as_ref()?;
        let same = |l: &&Likelihood| l.space == main.space && l.unit == main.unit;
        let all = row
            .likelihoods
            .iter()
            .filter(same)
            .map(Self::of)
            .fold(Self::of(main), |a, b| Self { low: a.low.max(b.low), high: a.high.min(b.high) });
        Some(if all.low <= all.high { all } else { Self::of(main) })
    }

    /// Whether everything here is better (lower) than everything there.
    pub fn beats(&self, other: &Self) -> bool {
        self.high < other.low
    }
}

/// The ranks a row may hold: from one more than those surely above it, to all but those surely below it.
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

/// The ranks of rows by likelihood, among those of the same data, space and seed; `None` without a likelihood.
pub fn ranks(rows: &[&Row]) -> Vec<Option<Rank>> {
    let key = |r: &Row| (r.dataset.clone(), r.likelihood.as_ref().map(|l| (l.space, l.unit.clone())), r.seed);
    let intervals: Vec<Option<Interval>> =
        rows.iter().map(|r| if competes(r) { Interval::of_row(r) } else { None }).collect();
    let rank = |i: usize| {
        let own = intervals[i]?;
        let others = || {
            (0..rows.len()).filter(|&j| j != i && key(rows[j]) == key(rows[i])).filter_map(|j| intervals[j])
        };
        let above = others().filter(|o| o.beats(&own)).count();
        let below = others().filter(|o| own.beats(o)).count();
        Some(Rank { best: 1 + above, worst: 1 + others().count() - below })
    };
    (0..rows.len()).map(rank).collect()
}

/// The row whose metric is surely the best (two standard errors from each side), if there is one among two or more.
pub fn best_by<'a>(rows: &[&'a Row], metric: impl Fn(&'a Row) -> Option<&'a Measurement>) -> Option<usize> {
    let range = |i: usize| {
        let m = metric(rows[i]).filter(|_| competes(rows[i]))?;
        let sign = if m.better == genzoo_core::Better::Lower { 1.0 } else { -1.0 };
        let (v, s) = (sign * m.value?, 2.0 * m.stderr?);
        Some(Interval { low: v - s, high: v + s })
    };
    let ranges: Vec<(usize, Interval)> = (0..rows.len()).filter_map(|i| Some((i, range(i)?))).collect();
    let first = |(i, own): &(usize, Interval)| ranges.iter().all(|(j, o)| j == i || own.beats(o));
    ranges.iter().find(|r| ranges.len() > 1 && first(r)).map(|(i, _)| *i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::specimen;
    use genzoo_core::Space;

    fn row(kind: Kind, value: f64, stderr: f64, tolerance: Option<f64>) -> Row {
        let mut row = specimen();
        row.likelihood = row.likelihood.map(|l| Likelihood { kind, value, stderr, tolerance, ..l });
        row
    }

    fn text(rows: &[Row]) -> Vec<Option<String>> {
        ranks(&rows.iter().collect::<Vec<_>>()).into_iter().map(|r| r.map(Rank::text)).collect()
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
        let i = Interval::of_row(&sandwich).expect("an interval");
        assert!((i.low - 2.498).abs() < 1e-12 && (i.high - 2.552).abs() < 1e-12);
        assert_eq!(text(&[sandwich.clone(), row(Kind::Exact, 2.4, 0.01, None)]), some(&["2", "1"]));
        // A contradiction is no knowledge: the main one stands alone.
        sandwich.likelihoods[0].value = 3.0;
        assert_eq!(Interval::of_row(&sandwich).map(|i| i.low), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn spaces_seeds_failures_and_references_are_kept_apart() {
        let a = row(Kind::Exact, 2.0, 0.01, None);
        let mut other_space = row(Kind::Exact, 1.0, 0.01, None);
        other_space.likelihood = other_space.likelihood.map(|l| Likelihood { space: Space::U8, ..l });
        let other_seed = Row { seed: 1, ..row(Kind::Exact, 1.0, 0.01, None) };
        let failed = Row { status: Status::Failed, ..row(Kind::Exact, 1.0, 0.01, None) };
        let real = Row { family: "baseline".into(), ..row(Kind::Exact, 1.0, 0.01, None) };
        let none = Row { likelihood: None, ..specimen() };
        let got = text(&[a, other_space, other_seed, failed, real, none]);
        assert_eq!(got, [Some("1".into()), Some("1".into()), Some("1".into()), None, None, None]);
    }

    #[test]
    fn the_best_of_a_column_must_be_sure() {
        let with = |v: f64| {
            let mut r = specimen();
            r.quality[0].1.value = Some(v);
            r.quality[0].1.stderr = Some(0.1);
            r
        };
        let rows = [with(1.0), with(1.3), with(3.0)];
        let mmd = |rows: &[&Row]| best_by(rows, |r: &Row| r.metric("mmd2")).is_some();
        assert!(!mmd(&[&rows[0], &rows[1], &rows[2]]) && mmd(&[&rows[0], &rows[2]]) && !mmd(&[&rows[0]]));
    }
}
