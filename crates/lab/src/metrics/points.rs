//! Samples as a matrix of `f64` on the host, and blocks of squared distances or inner products between two of them.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Error, Noise, Result};
use nalgebra::{DMatrixView, DMatrixViewMut, Dyn};
use rayon::prelude::*;

/// `n` points of dimension `d`, row by row.
#[derive(Clone, Debug)]
pub struct Points {
    n: usize,
    d: usize,
    values: Vec<f64>,
}

impl Points {
    /// The rows of a tensor `(n, event…)`.
    ///
    /// # Errors
    /// If a value is not finite: a metric of such samples would mean nothing.
    pub fn new(x: &Tensor) -> Result<Self> {
        let n = x.dims().first().copied().unwrap_or(0);
        let values: Vec<f64> = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let d = values.len() / n.max(1);
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let bad = values.iter().filter(|v| !v.is_finite()).count();
            let got = format!("{bad} others, the first in row {}", i / d.max(1));
            return Err(Error::data("samples", "finite values", got));
        }
        Ok(Self { n, d, values })
    }

    /// The points with these values, row by row; as many as fit.
    pub(crate) fn from_values(values: Vec<f64>, d: usize) -> Self {
        Self { n: values.len() / d.max(1), d, values }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Dimension.
    pub fn dims(&self) -> usize {
        self.d
    }

    /// Point `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.d..(i + 1) * self.d]
    }

    /// All coordinates, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The points in order.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        (0..self.n).map(|i| self.row(i))
    }

    /// Some of the points, by index.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { n: rows.len(), d: self.d, values }
    }

    /// The points, or `most` of them at random where there are more.
    pub fn at_most(&self, most: usize, noise: &Noise) -> Cow<'_, Self> {
        if self.n <= most {
            return Cow::Borrowed(self);
        }
        Cow::Owned(self.select(&noise.clone().permutation(self.n)[..most]))
    }

    /// These points and below them those of `other`, of the same dimension.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { n: self.n + other.n, d: self.d, values: [&self.values[..], &other.values].concat() }
    }

    /// The mean of the points.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.d];
        for row in self.rows() {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
        }
        mean.iter_mut().for_each(|m| *m /= self.n.max(1) as f64);
        mean
    }

    /// The points moved by `−by`.
    #[must_use]
    pub fn minus(&self, by: &[f64]) -> Self {
        let values = self.rows().flat_map(|row| row.iter().zip(by).map(|(v, b)| v - b)).collect();
        Self { values, ..*self }
    }

    /// As a tensor `(n, d)`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, (self.n, self.d), &Device::Cpu)?)
    }
}

/// Rows of `d` numbers as a matrix. Do not multiply it from the right: nalgebra's product of a strided matrix with a
/// thin one reads out of bounds; [`products`] is safe.
pub(super) fn view(rows: &[f64], d: usize) -> DMatrixView<'_, f64, Dyn, Dyn> {
    DMatrixView::from_slice_with_strides(rows, rows.len() / d.max(1), d, d, 1)
}

/// `⟨a_i, b_j⟩` of rows of `d` numbers, row by row of `a`.
pub(super) fn products(a: &[f64], b: &[f64], d: usize, out: &mut [f64]) {
    /// Where nalgebra leaves the product to the blocked kernel, which takes any strides.
    const THIN: usize = 5;
    let (n, m) = (a.len() / d.max(1), b.len() / d.max(1));
    if n.min(m).min(d) > THIN {
        // Row-major (n × m) is column-major (m × n).
        let mut product = DMatrixViewMut::from_slice(out, m, n);
        product.gemm(1.0, &view(b, d), &view(a, d).transpose(), 0.0);
        return;
    }
    for (a, out) in a.chunks_exact(d).zip(out.chunks_exact_mut(m.max(1))) {
        for (b, out) in b.chunks_exact(d).zip(out) {
            *out = a.iter().zip(b).map(|(a, b)| a * b).sum();
        }
    }
}

