//! Classifier two-sample test with logistic regression.
//!
//! ```text
//! accuracy on held-out rows of  P(fake | x) = σ(⟨w, z⟩ + b),   z standardised,  fitted with ½‖w‖² as penalty
//! ```
//! The larger sample is cut to the size of the smaller; one half of the rows fits the classifier, the other half tests
//! it. One half is right where nothing linear tells the laws apart: it sees means, not shapes (the nearest-neighbour
//! test sees those). `classifier_p` is the chance of so many right answers from coin flips, in the normal limit with
//! continuity correction; the standard error of the accuracy is binomial, for the classifier that was fitted.
//!
//! Source: Lopez-Paz & Oquab (2017), arXiv:1610.06545, §3.

use genzoo_core::{Better, Error, Result};
use genzoo_numerics::special::normal_cdf;
use nalgebra::{DMatrix, DVector};

use super::case::{Case, Measured};
use super::points::Points;
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 2] = [
    MetricInfo {
        name: "classifier_accuracy",
        summary: "held-out accuracy of a logistic regression that tells real from fake: 0.5 where it cannot",
        unit: "1",
        better: Better::Lower,
        rows: Rows::OnRequest,
    },
    MetricInfo {
        name: "classifier_p",
        summary: "its p-value: the chance of so large an accuracy if the laws agree",
        unit: "1",
        better: Better::Higher,
        rows: Rows::OnRequest,
    },
];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let n = case.real.len().min(case.fake.len());
    if n < 4 {
        return Err(Error::data("samples", "at least 4 rows each", n));
    }
    let noise = case.noise.fork("classifier");
    let take = |p: &Points, name: &str| p.select(&noise.fork(name).permutation(p.len())[..n]);
    let (x, y) = (take(case.real, "real"), take(case.fake, "fake"));
    let half = n / 2;
    let split = |p: &Points| {
        let rows: Vec<usize> = (0..n).collect();
        (p.select(&rows[..half]), p.select(&rows[half..]))
    };
    let ((x, test_x), (y, test_y)) = (split(&x), split(&y));
    let classifier = Classifier::fit(&x, &y);
    let trials = (test_x.len() + test_y.len()) as f64;
    // An answer of exactly ½ is half right.
    let right = |p: &Points, fake: bool| {
        let one = |row: &[f64]| {
            let logit = classifier.logit(row);
            if logit == 0.0 { 0.5 } else { f64::from(u8::from((logit > 0.0) == fake)) }
        };
        p.rows().map(one).sum::<f64>()
    };
    let right = right(&test_x, false) + right(&test_y, true);
    let accuracy = right / trials;
    let p = normal_cdf((0.5 * trials - right + 0.5) / (0.25 * trials).sqrt());
    let stderr = (accuracy * (1.0 - accuracy) / trials).sqrt();
    let both = [Estimate { value: accuracy, stderr }, Estimate { value: p, stderr: f64::NAN }];
    Ok(both.map(|estimate| Measured { estimate, n, n_real: n }).to_vec())
}

/// A logistic regression on standardised values.
struct Classifier {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// The constant last.
    weights: DVector<f64>,
}

impl Classifier {
    /// Newton's method on the penalised log-likelihood, which is strictly concave.
    fn fit(real: &Points, fake: &Points) -> Self {
        const STEPS: usize = 30;
        let (all, d) = (real.and(fake), real.dims());
        let (mean, n) = (all.mean(), all.len());
        let mut scale = vec![0.0; d];
        for row in all.rows() {
            scale.iter_mut().zip(row).zip(&mean).for_each(|((s, v), m)| *s += (v - m) * (v - m) / n as f64);
        }
        scale.iter_mut().for_each(|s| *s = if *s > 0.0 { s.sqrt() } else { 1.0 });
        let z = DMatrix::from_fn(
            n,
            d + 1,
            |i, k| if k == d { 1.0 } else { (all.row(i)[k] - mean[k]) / scale[k] },
        );
        let mut weights = DVector::zeros(d + 1);
        for _ in 0..STEPS {
            let p = (&z * &weights).map(|l: f64| 1.0 / (1.0 + (-l).exp()));
            let mut gradient =
                &z.transpose() * DVector::from_fn(n, |i, _| p[i] - f64::from(u8::from(i >= real.len())));
            let mut weighted = z.clone();
            for (i, mut row) in weighted.row_iter_mut().enumerate() {
                row *= p[i] * (1.0 - p[i]);
            }
            let mut hessian = z.transpose() * weighted;
            for k in 0..d {
                gradient[k] += weights[k];
                hessian[(k, k)] += 1.0;
            }
            hessian[(d, d)] += 1e-12 * n as f64;
            let Some(factor) = hessian.cholesky() else { break };
            let step = factor.solve(&gradient);
            // Half steps keep Newton's method from overshooting where the data are far apart.
            let size = if step.amax() > 2.0 { 2.0 / step.amax() } else { 1.0 };
            weights -= &step * size;
            if step.amax() < 1e-9 {
                break;
            }
        }
        Self { mean, scale, weights }
    }

