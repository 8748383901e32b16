//! Sums of exponentials that neither overflow nor vanish.
//!
//! ```text
//! log Σ_i e^{a_i} = m + log Σ_i e^{a_i − m},   m = max_i a_i
//! ```

/// `log Σ exp(values)`. No values, or only −∞, give −∞; any +∞ gives +∞; any NaN gives NaN.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() {
        return if values.iter().any(|v| v.is_nan()) { f64::NAN } else { max };
    }
    max + values.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

/// `log (1/n Σ exp(values))`; NaN for no values.
pub fn log_mean_exp(values: &[f64]) -> f64 {
    match values.len() {
        0 => f64::NAN,
        n => log_sum_exp(values) - (n as f64).ln(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn shifting_every_value_shifts_the_sum() {
        let values = [0.3, -2.0, 1.7];
        let plain: f64 = values.iter().map(|v: &f64| v.exp()).sum::<f64>().ln();
        for shift in [0.0, 1e3, -1e3, 1e8] {
            let shifted: Vec<f64> = values.iter().map(|v| v + shift).collect();
            assert!((log_sum_exp(&shifted) - shift - plain).abs() <= 1e-14 + 4e-16 * f64::abs(shift));
        }
        assert!((log_mean_exp(&values) - (plain - 3f64.ln())).abs() < 1e-15);
    }

    #[test]
    fn extremes_are_kept() {
        assert_eq!(log_sum_exp(&[]), -INF);
        assert_eq!(log_sum_exp(&[-INF, -INF]), -INF);
        assert_eq!(log_sum_exp(&[-INF, 3.0]), 3.0);
        assert_eq!(log_sum_exp(&[INF, 3.0]), INF);
        assert!(log_sum_exp(&[f64::NAN, 3.0]).is_nan());
        assert!(log_sum_exp(&[f64::NAN, INF]).is_nan());
        assert!(log_sum_exp(&[f64::NAN]).is_nan());
        assert!(log_mean_exp(&[]).is_nan());
        assert_eq!(log_mean_exp(&[800.0, 800.0]), 800.0);
    }
}
