//! The bias of the unadjusted Langevin algorithm against its step size, and what a correction makes of it.
//!
//! ```text
//! x_{k+1} = x_k − h ∇U(x_k) + √(2h) ξ_k
//! N(μ, Σ), A = I − hΣ⁻¹:   x_k − μ ~ N(A^k (x_0 − μ), 2h (I − A²)⁻¹ (I − A^{2k}))   →   N(0, Σ (I − hΣ⁻¹/2)⁻¹)   for h < 2 λ_min(Σ)
//! any U:                   E_h φ = E φ + h Cov(φ, ¼|∇U|² − ½ΔU) + O(h²)
//! ```
//!
//! MALA and HMC take the same steps (HMC three leapfrogs of √(2h)) and refuse some of them. All chains start in the
//! target; statistics are averages along each chain, so that the scatter over chains is an honest error.
//!
//! The last line: the generator L = −∇U·∇ + Δ is self-adjoint under e^{−U}, and one step is I + hL + h²M with
//! M φ = ½ Σ (∂_iU ∂_jU ∂_ijφ − 2 ∂_iU ∂_ijjφ + ∂_iijjφ); if e^{−U}(1 + hg) is stationary to first order, E[g Lφ] = −E[Mφ] for
//! every φ, and integrating by parts g = ¼|∇U|² − ½ΔU up to a constant.
//!
//! Source: Carbone, "Hitchhiker's guide on energy-based models", Eqs. 67–78 (the stable range there is half of the
//! true one, and Eq. 73 holds the covariance); Roberts & Tweedie (1996), §1.4; Leimkuhler, Matthews & Tretyakov
//! (2014), arXiv:1308.5814, for expansions of this kind.

mod exact;

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Study, Verdict};
use genzoo_core::{Device, Noise, Result};
use genzoo_numerics::mcmc::{Hmc, Kernel, Mala, Ula};
use genzoo_numerics::special::Moments;
use genzoo_numerics::{Gaussian, rows};
use serde::{Deserialize, Serialize};

use super::judge::Comparisons;
use super::laws::Mixture;

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "ula-bias",
    summary: "the bias of the unadjusted Langevin algorithm against its step size; MALA and HMC beside it",
    citation: "Carbone, \"Hitchhiker's guide on energy-based models\", Example 4.1",
    run,
};

/// Mean and eigenvalues of the Gaussian's covariance, and the angle of its first axis.
const MEAN: [f64; 2] = [1.0, -0.5];
const LAMBDA: [f64; 2] = [0.5, 2.0];
const ANGLE: f64 = 0.6;
/// Kernels by name.
const KERNELS: [&str; 3] = ["ULA", "MALA", "HMC"];
/// Step over λ_min at which the law is followed step by step, and how far.
const FOLLOWED: f64 = 1.5;
const FOLLOWED_STEPS: usize = 12;
/// Where those chains start, along the axes from the mean.
const FROM: [f64; 2] = [3.0, -2.0];
/// Steps over λ_min around the edge of stability, and for how many steps they are tried.
const EDGES: [f64; 5] = [1.8, 1.95, 2.0, 2.05, 2.2];
const EDGE_STEPS: usize = 120;

/// A mean with its standard error.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Measured {
    mean: f64,
    error: f64,
}

impl From<&Moments> for Measured {
    fn from(m: &Moments) -> Self {
        Self { mean: m.mean(), error: m.standard_error() }
    }
}

/// What one kernel did at one step size.
#[derive(Serialize, Deserialize)]
struct Ran {
    statistics: Vec<Measured>,
    acceptance: f64,
}

/// One step size: a run per kernel, in the order of [`KERNELS`].
#[derive(Serialize, Deserialize)]
struct At {
    h: f64,
    runs: Vec<Ran>,
}

/// Mean and variance along an axis after k steps.
#[derive(Serialize, Deserialize)]
struct After {
    k: usize,
    axis: usize,
    mean: Measured,
    variance: Measured,
}

