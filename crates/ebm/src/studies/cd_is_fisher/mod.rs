//! What contrastive divergence descends, and what persistent chains do to the true loss.
//!
//! ```text
//! CD-1       G(h) = E_*[∂_θU(x)] − E_* E_ξ[∂_θU(x − h∇U(x) + √(2h) ξ)]       one step of ULA from the data
//! Fisher     F = ½ E_*|∇U + ∇log ρ_*|²,   ∂_θF = ∂_θ E_*[½|∇U|² − ΔU]
//! claim      G(h) = h ∂_θF + O(h²)
//! ```
//!
//! In one dimension both sides are sums over grids, for data and for ξ, without any sampling; in ten they are means over
//! draws, each with ξ and −ξ, which cancels what is of order √h. The Fisher divergence hardly feels the masses of
//! separate modes, so neither does CD; the cross-entropy does. PCD descends neither: its walkers lag behind the model,
//! and the true cross-entropy, known here in closed form, may rise.
//!
//! Source: Hyvärinen (2007), "Connections between score matching, contrastive divergence, and pseudolikelihood";
//! Carbone, "Hitchhiker's guide on energy-based models", Eqs. 97–101 (Eq. 99, second line, lacks ∇ before U) and §6.1 on
//! PCD.

mod page;

use genzoo_core::study::{Desk, Page, Study};
use genzoo_core::{Noise, Result};
use serde::{Deserialize, Serialize};

use super::mode_mass::{Method, Plan, REPEATS, train};
use crate::two_modes::{Slope, TwoModes};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "cd-is-fisher",
    summary: "the gradient of CD-1 beside h times that of the Fisher divergence, and the true loss along PCD",
    citation: "Hyvärinen (2007); Carbone, \"Hitchhiker's guide on energy-based models\", Eqs. 97–101",
    run,
};

/// Step sizes of one move.
const STEPS: [f64; 7] = [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
/// The step at which CD's sight of masses is told.
const SIGHT: f64 = 0.1;

/// CD-1 beside h times the Fisher gradient.
#[derive(Serialize, Deserialize)]
struct At {
    h: f64,
    cosine: f64,
    ratio: f64,
    /// |G/h − ∂F| / |∂F|
    distance: f64,
}

/// The gradient in z alone, when masses alone are wrong.
#[derive(Serialize, Deserialize)]
struct Sight {
    /// Half the distance of the modes.
    apart: f64,
    cross_entropy: f64,
    contrastive: f64,
}

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let exact = desk.part("quadrature", |_| Ok(STEPS.map(by_quadrature).into_iter().collect::<Vec<_>>()))?;
    let draws = desk.choose(20_000, 200_000);
    let sampled = desk.part("draws", |noise| {
        let repeats: Vec<Vec<At>> = (0..REPEATS).map(|r| by_draws(draws, &mut noise.at(r as u64))).collect();
        Ok(repeats)
    })?;
    let sight = desk.part("masses", |_| {
        Ok([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0].map(masses).into_iter().collect::<Vec<_>>())
    })?;
    let plan = Plan { dims: 2, draws: desk.choose(1000, 10_000), updates: 1200, pace: 5.0 };
    let mut traces = Vec::new();
    for (method, name) in [(Method::Pcd, "PCD"), (Method::Jarzynski, "Jarzynski")] {
        let all = (0..REPEATS)
            .map(|r| desk.part(&format!("{name} {r}"), |noise| train(method, plan, noise)))
            .collect::<Result<Vec<_>>>()?;
        traces.push((name, all));
    }
    Ok(page::page(&exact, &sampled, &sight, &traces))
}

fn model(a: f64, b: f64, z: f64, d: usize) -> TwoModes {
    let centre = |x: f64| (0..d).map(|i| if i == 0 { x } else { 0.0 }).collect();
    TwoModes { a: centre(a), b: centre(b), z, variance: 1.0 }
}

/// The law of the data, and a student that is wrong in everything.
fn pair(d: usize) -> (TwoModes, TwoModes) {
    (model(-1.5, 2.0, (1f64 / 3.0).ln(), d), model(-0.8, 1.2, 0.4, d))
}

/// Points of the line and their weights under the law of `data`, by the trapezoidal rule.
fn grid(data: &TwoModes) -> (Vec<f64>, Vec<f64>) {
    let (low, high, n) = (data.a[0] - 10.0, data.b[0] + 10.0, 2400);
    let cell = (high - low) / f64::from(n);
    let x: Vec<f64> = (0..=n).map(|i| low + cell * f64::from(i)).collect();
    let w = x.iter().map(|x| cell * (-data.at(&[*x]).0 - data.log_z()).exp()).collect();
    (x, w)
}

/// G(h) by sums over grids, in one dimension.
fn contrastive(data: &TwoModes, student: &TwoModes, h: f64) -> Slope {
    let (x, w) = grid(data);
    let cell = 0.1;
    let mut out = student.mean_gradient(&x, Some(&w));
    for i in -80..=80 {
        let xi = cell * f64::from(i);
        let weight = cell * (-0.5 * xi * xi).exp() / std::f64::consts::TAU.sqrt();
        let moved: Vec<f64> = x.iter().map(|x| walk(student, &[*x], &[xi], h)[0]).collect();
        let w: Vec<f64> = w.iter().map(|w| w * weight).collect();
        out = out.plus(-1.0, &student.mean_gradient(&moved, Some(&w)));
    }
    out
}

