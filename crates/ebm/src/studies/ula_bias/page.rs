//! What came out: curves beside the exact laws, and the claims.

use genzoo_core::Result;
use genzoo_core::study::{Axis, Figure, Finding, Listing, Page, Series, Verdict};

use super::super::judge::Comparisons;
use super::super::laws::Mixture;
use super::{
    After, At, EDGE_STEPS, Edge, FOLLOWED, FOLLOWED_STEPS, FROM, KERNELS, LAMBDA, Measured, STATISTICS,
    exact, two_modes,
};

pub(super) fn page(gaussian: &[At], followed: &[After], edges: &[Edge], mixture: &[At]) -> Result<Page> {
    let law = two_modes();
    let truth = exact::expectations(&law, None);
    let fine: Vec<f64> = (1..=12).map(|i| 0.025 * f64::from(i)).collect();
    let biased: Vec<[f64; 3]> = fine.iter().map(|&h| exact::expectations(&law, Some(h))).collect();
    let slopes = exact::slopes(&law);
    Ok(Page {
        about: format!(
            "ULA, MALA and HMC from exact draws of a Gaussian in the plane with variances {} and {} along its axes, and of a mixture of \
             N(−1, 0.45²) and N(1, 0.6²) with masses 0.25 and 0.75. Points are averages along independent chains, bars their 95 % intervals over \
             the chains. Lines: the exact laws of ULA, on the Gaussian in closed form, on the mixture as the fixed point of its transition density \
             on a grid.",
            LAMBDA[0], LAMBDA[1]
        ),
        findings: findings(gaussian, followed, edges, mixture, slopes)?,
        figures: figures(gaussian, followed, edges, mixture, (truth, &fine, &biased, slopes)),
        tables: vec![table(gaussian, mixture)],
        pictures: Vec::new(),
    })
}

type MixtureTheory<'a> = ([f64; 3], &'a [f64], &'a [[f64; 3]], [f64; 3]);

fn figures(
    gaussian: &[At],
    followed: &[After],
    edges: &[Edge],
    mixture: &[At],
    (truth, fine, biased, slopes): MixtureTheory<'_>,
) -> Vec<Figure> {
    let narrow = LAMBDA[0];
    let relative =
        (0..96).map(|i| 0.02 * f64::from(i)).map(|r| (r, exact::stationary(narrow, r * narrow) / narrow));
    let mut series = vec![
        Series::theory("ULA: 1/(1 − h/2λ)", relative),
        Series::theory("target", [(0.0, 1.0), (1.9, 1.0)]),
    ];
    for (i, name) in KERNELS.iter().enumerate() {
        let points = gaussian.iter().map(|at| {
            let m = at.runs[i].statistics[0];
            (at.h / narrow, m.mean / narrow, 1.96 * m.error / narrow)
        });
        series.push(Series::measured(*name, points));
    }
    let mut figures = vec![Figure {
        title: "Variance along the narrowest direction of a Gaussian".into(),
        x: Axis::linear("step size h / λ_min"),
        y: Axis::logarithmic("variance / λ_min"),
        series,
    }];
    let mut series = Vec::new();
    for (axis, name) in ["narrow", "wide"].iter().enumerate() {
        let line = (0..=FOLLOWED_STEPS)
            .map(|k| (k as f64, exact::after(LAMBDA[axis], FOLLOWED * narrow, k, FROM[axis])));
        series
            .push(Series::theory(format!("{name}: 2h (1 − a^2k)/(1 − a²)"), line.map(|(k, (_, v))| (k, v))));
        let points = followed.iter().filter(|a| a.axis == axis);
        series.push(Series::measured(
            *name,
            points.map(|a| (a.k as f64, a.variance.mean, 1.96 * a.variance.error)),
        ));
    }
    figures.push(Figure {
        title: format!("Variance after k steps of h = {FOLLOWED} λ_min from one point"),
        x: Axis::linear("step k"),
        y: Axis::linear("variance along the axis"),
        series,
    });
    let mut series = Vec::new();
    for edge in edges {
        let line = (1..=EDGE_STEPS / 5)
            .map(|i| (5.0 * i as f64, exact::after(narrow, edge.ratio * narrow, 5 * i, 0.0).1));
        series.push(Series::theory(format!("h = {} λ_min", edge.ratio), line));
        series.push(Series::measured(
            format!("measured, {}", edge.ratio),
            edge.variances.iter().map(|(k, v)| (*k as f64, v.mean, 1.96 * v.error)),
        ));
    }
    figures.push(Figure {
        title: "ULA around h = 2 λ_min".into(),
        x: Axis::linear("step k"),
        y: Axis::logarithmic("variance along the narrow axis"),
        series,
    });
    for (s, name) in STATISTICS.iter().enumerate().filter(|(s, _)| *s != 1) {
        let last = fine.last().copied().unwrap_or(0.0);
        let mut series = vec![
            Series::theory(
                "ULA, exact",
                std::iter::once((0.0, truth[s])).chain(fine.iter().zip(biased).map(|(h, b)| (*h, b[s]))),
            ),
            Series::theory("first order", [(0.0, truth[s]), (last, truth[s] + last * slopes[s])]),
            Series::theory("target", [(0.0, truth[s]), (last, truth[s])]),
        ];
        for (i, kernel) in KERNELS.iter().enumerate() {
            let points = mixture.iter().map(|at| {
                let m = at.runs[i].statistics[s];
                (at.h, m.mean, 1.96 * m.error)
            });
            series.push(Series::measured(*kernel, points));
        }
        figures.push(Figure {
            title: format!("{name} of the mixture"),
            x: Axis::linear("step size h"),
            y: Axis::linear(*name),
            series,
        });
    }
    figures
}

