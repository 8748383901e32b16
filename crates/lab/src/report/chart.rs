//! A figure of a study as lines, marks and error bars in the units of an SVG.

use genzoo_core::study::{Axis, Figure, Point};
use serde::Serialize;

use super::format::{fixed, printable, significant};

/// The drawing's own units.
pub(super) const WIDTH: f64 = 400.0;
pub(super) const HEIGHT: f64 = 240.0;
/// Colours that can be told apart; more series begin again.
const COLOURS: usize = 8;

/// A figure ready to be drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Chart {
    title: String,
    x: String,
    y: String,
    ticks_x: Vec<(f64, String)>,
    ticks_y: Vec<(f64, String)>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    name: String,
    theory: bool,
    colour: usize,
    /// The `d` of its path.
    path: String,
    marks: Vec<Mark>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Mark {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
    title: String,
}

/// The chart of a figure; `None` if no point of it can be shown.
pub(super) fn chart(figure: &Figure) -> Option<Chart> {
    let shown = |p: &&Point| {
        let fits = |axis: &Axis, v: f64| v.is_finite() && (!axis.logarithmic || v > 0.0);
        fits(&figure.x, p.x) && fits(&figure.y, p.y)
    };
    let all: Vec<&Point> = figure.series.iter().flat_map(|s| &s.points).filter(shown).collect();
    if all.is_empty() {
        return None;
    }
    let x = Scale::new(&figure.x, all.iter().map(|p| p.x), WIDTH, false);
    // Bars that leave the positive numbers are cut at the smallest value of the axis.
    let smallest = all.iter().map(|p| p.y).fold(f64::INFINITY, f64::min);
    let ends = all.iter().flat_map(|p| {
        let e = p.error.filter(|e| e.is_finite()).unwrap_or(0.0);
        [p.y - e, p.y, p.y + e]
    });
    let ends = ends.map(|v| if figure.y.logarithmic && v < 0.3 * smallest { 0.3 * smallest } else { v });
    let y = Scale::new(&figure.y, ends, HEIGHT, true);
    let mut measured = 0;
    let mut lines = Vec::new();
    for series in &figure.series {
        let colour = measured % COLOURS;
        measured += usize::from(!series.theory);
        let points: Vec<&Point> = series.points.iter().filter(shown).collect();
        let steps = points
            .iter()
            .enumerate()
            .map(|(i, p)| format!("{}{} {}", if i == 0 { 'M' } else { 'L' }, x.at(p.x), y.at(p.y)));
        let mark = |p: &&Point| {
            let error = p.error.filter(|e| e.is_finite()).unwrap_or(0.0);
            let bar = if error > 0.0 { format!(" ± {}", significant(error, 2)) } else { String::new() };
            Mark {
                x: x.at(p.x),
                y: y.at(p.y),
                low: y.at(p.y - error),
                high: y.at(p.y + error),
                title: printable(&format!(
                    "{}: {}{bar} at {}",
                    series.name,
                    significant(p.y, 4),
                    significant(p.x, 4)
                )),
            }
        };
        lines.push(Line {
            name: printable(&series.name),
            theory: series.theory,
            colour,
            path: steps.collect(),
            marks: if series.theory { Vec::new() } else { points.iter().map(mark).collect() },
        });
    }
    Some(Chart {
        title: printable(&figure.title),
        x: printable(&figure.x.label),
        y: printable(&figure.y.label),
        ticks_x: x.ticks(),
        ticks_y: y.ticks(),
        lines,
    })
}

