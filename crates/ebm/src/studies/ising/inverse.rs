//! Couplings learnt from samples: likelihood and pseudo-likelihood against the errors that theory states.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Page, Series, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::special::{Line, Moments};
use serde::{Deserialize, Serialize};

use super::super::judge::Comparisons;
use crate::boltzmann::{Machine, Schedule};

/// How much is spent.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Repetitions on the small machine.
    pub(super) repeats: usize,
    /// Most samples, there and here.
    pub(super) largest: usize,
    /// Side of the large torus.
    pub(super) side: usize,
    /// Chains and rounds of Boltzmann-machine learning on it.
    pub(super) chains: usize,
    pub(super) rounds: usize,
}

pub(super) const SMALL: Plan = Plan { repeats: 40, largest: 100_000, side: 12, chains: 500, rounds: 600 };
pub(super) const FULL: Plan =
    Plan { repeats: 200, largest: 1_000_000, side: 16, chains: 2_000, rounds: 1_500 };

/// Fewest samples, and from how many on the errors count as asymptotic.
const FEWEST: usize = 300;
const ASYMPTOTIC: usize = 3_000;

const FITS: [&str; 2] = ["maximum likelihood", "pseudo-likelihood"];

/// Mean squared error of the couplings by the fit, with its standard error.
#[derive(Serialize, Deserialize)]
struct At {
    samples: usize,
    squares: Vec<(f64, f64)>,
}

/// The large torus: errors of pseudo-likelihood and what it states of itself, and of Boltzmann-machine learning.
#[derive(Serialize, Deserialize)]
struct Large {
    samples: usize,
    /// Root mean square over the couplings, its standard error, and the one that the sandwich states.
    pseudo: (f64, f64, f64),
    /// Likewise without a statement, of the largest sample only.
    boltzmann: Option<(f64, f64)>,
}

fn counts(largest: usize) -> Vec<usize> {
    let halves = (0..).map(|e| (FEWEST as f64 * 10f64.powf(0.5 * f64::from(e))).round() as usize);
    halves.take_while(|&n| n <= largest).collect()
}

/// Couplings of both signs and small fields on `rows` × `columns` sites, open or closed to a torus.
fn machine((rows, columns): (usize, usize), torus: bool, noise: &mut Noise) -> Result<Machine> {
    let at = |r: usize, c: usize| (r % rows) * columns + c % columns;
    let mut bonds = Vec::new();
    for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
        if torus || c + 1 < columns {
            bonds.push((at(r, c), at(r, c + 1)));
        }
        if torus || r + 1 < rows {
            bonds.push((at(r, c), at(r + 1, c)));
        }
    }
    let couplings = noise.normals(bonds.len()).into_iter().map(|z| 0.2 + 0.2 * z);
    let couplings: Vec<f64> = couplings.collect();
    let fields = noise.normals(rows * columns).into_iter().map(|z| 0.1 * z);
    let theta = couplings.into_iter().chain(fields).collect();
    Machine::new(rows * columns, &bonds)?.with(theta)
}

fn blank(machine: &Machine) -> Result<Machine> {
    machine.clone().with(vec![0.0; machine.theta().len()])
}

/// Squared error of each coupling.
fn squares(fit: &Machine, truth: &Machine) -> Vec<f64> {
    fit.couplings().iter().zip(truth.couplings()).map(|(a, b)| (a - b).powi(2)).collect()
}

pub(super) fn add(page: &mut Page, desk: &mut Desk<'_>, plan: &Plan) -> Result<()> {
    let mut small = Vec::new();
    for samples in counts(plan.largest) {
        let name = format!("inverse M={samples}");
        small.push(desk.part(&name, |noise| repeat(samples, plan.repeats, noise))?);
    }
    let stated = stated(&few()?)?;
    let large: Vec<Large> = desk.part("inverse torus", |noise| torus(plan, noise))?;
    page.figures.push(figure(&small, stated));
    page.figures.push(large_figure(&large, plan));
    page.findings.extend(findings(&small, stated, &large, plan));
    Ok(())
}

/// The small machine: 12 sites, open, the same for every part.
fn few() -> Result<Machine> {
    machine((3, 4), false, &mut Noise::new(12).fork("couplings"))
}

