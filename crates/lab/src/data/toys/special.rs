//! Special functions of the toys: log-sum-exp, Bessel functions of a blurred circle, Gaussian interval masses.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// `log Σ exp(v)`; −∞ of nothing. Terms below `e⁻⁴⁰` of the largest are dropped, together under 1e-13 for the
/// few thousand terms of a toy.
pub(super) fn log_sum_exp(v: &[f64]) -> f64 {
    let top = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + v.iter().filter(|&&e| e > top - 40.0).map(|e| (e - top).exp()).sum::<f64>().ln()
}

/// `(e⁻ᶻ I₀(z), I₁(z)/I₀(z))` for z ≥ 0.
///
/// Below 30 by the power series, whose terms are all positive; above by the asymptotic series, whose smallest
/// term is then of order `e⁻²ᶻ` (Abramowitz & Stegun 9.6.10, 9.7.1).
pub(super) fn bessel_i0e(z: f64) -> (f64, f64) {
    if z < 30.0 {
        let q = 0.25 * z * z;
        // Terms q^k/(k!)² and q^k/(k!(k+1)!).
        let (mut term, mut i0, mut i1, mut k) = (1.0, 1.0, 1.0, 1.0);
        while term > 1e-17 * i0 {
            term *= q / (k * k);
            i0 += term;
            i1 += term / (k + 1.0);
            k += 1.0;
        }
        return (i0 * (-z).exp(), 0.5 * z * i1 / i0);
    }
    let series = |mu: f64| {
        let (mut term, mut sum, mut k) = (1.0f64, 1.0, 1.0);
        while term.abs() > 1e-17 && k < 40.0 {
            let odd = 2.0 * k - 1.0;
            term *= -(mu - odd * odd) / (k * 8.0 * z);
            sum += term;
            k += 1.0;
        }
        sum
    };
    let (s0, s1) = (series(0.0), series(4.0));
    (s0 / (2.0 * PI * z).sqrt(), s1 / s0)
}

/// `log(Φ(a + w) − Φ(a))` for `w > 0`, accurate in both tails.
pub(super) fn log_normal_interval(a: f64, w: f64) -> f64 {
    // Reflect so that the interval's middle is not left of 0.
    let near = if a + 0.5 * w < 0.0 { -(a + w) } else { a };
    if near <= 0.0 {
        return (0.5 * (libm::erf((near + w) * FRAC_1_SQRT_2) - libm::erf(near * FRAC_1_SQRT_2))).ln();
    }
    if near < 25.0 {
        return (0.5 * (libm::erfc(near * FRAC_1_SQRT_2) - libm::erfc((near + w) * FRAC_1_SQRT_2))).ln();
    }
    // Mills' ratio at both ends: Φ(−z) = φ(z)/z · (1 − 1/z² + 3/z⁴ − 15/z⁶ …).
    let mills = |z: f64| {
        let q = 1.0 / (z * z);
        (1.0 - q * (1.0 - 3.0 * q * (1.0 - 5.0 * q * (1.0 - 7.0 * q)))) / z
    };
    let far = (-w * (near + 0.5 * w)).exp() * mills(near + w);
    -0.5 * near * near - 0.5 * (2.0 * PI).ln() + (mills(near) - far).ln()
}

#[cfg(test)]
mod tests {
    use super::super::quadrature::panels;
    use super::*;

    #[test]
    fn bessel_functions_equal_their_integrals() {
        for z in [0.0f64, 0.3, 2.0, 11.0, 29.999, 30.001, 47.0, 400.0, 9000.0] {
            // I_n(z) = 1/π ∫₀^π e^{z cos θ} cos nθ dθ, in panels narrow enough for the peak at 0.
            let nodes = panels(0.0, PI, 1.0 / (1.0 + z).sqrt(), |_| 1.0);
            let integral = |n: f64| {
                nodes.iter().map(|(t, w)| w * (z * (t.cos() - 1.0)).exp() * (n * t).cos()).sum::<f64>() / PI
            };
            let (i0e, ratio) = bessel_i0e(z);
            assert!((i0e / integral(0.0) - 1.0).abs() < 1e-11, "I0({z})");
            assert!((ratio - integral(1.0) / integral(0.0)).abs() < 1e-11, "I1/I0({z})");
        }
    }

    #[test]
    fn interval_masses_equal_their_integrals() {
        for w in [0.2, 1.7, 9.0] {
            for a in [-40.0, -30.0, -12.0, -3.0, -0.9, -0.1, 0.0, 0.4, 5.0, 24.9, 25.1, 60.0] {
                // ∫ φ over the interval, relative to the largest value φ takes on it.
                let peak: f64 = if a > 0.0 { a } else { f64::min(a + w, 0.0) };
                let f = |t: f64| (0.5 * (peak * peak - t * t)).exp();
                let sum: f64 = panels(a, a + w, 0.01, |_| 1.0).iter().map(|(t, w)| w * f(*t)).sum();
                let expected = sum.ln() - 0.5 * peak * peak - 0.5 * (2.0 * PI).ln();
                let got = log_normal_interval(a, w);
                assert!((got - expected).abs() < 1e-9, "a {a}, w {w}: {got} against {expected}");
            }
        }
    }

    #[test]
    fn log_sum_exp_survives_the_extremes() {
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert!((log_sum_exp(&[-1e5, -1e5]) - (2f64.ln() - 1e5)).abs() < 1e-10);
        assert!((log_sum_exp(&[1e5, -1e5]) - 1e5).abs() < 1e-10);
    }
}
