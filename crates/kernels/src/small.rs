//! Determinant, inverse and solution of small square systems, many at once, with gradients closed under
//! differentiation:
//!
//! ```text
//! inverse(A)              ∂A = −A⁻ᵀ g A⁻ᵀ
//! log_abs_det(A)          ∂A = g A⁻ᵀ
//! solve(A, B) = A⁻¹B      ∂B = A⁻ᵀ g,   ∂A = −∂B (A⁻¹B)ᵀ
//! ```
//! By Gaussian elimination with partial pivoting in f64, whatever the type (Golub & Van Loan 2013, Alg. 3.4.1). The
//! relative error is that of f64 times the condition number, then one rounding. Sizes of flows' 1×1 convolutions and
//! triangular factors, up to some hundreds; not for large systems.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::real::Real;
use crate::support::{output, slice, with_real};

/// `A⁻¹` of each matrix of `(…, d, d)`.
///
/// # Errors
/// On other shapes, other types than f32 and f64, and a singular matrix.
pub fn inverse(a: &Tensor) -> Result<Tensor> {
    let (flat, shape) = square("inverse", a)?;
    flat.apply_op1(Inverse)?.reshape(shape)
}

/// `ln |det A|` of each matrix of `(…, d, d)`, shaped `(…)`; −∞ for a singular one, which has no gradient.
///
/// # Errors
/// On other shapes and other types than f32 and f64.
pub fn log_abs_det(a: &Tensor) -> Result<Tensor> {
    let (flat, shape) = square("log_abs_det", a)?;
    flat.apply_op1(LogAbsDet)?.reshape(&shape[..shape.len() - 2])
}

/// `X` with `A X = B` for each pair of `(…, d, d)` and `(…, d, k)`.
///
/// # Errors
/// On other shapes, other types than f32 and f64, and a singular matrix.
pub fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (flat, shape) = square("solve", a)?;
    let (n, d, _) = flat.dims3()?;
    let dims = b.dims();
    if dims.len() != shape.len()
        || dims[..dims.len() - 1] != shape[..shape.len() - 1]
        || b.dtype() != a.dtype()
    {
        bail!("solve: B {dims:?} does not fit A {:?}", a.dims());
    }
    let columns = dims[dims.len() - 1];
    flat.apply_op2(&b.reshape((n, d, columns))?.contiguous()?, Solve)?.reshape(dims)
}

/// `(n, d, d)`, contiguous on the CPU, and the shape it had.
fn square(what: &str, a: &Tensor) -> Result<(Tensor, Vec<usize>)> {
    let shape = a.dims().to_vec();
    match shape[..] {
        [.., rows, columns] if rows == columns && rows > 0 => {
            let n = shape[..shape.len() - 2].iter().product::<usize>();
            Ok((a.reshape((n, rows, columns))?.contiguous()?, shape))
        }
        _ => bail!("{what}: expected square matrices (…, d, d), got {shape:?}"),
    }
}

/// `P A = L U` of one matrix: both factors in one square, and the row that stands in each place.
struct Factors {
    lu: Vec<f64>,
    rows: Vec<usize>,
}

impl Factors {
    fn new<T: Real>(a: &[T], d: usize) -> Self {
        let mut lu: Vec<f64> = a.iter().map(|v| v.wide()).collect();
        let mut rows: Vec<usize> = (0..d).collect();
        for k in 0..d {
            let size = |i: &usize| lu[i * d + k].abs();
            let pivot = (k..d).max_by(|i, j| size(i).total_cmp(&size(j))).unwrap_or(k);
            if pivot != k {
                rows.swap(k, pivot);
                for j in 0..d {
                    lu.swap(k * d + j, pivot * d + j);
                }
            }
            let (upper, lower) = lu.split_at_mut((k + 1) * d);
            let top = &upper[k * d..];
            for row in lower.chunks_exact_mut(d) {
                let factor = row[k] / top[k];
                row[k] = factor;
                if factor != 0.0 {
                    for (v, t) in row[k + 1..].iter_mut().zip(&top[k + 1..]) {
                        *v -= factor * t;
                    }
                }
            }
        }
        Self { lu, rows }
    }

    fn size(&self) -> usize {
        self.rows.len()
    }

