//! Kernel density estimation with a Gaussian kernel (the Parzen window).
//!
//! ```text
//! log p(x) = log (1/n) Σ_j N(x; c_j, h² I)
//! ```
//!
//! | symbol | shape      | meaning                                   |
//! |--------|------------|-------------------------------------------|
//! | `c`    | `(n, d)`   | centres, usually the training rows         |
//! | `h`    |            | bandwidth, chosen by held-out likelihood   |
//!
//! As a density of the data this is an honest baseline: with the training rows as centres it is exactly what it says.
//! As an estimate of the likelihood of *another* model, from that model's samples, it is not to be trusted beyond a few
//! dimensions: it needs a number of samples exponential in d, falls far below the truth, and ranks models wrongly (in
//! Theis et al. the centroids of k-means beat the data's own law). That is why no model here is judged by it.
//!
//! Source: Parzen (1962), Ann. Math. Stat. 33; Scott (1992), §6 for where the search of h begins; Theis, van den Oord &
//! Bethge (2016), arXiv:1511.01844, §3.2 for the caveat.

use candle_core::{Device, Tensor};
use genzoo_core::math::HALF_LOG_TAU;
use genzoo_core::{Error, Result};
use rayon::prelude::*;

use crate::rows::pieces;

/// Up to this dimension differences are taken directly, above by products of centred rows.
const DIRECT: usize = 8;
/// Rows and centres per block: what is in flight stays below 10 MB.
const ROWS: usize = 256;
const CENTRES: usize = 4096;

/// A mixture of equal Gaussians, one at each centre.
#[derive(Clone, Debug)]
pub struct Parzen {
    centres: Vec<f64>, // (n, d) row-major, about their mean
    mean: Vec<f64>,    // (d,)
    norms: Vec<f64>,   // (n,)
    bandwidth: f64,
}

impl Parzen {
    /// The estimate with this bandwidth; `centres` is `(n, d)` row-major.
    ///
    /// # Errors
    /// If there are no centres, a coordinate is not finite, or the bandwidth is not above 0.
    pub fn new(centres: &[f64], d: usize, bandwidth: f64) -> Result<Self> {
        check(centres, d, "centres")?;
        if !(bandwidth.is_finite() && bandwidth > 0.0) {
            return Err(Error::config("bandwidth", "a finite number above 0", bandwidth));
        }
        let n = (centres.len() / d) as f64;
        let mean: Vec<f64> = (0..d).map(|j| centres.iter().skip(j).step_by(d).sum::<f64>() / n).collect();
        let centres = about(centres, &mean);
        let norms = squared_norms(&centres, d);
        Ok(Self { centres, mean, norms, bandwidth })
    }

    /// The estimate with the bandwidth under which `validation`, `(m, d)` row-major, is likeliest (to 1 %).
    ///
    /// # Errors
    /// As [`Parzen::new`], and if the likelihood has no maximum: rows that are also centres make it unbounded.
    pub fn fit(centres: &[f64], validation: &[f64], d: usize) -> Result<Self> {
        check(validation, d, "validation rows")?;
        let mut parzen = Self::new(centres, d, 1.0)?;
        let held_out = about(validation, &parzen.mean);
        let spread = (held_out.iter().map(|v| v * v).sum::<f64>() / held_out.len() as f64).sqrt();
        let mut best = spread * (parzen.len() as f64).powf(-1.0 / (d as f64 + 4.0));
        let (mut ratio, mut reach) = (2.0f64, 8i32);
        let mut moves = 0;
        while spread > 0.0 && ratio > 1.01 {
            let grid: Vec<f64> = (-reach..=reach).map(|k| best * ratio.powi(k)).collect();
            let means = parzen.mean_log_densities(validation, &grid)?;
            let top = (0..grid.len()).fold(0, |a, b| if means[b] > means[a] { b } else { a });
            best = grid[top];
            let inside = top > 0 && top + 1 < grid.len() && means[top].is_finite();
            if inside {
                // The maximum lies between the neighbours: look there, four times as closely.
                (ratio, reach) = (ratio.powf(0.25), 4);
                continue;
            }
            moves += 1;
            if moves > 4 {
                break;
            }
        }
        if ratio > 1.01 {
            return Err(Error::data(
                "validation rows of a kernel density",
                "rows that are none of the centres",
                format!("a likelihood that is still rising at bandwidth {best:e}"),
            ));
        }
        parzen.bandwidth = best;
        Ok(parzen)
    }

