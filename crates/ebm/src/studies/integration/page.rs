//! What the page of the study says: rates, errors, claims.

use genzoo_core::study::{Axis, Figure, Finding, Listing, Page, Series, Verdict};
use genzoo_numerics::special::{Line, simultaneous};

use super::At;
use super::rules::{C, FITTED, RULES, Rule, variance};
use crate::studies::judge::Comparisons;

/// Dimensions whose errors are drawn against n.
const DRAWN: [u32; 4] = [1, 4, 8, 12];

pub(super) fn page(all: &[At], repeats: usize) -> Page {
    let lines: Vec<Line> = all.iter().map(|at| Line::power(&at.random)).collect();
    let mut figures = vec![rates(all, &lines)];
    figures.extend(all.iter().filter(|at| DRAWN.contains(&at.d)).map(errors));
    let rows = all.iter().zip(&lines).map(|(at, line)| {
        let d = f64::from(at.d);
        vec![
            at.d.to_string(),
            format!("{:.3} ± {:.3}", line.slope, 1.96 * line.slope_error),
            format!("{:.3}", Rule::Trapezoidal.rate(at.d)),
            format!("{:.3}", -2.0 / d),
            format!("{:.3}", Rule::Simpson.rate(at.d)),
            format!("{:.3}", -4.0 / d),
        ]
    });
    Page {
        about: format!(
            "∫ cos({C} Σ (x_i − ½)) over the unit cube, known in closed form. Monte Carlo: root mean square error over {repeats} repetitions, bars \
             95 %. Grids: every point visited up to the largest grid that fits; their rates are fitted between {} and {} panels per side, where the \
             grid's sum is computed as a power of the sum along one side.",
            FITTED[0],
            FITTED[FITTED.len() - 1]
        ),
        findings: findings(all, &lines),
        figures,
        tables: vec![Listing {
            title: "Exponents of n".into(),
            columns: ["d", "Monte Carlo", "trapezoidal", "−2/d", "Simpson", "−4/d"].map(String::from).into(),
            lines: rows.collect(),
        }],
        pictures: Vec::new(),
    }
}

fn rates(all: &[At], lines: &[Line]) -> Figure {
    let fine = || (20..=240).map(|i| 0.05 * f64::from(i));
    let mut series = vec![
        Series::theory("−1/2", [(1.0, -0.5), (12.0, -0.5)]),
        Series::theory("−2/d", fine().map(|d| (d, -2.0 / d))),
        Series::theory("−4/d", fine().map(|d| (d, -4.0 / d))),
    ];
    let random =
        all.iter().zip(lines).map(|(at, line)| (f64::from(at.d), line.slope, 1.96 * line.slope_error));
    series.push(Series::measured("Monte Carlo", random));
    for rule in RULES {
        series.push(Series::exact(rule.name(), all.iter().map(|at| (f64::from(at.d), rule.rate(at.d)))));
    }
    Figure {
        title: "Rate of convergence against dimension".into(),
        x: Axis::linear("dimension d"),
        y: Axis::linear("exponent of n"),
        series,
    }
}

fn errors(at: &At) -> Figure {
    let d = at.d;
    let span = |of: &[(f64, f64)]| (of.first().map_or(1.0, |p| p.0), of.last().map_or(1.0, |p| p.0));
    let mut series = Vec::new();
    let ends = [at.random[0].0, at.random[at.random.len() - 1].0];
    series.push(Series::theory("σ n^−1/2", ends.map(|n| (n, (variance(d) / n).sqrt()))));
    series.push(Series::measured("Monte Carlo", at.random.iter().map(|(n, e, s)| (*n, *e, 1.96 * s))));
    for (rule, grid) in RULES.iter().zip(&at.grids) {
        let (low, high) = span(grid);
        let line = [low, high].map(|n| (n, rule.constant(d) * n.powf(-rule.order() / f64::from(d))));
        series.push(Series::theory(format!("{}, limit", rule.name()), line));
        series.push(Series::exact(rule.name(), grid.iter().copied()));
    }
    Figure {
        title: format!("Error in {d} dimension{}", if d == 1 { "" } else { "s" }),
        x: Axis::logarithmic("evaluations n"),
        y: Axis::logarithmic("error"),
        series,
    }
}

