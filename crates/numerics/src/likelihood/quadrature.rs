//! log Z and entropy of an unnormalised log-density ℓ in one to three dimensions, on a grid.
//!
//! ```text
//! log Z = log ∫ e^{ℓ(x)} dx,   H = log Z − (1/Z) ∫ ℓ e^ℓ dx
//! ```
//!
//! The trapezoidal rule: where ℓ is smooth and its mass ends inside the box, it converges faster than any power of
//! the spacing (Trefethen & Weideman 2014), so nothing of higher order is needed. The box is found by itself, the
//! spacing is halved until two results agree, and their difference is the stated error (a large overestimate where
//! ℓ is smooth, honest where it jumps).

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Result};

use crate::rows;
use crate::special::log_sum_exp;

/// Share of the mass that may lie beyond each side of an automatic box.
const TAIL: f64 = 1e-10;

/// Points per side while the box is sought.
fn coarse(d: usize) -> usize {
    if d <= 2 { 129 } else { 33 }
}

/// What to integrate over, and how finely.
#[derive(Clone, Debug)]
pub struct Quadrature {
    /// Lower and upper end per dimension (one to three): the box itself, or where its search begins.
    pub bounds: Vec<(f64, f64)>,
    /// Whether the box grows and shrinks to where the mass is.
    pub automatic: bool,
    /// Difference of log Z and of the entropy between two spacings, in nats, at which refinement ends.
    pub tolerance: f64,
    /// Most grid points of one sweep; refinement ends there too, with the error it has.
    pub max_points: usize,
    /// Rows per evaluation of ℓ.
    pub rows_at_once: usize,
    /// Dtype of the points given to ℓ.
    pub dtype: DType,
    /// Device of the points given to ℓ.
    pub device: Device,
}

/// What a grid says.
#[derive(Clone, Debug)]
pub struct QuadratureEstimate {
    /// `log ∫ e^ℓ`, nats.
    pub log_z: f64,
    /// Its error: the change at the last halving of the spacing.
    pub log_z_error: f64,
    /// Entropy of the normalised density, nats.
    pub entropy: f64,
    /// Its error, likewise.
    pub entropy_error: f64,
    /// The box.
    pub bounds: Vec<(f64, f64)>,
    /// Points per side of the finest grid.
    pub points: usize,
    /// Points at which ℓ was evaluated, over all sweeps.
    pub evaluations: u64,
}

impl Quadrature {
    /// An automatic search that starts from the given box, points in `f32`, about a million points at most.
    ///
    /// The starting box should contain every mode: what lies far outside it may never be seen.
    pub fn around(bounds: &[(f64, f64)]) -> Self {
        Self {
            bounds: bounds.to_vec(),
            automatic: true,
            tolerance: 1e-4,
            max_points: 1_100_000,
            rows_at_once: 16_384,
            dtype: DType::F32,
            device: Device::Cpu,
        }
    }

    /// Integrates `e^{−U}`.
    pub fn of_energy(&self, energy: &dyn Energy) -> Result<QuadratureEstimate> {
        self.estimate(&|x| Ok(energy.energy(x)?.neg()?))
    }

