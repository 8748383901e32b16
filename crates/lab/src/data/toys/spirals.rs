//! Two spiral arms (FFJORD's `2spirals`): each arm is thickened by a square and blurred by a Gaussian.
//!
//! ```text
//! n = 3π √U,   q: x = ((−n cos n, n sin n) + ½ (U₁, U₂))/3 + noise · z,   p(x) = ½ (q(x) + q(−x))
//! q(x) = ∫ 2n/(3π)² k(x₁ + n cos n/3) k(x₂ − n sin n/3) dn,   k(y) = (Φ(y/σ) − Φ((y − w)/σ))/w,   w = 1/6
//! ```

use std::f64::consts::PI;

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::Law;
use super::draws::normal_pair;
use super::entropy::{Entropy, on_grid};
use super::quadrature::panels;
use super::special::{log_normal_interval, log_sum_exp};
use super::toy;

pub(in super::super) static SPIRALS: DatasetEntry = DatasetEntry {
    name: "spirals",
    summary: "two spiral arms of one and a half turns (FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[Parameter {
        name: "noise",
        default: "0.1",
        accepts: Accepts::AtLeast(1e-2),
        meaning: "blur",
    }],
    presets: &[],
    open: |arguments, options| Ok(toy(arguments, options, Spirals::new(arguments.number("noise")?, 4.0))),
};

/// The largest angle.
const END: f64 = 3.0 * PI;
/// The side of the square.
const WIDTH: f64 = 1.0 / 6.0;

pub(super) struct Spirals {
    sd: f64,
    /// Nodes `(x, y, log w)`: the lower left corner of the square, and its share of the mass.
    nodes: Vec<[f64; 3]>,
}

fn corner(n: f64) -> [f64; 2] {
    [-n * n.cos() / 3.0, n * n.sin() / 3.0]
}

impl Spirals {
    /// With panels of at most `reach` standard deviations along the arm.
    pub(super) fn new(sd: f64, reach: f64) -> Self {
        let node = |(n, dn): (f64, f64)| {
            let [x, y] = corner(n);
            [x, y, (2.0 * n * dn / (END * END)).ln()]
        };
        let speed = |n: f64| (1.0 + n * n).sqrt() / 3.0;
        Self { sd, nodes: panels(0.0, END, reach * sd, speed).into_iter().map(node).collect() }
    }

    /// `log q(x)` and its gradient.
    fn arm(&self, x: [f64; 2]) -> (f64, [f64; 2]) {
        // exp(bound) is at least the node's term, and less than e¹⁰ times it as far out as 50 standard
        // deviations; the expensive kernels are needed only for the nodes that can matter.
        let outside = |x: f64, left: f64| f64::max(left - x, x - left - WIDTH).max(0.0);
        let scale = -0.5 / (self.sd * self.sd);
        let bound = |&[left, low, w]: &[f64; 3]| {
            w + scale * (outside(x[0], left).powi(2) + outside(x[1], low).powi(2))
        };
        let bounds: Vec<f64> = self.nodes.iter().map(bound).collect();
        let top = bounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut terms, mut slopes) = (Vec::new(), Vec::new());
        for ([left, low, w], _) in self.nodes.iter().zip(&bounds).filter(|(_, b)| **b > top - 46.0) {
            let (kx, dx) = self.kernel(x[0] - left);
            let (ky, dy) = self.kernel(x[1] - low);
            terms.push(w + kx + ky);
            slopes.push([dx, dy]);
        }
        let total = log_sum_exp(&terms);
        let mut score = [0.0; 2];
        for (term, slope) in terms.iter().zip(&slopes) {
            let share = (term - total).exp();
            score[0] += share * slope[0];
            score[1] += share * slope[1];
        }
        (total, score)
    }

    /// `log k(y)` and its derivative `(φ(y/σ) − φ((y − w)/σ))/(σ w k)`.
    fn kernel(&self, y: f64) -> (f64, f64) {
        let (near, width) = ((y - WIDTH) / self.sd, WIDTH / self.sd);
        let mass = log_normal_interval(near, width);
        let phi = |z: f64| (-0.5 * z * z - 0.5 * (2.0 * PI).ln() - mass).exp();
        (mass - WIDTH.ln(), (phi(near + width) - phi(near)) / self.sd)
    }
}

impl Law for Spirals {
    fn dims(&self) -> usize {
        2
    }

    fn uniforms(&self) -> usize {
        6
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let c = corner(END * u[2].sqrt());
        let z = normal_pair(u[0], u[1]);
        let sign = if u[5] < 0.5 { 1.0 } else { -1.0 };
        x[0] = sign * (c[0] + WIDTH * u[3]) + self.sd * z[0];
        x[1] = sign * (c[1] + WIDTH * u[4]) + self.sd * z[1];
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        log_sum_exp(&[self.arm([x[0], x[1]]).0, self.arm([-x[0], -x[1]]).0]) - 2f64.ln()
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let (plus, gp) = self.arm([x[0], x[1]]);
        let (minus, gm) = self.arm([-x[0], -x[1]]);
        let total = log_sum_exp(&[plus, minus]);
        let (a, b) = ((plus - total).exp(), (minus - total).exp());
        s[0] = a * gp[0] - b * gm[0];
        s[1] = a * gp[1] - b * gm[1];
        true
    }

    fn entropy(&self) -> Entropy {
        let reach = END / 3.0 + WIDTH + 8.0 * self.sd;
        on_grid(self, [-reach; 2], [reach; 2], 0.4 * self.sd)
    }

    fn method(&self) -> &'static str {
        "quadrature(1e-6)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_give_the_integral_to_1e_6() {
        let (law, fine) = (Spirals::new(0.1, 4.0), Spirals::new(0.1, 1.5));
        for i in -12..=12 {
            for j in -12..=12 {
                let x = [0.5 * f64::from(i), 0.5 * f64::from(j)];
                let error = law.log_density(&x) - fine.log_density(&x);
                let log_p = law.log_density(&x);
                let allowed = if log_p > -400.0 { 1e-6 } else { 1e-7 * log_p.abs() };
                assert!(error.abs() < allowed, "{error:e} at {x:?}, log p {log_p}");
            }
        }
    }
}
