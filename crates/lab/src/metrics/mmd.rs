//! Squared maximum mean discrepancy.
//!
//! ```text
//! MMD²(P, Q) = E k(x,x') + E k(y,y') − 2 E k(x,y)
//! Gaussian                k = exp(−r² / 2h²)
//! mixture                 k = mean over s ∈ {¼, ½, 1, 2, 4} of exp(−r² / 2(sh)²)
//! inverse multiquadric    k = (1 + r²/h²)^(−½)                                        r = ‖x − y‖
//! ```
//! The mixture sees differences at several scales, the inverse multiquadric has heavy tails; the polynomial kernel is
//! [`kid`](super::kid). Value and error: [`two_sample`](super::two_sample).
//!
//! The bandwidth h is given, or the median distance: of all pairs of both samples together (Gretton et al.) where two
//! files are compared, of the real sample alone in rows, so that it is the same for every model of a table.
//!
//! Source: Gretton et al. (2012), JMLR 13, Eq. 3, 5 and §8 for the median heuristic; Li et al. (2015) for mixtures;
//! Gorham & Mackey (2017) for the inverse multiquadric.

use genzoo_core::{Better, Noise, Result};

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_pair_block};
use super::two_sample::two_sample;
use super::{MetricInfo, Rows};

/// Most points whose distances give the median; of more, a random subset.
const MOST_FOR_MEDIAN: usize = 4000;
/// Scales of the mixture.
const SCALES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

const fn info(name: &'static str, summary: &'static str, rows: Rows) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better: Better::Lower, rows }
}

pub(super) static GAUSSIAN: [MetricInfo; 2] = [
    info("mmd2_unbiased", "squared maximum mean discrepancy, Gaussian kernel, unbiased", Rows::Samples),
    info("mmd2_biased", "the same with the diagonal: never negative", Rows::OnRequest),
];
pub(super) static MIXTURE: [MetricInfo; 1] = [info(
    "mmd2_mixture",
    "MMD², mean of five Gaussian kernels from a quarter to four times the bandwidth, unbiased",
    Rows::OnRequest,
)];
pub(super) static IMQ: [MetricInfo; 1] =
    [info("mmd2_imq", "MMD², inverse multiquadric kernel (1 + r²/h²)^(−½), unbiased", Rows::OnRequest)];

pub(super) fn gaussian(case: &Case) -> Result<Vec<Measured>> {
    let h = case.bandwidth()?;
    let (x, y) = case.pairs();
    let both = two_sample(&x, &y, Pairing::SquaredDistance, kernel(h), 1.0)?;
    Ok([both.unbiased, both.biased].map(|e| Measured::of(e, &x, &y)).to_vec())
}

pub(super) fn mixture(case: &Case) -> Result<Vec<Measured>> {
    let kernels = SCALES.map(|s| case.bandwidth().map(|h| kernel(s * h)));
    let kernels = kernels.into_iter().collect::<Result<Vec<_>>>()?;
    let k = |r: f64| kernels.iter().map(|k| k(r)).sum::<f64>() / kernels.len() as f64;
    let (x, y) = case.pairs();
    let both = two_sample(&x, &y, Pairing::SquaredDistance, k, 1.0)?;
    Ok(vec![Measured::of(both.unbiased, &x, &y)])
}

pub(super) fn imq(case: &Case) -> Result<Vec<Measured>> {
    let h = case.bandwidth()?;
    let (x, y) = case.pairs();
    let k = |r: f64| 1.0 / (1.0 + r / (h * h)).sqrt();
    let both = two_sample(&x, &y, Pairing::SquaredDistance, k, 1.0)?;
    Ok(vec![Measured::of(both.unbiased, &x, &y)])
}

/// The Gaussian kernel of a squared distance.
pub fn kernel(bandwidth: f64) -> impl Fn(f64) -> f64 + Sync {
    let scale = -0.5 / (bandwidth * bandwidth);
    move |squared| (scale * squared).exp()
}

/// The median distance between distinct points; 1 if they all coincide. Of an even number of distances, the mean of
/// the middle two.
///
/// # Errors
/// Never for finite points.
pub fn median_distance(x: &Points, noise: &Noise) -> Result<f64> {
    let few = x.at_most(MOST_FOR_MEDIAN, noise);
    let mut squared = for_each_pair_block(&few, Pairing::SquaredDistance, |block| {
        let above = block.rows().flat_map(|(i, row)| &row[i - block.from + 1..]);
        above.copied().collect::<Vec<f64>>()
    })?
    .concat();
    if squared.is_empty() {
        return Ok(1.0);
    }
    let (middle, even) = (squared.len() / 2, squared.len().is_multiple_of(2));
    let (below, upper, _) = squared.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = if even { below.iter().fold(0.0, |a: f64, v| a.max(*v)) } else { *upper };
    let median = 0.5 * (lower.sqrt() + upper.sqrt());
    Ok(if median > 0.0 { median } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};

    #[test]
    fn the_bandwidth_is_the_median_distance() -> Result<()> {
        let median = |x: &Points| median_distance(x, &Noise::new(0));
        assert_eq!(median(&of(&[&[0.0], &[1.0], &[5.0]]))?, 4.0);
        assert_eq!(median(&of(&[&[0.0], &[1.0], &[5.0], &[5.5]]))?, 4.25);
        assert_eq!(median(&of(&[&[2.0], &[2.0]]))?, 1.0);
        // In 2-D, ‖x − x'‖² is 2χ²₂, whose median is 4 ln 2.
        let got = median(&normal(1000, 2, 1.0, 0.0, 3))?;
        assert!((got - (4.0 * 2f64.ln()).sqrt()).abs() < 0.1, "{got}");
        assert_eq!(kernel(2.0)(8.0), (-1f64).exp());
        Ok(())
    }

    /// Of two single-point laws at distance r, V is 2(1 − k(r)).
    #[test]
    fn each_kernel_is_the_one_of_its_formula() -> Result<()> {
        let (x, y) = (of(&[&[0.0], &[0.0]]), of(&[&[3.0], &[3.0]]));
        let settings =
            crate::metrics::Settings { bandwidth: Some(2.0), ..crate::metrics::Settings::default() };
        let noise = Noise::new(0);
        let case = Case::new(&x, &y, &settings, &noise);
        let gauss = |s: f64| (-9.0 / (2.0 * (2.0 * s).powi(2))).exp();
        let mixed = [0.25, 0.5, 1.0, 2.0, 4.0].map(gauss).iter().sum::<f64>() / 5.0;
        let imq_value = 1.0 / (1.0 + 9.0 / 4.0f64).sqrt();
        for (got, k) in [
            (gaussian(&case)?[0], gauss(1.0)),
            (gaussian(&case)?[1], gauss(1.0)),
            (mixture(&case)?[0], mixed),
            (imq(&case)?[0], imq_value),
        ] {
            assert!((got.estimate.value - 2.0 * (1.0 - k)).abs() < 1e-14);
        }
        Ok(())
    }
}
