//! What the Kullback–Leibler and the Fisher divergence see of the masses of two modes.
//!
//! ```text
//! ρ₁ = ½ N(−5, 1) + ½ N(5, 1)        ρ₂ = σ(z) N(−5, 1) + (1 − σ(z)) N(5, 1)        σ(z) = 1/(1 + e^{−z})
//! KL(ρ₁‖ρ₂) = E₁ log(ρ₁/ρ₂)          F(ρ₁‖ρ₂) = E₁ |∂ₓ log ρ₁ − ∂ₓ log ρ₂|²
//! ```
//!
//! Both vanish at z = 0 only. The score of ρ₂ differs from that of ρ₁ only between the modes, where ρ₁ has almost no
//! mass: the Fisher divergence is smaller by orders of magnitude, and its Monte Carlo estimate rests on the few draws
//! that fall there, so that it misses the truth and does not know it. The integrands in closed form, with
//! `r = N(x; −5, 1)/N(x; 5, 1) = e^{−10x}` and responsibilities `p₁ = r/(r + 1)`, `p₂ = σr/(σr + 1 − σ)`:
//!
//! ```text
//! log ρ₁/ρ₂ = log(½r + ½) − log(σr + 1 − σ)          ∂ₓ log ρ₁ − ∂ₓ log ρ₂ = −10 (p₁ − p₂)
//! ```
//!
//! Source: Carbone, "Hitchhiker's guide on energy-based models", Remark 3.1 and Figure 4 (Eqs. 46–48; Eq. 48 there
//! lacks the factor 1/N).

use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Study, Verdict};
use genzoo_core::{Noise, Result};
use serde::{Deserialize, Serialize};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "kl-vs-fisher",
    summary: "KL and Fisher divergence of two mixtures that differ in their masses, and what samples see of them",
    citation: "Carbone, \"Hitchhiker's guide on energy-based models\", Figure 4",
    run,
};

/// Half the distance of the modes, whose variances are 1.
const MODE: f64 = 5.0;
/// Numbers of draws of the figure.
const DRAWS: [usize; 3] = [100, 1_000, 10_000];

/// Both divergences at one z: truth, and over repetitions mean, median, deviation and the share of 95 % intervals that
/// hold it.
#[derive(Serialize, Deserialize)]
struct At {
    z: f64,
    kl: f64,
    fisher: f64,
    kl_estimates: Vec<Estimate>,
    fisher_estimates: Vec<Estimate>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Estimate {
    mean: f64,
    median: f64,
    deviation: f64,
    covered: f64,
}

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let repeats = desk.choose(100, 1000);
    let zs: Vec<f64> = (0..=desk.choose(12, 24)).map(|i| f64::from(i) * desk.choose(0.5, 0.25)).collect();
    let points: Vec<At> = zs
        .iter()
        .map(|&z| desk.part(&format!("z={z}"), |noise| Ok(at(z, repeats, noise))))
        .collect::<Result<_>>()?;
    Ok(page(&points, repeats))
}

fn at(z: f64, repeats: usize, noise: &mut Noise) -> At {
    let (kl, fisher) = quadrature(z);
    let mut kl_estimates = Vec::new();
    let mut fisher_estimates = Vec::new();
    for n in DRAWS {
        let mut of: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..repeats {
            let sides = noise.uniforms(n);
            let x: Vec<f64> = noise
                .normals(n)
                .iter()
                .zip(&sides)
                .map(|(e, u)| if *u < 0.5 { e - MODE } else { e + MODE })
                .collect();
            of[0].push(mean_and_error(x.iter().map(|&x| log_ratio(x, z))));
            of[1].push(mean_and_error(x.iter().map(|&x| score_difference(x, z).powi(2))));
        }
        kl_estimates.push(summary(&of[0], kl));
        fisher_estimates.push(summary(&of[1], fisher));
    }
    At { z, kl, fisher, kl_estimates, fisher_estimates }
}

