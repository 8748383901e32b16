//! Sliced Wasserstein distances: along directions θ, points on a line, where transport is sorting.
//!
//! ```text
//! SW_p^p(P, Q) = mean over θ of W_p^p(θ·P, θ·Q),     max-SW_2 = max over θ of W_2(θ·P, θ·Q)
//! W_p^p on the line = ∫_0^1 |F⁻¹(u) − G⁻¹(u)|^p du
//! ```
//! The directions are uniform on the sphere and fixed by the seed, the same for every model, or given. The value
//! between two finite samples of one law is not 0: read it beside its floor. The maximum is over the same directions,
//! so it is at most the supremum over the sphere.
//!
//! The standard error is that of the central limit theorem around the expectation, for these directions: W_p^p moves
//! with a point x by the Kantorovich potential f(x), f′(x) = ∂ₓ|x − T(x)|^p, averaged over the directions (at the best
//! one for the maximum), so `Var SW_p^p ≈ Var f/n + Var g/m`, and `se(SW_p) = se(SW_p^p)/(p SW_p^(p−1))`.
//!
//! Source: Bonneel et al. (2015), J. Math. Imaging Vis. 51; Deshpande et al. (2019), CVPR, for the maximum; del Barrio
//! & Loubes (2019), Ann. Probab. 47, for the limit; Xu & Huang (2022), arXiv:2210.09160, for the sliced case.

use genzoo_core::{Better, Error, Result};
use rayon::prelude::*;

use super::case::{Case, Measured};
use super::points::{Points, products};
use super::two_sample::{Estimate, variance};
use super::{MetricInfo, Rows};

const fn info(name: &'static str, summary: &'static str, rows: Rows) -> MetricInfo {
    MetricInfo { name, summary, unit: "1", better: Better::Lower, rows }
}

pub(super) static SECOND: [MetricInfo; 1] =
    [info("sliced_w2", "sliced Wasserstein distance of order 2, 128 fixed directions", Rows::Samples)];
pub(super) static FIRST: [MetricInfo; 1] =
    [info("sliced_w1", "sliced Wasserstein distance of order 1, the same directions", Rows::OnRequest)];
pub(super) static LARGEST: [MetricInfo; 1] = [info(
    "max_sliced_w2",
    "largest Wasserstein distance of order 2 along one of the same directions",
    Rows::OnRequest,
)];

pub(super) fn second(case: &Case) -> Result<Vec<Measured>> {
    Ok(vec![Measured::of(sliced(case.real, case.fake, case.directions()?, 2)?, case.real, case.fake)])
}

pub(super) fn first(case: &Case) -> Result<Vec<Measured>> {
    Ok(vec![Measured::of(sliced(case.real, case.fake, case.directions()?, 1)?, case.real, case.fake)])
}

pub(super) fn largest(case: &Case) -> Result<Vec<Measured>> {
    Ok(vec![Measured::of(max_sliced(case.real, case.fake, case.directions()?)?, case.real, case.fake)])
}

/// Directions per task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 8;

/// `SW_p` along `directions`, one unit vector per row, for p = 1 or 2.
///
/// # Errors
/// If a sample or the directions are empty, or the dimensions differ.
pub fn sliced(x: &Points, y: &Points, directions: &Points, p: u8) -> Result<Estimate> {
    let k = directions.len() as f64;
    let lines = along(x, y, directions, p, |lines| {
        let mut total = Line::zero(x.len(), y.len());
        for line in lines {
            total.cost += line.cost;
            total.f.iter_mut().zip(&line.f).for_each(|(a, b)| *a += b);
            total.g.iter_mut().zip(&line.g).for_each(|(a, b)| *a += b);
        }
        total
    })?;
    let mut mean = Line::zero(x.len(), y.len());
    for line in lines {
        mean.cost += line.cost / k;
        mean.f.iter_mut().zip(&line.f).for_each(|(a, b)| *a += b / k);
        mean.g.iter_mut().zip(&line.g).for_each(|(a, b)| *a += b / k);
    }
    Ok(root(mean.cost, p, &mean.f, &mean.g))
}

/// The largest `W_2` along one of `directions`.
///
/// # Errors
/// Those of [`sliced`].
pub fn max_sliced(x: &Points, y: &Points, directions: &Points) -> Result<Estimate> {
    let larger = |a: Line, b: Line| if b.cost > a.cost { b } else { a };
    let zero = || Line::zero(x.len(), y.len());
    let best = along(x, y, directions, 2, |lines| lines.fold(zero(), larger))?;
    let best = best.into_iter().fold(zero(), larger);
    Ok(root(best.cost, 2, &best.f, &best.g))
}

