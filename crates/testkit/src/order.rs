//! A method of order p has errors `e = C hᵖ`: p is the slope of log e over log h.

/// The least-squares slope of `ln(errors)` over `ln(steps)`.
///
/// # Panics
/// On fewer than two points, on lists of different lengths, and on errors or steps that are not positive.
#[track_caller]
pub fn order_of_convergence(errors: &[f64], steps: &[f64]) -> f64 {
    assert_eq!(errors.len(), steps.len(), "one error per step size");
    assert!(errors.len() >= 2, "a slope needs at least two points");
    let log = |v: &[f64], what: &str| -> Vec<f64> {
        v.iter()
            .map(|&x| {
                assert!(x > 0.0 && x.is_finite(), "{what} must be positive, got {x:e} in {v:?}");
                x.ln()
            })
            .collect()
    };
    let (e, h) = (log(errors, "errors"), log(steps, "steps"));
    let n = e.len() as f64;
    let (mean_e, mean_h) = (e.iter().sum::<f64>() / n, h.iter().sum::<f64>() / n);
    let covariance: f64 = e.iter().zip(&h).map(|(e, h)| (e - mean_e) * (h - mean_h)).sum();
    let variance: f64 = h.iter().map(|h| (h - mean_h).powi(2)).sum();
    covariance / variance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tol, assert_close};

    #[test]
    fn recovers_the_exponent() {
        let steps = [0.1, 0.05, 0.025, 0.0125];
        let errors = steps.map(|h: f64| 3.0 * h.powi(2));
        assert_close(order_of_convergence(&errors, &steps), 2.0, Tol::abs(1e-12));
    }
}
