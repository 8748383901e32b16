//! How long chains remember at the critical point.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Page, Series, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::mcmc::effective_sample_size;
use genzoo_numerics::mcmc::ising::{Ising, exact};
use genzoo_numerics::special::{Line, Moments};
use serde::{Deserialize, Serialize};

/// How much is spent.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) local: &'static [usize],
    pub(super) cluster: &'static [usize],
    pub(super) chains: usize,
    /// Length of a local chain in correlation times, about.
    pub(super) times: f64,
    /// Length of a cluster chain in sweeps.
    pub(super) sweeps: usize,
}

pub(super) const SMALL: Plan =
    Plan { local: &[8, 12, 16, 24], cluster: &[8, 16, 32, 64], chains: 8, times: 80.0, sweeps: 2_000 };
pub(super) const FULL: Plan = Plan {
    local: &[8, 12, 16, 24, 32, 48],
    cluster: &[8, 16, 32, 64, 128],
    chains: 16,
    times: 200.0,
    sweeps: 10_000,
};

/// Exponents of the literature, for the lines.
const LOCAL: f64 = 2.17;
const CLUSTER: f64 = 0.25;

#[derive(Clone, Copy, PartialEq)]
enum Update {
    HeatBath,
    Metropolis,
    SwendsenWang,
    Wolff,
}

const UPDATES: [Update; 4] = [Update::HeatBath, Update::Metropolis, Update::SwendsenWang, Update::Wolff];

impl Update {
    fn name(self) -> &'static str {
        match self {
            Update::HeatBath => "heat bath",
            Update::Metropolis => "Metropolis",
            Update::SwendsenWang => "Swendsen–Wang",
            Update::Wolff => "Wolff",
        }
    }

    fn local(self) -> bool {
        matches!(self, Update::HeatBath | Update::Metropolis)
    }

    /// One step; the share of the sites that it visits.
    fn step(self, ising: &Ising, spins: &mut [i8], noise: &mut Noise) -> Result<f64> {
        match self {
            Update::HeatBath => ising.heat_bath(spins, noise)?,
            Update::Metropolis => ising.metropolis(spins, noise)?,
            Update::SwendsenWang => drop(ising.swendsen_wang(spins, noise)?),
            Update::Wolff => return Ok(ising.wolff(spins, noise)? as f64 / ising.sites() as f64),
        }
        Ok(1.0)
    }
}

/// Correlation time of m² in sweeps, 1 + 2 Σ ρ, with its standard error.
#[derive(Serialize, Deserialize)]
struct At {
    update: String,
    side: usize,
    time: f64,
    error: f64,
}

pub(super) fn add(page: &mut Page, desk: &mut Desk<'_>, plan: &Plan) -> Result<()> {
    let mut all = Vec::new();
    for update in UPDATES {
        for &side in if update.local() { plan.local } else { plan.cluster } {
            let name = format!("{} L={side}", update.name());
            all.push(desk.part(&name, |noise| measure(update, side, plan, noise))?);
        }
    }
    let exponents: Vec<Line> = UPDATES.iter().map(|u| Line::power(&points(&all, *u))).collect();
    page.figures.push(figure(&all));
    page.findings.extend(findings(&exponents));
    Ok(())
}

fn points(all: &[At], update: Update) -> Vec<(f64, f64, f64)> {
    let of = all.iter().filter(|at| at.update == update.name());
    of.map(|at| (at.side as f64, at.time, at.error)).collect()
}

