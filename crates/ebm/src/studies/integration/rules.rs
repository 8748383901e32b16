//! The integrand, its closed forms, and the two rules on grids.

use genzoo_numerics::special::Line;

/// c of the integrand.
pub(super) const C: f64 = 2.0;
/// Panels per side between which the rates of the grids are fitted.
pub(super) const FITTED: [u32; 3] = [32, 64, 128];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rule {
    Trapezoidal,
    Simpson,
}

pub(super) const RULES: [Rule; 2] = [Rule::Trapezoidal, Rule::Simpson];

impl Rule {
    pub(super) fn name(self) -> &'static str {
        match self {
            Rule::Trapezoidal => "trapezoidal",
            Rule::Simpson => "Simpson",
        }
    }

    /// The order in the spacing.
    pub(super) fn order(self) -> f64 {
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
    pub(super) fn error(self, m: u32, d: u32) -> f64 {
        (self.side(m).powi(d as i32) - integral(d)).abs()
    }

    /// |error| of the same grid, visited point by point.
    pub(super) fn visited(self, m: u32, d: u32) -> f64 {
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
    pub(super) fn constant(self, d: u32) -> f64 {
        let each = match self {
            Rule::Trapezoidal => C.powi(2) / 12.0,
            Rule::Simpson => C.powi(4) / 180.0,
        };
        integral(d) * f64::from(d) * each
    }

    /// The exponent between the fitted grids. All points count alike.
    pub(super) fn rate(self, d: u32) -> f64 {
        let points: Vec<_> = FITTED.iter().map(|&m| (points(m, d), self.error(m, d))).collect();
        Line::power(&points.into_iter().map(|(n, e)| (n, e, e)).collect::<Vec<_>>()).slope
    }
}

pub(super) fn points(m: u32, d: u32) -> f64 {
    f64::from(m + 1).powi(d as i32)
}

pub(super) fn integral(d: u32) -> f64 {
    ((0.5 * C).sin() / (0.5 * C)).powi(d as i32)
}

/// Var f under the uniform law.
pub(super) fn variance(d: u32) -> f64 {
    0.5 * (1.0 + (C.sin() / C).powi(d as i32)) - integral(d).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