    /// Integrates `e^ℓ`; `log_density` takes `(b, d)` and gives `(b,)`.
    ///
    /// # Errors
    /// If `log_density` fails or gives NaN or +∞, if the box is empty, if the dimension is not 1, 2 or 3, or if the
    /// mass does not end inside any box (the density cannot be normalised).
    pub fn estimate(&self, log_density: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<QuadratureEstimate> {
        let d = self.bounds.len();
        if !(1..=3).contains(&d) {
            return Err(Error::data("dimension of a quadrature", "1, 2 or 3", d));
        }
        if let Some((a, b)) = self.bounds.iter().find(|(a, b)| !(a < b && (b - a).is_finite())) {
            return Err(Error::data(
                "bounds of a quadrature",
                "lower < upper, both finite",
                format!("{a}, {b}"),
            ));
        }
        let mut evaluations = 0;
        let mut sweep = |bounds: &[(f64, f64)], n: usize| {
            evaluations += n.pow(d as u32) as u64;
            self.sweep(log_density, bounds, n)
        };
        let bounds = if self.automatic { find_box(&mut sweep, &self.bounds)? } else { self.bounds.clone() };
        let mut n = if d <= 2 { 65 } else { 33 };
        let mut last = summarise(&sweep(&bounds, n)?, &bounds, n)?;
        loop {
            n = 2 * n - 1;
            let (log_z, entropy) = summarise(&sweep(&bounds, n)?, &bounds, n)?;
            let (log_z_error, entropy_error) = ((log_z - last.0).abs(), (entropy - last.1).abs());
            let full = (2 * n - 1).pow(d as u32) > self.max_points;
            if full || log_z_error.max(entropy_error) <= self.tolerance {
                let points = n;
                return Ok(QuadratureEstimate {
                    log_z,
                    log_z_error,
                    entropy,
                    entropy_error,
                    bounds,
                    points,
                    evaluations,
                });
            }
            last = (log_z, entropy);
        }
    }

    /// ℓ at every point of an n-point grid per side, the last dimension fastest.
    fn sweep(
        &self,
        log_density: &dyn Fn(&Tensor) -> Result<Tensor>,
        bounds: &[(f64, f64)],
        n: usize,
    ) -> Result<Vec<f64>> {
        let d = bounds.len();
        let at = |axis: usize, i: usize| {
            let (a, b) = bounds[axis];
            a + (b - a) * (i as f64 / (n - 1) as f64)
        };
        let mut values = Vec::with_capacity(n.pow(d as u32));
        for (start, length) in rows::pieces(n.pow(d as u32), self.rows_at_once) {
            let mut points = Vec::with_capacity(length * d);
            for i in start..start + length {
                points.extend((0..d).map(|axis| at(axis, digit(i, axis, d, n))));
            }
            let x = Tensor::from_vec(points, (length, d), &self.device)?.to_dtype(self.dtype)?;
            let piece = rows::host(&log_density(&x)?)?;
            if piece.len() != length {
                return Err(Error::data("log-density of a grid", format!("{length} values"), piece.len()));
            }
            if let Some(i) = piece.iter().position(|v| v.is_nan() || *v == f64::INFINITY) {
                let point = x.get(i)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                let got = format!("{} at {point:?}", piece[i]);
                return Err(Error::data("log-density of a grid", "a number below +∞", got));
            }
            values.extend(piece);
        }
        Ok(values)
    }
}

/// The place of grid point `i` along `axis`, the last axis fastest.
fn digit(i: usize, axis: usize, d: usize, n: usize) -> usize {
    i / n.pow((d - 1 - axis) as u32) % n
}

/// `(log Z, entropy)` by the trapezoidal rule.
fn summarise(values: &[f64], bounds: &[(f64, f64)], n: usize) -> Result<(f64, f64)> {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return Err(Error::data("log-density of a grid", "mass inside the box", "−∞ everywhere"));
    }
    let edge = |i: usize| if i == 0 || i == n - 1 { 0.5 } else { 1.0 };
    let (mut mass, mut first) = (0.0, 0.0);
    // Row by row: short sums first, which also keeps the rounding error small.
    for (i, row) in values.chunks(n).enumerate() {
        let (mut row_mass, mut row_first) = (0.0, 0.0);
        for (j, value) in row.iter().enumerate() {
            let weight = edge(j) * (value - max).exp();
            if weight > 0.0 {
                row_mass += weight;
                row_first += weight * value;
            }
        }
        let d = bounds.len();
        let weight: f64 = (0..d - 1).map(|axis| edge(digit(i * n, axis, d, n))).product();
        mass += weight * row_mass;
        first += weight * row_first;
    }
    let log_cell: f64 = bounds.iter().map(|(a, b)| ((b - a) / (n - 1) as f64).ln()).sum();
    let log_z = max + mass.ln() + log_cell;
    Ok((log_z, log_z - first / mass))
}

