//! Hebb's rule towards its critical load.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::special::{Line, Moments};
use serde::{Deserialize, Serialize};

use super::super::judge::Comparisons;
use super::theory;
use crate::hopfield::{Network, Patterns};

/// How much is spent.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Sites, and networks at each load.
    pub(super) sizes: &'static [(usize, usize)],
    /// Patterns tried per network.
    pub(super) patterns: usize,
}

pub(super) const SMALL: Plan = Plan { sizes: &[(500, 40), (1_000, 20), (2_000, 8)], patterns: 12 };
pub(super) const FULL: Plan =
    Plan { sizes: &[(500, 400), (1_000, 200), (2_000, 100), (4_000, 30)], patterns: 20 };

/// Loads, equally spaced, from where all is retrieved to where nothing is.
const LOADS: [f64; 13] = [0.05, 0.09, 0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19, 0.20];
/// From this one on they are 0.01 apart.
const EVEN: usize = 1;
/// An overlap above which the pattern counts as retrieved; beyond the critical load states end near 0.35.
const RETRIEVED: f64 = 0.8;
/// Beyond mean-field theory with broken replica symmetry, where retrieval states end in truth (Crisanti, Amit & Gutfreund
/// 1986).
const BROKEN: f64 = 0.144;

/// One size at one load, over networks: means with standard errors.
#[derive(Serialize, Deserialize)]
struct At {
    sites: usize,
    alpha: f64,
    retrieved: (f64, f64),
    /// Overlap at the end, of retrieved states.
    overlap: (f64, f64),
    /// Share of bits that are unstable in the pattern itself.
    unstable: (f64, f64),
    /// Sweeps until rest.
    sweeps: f64,
}

pub(super) fn add(page: &mut Page, desk: &mut Desk<'_>, plan: &Plan) -> Result<()> {
    let mut all = Vec::new();
    for &(sites, networks) in plan.sizes {
        for alpha in LOADS {
            let name = format!("hebb N={sites} load={alpha}");
            all.push(desk.part(&name, |noise| measure(sites, alpha, (networks, plan.patterns), noise))?);
        }
    }
    let middles: Vec<(usize, f64, f64)> = plan.sizes.iter().map(|(n, _)| middle(&all, *n)).collect();
    page.figures.extend(figures(&all, plan, &middles));
    page.findings.extend(findings(&all, &middles));
    page.tables.push(table(&all, &middles));
    Ok(())
}

fn measure(sites: usize, alpha: f64, (networks, tried): (usize, usize), noise: &mut Noise) -> Result<At> {
    let count = (alpha * sites as f64).round() as usize;
    let mut of = [Moments::default(), Moments::default(), Moments::default(), Moments::default()];
    for index in 0..networks {
        let mut noise = noise.at(index as u64);
        let patterns = Patterns::random(sites, count, &mut noise)?;
        let network = Network::hebb(&patterns);
        let (mut retrieved, mut overlaps, mut unstable, mut sweeps) =
            (Moments::default(), Moments::default(), Moments::default(), Moments::default());
        for mu in 0..tried.min(count) {
            let mut state = patterns.row(mu).to_vec();
            let loose = network.stable(&state).iter().filter(|s| !**s).count();
            unstable.push(loose as f64 / sites as f64);
            let settled = network.settle(&mut state, 200, &mut noise)?;
            let same = state.iter().zip(patterns.row(mu)).filter(|(a, b)| a == b).count();
            let overlap = 2.0 * same as f64 / sites as f64 - 1.0;
            retrieved.push(f64::from(overlap > RETRIEVED));
            sweeps.push(settled.sweeps as f64);
            if overlap > RETRIEVED {
                overlaps.push(overlap);
            }
        }
        of[0].push(retrieved.mean());
        if overlaps.count() > 0 {
            of[1].push(overlaps.mean());
        }
        of[2].push(unstable.mean());
        of[3].push(sweeps.mean());
    }
    let pair = |m: &Moments| (m.mean(), m.standard_error());
    // JSON has no NaN: where nothing was retrieved the overlap is 0 ± 0, and is not used.
    let overlap = if of[1].count() < 2 { (0.0, 0.0) } else { pair(&of[1]) };
    Ok(At { sites, alpha, retrieved: pair(&of[0]), overlap, unstable: pair(&of[2]), sweeps: of[3].mean() })
}