/// Folds the transports along the directions, chunk by chunk.
fn along<R: Send>(
    x: &Points,
    y: &Points,
    directions: &Points,
    p: u8,
    fold: impl Fn(&mut dyn Iterator<Item = Line>) -> R + Sync,
) -> Result<Vec<R>> {
    let d = directions.dims();
    if x.dims() != d || y.dims() != d || x.is_empty() || y.is_empty() || directions.is_empty() {
        let got = format!("{} × {} and {} × {}", x.len(), x.dims(), y.len(), y.dims());
        return Err(Error::data("samples", format!("not empty, of dimension {d} as the directions"), got));
    }
    let chunk = |theta: &[f64]| {
        let project = |points: &Points| {
            let mut lines = vec![0.0; theta.len() / d * points.len()];
            products(theta, points.values(), d, &mut lines);
            lines
        };
        let (px, py) = (project(x), project(y));
        let lines = px.chunks_exact(x.len()).zip(py.chunks_exact(y.len()));
        fold(&mut lines.map(|(x, y)| Line::between(x, y, p)))
    };
    Ok(directions.values().par_chunks(CHUNK * d).map(chunk).collect())
}

/// The p-th root of a transport cost whose potentials at the points are `f` and `g`.
pub(super) fn root(cost: f64, p: u8, f: &[f64], g: &[f64]) -> Estimate {
    let error = (variance(f) / f.len() as f64 + variance(g) / g.len() as f64).sqrt();
    if p == 1 {
        return Estimate { value: cost.max(0.0), stderr: error };
    }
    let value = cost.max(0.0).sqrt();
    Estimate { value, stderr: if value > 0.0 { error / (2.0 * value) } else { 0.0 } }
}

/// The transport between two samples on the line: its cost, and the potential of each point.
struct Line {
    cost: f64,
    f: Vec<f64>,
    g: Vec<f64>,
}

impl Line {
    fn zero(n: usize, m: usize) -> Self {
        Self { cost: 0.0, f: vec![0.0; n], g: vec![0.0; m] }
    }

    fn between(x: &[f64], y: &[f64], p: u8) -> Self {
        let (x, y) = (sorted(x), sorted(y));
        let (n, m) = (x.len(), y.len());
        let mut line = Self::zero(n, m);
        // Slopes of the potentials at the sorted points, f′ = p|x − T x|^(p−1) sign(x − T x), the mean over the mass.
        let (mut slope_x, mut slope_y) = (vec![0.0; n], vec![0.0; m]);
        let mut couple = |i: usize, j: usize, mass: f64| {
            let step = x[i].0 - y[j].0;
            let (cost, slope) = if p == 1 { (step.abs(), sign(step)) } else { (step * step, 2.0 * step) };
            line.cost += mass * cost;
            slope_x[i] += mass * n as f64 * slope;
            slope_y[j] -= mass * m as f64 * slope;
        };
        if n == m {
            (0..n).for_each(|i| couple(i, i, 1.0 / n as f64));
        } else {
            // Levels in units of 1/(n m), so that coinciding jumps of the quantile functions coincide exactly.
            let (n, m, unit) = (n as u64, m as u64, 1.0 / (n as f64 * m as f64));
            let (mut i, mut j, mut level) = (0, 0, 0);
            while i < n && j < m {
                let (end_x, end_y) = ((i + 1) * m, (j + 1) * n);
                let next = end_x.min(end_y);
                couple(i as usize, j as usize, (next - level) as f64 * unit);
                level = next;
                i += u64::from(end_x == next);
                j += u64::from(end_y == next);
            }
        }
        integrate(&x, &slope_x, &mut line.f);
        integrate(&y, &slope_y, &mut line.g);
        line
    }
}

/// Like `signum`, but 0 at 0: where points coincide the potential is flat.
fn sign(v: f64) -> f64 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

/// The points in order, with their indices.
fn sorted(v: &[f64]) -> Vec<(f64, u32)> {
    let mut order: Vec<(f64, u32)> = v.iter().copied().zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    order
}

