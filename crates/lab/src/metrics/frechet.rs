//! Fréchet distance between the Gaussians fitted to two samples, in whatever space the samples are given.
//!
//! ```text
//! d² = ‖μ − ν‖² + tr(S + T − 2 (S T)^½)        S = A Aᵀ, T = B Bᵀ:   tr (S T)^½ = Σ σ_k,   Aᵀ B = U diag(σ) Vᵀ
//! ```
//! S and T have the denominator n − 1. The singular values come from pivoted Cholesky factors, so no root of a product
//! of covariances is ever taken: covariances without full rank (dead pixels, fewer rows than dimensions) do no harm,
//! and rounding stays at 1e-16 of tr S where roots of eigenvalues would leave 1e-8.
//!
//! The value of two finite samples is biased upwards by about c/n: read it beside its floor. `frechet_infinity` removes
//! most of it by fitting a line in 1/n through the values of random subsets of n/4 to all rows (Chong & Forsyth).
//!
//! The standard error is the influence function: with z = A⁻¹(x − μ), a point of the first sample moves d² by
//! `‖x − μ‖² − Σ_k σ_k (Uᵀz)_k² + 2⟨μ − ν, x − μ⟩`, one of the second likewise; `Var d² ≈ Var/n + Var/m`. The line
//! through subsets keeps this first-order term and adds the scatter of its own intercept.
//!
//! Source: Dowson & Landau (1982), J. Multivariate Anal. 12; Heusel et al. (2017), arXiv:1706.08500, on Inception
//! features; Chong & Forsyth (2020), CVPR; Bhatia, Jain & Lim (2019), Expo. Math. 37, for the derivative.

use genzoo_core::{Better, Error, Noise, Result};
use nalgebra::{DMatrix, DVector, Dyn, SVD};
use rayon::prelude::*;

use super::case::{Case, Measured};
use super::points::{Points, view};
use super::two_sample::{Estimate, variance};
use super::{MetricInfo, Rows};

pub(super) static PLAIN: [MetricInfo; 1] = [MetricInfo {
    name: "frechet",
    summary: "Fréchet distance: squared, between the Gaussians of both samples",
    unit: "1",
    better: Better::Lower,
    rows: Rows::Features,
}];
pub(super) static INFINITY: [MetricInfo; 1] = [MetricInfo {
    name: "frechet_infinity",
    summary: "Fréchet distance extrapolated to infinitely many rows",
    unit: "1",
    better: Better::Lower,
    rows: Rows::OnRequest,
}];

pub(super) fn plain(case: &Case) -> Result<Vec<Measured>> {
    Ok(vec![Measured::of(frechet(case.real, case.fake)?, case.real, case.fake)])
}

pub(super) fn infinity(case: &Case) -> Result<Vec<Measured>> {
    let estimate = extrapolated(case.real, case.fake, &case.noise.fork("frechet"))?;
    Ok(vec![Measured::of(estimate, case.real, case.fake)])
}

/// The squared distance with its standard error.
///
/// # Errors
/// If a sample has fewer than two rows or the dimensions differ.
pub fn frechet(x: &Points, y: &Points) -> Result<Estimate> {
    let (a, b) = pair(x, y)?;
    let (sigma, turn_a, turn_b) = match aligned(&a, &b, true) {
        Some(SVD { u: Some(u), v_t: Some(v), singular_values }) => (singular_values, u.transpose(), v),
        _ => (DVector::zeros(0), DMatrix::zeros(0, a.pivots.len()), DMatrix::zeros(0, b.pivots.len())),
    };
    let value = value(&a, &b, sigma.sum());
    let gap: Vec<f64> = a.mean.iter().zip(&b.mean).map(|(a, b)| a - b).collect();
    let back: Vec<f64> = gap.iter().map(|g| -g).collect();
    let error = a.influence_variance(x, &turn_a, &sigma, &gap) / x.len() as f64
        + b.influence_variance(y, &turn_b, &sigma, &back) / y.len() as f64;
    Ok(Estimate { value, stderr: error.sqrt() })
}