/// Grows the sides that mass reaches until none is left, then cuts the sides beyond which there is none.
fn find_box(
    sweep: &mut impl FnMut(&[(f64, f64)], usize) -> Result<Vec<f64>>,
    start: &[(f64, f64)],
) -> Result<Vec<(f64, f64)>> {
    let mut bounds = start.to_vec();
    let (d, n) = (bounds.len(), coarse(bounds.len()));
    for _ in 0..100 {
        let values = sweep(&bounds, n)?;
        let lines: Vec<Vec<f64>> = (0..d).map(|axis| marginal(&values, d, n, axis)).collect();
        let reached =
            |axis: usize, range: std::ops::Range<usize>| lines[axis][range].iter().sum::<f64>() > TAIL;
        let mut grown = false;
        for (axis, (a, b)) in bounds.iter_mut().enumerate() {
            let width = *b - *a;
            if reached(axis, 0..2) {
                *a -= width;
                grown = true;
            }
            if reached(axis, n - 2..n) {
                *b += width;
                grown = true;
            }
        }
        if bounds.iter().any(|(a, b)| a.abs().max(b.abs()) > 1e9) {
            break;
        }
        if grown {
            continue;
        }
        let mut cut = false;
        for ((a, b), lines) in bounds.iter_mut().zip(&lines) {
            let spacing = (*b - *a) / (n - 1) as f64;
            // Cutting only what is worth it, with a margin of four lines, keeps growing and cutting from alternating.
            let worth = |lines: usize| Some(lines.saturating_sub(4)).filter(|lines| *lines > n / 8);
            let (left, right) = (worth(empty(lines.iter())), worth(empty(lines.iter().rev())));
            *a += left.unwrap_or(0) as f64 * spacing;
            *b -= right.unwrap_or(0) as f64 * spacing;
            cut |= left.or(right).is_some();
        }
        if !cut {
            return Ok(bounds);
        }
    }
    Err(Error::Unsupported(format!(
        "no box holds the mass of this density (search ended at {bounds:?}): it may not be normalisable"
    )))
}

/// How many lines from one side together hold next to nothing.
fn empty<'a>(lines: impl Iterator<Item = &'a f64>) -> usize {
    let mut held = 0.0;
    lines
        .take_while(|share| {
            held += **share;
            held < TAIL * 1e-2
        })
        .count()
}

