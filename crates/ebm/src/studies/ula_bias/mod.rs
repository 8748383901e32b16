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
mod page;

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::study::{Desk, Page, Study};
use genzoo_core::{Device, Noise, Result};
use genzoo_numerics::mcmc::{Hmc, Kernel, Mala, Ula};
use genzoo_numerics::special::Moments;
use genzoo_numerics::{Gaussian, rows};
use serde::{Deserialize, Serialize};

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
    page::page(&gaussian, &followed, &edges, &mixture)
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

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::study::{Effort, Forgetful, Verdict};

    #[test]
    fn every_claim_holds_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(0), &mut memory);
        let page = run(&mut desk)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:#?}", page.findings);
        Ok(())
    }
}
