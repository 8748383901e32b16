//! Importance weights, given as logarithms.
//!
//! ```text
//! mean weight   log w̄ = log (1/n) Σ w_i,     standard error of log w̄ ≈ sd(w) / (w̄ √n)   (delta method)
//! sample size   ESS   = (Σ w_i)² / Σ w_i²    between 1 (one weight holds all) and n (all equal)
//! ```

use super::{log_mean_exp, log_sum_exp};

/// Effective sample size of weights `e^{log_weights}` (Kong 1992); 0 when every weight is 0.
pub fn effective_sample_size(log_weights: &[f64]) -> f64 {
    let first = log_sum_exp(log_weights);
    if first == f64::NEG_INFINITY {
        return 0.0;
    }
    let doubled: Vec<f64> = log_weights.iter().map(|w| 2.0 * w).collect();
    (2.0 * first - log_sum_exp(&doubled)).exp()
}

/// `(log w̄, its standard error by the delta method)`. The error is NaN for fewer than two weights.
///
/// With few effective samples the error is itself unreliable: look at [`effective_sample_size`] first.
pub fn log_mean_weight(log_weights: &[f64]) -> (f64, f64) {
    let n = log_weights.len() as f64;
    let log_mean = log_mean_exp(log_weights);
    if n < 2.0 {
        return (log_mean, f64::NAN);
    }
    let squares: f64 = log_weights.iter().map(|w| ((w - log_mean).exp() - 1.0).powi(2)).sum();
    (log_mean, (squares / (n - 1.0) / n).sqrt())
}

/// `w_i / Σ w`.
pub fn normalised_weights(log_weights: &[f64]) -> Vec<f64> {
    let total = log_sum_exp(log_weights);
    log_weights.iter().map(|w| (w - total).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use genzoo_core::Noise;

    #[test]
    fn sample_size_runs_from_one_to_n() {
        assert!((effective_sample_size(&[700.0; 9]) - 9.0).abs() < 1e-9);
        assert!((effective_sample_size(&[0.0, -1e4, -1e4]) - 1.0).abs() < 1e-12);
        assert_eq!(effective_sample_size(&[f64::NEG_INFINITY; 3]), 0.0);
        // Weights 1, 2, 3: 36 / 14.
        let logs = [0.0, 2f64.ln(), 3f64.ln()];
        assert!((effective_sample_size(&logs) - 36.0 / 14.0).abs() < 1e-12);
        for (share, want) in normalised_weights(&logs).into_iter().zip([1.0, 2.0, 3.0]) {
            assert!((share - want / 6.0).abs() < 1e-15);
        }
    }

    /// Log-normal weights: E w = e^{s²/2}, so the estimate's z-scores must behave like standard normals.
    #[test]
    fn the_error_covers_log_normal_weights() {
        let sd = 0.5f64;
        let mut noise = Noise::new(1);
        let mut scores = Moments::default();
        for _ in 0..400 {
            let logs: Vec<f64> = noise.normals(500).iter().map(|z| sd * z - 0.5 * sd * sd).collect();
            let (value, error) = log_mean_weight(&logs);
            scores.push(value / error);
        }
        // The mean of 400 z-scores has error 1/20; their variance has error √(2/400) = 0.07.
        assert!(scores.mean().abs() < 0.25, "{}", scores.mean());
        assert!((scores.variance() - 1.0).abs() < 0.35, "{}", scores.variance());
    }
}