/// What is computed for a pair of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `‖a − b‖²`. In more than eight dimensions it comes from a matrix product, `‖a‖² + ‖b‖² − 2⟨a, b⟩` around
    /// the mean of b; where that cancels, from the difference itself. So points that coincide are at distance 0.
    SquaredDistance,
    /// `⟨a, b⟩`.
    Product,
}

/// Up to this dimension differences are taken directly.
const DIRECT: usize = 8;
/// Rows per matrix product above it, and per task. Fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 64;
/// Below this part of the squared norms a squared distance has lost too many digits to cancellation.
const CANCELLED: f64 = 1e-4;

/// A block of the matrix of all pairs: some rows of `a` against a run of rows of `b`.
pub struct Block<'a> {
    /// The first row.
    pub start: usize,
    /// The first column.
    pub from: usize,
    /// The values, row by row.
    pub values: &'a [f64],
    /// Length of a row.
    pub width: usize,
}

impl Block<'_> {
    /// Index and values of each row.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.values.chunks_exact(self.width.max(1)).enumerate().map(|(i, row)| (self.start + i, row))
    }
}

/// Visits the matrix of all pairs block by block, in parallel; the results come in the order of the rows.
///
/// # Errors
/// If the dimensions differ.
pub fn for_each_block<R: Send>(
    a: &Points,
    b: &Points,
    pairing: Pairing,
    visit: impl Fn(Block) -> R + Sync,
) -> Result<Vec<R>> {
    blocks(a, b, pairing, false, visit)
}

/// Visits every pair of distinct points `i < j` of one sample: row `i` of a block begins at column `from ≤ i`.
///
/// # Errors
/// Never for finite points.
pub fn for_each_pair_block<R: Send>(
    x: &Points,
    pairing: Pairing,
    visit: impl Fn(Block) -> R + Sync,
) -> Result<Vec<R>> {
    blocks(x, x, pairing, true, visit)
}

/// For every point `i` of `a`, `visit(i, r)` with `r_j` the squared distance or product with every `b_j`.
///
/// # Errors
/// If the dimensions differ.
pub fn for_each_row<R: Send>(
    a: &Points,
    b: &Points,
    pairing: Pairing,
    visit: impl Fn(usize, &[f64]) -> R + Sync,
) -> Result<Vec<R>> {
    let nested = for_each_block(a, b, pairing, |block| {
        block.rows().map(|(i, row)| visit(i, row)).collect::<Vec<_>>()
    })?;
    Ok(nested.into_iter().flatten().collect())
}

/// Every pair of distinct points `i < j` of one sample, shown once to one of a few states that share the work:
/// `visit(i, from, r, state)` with `r_j` the squared distance or product of `x_i` and `x_{from + j}`; there are also some
/// `from + j ≤ i`. Pieces of rows stay in the processor's cache, which whole rows leave. How many states there are is up
/// to the machine, so what is made of them must not depend on who saw what.
pub(super) fn fold_pairs<S: Send>(
    x: &Points,
    pairing: Pairing,
    start: impl Fn() -> S + Sync,
    visit: impl Fn(usize, usize, &[f64], &mut S) + Sync,
) -> Vec<S> {
    /// Columns per piece.
    const PIECE: usize = 512;
    let pairs = Pairs::new(x, x, pairing);
    let shares = rayon::current_num_threads().min(x.n.div_ceil(BLOCK)).max(1);
    let share = |first: usize| {
        let (mut state, mut buffer) = (start(), Vec::new());
        for k in (first..x.n.div_ceil(BLOCK)).step_by(shares) {
            let rows = k * BLOCK..((k + 1) * BLOCK).min(x.n);
            for from in (rows.start..x.n).step_by(PIECE) {
                let columns = from..(from + PIECE).min(x.n);
                buffer.resize(rows.len() * columns.len(), 0.0);
                pairs.fill(&rows, &columns, &mut buffer);
                for (i, row) in rows.clone().zip(buffer.chunks_exact(columns.len())) {
                    visit(i, from, row, &mut state);
                }
            }
        }
        state
    };
    (0..shares).into_par_iter().map(share).collect()
}