    fn logit(&self, row: &[f64]) -> f64 {
        let d = row.len();
        let z = row.iter().zip(&self.mean).zip(&self.scale).map(|((v, m), s)| (v - m) / s);
        z.zip(self.weights.iter()).map(|(z, w)| z * w).sum::<f64>() + self.weights[d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Settings;
    use crate::metrics::points::tests::normal;
    use crate::metrics::two_sample::mean;
    use genzoo_core::Noise;

    fn of(x: &Points, y: &Points) -> Result<(f64, f64)> {
        let (settings, noise) = (Settings::default(), Noise::new(0));
        let got = measure(&Case::new(x, y, &settings, &noise))?;
        Ok((got[0].estimate.value, got[1].estimate.value))
    }

    /// At the optimum the gradient of the penalised log-likelihood vanishes: Σ (p − label) z = −w, and Σ (p − label) = 0.
    #[test]
    fn the_fit_is_stationary() {
        let (x, y) = (normal(60, 3, 1.0, 0.0, 1), normal(50, 3, 2.0, 0.7, 2));
        let c = Classifier::fit(&x, &y);
        let mut gradient = [0.0; 4];
        for (label, points) in [(0.0, &x), (1.0, &y)] {
            for row in points.rows() {
                let off = 1.0 / (1.0 + (-c.logit(row)).exp()) - label;
                for k in 0..3 {
                    gradient[k] += off * (row[k] - c.mean[k]) / c.scale[k];
                }
                gradient[3] += off;
            }
        }
        for (gradient, weight) in gradient[..3].iter().zip(c.weights.iter()) {
            assert!((gradient + weight).abs() < 1e-6);
        }
        assert!(gradient[3].abs() < 1e-6);
    }

    /// Between N(0, 1) and N(s, 1) the best classifier is right with probability Φ(s/2).
    #[test]
    fn a_shift_is_told_as_well_as_can_be() -> Result<()> {
        let n = 4000;
        let (accuracy, p) = of(&normal(n, 2, 1.0, 0.0, 1), &normal(n, 2, 1.0, 1.0, 2))?;
        let want = normal_cdf(0.5);
        assert!((accuracy - want).abs() < 4.0 * (want * (1.0 - want) / n as f64).sqrt(), "{accuracy} {want}");
        assert!(p < 1e-10);
        let (accuracy, _) = of(&normal(40, 2, 1.0, 0.0, 1), &normal(40, 2, 1.0, 100.0, 2))?;
        assert_eq!(accuracy, 1.0);
        Ok(())
    }

    #[test]
    fn the_p_value_is_uniform_where_the_laws_agree() -> Result<()> {
        let runs = 200;
        let p: Vec<f64> = (0..runs)
            .map(|run| Ok(of(&normal(200, 2, 1.0, 0.0, 2 * run), &normal(200, 2, 1.0, 0.0, 2 * run + 1))?.1))
            .collect::<Result<_>>()?;
        let below = p.iter().filter(|p| **p < 0.1).count() as f64 / runs as f64;
        assert!(below < 0.1 + 4.0 * (0.09 / runs as f64).sqrt(), "{below}");
        assert!((mean(&p) - 0.5).abs() < 4.0 / (12.0 * runs as f64).sqrt() + 0.03, "{}", mean(&p));
        Ok(())
    }
}
