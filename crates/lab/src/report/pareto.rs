//! What quality costs: each model's samples against evaluations, seconds of sampling and seconds of training.
//!
//! A point is on the front if no other is at least as good in both and better in one. Costs are on a logarithmic
//! scale. Quality is on the scale asinh(v/2e) with e the median error: linear where values drown in their errors, also
//! below zero, and logarithmic above.

use serde::Serialize;

use super::format::{printable, seconds, short, significant};
use super::section::{Section, family, heading, is_reference};
use crate::row::{Row, Status};
use genzoo_core::{Better, Measurement};

/// The drawing's own units.
pub(super) const WIDTH: f64 = 320.0;
pub(super) const HEIGHT: f64 = 210.0;

/// A plot ready to be drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Plot {
    title: String,
    cost: &'static str,
    quality: String,
    ticks_x: Vec<(f64, String)>,
    ticks_y: Vec<(f64, String)>,
    points: Vec<Point>,
    /// The `d` of the front, a staircase.
    front: String,
    /// The lines of samplers whose steps were swept, with their families.
    lines: Vec<(String, String)>,
    floor: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Point {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
    family: String,
    label: String,
    /// Where the label stands, for the judged sampler of a model.
    label_at: Option<(f64, f64)>,
    /// What a pointer shows.
    title: String,
    on_front: bool,
    swept: bool,
}

/// A model's samples at one price.
struct Offer<'a> {
    row: &'a Row,
    measured: &'a Measurement,
    sampler: String,
    evaluations: Option<f64>,
    sampling: Option<f64>,
    swept: bool,
}

/// The indices of the points that no other dominates, lower being better in both, by rising cost. Of equal points all
/// are on the front.
pub(super) fn front(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.retain(|&i| points[i].0.is_finite() && points[i].1.is_finite());
    order.sort_by(|&a, &b| {
        points[a].0.total_cmp(&points[b].0).then(points[a].1.total_cmp(&points[b].1)).then(a.cmp(&b))
    });
    let mut out: Vec<usize> = Vec::new();
    for i in order {
        let dominates = |j: &usize| {
            points[*j].1 < points[i].1 || (points[*j].1 == points[i].1 && points[*j].0 < points[i].0)
        };
        if !out.last().is_some_and(dominates) {
            out.push(i);
        }
    }
    out
}

/// The plots of a section, of the first metric of its rows; `others` are the sections of the same data.
pub(super) fn plots(section: &Section<'_>, others: &[&Section<'_>]) -> Vec<Plot> {
    let Some(metric) = section.metrics().into_iter().next() else { return Vec::new() };
    let here = offers(section, &metric);
    let budgets: Vec<Offer<'_>> =
        others.iter().flat_map(|s| offers(s, &metric)).filter(|o| !o.swept).collect();
    let floor = section.floor(&metric);
    let draw = |title: &str,
                cost,
                all: &[Offer<'_>],
                x: &dyn Fn(&Offer<'_>) -> Option<f64>,
                text: fn(f64) -> String| { plot(title, cost, &metric, floor, all, x, text) };
    let mut out = Vec::new();
    out.extend(draw(
        "Quality and evaluations",
        "network evaluations per sample",
        &here,
        &|o| o.evaluations,
        short,
    ));
    out.extend(draw("Quality and time to sample", "time per 1,000 samples", &here, &|o| o.sampling, seconds));
    if others.len() > 1 {
        let trained = |o: &Offer<'_>| Some(o.row.train.as_ref()?.seconds);
        out.extend(draw("Quality and time to train", "training", &budgets, &trained, seconds));
    }
    out
}

fn offers<'a>(section: &Section<'a>, metric: &str) -> Vec<Offer<'a>> {
    let mut out = Vec::new();
    for row in section.members().filter(|r| !is_reference(r) && r.status == Status::Ok) {
        let per_thousand = |rate: Option<f64>| rate.filter(|v| *v > 0.0).map(|v| 1e3 / v);
        if let (Some(measured), Some(s)) = (row.metric(metric), row.sampling.first()) {
            out.push(Offer {
                row,
                measured,
                sampler: s.sampler.clone(),
                evaluations: Some(s.evaluations as f64),
                sampling: per_thousand(s.examples_per_second),
                swept: false,
            });
        }
        for o in &row.sweep {
            if let Some((_, measured)) = o.quality.iter().find(|(n, _)| n == metric) {
                out.push(Offer {
                    row,
                    measured,
                    sampler: format!("{} {}={}", o.sampler, o.option, o.setting),
                    evaluations: Some(o.evaluations as f64),
                    sampling: per_thousand(o.examples_per_second),
                    swept: true,
                });
            }
        }
    }
    out
}

