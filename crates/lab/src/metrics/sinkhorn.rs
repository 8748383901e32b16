//! Entropic transport and Sinkhorn divergence, squared Euclidean cost.
//!
//! ```text
//! OT_ε(P, Q) = min ⟨P, C⟩ + ε KL(P | a ⊗ b)         S_ε(P, Q) = OT_ε(P, Q) − ½ OT_ε(P, P) − ½ OT_ε(Q, Q)
//! ```
//! Two numbers go by these names, so both are here: with the whole entropic value (`sinkhorn_entropic`, and
//! `sinkhorn_divergence`, which is 0 only between equal samples), and with the transport cost ⟨P, C⟩ at its optimum
//! (`sinkhorn_cost`, what POT's `sinkhorn2` returns, and `sinkhorn_divergence_cost`). The solver:
//! [`sinkhorn`](genzoo_numerics::ot::sinkhorn).
//!
//! The standard error is that of the central limit theorem around the expectation: the entropic value moves with a
//! point by its potential, the cost by `f − ε ∂f/∂ε`, the divergences by the difference to the potential of the sample
//! with itself. Where both laws agree, that difference is only sampling noise, and so is the error.
//!
//! Source: Cuturi (2013), NeurIPS; Feydy et al. (2019), AISTATS, Eq. 3; Mena & Niles-Weed (2019) and del Barrio et al.
//! (2023), SIAM J. Math. Data Sci. 5, for the limit.

use genzoo_core::{Better, Result};
use genzoo_numerics::ot;

use super::case::{Case, Measured};
use super::points::{Pairing, Points, for_each_row};
use super::two_sample::{Estimate, variance};
use super::{MetricInfo, Rows};

const fn info(name: &'static str, summary: &'static str) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better: Better::Lower, rows: Rows::OnRequest }
}

pub(super) static PLAIN: [MetricInfo; 2] = [
    info(
        "sinkhorn_cost",
        "transport cost at the optimum of entropic transport, squared distances (POT's sinkhorn2)",
    ),
    info("sinkhorn_entropic", "its whole value, the cost plus ε KL"),
];
pub(super) static DIVERGENCE: [MetricInfo; 2] = [
    info(
        "sinkhorn_divergence",
        "Sinkhorn divergence: sinkhorn_entropic less half of each sample's with itself",
    ),
    info("sinkhorn_divergence_cost", "the same of sinkhorn_cost"),
];

pub(super) fn plain(case: &Case) -> Result<Vec<Measured>> {
    let (x, y) = case.for_entropic_transport();
    let both = between(&x, &y, case.eps()?)?;
    Ok([both.cost, both.entropic].map(|p| Measured::of(p.estimate(), &x, &y)).to_vec())
}

pub(super) fn divergence(case: &Case) -> Result<Vec<Measured>> {
    let ((x, y), eps) = (case.for_entropic_transport(), case.eps()?);
    let (xy, xx, yy) = (between(&x, &y, eps)?, itself(&x, eps)?, itself(&y, eps)?);
    let debiased = [xy.entropic.minus(&xx.entropic, &yy.entropic), xy.cost.minus(&xx.cost, &yy.cost)];
    Ok(debiased.map(|p| Measured::of(p.estimate(), &x, &y)).to_vec())
}

/// A transport value and the influence of each point on it.
struct Value {
    value: f64,
    f: Vec<f64>,
    g: Vec<f64>,
}

impl Value {
    fn minus(self, xx: &Self, yy: &Self) -> Self {
        let off = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            value: self.value - 0.5 * xx.value - 0.5 * yy.value,
            f: off(&self.f, &xx.f),
            g: off(&self.g, &yy.g),
        }
    }

    fn estimate(&self) -> Estimate {
        let part = |v: &[f64]| variance(v) / v.len() as f64;
        Estimate { value: self.value, stderr: (part(&self.f) + part(&self.g)).sqrt() }
    }
}

struct Both {
    entropic: Value,
    cost: Value,
}

fn between(x: &Points, y: &Points, eps: f64) -> Result<Both> {
    let costs = costs(x, y)?;
    Ok(both(ot::sinkhorn(&costs, x.len(), y.len(), eps)?, &costs, eps))
}

fn itself(x: &Points, eps: f64) -> Result<Both> {
    let costs = costs(x, x)?;
    Ok(both(ot::sinkhorn_symmetric(&costs, x.len(), eps)?, &costs, eps))
}

fn costs(x: &Points, y: &Points) -> Result<Vec<f64>> {
    Ok(for_each_row(x, y, Pairing::SquaredDistance, |_, r| r.to_vec())?.concat())
}

fn both(solved: ot::Sinkhorn, costs: &[f64], eps: f64) -> Both {
    let (f, g) = solved.cost_influence(costs, eps);
    Both {
        cost: Value { value: solved.cost, f, g },
        entropic: Value { value: solved.entropic, f: solved.f, g: solved.g },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, permuted};
    use crate::metrics::two_sample::mean;

    fn divergences(x: &Points, y: &Points, eps: f64) -> Result<[Estimate; 2]> {
        let (xy, xx, yy) = (between(x, y, eps)?, itself(x, eps)?, itself(y, eps)?);
        Ok([xy.entropic.minus(&xx.entropic, &yy.entropic), xy.cost.minus(&xx.cost, &yy.cost)]
            .map(|v| v.estimate()))
    }

    #[test]
    fn zero_on_itself_symmetric_and_blind_to_order() -> Result<()> {
        let (x, y) = (normal(60, 2, 1.0, 0.5, 1), normal(45, 2, 2.0, 0.0, 2));
        for e in divergences(&x, &permuted(&x, 1), 0.5)? {
            assert!(e.value.abs() < 1e-7, "{}", e.value);
        }
        for (a, b) in divergences(&x, &y, 0.5)?.iter().zip(divergences(&y, &permuted(&x, 3), 0.5)?) {
            assert!((a.value / b.value - 1.0).abs() < 1e-6 && a.value > 0.0, "{} {}", a.value, b.value);
            assert!((a.stderr / b.stderr - 1.0).abs() < 1e-3, "{} {}", a.stderr, b.stderr);
        }
        Ok(())
    }

    /// Between N(0, 1) and N(s, 1) on the line, a translation: S_ε = s² at every ε.
    #[test]
    fn a_translation_costs_its_square() -> Result<()> {
        let (x, y) = (normal(80, 1, 1.0, 0.0, 1), normal(80, 1, 1.0, 2.0, 1));
        let [entropic, cost] = divergences(&x, &y, 0.7)?;
        assert!((entropic.value - 4.0).abs() < 1e-7 && (cost.value - 4.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        let mut runs: [(Vec<f64>, Vec<f64>); 4] = std::array::from_fn(|_| (Vec::new(), Vec::new()));
        for run in 0..150 {
            let (x, y) = (normal(40, 2, 1.0, 1.0, 2 * run), normal(30, 2, 1.5, 0.0, 2 * run + 1));
            let plain = between(&x, &y, 1.0)?;
            let [a, b] = divergences(&x, &y, 1.0)?;
            for (k, e) in [plain.entropic.estimate(), plain.cost.estimate(), a, b].into_iter().enumerate() {
                runs[k].0.push(e.value);
                runs[k].1.push(e.stderr);
            }
        }
        for (k, (values, errors)) in runs.iter().enumerate() {
            let ratio = mean(errors) / variance(values).sqrt();
            assert!((0.75..1.3).contains(&ratio), "{k}: stated over true error {ratio}");
        }
        Ok(())
    }
}