    /// The bandwidth h.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth
    }

    /// Number of centres.
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// Whether there are none; there always are some.
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// Log-density of every row of `x`, `(b, d)` row-major, in nats.
    ///
    /// # Errors
    /// If the rows do not fit or a coordinate is not finite.
    pub fn log_density(&self, x: &[f64]) -> Result<Vec<f64>> {
        let logs = self.log_densities(x, &[self.bandwidth])?;
        Ok(logs.into_iter().flatten().collect())
    }

    /// The mean over the rows of `x` under each bandwidth.
    fn mean_log_densities(&self, x: &[f64], bandwidths: &[f64]) -> Result<Vec<f64>> {
        let logs = self.log_densities(x, bandwidths)?;
        let mean = |h: usize| logs.iter().map(|row| row[h]).sum::<f64>() / logs.len() as f64;
        Ok((0..bandwidths.len()).map(mean).collect())
    }

    /// Per row the log-density under each bandwidth; the distances are found once for all.
    fn log_densities(&self, x: &[f64], bandwidths: &[f64]) -> Result<Vec<Vec<f64>>> {
        let d = self.mean.len();
        check(x, d, "rows")?;
        let x = about(x, &self.mean);
        let (n, m) = (x.len() / d, self.len());
        let norms = squared_norms(&x, d);
        let rates: Vec<f64> = bandwidths.iter().map(|h| 0.5 / (h * h)).collect();
        let mut sums = vec![Sum { nearest: f64::INFINITY, sums: vec![0.0; rates.len()] }; n];
        for (start, rows) in pieces(n, ROWS) {
            let block = &x[start * d..(start + rows) * d];
            for (first, centres) in pieces(m, CENTRES) {
                let others = &self.centres[first * d..(first + centres) * d];
                let products = if d > DIRECT { Some(products(block, others, d)?) } else { None };
                let work = sums[start..start + rows].par_iter_mut().enumerate();
                work.for_each_init(Vec::new, |squares, (i, sum)| {
                    let row = &block[i * d..(i + 1) * d];
                    squares.clear();
                    match &products {
                        None => squares.extend(others.chunks_exact(d).map(|c| squared_distance(row, c))),
                        Some(products) => {
                            let line = &products[i * centres..(i + 1) * centres];
                            let both = |(p, c): (&f64, &f64)| (norms[start + i] + c - 2.0 * p).max(0.0);
                            squares.extend(line.iter().zip(&self.norms[first..first + centres]).map(both));
                        }
                    }
                    sum.add(squares, &rates);
                });
            }
        }
        let share = (m as f64).ln();
        let log_density = |sum: Sum| -> Vec<f64> {
            let kernel = |(s, (rate, h)): (&f64, (&f64, &f64))| {
                s.ln() - rate * sum.nearest - share - d as f64 * (h.ln() + HALF_LOG_TAU)
            };
            sum.sums.iter().zip(rates.iter().zip(bandwidths)).map(kernel).collect()
        };
        Ok(sums.into_iter().map(log_density).collect())
    }
}

/// `Σ_j exp(−rate (r_j − nearest))` for each rate, over centres that come block by block.
#[derive(Clone)]
struct Sum {
    nearest: f64,
    sums: Vec<f64>,
}

impl Sum {
    fn add(&mut self, squares: &[f64], rates: &[f64]) {
        let nearest = squares.iter().copied().fold(self.nearest, f64::min);
        for (sum, rate) in self.sums.iter_mut().zip(rates) {
            if *sum > 0.0 {
                *sum *= (rate * (nearest - self.nearest)).exp();
            }
            *sum += squares.iter().map(|r| (rate * (nearest - r)).exp()).sum::<f64>();
        }
        self.nearest = nearest;
    }
}

fn check(rows: &[f64], d: usize, what: &str) -> Result<()> {
    if d == 0 || rows.is_empty() || !rows.len().is_multiple_of(d) {
        let want = format!("a positive number of rows of {d} numbers");
        return Err(Error::data(what, want, format!("{} numbers", rows.len())));
    }
    match rows.iter().find(|v| !v.is_finite()) {
        Some(bad) => Err(Error::data(what, "finite numbers", bad)),
        None => Ok(()),
    }
}

fn about(rows: &[f64], mean: &[f64]) -> Vec<f64> {
    rows.chunks_exact(mean.len()).flat_map(|row| row.iter().zip(mean).map(|(x, m)| x - m)).collect()
}

