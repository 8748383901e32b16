//! Which classes samples show, how surely, and how evenly: what a [judge](crate::judge) says beyond features.
//!
//! ```text
//! s_c   = share of the samples whose most probable class is c            with Wilson's 95 % interval
//! TV    = ½ Σ_c |s_c − m_c|                                              m_c the true shares
//! conf  = mean_i max_c p(c | x_i)
//! IS    = exp( mean_i KL(p(·|x_i) ‖ p̄) ),   p̄ = mean_i p(·|x_i)          between 1 and the number of classes
//! ```
//! TV equals `s(A) − m(A)` for the set A of classes that come too often, so its standard error is the binomial one (of
//! both, where m was counted on real rows). The
//! influence of sample i on `log IS` is `KL(p(·|x_i) ‖ p̄) − log IS`, hence `s.e.(IS) = IS · sd(KL_i)/√n`. The score is
//! computed on all samples at once; means over splits, as in the original, are smaller by their own bias.
//!
//! Source: Salimans et al. (2016), arXiv:1606.03498, §4, with the judge in place of the Inception network.

use candle_core::Tensor;
use genzoo_core::{Better, Error, Result};
use genzoo_numerics::special::{Moments, wilson_interval};

use super::case::{Case, Measured};
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};
use crate::row::Share;

const fn info(name: &'static str, summary: &'static str, better: Better) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better, rows: Rows::Features }
}

pub(super) static METRICS: [MetricInfo; 3] = [
    info(
        "class_tv",
        "total variation between the classes that a judge sees and their true shares",
        Better::Lower,
    ),
    info("confidence", "mean probability of the class that a judge finds most probable", Better::Higher),
    info("inception_score", "Inception-style score of a judge, on all samples at once", Better::Higher),
];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let probabilities = case
        .probabilities
        .ok_or_else(|| Error::Unsupported("no judge has looked at these samples".into()))?;
    let classes = Classes::new(probabilities, case.shares, case.counted)?;
    // Where the true shares are not known, there is no distance to them.
    let unknown = Estimate { value: f64::NAN, stderr: f64::NAN };
    let all = [classes.total_variation.unwrap_or(unknown), classes.confidence, classes.inception_score];
    Ok(all.map(|e| Measured::of(e, case.real, case.fake)).to_vec())
}

/// The classes of some samples.
#[derive(Clone, Debug)]
pub struct Classes {
    /// The histogram.
    pub shares: Vec<Share>,
    /// Total variation to the true shares, where those are known.
    pub total_variation: Option<Estimate>,
    /// Mean probability of the most probable class.
    pub confidence: Estimate,
    /// The Inception-style score.
    pub inception_score: Estimate,
}

impl Classes {
    /// Of class probabilities `(n, classes)`, f64; `truth` holds the true shares, `counted` on so many rows unless they are
    /// exact.
    ///
    /// # Errors
    /// If there are fewer than two samples, or another number of classes than of true shares.
    pub fn new(probabilities: &Tensor, truth: Option<&[f64]>, counted: Option<usize>) -> Result<Self> {
        let rows = probabilities.to_vec2::<f64>()?;
        let (n, classes) = probabilities.dims2()?;
        if n < 2 || truth.is_some_and(|t| t.len() != classes) {
            let want = format!("two or more, and {} classes", truth.map_or(classes, <[f64]>::len));
            return Err(Error::data("judged samples", want, format!("{n} of {classes} classes")));
        }
        let mut counts = vec![0u64; classes];
        let (mut sure, mut mean) = (Moments::default(), vec![0.0; classes]);
        for row in &rows {
            let (best, p) =
                row.iter().enumerate().fold((0, 0.0), |a, (c, &p)| if p > a.1 { (c, p) } else { a });
            counts[best] += 1;
            sure.push(p);
            mean.iter_mut().zip(row).for_each(|(m, p)| *m += p / n as f64);
        }
        let term = |p: f64, m: f64| if p > 0.0 { p * (p / m).ln() } else { 0.0 };
        let mut divergence = Moments::default();
        rows.iter().for_each(|row| divergence.push(row.iter().zip(&mean).map(|(&p, &m)| term(p, m)).sum()));
        let score = divergence.mean().exp();
        let share = |(c, &k): (usize, &u64)| {
            let (low, high) = wilson_interval(k, n as u64, 1.96);
            Share { share: k as f64 / n as f64, low, high, truth: truth.map(|t| t[c]) }
        };
        let shares: Vec<Share> = counts.iter().enumerate().map(share).collect();
        Ok(Self {
            total_variation: truth.map(|t| total_variation(&shares, t, n, counted)),
            shares,
            confidence: Estimate { value: sure.mean(), stderr: sure.standard_error() },
            inception_score: Estimate { value: score, stderr: score * divergence.standard_error() },
        })
    }
}

