//! Systematic resampling: particles by their weights, with one uniform for all.
//!
//! ```text
//! index of draw k = the i with  Σ_{j<i} W_j ≤ (k + u)/n < Σ_{j≤i} W_j,   k = 0 … n−1,   u ~ U(0, 1)
//! ```
//!
//! Index i comes ⌊n W_i⌋ or ⌈n W_i⌉ times, and n W_i times in mean.
//! Source: Kitagawa (1996); Douc, Cappé & Moulines (2005), arXiv:cs/0507025.

use crate::special::log_sum_exp;

/// `n` indices, rising. `uniform` is a draw on (0, 1).
pub fn systematic(log_weights: &[f64], n: usize, uniform: f64) -> Vec<usize> {
    let total = log_sum_exp(log_weights);
    let mut out = Vec::with_capacity(n);
    let mut cumulative = 0.0;
    for (i, w) in log_weights.iter().enumerate() {
        cumulative += n as f64 * (w - total).exp();
        while out.len() < n && out.len() as f64 + uniform < cumulative {
            out.push(i);
        }
    }
    // Round-off in the sum may leave the last one open: it belongs to the last index that has weight.
    let last = log_weights.iter().rposition(|w| *w > f64::NEG_INFINITY).unwrap_or(0);
    out.resize(n, last);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resampling_gives_every_index_its_share() {
        let weights = [0.05, 0.5, 0.0, 0.28, 0.17];
        let logs: Vec<f64> = weights.iter().map(|w: &f64| w.ln() + 700.0).collect();
        let mut counts = [0.0; 5];
        for u in 0..10_000 {
            let drawn = systematic(&logs, 5, (f64::from(u) + 0.5) / 10_000.0);
            assert!(drawn.len() == 5 && drawn.is_sorted());
            for (i, w) in weights.into_iter().enumerate() {
                let count = drawn.iter().filter(|&&k| k == i).count() as f64;
                assert!(count >= (5.0 * w - 1e-9).floor() && count <= (5.0 * w + 1e-9).ceil());
                counts[i] += count / 10_000.0;
            }
        }
        for (count, w) in counts.into_iter().zip(weights) {
            assert!((count - 5.0 * w).abs() < 2e-4);
        }
        // More draws than weights.
        assert_eq!(systematic(&[0.25f64.ln(), 0.75f64.ln()], 8, 0.5), [0, 0, 1, 1, 1, 1, 1, 1]);
        // A uniform beside 1 and round-off still give n indices with weight.
        assert!(
            systematic(&[0.1f64.ln(), 0.9f64.ln(), f64::NEG_INFINITY], 3, 1.0 - 1e-17).iter().all(|i| *i < 2)
        );
    }
}