/// `log ρ₁/ρ₂` at `x`.
fn log_ratio(x: f64, z: f64) -> f64 {
    let log_r = -2.0 * MODE * x;
    let half = 0.5f64.ln();
    log_sum(half + log_r, half) - log_sum(log_sigmoid(z) + log_r, log_sigmoid(-z))
}

/// `∂ₓ log ρ₁ − ∂ₓ log ρ₂` at `x`.
fn score_difference(x: f64, z: f64) -> f64 {
    let log_r = -2.0 * MODE * x;
    let sigmoid = |a: f64| log_sigmoid(a).exp();
    -2.0 * MODE * (sigmoid(log_r) - sigmoid(log_r + z))
}

fn log_sigmoid(z: f64) -> f64 {
    if z >= 0.0 { -(-z).exp().ln_1p() } else { z - z.exp().ln_1p() }
}

fn log_sum(a: f64, b: f64) -> f64 {
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}

/// Both divergences by the trapezoidal rule, which for analytic integrands that vanish at the ends is exact to rounding.
fn quadrature(z: f64) -> (f64, f64) {
    const N: usize = 8000;
    let (low, high) = (-2.8 * MODE, 2.8 * MODE);
    let h = (high - low) / N as f64;
    let density = |x: f64| {
        let bell = |m: f64| (-0.5 * (x - m).powi(2)).exp() / std::f64::consts::TAU.sqrt();
        0.5 * bell(-MODE) + 0.5 * bell(MODE)
    };
    let sum = |f: &dyn Fn(f64) -> f64| -> f64 {
        (0..=N).map(|i| low + h * i as f64).map(|x| h * density(x) * f(x)).sum()
    };
    (sum(&|x| log_ratio(x, z)), sum(&|x| score_difference(x, z).powi(2)))
}

fn mean_and_error(values: impl ExactSizeIterator<Item = f64>) -> (f64, f64) {
    let n = values.len() as f64;
    let (sum, squares) = values.fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
    let mean = sum / n;
    (mean, ((squares / n - mean * mean).max(0.0) / (n - 1.0)).sqrt())
}

fn summary(estimates: &[(f64, f64)], truth: f64) -> Estimate {
    let n = estimates.len() as f64;
    let (mean, error) = mean_and_error(estimates.iter().map(|e| e.0));
    let covered = estimates.iter().filter(|e| (e.0 - truth).abs() <= 1.96 * e.1).count();
    let mut sorted: Vec<f64> = estimates.iter().map(|e| e.0).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    Estimate { mean, median, deviation: error * n.sqrt(), covered: covered as f64 / n }
}

fn page(points: &[At], repeats: usize) -> Page {
    let mut kl = vec![Series::theory("quadrature", points.iter().map(|p| (p.z, p.kl)))];
    let mut fisher = vec![Series::theory("quadrature", points.iter().map(|p| (p.z, p.fisher)))];
    for (i, n) in DRAWS.iter().enumerate() {
        let one = |p: &At| (p.z, p.kl_estimates[i].mean, 1.96 * p.kl_estimates[i].deviation);
        kl.push(Series::measured(format!("{n} draws"), points.iter().map(one)));
        let typical = points.iter().map(|p| (p.z, p.fisher_estimates[i].median));
        fisher.push(Series::exact(format!("{n} draws, median"), typical));
    }
    let x = || Axis::linear("z, where σ(z) is the mass of the left mode");
    let figures = vec![
        Figure { title: "Kullback–Leibler divergence".into(), x: x(), y: Axis::linear("nats"), series: kl },
        Figure {
            title: "Fisher divergence: the typical estimate".into(),
            x: x(),
            y: Axis::logarithmic("squared difference of scores"),
            series: fisher,
        },
    ];
    let lines = points
        .iter()
        .map(|p| {
            let last = DRAWS.len() - 1;
            vec![
                format!("{:.2}", p.z),
                format!("{:.4}", p.kl),
                format!("{:.2e}", p.fisher),
                format!("{:.0} %", 100.0 * p.kl_estimates[last].covered),
                format!("{:.0} %", 100.0 * p.fisher_estimates[last].covered),
            ]
        })
        .collect();
    Page {
        about: format!(
            "Two mixtures of N(−5, 1) and N(5, 1): one balanced, one with mass σ(z) on the left. Lines are quadrature; points sum up {repeats} \
             repetitions of the Monte Carlo estimate: their mean with bars that hold 95 % of them, and for the Fisher divergence, whose estimates \
             are almost always far too small and now and then far too large, their median."
        ),
        findings: findings(points),
        figures,
        tables: vec![Listing {
            title: "Truth, and how often the 95 % interval of an estimate from 10,000 draws holds it".into(),
            columns: ["z", "KL, nats", "Fisher", "KL held", "Fisher held"].map(String::from).into(),
            lines,
        }],
        pictures: Vec::new(),
    }
}

