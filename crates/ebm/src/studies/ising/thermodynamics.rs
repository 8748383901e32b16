//! Energy, specific heat, magnetisation and Binder cumulant against temperature.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Page, Series, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::mcmc::ising::{Ising, exact};
use genzoo_numerics::special::jackknife;
use serde::{Deserialize, Serialize};

use super::super::judge::Comparisons;

/// How much is spent.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) sides: &'static [usize],
    pub(super) chains: usize,
    pub(super) sweeps: usize,
}

pub(super) const SMALL: Plan = Plan { sides: &[4, 8, 16, 32], chains: 4, sweeps: 4_000 };
pub(super) const FULL: Plan = Plan { sides: &[4, 8, 16, 32, 64], chains: 8, sweeps: 20_000 };

/// Blocks per chain, each much longer than Swendsen and Wang's chains remember.
const BLOCKS: usize = 16;
/// 1 − ⟨m⁴⟩/(3⟨m²⟩²) at T_c on a large torus (Salas & Sokal 2000).
const UNIVERSAL: f64 = 1.0 - 1.167_923 / 3.0;

const NAMES: [&str; 4] =
    ["energy per site", "specific heat per site", "magnetisation ⟨|m|⟩", "Binder cumulant"];

fn critical() -> f64 {
    1.0 / exact::CRITICAL_BETA
}

fn temperatures() -> Vec<f64> {
    vec![1.6, 1.8, 2.0, 2.1, 2.2, critical(), 2.35, 2.45, 2.6, 2.8, 3.1, 3.5]
}

/// Kept numbers may come back rounded.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// The four quantities of one torus at one temperature with their standard errors.
#[derive(Serialize, Deserialize)]
struct At {
    side: usize,
    temperature: f64,
    values: [(f64, f64); 4],
}

pub(super) fn add(page: &mut Page, desk: &mut Desk<'_>, plan: &Plan) -> Result<()> {
    let mut all = Vec::new();
    for &side in plan.sides {
        for temperature in temperatures() {
            let name = format!("L={side} T={temperature:.3}");
            all.push(desk.part(&name, |noise| measure(side, temperature, plan, noise))?);
        }
    }
    let enumerated = Counts::of(4)?;
    page.figures.extend(figures(&all, plan, &enumerated)?);
    page.findings.extend(findings(&all, &enumerated)?);
    Ok(())
}

fn measure(side: usize, temperature: f64, plan: &Plan, noise: &mut Noise) -> Result<At> {
    let ising = Ising::new(side, 1.0 / temperature)?;
    let n = ising.sites() as f64;
    let length = plan.sweeps / BLOCKS;
    let mut blocks: Vec<[f64; 5]> = Vec::new();
    for chain in 0..plan.chains {
        let mut noise = noise.at(chain as u64);
        let mut spins = ising.hot(&mut noise);
        for _ in 0..plan.sweeps / 10 {
            ising.swendsen_wang(&mut spins, &mut noise)?;
        }
        for _ in 0..BLOCKS {
            let mut means = [0.0; 5];
            for _ in 0..length {
                ising.swendsen_wang(&mut spins, &mut noise)?;
                let (e, m) = (ising.total_energy(&spins), ising.magnetisation(&spins));
                let values = [e, e * e, m.abs(), m * m, m.powi(4)];
                means.iter_mut().zip(values).for_each(|(mean, v)| *mean += v / length as f64);
            }
            blocks.push(means);
        }
    }
    let heat = n * temperature * temperature;
    Ok(At {
        side,
        temperature,
        values: [
            jackknife(&blocks, |m| m[0] / n),
            jackknife(&blocks, |m| (m[1] - m[0] * m[0]) / heat),
            jackknife(&blocks, |m| m[2]),
            jackknife(&blocks, |m| 1.0 - m[4] / (3.0 * m[3] * m[3])),
        ],
    })
}

/// Energy and specific heat per site of a torus, −∂ log Z/∂β and ∂² log Z/∂β², by difference quotients of fourth order.
fn kaufman(side: usize, temperature: f64) -> Result<[f64; 2]> {
    let (beta, n, h) = (1.0 / temperature, (side * side) as f64, 0.02 / side as f64);
    let mut f = [0.0; 5];
    for (f, i) in f.iter_mut().zip(-2..=2) {
        *f = Ising::new(side, beta + f64::from(i) * h)?.log_z();
    }
    let first = (f[0] - 8.0 * f[1] + 8.0 * f[3] - f[4]) / (12.0 * h);
    let second = (-f[0] + 16.0 * f[1] - 30.0 * f[2] + 16.0 * f[3] - f[4]) / (12.0 * h * h);
    Ok([-first / n, second * beta * beta / n])
}