/// The variance along the narrow axis after k steps of size `ratio` λ_min.
#[derive(Serialize, Deserialize)]
struct Edge {
    ratio: f64,
    variances: Vec<(usize, Measured)>,
}

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let ratios: &[f64] = desk.choose(
        &[0.2, 0.5, 1.0, 1.5, 1.8][..],
        &[0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.7, 1.8, 1.9][..],
    );
    let steps: &[f64] = desk.choose(
        &[0.03, 0.06, 0.12, 0.2, 0.3][..],
        &[0.02, 0.03, 0.045, 0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3][..],
    );
    let chains = desk.choose(2_000, 20_000);
    let gaussian = ratios
        .iter()
        .map(|&r| desk.part(&format!("gaussian h={r}"), |noise| gaussian(r * LAMBDA[0], chains, noise)))
        .collect::<Result<Vec<At>>>()?;
    let followed = desk.part("every step", |noise| follow(10 * chains, noise))?;
    let edges = EDGES
        .iter()
        .map(|&r| desk.part(&format!("edge h={r}"), |noise| edge(r, chains, noise)))
        .collect::<Result<Vec<Edge>>>()?;
    let mixture = steps
        .iter()
        .map(|&h| desk.part(&format!("mixture h={h}"), |noise| mixture(h, chains, noise)))
        .collect::<Result<Vec<At>>>()?;
    page(&gaussian, &followed, &edges, &mixture)
}

/// Unit vectors along the axes of Σ.
fn axes() -> [[f64; 2]; 2] {
    let (sin, cos) = ANGLE.sin_cos();
    [[cos, sin], [-sin, cos]]
}

fn target() -> Result<Gaussian> {
    let [a, b] = axes();
    let entry = |i: usize, j: usize| LAMBDA[0] * a[i] * a[j] + LAMBDA[1] * b[i] * b[j];
    let covariance = [entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)];
    Gaussian::full(&MEAN, &covariance, DType::F64, &Device::Cpu)
}

/// A row in the coordinates of the axes, from the mean.
fn along(x: &[f64]) -> [f64; 2] {
    axes().map(|axis| (x[0] - MEAN[0]) * axis[0] + (x[1] - MEAN[1]) * axis[1])
}

fn kernel(name: &str, h: f64) -> Result<Box<dyn Kernel>> {
    Ok(match name {
        "MALA" => Box::new(Mala::new(h)?),
        "HMC" => Box::new(Hmc::new((2.0 * h).sqrt(), 3)?),
        _ => Box::new(Ula::new(h)?),
    })
}

/// Runs chains from `start`; each statistic is averaged along each chain after `burn` steps.
fn averages<const S: usize>(
    kernel: &dyn Kernel,
    target: &dyn Energy,
    start: &Tensor,
    (burn, keep): (usize, usize),
    statistics: impl Fn(&[f64]) -> [f64; S],
    noise: &mut Noise,
) -> Result<Ran> {
    let (n, d) = start.dims2()?;
    let mut chains = kernel.init(target, start)?;
    let (mut sums, mut acceptance) = (vec![[0.0; S]; n], 0.0);
    for k in 0..burn + keep {
        let info = kernel.step(target, &mut chains, noise)?;
        if k < burn {
            continue;
        }
        acceptance += info.mean_acceptance() / keep as f64;
        for (sum, row) in sums.iter_mut().zip(rows::host(&chains.x)?.chunks(d)) {
            sum.iter_mut().zip(statistics(row)).for_each(|(s, v)| *s += v / keep as f64);
        }
    }
    let over = |s: usize| Moments::of(&sums.iter().map(|sum| sum[s]).collect::<Vec<_>>());
    Ok(Ran { statistics: (0..S).map(|s| Measured::from(&over(s))).collect(), acceptance })
}

