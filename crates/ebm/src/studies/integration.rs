//! How the error of an integral falls with the number of evaluations, at random points and on grids, as the dimension grows.
//!
//! ```text
//! f(x) = cos(c Σ (x_i − ½)) on [0, 1]^d,   ∫ f = s^d,   s = sin(c/2)/(c/2),   ∫ f² = ½ (1 + (sin c/c)^d)
//! Monte Carlo    rms error  √(Var f) n^{−1/2}
//! trapezoidal    |error| →  s^d d c²/12 · m^{−2}      n = (m + 1)^d points
//! Simpson        |error| →  s^d d c⁴/180 · m^{−4}     n = (m + 1)^d points, m even
//! ```
//!
//! so that the rates in n are −1/2, −2/d and −4/d. By symmetry the sum over a grid is the d-th power of the sum along one
//! side; that is how rates are fitted where no one could visit n points. The smaller grids are visited point by point.
//!
//! Source: Davis & Rabinowitz, "Methods of Numerical Integration" (1984), §5; the integrand is the oscillatory one of
//! Genz (1984). Rates as in De Bortoli and in "Basics of Energy Based Models", where integrals stand for log Z.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Study, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::special::{Line, Moments, simultaneous};
use serde::{Deserialize, Serialize};

use super::judge::Comparisons;

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "integration",
    summary: "Monte Carlo, trapezoidal and Simpson's rule against the number of evaluations, as the dimension grows",
    citation: "Davis & Rabinowitz, \"Methods of Numerical Integration\" (1984)",
    run,
};

const C: f64 = 2.0;
const DIMENSIONS: [u32; 8] = [1, 2, 3, 4, 6, 8, 10, 12];
/// Dimensions whose errors are drawn against n.
const DRAWN: [u32; 4] = [1, 4, 8, 12];
/// Panels per side between which the rates of the grids are fitted.
const FITTED: [u32; 3] = [32, 64, 128];

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Trapezoidal,
    Simpson,
}

const RULES: [Rule; 2] = [Rule::Trapezoidal, Rule::Simpson];

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Rule::Trapezoidal => "trapezoidal",
            Rule::Simpson => "Simpson",
        }
    }

    /// The order in the spacing.
    fn order(self) -> f64 {
        match self {
            Rule::Trapezoidal => 2.0,
            Rule::Simpson => 4.0,
        }
    }

    /// The weight of point `j` of `0..=m`, which sum to 1.
    fn weight(self, j: u32, m: u32) -> f64 {
        let end = j == 0 || j == m;
        let m = f64::from(m);
        match self {
            Rule::Trapezoidal => {
                if end {
                    0.5 / m
                } else {
                    1.0 / m
                }
            }
            Rule::Simpson if end => 1.0 / (3.0 * m),
            Rule::Simpson => {
                if j % 2 == 1 {
                    4.0 / (3.0 * m)
                } else {
                    2.0 / (3.0 * m)
                }
            }
        }
    }

    /// The sum along one side.
    fn side(self, m: u32) -> f64 {
        (0..=m).map(|j| self.weight(j, m) * (C * (f64::from(j) / f64::from(m) - 0.5)).cos()).sum()
    }

    /// |error| of the grid with m panels per side.
    fn error(self, m: u32, d: u32) -> f64 {
        (self.side(m).powi(d as i32) - integral(d)).abs()
    }

    /// |error| of the same grid, visited point by point.
    fn visited(self, m: u32, d: u32) -> f64 {
        let mut digits = vec![0; d as usize];
        let mut sum = 0.0;
        loop {
            let place: f64 = digits.iter().map(|&j| f64::from(j) / f64::from(m) - 0.5).sum();
            let weight: f64 = digits.iter().map(|&j| self.weight(j, m)).product();
            sum += weight * (C * place).cos();
            let Some(next) = digits.iter().position(|&j| j < m) else { break };
            digits[next] += 1;
            digits[..next].fill(0);
        }
        (sum - integral(d)).abs()
    }

    /// The factor of n^{−order/d} in the limit.
    fn constant(self, d: u32) -> f64 {
        let each = match self {
            Rule::Trapezoidal => C.powi(2) / 12.0,
            Rule::Simpson => C.powi(4) / 180.0,
        };
        integral(d) * f64::from(d) * each
    }

    /// The exponent between the fitted grids. All points count alike.
    fn rate(self, d: u32) -> f64 {
        let points: Vec<_> = FITTED.iter().map(|&m| (points(m, d), self.error(m, d))).collect();
        Line::power(&points.into_iter().map(|(n, e)| (n, e, e)).collect::<Vec<_>>()).slope
    }
}

fn points(m: u32, d: u32) -> f64 {
    f64::from(m + 1).powi(d as i32)
}

fn integral(d: u32) -> f64 {
    ((0.5 * C).sin() / (0.5 * C)).powi(d as i32)
}

