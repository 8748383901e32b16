//! What came out: curves beside the line of theory, and the claims.

use genzoo_core::study::{Axis, Figure, Finding, Listing, Page, Series, Verdict};

use super::super::mode_mass::{REPEATS, Trace, interval};
use super::{At, SIGHT, STEPS, Sight};

/// The slope of log distance against log h.
fn order(points: &[At]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.h.ln(), p.distance.ln())).collect();
    let n = logs.len() as f64;
    let (x, y) = (logs.iter().map(|l| l.0).sum::<f64>() / n, logs.iter().map(|l| l.1).sum::<f64>() / n);
    logs.iter().map(|l| (l.0 - x) * (l.1 - y)).sum::<f64>()
        / logs.iter().map(|l| (l.0 - x).powi(2)).sum::<f64>()
}

/// How far a course rises above the least it had reached before.
pub(super) fn rise(course: &[f64]) -> f64 {
    let mut least = f64::INFINITY;
    course.iter().fold(0.0, |worst: f64, v| {
        least = least.min(*v);
        worst.max(v - least)
    })
}

pub(super) fn page(
    exact: &[At],
    sampled: &[Vec<At>],
    sight: &[Sight],
    traces: &[(&str, Vec<Trace>)],
) -> Page {
    let over = |i: usize, of: &dyn Fn(&At) -> f64| interval(sampled.iter().map(|s| of(&s[i])));
    let measured = |of: &dyn Fn(&At) -> f64| {
        let points = (0..STEPS.len()).rev().map(|i| {
            let (y, half) = over(i, of);
            (STEPS[i], y, half)
        });
        Series::measured("10 dimensions, draws", points.collect::<Vec<_>>())
    };
    let quadrature = |of: &dyn Fn(&At) -> f64| {
        Series::exact("1 dimension, quadrature", exact.iter().rev().map(|p| (p.h, of(p))).collect::<Vec<_>>())
    };
    let h = || Axis::logarithmic("h, step of one move");
    let first_order = exact.last().map_or(0.0, |p| p.distance / p.h);
    let curves = |name: &str, all: &[Trace]| {
        let at = all.first().map(|t| t.at.clone()).unwrap_or_default();
        let points = at.iter().enumerate().map(|(i, x)| {
            let (y, half) = interval(all.iter().filter_map(|t| t.kl.get(i).copied()));
            (*x, y, half)
        });
        Series::measured(name, points.collect::<Vec<_>>())
    };
    Page {
        about: format!(
            "One step of ULA from the data, against the gradient of the Fisher divergence; a mixture of two Gaussians with another as its model. \
             Quadrature has no error; draws are {REPEATS} sets, with 95 % intervals of their mean. The cross-entropy of trainings is closed-form but for \
             its mean over unseen data, {REPEATS} trainings each."
        ),
        findings: findings(exact, sampled, sight, traces),
        figures: vec![
            Figure {
                title:
                    "Relative distance between the gradient of CD-1, divided by h, and the Fisher gradient"
                        .into(),
                x: h(),
                y: Axis::logarithmic("distance"),
                series: vec![
                    Series::theory("order 1", STEPS.iter().rev().map(|h| (*h, first_order * h))),
                    quadrature(&|p| p.distance),
                    measured(&|p| p.distance),
                ],
            },
            Figure {
                title: "Length of the gradient of CD-1 over h times the Fisher gradient".into(),
                x: h(),
                y: Axis::linear("ratio"),
                series: vec![
                    Series::theory("1", STEPS.iter().rev().map(|h| (*h, 1.0))),
                    quadrature(&|p| p.ratio),
                    measured(&|p| p.ratio),
                ],
            },
            Figure {
                title: "What the gradients say about masses, when only these are wrong".into(),
                x: Axis::linear("half the distance of the modes, in their deviations"),
                y: Axis::logarithmic("|∂/∂z|"),
                series: vec![
                    Series::exact("cross-entropy", sight.iter().map(|s| (s.apart, s.cross_entropy))),
                    Series::exact(
                        format!("CD-1 over h, h = {SIGHT}"),
                        sight.iter().map(|s| (s.apart, s.contrastive)),
                    ),
                ],
            },
            Figure {
                title: "True cross-entropy along training, less the entropy of the data".into(),
                x: Axis::linear("updates, in the sources' rates"),
                y: Axis::logarithmic("nats"),
                series: traces.iter().map(|(name, all)| curves(name, all)).collect(),
            },
        ],
        tables: vec![Listing {
            title: "CD-1 beside the Fisher divergence, by quadrature".into(),
            columns: ["h", "cosine", "ratio of lengths", "relative distance"].map(String::from).into(),
            lines: exact
                .iter()
                .map(|p| {
                    vec![
                        format!("{}", p.h),
                        format!("{:.6}", p.cosine),
                        format!("{:.5}", p.ratio),
                        format!("{:.2e}", p.distance),
                    ]
                })
                .collect(),
        }],
        pictures: Vec::new(),
    }
}

fn findings(
    exact: &[At],
    sampled: &[Vec<At>],
    sight: &[Sight],
    traces: &[(&str, Vec<Trace>)],
) -> Vec<Finding> {
    let mut out = Vec::new();
    let slope = order(exact);
    if let Some(last) = exact.last() {
        out.push(Finding {
            claim: "As h → 0 the gradient of CD-1 is h times that of the Fisher divergence, up to terms of order h².".into(),
            verdict: Verdict::of((slope - 1.0).abs() < 0.1 && last.cosine > 0.9999 && (last.ratio - 1.0).abs() < 0.01),
            because: format!(
                "By quadrature the relative distance falls like h^{slope:.3}; at h = {} the cosine is {:.7} and the ratio {:.5}.",
                last.h, last.cosine, last.ratio
            ),
        });
    }
    let end = STEPS.len() - 1;
    let of = |f: &dyn Fn(&At) -> f64| interval(sampled.iter().filter_map(|s| s.get(end)).map(f));
    let ((ratio, half), (cosine, _)) = (of(&|p| p.ratio), of(&|p| p.cosine));
    out.push(Finding {
        claim: "Draws in ten dimensions say the same.".into(),
        verdict: Verdict::of((ratio - 1.0).abs() < half + 0.02 && cosine > 0.99),
        because: format!(
            "At h = {} the ratio is {ratio:.3} ± {half:.3} and the cosine {cosine:.4}.",
            STEPS[end]
        ),
    });
    if let Some(far) = sight.last() {
        let share = far.contrastive / far.cross_entropy;
        out.push(Finding {
            claim: "Contrastive divergence does not see the masses of separate modes; the cross-entropy does.".into(),
            verdict: Verdict::of(share < 1e-3 && far.cross_entropy > 0.1),
            because: format!(
                "With modes {:.0} deviations apart, masses ¼ and ¾ and a model of ½ and ½, the cross-entropy's gradient in z is {:.3} and that of CD-1 over h {:.1e}.",
                2.0 * far.apart, far.cross_entropy, far.contrastive
            ),
        });
    }
    for (name, all) in traces {
        let (rise, half) = interval(all.iter().map(|t| rise(&t.kl)));
        let pcd = *name == "PCD";
        out.push(Finding {
            claim: if pcd {
                "The true cross-entropy rises along PCD.".into()
            } else {
                format!("Along {name} it does not rise by more than a hundredth of a nat.")
            },
            verdict: Verdict::of(if pcd { rise - half > 0.01 } else { rise + half < 0.01 }),
            because: format!(
                "Over {} trainings it rises by {rise:.4} ± {half:.4} nats above the least it had reached.",
                all.len()
            ),
        });
    }
    out
}
