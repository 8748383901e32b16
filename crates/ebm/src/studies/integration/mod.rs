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

mod page;
mod rules;

use genzoo_core::study::{Desk, Page, Study};
use genzoo_core::{Noise, Result};
use genzoo_numerics::special::Moments;
use serde::{Deserialize, Serialize};

use rules::{C, RULES, Rule, integral, points};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "integration",
    summary: "Monte Carlo, trapezoidal and Simpson's rule against the number of evaluations, as the dimension grows",
    citation: "Davis & Rabinowitz, \"Methods of Numerical Integration\" (1984)",
    run,
};

const DIMENSIONS: [u32; 8] = [1, 2, 3, 4, 6, 8, 10, 12];

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
    Ok(page::page(&all, repeats))
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

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;
    use genzoo_core::study::{Effort, Forgetful, Verdict};

    #[test]
    fn every_claim_holds_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(0), &mut memory);
        let page = run(&mut desk)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:#?}", page.findings);
        Ok(())
    }
}
