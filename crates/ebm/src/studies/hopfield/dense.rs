//! Dense memories beyond the number of spins.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Page, Series, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::special::Moments;
use serde::{Deserialize, Serialize};

use super::super::judge::Comparisons;
use super::theory;
use crate::hopfield::{Dense, Interaction, Patterns};

/// How much is spent.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Patterns tried in all.
    pub(super) patterns: usize,
    /// Sizes of the exponential memory.
    pub(super) sites: &'static [usize],
    /// Corrupted patterns tried per memory.
    pub(super) masked: usize,
}

pub(super) const SMALL: Plan = Plan { patterns: 300, sites: &[12, 16, 20, 24], masked: 16 };
pub(super) const FULL: Plan = Plan { patterns: 2_000, sites: &[12, 16, 20, 24, 28], masked: 100 };

/// Power, sites, and shares K/N^{n−1} of patterns, so chosen that some bits are unstable and K fits.
const POWERS: [(u32, usize, [f64; 4]); 3] =
    [(2, 200, [0.16, 0.2, 0.3, 0.5]), (3, 120, [0.04, 0.06, 0.1, 0.2]), (4, 60, [0.008, 0.012, 0.02, 0.04])];
/// log₂ K / N of the exponential memory.
const EXPONENTS: [f64; 6] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
/// Spins and patterns of the last figure; a fifth of the bits is turned over.
const SPINS: usize = 100;
const COUNTS: [usize; 9] = [5, 10, 20, 50, 100, 200, 500, 1_000, 3_000];
const MEMORIES: [(&str, Interaction); 4] = [
    ("x²", Interaction::Power(2)),
    ("x³", Interaction::Power(3)),
    ("x⁴", Interaction::Power(4)),
    ("e^x", Interaction::Exponential),
];

/// Share of unstable bits, with its standard error over memories.
#[derive(Serialize, Deserialize)]
struct Bits {
    power: u32,
    sites: usize,
    count: usize,
    unstable: (f64, f64),
}

/// Share of patterns that are fixed points, over patterns.
#[derive(Serialize, Deserialize)]
struct Fixed {
    sites: usize,
    exponent: f64,
    fixed: (f64, f64),
}

/// Share retrieved exactly from a fifth turned over, memory by memory.
#[derive(Serialize, Deserialize)]
struct Retrieved {
    count: usize,
    shares: Vec<(f64, f64)>,
}

pub(super) fn add(page: &mut Page, desk: &mut Desk<'_>, plan: &Plan) -> Result<()> {
    let (mut bits, mut fixed, mut retrieved) = (Vec::new(), Vec::new(), Vec::new());
    for (power, sites, shares) in POWERS {
        for share in shares {
            let count = (share * (sites as f64).powi(power as i32 - 1)).round() as usize;
            let name = format!("dense x{power} K={count}");
            bits.push(desk.part(&name, |noise| unstable(power, sites, count, plan.patterns, noise))?);
        }
    }
    for &sites in plan.sites {
        for exponent in EXPONENTS {
            let name = format!("exponential N={sites} {exponent}");
            fixed.push(desk.part(&name, |noise| stable(sites, exponent, plan.patterns, noise))?);
        }
    }
    for count in COUNTS {
        retrieved
            .push(desk.part(&format!("retrieved K={count}"), |noise| retrieve(count, plan.masked, noise))?);
    }
    page.figures.extend(figures(&bits, &fixed, &retrieved, plan));
    page.findings.extend(findings(&bits, &fixed, &retrieved, plan));
    Ok(())
}

/// Patterns tried per memory. In one memory the patterns of a site share their mean, which an odd power feels in every
/// one of them; so errors are over memories.
const EACH: usize = 10;

fn unstable(power: u32, sites: usize, count: usize, tried: usize, noise: &mut Noise) -> Result<Bits> {
    let mut share = Moments::default();
    for index in 0..tried / EACH {
        let patterns = Patterns::random(sites, count, &mut noise.at(index as u64))?;
        let memory = Dense::new(patterns, Interaction::Power(power))?;
        let loose = |mu: usize| memory.stable(memory.patterns().row(mu)).into_iter().filter(|s| !s).count();
        let each = EACH.min(count);
        share.push((0..each).map(loose).sum::<usize>() as f64 / (each * sites) as f64);
    }
    Ok(Bits { power, sites, count, unstable: (share.mean(), share.standard_error()) })
}

fn stable(sites: usize, exponent: f64, tried: usize, noise: &mut Noise) -> Result<Fixed> {
    let count = (exponent * sites as f64).exp2().round() as usize;
    let memory = Dense::new(Patterns::random(sites, count, noise)?, Interaction::Exponential)?;
    let mut share = Moments::default();
    for mu in 0..tried.min(count) {
        share.push(f64::from(memory.stable(memory.patterns().row(mu)).into_iter().all(|s| s)));
    }
    Ok(Fixed { sites, exponent, fixed: (share.mean(), share.standard_error()) })
}