fn blocks<R: Send>(
    a: &Points,
    b: &Points,
    pairing: Pairing,
    upper: bool,
    visit: impl Fn(Block) -> R + Sync,
) -> Result<Vec<R>> {
    if a.d != b.d {
        return Err(Error::data("samples", format!("dimension {} as the other sample", b.d), a.d));
    }
    let pairs = Pairs::new(a, b, pairing);
    let block = |buffer: &mut Vec<f64>, k: usize| {
        let rows = k * BLOCK..((k + 1) * BLOCK).min(a.n);
        let columns = if upper { rows.start } else { 0 }..b.n;
        buffer.resize(rows.len() * columns.len(), 0.0);
        pairs.fill(&rows, &columns, buffer);
        visit(Block { start: rows.start, from: columns.start, width: columns.len(), values: buffer })
    };
    Ok((0..a.n.div_ceil(BLOCK)).into_par_iter().map_init(Vec::new, block).collect())
}

/// Two samples, prepared for blocks.
struct Pairs<'a> {
    a: Cow<'a, Points>,
    b: Cow<'a, Points>,
    norms: Option<(Vec<f64>, Vec<f64>)>,
    /// Coordinates of `b`, one dimension after the other, where differences are taken directly.
    columns: Vec<f64>,
}

impl<'a> Pairs<'a> {
    fn new(a: &'a Points, b: &'a Points, pairing: Pairing) -> Self {
        let direct = a.d <= DIRECT && pairing == Pairing::SquaredDistance;
        let columns = if direct {
            (0..b.d).flat_map(|k| b.values.iter().skip(k).step_by(b.d).copied()).collect()
        } else {
            Vec::new()
        };
        if direct || pairing == Pairing::Product {
            return Self { a: Cow::Borrowed(a), b: Cow::Borrowed(b), norms: None, columns };
        }
        // A common shift changes no distance and keeps the cancellation small.
        let centre = b.mean();
        let (a, b) = (a.minus(&centre), b.minus(&centre));
        let norms = |p: &Points| p.rows().map(|r| r.iter().map(|v| v * v).sum()).collect();
        Self { norms: Some((norms(&a), norms(&b))), a: Cow::Owned(a), b: Cow::Owned(b), columns }
    }

    fn fill(&self, rows: &Range<usize>, columns: &Range<usize>, out: &mut [f64]) {
        const RUN: usize = 16;
        let width = columns.len();
        if !self.columns.is_empty() {
            for (i, out) in rows.clone().zip(out.chunks_exact_mut(width)) {
                self.differences(i, columns, out);
            }
            return;
        }
        let d = self.a.d;
        let a = &self.a.values[rows.start * d..rows.end * d];
        products(a, &self.b.values[columns.start * d..columns.end * d], d, out);
        let Some((na, nb)) = &self.norms else { return };
        for (i, out) in rows.clone().zip(out.chunks_exact_mut(width)) {
            let (na, nb) = (na[i], &nb[columns.clone()]);
            for (k, (out, nb)) in out.chunks_mut(RUN).zip(nb.chunks(RUN)).enumerate() {
                // Without a branch per pair: cancellation is rare.
                let mut cancelled = false;
                for (r, nb) in out.iter_mut().zip(nb) {
                    let norms = na + nb;
                    *r = norms - 2.0 * *r;
                    cancelled |= *r < CANCELLED * norms;
                }
                if !cancelled {
                    continue;
                }
                for (j, (r, nb)) in (columns.start + k * RUN..).zip(out.iter_mut().zip(nb)) {
                    if *r < CANCELLED * (na + nb) {
                        let (x, y) = (self.a.row(i), self.b.row(j));
                        *r = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
                    }
                }
            }
        }
    }

