//! Curves blurred by Gaussian noise: moons, Swiss roll, S-curve.
//!
//! ```text
//! x = c(t) + σ z,   t uniform on each arc
//! p(x) = Σ_arcs m ∫ N(x; c(t), σ² I) dt / (b − a)  ≈  Σ_j w_j N(x; c(t_j), σ² I)
//! ```
//!
//! Gauss–Legendre panels shorter than 2σ make the sum agree with the integral to better than 1e-6 in log p
//! wherever log p > −400 (tested against finer panels and against a plain sum).

use std::f64::consts::PI;

use super::Law;
use super::draws::{normal_pair, pick};
use super::entropy::{Entropy, on_grid};
use super::quadrature::panels;
use super::special::log_sum_exp;

/// A piece of curve with a uniformly distributed parameter.
pub(super) struct Arc {
    /// Its share of the mass.
    pub(super) mass: f64,
    /// The ends of the parameter.
    pub(super) ends: (f64, f64),
    /// The curve.
    pub(super) point: Box<dyn Fn(f64) -> [f64; 2] + Send + Sync>,
    /// A bound on the speed `|c'(t)|`.
    pub(super) speed: Box<dyn Fn(f64) -> f64 + Send + Sync>,
}

pub(super) struct Blurred {
    arcs: Vec<Arc>,
    masses: Vec<f64>,
    sd: f64,
    /// Nodes `(x, y, log w)` of the quadrature.
    nodes: Vec<[f64; 3]>,
}

impl Blurred {
    pub(super) fn new(arcs: Vec<Arc>, sd: f64) -> Self {
        Self::with_panels(arcs, sd, 2.0 * sd)
    }

    /// With panels of at most this length along the curve.
    pub(super) fn with_panels(arcs: Vec<Arc>, sd: f64, reach: f64) -> Self {
        let mut nodes = Vec::new();
        for arc in &arcs {
            let (a, b) = arc.ends;
            for (t, dt) in panels(a, b, reach, &arc.speed) {
                let [x, y] = (arc.point)(t);
                nodes.push([x, y, (arc.mass * dt / (b - a)).ln()]);
            }
        }
        let masses = arcs.iter().map(|a| a.mass).collect();
        Self { arcs, masses, sd, nodes }
    }

    /// `log w_j − |x − c_j|²/2σ²`.
    fn terms(&self, x: &[f64]) -> Vec<f64> {
        let scale = -0.5 / (self.sd * self.sd);
        let term =
            |&[cx, cy, w]: &[f64; 3]| w + scale * ((x[0] - cx) * (x[0] - cx) + (x[1] - cy) * (x[1] - cy));
        self.nodes.iter().map(term).collect()
    }
}

impl Law for Blurred {
    fn dims(&self) -> usize {
        2
    }

    fn uniforms(&self) -> usize {
        4
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let arc = &self.arcs[pick(u[2], &self.masses)];
        let (a, b) = arc.ends;
        let c = (arc.point)(a + (b - a) * u[3]);
        let z = normal_pair(u[0], u[1]);
        x[0] = c[0] + self.sd * z[0];
        x[1] = c[1] + self.sd * z[1];
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        log_sum_exp(&self.terms(x)) - (2.0 * PI * self.sd * self.sd).ln()
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let terms = self.terms(x);
        let total = log_sum_exp(&terms);
        s.fill(0.0);
        for (term, [cx, cy, _]) in terms.iter().zip(&self.nodes).filter(|(t, _)| **t > total - 45.0) {
            let pull = (term - total).exp() / (self.sd * self.sd);
            s[0] += pull * (cx - x[0]);
            s[1] += pull * (cy - x[1]);
        }
        true
    }

    fn entropy(&self) -> Entropy {
        let bound = |i: usize, sign: f64| {
            sign * (self.nodes.iter().map(|n| sign * n[i]).fold(f64::NEG_INFINITY, f64::max) + 8.0 * self.sd)
        };
        on_grid(self, [bound(0, -1.0), bound(1, -1.0)], [bound(0, 1.0), bound(1, 1.0)], 0.4 * self.sd)
    }

    fn method(&self) -> &'static str {
        "quadrature(1e-6)"
    }
}

#[cfg(test)]
mod tests {
    use super::super::{moons, scurve, swissroll};
    use super::*;

    /// The integral as a midpoint sum of 200,000 terms, for one arc.
    fn slow(arc: &Arc, sd: f64, x: [f64; 2]) -> f64 {
        let n = 200_000;
        let (a, b) = arc.ends;
        let square = |i: u32| {
            let c = (arc.point)(a + (b - a) * (f64::from(i) + 0.5) / f64::from(n));
            (x[0] - c[0]).powi(2) + (x[1] - c[1]).powi(2)
        };
        let nearest = (0..n).map(square).fold(f64::INFINITY, f64::min);
        let sum: f64 = (0..n).map(|i| ((nearest - square(i)) / (2.0 * sd * sd)).exp()).sum();
        (arc.mass * sum / f64::from(n)).ln() - nearest / (2.0 * sd * sd) - (2.0 * PI * sd * sd).ln()
    }

    #[test]
    fn the_nodes_give_the_integral_to_1e_6() {
        for (name, sd) in [("moons", 0.2), ("swissroll", 0.2), ("scurve", 0.075)] {
            let arcs = || match name {
                "moons" => moons::arcs(2.0, [-1.0, -0.2]),
                "swissroll" => vec![swissroll::roll(0.2)],
                _ => scurve::halves(1.5).into(),
            };
            let law = Blurred::new(arcs(), sd);
            let fine = Blurred::with_panels(arcs(), sd, sd);
            for i in -12..=12 {
                for j in -12..=12 {
                    let x = [0.6 * f64::from(i), 0.6 * f64::from(j)];
                    let error = law.log_density(&x) - fine.log_density(&x);
                    let log_p = law.log_density(&x);
                    let allowed = if log_p > -400.0 { 1e-6 } else { 1e-7 * log_p.abs() };
                    assert!(error.abs() < allowed, "{error:e} at {x:?}, log p {log_p}");
                }
            }
            for x in [[0.0, 0.0], [0.3, -1.0], [2.1, 1.4], [-3.0, 0.2]] {
                let parts: Vec<f64> = arcs().iter().map(|arc| slow(arc, sd, x)).collect();
                let slow = parts.iter().map(|p| p.exp()).sum::<f64>().ln();
                // The midpoint sum itself is good to about 1e-7.
                if slow.is_finite() {
                    assert!((law.log_density(&x) - slow).abs() < 1e-6, "{x:?}: {slow}");
                }
            }
        }
    }
}