/// Energy and specific heat per site of the infinite lattice.
fn onsager(temperature: f64) -> Result<[f64; 2]> {
    let (beta, h) = (1.0 / temperature, 1e-5);
    let slope = (exact::energy(beta + h)? - exact::energy(beta - h)?) / (2.0 * h);
    Ok([exact::energy(beta)?, -beta * beta * slope])
}

/// How many states of a small torus have which energy and magnetisation.
struct Counts {
    sites: f64,
    /// E, |Σ s|, number of states.
    levels: Vec<(f64, f64, f64)>,
}

impl Counts {
    fn of(side: usize) -> Result<Self> {
        let ising = Ising::new(side, 0.0)?;
        let n = ising.sites();
        let mut found = std::collections::BTreeMap::new();
        for state in 0..1usize << n {
            let spins: Vec<i8> = (0..n).map(|i| if state >> i & 1 == 1 { 1 } else { -1 }).collect();
            let sum: i64 = spins.iter().map(|s| i64::from(*s)).sum();
            *found.entry((ising.total_energy(&spins) as i64, sum.abs())).or_insert(0.0) += 1.0;
        }
        let levels = found.into_iter().map(|((e, m), count)| (e as f64, m as f64, count)).collect();
        Ok(Self { sites: n as f64, levels })
    }

    fn at(&self, temperature: f64) -> [f64; 4] {
        let lowest = self.levels.iter().map(|l| l.0).fold(f64::INFINITY, f64::min);
        let mut sums = [0.0; 6];
        for (e, m, count) in &self.levels {
            let weight = count * ((lowest - e) / temperature).exp();
            let m = m / self.sites;
            let values = [1.0, *e, e * e, m, m * m, m.powi(4)];
            sums.iter_mut().zip(values).for_each(|(s, v)| *s += weight * v);
        }
        let [_, e, square, m, m2, m4] = sums.map(|s| s / sums[0]);
        let heat = (square - e * e) / (self.sites * temperature * temperature);
        [e / self.sites, heat, m, 1.0 - m4 / (3.0 * m2 * m2)]
    }
}

fn figures(all: &[At], plan: &Plan, enumerated: &Counts) -> Result<Vec<Figure>> {
    let fine: Vec<f64> = (0..=100).map(|i| 1.5 + 0.021 * f64::from(i)).collect();
    let mut figures = Vec::new();
    for (q, name) in NAMES.iter().enumerate() {
        let mut series = Vec::new();
        if q < 2 {
            for &side in plan.sides {
                let line = fine.iter().map(|&t| Ok((t, kaufman(side, t)?[q]))).collect::<Result<Vec<_>>>()?;
                series.push(Series::theory(format!("L = {side}, Kaufman"), line));
            }
            // The specific heat of the infinite lattice has no value at T_c.
            let away = fine.iter().filter(|t| (**t - critical()).abs() > 1e-3);
            let line = away.map(|&t| Ok((t, onsager(t)?[q]))).collect::<Result<Vec<_>>>()?;
            series.push(Series::theory("infinite, Onsager", line));
        } else {
            series.push(Series::theory("L = 4, enumeration", fine.iter().map(|&t| (t, enumerated.at(t)[q]))));
        }
        if q == 2 {
            let near = [2.2, 2.24, 2.26, 2.266, 2.2688, 2.2692];
            let mut line: Vec<f64> = fine.iter().copied().chain(near).collect();
            line.sort_by(f64::total_cmp);
            let line = line.into_iter().map(|t| (t, exact::magnetisation(1.0 / t)));
            series.push(Series::theory("infinite, Yang", line));
        }
        if q == 3 {
            series.push(Series::theory("large lattices at T_c", [(1.5, UNIVERSAL), (3.6, UNIVERSAL)]));
        }
        for &side in plan.sides {
            let points = all.iter().filter(|at| at.side == side);
            series.push(Series::measured(
                format!("L = {side}"),
                points.map(|at| (at.temperature, at.values[q].0, 1.96 * at.values[q].1)),
            ));
        }
        figures.push(Figure {
            title: name.to_string(),
            x: Axis::linear("temperature T (coupling 1, k_B = 1)"),
            y: Axis::linear(*name),
            series,
        });
    }
    Ok(figures)
}