fn pair(x: &Points, y: &Points) -> Result<(Moments, Moments)> {
    if x.dims() != y.dims() || x.len() < 2 || y.len() < 2 {
        let got = format!("{} × {} and {} × {}", x.len(), x.dims(), y.len(), y.dims());
        return Err(Error::data("samples", "at least 2 rows each, of one dimension", got));
    }
    Ok((Moments::of(x), Moments::of(y)))
}

/// `Aᵀ B = U diag(σ) Vᵀ`; none where a sample does not vary at all.
fn aligned(a: &Moments, b: &Moments, vectors: bool) -> Option<SVD<f64, Dyn, Dyn>> {
    let product = a.factor.tr_mul(&b.factor);
    (!product.is_empty()).then(|| product.svd(vectors, vectors))
}

fn value(a: &Moments, b: &Moments, sigma: f64) -> f64 {
    let shift: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b) * (a - b)).sum();
    (shift + a.trace + b.trace - 2.0 * sigma).max(0.0)
}

/// Sizes of the subsets of the extrapolation, and random subsets per size.
const SIZES: usize = 6;
const REPEATS: usize = 4;

/// The intercept of a line in 1/n through the values of subsets of n rows of each sample.
fn extrapolated(x: &Points, y: &Points, noise: &Noise) -> Result<Estimate> {
    let full = frechet(x, y)?;
    let (mut at, mut values) = (vec![1.0], vec![full.value]);
    for size in 1..SIZES {
        // Equidistant in 1/n: parts 1, 5/8, … of all rows down to a quarter.
        let part = 1.0 / (1.0 + 3.0 * size as f64 / (SIZES - 1) as f64);
        for repeat in 0..REPEATS {
            let noise = noise.at((size * REPEATS + repeat) as u64);
            let few = |p: &Points, name: &str| {
                let rows = ((p.len() as f64 * part).round() as usize).clamp(2, p.len());
                p.at_most(rows, &noise.fork(name)).into_owned()
            };
            let (x, y) = (few(x, "real"), few(y, "fake"));
            let (a, b) = pair(&x, &y)?;
            let sigma = aligned(&a, &b, false).map_or(0.0, |svd| svd.singular_values.sum());
            values.push(value(&a, &b, sigma));
            at.push(1.0 / part);
        }
    }
    // The whole stands for all its subsets.
    let weights: Vec<f64> = at.iter().map(|t| if *t == 1.0 { REPEATS as f64 } else { 1.0 }).collect();
    let total: f64 = weights.iter().sum();
    let average = |v: &[f64]| v.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>() / total;
    let (t, v) = (average(&at), average(&values));
    let spread: f64 = at.iter().zip(&weights).map(|(a, w)| w * (a - t) * (a - t)).sum();
    let slope =
        at.iter().zip(&values).zip(&weights).map(|((a, y), w)| w * (a - t) * (y - v)).sum::<f64>() / spread;
    let value = v - slope * t;
    let left: f64 = at.iter().zip(&values).map(|(a, y)| (y - value - slope * a).powi(2)).sum();
    let scatter = left / (values.len() - 2) as f64 * (1.0 / total + t * t / spread);
    Ok(Estimate { value, stderr: full.stderr.hypot(scatter.sqrt()) })
}

/// Mean, and covariance as a factor with as many columns as its rank.
struct Moments {
    mean: Vec<f64>,
    trace: f64,
    factor: DMatrix<f64>,
    /// The coordinates that were pivots, in order: there the factor is lower triangular.
    pivots: Vec<usize>,
}

impl Moments {
    fn of(x: &Points) -> Self {
        let mean = x.mean();
        let covariance = covariance(x, &mean);
        let trace = covariance.trace();
        let (factor, pivots) = cholesky(&covariance);
        Self { mean, trace, factor, pivots }
    }