fn plot(
    title: &str,
    cost: &'static str,
    metric: &str,
    floor: Option<f64>,
    all: &[Offer<'_>],
    x: &dyn Fn(&Offer<'_>) -> Option<f64>,
    text: fn(f64) -> String,
) -> Option<Plot> {
    let known: Vec<(&Offer<'_>, f64, f64, f64)> = all
        .iter()
        .filter_map(|o| {
            Some((o, x(o).filter(|x| *x > 0.0)?, o.measured.value?, o.measured.stderr.unwrap_or(0.0)))
        })
        .collect();
    if known.len() < 2 {
        return None;
    }
    let better = known[0].0.measured.better;
    let mut errors: Vec<f64> = known.iter().map(|k| k.3).filter(|e| *e > 0.0).collect();
    errors.sort_by(f64::total_cmp);
    let largest = known.iter().map(|k| k.2.abs()).fold(0.0, f64::max);
    let unit = 2.0 * errors.get(errors.len() / 2).copied().unwrap_or(largest / 50.0).max(1e-9);
    let warp = |v: f64| (v / unit).asinh();
    let shown = known.iter().flat_map(|k| [k.2 - k.3, k.2 + k.3]).chain(floor).map(warp);
    let y = Scale::new(shown, HEIGHT, true);
    let x_of = Scale::new(known.iter().map(|k| k.1.ln()), WIDTH, false);
    let sign = if better == Better::Lower { 1.0 } else { -1.0 };
    let on_front = front(&known.iter().map(|k| (k.1, sign * k.2)).collect::<Vec<_>>());
    let point = |(i, (o, cost, value, error)): (usize, &(&Offer<'_>, f64, f64, f64))| Point {
        x: x_of.at(cost.ln()),
        y: y.at(warp(*value)),
        low: y.at(warp(value - error)),
        high: y.at(warp(value + error)),
        family: family(o.row),
        label: printable(&o.row.model),
        label_at: None,
        title: printable(&format!(
            "{}, {}: {} ±{} at {}",
            o.row.model,
            o.sampler,
            significant(*value, 3),
            significant(*error, 2),
            text(*cost)
        )),
        on_front: on_front.contains(&i),
        swept: o.swept,
    };
    let mut points: Vec<Point> = known.iter().enumerate().map(point).collect();
    label(&mut points);
    let (low, high) = known.iter().fold((f64::MAX, f64::MIN), |(a, b), k| (a.min(k.1), b.max(k.1)));
    Some(Plot {
        title: title.into(),
        cost,
        quality: heading(metric, 1.0) + if better == Better::Lower { " ↓" } else { " ↑" },
        ticks_x: decades(low, high).into_iter().map(|v| (x_of.at(v.ln()), text(v))).collect(),
        ticks_y: levels(&y, unit).into_iter().map(|v| (y.at(warp(v)), significant(v, 1))).collect(),
        front: staircase(&on_front.iter().map(|&i| (points[i].x, points[i].y)).collect::<Vec<_>>()),
        lines: lines(&known, &points),
        floor: floor.map(|f| y.at(warp(f))),
        points,
    })
}

/// A range of numbers laid onto a length, with a margin.
struct Scale {
    from: f64,
    to: f64,
    length: f64,
    up: bool,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, length: f64, up: bool) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        let pad = 0.07 * (high - low).max(0.5);
        Self { from: low - pad, to: high + pad, length, up }
    }

    fn at(&self, v: f64) -> f64 {
        let part = (v - self.from) / (self.to - self.from);
        (10.0 * self.length * if self.up { 1.0 - part } else { part }).round() / 10.0
    }

    fn holds(&self, v: f64) -> bool {
        (self.from..=self.to).contains(&v)
    }
}

/// Powers of ten, with 2 and 5 of them where they are few.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let powers = (low.log10().floor() as i32 - 1)..=(high.log10().ceil() as i32 + 1);
    let all = |digits: &[f64]| -> Vec<f64> {
        let all = powers.clone().flat_map(|p| digits.iter().map(move |d| d * 10f64.powi(p)));
        all.filter(|v| (0.85 * low..=1.18 * high).contains(v)).collect()
    };
    match all(&[1.0]) {
        few if few.len() < 3 => all(&[1.0, 2.0, 5.0]),
        many if many.len() > 6 => many.into_iter().step_by(2).collect(),
        enough => enough,
    }
}

/// Zero and powers of ten of either sign, as far as they stand apart.
fn levels(y: &Scale, unit: f64) -> Vec<f64> {
    let first = unit.log10().ceil() as i32;
    let powers = (first..first + 12).flat_map(|p| [10f64.powi(p), -(10f64.powi(p))]);
    let all = std::iter::once(0.0).chain(powers).filter(|v| y.holds((v / unit).asinh()));
    let mut out: Vec<f64> = all.collect();
    if out.len() < 3 {
        let halves = (first - 1..first + 3).flat_map(|p| [2.0, 5.0].map(|d| d * 10f64.powi(p)));
        out.extend(halves.filter(|v| y.holds((v / unit).asinh())));
    }
    let mut placed: Vec<f64> = Vec::new();
    out.retain(|v| {
        let at = y.at((v / unit).asinh());
        let apart = placed.iter().all(|p| (p - at).abs() > 15.0);
        placed.extend(apart.then_some(at));
        apart
    });
    out
}

/// The front as steps: what each price buys until the next point.
fn staircase(points: &[(f64, f64)]) -> String {
    let step =
        |(i, (x, y)): (usize, &(f64, f64))| if i == 0 { format!("M{x} {y}") } else { format!("H{x}V{y}") };
    let path: String = points.iter().enumerate().map(step).collect();
    if path.is_empty() { path } else { format!("{path}H{WIDTH}") }
}

/// One line through the swept points of each sampler of each row.
fn lines(known: &[(&Offer<'_>, f64, f64, f64)], points: &[Point]) -> Vec<(String, String)> {
    let mut out: Vec<(*const Row, String, String, String)> = Vec::new();
    for (k, p) in known.iter().zip(points).filter(|(k, _)| k.0.swept) {
        let sampler = k.0.sampler.split(' ').next().unwrap_or_default().to_string();
        let of: *const Row = k.0.row;
        match out.iter_mut().find(|l| l.0 == of && l.1 == sampler) {
            Some(line) => line.3 += &format!("L{} {}", p.x, p.y),
            None => out.push((of, sampler, p.family.clone(), format!("M{} {}", p.x, p.y))),
        }
    }
    out.into_iter().map(|(_, _, family, path)| (family, path)).collect()
}

/// A place for the name of each judged point, beside it and clear of the names placed before.
fn label(points: &mut [Point]) {
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    let mut order: Vec<usize> = (0..points.len()).filter(|&i| !points[i].swept).collect();
    order.sort_by(|&a, &b| points[a].y.total_cmp(&points[b].y));
    for i in order {
        let p = &points[i];
        let width = 6.2 * p.label.chars().count() as f64;
        let x = if p.x + 7.0 + width > WIDTH { p.x - 7.0 - width } else { p.x + 7.0 };
        let clear =
            |y: f64| placed.iter().all(|(px, py, w)| (py - y).abs() > 10.5 || x > px + w || *px > x + width);
        let shifts = [0.0, 11.0, -11.0, 22.0, -22.0, 33.0, 44.0];
        let y = shifts.iter().map(|s| p.y + 4.0 + s).find(|y| clear(*y)).unwrap_or(p.y + 4.0);
        placed.push((x, y, width));
        points[i].label_at = Some((x, y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::{sections, tests::zoo};
    use crate::row::Operating;
    use genzoo_core::Noise;

    #[test]
    fn the_front_is_that_of_brute_force() -> genzoo_core::Result<()> {
        let mut noise = Noise::new(3);
        for n in [0, 1, 2, 5, 40, 120] {
            // Few distinct values, so that ties are common.
            let v: Vec<f64> = noise.below(9, 2 * n).into_iter().map(|v| v as f64).collect();
            let points: Vec<(f64, f64)> = v.chunks(2).map(|p| (p[0], p[1])).collect();
            let dominated =
                |i: usize| points.iter().any(|o| o.0 <= points[i].0 && o.1 <= points[i].1 && *o != points[i]);
            let want: Vec<usize> = (0..points.len()).filter(|&i| !dominated(i)).collect();
            let mut got = front(&points);
            got.sort_unstable();
            assert_eq!(got, want, "{points:?}");
        }
        assert_eq!(front(&[(1.0, f64::NAN), (2.0, 3.0)]), [1]);
        Ok(())
    }

    #[test]
    fn every_point_is_on_the_drawing_and_the_front_ends_right() {
        let mut rows = zoo();
        let swept = |setting: i64, evaluations: u64, value: f64| Operating {
            sampler: "ode".into(),
            option: "steps".into(),
            setting,
            evaluations,
            examples_per_second: Some(1e6 / evaluations as f64),
            quality: vec![(
                "mmd2_unbiased".into(),
                Measurement { value: Some(value), ..rows[2].quality[0].1.clone() },
            )],
        };
        rows[2].sweep = vec![swept(1, 4, 0.02), swept(4, 16, 0.001), swept(64, 256, -0.0001)];
        let all = sections(&rows);
        let plots = plots(&all[0], &[&all[0]]);
        assert_eq!(plots.len(), 2);
        for p in &plots {
            assert_eq!((p.points.len(), p.lines.len()), (8, 1));
            for q in &p.points {
                assert!((0.0..=WIDTH).contains(&q.x) && (0.0..=HEIGHT).contains(&q.y), "{q:?}");
                assert!(q.high <= q.y && q.y <= q.low);
            }
            assert!(
                p.ticks_x.len() >= 2 && p.ticks_y.len() >= 2 && p.front.ends_with(&format!("H{WIDTH}")),
                "{p:?}"
            );
        }
        assert!(super::plots(&all[1], &[&all[1]]).is_empty());
    }
}
