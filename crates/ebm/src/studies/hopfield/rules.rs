//! The same patterns by three rules, retrieved from themselves with a tenth of the bits turned over.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Page, Series, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::special::Moments;
use serde::{Deserialize, Serialize};

use crate::hopfield::{Network, Patterns};

/// How much is spent.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) sites: usize,
    pub(super) networks: usize,
    /// Patterns tried per network.
    pub(super) patterns: usize,
}

pub(super) const SMALL: Plan = Plan { sites: 300, networks: 4, patterns: 20 };
pub(super) const FULL: Plan = Plan { sites: 1_000, networks: 20, patterns: 30 };

const LOADS: [f64; 10] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9];
const RULES: [&str; 3] = ["Hebb", "Storkey", "pseudo-inverse"];
/// One bit in this many is turned over at the start.
const CORRUPTED: usize = 10;

/// Per rule, over networks: overlap at the end from a corrupted pattern, and the share of bits that are stable in the
/// pattern itself.
#[derive(Serialize, Deserialize)]
struct At {
    alpha: f64,
    overlap: Vec<(f64, f64)>,
    fixed: Vec<(f64, f64)>,
}

pub(super) fn add(page: &mut Page, desk: &mut Desk<'_>, plan: &Plan) -> Result<()> {
    let mut all = Vec::new();
    for alpha in LOADS {
        let name = format!("rules N={} load={alpha}", plan.sites);
        all.push(desk.part(&name, |noise| measure(alpha, plan, noise))?);
    }
    page.figures.push(figure(&all, plan, "Overlap at the end from a tenth of the bits turned over", |at| {
        &at.overlap
    }));
    page.figures.push(figure(&all, plan, "Bits of a pattern that are stable", |at| &at.fixed));
    page.findings.push(finding(&all, plan));
    Ok(())
}

fn measure(alpha: f64, plan: &Plan, noise: &mut Noise) -> Result<At> {
    let count = (alpha * plan.sites as f64).round() as usize;
    let mut of = [[Moments::default(); 2]; 3];
    for index in 0..plan.networks {
        let mut noise = noise.at(index as u64);
        let patterns = Patterns::random(plan.sites, count, &mut noise)?;
        let networks =
            [Network::hebb(&patterns), Network::storkey(&patterns), Network::pseudo_inverse(&patterns)?];
        let mut means = [[Moments::default(); 2]; 3];
        for mu in 0..plan.patterns.min(count) {
            let start = patterns.corrupted(mu, plan.sites / CORRUPTED, &mut noise);
            for (network, [overlap, fixed]) in networks.iter().zip(&mut means) {
                let mut state = start.clone();
                network.settle(&mut state, 100, &mut noise)?;
                let same = state.iter().zip(patterns.row(mu)).filter(|(a, b)| a == b).count();
                overlap.push(2.0 * same as f64 / plan.sites as f64 - 1.0);
                let stable = network.stable(patterns.row(mu)).into_iter().filter(|s| *s).count();
                fixed.push(stable as f64 / plan.sites as f64);
            }
        }
        for (of, means) in of.iter_mut().zip(means) {
            of.iter_mut().zip(means).for_each(|(of, mean)| of.push(mean.mean()));
        }
    }
    let pairs = |which: usize| of.iter().map(|m| (m[which].mean(), m[which].standard_error())).collect();
    Ok(At { alpha, overlap: pairs(0), fixed: pairs(1) })
}

fn figure(all: &[At], plan: &Plan, title: &str, of: fn(&At) -> &Vec<(f64, f64)>) -> Figure {
    let series = RULES.iter().enumerate().map(|(r, name)| {
        Series::measured(*name, all.iter().map(|at| (at.alpha, of(at)[r].0, 1.96 * of(at)[r].1)))
    });
    Figure {
        title: format!("{title}, N = {}", plan.sites),
        x: Axis::linear("load α = patterns / spins"),
        y: Axis::linear("share"),
        series: series.collect(),
    }
}

fn finding(all: &[At], plan: &Plan) -> Finding {
    let near = |alpha: f64| all.iter().find(|at| (at.alpha - alpha).abs() < 1e-9);
    let (Some(middle), Some(last)) = (near(0.3), all.last()) else {
        return Finding { claim: String::new(), verdict: Verdict::Undecided, because: String::new() };
    };
    let fixed = all.iter().all(|at| at.fixed[2].0 == 1.0);
    let gap = |better: usize, worse: usize| {
        let (b, w) = (middle.overlap[better], middle.overlap[worse]);
        (b.0 - w.0) / b.1.hypot(w.1).max(f64::MIN_POSITIVE)
    };
    let (first, second) = (gap(1, 0), gap(2, 1));
    Finding {
        claim: "At twice Hebb's critical load Storkey's rule still retrieves, the pseudo-inverse retrieves exactly and keeps every pattern a fixed \
                point up to N of them."
            .into(),
        verdict: Verdict::of(fixed && first > 3.0 && second > -3.0 && middle.overlap[2].0 > 0.99),
        because: format!(
            "At load 0.3, N = {}: overlaps {:.3} (Hebb), {:.3} (Storkey), {:.3} (pseudo-inverse), the first two {first:.0} standard errors apart. \
             At load {} the pseudo-inverse has {} stable, Hebb {:.0} %.",
            plan.sites,
            middle.overlap[0].0,
            middle.overlap[1].0,
            middle.overlap[2].0,
            last.alpha,
            if fixed { "every bit" } else { "not every bit" },
            100.0 * last.fixed[0].0
        ),
    }
}