    /// The variance over the sample of each row's influence; `turn` is Uᵀ or Vᵀ.
    fn influence_variance(&self, x: &Points, turn: &DMatrix<f64>, sigma: &DVector<f64>, gap: &[f64]) -> f64 {
        let (d, rank) = (x.dims(), self.pivots.len());
        let triangle = DMatrix::from_fn(rank, rank, |i, j| self.factor[(self.pivots[i], j)]);
        let influence = |rows: &[f64]| {
            let rows = view(rows, d);
            let mut z = DMatrix::from_fn(rank, rows.nrows(), |k, i| {
                rows[(i, self.pivots[k])] - self.mean[self.pivots[k]]
            });
            // The factor's diagonal is positive, so this cannot fail.
            triangle.solve_lower_triangular_mut(&mut z);
            let turned = turn * z;
            (0..rows.nrows())
                .map(|i| {
                    let own: f64 = (0..d)
                        .map(|k| {
                            let off = rows[(i, k)] - self.mean[k];
                            off * off + 2.0 * gap[k] * off
                        })
                        .sum();
                    own - turned.column(i).iter().zip(sigma).map(|(t, s)| s * t * t).sum::<f64>()
                })
                .collect::<Vec<f64>>()
        };
        let all: Vec<f64> = x.values().par_chunks(256 * d).map(influence).collect::<Vec<_>>().concat();
        variance(&all)
    }
}

/// The sample covariance, denominator n − 1: partial sums of at most sixteen runs of rows, added in order.
pub(super) fn covariance(x: &Points, mean: &[f64]) -> DMatrix<f64> {
    let d = x.dims();
    let run = x.len().div_ceil(16).max(256);
    let part = |rows: &[f64]| {
        let centred: Vec<f64> =
            rows.chunks_exact(d).flat_map(|r| r.iter().zip(mean).map(|(v, m)| v - m)).collect();
        let centred = view(&centred, d);
        centred.transpose() * centred
    };
    let parts: Vec<DMatrix<f64>> = x.values().par_chunks(run * d).map(part).collect();
    let mut sum = DMatrix::zeros(d, d);
    parts.into_iter().for_each(|p| sum += p);
    sum / (x.len() - 1) as f64
}

