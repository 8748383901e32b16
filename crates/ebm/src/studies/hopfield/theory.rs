//! Closed forms: mean-field theory of Hebb's network at zero temperature, and errors of single bits.
//!
//! ```text
//! m = erf(y),   √(2α) = f(y),   f(y) = erf(y)/y − 2/√π e^{−y²};   α_c = ½ max f²
//! P(bit of a pattern unstable) ≈ Φ(−S/σ),   S = N^n − (N − 2)^n,   σ² = (K − 1) E[((1 + T)^n − (T − 1)^n)²],   T a sum of N − 1 coins
//! ```
//!
//! With n = 2 the second line tends to Φ(−α^{−1/2}), and for any n to Φ(−√(N^{n−1}/((2n − 3)!! K))).
//! Source: Amit, Gutfreund & Sompolinsky (1985), replica-symmetric; Krotov & Hopfield (2016), Eqs. 5–6.

use genzoo_numerics::special::{erf, normal_cdf};

/// √(2α) on the retrieval branch and beyond.
fn load(y: f64) -> f64 {
    erf(y) / y - 2.0 / std::f64::consts::PI.sqrt() * (-y * y).exp()
}

/// The y of the largest load.
fn edge() -> f64 {
    let (mut low, mut high) = (0.5, 3.0);
    for _ in 0..200 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if load(a) < load(b) { low = a } else { high = b }
    }
    0.5 * (low + high)
}

/// α_c, beyond which there are no retrieval states.
pub(super) fn critical_load() -> f64 {
    0.5 * load(edge()).powi(2)
}

/// The overlap of retrieval states with their pattern at load `alpha`, if there are any.
pub(super) fn retrieval_overlap(alpha: f64) -> Option<f64> {
    let wanted = (2.0 * alpha).sqrt();
    let (mut low, mut high) = (edge(), 20.0);
    // On this side f falls.
    if load(low) < wanted || load(high) > wanted {
        return None;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if load(middle) > wanted { low = middle } else { high = middle }
    }
    Some(erf(low))
}

/// Probability that a bit of one of `count` patterns on `sites` sites is unstable under F(x) = xⁿ.
///
/// With n = 2 the noise is a sum of (K − 1)(N − 1) independent coins, and the tail of the binomial law is exact: a tie is
/// stable. Else it is K − 1 independent terms of which variance and fourth moment are known: a normal law with its first
/// correction (Edgeworth), for many patterns.
pub(super) fn bit_error(sites: usize, count: usize, power: u32) -> f64 {
    let n = sites as f64;
    if power == 2 {
        return coins_below((count - 1) * (sites - 1), sites - 1);
    }
    let p = power as i32;
    let signal = n.powi(p) - (n - 2.0).powi(p);
    // T = N − 1 − 2k with probability C(N − 1, k) 2^{1 − N}, by its ratios.
    let mut log = (1.0 - n) * 2f64.ln();
    let (mut square, mut fourth) = (0.0, 0.0);
    for k in 0..sites {
        let t = n - 1.0 - 2.0 * k as f64;
        let term = ((1.0 + t).powi(p) - (t - 1.0).powi(p)).powi(2);
        square += log.exp() * term;
        fourth += log.exp() * term * term;
        log += ((n - 1.0 - k as f64) / (k as f64 + 1.0)).max(f64::MIN_POSITIVE).ln();
    }
    let others = count as f64 - 1.0;
    let z = signal / (others * square).sqrt();
    let excess = (fourth / (square * square) - 3.0) / others;
    let bell = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    normal_cdf(-z) + bell * excess / 24.0 * (z * z * z - 3.0 * z)
}

/// P(sum of m coins ±1 < −s).
fn coins_below(m: usize, s: usize) -> f64 {
    // m − 2j < −s: more than (m + s)/2 tails j. Terms fall from there on.
    let first = (m + s) / 2 + 1;
    if first > m {
        return 0.0;
    }
    // log C(m, first) − m log 2, symmetric in heads and tails, as a sum over the fewer of them.
    let heads = m - first;
    let terms = (0..heads).map(|i| ((m - i) as f64 / (i + 1) as f64).ln());
    let (mut term, mut sum) = ((terms.sum::<f64>() - m as f64 * 2f64.ln()).exp(), 0.0);
    for j in first..=m {
        sum += term;
        term *= (m - j) as f64 / (j + 1) as f64;
        if term < 1e-18 * sum {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_field_theory_has_the_published_numbers() {
        // Amit, Gutfreund & Sompolinsky: α_c = 0.138, where m = 0.967.
        assert!((critical_load() - 0.1379).abs() < 1e-4, "{}", critical_load());
        assert!((erf(edge()) - 0.967).abs() < 1e-3);
        assert!(retrieval_overlap(0.139).is_none());
        // It solves the equations in their first form: m = erf(m/√(2αr)), C = √(2/(παr)) e^{−m²/2αr}, r = (1 − C)⁻².
        for alpha in [0.05, 0.1, 0.13] {
            let m = retrieval_overlap(alpha).unwrap_or(f64::NAN);
            let mut r: f64 = 1.0;
            for _ in 0..2_000 {
                let c =
                    (2.0 / (std::f64::consts::PI * alpha * r)).sqrt() * (-m * m / (2.0 * alpha * r)).exp();
                r = (1.0 - c).powi(-2);
            }
            assert!((erf(m / (2.0 * alpha * r).sqrt()) - m).abs() < 1e-9, "{alpha}");
        }
    }

    #[test]
    fn errors_of_bits_have_their_limits() {
        for alpha in [0.1, 0.2] {
            let count = (alpha * 4_000.0) as usize;
            let limit = normal_cdf(-1.0 / f64::sqrt(alpha));
            assert!((bit_error(4_000, count, 2) / limit - 1.0).abs() < 0.02);
        }
        for (power, double) in [(3, 3.0), (4, 15.0)] {
            let (n, k) = (1_000f64, 0.2 / double);
            let count = (k * n.powi(power as i32 - 1)) as usize;
            let limit = normal_cdf(-(1.0f64 / (double * k)).sqrt());
            assert!((bit_error(1_000, count, power) / limit - 1.0).abs() < 0.05, "{power}");
        }
        // Three sites, three patterns, n = 2: four coins against 2; −4 alone is below −2.
        assert!((bit_error(3, 3, 2) - 1.0 / 16.0).abs() < 1e-14);
        let normal = normal_cdf(-(200.0 + 1.0) / 20_000f64.sqrt());
        assert!((coins_below(20_000, 200) / normal - 1.0).abs() < 1e-3);
    }
}