/// M times the mean squared error of a coupling by Cramér–Rao and by Godambe.
fn stated(machine: &Machine) -> Result<[f64; 2]> {
    let size = machine.theta().len();
    let couplings = machine.couplings().len();
    let fisher = machine.moments()?.covariance;
    let inverse = nalgebra::DMatrix::from_vec(size, size, fisher)
        .try_inverse()
        .ok_or_else(|| genzoo_core::Error::Unsupported("Fisher's information is singular".into()))?;
    let sandwich = machine.sandwich(&machine.law()?, 1)?;
    let mean = |of: &dyn Fn(usize) -> f64| (0..couplings).map(of).sum::<f64>() / couplings as f64;
    Ok([mean(&|k| inverse[(k, k)]), mean(&|k| sandwich[k * size + k])])
}

fn repeat(samples: usize, repeats: usize, noise: &mut Noise) -> Result<At> {
    let truth = few()?;
    let start = blank(&truth)?;
    let mut of = [Moments::default(), Moments::default()];
    for _ in 0..repeats {
        let data = truth.draws(samples, noise)?;
        for (of, fit) in
            of.iter_mut().zip([start.maximum_likelihood(&data)?, start.pseudo_likelihood(&data)?])
        {
            of.push(Moments::of(&squares(&fit, &truth)).mean());
        }
    }
    Ok(At { samples, squares: of.iter().map(|m| (m.mean(), m.standard_error())).collect() })
}

fn torus(plan: &Plan, noise: &mut Noise) -> Result<Vec<Large>> {
    let truth = machine((plan.side, plan.side), true, &mut noise.fork("couplings"))?;
    let start = blank(&truth)?;
    // Chains of couplings this weak forget within some sweeps.
    let keep = 10;
    let counts: Vec<usize> =
        counts(plan.largest).into_iter().filter(|m| *m >= 1_000 && *m <= 30_000).collect();
    let most = counts.last().copied().unwrap_or(0).div_ceil(keep);
    let pool = truth.sample(most, (60, 15, keep), &mut noise.fork("samples"))?;
    let mut out = Vec::new();
    for samples in counts.iter().copied() {
        // Whole chains at once would be correlated; every so many rows are not.
        let thin = (most * keep) / samples;
        let data = pool.every(thin);
        let fit = start.pseudo_likelihood(&data)?;
        let moments = Moments::of(&squares(&fit, &truth));
        let rms = moments.mean().sqrt();
        let size = truth.theta().len();
        let sandwich = fit.sandwich(&data, (data.weights.len() / 1_000).max(1))?;
        let couplings = truth.couplings().len();
        let variance = (0..couplings).map(|k| sandwich[k * size + k]).sum::<f64>() / couplings as f64;
        let last = Some(&samples) == counts.last();
        let boltzmann = last
            .then(|| {
                let schedule = Schedule { rounds: plan.rounds, chains: plan.chains, rate: 0.1 };
                let learnt = start.monte_carlo(&data, schedule, &mut noise.fork("walkers"))?;
                let moments = Moments::of(&squares(&learnt, &truth));
                let rms = moments.mean().sqrt();
                Ok::<_, genzoo_core::Error>((rms, 0.5 * moments.standard_error() / rms))
            })
            .transpose()?;
        out.push(Large {
            samples: data.weights.len(),
            pseudo: (
                rms,
                0.5 * moments.standard_error() / rms,
                (variance / data.weights.len() as f64).sqrt(),
            ),
            boltzmann,
        });
    }
    Ok(out)
}

/// Root mean square with its standard error.
fn root((square, error): (f64, f64)) -> (f64, f64) {
    (square.sqrt(), 0.5 * error / square.sqrt())
}

fn figure(small: &[At], stated: [f64; 2]) -> Figure {
    let mut series = Vec::new();
    let ends = [FEWEST as f64, small.last().map_or(1.0, |at| at.samples as f64)];
    for (f, (name, bound)) in FITS.iter().zip(["Cramér–Rao", "Godambe"]).enumerate() {
        series.push(Series::theory(bound, ends.map(|m| (m, (stated[f] / m).sqrt()))));
        let points = small.iter().map(|at| {
            let (rms, error) = root(at.squares[f]);
            (at.samples as f64, rms, 1.96 * error)
        });
        series.push(Series::measured(*name, points));
    }
    Figure {
        title: "Inverse Ising on 12 sites: error of a coupling".into(),
        x: Axis::logarithmic("samples M"),
        y: Axis::logarithmic("root mean square error"),
        series,
    }
}