/// `S = L Lᵀ` with complete pivoting: L has a column per direction that is not lost in rounding.
fn cholesky(s: &DMatrix<f64>) -> (DMatrix<f64>, Vec<usize>) {
    let d = s.nrows();
    let mut left: Vec<f64> = s.diagonal().iter().copied().collect();
    let lost = left.iter().fold(0.0f64, |a, v| a.max(*v)) * d as f64 * f64::EPSILON;
    let mut columns: Vec<DVector<f64>> = Vec::new();
    let mut pivots: Vec<usize> = Vec::new();
    let mut free = vec![true; d];
    for _ in 0..d {
        let open = (0..d).filter(|&i| free[i]);
        let Some(p) = open.max_by(|&a, &b| left[a].total_cmp(&left[b])) else { break };
        if left[p] <= lost {
            break;
        }
        let mut column = s.column(p).into_owned();
        for before in &columns {
            column.axpy(-before[p], before, 1.0);
        }
        column /= left[p].sqrt();
        // What is above the diagonal in the order of the pivots is zero, up to rounding.
        pivots.iter().for_each(|&q| column[q] = 0.0);
        column[p] = left[p].sqrt();
        left.iter_mut().zip(column.iter()).for_each(|(l, c)| *l -= c * c);
        free[p] = false;
        pivots.push(p);
        columns.push(column);
    }
    let factor = if columns.is_empty() { DMatrix::zeros(d, 0) } else { DMatrix::from_columns(&columns) };
    (factor, pivots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of, permuted};
    use crate::metrics::two_sample::mean;

    #[test]
    fn the_factor_gives_back_the_covariance() -> Result<()> {
        // Five dimensions of which two are copies and one is constant.
        let z = normal(40, 3, 1.0, 0.3, 1);
        let rows: Vec<Vec<f64>> = z.rows().map(|r| vec![r[0], r[1] + r[2], r[0], 7.0, r[1] + r[2]]).collect();
        let x = of(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let s = covariance(&x, &x.mean());
        let (factor, pivots) = cholesky(&s);
        assert_eq!((factor.ncols(), pivots.len()), (2, 2));
        assert!((&factor * factor.transpose() - &s).amax() < 1e-14);
        // Against the definition, entry by entry.
        let m = x.mean();
        for i in 0..5 {
            for j in 0..5 {
                let want: f64 = x.rows().map(|r| (r[i] - m[i]) * (r[j] - m[j])).sum::<f64>() / 39.0;
                assert!((s[(i, j)] - want).abs() < 1e-14);
            }
        }
        Ok(())
    }

    /// Standardised samples scaled and moved by known amounts: d² = Σ (s_k − t_k)² + ‖shift‖².
    #[test]
    fn of_axis_parallel_gaussians_is_the_closed_form() -> Result<()> {
        let z = normal(30, 2, 1.0, 0.0, 1);
        let (factor, _) = cholesky(&covariance(&z, &z.mean()));
        let inverse = factor.try_inverse().expect("full rank");
        let white = |scale: [f64; 2], shift: [f64; 2]| {
            let m = z.mean();
            let rows = z.rows().map(|r| {
                let w = &inverse * DVector::from_vec(vec![r[0] - m[0], r[1] - m[1]]);
                vec![scale[0] * w[0] + shift[0], scale[1] * w[1] + shift[1]]
            });
            Points::from_values(rows.flatten().collect(), 2)
        };
        let got = frechet(&white([2.0, 0.5], [1.0, 0.0]), &white([1.0, 3.0], [0.0, 2.0]))?;
        assert!((got.value - (1.0 + 6.25 + 1.0 + 4.0)).abs() < 1e-12, "{}", got.value);
        Ok(())
    }

    #[test]
    fn zero_on_itself_symmetric_and_blind_to_order() -> Result<()> {
        for (n, d) in [(90, 6), (20, 40)] {
            let (x, y) = (normal(n, d, 1.0, 0.5, 1), normal(n, d, 2.0, 0.0, 2));
            assert!(frechet(&x, &permuted(&x, 3))?.value < 1e-12);
            let (a, b) = (frechet(&x, &y)?, frechet(&y, &permuted(&x, 3))?);
            assert!((a.value / b.value - 1.0).abs() < 1e-11 && (a.stderr / b.stderr - 1.0).abs() < 1e-6);
        }
        assert!(frechet(&of(&[&[1.0]]), &of(&[&[1.0]])).is_err());
        // Points that do not vary have a distance and no error.
        let (a, b) = (of(&[[1.0, 2.0].as_slice(); 3]), of(&[[4.0, 6.0].as_slice(); 3]));
        assert_eq!(frechet(&a, &b)?, Estimate { value: 25.0, stderr: 0.0 });
        Ok(())
    }

    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        for (d, m, scale, shift, low, high) in
            [(3, 150, 1.0, 1.0, 0.8, 1.25), (3, 100, 2.0, 0.0, 0.8, 1.25), (40, 30, 1.5, 1.0, 0.7, 1.5)]
        {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..200 {
                let (x, y) =
                    (normal(150.min(5 * m), d, scale, shift, 2 * run), normal(m, d, 1.0, 0.0, 2 * run + 1));
                let e = frechet(&x, &y)?;
                values.push(e.value);
                errors.push(e.stderr);
            }
            let ratio = mean(&errors) / variance(&values).sqrt();
            assert!(
                (low..high).contains(&ratio),
                "{d} dimensions, scale {scale}: stated over true error {ratio}"
            );
        }
        Ok(())
    }

    /// N(0, I) in six dimensions against a shift of one: d² = 1. The bias at n = 150 is many of its errors.
    #[test]
    fn the_extrapolation_removes_the_bias_with_an_honest_error() -> Result<()> {
        let (mut plain, mut values, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..60 {
            let (x, y) = (normal(150, 6, 1.0, 1.0, 2 * run), normal(150, 6, 1.0, 0.0, 2 * run + 1));
            let e = extrapolated(&x, &y, &Noise::new(run))?;
            plain.push(frechet(&x, &y)?.value - 1.0);
            values.push(e.value - 1.0);
            errors.push(e.stderr);
        }
        let spread = variance(&values).sqrt();
        assert!(mean(&values).abs() < 4.0 * spread / 60f64.sqrt() + 0.02, "{}", mean(&values));
        assert!(mean(&plain) > 0.1, "{}", mean(&plain));
        let ratio = mean(&errors) / spread;
        assert!((0.7..1.7).contains(&ratio), "stated over true error {ratio}");
        Ok(())
    }
}
