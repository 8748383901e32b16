//! The normal distribution: error function, distribution function, log-density.

use std::f64::consts::{PI, SQRT_2};

/// The error function `2/√π ∫_0^x e^{−u²} du`.
pub fn erf(x: f64) -> f64 {
    candle_core::cpu::erf::erf_f64(x)
}

/// `1 − erf(x)`, accurate in the right tail.
pub fn erfc(x: f64) -> f64 {
    candle_core::cpu::erf::erfc_f64(x)
}

/// `P(X ≤ x)` for a standard normal X, accurate in both tails.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// The x with `P(X ≤ x) = p` for a standard normal X; ∓∞ at 0 and 1, NaN outside.
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    -SQRT_2 * candle_core::cpu::erf::erfc_inv(2.0 * p)
}

/// `log N(x; mean, sd²)` in nats.
pub fn log_normal_density(x: f64, mean: f64, sd: f64) -> f64 {
    let z = (x - mean) / sd;
    -0.5 * z * z - sd.ln() - 0.5 * (2.0 * PI).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Maclaurin series with positive terms, erf(x) = 2/√π e^{−x²} Σ 2ⁿ x^{2n+1} / (2n+1)!!.
    fn erf_by_series(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, 0.0, 0.0);
        while term.abs() > 1e-18 * x.abs() {
            sum += term;
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
        }
        2.0 / PI.sqrt() * (-x * x).exp() * sum
    }

    #[test]
    fn erf_agrees_with_its_series() {
        for i in -40..=40 {
            let x = i as f64 / 10.0 + 1e-3;
            assert!((erf(x) - erf_by_series(x)).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn quantile_undoes_cdf() {
        for x in [-8.0, -3.0, -1.959_963_984_540_054, 0.0, 0.3, 2.0, 5.0] {
            assert!((normal_quantile(normal_cdf(x)) - x).abs() < 1e-8 * (1.0 + x.abs()), "{x}");
        }
        assert!((normal_cdf(1.959_963_984_540_054) - 0.975).abs() < 1e-15);
        // Mills' ratio bounds the far tail: φ(x)/x · (1 − 1/x²) < P(X > x) < φ(x)/x.
        let x = 30.0f64;
        let ratio = normal_cdf(-x) / (log_normal_density(x, 0.0, 1.0).exp() / x);
        assert!(1.0 - 1.0 / (x * x) < ratio && ratio < 1.0);
        assert!(normal_quantile(-0.1).is_nan() && normal_quantile(0.0) == f64::NEG_INFINITY);
    }

    #[test]
    fn densities_integrate_to_one() {
        for (mean, sd) in [(0.0, 1.0), (-3.0, 0.2), (5.0, 4.0)] {
            let h = sd / 10.0;
            let mass: f64 =
                (-120..=120).map(|i| h * log_normal_density(mean + i as f64 * h, mean, sd).exp()).sum();
            assert!((mass - 1.0).abs() < 1e-14);
        }
    }
}