/// Var f under the uniform law.
fn variance(d: u32) -> f64 {
    0.5 * (1.0 + (C.sin() / C).powi(d as i32)) - integral(d).powi(2)
}

/// Everything measured in one dimension.
#[derive(Serialize, Deserialize)]
struct At {
    d: u32,
    /// n, rms error, its standard error.
    random: Vec<(f64, f64, f64)>,
    /// Per rule: n and |error| of visited grids.
    grids: Vec<Vec<(f64, f64)>>,
}

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let repeats = desk.choose(200, 1_000);
    let largest = desk.choose(5, 6);
    let visits = desk.choose(6e5, 3e7);
    let all = DIMENSIONS
        .iter()
        .map(|&d| desk.part(&format!("d={d}"), |noise| Ok(at(d, (repeats, largest), visits, noise))))
        .collect::<Result<Vec<At>>>()?;
    Ok(page(&all, repeats))
}

fn at(d: u32, (repeats, largest): (usize, u32), visits: f64, noise: &mut Noise) -> At {
    // Half decades from 100.
    let counts = (4..=2 * largest).map(|e| 10f64.powf(0.5 * f64::from(e)).round() as usize);
    let random = counts.map(|n| {
        let errors: Vec<f64> =
            (0..repeats).map(|_| (monte_carlo(n, d, noise) - integral(d)).powi(2)).collect();
        let squares = Moments::of(&errors);
        let rms = squares.mean().sqrt();
        (n as f64, rms, 0.5 * squares.standard_error() / rms)
    });
    let random = random.collect();
    let grids = RULES.map(|rule| {
        let sizes = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256, 512, 1024, 2048];
        let sizes = sizes.into_iter().filter(|m| rule == Rule::Trapezoidal || m % 2 == 0);
        let visited =
            sizes.take_while(|&m| points(m, d) <= visits).map(|m| (points(m, d), rule.visited(m, d)));
        // Below this an error is round-off.
        visited.filter(|(_, error)| *error > 1e-13).collect()
    });
    At { d, random, grids: grids.into() }
}

/// The mean of f at n random points.
fn monte_carlo(n: usize, d: u32, noise: &mut Noise) -> f64 {
    let d = d as usize;
    let mut sum = 0.0;
    let mut left = n;
    while left > 0 {
        let block = left.min(4096);
        let places = noise.uniforms(block * d);
        sum += places.chunks(d).map(|x| (C * (x.iter().sum::<f64>() - 0.5 * d as f64)).cos()).sum::<f64>();
        left -= block;
    }
    sum / n as f64
}

fn page(all: &[At], repeats: usize) -> Page {
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

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;
    use genzoo_core::study::{Effort, Forgetful};

    #[test]
    fn integrals_are_those_of_a_fine_grid() {
        for d in [1, 2] {
            // Midpoints, which are neither of the rules judged here.
            let m = 2_000 / u32::pow(d, 3);
            let at = |j: u32| (f64::from(j) + 0.5) / f64::from(m) - 0.5;
            let (mut first, mut second) = (0.0, 0.0);
            for i in 0..m {
                for j in 0..if d == 2 { m } else { 1 } {
                    let f = (C * (at(i) + if d == 2 { at(j) } else { 0.0 })).cos();
                    first += f / f64::from(m.pow(d));
                    second += f * f / f64::from(m.pow(d));
                }
            }
            let tolerance = 3.0 / f64::from(m * m);
            assert!((first - integral(d)).abs() < tolerance);
            assert!((second - first * first - variance(d)).abs() < tolerance);
        }
    }

    #[test]
    fn a_visited_grid_is_the_power_of_its_side_and_simpson_is_exact_for_cubics() {
        for rule in RULES {
            for (m, d) in [(2, 1), (4, 2), (6, 3), (2, 7)] {
                assert!((rule.visited(m, d) - rule.error(m, d)).abs() < 1e-13);
            }
            let cubic: f64 = (0..=4).map(|j| rule.weight(j, 4) * (f64::from(j) / 4.0).powi(3)).sum();
            assert_eq!((cubic - 0.25).abs() < 1e-14, rule == Rule::Simpson);
            let total: f64 = (0..=6).map(|j| rule.weight(j, 6)).sum();
            assert!((total - 1.0).abs() < 1e-14);
        }
    }

    /// The limit with its constant: at 256 panels the next order is of relative size m⁻².
    #[test]
    fn errors_approach_their_limit() {
        for rule in RULES {
            for d in [1, 3, 10] {
                let limit = rule.constant(d) * 256f64.powf(-rule.order());
                assert!((rule.error(256, d) / limit - 1.0).abs() < 1e-3, "{} {d}", rule.name());
            }
        }
    }

    #[test]
    fn every_claim_holds_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(0), &mut memory);
        let page = run(&mut desk)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:#?}", page.findings);
        Ok(())
    }
}