fn findings(all: &[At], lines: &[Line]) -> Vec<Finding> {
    let (mut rate, mut size) = (Comparisons::default(), Comparisons::default());
    for (at, line) in all.iter().zip(lines) {
        rate.push(line.slope, line.slope_error, -0.5);
        at.random.iter().for_each(|(n, rms, se)| size.push(*rms, *se, (variance(at.d) / n).sqrt()));
    }
    let mut out = vec![Finding {
        claim: "The error of Monte Carlo falls as n^−1/2 in every dimension, and is √(Var f/n).".into(),
        verdict: if rate.verdict() == Verdict::Holds { size.verdict() } else { rate.verdict() },
        because: format!(
            "Exponents in {} dimensions: {} Sizes: {}",
            all.len(),
            rate.because(),
            size.because()
        ),
    }];
    for rule in RULES {
        // m panels need m + 1 points, which changes a fitted exponent by less than one part in m.
        let worst = |at: &At| (rule.rate(at.d) * f64::from(at.d) / -rule.order() - 1.0).abs();
        let worst = all.iter().map(worst).fold(0.0, f64::max);
        let allowed = 1.0 / f64::from(FITTED[0]);
        out.push(Finding {
            claim: format!("The error of the {} rule falls as n^−{}/d.", rule.name(), rule.order()),
            verdict: Verdict::of(worst < allowed),
            because: format!(
                "Fitted exponents differ from it by at most {:.1} %; {:.1} % are what one point more than panels can do.",
                100.0 * worst,
                100.0 * allowed
            ),
        });
    }
    out.push(crossing(all, lines));
    out.push(in_many_dimensions(all));
    out
}

/// On which side of 4 and 8 dimensions each rate is the better one.
fn crossing(all: &[At], lines: &[Line]) -> Finding {
    let margin = simultaneous(2 * all.len(), 0.99);
    let mut wrong = Vec::new();
    for (at, line) in all.iter().zip(lines) {
        for rule in RULES {
            let edge = 2.0 * rule.order();
            let d = f64::from(at.d);
            let gap = line.slope - rule.rate(at.d);
            // Above the edge Monte Carlo's exponent must be the lower one, beyond its error; below it, the higher.
            let beyond = gap * (d - edge).signum() < -margin * line.slope_error;
            if d != edge && !beyond {
                wrong.push(format!("{} in {}", rule.name(), at.d));
            }
        }
    }
    Finding {
        claim: "Monte Carlo converges faster than the trapezoidal rule for d > 4 and than Simpson's for d > 8, slower below.".into(),
        verdict: Verdict::of(wrong.is_empty()),
        because: if wrong.is_empty() {
            format!("In every dimension but 4 and 8 the exponents differ that way by more than {margin:.1} standard errors.")
        } else {
            format!("Not so, or not by more than {margin:.1} standard errors: {}.", wrong.join(", "))
        },
    }
}

/// What the rates mean for a computation that can be done.
fn in_many_dimensions(all: &[At]) -> Finding {
    let Some(at) = all.last() else {
        return Finding { claim: String::new(), verdict: Verdict::Undecided, because: String::new() };
    };
    let largest = at.grids.iter().filter_map(|g| g.last());
    let (n, best) = largest.fold((0.0, f64::INFINITY), |(n, e): (f64, f64), p| (n.max(p.0), e.min(p.1)));
    // The theory of the first claim, at the number of points of the grid.
    let random = (variance(at.d) / n).sqrt();
    Finding {
        claim: format!("In {} dimensions a grid that can be visited loses to as many random points.", at.d),
        verdict: Verdict::of(random < best),
        because: format!(
            "At n = {n:.1e} the better grid errs by {best:.1e}, Monte Carlo by {random:.1e} (rms)."
        ),
    }
}