    fn is_singular(&self) -> bool {
        (0..self.size()).any(|i| self.lu[i * self.size() + i] == 0.0)
    }

    fn log_abs_det(&self) -> f64 {
        (0..self.size()).map(|i| self.lu[i * self.size() + i].abs().ln()).sum()
    }

    /// `A⁻¹ B` for `b(i, j)` with `columns` columns, row by row.
    fn solve(&self, columns: usize, b: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let d = self.size();
        let mut x: Vec<f64> = (0..d * columns).map(|k| b(self.rows[k / columns], k % columns)).collect();
        for i in 0..d {
            let (done, rest) = x.split_at_mut(i * columns);
            for (k, row) in done.chunks_exact(columns).enumerate() {
                let factor = self.lu[i * d + k];
                rest[..columns].iter_mut().zip(row).for_each(|(x, y)| *x -= factor * y);
            }
        }
        for i in (0..d).rev() {
            let (rest, done) = x.split_at_mut((i + 1) * columns);
            let own = &mut rest[i * columns..];
            for (k, row) in done.chunks_exact(columns).enumerate() {
                let factor = self.lu[i * d + i + 1 + k];
                own.iter_mut().zip(row).for_each(|(x, y)| *x -= factor * y);
            }
            own.iter_mut().for_each(|x| *x /= self.lu[i * d + i]);
        }
        x
    }
}

const SINGULAR: &str = "a matrix is singular; expected one with an inverse";

/// `solve(A, ·)` of all matrices; `b(n, i, j)` is the right side.
fn solutions<T: Real>(
    a: &[T],
    d: usize,
    columns: usize,
    b: impl Fn(usize, usize, usize) -> f64 + Sync,
) -> Result<Vec<T>> {
    let one = |(n, a): (usize, &[T])| {
        let factors = Factors::new(a, d);
        if factors.is_singular() {
            bail!("{SINGULAR}");
        }
        Ok(factors.solve(columns, |i, j| b(n, i, j)).into_iter().map(T::of).collect::<Vec<T>>())
    };
    let parts: Vec<Vec<T>> = a.par_chunks(d * d).enumerate().map(one).collect::<Result<_>>()?;
    Ok(parts.concat())
}

/// The transpose of each matrix.
fn transposed(a: &Tensor) -> Result<Tensor> {
    a.transpose(1, 2)?.contiguous()
}

struct Inverse;

impl CustomOp1 for Inverse {
    fn name(&self) -> &'static str {
        "inverse"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, d, _) = l.shape().dims3()?;
        with_real!(s.dtype(), T, {
            let a = slice::<T>(s, l)?;
            Ok(output(solutions(a, d, d, |_, i, j| f64::from(u8::from(i == j)))?, l.shape()))
        })
    }
    fn bwd(&self, _: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let y = transposed(y)?;
        y.matmul(&g.contiguous()?)?.matmul(&y)?.neg().map(Some)
    }
}

struct LogAbsDet;

impl CustomOp1 for LogAbsDet {
    fn name(&self) -> &'static str {
        "log_abs_det"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d, _) = l.shape().dims3()?;
        with_real!(s.dtype(), T, {
            let one = |a: &[T]| T::of(Factors::new(a, d).log_abs_det());
            Ok(output(slice::<T>(s, l)?.par_chunks(d * d).map(one).collect::<Vec<T>>(), n))
        })
    }
    fn bwd(&self, a: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        transposed(&inverse(a)?)?.broadcast_mul(&g.reshape((g.elem_count(), 1, 1))?).map(Some)
    }
}

struct Solve;

impl CustomOp2 for Solve {
    fn name(&self) -> &'static str {
        "solve"
    }
    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, d, columns) = l2.shape().dims3()?;
        with_real!(s1.dtype(), T, {
            let (a, b) = (slice::<T>(s1, l1)?, slice::<T>(s2, l2)?);
            let at = |n: usize, i: usize, j: usize| b[(n * d + i) * columns + j].wide();
            Ok(output(solutions(a, d, columns, at)?, l2.shape()))
        })
    }
    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let db = solve(&transposed(a)?, &g.contiguous()?)?;
        let da = if a.track_op() { Some(db.matmul(&transposed(y)?)?.neg()?) } else { None };
        Ok((da, b.track_op().then_some(db)))
    }
}
