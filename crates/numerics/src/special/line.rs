//! The straight line through points with errors.
//!
//! ```text
//! minimise Σ (y_i − a − b x_i)²/s_i²:   b = Σ w_i (x_i − x̄)(y_i − ȳ) / S,   se(b) = S^{−1/2},   S = Σ w_i (x_i − x̄)²,   w_i = s_i^{−2}
//! ```
//!
//! On logarithms of both axes b is the exponent of a power law.

use super::normal_quantile;

/// A fitted line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// b.
    pub slope: f64,
    /// Its standard error, if the errors of the points are standard errors.
    pub slope_error: f64,
    /// a.
    pub intercept: f64,
    /// The sum that was minimised: χ² with two degrees of freedom less than there are points.
    pub chi_squared: f64,
}

impl Line {
    /// The line through `(x, y, s)`, s the standard error of y. NaN for fewer than two different x.
    pub fn through(points: &[(f64, f64, f64)]) -> Self {
        let weights: f64 = points.iter().map(|p| p.2.powi(-2)).sum();
        let mean = |of: fn(&(f64, f64, f64)) -> f64| {
            points.iter().map(|p| of(p) * p.2.powi(-2)).sum::<f64>() / weights
        };
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let spread: f64 = points.iter().map(|p| ((p.0 - x) / p.2).powi(2)).sum();
        let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y) * p.2.powi(-2)).sum::<f64>() / spread;
        let intercept = y - slope * x;
        let chi_squared = points.iter().map(|p| ((p.1 - intercept - slope * p.0) / p.2).powi(2)).sum();
        Self { slope, slope_error: spread.powf(-0.5), intercept, chi_squared }
    }

    /// The line through `(ln x, ln y)` of `(x, y, s)`, whose slope is the exponent; s as an error of ln y is s/y.
    pub fn power(points: &[(f64, f64, f64)]) -> Self {
        let logs: Vec<_> = points.iter().map(|(x, y, s)| (x.ln(), y.ln(), s / y)).collect();
        Self::through(&logs)
    }
}

/// The number of standard errors within which `count` normal errors all stay with probability `level` (Bonferroni).
pub fn simultaneous(count: usize, level: f64) -> f64 {
    normal_quantile(1.0 - 0.5 * (1.0 - level) / count.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use genzoo_core::Noise;

    #[test]
    fn a_line_without_noise_is_found_and_a_power_is_its_exponent() {
        let line = Line::through(&[(0.0, 1.0, 0.3), (1.0, 3.0, 1.0), (4.0, 9.0, 0.2)]);
        assert!((line.slope - 2.0).abs() < 1e-12 && (line.intercept - 1.0).abs() < 1e-12);
        assert!(line.chi_squared < 1e-20);
        let power = Line::power(&[(1.0, 3.0, 0.1), (10.0, 3e-3, 1e-4), (100.0, 3e-6, 1e-7)]);
        assert!((power.slope + 3.0).abs() < 1e-12 && (power.intercept - 3f64.ln()).abs() < 1e-12);
        assert!(Line::through(&[(1.0, 2.0, 1.0)]).slope.is_nan());
    }

    /// Over repetitions the slope is unbiased, its scatter is the stated error, and χ² has its degrees of freedom.
    #[test]
    fn the_error_of_the_slope_is_its_scatter() {
        let (mut noise, repeats) = (Noise::new(1), 4_000);
        let places: [(f64, f64); 4] = [(0.0, 0.5), (1.0, 0.2), (2.0, 1.0), (5.0, 0.4)];
        let (mut slopes, mut chi, mut stated) = (Moments::default(), Moments::default(), 0.0);
        for _ in 0..repeats {
            let normals = noise.normals(4);
            let points: Vec<_> =
                places.iter().zip(normals).map(|((x, s), z)| (*x, 0.7 - 0.3 * x + s * z, *s)).collect();
            let line = Line::through(&points);
            slopes.push(line.slope);
            chi.push(line.chi_squared);
            stated = line.slope_error;
        }
        assert!((slopes.mean() + 0.3).abs() < 4.0 * slopes.standard_error(), "{}", slopes.mean());
        let relative = slopes.variance().sqrt() / stated - 1.0;
        assert!(relative.abs() < 4.0 / f64::from(2 * repeats).sqrt(), "{relative}");
        assert!((chi.mean() - 2.0).abs() < 4.0 * chi.standard_error(), "{}", chi.mean());
    }

    #[test]
    fn many_comparisons_need_more_standard_errors() {
        assert!((simultaneous(1, 0.95) - 1.959_964).abs() < 1e-5);
        assert!((simultaneous(20, 0.95) - 3.023_341).abs() < 1e-5);
    }
}