fn findings(points: &[At]) -> Vec<Finding> {
    let away = || points.iter().filter(|p| p.z >= 1.0);
    let ratio = away().map(|p| p.kl / p.fisher).fold(f64::INFINITY, f64::min);
    let few = away().map(|p| p.fisher_estimates[0].covered).fold(0.0, f64::max);
    let kl = away().map(|p| p.kl_estimates[2].covered).fold(1.0, f64::min);
    vec![
        Finding {
            claim: "The Fisher divergence is smaller than the KL divergence by several orders of magnitude."
                .into(),
            verdict: Verdict::of(ratio > 1e3),
            because: format!("For z ≥ 1 the ratio KL/Fisher is at least {ratio:.1e}, by quadrature."),
        },
        Finding {
            claim: "A sample of 100 does not see the Fisher divergence.".into(),
            verdict: Verdict::of(few < 0.5),
            because: format!("For z ≥ 1 at most {:.0} % of its 95 % intervals hold the truth.", 100.0 * few),
        },
        Finding {
            claim: "A sample of 10,000 sees the KL divergence.".into(),
            verdict: Verdict::of(kl > 0.85),
            because: format!("For z ≥ 1 at least {:.0} % of its 95 % intervals hold the truth.", 100.0 * kl),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;
    use genzoo_core::study::{Effort, Forgetful};

    #[test]
    fn integrands_agree_with_densities_written_out() {
        let bell = |x: f64, m: f64| (-0.5 * (x - m).powi(2)).exp() / std::f64::consts::TAU.sqrt();
        let mixture = |x: f64, s: f64| (s * bell(x, -5.0) + (1.0 - s) * bell(x, 5.0)).ln();
        for z in [0.0, 0.7, 3.0] {
            let s = 1.0 / (1.0 + f64::exp(-z));
            for x in [-6.0, -0.4, 0.0, 0.3, 5.5] {
                assert!((log_ratio(x, z) - (mixture(x, 0.5) - mixture(x, s))).abs() < 1e-12);
                let d = |f: &dyn Fn(f64) -> f64| (f(x + 1e-5) - f(x - 1e-5)) / 2e-5;
                let score = d(&|x| mixture(x, 0.5)) - d(&|x| mixture(x, s));
                assert!((score_difference(x, z) - score).abs() < 1e-7, "{x} {z}");
            }
        }
    }

    #[test]
    fn divergences_are_those_of_two_separate_modes() {
        // Modes ten deviations apart hardly touch: KL(½ ‖ σ) of two outcomes, up to the mass in between.
        for z in [0.0f64, 1.0, 4.0] {
            let s = 1.0 / (1.0 + (-z).exp());
            let outcomes = 0.5 * (0.5 / s).ln() + 0.5 * (0.5 / (1.0 - s)).ln();
            let (kl, fisher) = quadrature(z);
            assert!((kl - outcomes).abs() < 1e-5, "{z}: {kl} {outcomes}");
            assert!(if z == 0.0 { fisher < 1e-20 } else { fisher > 0.0 && fisher < 1e-2 });
        }
    }

    #[test]
    fn every_claim_holds_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(0), &mut memory);
        let page = run(&mut desk)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:?}", page.findings);
        assert!(page.figures.iter().all(|f| f.series.len() == 4));
        Ok(())
    }
}