/// A potential from its slopes at the sorted points, by the trapezoid rule from point to point.
fn integrate(points: &[(f64, u32)], slopes: &[f64], potential: &mut [f64]) {
    let mut value = 0.0;
    for r in 0..points.len() {
        if r > 0 {
            value += 0.5 * (slopes[r - 1] + slopes[r]) * (points[r].0 - points[r - 1].0);
        }
        potential[points[r].1 as usize] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, permuted};
    use crate::metrics::two_sample::mean;
    use genzoo_core::Noise;
    use genzoo_numerics::ot::{projections, wasserstein_1d};

    fn directions(k: usize, d: usize) -> Result<Points> {
        Points::new(&projections(k, d, &mut Noise::new(0))?)
    }

    #[test]
    fn zero_on_itself_symmetric_and_blind_to_order() -> Result<()> {
        let (x, y) = (normal(90, 3, 1.0, 0.5, 1), normal(90, 3, 2.0, 0.0, 2));
        let theta = directions(20, 3)?;
        for p in [1, 2] {
            assert_eq!(sliced(&x, &permuted(&x, 3), &theta, p)?.value, 0.0);
            let (a, b) = (sliced(&x, &y, &theta, p)?, sliced(&y, &permuted(&x, 3), &theta, p)?);
            assert!((a.value - b.value).abs() < 1e-13 && (a.stderr - b.stderr).abs() < 1e-13);
            // Every point twice is the same law.
            assert!((sliced(&x.and(&x), &y, &theta, p)?.value - a.value).abs() < 1e-13);
        }
        assert!(sliced(&x, &normal(80, 2, 1.0, 0.0, 1), &theta, 2).is_err());
        Ok(())
    }

    /// Direction by direction against the quantile functions of `numerics`, at unequal sizes.
    #[test]
    fn mean_and_maximum_are_those_of_the_lines() -> Result<()> {
        let (x, y) = (normal(70, 3, 1.0, 0.5, 1), normal(45, 3, 2.0, 0.0, 2));
        let theta = directions(20, 3)?;
        let project = |p: &Points, t: &[f64]| -> Vec<f64> {
            p.rows().map(|r| r.iter().zip(t).map(|(a, b)| a * b).sum()).collect()
        };
        let line = |p: f64| -> Result<Vec<f64>> {
            let one = |t: &[f64]| wasserstein_1d(&project(&x, t), &project(&y, t), p);
            theta.rows().map(one).collect()
        };
        let (first, second) = (line(1.0)?, line(2.0)?);
        assert!((sliced(&x, &y, &theta, 1)?.value - mean(&first)).abs() < 1e-13);
        let squares: Vec<f64> = second.iter().map(|w| w * w).collect();
        assert!((sliced(&x, &y, &theta, 2)?.value - mean(&squares).sqrt()).abs() < 1e-13);
        let largest = second.iter().fold(0.0f64, |a, w| a.max(*w));
        assert!((max_sliced(&x, &y, &theta)?.value - largest).abs() < 1e-13);
        Ok(())
    }

    /// Moving a sample by δ along the first axis moves each projection by δ θ₁: SW₂² = δ² mean θ₁².
    #[test]
    fn a_translation_costs_its_projections() -> Result<()> {
        let theta = directions(64, 4)?;
        let want = 3.0 * mean(&theta.rows().map(|t| t[0] * t[0]).collect::<Vec<_>>()).sqrt();
        let got = sliced(&normal(50, 4, 1.0, 3.0, 1), &normal(50, 4, 1.0, 0.0, 1), &theta, 2)?;
        assert!((got.value - want).abs() < 1e-12);
        Ok(())
    }

    /// Over many pairs of samples the stated error is the spread of the value.
    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        let theta = directions(16, 2)?;
        type Distance<'a> = &'a dyn Fn(&Points, &Points) -> Result<Estimate>;
        let second: Distance = &|x, y| sliced(x, y, &theta, 2);
        let first: Distance = &|x, y| sliced(x, y, &theta, 1);
        let largest: Distance = &|x, y| max_sliced(x, y, &theta);
        for (of, m, scale, shift, low, high) in [
            (second, 100, 1.0, 1.0, 0.8, 1.25),
            (second, 70, 1.0, 1.0, 0.8, 1.25),
            (second, 100, 1.7, 0.0, 0.8, 1.25),
            (second, 100, 1.0, 0.0, 0.6, 1.8),
            (first, 70, 1.0, 1.0, 0.8, 1.25),
            (largest, 100, 1.0, 1.0, 0.8, 1.25),
        ] {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..300 {
                let x = normal(100, 2, scale, shift, 2 * run);
                let e = of(&x, &normal(m, 2, 1.0, 0.0, 2 * run + 1))?;
                values.push(e.value);
                errors.push(e.stderr);
            }
            let ratio = mean(&errors) / variance(&values).sqrt();
            assert!(
                (low..high).contains(&ratio),
                "{m} points, scale {scale}, shift {shift}: stated over true error {ratio}"
            );
        }
        Ok(())
    }
}
