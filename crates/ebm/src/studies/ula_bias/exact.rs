//! The laws of ULA: on Gaussians in closed form, in one dimension as the fixed point of its transition density.

use nalgebra::{DMatrix, DVector};

use super::super::laws::Mixture;
use super::statistics;

/// Half the width of the grid, and its spacing.
const REACH: f64 = 5.0;
const SPACING: f64 = 0.04;

/// The stationary variance along an axis of variance `lambda`: λ/(1 − h/2λ).
pub(super) fn stationary(lambda: f64, h: f64) -> f64 {
    lambda / (1.0 - 0.5 * h / lambda)
}

/// Mean and variance after k steps from `from`, measured from the target's mean.
pub(super) fn after(lambda: f64, h: f64, k: usize, from: f64) -> (f64, f64) {
    let a = 1.0 - h / lambda;
    let (power, square) = (a.powi(k as i32), a * a);
    let variance =
        if square == 1.0 { 2.0 * h * k as f64 } else { 2.0 * h * (1.0 - power * power) / (1.0 - square) };
    (power * from, variance)
}

fn nodes() -> Vec<f64> {
    let half = (REACH / SPACING).round() as i32;
    (-half..=half).map(|i| SPACING * f64::from(i)).collect()
}

/// Expectations of the statistics under a density on the nodes. At the jump at 0 the rule takes the mean of both sides.
fn under(density: &[f64]) -> [f64; 3] {
    let (mut sums, mut total) = ([0.0; 3], 0.0);
    for (x, p) in nodes().into_iter().zip(density) {
        let mut values = statistics(&[x]);
        if x.abs() < 0.5 * SPACING {
            values[0] = 0.5;
        }
        sums.iter_mut().zip(values).for_each(|(s, v)| *s += p * v);
        total += p;
    }
    sums.map(|s| s / total)
}

/// Expectations of the statistics under the mixture, or under the stationary law of ULA with step size `h`.
pub(super) fn expectations(law: &Mixture, h: Option<f64>) -> [f64; 3] {
    let xs = nodes();
    let mut slope = [0.0];
    let mut density = Vec::with_capacity(xs.len());
    let mut drifted = Vec::with_capacity(xs.len());
    for x in &xs {
        density.push((-law.of_row(&[*x], &mut slope)).exp());
        drifted.push(x - h.unwrap_or(0.0) * slope[0]);
    }
    let Some(h) = h else { return under(&density) };
    // Row y, column x: the density of y after a step from x. The trapezoidal rule is exact to rounding for it. The law p
    // solves (P − I) p = 0 and sums to 1, which stands in the place of the last equation.
    let n = xs.len();
    let bell = SPACING / (4.0 * std::f64::consts::PI * h).sqrt();
    let system = DMatrix::from_fn(n, n, |y, x| match y {
        y if y + 1 == n => 1.0,
        y => bell * (-(xs[y] - drifted[x]).powi(2) / (4.0 * h)).exp() - f64::from(u8::from(x == y)),
    });
    let mut right = DVector::zeros(n);
    right[n - 1] = 1.0;
    let solved = system.lu().solve(&right).unwrap_or_else(|| DVector::from_element(n, f64::NAN));
    under(solved.as_slice())
}

/// `Cov(φ, ¼U'² − ½U'')` under the mixture, statistic by statistic.
pub(super) fn slopes(law: &Mixture) -> [f64; 3] {
    let (mut density, mut first) = (Vec::new(), Vec::new());
    let derivative = |x: f64| {
        let mut slope = [0.0];
        let energy = law.of_row(&[x], &mut slope);
        (energy, slope[0])
    };
    for x in nodes() {
        let (energy, slope) = derivative(x);
        let curvature = (derivative(x + 1e-4).1 - derivative(x - 1e-4).1) / 2e-4;
        density.push((-energy).exp());
        first.push(0.25 * slope * slope - 0.5 * curvature);
    }
    let total: f64 = density.iter().sum();
    let mean: f64 = density.iter().zip(&first).map(|(p, g)| p * g).sum::<f64>() / total;
    let tilted: Vec<f64> = density.iter().zip(&first).map(|(p, g)| p * (1.0 + 1e-3 * (g - mean))).collect();
    let (truth, shifted) = (under(&density), under(&tilted));
    // Linear in the tilt, so the quotient is exact.
    [0, 1, 2].map(|s| (shifted[s] - truth[s]) / 1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single Gaussian has closed forms for everything here.
    #[test]
    fn grid_and_closed_forms_agree_on_a_gaussian() {
        let (v, m) = (0.36f64, 0.7f64);
        let law = Mixture { weights: vec![1.0], means: vec![vec![m]], deviations: vec![v.sqrt()] };
        for h in [0.05, 0.2, 0.3] {
            let [_, mean, square] = expectations(&law, Some(h));
            assert!((mean - m).abs() < 1e-6, "{mean}");
            assert!((square - m * m - stationary(v, h)).abs() < 1e-5, "{square}");
        }
        // The slope of v/(1 − h/2v) at h = 0 is ½.
        let [_, mean, square] = slopes(&law);
        assert!(mean.abs() < 1e-7 && (square - 0.5).abs() < 1e-6, "{mean} {square}");
    }

    /// The closed form against the recursion v ← a² v + 2h.
    #[test]
    fn the_law_after_k_steps_solves_its_recursion() {
        for (lambda, h) in [(0.5, 0.3), (0.5, 0.99), (0.5, 1.0), (0.5, 1.2), (2.0, 0.7)] {
            let (mut mean, mut variance) = (3.0, 0.0);
            for k in 1..=30 {
                mean -= h / lambda * mean;
                variance = (1.0 - h / lambda) * (1.0 - h / lambda) * variance + 2.0 * h;
                let (m, v) = after(lambda, h, k, 3.0);
                assert!(
                    (m - mean).abs() < 1e-12 * (1.0 + mean.abs()) && (v - variance).abs() < 1e-10 * variance,
                    "{h} {k}"
                );
            }
        }
        assert!((after(0.5, 0.4, 500, 1.0).1 - stationary(0.5, 0.4)).abs() < 1e-12);
    }

    #[test]
    fn without_a_step_the_mixture_is_itself() {
        let law = super::super::two_modes();
        let [left, mean, square] = expectations(&law, None);
        let cdf = genzoo_numerics::special::normal_cdf;
        assert!((left - (0.25 * cdf(1.0 / 0.45) + 0.75 * cdf(-1.0 / 0.6))).abs() < 5e-5, "{left}");
        assert!((mean - 0.5).abs() < 1e-9);
        assert!((square - (0.25 * 0.2025 + 0.75 * 0.36 + 1.0)).abs() < 1e-9);
    }
}
