//! Samples as a matrix of `f64` on the host, and the squared distances between two of them.

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Error, Result};
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

    /// The first `n` points.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        let n = n.min(self.n);
        Self { n, d: self.d, values: self.values[..n * self.d].to_vec() }
    }

    /// As a tensor `(n, d)`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, (self.n, self.d), &Device::Cpu)?)
    }
}

/// Up to this dimension differences are taken directly.
const DIRECT: usize = 8;
/// Rows per matrix product above it.
const BLOCK: usize = 256;

/// For every point `i` of `a`, `visit(i, r)` with `r_j = ‖a_i − b_j‖²` for all `j`; results in the order of `a`.
///
/// In high dimension by blocked products, `‖x‖² + ‖y‖² − 2⟨x, y⟩` clipped at 0, in `f64`: the absolute error is
/// about 1e-15 of the squared norms.
///
/// # Errors
/// If the dimensions differ.
pub fn for_each_row<R: Send>(
    a: &Points,
    b: &Points,
    visit: impl Fn(usize, &[f64]) -> R + Sync,
) -> Result<Vec<R>> {
    if a.d != b.d {
        return Err(Error::data("samples", format!("dimension {} as the other sample", b.d), a.d));
    }
    if a.d <= DIRECT {
        let direct = |row: &mut Vec<f64>, i: usize| {
            let x = a.row(i);
            row.clear();
            row.extend((0..b.n).map(|j| x.iter().zip(b.row(j)).map(|(x, y)| (x - y) * (x - y)).sum::<f64>()));
            visit(i, row)
        };
        return Ok((0..a.n).into_par_iter().map_init(Vec::new, direct).collect());
    }
    let norms = |p: &Points| -> Vec<f64> { (0..p.n).map(|i| p.row(i).iter().map(|v| v * v).sum()).collect() };
    let (na, nb) = (norms(a), norms(b));
    let transposed = b.tensor()?.t()?;
    let mut out = Vec::with_capacity(a.n);
    for start in (0..a.n).step_by(BLOCK) {
        let rows = BLOCK.min(a.n - start);
        let block =
            Tensor::from_slice(&a.values[start * a.d..(start + rows) * a.d], (rows, a.d), &Device::Cpu)?;
        let mut products = block.matmul(&transposed)?.flatten_all()?.to_vec1::<f64>()?;
        let finish = |(i, row): (usize, &mut [f64])| {
            let i = start + i;
            for (p, nb) in row.iter_mut().zip(&nb) {
                *p = (na[i] + nb - 2.0 * *p).max(0.0);
            }
            visit(i, row)
        };
        out.par_extend(products.par_chunks_mut(b.n.max(1)).enumerate().map(finish));
    }
    Ok(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use genzoo_core::Noise;

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
        let order = Noise::new(seed).permutation(p.n);
        of(&order.iter().map(|&i| p.row(i)).collect::<Vec<_>>())
    }

    #[test]
    fn distances_are_those_of_the_definition() -> Result<()> {
        for d in [1, 2, 8, 9, 50] {
            let (a, b) = (normal(300, d, 1.0, 5.0, 1), normal(257, d, 1.0, 5.0, 2));
            let rows = for_each_row(&a, &b, |i, r| (i, r.to_vec()))?;
            assert_eq!(rows.len(), 300);
            for (i, (at, row)) in rows.iter().enumerate() {
                assert!(*at == i && row.len() == 257);
                for (j, got) in row.iter().enumerate() {
                    let want: f64 = (0..d).map(|k| (a.row(i)[k] - b.row(j)[k]).powi(2)).sum();
                    assert!((got - want).abs() < 1e-11 * (1.0 + want), "{d}: {got} {want}");
                }
            }
        }
        assert!(for_each_row(&normal(3, 2, 1.0, 0.0, 0), &normal(3, 3, 1.0, 0.0, 0), |_, _| ()).is_err());
        Ok(())
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let x = Tensor::new(&[[0f32, 1.0], [f32::NAN, 1.0]], &Device::Cpu).expect("a tensor");
        let message = Points::new(&x).expect_err("NaN").to_string();
        assert!(message.contains("row 1"), "{message}");
    }
}