fn retrieve(count: usize, tried: usize, noise: &mut Noise) -> Result<Retrieved> {
    let patterns = Patterns::random(SPINS, count, noise)?;
    let mut shares = Vec::new();
    for (_, interaction) in MEMORIES {
        let memory = Dense::new(patterns.clone(), interaction)?;
        let mut share = Moments::default();
        for trial in 0..tried {
            let mu = trial % count;
            let mut state = patterns.corrupted(mu, SPINS / 5, noise);
            memory.settle(&mut state, 50, noise)?;
            share.push(f64::from(state == patterns.row(mu)));
        }
        shares.push((share.mean(), share.standard_error()));
    }
    Ok(Retrieved { count, shares })
}

fn figures(bits: &[Bits], fixed: &[Fixed], retrieved: &[Retrieved], plan: &Plan) -> Vec<Figure> {
    let mut errors = Vec::new();
    for (power, sites, shares) in POWERS {
        let line = (0..=30).map(|i| shares[0] * (shares[3] / shares[0]).powf(f64::from(i) / 30.0));
        let size = (sites as f64).powi(power as i32 - 1);
        let line = line.map(|s| (s, theory::bit_error(sites, (s * size).round() as usize, power)));
        errors.push(Series::theory(format!("x^{power}, theory"), line));
        let points = bits.iter().filter(|b| b.power == power);
        let points = points.map(|b| (b.count as f64 / size, b.unstable.0, 1.96 * b.unstable.1));
        errors.push(Series::measured(format!("x^{power}, N = {sites}"), points));
    }
    let mut stable = vec![Series::theory("2^(N/2) patterns", [(0.5, 0.0), (0.5, 1.0)])];
    for &sites in plan.sites {
        let points = fixed.iter().filter(|f| f.sites == sites);
        let points = points.map(|f| (f.exponent, f.fixed.0, 1.96 * f.fixed.1));
        stable.push(Series::measured(format!("N = {sites}"), points));
    }
    let kept = MEMORIES.iter().enumerate().map(|(m, (name, _))| {
        Series::measured(
            *name,
            retrieved.iter().map(|r| (r.count as f64, r.shares[m].0, 1.96 * r.shares[m].1)),
        )
    });
    vec![
        Figure {
            title: "Unstable bits of a pattern in dense memories".into(),
            x: Axis::logarithmic("patterns / N^(n−1)"),
            y: Axis::logarithmic("share of bits"),
            series: errors,
        },
        Figure {
            title: "Patterns that are fixed points of the exponential memory".into(),
            x: Axis::linear("log₂(patterns) / N"),
            y: Axis::linear("share of patterns"),
            series: stable,
        },
        Figure {
            title: format!("{SPINS} spins: patterns found again from a fifth of their bits turned over"),
            x: Axis::logarithmic("patterns"),
            y: Axis::linear("share found exactly"),
            series: kept.collect(),
        },
    ]
}

fn findings(bits: &[Bits], fixed: &[Fixed], retrieved: &[Retrieved], plan: &Plan) -> Vec<Finding> {
    let mut all = Comparisons::default();
    for b in bits {
        all.push(b.unstable.0, b.unstable.1, theory::bit_error(b.sites, b.count, b.power));
    }
    let least = fixed.iter().filter(|f| f.exponent <= 0.5 && f.sites >= 16);
    let least = least.map(|f| f.fixed.0 + 2.58 * f.fixed.1).fold(1.0, f64::min);
    let largest = plan.sites.last().copied().unwrap_or(0);
    let half = fixed.iter().find(|f| f.sites == largest && f.exponent == 0.5);
    let beyond = retrieved.iter().find(|r| r.count == 10 * SPINS);
    let shares = |r: &Retrieved| {
        let each =
            MEMORIES.iter().zip(&r.shares).map(|((name, _), s)| format!("{name} {:.0} %", 100.0 * s.0));
        each.collect::<Vec<_>>().join(", ")
    };
    vec![
        Finding {
            claim: "With F(x) = xⁿ the number of patterns at a given error of bits grows as N^{n−1}, as the noise of the other patterns says.".into(),
            verdict: all.verdict(),
            because: format!("Shares of unstable bits for n = 2, 3, 4 against closed forms: {}", all.because()),
        },
        Finding {
            claim: "With F(x) = e^x nearly all of 2^{N/2} patterns are fixed points.".into(),
            verdict: Verdict::of(least >= 0.99),
            because: format!(
                "At N = {largest}: {:.1} % ± {:.1} of {:.0} patterns; at no N ≥ 16 and no smaller load less than 99 %, within the errors: {}.",
                100.0 * half.map_or(f64::NAN, |f| f.fixed.0),
                196.0 * half.map_or(f64::NAN, |f| f.fixed.1),
                (0.5 * largest as f64).exp2(),
                if least >= 0.99 { "so it is" } else { "not so" }
            ),
        },
        Finding {
            claim: "Dense memories hold ten times as many patterns as there are spins, and find them from four fifths of their bits.".into(),
            verdict: match beyond {
                Some(r) => Verdict::of(r.shares[0].0 == 0.0 && r.shares[2].0 > 0.9 && r.shares[3].0 > 0.9),
                None => Verdict::Undecided,
            },
            because: beyond.map_or(String::new(), |r| format!("Found exactly of {} patterns on {SPINS} spins: {}.", r.count, shares(r))),
        },
    ]
}