/// The mean of the load at which a pattern is lost, with its standard error: ∫ P(retrieved) dα above the first even load.
fn middle(all: &[At], sites: usize) -> (usize, f64, f64) {
    let even: Vec<&At> = all.iter().filter(|at| at.sites == sites).skip(EVEN).collect();
    let (mut sum, mut square) = (even.first().map_or(f64::NAN, |at| at.alpha), 0.0);
    for (k, at) in even.iter().enumerate() {
        let weight = if k == 0 || k + 1 == even.len() { 0.005 } else { 0.01 };
        sum += weight * at.retrieved.0;
        square += (weight * at.retrieved.1).powi(2);
    }
    (sites, sum, square.sqrt())
}

/// The middles against N^{−1/2}, and the one of an infinite network: intercept and its standard error.
fn limit(middles: &[(usize, f64, f64)]) -> (f64, f64) {
    let points: Vec<_> = middles.iter().map(|(n, a, e)| ((*n as f64).powf(-0.5), *a, *e)).collect();
    let line = Line::through(&points);
    let weights: f64 = points.iter().map(|p| p.2.powi(-2)).sum();
    let centre = points.iter().map(|p| p.0 * p.2.powi(-2)).sum::<f64>() / weights;
    (line.intercept, (1.0 / weights).sqrt().hypot(centre * line.slope_error))
}

fn figures(all: &[At], plan: &Plan, middles: &[(usize, f64, f64)]) -> Vec<Figure> {
    let critical = theory::critical_load();
    let mut retrieved =
        vec![Series::theory("α_c of an infinite network", [(critical, 0.0), (critical, 1.0)])];
    let fine = (1..=200).map(|i| critical * f64::from(i) / 200.0);
    let mut overlap = vec![Series::theory(
        "mean field",
        fine.filter_map(|a| Some((a, 1.0 - theory::retrieval_overlap(a)?))),
    )];
    let fine = (0..=80).map(|i| 0.04 + 0.002 * f64::from(i));
    let mut unstable = vec![Series::theory(
        "Φ(−α^−1/2)",
        fine.map(|a| (a, genzoo_numerics::special::normal_cdf(-a.powf(-0.5)))),
    )];
    for &(sites, _) in plan.sizes {
        let of = || all.iter().filter(move |at| at.sites == sites);
        let name = format!("N = {sites}");
        retrieved
            .push(Series::measured(&name, of().map(|at| (at.alpha, at.retrieved.0, 1.96 * at.retrieved.1))));
        let kept = of().filter(|at| at.retrieved.0 > 0.5 && at.overlap.1 > 0.0);
        overlap.push(Series::measured(
            &name,
            kept.map(|at| (at.alpha, 1.0 - at.overlap.0, 1.96 * at.overlap.1)),
        ));
        unstable
            .push(Series::measured(&name, of().map(|at| (at.alpha, at.unstable.0, 1.96 * at.unstable.1))));
    }
    let (end, error) = limit(middles);
    let smallest = middles.iter().map(|m| (m.0 as f64).powf(-0.5)).fold(0.0, f64::max);
    let towards = vec![
        Series::theory("α_c = 0.138, replica-symmetric", [(0.0, critical), (smallest, critical)]),
        Series::theory("0.144, replica symmetry broken", [(0.0, BROKEN), (smallest, BROKEN)]),
        Series::measured(
            "load at which patterns are lost",
            middles.iter().rev().map(|(n, a, e)| ((*n as f64).powf(-0.5), *a, 1.96 * e)),
        ),
        Series::measured("extrapolated", [(0.0, end, 1.96 * error)]),
    ];
    let figure =
        |title: &str, x: &str, y: Axis, series| Figure { title: title.into(), x: Axis::linear(x), y, series };
    let load = "load α = patterns / spins";
    vec![
        figure(
            "Patterns that are retrieved from themselves",
            load,
            Axis::linear("share retrieved"),
            retrieved,
        ),
        figure("Where the curves go", "N^−1/2", Axis::linear("load"), towards),
        figure(
            "What is lost of a retrieved pattern",
            load,
            Axis::logarithmic("1 − overlap at the end"),
            overlap,
        ),
        figure("Unstable bits of a pattern", load, Axis::logarithmic("share of bits"), unstable),
    ]
}

fn table(all: &[At], middles: &[(usize, f64, f64)]) -> Listing {
    let lines = middles.iter().map(|(n, a, e)| {
        let longest = all.iter().filter(|at| at.sites == *n).map(|at| at.sweeps).fold(0.0, f64::max);
        vec![n.to_string(), format!("{a:.4} ± {:.4}", 1.96 * e), format!("{longest:.1}")]
    });
    Listing {
        title: "Load at which a pattern is lost, and mean sweeps until rest at the slowest load".into(),
        columns: ["N", "load", "sweeps"].map(String::from).into(),
        lines: lines.collect(),
    }
}

