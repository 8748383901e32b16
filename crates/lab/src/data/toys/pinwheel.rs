//! Five swirling arms (Johnson et al. 2016, as in FFJORD): Gaussians turned by an angle that grows with radius.
//!
//! ```text
//! f ~ (N(1, radial²), N(0, tangential²)),   a = 2πk/5 + rate · e^{f₁},   x = scale · R(−a) f
//! p(x) = scale⁻² Σ over all (k, f) that lead to x of  p(f) / (5 |D(f)|),   D(f) = 1 + rate · e^{f₁} f₂
//! ```
//!
//! `|f| = |x|/scale = r` is known, so with `f = r(cos φ, sin φ)` the solutions are the roots φ of
//! `5(φ − rate e^{r cos φ} − arg x)/2π ∈ ℤ`. They are bracketed on a fine grid of φ and refined by Newton's
//! method. Beyond thirteen radial standard deviations, where the roots become innumerable, their sum is
//! replaced by its mean over the angle of x.

use std::f64::consts::{PI, TAU};

use super::super::{Accepts, DatasetEntry, DatasetKind, Parameter};
use super::Law;
use super::draws::normal_pair;
use super::entropy::{Entropy, on_grid};
use super::special::log_sum_exp;
use super::toy;

pub(in super::super) static PINWHEEL: DatasetEntry = DatasetEntry {
    name: "pinwheel",
    summary: "five swirling arms (Johnson et al. 2016, FFJORD)",
    kind: DatasetKind::Toy,
    parameters: &[
        Parameter { name: "arms", default: "5", accepts: Accepts::Integer(1, 64), meaning: "how many" },
        Parameter {
            name: "radial",
            default: "0.3",
            accepts: Accepts::AtLeast(1e-3),
            meaning: "standard deviation along",
        },
        Parameter {
            name: "tangential",
            default: "0.1",
            accepts: Accepts::AtLeast(1e-3),
            meaning: "standard deviation across",
        },
        Parameter { name: "rate", default: "0.25", accepts: Accepts::Number, meaning: "of the swirl" },
        Parameter { name: "scale", default: "2", accepts: Accepts::Positive, meaning: "of everything" },
    ],
    presets: &[],
    open: |arguments, options| {
        let number = |key| arguments.number(key);
        let arms = arguments.integer("arms")? as f64;
        let law =
            Pinwheel::new(arms, number("radial")?, number("tangential")?, number("rate")?, number("scale")?);
        Ok(toy(arguments, options, law))
    },
};

/// Cells of φ in which roots are bracketed.
const CELLS: usize = 512;

struct Pinwheel {
    arms: f64,
    radial: f64,
    tangential: f64,
    rate: f64,
    scale: f64,
    /// `(φ, cos φ)` at the ends of the cells.
    angles: Vec<(f64, f64)>,
}

/// One solution: its log share of the density in units of f, and the gradient of that logarithm.
struct Root {
    log_share: f64,
    slope: [f64; 2],
}

impl Pinwheel {
    fn new(arms: f64, radial: f64, tangential: f64, rate: f64, scale: f64) -> Self {
        let angle = |j: usize| -PI + TAU * j as f64 / CELLS as f64;
        let angles = (0..=CELLS).map(|j| (angle(j), angle(j).cos())).collect();
        Self { arms, radial, tangential, rate, scale, angles }
    }

    fn log_gaussian(&self, f: [f64; 2]) -> f64 {
        let (along, across) = ((f[0] - 1.0) / self.radial, f[1] / self.tangential);
        -0.5 * (along * along + across * across) - (TAU * self.radial * self.tangential).ln()
    }

    /// All solutions for `y = x/scale`.
    fn roots(&self, y: [f64; 2]) -> Vec<Root> {
        let r = y[0].hypot(y[1]);
        let direction = y[1].atan2(y[0]);
        let turn = |phi: f64, cos: f64| self.arms * (phi - self.rate * (r * cos).exp() - direction) / TAU;
        let turns: Vec<f64> = self.angles.iter().map(|&(phi, cos)| turn(phi, cos)).collect();
        let mut out = Vec::new();
        for (cell, turns) in self.angles.windows(2).zip(turns.windows(2)) {
            let (low, high) = (turns[0].min(turns[1]), turns[0].max(turns[1]));
            // Not finite where the exponential overflows.
            if !(high - low).is_finite() || high - low > 64.0 {
                out.push(self.mean_root(0.5 * (cell[0].0 + cell[1].0), r, y));
                continue;
            }
            let mut level = low.ceil();
            while level < high {
                let phi = bisected_newton(cell[0].0, cell[1].0, |phi| {
                    let (sin, cos) = phi.sin_cos();
                    let swirl = self.rate * (r * cos).exp();
                    let value = self.arms * (phi - swirl - direction) / TAU - level;
                    (value, self.arms * (1.0 + swirl * r * sin) / TAU)
                });
                out.push(self.root(phi, r, phi - direction));
                level += 1.0;
            }
        }
        out
    }

