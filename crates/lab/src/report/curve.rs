//! The learning curve of a run: its logged losses as one line of an SVG.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Largest log that is read, in bytes.
const MAX_LOG: u64 = 64 << 20;
/// Points of the line: more than pixels would be wasted.
const POINTS: usize = 120;
/// The drawing's own units.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 64.0;

/// A logged step.
#[derive(Deserialize)]
struct Step {
    step: u64,
    loss: Option<f64>,
}

/// A line ready to be drawn, with what its axes would say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Curve {
    /// The `d` of an SVG path.
    pub(super) path: String,
    /// The first step that was logged.
    pub(super) first_step: u64,
    /// The last one.
    pub(super) last_step: u64,
    /// The loss at the top of the drawing.
    pub(super) high: f64,
    /// And at the bottom.
    pub(super) low: f64,
    /// The last one of the line.
    pub(super) last: f64,
}

/// The curve of the run in `folder`; `None` if it left no log with two finite losses.
pub(super) fn read(folder: &Path) -> Option<Curve> {
    let path = folder.join("log.jsonl");
    if std::fs::metadata(&path).ok()?.len() > MAX_LOG {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    // A torn last line is no step.
    let steps = text.lines().filter_map(|l| serde_json::from_str::<Step>(l).ok());
    draw(&steps.filter_map(|s| Some((s.step, s.loss.filter(|l| l.is_finite())?))).collect::<Vec<_>>())
}

/// Means of equal stretches of steps, scaled to their middle 98 % and the last value.
fn draw(losses: &[(u64, f64)]) -> Option<Curve> {
    let (first_step, last_step) = (losses.first()?.0, losses.last()?.0);
    if losses.len() < 2 || first_step >= last_step {
        return None;
    }
    let stretch = losses.len().div_ceil(POINTS);
    let means: Vec<(f64, f64)> = losses
        .chunks(stretch)
        .map(|part| {
            let n = part.len() as f64;
            (part.iter().map(|p| p.0 as f64).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
        })
        .collect();
    let last = means.last()?.1;
    let mut sorted: Vec<f64> = means.iter().map(|m| m.1).collect();
    sorted.sort_by(f64::total_cmp);
    // A first loss far above all others would flatten the rest of the line.
    let high = sorted[(sorted.len() - 1) * 98 / 100].max(last);
    let low = sorted[0];
    let span = if high > low { high - low } else { 1.0 };
    let x = |step: f64| WIDTH * (step - first_step as f64) / (last_step - first_step) as f64;
    let y = |loss: f64| HEIGHT * ((high - loss) / span).clamp(0.0, 1.0);
    let point = |(i, m): (usize, &(f64, f64))| {
        format!("{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, x(m.0), y(m.1))
    };
    let path = means.iter().enumerate().map(point).collect::<Vec<_>>().join("");
    Some(Curve { path, first_step, last_step, high, low, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_falls_from_corner_to_corner() {
        let losses: Vec<(u64, f64)> = (0..=10).map(|i| (10 * i, 5.0 - 0.1 * i as f64)).collect();
        let c = draw(&losses).expect("a curve");
        assert!(c.path.starts_with("M0.0 ") && c.path.ends_with("L240.0 64.0"), "{}", c.path);
        assert_eq!((c.first_step, c.last_step, c.low, c.last), (0, 100, 4.0, 4.0));
        let many: Vec<(u64, f64)> = (0..100_000).map(|i| (i, (i as f64 * 0.01).sin())).collect();
        assert!(draw(&many).is_some_and(|c| c.path.matches('L').count() < POINTS));
    }

    #[test]
    fn logs_without_a_curve_give_none() -> std::io::Result<()> {
        assert!(draw(&[]).is_none() && draw(&[(1, 2.0)]).is_none() && draw(&[(3, 1.0), (3, 2.0)]).is_none());
        let folder = tempfile::tempdir()?;
        assert!(read(folder.path()).is_none());
        let text = "{\"step\":10,\"loss\":2.0}\n{\"step\":20,\"loss\":null}\nnonsense\n{\"step\":30,\"loss\":1.0,\"lr\":0.1}\n{\"st";
        std::fs::write(folder.path().join("log.jsonl"), text)?;
        assert_eq!(read(folder.path()).map(|c| (c.first_step, c.last_step)), Some((10, 30)));
        Ok(())
    }
}