fn gaussian(h: f64, n: usize, noise: &mut Noise) -> Result<At> {
    let target = target()?;
    // The wide direction forgets its start by (1 − h/λ)² per step in the variance: to 10⁻⁵ here.
    let burn = (6.0 * LAMBDA[1] / h).ceil() as usize;
    let mut runs = Vec::new();
    for name in KERNELS {
        let noise = &mut noise.fork(name);
        let start = target.sample(n, noise)?;
        runs.push(averages(
            &*kernel(name, h)?,
            &target,
            &start,
            (burn, 200),
            |x| along(x).map(|v| v * v),
            noise,
        )?);
    }
    Ok(At { h, runs })
}

fn follow(n: usize, noise: &mut Noise) -> Result<Vec<After>> {
    let target = target()?;
    let [a, b] = axes();
    let from = [0, 1].map(|i| MEAN[i] + FROM[0] * a[i] + FROM[1] * b[i]);
    let start = Tensor::new(&[from], &Device::Cpu)?.broadcast_as((n, 2))?.contiguous()?;
    let kernel = Ula::new(FOLLOWED * LAMBDA[0])?;
    let mut chains = kernel.init(&target, &start)?;
    let mut out = Vec::new();
    for k in 1..=FOLLOWED_STEPS {
        kernel.step(&target, &mut chains, noise)?;
        let x: Vec<[f64; 2]> = rows::host(&chains.x)?.chunks(2).map(along).collect();
        for axis in 0..2 {
            let moments = Moments::of(&x.iter().map(|v| v[axis]).collect::<Vec<_>>());
            out.push(After { k, axis, mean: Measured::from(&moments), variance: variance(&moments) });
        }
    }
    Ok(out)
}

/// The variance of normal draws with its standard error.
fn variance(moments: &Moments) -> Measured {
    let v = moments.variance();
    Measured { mean: v, error: v * (2.0 / (moments.count() as f64 - 1.0)).sqrt() }
}

fn edge(ratio: f64, n: usize, noise: &mut Noise) -> Result<Edge> {
    let target = target()?;
    let kernel = Ula::new(ratio * LAMBDA[0])?;
    let start = Tensor::new(&[MEAN], &Device::Cpu)?.broadcast_as((n, 2))?.contiguous()?;
    let mut chains = kernel.init(&target, &start)?;
    let mut variances = Vec::new();
    for k in 1..=EDGE_STEPS {
        kernel.step(&target, &mut chains, noise)?;
        if k % 10 == 0 {
            let x: Vec<f64> = rows::host(&chains.x)?.chunks(2).map(|row| along(row)[0]).collect();
            variances.push((k, variance(&Moments::of(&x))));
        }
    }
    Ok(Edge { ratio, variances })
}

/// Two modes of masses 0.25 and 0.75 and different widths, near enough that a chain crosses by itself.
fn two_modes() -> Mixture {
    Mixture { weights: vec![0.25, 0.75], means: vec![vec![-1.0], vec![1.0]], deviations: vec![0.45, 0.6] }
}

/// Statistics of the mixture by name: the mass to the left of 0, and two moments.
const STATISTICS: [&str; 3] = ["P(x < 0)", "E x", "E x²"];

fn statistics(x: &[f64]) -> [f64; 3] {
    [f64::from(x[0] < 0.0), x[0], x[0] * x[0]]
}

fn mixture(h: f64, n: usize, noise: &mut Noise) -> Result<At> {
    let target = two_modes();
    // The slowest mode of the dynamics decays in a time of about 2.
    let burn = (20.0 / h).ceil() as usize;
    let mut runs = Vec::new();
    for name in KERNELS {
        let noise = &mut noise.fork(name);
        let start = target.sample(n, noise)?;
        let burn = if name == "ULA" { burn } else { 0 };
        runs.push(averages(&*kernel(name, h)?, &target, &start, (burn, 400), statistics, noise)?);
    }
    Ok(At { h, runs })
}

fn page(gaussian: &[At], followed: &[After], edges: &[Edge], mixture: &[At]) -> Result<Page> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::study::{Effort, Forgetful};

    #[test]
    fn every_claim_holds_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(0), &mut memory);
        let page = run(&mut desk)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:#?}", page.findings);
        Ok(())
    }
}