/// An axis laid onto a length, with a margin.
struct Scale {
    from: f64,
    to: f64,
    length: f64,
    up: bool,
    logarithmic: bool,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, length: f64, up: bool) -> Self {
        let warp = |v: f64| if axis.logarithmic { v.log10() } else { v };
        let finite = values.map(warp).filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let span = high - low;
        let pad = if span > 0.0 { 0.05 * span } else { 0.5 * low.abs().max(1.0) };
        Self { from: low - pad, to: high + pad, length, up, logarithmic: axis.logarithmic }
    }

    /// Where `v` lies, cut to the drawing.
    fn at(&self, v: f64) -> f64 {
        let v = if !self.logarithmic {
            v
        } else if v > 0.0 {
            v.log10()
        } else {
            f64::NEG_INFINITY
        };
        let part = ((v - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        (10.0 * self.length * if self.up { 1.0 - part } else { part }).round() / 10.0
    }

    /// Round numbers: powers of ten with 2 and 5 of them where they are few, or steps of 1, 2 or 5.
    fn ticks(&self) -> Vec<(f64, String)> {
        if !self.logarithmic {
            return self.steps();
        }
        let powers = (self.from.floor() as i32 - 1)..=(self.to.ceil() as i32 + 1);
        let inside = |digits: &[f64]| -> Vec<(f64, i32)> {
            let all = powers.clone().flat_map(|p| digits.iter().map(move |d| (*d, p)));
            all.filter(|(d, p)| (self.from..=self.to).contains(&(d.log10() + f64::from(*p)))).collect()
        };
        let many = inside(&[1.0]);
        let chosen = match many.len() {
            0..=1 => inside(&[1.0, 2.0, 5.0]),
            2..=7 => many,
            n => many.into_iter().step_by(n.div_ceil(6)).collect(),
        };
        if chosen.len() < 2 {
            return self.steps();
        }
        let text = |d: f64, p: i32| match p {
            -2..=4 => significant(d * 10f64.powi(p), 1),
            _ if d == 1.0 => format!("10{}", superscript(p)),
            _ => format!("{d}·10{}", superscript(p)),
        };
        chosen.into_iter().map(|(d, p)| (self.at(d * 10f64.powi(p)), text(d, p))).collect()
    }

    fn steps(&self) -> Vec<(f64, String)> {
        let (low, high) = if self.logarithmic {
            (10f64.powf(self.from), 10f64.powf(self.to))
        } else {
            (self.from, self.to)
        };
        let rough = (high - low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|s| s * power).find(|s| *s >= rough).unwrap_or(rough);
        let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize;
        let label = |v: f64| {
            let far = v != 0.0 && !(1e-4..1e5).contains(&step);
            if far { format!("{v:.1e}") } else { fixed(v, decimals) }
        };
        let first = (low / step).ceil() as i64;
        (first..=first + 12)
            .map(|i| i as f64 * step)
            .take_while(|v| *v <= high)
            .map(|v| (self.at(v), label(v)))
            .collect()
    }
}

fn superscript(p: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digit = |c: char| c.to_digit(10).map_or('⁻', |d| DIGITS[d as usize]);
    p.to_string().chars().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::study::Series;

    fn figure(x: Axis, y: Axis, points: Vec<(f64, f64, f64)>) -> Figure {
        let theory = Series::theory("line", points.iter().map(|p| (p.0, p.1)));
        Figure { title: "t".into(), x, y, series: vec![theory, Series::measured("m", points)] }
    }

    #[test]
    fn powers_of_ten_stand_where_they_belong() {
        let points = (0..=4).map(|i| (10f64.powi(i), 10f64.powi(-2 * i), 0.0)).collect();
        let c = chart(&figure(Axis::logarithmic("n"), Axis::logarithmic("e"), points)).expect("a chart");
        let labels: Vec<&str> = c.ticks_x.iter().map(|t| t.1.as_str()).collect();
        assert_eq!(labels, ["1", "10", "100", "1000", "10000"]);
        assert_eq!(c.ticks_y.last().map(|t| t.1.as_str()), Some("1"));
        assert!(c.ticks_y.iter().any(|t| t.1 == "10⁻⁸"));
        // Equal factors are equal lengths, and marks lie on the line.
        let marks = &c.lines[1].marks;
        assert!((marks[1].x - marks[0].x - (marks[4].x - marks[3].x)).abs() < 0.2);
        assert!(
            c.lines[0].marks.is_empty()
                && c.lines[0].path.starts_with(&format!("M{} {}", marks[0].x, marks[0].y))
        );
    }

    #[test]
    fn everything_stays_on_the_drawing() {
        let wild = vec![(0.0, 1.0, 5.0), (1.0, f64::NAN, 0.1), (2.0, -3.0, f64::INFINITY), (3.0, 2.0, 0.5)];
        let axes = [Axis::linear("v"), Axis::logarithmic("v")];
        for y in axes {
            let c = chart(&figure(Axis::linear("n"), y, wild.clone())).expect("a chart");
            for m in c.lines.iter().flat_map(|l| &l.marks) {
                assert!((0.0..=WIDTH).contains(&m.x), "{m:?}");
                assert!([m.y, m.low, m.high].iter().all(|v| (0.0..=HEIGHT).contains(v)), "{m:?}");
            }
            assert!(c.ticks_y.len() >= 2 && c.ticks_x.len() >= 3, "{c:?}");
        }
        assert!(chart(&figure(Axis::linear("n"), Axis::logarithmic("v"), vec![(0.0, -1.0, 0.1)])).is_none());
        assert!(chart(&figure(Axis::linear("n"), Axis::linear("v"), vec![(0.0, 7.0, 0.0)])).is_some());
    }
}
