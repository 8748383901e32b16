//! Kozachenko-Leonenko estimate of the differential entropy of the fake sample.
//!
//! ```text
//! H = ψ(n) − ψ(k) + log V_d + (d/n) Σ_i log r_k(i)        V_d = π^{d/2}/Γ(d/2 + 1),   k = 3
//! ```
//! r_k(i) is the Euclidean distance to the k-th nearest other point. In nats; a sample with k repeats of one point has
//! none. Beside its floor, the same of real points, it tells a law too narrow (less) from one too wide (more). Its bias
//! grows with the dimension. The standard error is that of the mean of `d log r_k`.
//!
//! Source: Kozachenko & Leonenko (1987), Probl. Inf. Transm. 23; Kraskov et al. (2004), Phys. Rev. E 69, Eq. 20;
//! Delattre & Fournier (2017), J. Stat. Plan. Inference 185, for the limit.

use genzoo_core::{Better, Result};

use super::case::{Case, Measured};
use super::neighbours::radii;
use super::points::Points;
use super::two_sample::{Estimate, mean, variance};
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 1] = [MetricInfo {
    name: "entropy_knn",
    summary: "entropy of the fake sample by its 3rd nearest neighbours (Kozachenko-Leonenko): compare with the floor",
    unit: "nats",
    better: Better::Higher,
    rows: Rows::OnRequest,
}];

const NEIGHBOUR: usize = 3;

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.pairs();
    Ok(vec![Measured::of(entropy(&y, NEIGHBOUR)?, &x, &y)])
}

/// The entropy by k-th nearest neighbours, in nats.
///
/// # Errors
/// If there are not more than k points.
pub fn entropy(y: &Points, k: usize) -> Result<Estimate> {
    let (n, d) = (y.len() as f64, y.dims() as f64);
    let logs: Vec<f64> = radii(y, k)?.into_iter().map(|square| 0.5 * d * square.ln()).collect();
    let log_ball = 0.5 * d * std::f64::consts::PI.ln() - libm::lgamma(0.5 * d + 1.0);
    let value = digamma(n) - digamma(k as f64) + log_ball + mean(&logs);
    Ok(Estimate { value, stderr: (variance(&logs) / n).sqrt() })
}

/// ψ(x) for x > 0: upwards by `ψ(x) = ψ(x + 1) − 1/x`, then the asymptotic series (Abramowitz & Stegun 6.3.18).
fn digamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let s = 1.0 / (x * x);
    let series = s * (1.0 / 12.0 - s * (1.0 / 120.0 - s * (1.0 / 252.0 - s * (1.0 / 240.0 - s / 132.0))));
    shift + x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};

    #[test]
    fn digamma_at_known_points() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        assert!((digamma(1.0) + EULER).abs() < 1e-14);
        assert!((digamma(0.5) + EULER + 2.0 * 2f64.ln()).abs() < 1e-13);
        assert!((digamma(5.0) - (25.0 / 12.0 - EULER)).abs() < 1e-14);
    }

    /// The entropy of N(0, I) in d dimensions is (d/2) log 2πe, and the stated error is the spread.
    #[test]
    fn of_a_normal_law() -> Result<()> {
        for d in [1, 2] {
            let want = 0.5 * d as f64 * (std::f64::consts::TAU * std::f64::consts::E).ln();
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..60 {
                let e = entropy(&normal(500, d, 1.0, 0.0, run), 3)?;
                values.push(e.value);
                errors.push(e.stderr);
            }
            let spread = variance(&values).sqrt();
            assert!(
                (mean(&values) - want).abs() < 4.0 * spread / 60f64.sqrt() + 0.02,
                "{} {want}",
                mean(&values)
            );
            let ratio = mean(&errors) / spread;
            assert!((0.7..1.6).contains(&ratio), "stated over true error {ratio}");
        }
        // Scaling by c adds d log c.
        let (a, b) = (entropy(&normal(90, 4, 1.0, 0.0, 1), 3)?, entropy(&normal(90, 4, 3.0, 0.0, 1), 3)?);
        assert!((b.value - a.value - 4.0 * 3f64.ln()).abs() < 1e-12);
        assert!(entropy(&of(&[&[1.0], &[2.0]]), 3).is_err());
        Ok(())
    }
}