fn table(gaussian: &[At], mixture: &[At]) -> Listing {
    let all = gaussian.iter().map(|at| ("Gaussian", at)).chain(mixture.iter().map(|at| ("mixture", at)));
    let lines = all.map(|(name, at)| {
        let mut line = vec![name.to_string(), format!("{:.3}", at.h)];
        line.extend(at.runs.iter().skip(1).map(|ran| format!("{:.1} %", 100.0 * ran.acceptance)));
        line
    });
    Listing {
        title: "What the correction costs: acceptance".into(),
        columns: ["target", "h", "MALA", "HMC"].map(String::from).into(),
        lines: lines.collect(),
    }
}

fn findings(
    gaussian: &[At],
    followed: &[After],
    edges: &[Edge],
    mixture: &[At],
    slopes: [f64; 3],
) -> Result<Vec<Finding>> {
    let law = two_modes();
    let truth = exact::expectations(&law, None);
    let (mut ula, mut corrected, mut steps, mut crossing) = Default::default();
    let add = |all: &mut Comparisons, got: Measured, want: f64| all.push(got.mean, got.error, want);
    let mut seen = 0.0f64;
    for at in gaussian {
        for (j, lambda) in LAMBDA.into_iter().enumerate() {
            let [biased, rest @ ..] = &at.runs[..] else { continue };
            add(&mut ula, biased.statistics[j], exact::stationary(lambda, at.h));
            seen = seen.max((biased.statistics[j].mean - lambda) / biased.statistics[j].error);
            rest.iter().for_each(|ran| add(&mut corrected, ran.statistics[j], lambda));
        }
    }
    for a in followed {
        let (mean, variance) = exact::after(LAMBDA[a.axis], FOLLOWED * LAMBDA[0], a.k, FROM[a.axis]);
        add(&mut steps, a.mean, mean);
        add(&mut steps, a.variance, variance);
    }
    let mut shift: f64 = 0.0;
    for at in mixture {
        let biased = exact::expectations(&law, Some(at.h));
        for (i, ran) in at.runs.iter().enumerate() {
            for s in 0..STATISTICS.len() {
                let (all, want) =
                    if i == 0 { (&mut crossing, biased[s]) } else { (&mut corrected, truth[s]) };
                add(all, ran.statistics[s], want);
            }
        }
        if let Some(ran) = at.runs.first() {
            shift = shift.max((ran.statistics[0].mean - truth[0]).abs() / ran.statistics[0].error);
        }
    }
    Ok(vec![
        Finding {
            claim: "On N(μ, Σ) the covariance of ULA is Σ (I − hΣ⁻¹/2)⁻¹, not Σ.".into(),
            verdict: both(ula.verdict(), Verdict::of(seen > 5.0)),
            because: format!("{} Σ itself is up to {seen:.0} standard errors away.", ula.because()),
        },
        Finding {
            claim: "After k steps its law is N(A^k (x_0 − μ), 2h (I − A²)⁻¹ (I − A^{2k})), A = I − hΣ⁻¹, for every k.".into(),
            verdict: steps.verdict(),
            because: format!("Means and variances along both axes, k = 1 … {FOLLOWED_STEPS}: {}", steps.because()),
        },
        stability(edges),
        Finding {
            claim: "MALA and HMC with the same steps have no bias, on the Gaussian and on the mixture.".into(),
            verdict: corrected.verdict(),
            because: corrected.because(),
        },
        Finding {
            claim: "On a mixture the bias of ULA is that of its transition density, and it moves mass between the modes.".into(),
            verdict: both(crossing.verdict(), Verdict::of(shift > 5.0)),
            because: format!(
                "{} The true mass of the left mode, {:.3}, is up to {shift:.0} standard errors away.",
                crossing.because(),
                truth[0]
            ),
        },
        first_order(&law, truth, slopes),
    ])
}

