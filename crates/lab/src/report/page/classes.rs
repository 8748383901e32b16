//! How often each class comes among the samples of a model, as bars with their intervals.

use serde::Serialize;

use crate::report::format::{fixed, significant};
use crate::row::Share;

/// The drawing's own units.
pub(super) const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 52.0;

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Histogram {
    bars: Vec<Bar>,
    width: f64,
    height: f64,
    /// The share at the top of the drawing.
    top: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Bar {
    x: f64,
    width: f64,
    y: f64,
    middle: f64,
    low: f64,
    high: f64,
    truth: Option<f64>,
    label: String,
    title: String,
}

/// The histogram of these shares; `None` without at least two classes of finite numbers.
pub(super) fn histogram(shares: &[Share]) -> Option<Histogram> {
    let all = || shares.iter().flat_map(|s| [Some(s.share), Some(s.low), Some(s.high), s.truth]).flatten();
    if shares.len() < 2 || shares.len() > 100 || !all().all(|v| (0.0..=1.0).contains(&v)) {
        return None;
    }
    let top = all().fold(1e-6, f64::max);
    let y = |v: f64| HEIGHT * (1.0 - v / top);
    let step = WIDTH / shares.len() as f64;
    let few = shares.len() <= 20;
    let bar = |(i, s): (usize, &Share)| Bar {
        x: step * (i as f64 + 0.14),
        width: 0.72 * step,
        y: y(s.share),
        middle: step * (i as f64 + 0.5),
        low: y(s.low),
        high: y(s.high),
        truth: s.truth.map(y),
        label: if few { i.to_string() } else { String::new() },
        title: format!(
            "class {i}: {} %, between {} and {} %{}",
            fixed(100.0 * s.share, 1),
            fixed(100.0 * s.low, 1),
            fixed(100.0 * s.high, 1),
            s.truth.map_or(String::new(), |t| format!("; the data have {} %", fixed(100.0 * t, 1)))
        ),
    };
    let bars = shares.iter().enumerate().map(bar).collect();
    Some(Histogram { bars, width: WIDTH, height: HEIGHT, top: format!("{} %", significant(100.0 * top, 2)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_shares() {
        let share = |share: f64| Share { share, low: share - 0.05, high: share + 0.05, truth: Some(0.5) };
        let h = histogram(&[share(0.75), share(0.25)]).expect("a histogram");
        assert!((h.bars[0].y - HEIGHT * (1.0 - 0.75 / 0.8)).abs() < 1e-9);
        assert!((h.bars[1].y - HEIGHT * (1.0 - 0.25 / 0.8)).abs() < 1e-9 && h.bars[0].high.abs() < 1e-9);
        assert_eq!(h.bars[1].title, "class 1: 25.0 %, between 20.0 and 30.0 %; the data have 50.0 %");
        assert!(histogram(&[]).is_none() && histogram(&[share(f64::NAN), share(0.5)]).is_none());
    }
}