    fn differences(&self, i: usize, columns: &Range<usize>, out: &mut [f64]) {
        let n = self.b.n;
        for (k, x) in self.a.row(i).iter().enumerate() {
            let column = &self.columns[k * n + columns.start..k * n + columns.end];
            if k == 0 {
                out.iter_mut().zip(column).for_each(|(r, y)| *r = (x - y) * (x - y));
            } else {
                out.iter_mut().zip(column).for_each(|(r, y)| *r += (x - y) * (x - y));
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `n` standard normal points of dimension `d`, scaled and moved along the first axis.
    pub(crate) fn normal(n: usize, d: usize, scale: f64, shift: f64, seed: u64) -> Points {
        let mut values = Noise::new(seed).fork("points").normals(n * d);
        for (i, v) in values.iter_mut().enumerate() {
            *v = scale * *v + if i % d == 0 { shift } else { 0.0 };
        }
        Points { n, d, values }
    }

    pub(crate) fn of(rows: &[&[f64]]) -> Points {
        Points { n: rows.len(), d: rows[0].len(), values: rows.concat() }
    }

    pub(crate) fn permuted(p: &Points, seed: u64) -> Points {
        p.select(&Noise::new(seed).permutation(p.n))
    }

    #[test]
    fn pairs_are_those_of_the_definition() -> Result<()> {
        // The last of the sizes leaves a thin block.
        for d in [1, 2, 8, 9, 50] {
            let (a, b) = (normal(258, d, 1.0, 5.0, 1), normal(257, d, 1.0, 5.0, 2));
            for pairing in [Pairing::SquaredDistance, Pairing::Product] {
                let of = |x: &[f64], y: &[f64]| match pairing {
                    Pairing::SquaredDistance => x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>(),
                    Pairing::Product => x.iter().zip(y).map(|(x, y)| x * y).sum(),
                };
                let rows = for_each_row(&a, &b, pairing, |i, r| (i, r.to_vec()))?;
                assert_eq!(rows.len(), 258);
                for (i, (at, row)) in rows.iter().enumerate() {
                    assert!(*at == i && row.len() == 257);
                    for (j, got) in row.iter().enumerate() {
                        let want = of(a.row(i), b.row(j));
                        assert!((got - want).abs() < 1e-13 * (25.0 + want.abs()), "{d}: {got} {want}");
                    }
                }
                let mut pairs = 0;
                for_each_pair_block(&a, pairing, |block| {
                    let rows = block.rows().map(|(i, row)| (i, block.from, row.to_vec()));
                    rows.collect::<Vec<_>>()
                })?
                .concat()
                .iter()
                .for_each(|(i, from, row)| {
                    for (j, got) in (*from..).zip(row).filter(|(j, _)| j > i) {
                        let want = of(a.row(*i), a.row(j));
                        assert!((got - want).abs() < 1e-13 * (25.0 + want.abs()), "{d}: {got} {want}");
                        pairs += 1;
                    }
                });
                assert_eq!(pairs, 258 * 257 / 2);
            }
        }
        let of = Pairing::SquaredDistance;
        assert!(for_each_row(&normal(3, 2, 1.0, 0.0, 0), &normal(3, 3, 1.0, 0.0, 0), of, |_, _| ()).is_err());
        Ok(())
    }

    /// Far from the origin the product formula alone would leave 1e-4 of rounding on the diagonal.
    #[test]
    fn coinciding_points_are_at_distance_zero() -> Result<()> {
        let x = normal(130, 40, 1.0, 1e6, 3);
        let diagonal = for_each_row(&x, &permuted(&x, 1), Pairing::SquaredDistance, |_, r| {
            r.iter().fold(f64::INFINITY, |a, v| a.min(*v))
        })?;
        assert!(diagonal.iter().all(|r| *r == 0.0));
        Ok(())
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let x = Tensor::new(&[[0f32, 1.0], [f32::NAN, 1.0]], &Device::Cpu).expect("a tensor");
        let message = Points::new(&x).expect_err("NaN").to_string();
        assert!(message.contains("row 1"), "{message}");
    }

    #[test]
    fn a_limit_takes_a_random_subset() {
        let x = normal(50, 2, 1.0, 0.0, 1);
        let few = x.at_most(20, &Noise::new(1));
        assert!(few.len() == 20 && few.rows().all(|r| x.rows().any(|x| x == r)));
        assert_ne!(few.row(0), x.row(0));
        assert_eq!(x.at_most(50, &Noise::new(0)).values(), x.values());
        assert_eq!(x.and(&few).len(), 70);
        assert!(x.minus(&x.mean()).mean().iter().all(|m| m.abs() < 1e-15));
    }
}
