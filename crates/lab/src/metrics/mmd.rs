//! Squared maximum mean discrepancy with a Gaussian kernel, unbiased (it may be negative).
//!
//! ```text
//! MMD²(P, Q) = E k(x,x') + E k(y,y') − 2 E k(x,y),    k(x, y) = exp(−‖x − y‖² / 2h²)
//! ```
//! The bandwidth `h` is the median distance between real points alone (the first 1000), so that it is the same for
//! every model judged against the same real sample. Value and error: [`two_sample`](super::two_sample).
//!
//! Source: Gretton et al. (2012), JMLR 13, Eq. 3 and §8 for the median heuristic.

use genzoo_core::Result;

use super::points::{Points, for_each_row};

/// Real points whose distances give the bandwidth.
const MOST: usize = 1000;

/// The median distance between distinct real points; 1 if they all coincide.
///
/// # Errors
/// If a tensor operation fails.
pub fn bandwidth(real: &Points) -> Result<f64> {
    let few = real.first(MOST);
    let mut squared = for_each_row(&few, &few, |i, r| r[i + 1..].to_vec())?.concat();
    if squared.is_empty() {
        return Ok(1.0);
    }
    let middle = squared.len() / 2;
    let median = squared.select_nth_unstable_by(middle, f64::total_cmp).1.sqrt();
    Ok(if median > 0.0 { median } else { 1.0 })
}

/// `k` of a squared distance.
pub fn kernel(bandwidth: f64) -> impl Fn(f64) -> f64 + Sync {
    let scale = -0.5 / (bandwidth * bandwidth);
    move |squared| (scale * squared).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};

    #[test]
    fn the_bandwidth_is_the_median_distance() -> Result<()> {
        assert_eq!(bandwidth(&of(&[&[0.0], &[1.0], &[5.0]]))?, 4.0);
        assert_eq!(bandwidth(&of(&[&[2.0], &[2.0]]))?, 1.0);
        // In 2-D, ‖x − x'‖² is 2χ²₂, whose median is 4 ln 2.
        let got = bandwidth(&normal(1000, 2, 1.0, 0.0, 3))?;
        assert!((got - (4.0 * 2f64.ln()).sqrt()).abs() < 0.1, "{got}");
        assert_eq!(kernel(2.0)(8.0), (-1f64).exp());
        Ok(())
    }
}