/// `x − h∇U(x) + √(2h) ξ`.
fn walk(student: &TwoModes, x: &[f64], xi: &[f64], h: f64) -> Vec<f64> {
    let r = student.at(x).1;
    let noise = (2.0 * h).sqrt();
    let means = student.a.iter().zip(&student.b).map(|(a, b)| a + r * (b - a));
    x.iter().zip(xi).zip(means).map(|((x, xi), m)| x - h * (x - m) + noise * xi).collect()
}

fn compare(cd: &Slope, fisher: &Slope, h: f64) -> At {
    let (a, b) = (cd.dot(cd).sqrt(), fisher.dot(fisher).sqrt());
    let gap = cd.clone().plus(-h, fisher);
    At { h, cosine: cd.dot(fisher) / (a * b), ratio: a / (h * b), distance: gap.dot(&gap).sqrt() / (h * b) }
}

fn by_quadrature(h: f64) -> At {
    let (data, student) = pair(1);
    let (x, w) = grid(&data);
    compare(&contrastive(&data, &student, h), &student.score_matching(&x, Some(&w)), h)
}

/// The same from draws of the data in ten dimensions.
fn by_draws(n: usize, noise: &mut Noise) -> Vec<At> {
    let d = 10;
    let (data, student) = pair(d);
    let sides = noise.uniforms(n);
    let mut x = noise.normals(n * d);
    for (row, side) in x.chunks_exact_mut(d).zip(sides) {
        row[0] += if side < data.mass() { data.a[0] } else { data.b[0] };
    }
    let xi = noise.normals(n * d);
    let fisher = student.score_matching(&x, None);
    let on_data = student.mean_gradient(&x, None);
    let one = |h: f64| {
        let moved = |sign: f64| -> Vec<f64> {
            x.chunks_exact(d)
                .zip(xi.chunks_exact(d))
                .flat_map(|(x, xi)| walk(&student, x, &xi.iter().map(|e| sign * e).collect::<Vec<_>>(), h))
                .collect()
        };
        let cd = on_data
            .clone()
            .plus(-0.5, &student.mean_gradient(&moved(1.0), None))
            .plus(-0.5, &student.mean_gradient(&moved(-1.0), None));
        compare(&cd, &fisher, h)
    };
    STEPS.map(one).into_iter().collect()
}

/// Right means, wrong masses: what each gradient says about z.
fn masses(apart: f64) -> Sight {
    let data = model(-apart, apart, (1f64 / 3.0).ln(), 1);
    let student = model(-apart, apart, 0.0, 1);
    let (x, w) = grid(&data);
    let (y, v) = grid(&student);
    let likelihood = student.mean_gradient(&x, Some(&w)).plus(-1.0, &student.mean_gradient(&y, Some(&v)));
    Sight {
        apart,
        cross_entropy: likelihood.z.abs(),
        contrastive: contrastive(&data, &student, SIGHT).z.abs() / SIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::page::rise;
    use super::*;
    use genzoo_core::Device;
    use genzoo_core::study::{Effort, Forgetful, Verdict};

    /// ∂F against differences of the divergence itself, ½∫ρ_*(U' + (log ρ_*)')², typed out.
    #[test]
    fn the_score_matching_gradient_is_that_of_the_fisher_divergence() {
        let (data, student) = pair(1);
        let bells = |t: &[f64; 3], x: f64| {
            let (p, q) = ((-0.5 * (x - t[0]).powi(2)).exp(), (-0.5 * (x - t[1]).powi(2) - t[2]).exp());
            (p + q, -((x - t[0]) * p + (x - t[1]) * q) / (p + q))
        };
        let truth = [data.a[0], data.b[0], data.z];
        let fisher = |t: &[f64; 3]| -> f64 {
            let z = std::f64::consts::TAU.sqrt() * (1.0 + (-truth[2]).exp());
            (0..6000)
                .map(|i| -12.0 + 0.004 * f64::from(i))
                .map(|x| {
                    let ((p, score), (_, own)) = (bells(&truth, x), bells(t, x));
                    0.5 * 0.004 * p / z * (score - own).powi(2)
                })
                .sum()
        };
        let (x, w) = grid(&data);
        let got = student.score_matching(&x, Some(&w));
        let theta = [student.a[0], student.b[0], student.z];
        for (i, got) in [got.a[0], got.b[0], got.z].into_iter().enumerate() {
            let at = |by: f64| {
                let mut t = theta;
                t[i] += by;
                fisher(&t)
            };
            let want = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!((got - want).abs() < 1e-6, "{i}: {got} {want}");
        }
    }

    #[test]
    fn a_course_that_falls_does_not_rise() {
        assert_eq!(rise(&[3.0, 2.0, 1.0]), 0.0);
        assert_eq!(rise(&[3.0, 1.0, 1.5, 0.5, 0.75]), 0.5);
    }

    #[test]
    fn every_claim_holds_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(0), &mut memory);
        let page = run(&mut desk)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:#?}", page.findings);
        Ok(())
    }
}
