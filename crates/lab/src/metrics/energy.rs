//! Energy distance: squared as U- and as V-statistic, and the root of the latter.
//!
//! ```text
//! E(P, Q) = 2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖
//! ```
//! It is the two-sample statistic of the kernel −‖x − y‖: value and error in [`two_sample`](super::two_sample). It has
//! no bandwidth to choose and the unit of a distance. The U-statistic is unbiased and may be negative; the V-statistic
//! is what SciPy's `energy_distance` takes the root of.
//!
//! Source: Székely & Rizzo (2013), Energy statistics, J. Stat. Plan. Inference 143, Eq. 2.1 and 6.1.

use genzoo_core::{Better, Result};

use super::case::{Case, Measured};
use super::points::{Pairing, Points};
use super::two_sample::{Estimate, TwoSample, two_sample};
use super::{MetricInfo, Rows};

const fn info(name: &'static str, summary: &'static str, rows: Rows) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better: Better::Lower, rows }
}

pub(super) static METRICS: [MetricInfo; 3] = [
    info("energy_distance_u", "energy distance, squared, unbiased", Rows::Samples),
    info("energy_distance_v", "the same with the diagonal: never negative", Rows::OnRequest),
    info("energy_distance_root", "the root of energy_distance_v, as SciPy has it", Rows::OnRequest),
];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.pairs();
    let TwoSample { unbiased, biased } = distance(&x, &y)?;
    let root = biased.value.max(0.0).sqrt();
    let stderr = if root > 0.0 { biased.stderr / (2.0 * root) } else { 0.0 };
    Ok([unbiased, biased, Estimate { value: root, stderr }].map(|e| Measured::of(e, &x, &y)).to_vec())
}

fn distance(x: &Points, y: &Points) -> Result<TwoSample> {
    two_sample(x, y, Pairing::SquaredDistance, |squared| -squared.sqrt(), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};

    #[test]
    fn of_four_points_by_hand() -> Result<()> {
        // Cross distances of {0, 2} and {3, 5} are 3, 5, 1, 3; within each, 2.
        let got = distance(&of(&[&[0.0], &[2.0]]), &of(&[&[3.0], &[5.0]]))?;
        assert!((got.unbiased.value - (2.0 * 3.0 - 4.0)).abs() < 1e-14, "{}", got.unbiased.value);
        assert!((got.biased.value - (2.0 * 3.0 - 2.0)).abs() < 1e-14, "{}", got.biased.value);
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
        let got = distance(&normal(3000, 1, 1.0, s, 1), &normal(3000, 1, 1.0, 0.0, 2))?.unbiased;
        assert!((got.value - want).abs() < 4.0 * got.stderr, "{} {want} ± {}", got.value, got.stderr);
        assert!(got.stderr < 0.05);
        Ok(())
    }
}