fn total_variation(shares: &[Share], truth: &[f64], n: usize, counted: Option<usize>) -> Estimate {
    let pairs = || shares.iter().map(|s| s.share).zip(truth.iter().copied());
    let often = || pairs().filter(|(s, m)| s > m);
    let (more, right): (f64, f64) = (often().map(|(s, _)| s).sum(), often().map(|(_, m)| m).sum());
    let value = 0.5 * pairs().map(|(s, m)| (s - m).abs()).sum::<f64>();
    let binomial = |share: f64, n: usize| (share * (1.0 - share) / n as f64).max(0.0);
    let square = binomial(more, n) + counted.map_or(0.0, |rows| binomial(right, rows));
    Estimate { value, stderr: square.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::{Device, Noise};

    fn of(rows: &[Vec<f64>], truth: Option<&[f64]>) -> Result<Classes> {
        Classes::new(&Tensor::new(rows.to_vec(), &Device::Cpu)?, truth, None)
    }

    #[test]
    fn by_hand() -> Result<()> {
        let rows = [vec![0.8, 0.2], vec![0.6, 0.4], vec![0.1, 0.9], vec![1.0, 0.0]];
        let c = of(&rows, Some(&[0.5, 0.5]))?;
        assert_eq!((c.shares[0].share, c.shares[1].share), (0.75, 0.25));
        let (low, high) = wilson_interval(3, 4, 1.96);
        assert_eq!((c.shares[0].low, c.shares[0].high, c.shares[0].truth), (low, high, Some(0.5)));
        let tv = c.total_variation.expect("the truth is known");
        assert!((tv.value - 0.25).abs() < 1e-15 && (tv.stderr - (0.75f64 * 0.25 / 4.0).sqrt()).abs() < 1e-15);
        assert!((c.confidence.value - 3.3 / 4.0).abs() < 1e-15);
        let kl = |p: f64| {
            let term = |p: f64, m: f64| if p == 0.0 { 0.0 } else { p * (p / m).ln() };
            term(p, 0.625) + term(1.0 - p, 0.375)
        };
        let want = ((kl(0.8) + kl(0.6) + kl(0.1) + kl(1.0)) / 4.0).exp();
        assert!((c.inception_score.value - want).abs() < 1e-12);
        assert!(of(&rows, None)?.total_variation.is_none());
        assert!(of(&rows, Some(&[1.0])).is_err() && of(&rows[..1], None).is_err());
        Ok(())
    }

    #[test]
    fn the_score_runs_from_one_to_the_number_of_classes() -> Result<()> {
        let sure: Vec<Vec<f64>> =
            (0..40).map(|i| (0..4).map(|c| f64::from(u8::from(i % 4 == c))).collect()).collect();
        let c = of(&sure, Some(&[0.25; 4]))?;
        assert!((c.inception_score.value - 4.0).abs() < 1e-12 && c.confidence.value == 1.0);
        assert_eq!(c.total_variation.map(|t| t.value), Some(0.0));
        let unsure = vec![vec![0.25; 4]; 40];
        assert!((of(&unsure, None)?.inception_score.value - 1.0).abs() < 1e-12);
        Ok(())
    }

    /// Samples whose class 0 has probability u, uniform: IS varies over samples as its standard error says.
    #[test]
    fn standard_errors_are_the_spread_over_samples() -> Result<()> {
        let (n, runs) = (400, 300);
        let (mut score, mut tv) =
            ((Moments::default(), Moments::default()), (Moments::default(), Moments::default()));
        for run in 0..runs {
            let u = Noise::new(run).uniforms(n);
            // Class 0 wins with probability 0.7 = 1 − ½^(1/0.5757).
            let rows: Vec<Vec<f64>> = u.iter().map(|u| u.powf(0.5757)).map(|p| vec![p, 1.0 - p]).collect();
            let c = of(&rows, Some(&[0.5, 0.5]))?;
            score.0.push(c.inception_score.value);
            score.1.push(c.inception_score.stderr);
            let t = c.total_variation.expect("the truth is known");
            tv.0.push(t.value);
            tv.1.push(t.stderr);
        }
        for (values, errors) in [score, tv] {
            let spread = values.variance().sqrt();
            assert!((errors.mean() / spread - 1.0).abs() < 4.0 / (2.0 * runs as f64).sqrt(), "{spread}");
        }
        Ok(())
    }
}