fn findings(all: &[At], enumerated: &Counts) -> Result<Vec<Finding>> {
    let (mut torus, mut small, mut yang, mut binder) =
        <(Comparisons, Comparisons, Comparisons, Comparisons)>::default();
    for at in all {
        for (value, want) in at.values.iter().zip(kaufman(at.side, at.temperature)?) {
            torus.push(value.0, value.1, want);
        }
        if at.side == 4 {
            for (value, want) in at.values.iter().zip(enumerated.at(at.temperature)).skip(2) {
                small.push(value.0, value.1, want);
            }
        }
        // Cold enough that the torus is many correlation lengths wide.
        if at.side >= 16 && at.temperature <= 1.8 {
            yang.push(at.values[2].0, at.values[2].1, exact::magnetisation(1.0 / at.temperature));
        }
        if at.side >= 16 && same(at.temperature, critical()) {
            binder.push(at.values[3].0, at.values[3].1, UNIVERSAL);
        }
    }
    let finding = |claim: &str, of: &Comparisons| Finding {
        claim: claim.into(),
        verdict: of.verdict(),
        because: of.because(),
    };
    Ok(vec![
        finding("Energy and specific heat are Kaufman's at every size and temperature.", &torus),
        finding(
            "Magnetisation and Binder cumulant of the 4 × 4 torus are those of its 65,536 states.",
            &small,
        ),
        finding("Below T_c the magnetisation is Yang's (L ≥ 16, T ≤ 1.8).", &yang),
        finding(
            "At T_c the Binder cumulant of large lattices is 0.6107, whatever their size (L ≥ 16).",
            &binder,
        ),
        ordering(all),
    ])
}

/// The cumulant rises with the size where there is order and falls where there is none, so that curves cross at T_c.
fn ordering(all: &[At]) -> Finding {
    let mut worst = f64::INFINITY;
    for at in all {
        let next = all.iter().find(|b| b.side == 2 * at.side && same(b.temperature, at.temperature));
        let side = (at.temperature - critical()).signum();
        // Away from T_c, and where the smaller lattice is not yet at 0 or 2/3.
        if let Some(next) =
            next.filter(|_| (2.05..2.15).contains(&at.temperature) || (2.4..2.7).contains(&at.temperature))
        {
            let error = at.values[3].1.hypot(next.values[3].1);
            worst = worst.min(side * (at.values[3].0 - next.values[3].0) / error);
        }
    }
    let verdict = match worst {
        w if w > 3.0 => Verdict::Holds,
        w if w < -3.0 => Verdict::Fails,
        _ => Verdict::Undecided,
    };
    Finding {
        claim: "Doubling the side raises the Binder cumulant below T_c and lowers it above.".into(),
        verdict,
        because: format!(
            "At T = 2.1, 2.45 and 2.6 every such difference has its sign by at least {worst:.1} standard errors."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_agree_with_enumeration_and_with_each_other() -> Result<()> {
        let counts = Counts::of(4)?;
        for temperature in temperatures() {
            let (torus, states) = (kaufman(4, temperature)?, counts.at(temperature));
            assert!(
                (torus[0] - states[0]).abs() < 1e-6 && (torus[1] - states[1]).abs() < 1e-5,
                "{torus:?} {states:?}"
            );
        }
        for temperature in [1.5, 3.5] {
            let (torus, infinite) = (kaufman(64, temperature)?, onsager(temperature)?);
            assert!((torus[0] - infinite[0]).abs() < 1e-5 && (torus[1] - infinite[1]).abs() < 1e-4);
        }
        // Free spins: ⟨m²⟩ = 1/N, ⟨m⁴⟩ = (3N − 2)/N³.
        let hot = counts.at(1e9)[3];
        assert!((hot - (1.0 - (3.0 * 16.0 - 2.0) / (3.0 * 16.0))).abs() < 1e-6, "{hot}");
        assert!((counts.at(0.1)[3] - 2.0 / 3.0).abs() < 1e-9);
        Ok(())
    }
}