/// Holds where both hold.
fn both(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Fails, _) | (_, Verdict::Fails) => Verdict::Fails,
        (Verdict::Holds, Verdict::Holds) => Verdict::Holds,
        _ => Verdict::Undecided,
    }
}

/// The variances follow the closed form on both sides of the edge, where it stands still or explodes.
fn stability(edges: &[Edge]) -> Finding {
    let mut all = Comparisons::default();
    let (mut below, mut beyond) = (0.0f64, f64::INFINITY);
    for edge in edges {
        for (k, v) in &edge.variances {
            all.push(v.mean, v.error, exact::after(LAMBDA[0], edge.ratio * LAMBDA[0], *k, 0.0).1);
        }
        let at = |k: usize| edge.variances.iter().find(|(j, _)| *j == k).map_or(f64::NAN, |(_, v)| v.mean);
        let growth = at(EDGE_STEPS) / at(EDGE_STEPS / 2);
        match edge.ratio {
            r if r < 2.0 => below = below.max(growth),
            r if r > 2.0 => beyond = beyond.min(growth),
            _ => {}
        }
    }
    Finding {
        claim: "ULA is stable for h < 2 λ_min(Σ) and explodes beyond.".into(),
        verdict: both(all.verdict(), Verdict::of(below < 1.5 && beyond > 100.0)),
        because: format!(
            "From step {} to {EDGE_STEPS} the variance grows by a factor of at most {below:.2} for h below the edge and of at least {beyond:.0} \
             beyond. Against the closed form: {}",
            EDGE_STEPS / 2,
            all.because()
        ),
    }
}

/// The slope at h = 0 of the exact bias, by extrapolation, beside the covariance that theory states.
fn first_order(law: &Mixture, truth: [f64; 3], slopes: [f64; 3]) -> Finding {
    let rate = |h: f64| {
        let biased = exact::expectations(law, Some(h));
        [0, 1, 2].map(|s| (biased[s] - truth[s]) / h)
    };
    let (coarse, middle, fine) = (rate(0.04), rate(0.02), rate(0.01));
    // Each rate is slope + b h + c h² + O(h³); what is left is of third order.
    let found = [0, 1, 2].map(|s| (8.0 * fine[s] - 6.0 * middle[s] + coarse[s]) / 3.0);
    let worst = (0..3).map(|s| (found[s] / slopes[s] - 1.0).abs()).fold(0.0, f64::max);
    let texts: Vec<String> =
        (0..3).map(|s| format!("{}: {:.4} and {:.4}", STATISTICS[s], found[s], slopes[s])).collect();
    Finding {
        claim: "The bias begins as h Cov(φ, ¼|∇U|² − ½ΔU).".into(),
        verdict: Verdict::of(worst < 0.01),
        because: format!(
            "Slopes of the exact bias at h = 0 on the mixture, and the covariances: {}.",
            texts.join("; ")
        ),
    }
}