fn findings(all: &[At], middles: &[(usize, f64, f64)]) -> Vec<Finding> {
    let (end, error) = limit(middles);
    let texts: Vec<String> =
        middles.iter().map(|(n, a, e)| format!("{a:.4} ± {:.4} at N = {n}", 1.96 * e)).collect();
    let critical = theory::critical_load();
    let (low, high) = (end - 1.96 * error, end + 1.96 * error);
    let falling = middles.windows(2).all(|pair| pair[1].1 - pair[0].1 < 1.96 * pair[0].2.hypot(pair[1].2));
    let mut bits = Comparisons::default();
    // At lower loads hardly a bit is unstable, and shares have no normal errors.
    for at in all.iter().filter(|at| at.alpha > 0.08) {
        let want = theory::bit_error(at.sites, (at.alpha * at.sites as f64).round() as usize, 2);
        bits.push(at.unstable.0, at.unstable.1, want);
    }
    vec![
        Finding {
            claim:
                "With Hebb's rule patterns are lost at a load that approaches α_c ≈ 0.138 … 0.144 as N grows."
                    .into(),
            verdict: Verdict::of(falling && low < BROKEN + 0.002 && high > critical - 0.002),
            because: format!(
                "Mean load of loss {}; in N^−1/2 towards {end:.4} ± {:.4}. Mean-field theory says {critical:.4} with replica symmetry, {BROKEN} without.",
                texts.join(", "),
                1.96 * error
            ),
        },
        sharper(all, middles),
        Finding {
            claim: "A bit of a stored pattern is unstable with probability Φ(−α^−1/2).".into(),
            verdict: bits.verdict(),
            because: format!("As a tail of the binomial law at finite N: {}", bits.because()),
        },
        below(all, middles),
    ]
}

/// The loss becomes sudden: the share retrieved at the lower load of a fixed pair rises with N, at the higher one it falls.
fn sharper(all: &[At], middles: &[(usize, f64, f64)]) -> Finding {
    let at =
        |sites: usize, alpha: f64| all.iter().find(|at| at.sites == sites && (at.alpha - alpha).abs() < 1e-9);
    let drop = |sites: usize| {
        let (low, high) = (at(sites, 0.12)?, at(sites, 0.17)?);
        Some((low.retrieved.0 - high.retrieved.0, low.retrieved.1.hypot(high.retrieved.1)))
    };
    let (first, last) = (middles.first().and_then(|m| drop(m.0)), middles.last().and_then(|m| drop(m.0)));
    let (verdict, because) = match (first, last) {
        (Some(a), Some(b)) => {
            let z = (b.0 - a.0) / a.1.hypot(b.1);
            let verdict = match z {
                z if z > 1.96 => Verdict::Holds,
                z if z < -1.96 => Verdict::Fails,
                _ => Verdict::Undecided,
            };
            let text = format!(
                "From load 0.12 to 0.17 the share retrieved falls by {:.2} ± {:.2} in the smallest network and by {:.2} ± {:.2} in the largest.",
                a.0,
                1.96 * a.1,
                b.0,
                1.96 * b.1
            );
            (verdict, text)
        }
        _ => (Verdict::Undecided, "Loads are missing.".into()),
    };
    Finding {
        claim: "The loss is a transition: the larger the network, the more sudden.".into(),
        verdict,
        because,
    }
}

/// Overlaps below the transition beside mean-field theory.
fn below(all: &[At], middles: &[(usize, f64, f64)]) -> Finding {
    let largest = middles.last().map_or(0, |m| m.0);
    let mut worst: f64 = 0.0;
    let mut texts = Vec::new();
    // At 0.05 nothing is lost, beyond 0.10 finite networks begin to lose patterns altogether.
    for at in all.iter().filter(|at| at.sites == largest && at.alpha > 0.08 && at.alpha < 0.105) {
        if let Some(m) = theory::retrieval_overlap(at.alpha) {
            let beyond = (at.overlap.0 - m).abs() - 2.58 * at.overlap.1;
            worst = worst.max(beyond / (1.0 - m));
            texts.push(format!(
                "{:.4} ± {:.4} for {m:.4} at α = {}",
                at.overlap.0,
                1.96 * at.overlap.1,
                at.alpha
            ));
        }
    }
    Finding {
        claim: "Below it a retrieved state is nearly the pattern, as far from it as mean-field theory says (within a tenth and the errors).".into(),
        verdict: Verdict::of(worst < 0.1 && !texts.is_empty()),
        because: format!("Overlaps at N = {largest}: {}.", texts.join(", ")),
    }
}
