//! Energy distance, in its squared form and unbiased (it may be negative).
//!
//! ```text
//! E(P, Q) = 2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖
//! ```
//! It is the U-statistic of the kernel −‖x − y‖: value and error in [`two_sample`](super::two_sample). It has no
//! bandwidth to choose and the unit of a distance.
//!
//! Source: Székely & Rizzo (2013), Energy statistics, J. Stat. Plan. Inference 143, Eq. 2.1.

/// `−‖x − y‖` of a squared distance.
pub fn kernel(squared: f64) -> f64 {
    -squared.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};
    use crate::metrics::two_sample::{u_statistics, within};
    use genzoo_core::Result;

    fn distance(x: &super::super::Points, y: &super::super::Points) -> Result<super::super::Estimate> {
        let k = |r| [kernel(r)];
        Ok(u_statistics((x, &within(x, k)?), (y, &within(y, k)?), k)?[0])
    }

    #[test]
    fn of_four_points_by_hand() -> Result<()> {
        // 2·mean(3, 5, 1, 3) − 2 − 2: cross distances of {0, 2} and {3, 5} are 3, 5, 1, 3.
        let got = distance(&of(&[&[0.0], &[2.0]]), &of(&[&[3.0], &[5.0]]))?;
        assert!((got.value - (2.0 * 3.0 - 4.0)).abs() < 1e-14, "{}", got.value);
        Ok(())
    }

    /// In one dimension E = 2 ∫ (F − G)² dx; for N(0, 1) and N(s, 1) by the trapezoid rule on Gaussian tails.
    #[test]
    fn of_normals_is_the_area_between_distribution_functions() -> Result<()> {
        let s = 1.0;
        let cdf = |x: f64| {
            (0..4000)
                .map(|i| -10.0 + (x + 10.0) * (f64::from(i) + 0.5) / 4000.0)
                .fold(0.0, |a, t| a + (-0.5 * t * t).exp() * (x + 10.0) / 4000.0)
                / std::f64::consts::TAU.sqrt()
        };
        let step = 0.05;
        let want = 2.0
            * step
            * (-160..=180).map(|i| f64::from(i) * step).map(|x| (cdf(x) - cdf(x - s)).powi(2)).sum::<f64>();
        let got = distance(&normal(3000, 1, 1.0, s, 1), &normal(3000, 1, 1.0, 0.0, 2))?;
        assert!((got.value - want).abs() < 4.0 * got.stderr, "{} {want} ± {}", got.value, got.stderr);
        assert!(got.stderr < 0.05);
        Ok(())
    }
}