fn measure(update: Update, side: usize, plan: &Plan, noise: &mut Noise) -> Result<At> {
    let ising = Ising::new(side, exact::CRITICAL_BETA)?;
    // Local chains are seen about twenty times per correlation time, which is near L^2.17.
    let slow = (side as f64).powf(LOCAL);
    let (stride, keep) = match update.local() {
        true => ((slow / 20.0).ceil() as usize, (20.0 * plan.times) as usize),
        false => (1, plan.sweeps),
    };
    let (mut traces, mut visited) = (Vec::new(), 0.0);
    for chain in 0..plan.chains {
        let mut noise = noise.at(chain as u64);
        // From a state of Swendsen and Wang's, so that no chain has far to go.
        let mut spins = ising.hot(&mut noise);
        for _ in 0..100 {
            ising.swendsen_wang(&mut spins, &mut noise)?;
        }
        let mut trace = Vec::with_capacity(keep);
        for _ in 0..keep {
            for _ in 0..stride {
                visited += update.step(&ising, &mut spins, &mut noise)?;
            }
            trace.push(ising.magnetisation(&spins).powi(2));
        }
        traces.push(trace);
    }
    // A step of Wolff's visits one cluster: times count in sweeps, as many sites as the torus has.
    let sweeps = visited / (plan.chains * keep) as f64;
    let time = |traces: &[Vec<f64>]| {
        let draws: usize = traces.iter().map(Vec::len).sum();
        sweeps * draws as f64 / effective_sample_size(traces)
    };
    let whole = time(&traces);
    let n = traces.len();
    let left_out: Vec<f64> = (0..n)
        .map(|out| {
            let rest: Vec<Vec<f64>> =
                traces.iter().enumerate().filter(|(i, _)| *i != out).map(|(_, t)| t.clone()).collect();
            time(&rest)
        })
        .collect();
    let error = (Moments::of(&left_out).variance() * (n as f64 - 1.0).powi(2) / n as f64).sqrt();
    // Few chains make a rough error; the time of an exponential decay has at least this one.
    let draws = (n * keep) as f64 * sweeps / whole;
    Ok(At { update: update.name().into(), side, time: whole, error: error.max(whole * (4.0 / draws).sqrt()) })
}

fn figure(all: &[At]) -> Figure {
    let mut series = Vec::new();
    for update in UPDATES {
        let points = points(all, update);
        // The exponent of the literature through the middle point.
        if let Some((l, t, _)) = points.get(points.len() / 2).filter(|_| update != Update::Metropolis) {
            let z = if update.local() { LOCAL } else { CLUSTER };
            let ends = [points[0].0, points[points.len() - 1].0];
            series.push(Series::theory(
                format!("{}: L^{z}", update.name()),
                ends.map(|side| (side, t * (side / l).powf(z))),
            ));
        }
        let bars = points.into_iter().map(|(l, t, e)| (l, t, 1.96 * e));
        series.push(Series::measured(update.name(), bars));
    }
    Figure {
        title: "Correlation time of m² at the critical point".into(),
        x: Axis::logarithmic("side L"),
        y: Axis::logarithmic("sweeps"),
        series,
    }
}

fn findings(exponents: &[Line]) -> Vec<Finding> {
    let of = |local: bool| UPDATES.iter().zip(exponents).filter(move |(u, _)| u.local() == local);
    let words = |local: bool| {
        let each =
            of(local).map(|(u, z)| format!("{} z = {:.2} ± {:.2}", u.name(), z.slope, 1.96 * z.slope_error));
        each.collect::<Vec<_>>().join(", ")
    };
    // z between the bounds, beyond the error; undecided where the interval touches one.
    let judge = |local: bool, low: f64, high: f64| {
        let inside = |z: &Line| z.slope - 1.96 * z.slope_error > low && z.slope + 1.96 * z.slope_error < high;
        let outside =
            |z: &Line| z.slope + 1.96 * z.slope_error < low || z.slope - 1.96 * z.slope_error > high;
        if of(local).all(|(_, z)| inside(z)) {
            Verdict::Holds
        } else if of(local).any(|(_, z)| outside(z)) {
            Verdict::Fails
        } else {
            Verdict::Undecided
        }
    };
    vec![
        Finding {
            claim: "At T_c local moves slow down about as L², τ ∝ L^z with z between 1.8 and 2.5.".into(),
            verdict: judge(true, 1.8, 2.5),
            because: format!("{}; large lattices have {LOCAL}.", words(true)),
        },
        Finding {
            claim: "Cluster moves hardly slow down: z is below 0.7.".into(),
            verdict: judge(false, -0.2, 0.7),
            because: format!("{}.", words(false)),
        },
    ]
}
