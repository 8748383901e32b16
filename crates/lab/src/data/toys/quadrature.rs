//! Gauss–Legendre panels: the integrals of a curve parameter, fine where the curve runs fast.

use std::f64::consts::PI;

/// Nodes per panel.
const NODES: usize = 16;

/// Nodes and weights `(t, dt)` on `[a, b]`, such that `speed · dt` of a panel stays below `reach`.
///
/// A panel of sixteen nodes integrates a Gaussian bump of width `reach / 5` anywhere in it to about 1e-9.
pub(super) fn panels(a: f64, b: f64, reach: f64, speed: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let rule = legendre(NODES);
    let mut out = Vec::new();
    let mut todo = vec![(a, b)];
    while let Some((a, b)) = todo.pop() {
        let middle = 0.5 * (a + b);
        let fastest = speed(a).max(speed(middle)).max(speed(b));
        if fastest * (b - a) > reach && b - a > 1e-9 * (1.0 + a.abs()) {
            todo.extend([(middle, b), (a, middle)]);
        } else {
            let half = 0.5 * (b - a);
            out.extend(rule.iter().map(|(t, w)| (middle + half * t, half * w)));
        }
    }
    out
}

/// The Gauss–Legendre rule on `[−1, 1]` by Newton's method on the Legendre recurrence.
fn legendre(n: usize) -> Vec<(f64, f64)> {
    let value = |x: f64| {
        let (mut p, mut before) = (x, 1.0);
        for k in 2..=n {
            let k = k as f64;
            (p, before) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k, p);
        }
        (p, n as f64 * (x * p - before) / (x * x - 1.0))
    };
    let node = |i: usize| {
        let mut x = -(PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        for _ in 0..8 {
            let (p, slope) = value(x);
            x -= p / slope;
        }
        let slope = value(x).1;
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_nodes_are_exact_to_degree_31() {
        for degree in 0..=31 {
            let sum: f64 = legendre(16).iter().map(|(x, w)| w * x.powi(degree)).sum();
            let exact = if degree % 2 == 0 { 2.0 / (f64::from(degree) + 1.0) } else { 0.0 };
            assert!((sum - exact).abs() < 1e-13, "degree {degree}: {sum} against {exact}");
        }
    }

    #[test]
    fn panels_integrate_a_narrow_bump_wherever_it_lies() {
        for i in 0..50 {
            let centre = 2.0 + f64::from(i) * 0.0137;
            let f = |t: f64| (-0.5 * ((t - centre) / 0.1).powi(2)).exp();
            let sum: f64 = panels(0.0, 5.0, 0.5, |_| 1.0).iter().map(|(t, w)| w * f(*t)).sum();
            let exact = 0.1 * (2.0 * PI).sqrt();
            assert!((sum / exact - 1.0).abs() < 1e-9, "{sum} against {exact}");
        }
    }
}
