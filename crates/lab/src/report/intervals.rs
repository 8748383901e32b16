//! The intervals of a section on one axis: where each true likelihood can lie, and the floor.

use serde::Serialize;

use super::format::significant;
use super::rank::{Interval, best_estimate};
use super::section::Section;

/// The drawing's own width.
pub(super) const WIDTH: f64 = 560.0;

/// A row's mark: the value, and the interval cut to the axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Mark {
    /// Which model of the section.
    pub(super) row: usize,
    /// The value the interval is around.
    pub(super) at: f64,
    /// Left end of the interval; an arrow if it goes on.
    pub(super) from: f64,
    /// Right end.
    pub(super) to: f64,
    /// Whether nothing is known to the left.
    pub(super) open_left: bool,
    /// Whether nothing is known to the right.
    pub(super) open_right: bool,
}

/// The axis with everything on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// Marks in the order of the rows.
    pub(super) marks: Vec<Mark>,
    /// Where the floor lies.
    pub(super) floor: Option<f64>,
    /// Positions and labels.
    pub(super) ticks: Vec<(f64, String)>,
}

/// The axis of a section with at least two likelihoods. Values far beyond the others stand at its end.
pub(super) fn axis(section: &Section<'_>) -> Option<Axis> {
    let of = |(i, s)| Some((i, best_estimate(s)?.1, Interval::of_summary(s)?));
    let known: Vec<(usize, f64, Interval)> = section.all.iter().enumerate().filter_map(of).collect();
    let unit = section.unit()?;
    let another = |i: usize| section.all[i].row.likelihood.as_ref().is_some_and(|l| l.unit != unit);
    if known.len() < 2 || known.iter().any(|(i, ..)| another(*i)) {
        return None;
    }
    let mut values: Vec<f64> = known.iter().map(|(_, v, _)| *v).collect();
    values.sort_by(f64::total_cmp);
    let (first, middle, last) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    let left = section.entropy().map_or(first, |f| f.min(first));
    // Up to four times the distance of the median, so that one bad model does not squeeze all others.
    let right = last.min(left + 4.0 * (middle - left).max(0.05 * left.abs()).max(1e-3));
    let pad = 0.06 * (right - left).max(1e-6);
    let (left, right) = (left - pad, right + pad);
    let x = |v: f64| WIDTH * ((v - left) / (right - left)).clamp(0.0, 1.0);
    let mark = |&(row, value, i): &(usize, f64, Interval)| Mark {
        row,
        at: x(value),
        from: x(i.low),
        to: x(i.high),
        open_left: !i.low.is_finite() || i.low < left,
        open_right: !i.high.is_finite() || i.high > right,
    };
    Some(Axis {
        marks: known.iter().map(mark).collect(),
        floor: section.entropy().map(x),
        ticks: ticks(left, right, x),
    })
}

/// Three to seven round numbers.
fn ticks(left: f64, right: f64, x: impl Fn(f64) -> f64) -> Vec<(f64, String)> {
    let rough = (right - left) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= rough).unwrap_or(10.0 * power);
    let decimals = (-(step.log10().floor())).max(0.0) as usize;
    let first = (left / step).ceil() as i64;
    let last = (right / step).floor() as i64;
    let tick = |i: i64| {
        let v = i as f64 * step;
        (x(v), if decimals > 6 { significant(v, 3) } else { super::format::fixed(v, decimals) })
    };
    (first..=last).take(12).map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::{sections, tests::zoo};

    #[test]
    fn bounds_are_open_and_everything_is_on_the_axis() {
        let rows = zoo();
        let all = sections(&rows);
        let axis = axis(&all[0]).expect("an axis");
        assert_eq!(axis.marks.len(), 6);
        for m in &axis.marks {
            assert!((0.0..=WIDTH).contains(&m.at) && m.from <= m.at + 1e-9 && m.at <= m.to + 1e-9, "{m:?}");
            let (vae, pcd) = (all[0].all[m.row].row.model == "vae", all[0].all[m.row].row.model == "pcd");
            assert!((!vae || m.open_left) && (!pcd || m.open_right));
        }
        assert!((3..=12).contains(&axis.ticks.len()) && axis.floor.is_some());
        assert!(super::axis(&all[1]).is_none());
    }
}