fn squared_norms(rows: &[f64], d: usize) -> Vec<f64> {
    rows.chunks_exact(d).map(|row| row.iter().map(|v| v * v).sum()).collect()
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// `⟨a_i, b_j⟩`, row-major.
fn products(a: &[f64], b: &[f64], d: usize) -> Result<Vec<f64>> {
    let matrix = |rows: &[f64]| Tensor::from_slice(rows, (rows.len() / d, d), &Device::Cpu);
    Ok(matrix(a)?.matmul(&matrix(b)?.t()?)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::{Moments, log_mean_exp, log_normal_density};
    use genzoo_core::Noise;

    /// The definition, one kernel and one coordinate at a time.
    fn slow(centres: &[f64], d: usize, h: f64, x: &[f64]) -> f64 {
        let kernel = |c: &[f64]| c.iter().zip(x).map(|(c, x)| log_normal_density(*x, *c, h)).sum::<f64>();
        log_mean_exp(&centres.chunks(d).map(kernel).collect::<Vec<_>>())
    }

    /// Few and many dimensions, more rows and centres than one block, far from the origin.
    #[test]
    fn blocks_give_the_definition() -> Result<()> {
        for (n, m, d, h) in [(5000, 300, 2, 0.1), (4500, 20, 20, 0.7), (1, 3, 1, 2.0)] {
            let mut noise = Noise::new(d as u64);
            let far = |v: Vec<f64>| v.into_iter().map(|v| v + 30.0).collect::<Vec<_>>();
            let (centres, x) = (far(noise.normals(n * d)), far(noise.normals(m * d)));
            let got = Parzen::new(&centres, d, h)?.log_density(&x)?;
            assert_eq!(got.len(), m);
            for (got, x) in got.iter().zip(x.chunks(d)) {
                let want = slow(&centres, d, h, x);
                assert!((got - want).abs() < 1e-10 * want.abs().max(1.0), "{n} {d}: {got} {want}");
            }
        }
        Ok(())
    }

    /// A single centre is a Gaussian: the likeliest bandwidth is the root mean square of the held-out rows.
    #[test]
    fn the_bandwidth_is_that_of_the_largest_held_out_likelihood() -> Result<()> {
        for (d, scale) in [(1, 1e-3), (3, 1.0), (12, 500.0)] {
            let x: Vec<f64> = Noise::new(3).normals(400 * d).iter().map(|v| scale * v).collect();
            let got = Parzen::fit(&vec![0.0; d], &x, d)?.bandwidth();
            let want = (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64).sqrt();
            assert!((got / want - 1.0).abs() < 0.01, "{d}: {got} {want}");
        }
        Ok(())
    }

    /// With enough points in one dimension the estimate is near the truth, and its held-out mean never above it.
    #[test]
    fn it_finds_a_normal_from_its_draws() -> Result<()> {
        let mut noise = Noise::new(1);
        let (centres, validation, x) = (noise.normals(4000), noise.normals(2000), noise.normals(2000));
        let parzen = Parzen::fit(&centres, &validation, 1)?;
        let truth: Vec<f64> = x.iter().map(|x| log_normal_density(*x, 0.0, 1.0)).collect();
        let gap: Vec<f64> = parzen.log_density(&x)?.iter().zip(truth).map(|(a, b)| b - a).collect();
        let gap = Moments::of(&gap);
        assert!(gap.mean() > -4.0 * gap.standard_error() && gap.mean() < 0.02, "{gap:?}");
        // Silverman's h for a normal, 1.06 n^{-1/5} = 0.20, minimises another loss of the same order.
        assert!((0.1..0.4).contains(&parzen.bandwidth()), "{}", parzen.bandwidth());
        Ok(())
    }

    #[test]
    fn what_cannot_be_fitted_is_an_error() {
        let centres = Noise::new(0).normals(40);
        assert!(Parzen::new(&centres, 3, 1.0).is_err() && Parzen::new(&[], 2, 1.0).is_err());
        assert!(Parzen::new(&centres, 2, 0.0).is_err() && Parzen::new(&[f64::NAN], 1, 1.0).is_err());
        let fit = Parzen::fit(&centres, &centres, 2).map(|p| p.bandwidth());
        assert!(fit.as_ref().is_err_and(|e| e.to_string().contains("none of the centres")), "{fit:?}");
        assert!(Parzen::new(&centres, 2, 1.0).and_then(|p| p.log_density(&[1.0])).is_err());
    }
}