fn large_figure(large: &[Large], plan: &Plan) -> Figure {
    let stated = large.iter().map(|at| (at.samples as f64, at.pseudo.2));
    let measured = large.iter().map(|at| (at.samples as f64, at.pseudo.0, 1.96 * at.pseudo.1));
    let learnt = large.iter().filter_map(|at| at.boltzmann.map(|b| (at.samples as f64, b.0, 1.96 * b.1)));
    Figure {
        title: format!("Inverse Ising on a {0} × {0} torus", plan.side),
        x: Axis::logarithmic("samples M"),
        y: Axis::logarithmic("root mean square error of a coupling"),
        series: vec![
            Series::theory("pseudo-likelihood, its own statement", stated),
            Series::measured("pseudo-likelihood", measured),
            Series::measured("Boltzmann-machine learning", learnt),
        ],
    }
}

fn findings(small: &[At], stated: [f64; 2], large: &[Large], plan: &Plan) -> Vec<Finding> {
    let mut out = Vec::new();
    let (mut slopes, mut sizes) = (Comparisons::default(), Comparisons::default());
    let mut texts = Vec::new();
    for (f, name) in FITS.iter().enumerate() {
        let late = small.iter().filter(|at| at.samples >= ASYMPTOTIC);
        let points: Vec<_> = late
            .map(|at| {
                let (rms, error) = root(at.squares[f]);
                (at.samples as f64, rms, error)
            })
            .collect();
        let line = Line::power(&points);
        slopes.push(line.slope, line.slope_error, -0.5);
        points.iter().for_each(|(m, rms, error)| sizes.push(*rms, *error, (stated[f] / m).sqrt()));
        texts.push(format!("{name} M^({:.3} ± {:.3})", line.slope, 1.96 * line.slope_error));
    }
    out.push(Finding {
        claim: "Errors of learnt couplings fall as M^−1/2.".into(),
        verdict: slopes.verdict(),
        because: format!("On 12 sites, M ≥ {ASYMPTOTIC}: {}. {}", texts.join(", "), slopes.because()),
    });
    out.push(Finding {
        claim: "Maximum likelihood reaches the bound of Cramér and Rao, pseudo-likelihood Godambe's.".into(),
        verdict: sizes.verdict(),
        because: format!(
            "By theory pseudo-likelihood errs by a factor of {:.3} more. {}",
            (stated[1] / stated[0]).sqrt(),
            sizes.because()
        ),
    });
    let mut own = Comparisons::default();
    large
        .iter()
        .filter(|at| at.samples >= ASYMPTOTIC)
        .for_each(|at| own.push(at.pseudo.0, at.pseudo.1, at.pseudo.2));
    out.push(Finding {
        claim: "On a lattice too large to enumerate pseudo-likelihood still errs as it states.".into(),
        verdict: own.verdict(),
        because: format!("{0} × {0} torus: {1}", plan.side, own.because()),
    });
    if let Some((at, (rms, error))) = large.iter().find_map(|at| at.boltzmann.map(|b| (at, b))) {
        let ratio = rms / at.pseudo.0;
        let spread = ratio * (error / rms).hypot(at.pseudo.1 / at.pseudo.0);
        out.push(Finding {
            claim: "Boltzmann-machine learning with persistent chains errs at most a quarter more than pseudo-likelihood.".into(),
            verdict: match (ratio - 1.25) / spread {
                z if z < -1.96 => Verdict::Holds,
                z if z > 1.96 => Verdict::Fails,
                _ => Verdict::Undecided,
            },
            because: format!(
                "From {} samples their errors are {rms:.4} ± {:.4} and {:.4} ± {:.4}.",
                at.samples,
                1.96 * error,
                at.pseudo.0,
                1.96 * at.pseudo.1
            ),
        });
    }
    out
}