    /// With `M = ∂(R(a) y)/∂f`, the gradient in y is `R(−a) M⁻ᵀ ∇_f (log p(f) − log |D|)`.
    fn root(&self, phi: f64, r: f64, a: f64) -> Root {
        let f = [r * phi.cos(), r * phi.sin()];
        let swirl = self.rate * f[0].exp();
        let det = 1.0 + swirl * f[1];
        let g0 = -(f[0] - 1.0) / (self.radial * self.radial) - swirl * f[1] / det;
        let g1 = -f[1] / (self.tangential * self.tangential) - swirl / det;
        let h0 = (g0 + swirl * f[0] * g1) / det;
        let (sin, cos) = a.sin_cos();
        Root {
            log_share: self.log_gaussian(f) - det.abs().ln() - self.arms.ln(),
            slope: [h0 * cos + g1 * sin, -h0 * sin + g1 * cos],
        }
    }

    /// The roots of one cell of φ, averaged over the direction of y: they lie `arms |D|/2π` to the radian.
    fn mean_root(&self, phi: f64, r: f64, y: [f64; 2]) -> Root {
        let (sin, cos) = phi.sin_cos();
        let f = [r * cos, r * sin];
        let along = (f[0] - 1.0) * cos / (self.radial * self.radial);
        let across = f[1] * sin / (self.tangential * self.tangential);
        Root {
            log_share: self.log_gaussian(f) - (CELLS as f64).ln(),
            slope: y.map(|y| -(along + across) * y / r),
        }
    }

    fn at(&self, x: &[f64]) -> Vec<Root> {
        self.roots([x[0] / self.scale, x[1] / self.scale])
    }
}

/// The root in a bracket: Newton's method, bisecting where it would leave.
fn bisected_newton(mut a: f64, mut b: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    let rising = f(b).0 > f(a).0;
    let mut x = 0.5 * (a + b);
    for _ in 0..60 {
        let (value, slope) = f(x);
        if (value > 0.0) == rising {
            b = x
        } else {
            a = x
        }
        let step = x - value / slope;
        let next = if step > a && step < b { step } else { 0.5 * (a + b) };
        if (next - x).abs() <= 1e-15 * (1.0 + x.abs()) {
            return next;
        }
        x = next;
    }
    x
}

impl Law for Pinwheel {
    fn dims(&self) -> usize {
        2
    }

    fn uniforms(&self) -> usize {
        3
    }

    fn draw(&self, u: &[f64], x: &mut [f64]) {
        let z = normal_pair(u[0], u[1]);
        let f = [1.0 + self.radial * z[0], self.tangential * z[1]];
        let a = TAU * (u[2] * self.arms).floor() / self.arms + self.rate * f[0].exp();
        let (sin, cos) = a.sin_cos();
        x[0] = self.scale * (f[0] * cos + f[1] * sin);
        x[1] = self.scale * (f[1] * cos - f[0] * sin);
    }

    fn log_density(&self, x: &[f64]) -> f64 {
        let shares: Vec<f64> = self.at(x).iter().map(|r| r.log_share).collect();
        log_sum_exp(&shares) - 2.0 * self.scale.ln()
    }

    fn score(&self, x: &[f64], s: &mut [f64]) -> bool {
        let roots = self.at(x);
        let shares: Vec<f64> = roots.iter().map(|r| r.log_share).collect();
        let total = log_sum_exp(&shares);
        s.fill(0.0);
        for root in &roots {
            let share = (root.log_share - total).exp() / self.scale;
            s[0] += share * root.slope[0];
            s[1] += share * root.slope[1];
        }
        true
    }

    fn entropy(&self) -> Entropy {
        let reach = self.scale * (1.0 + 7.5 * self.radial).hypot(7.5 * self.tangential);
        on_grid(self, [-reach; 2], [reach; 2], 0.2 * self.scale * self.tangential.min(self.radial))
    }

    fn method(&self) -> &'static str {
        "closed_form(roots)"
    }
}
