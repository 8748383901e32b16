//! Sliced Wasserstein distance of order 2 between two samples of equal size.
//!
//! ```text
//! SW₂²(P, Q) = mean over directions θ of W₂²(θ·P, θ·Q),    W₂² on the line = mean_i (x_(i) − y_(i))²
//! ```
//! The directions are uniform on the sphere and fixed by the seed, the same for every model. The value between two
//! finite samples of one law is not 0: read it beside its floor.
//!
//! The standard error is that of the central limit theorem around the expectation: W₂² moves with a point x by the
//! Kantorovich potential f(x), f′(x) = 2(x − T(x)), averaged over the directions, so
//! `Var SW₂² ≈ Var f/n + Var g/n`, and `se(SW₂) = se(SW₂²)/(2 SW₂)`.
//!
//! Source: Bonneel et al. (2015), J. Math. Imaging Vis. 51; del Barrio & Loubes (2019), Ann. Probab. 47, for the
//! limit; Xu & Huang (2022), arXiv:2210.09160, for the sliced case.

use candle_core::Tensor;
use genzoo_core::{Error, Result};
use rayon::prelude::*;

use super::points::Points;
use super::two_sample::{Estimate, mean, variance};

/// Directions used everywhere.
pub const DIRECTIONS: usize = 128;

/// `SW₂` along `directions`, unit vectors `(k, d)` in `f64`.
///
/// # Errors
/// If the samples differ in size or dimension.
pub fn sliced_w2(x: &Points, y: &Points, directions: &Tensor) -> Result<Estimate> {
    if x.len() != y.len() || x.dims() != y.dims() {
        let (want, got) = (format!("{} × {}", y.len(), y.dims()), format!("{} × {}", x.len(), x.dims()));
        return Err(Error::data("samples", want, got));
    }
    let project = |p: &Points| -> Result<Vec<Vec<f64>>> {
        Ok(directions.matmul(&p.tensor()?.t()?)?.to_vec2()?) // (k, n)
    };
    let lines: Vec<Line> =
        project(x)?.par_iter().zip(&project(y)?).map(|(x, y)| Line::between(x, y)).collect();
    let k = lines.len() as f64;
    let average = |of: fn(&Line) -> &[f64]| -> Vec<f64> {
        let mut sum = vec![0.0; x.len()];
        for line in &lines {
            sum.iter_mut().zip(of(line)).for_each(|(s, v)| *s += v / k);
        }
        sum
    };
    let (f, g) = (average(|l| &l.f), average(|l| &l.g));
    let square = lines.iter().map(|l| l.square).sum::<f64>() / k;
    Ok(root(square, &f, &g))
}

/// The root of a squared distance whose potentials at the points are `f` and `g`.
pub(super) fn root(square: f64, f: &[f64], g: &[f64]) -> Estimate {
    let value = square.max(0.0).sqrt();
    if value == 0.0 {
        return Estimate { value, stderr: 0.0 };
    }
    let error = (variance(f) / f.len() as f64 + variance(g) / g.len() as f64).sqrt();
    Estimate { value, stderr: error / (2.0 * value) }
}

/// The transport between two samples on the line.
struct Line {
    square: f64,
    f: Vec<f64>,
    g: Vec<f64>,
}

impl Line {
    fn between(x: &[f64], y: &[f64]) -> Self {
        let order = |v: &[f64]| {
            let mut order: Vec<usize> = (0..v.len()).collect();
            order.sort_by(|&a, &b| v[a].total_cmp(&v[b]));
            order
        };
        let (ox, oy) = (order(x), order(y));
        let steps: Vec<f64> = ox.iter().zip(&oy).map(|(&i, &j)| x[i] - y[j]).collect();
        let squares: Vec<f64> = steps.iter().map(|s| s * s).collect();
        // The potentials, by the trapezoid rule from point to point: f′ = 2(x − T x), g′ = 2(y − T⁻¹ y).
        let (mut f, mut g) = (vec![0.0; x.len()], vec![0.0; y.len()]);
        for r in 1..x.len() {
            let slope = steps[r - 1] + steps[r];
            f[ox[r]] = f[ox[r - 1]] + slope * (x[ox[r]] - x[ox[r - 1]]);
            g[oy[r]] = g[oy[r - 1]] - slope * (y[oy[r]] - y[oy[r - 1]]);
        }
        Self { square: mean(&squares), f, g }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, permuted};
    use genzoo_core::Noise;
    use genzoo_numerics::ot::projections;

    fn directions(k: usize, d: usize) -> Result<Tensor> {
        projections(k, d, &mut Noise::new(0))
    }

    #[test]
    fn zero_on_itself_symmetric_and_blind_to_order() -> Result<()> {
        let (x, y) = (normal(90, 3, 1.0, 0.5, 1), normal(90, 3, 2.0, 0.0, 2));
        let theta = directions(16, 3)?;
        assert_eq!(sliced_w2(&x, &permuted(&x, 3), &theta)?.value, 0.0);
        let (a, b) = (sliced_w2(&x, &y, &theta)?, sliced_w2(&y, &permuted(&x, 3), &theta)?);
        assert!((a.value - b.value).abs() < 1e-13 && (a.stderr - b.stderr).abs() < 1e-13);
        assert!(sliced_w2(&x, &normal(80, 3, 1.0, 0.0, 1), &theta).is_err());
        Ok(())
    }

    /// Moving a sample by δ along the first axis moves each projection by δ θ₁: SW₂² = δ² mean θ₁².
    #[test]
    fn a_translation_costs_its_projections() -> Result<()> {
        let theta = directions(64, 4)?;
        let want = 3.0 * theta.narrow(1, 0, 1)?.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt();
        let got = sliced_w2(&normal(50, 4, 1.0, 3.0, 1), &normal(50, 4, 1.0, 0.0, 1), &theta)?;
        assert!((got.value - want).abs() < 1e-12);
        Ok(())
    }

    /// Over many pairs of samples the stated error is the spread of the value.
    #[test]
    fn the_standard_error_is_the_spread_over_samples() -> Result<()> {
        let theta = directions(16, 2)?;
        for (scale, shift, low, high) in [(1.0, 1.0, 0.8, 1.25), (1.7, 0.0, 0.8, 1.25), (1.0, 0.0, 0.6, 1.8)]
        {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for run in 0..300 {
                let e = sliced_w2(
                    &normal(100, 2, scale, shift, 2 * run),
                    &normal(100, 2, 1.0, 0.0, 2 * run + 1),
                    &theta,
                )?;
                values.push(e.value);
                errors.push(e.stderr);
            }
            let ratio = mean(&errors) / variance(&values).sqrt();
            assert!(
                (low..high).contains(&ratio),
                "scale {scale}, shift {shift}: stated over true error {ratio}"
            );
        }
        Ok(())
    }
}