/// Share of the mass on each grid plane across `axis`.
fn marginal(values: &[f64], d: usize, n: usize, axis: usize) -> Vec<f64> {
    let mut planes = vec![Vec::with_capacity(values.len() / n); n];
    values.iter().enumerate().for_each(|(i, value)| planes[digit(i, axis, d, n)].push(*value));
    let logs: Vec<f64> = planes.iter().map(|plane| log_sum_exp(plane)).collect();
    let total = log_sum_exp(&logs);
    logs.iter().map(|l| if total == f64::NEG_INFINITY { 0.0 } else { (l - total).exp() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;
    use crate::targets::Mixture;
    use genzoo_core::Noise;

    fn double(bounds: &[(f64, f64)]) -> Quadrature {
        Quadrature { dtype: DType::F64, tolerance: 1e-9, ..Quadrature::around(bounds) }
    }

    #[test]
    fn a_gaussian_in_the_plane_wherever_the_search_starts() -> Result<()> {
        let (mean, sd) = ([30.0, -4.0], [0.5, 7.0]);
        let log_density = |x: &Tensor| {
            let mean = Tensor::new(&mean, x.device())?;
            let sd = Tensor::new(&sd, x.device())?;
            Ok((x.broadcast_sub(&mean)?.broadcast_div(&sd)?.sqr()?.sum(1)? * -0.5)?)
        };
        for start in [[(-1.0, 1.0), (-1.0, 1.0)], [(-500.0, 500.0), (-60.0, 60.0)]] {
            let got = double(&start).estimate(&log_density)?;
            let log_z = (std::f64::consts::TAU * sd[0] * sd[1]).ln();
            assert!((got.log_z - log_z).abs() < 1e-8, "{} {log_z}", got.log_z);
            assert!((got.entropy - (log_z + 1.0)).abs() < 1e-8);
            assert!(got.log_z_error < 1e-9 && got.evaluations > 0);
        }
        Ok(())
    }

    /// Three dimensions, correlated, wherever the search starts: log Z = log (2π)^{3/2} |Σ|^{1/2}, H = log Z + 3/2.
    #[test]
    fn a_gaussian_in_space() -> Result<()> {
        // Σ⁻¹ = Aᵀ A with A upper triangular, so |Σ|^{1/2} is the inverse product of its diagonal.
        let a = [[2.0, 0.7, -0.4], [0.0, 0.5, 0.2], [0.0, 0.0, 1.3]];
        let factor = Tensor::new(&a, &Device::Cpu)?.t()?;
        let log_density = |x: &Tensor| {
            let x = x.broadcast_sub(&Tensor::new(&[1.0, -2.0, 0.5], x.device())?)?;
            Ok((x.matmul(&factor)?.sqr()?.sum(1)? * -0.5)?)
        };
        let log_z = 1.5 * std::f64::consts::TAU.ln() - (2.0f64 * 0.5 * 1.3).ln();
        for start in [[(-1.0, 1.0); 3], [(-40.0, 60.0); 3]] {
            let got = double(&start).estimate(&log_density)?;
            assert!((got.log_z - log_z).abs() < 1e-6, "{got:?} {log_z}");
            assert!((got.entropy - log_z - 1.5).abs() < 1e-5, "{got:?}");
        }
        Ok(())
    }

    /// The mixture's log Z is known; its entropy is judged by Monte Carlo.
    #[test]
    fn a_mixture_in_single_and_double_precision() -> Result<()> {
        let target = Mixture::pair();
        let x = target.sample(100_000, &mut Noise::new(1))?;
        let surprise = Moments::of(&target.log_densities(&x)?.iter().map(|l| -l).collect::<Vec<_>>());
        for (quadrature, error) in [
            (double(&[(-4.0, 4.0), (-4.0, 4.0)]), 1e-8),
            (Quadrature::around(&[(-4.0, 4.0), (-4.0, 4.0)]), 1e-5),
        ] {
            let got = quadrature.of_energy(&target)?;
            assert!((got.log_z - target.log_z).abs() < error, "{}", got.log_z);
            assert!((got.entropy - surprise.mean()).abs() < 4.0 * surprise.standard_error() + error);
        }
        Ok(())
    }

    #[test]
    fn one_dimension_and_a_jump() -> Result<()> {
        // e^{-|x|}: a kink, log Z = log 2, H = 1 + log 2.
        let laplace = |x: &Tensor| Ok(x.squeeze(1)?.abs()?.neg()?);
        let got = double(&[(-1.0, 3.0)]).estimate(&laplace)?;
        assert!((got.log_z - 2f64.ln()).abs() < 1e-6, "{got:?}");
        assert!((got.entropy - 1.0 - 2f64.ln()).abs() < 1e-6);
        // Uniform on (0, 1): a jump, so the error is of first order and says so.
        let uniform = |x: &Tensor| {
            let values = rows::host(x)?;
            let inside = |v: f64| {
                if (0.0..1.0).contains(&v) { 0.0 } else { f64::NEG_INFINITY }
            };
            rows::tensor(values.into_iter().map(inside).collect(), x.device())
        };
        let jump = Quadrature { max_points: 10_000, ..double(&[(-2.0, 3.1)]) }.estimate(&uniform)?;
        assert!(jump.log_z.abs() < 4.0 * jump.log_z_error.max(1.0 / jump.points as f64), "{jump:?}");
        Ok(())
    }

    #[test]
    fn what_cannot_be_normalised_is_an_error() {
        let flat = |x: &Tensor| Ok(x.narrow(1, 0, 1)?.squeeze(1)?.zeros_like()?);
        assert!(double(&[(-1.0, 1.0)]).estimate(&flat).is_err());
        let nan = |x: &Tensor| Ok((x.squeeze(1)? * f64::NAN)?);
        assert!(double(&[(-1.0, 1.0)]).estimate(&nan).is_err());
        let none = |x: &Tensor| Ok((x.squeeze(1)?.zeros_like()? - f64::INFINITY)?);
        assert!(double(&[(-1.0, 1.0)]).estimate(&none).is_err());
        let bell = |x: &Tensor| Ok(x.sqr()?.sum(1)?.neg()?);
        assert!(double(&[(1.0, 1.0)]).estimate(&bell).is_err());
        assert!(double(&[]).estimate(&bell).is_err());
        assert!(double(&[(-1.0, 1.0); 4]).estimate(&bell).is_err());
    }
}
