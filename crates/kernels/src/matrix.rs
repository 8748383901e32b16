//! Matrix products over slices: a bounds-checked face on the `gemm` crate, which picks AVX-512 at run time.
//!
//! Each element sums over k in an order set by the shape alone, so the bits do not depend on the threads.

use gemm::Parallelism;

use crate::real::Real;

/// A matrix view: `data[i · row + j · col]`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row: usize,
    col: usize,
}

impl<'a, T> View<'a, T> {
    /// `data` holds `rows × cols` row by row, rows `stride` apart.
    pub(crate) fn rows(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, row: stride, col: 1 }
    }

    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row: self.col, col: self.row, ..self }
    }

    fn last(&self) -> usize {
        (self.rows.max(1) - 1) * self.row + (self.cols.max(1) - 1) * self.col
    }
}

/// Whether a product may use the thread pool; inside a parallel section it should not.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    One,
    All,
}

/// `out = a b`, or `out += a b` with `accumulate`; `out` is row-major with rows `stride` apart.
pub(crate) fn product<T: Real>(
    out: &mut [T],
    stride: usize,
    accumulate: bool,
    a: View<T>,
    b: View<T>,
    threads: Threads,
) {
    scaled_product(T::ONE, out, stride, accumulate, a, b, threads);
}

/// [`product`] of `factor · a` and `b`.
pub(crate) fn scaled_product<T: Real>(
    factor: T,
    out: &mut [T],
    stride: usize,
    accumulate: bool,
    a: View<T>,
    b: View<T>,
    threads: Threads,
) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "inner sizes of a matrix product");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * stride + n <= out.len() && n <= stride, "output of a matrix product out of bounds");
    if k == 0 {
        if !accumulate {
            for i in 0..m {
                out[i * stride..i * stride + n].fill(T::ZERO);
            }
        }
        return;
    }
    assert!(a.last() < a.data.len() && b.last() < b.data.len(), "operand of a matrix product out of bounds");
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: T is f32 or f64, which gemm serves; all three index ranges were checked above against their slices, and
    // `out` is borrowed exclusively, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            T::ONE,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| (((i * 7919 + seed * 104_729) % 1009) as f64) / 1009.0 - 0.5).collect()
    }

    #[test]
    fn agrees_with_the_triple_loop_in_all_layouts() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (33, 2, 17), (16, 70, 1), (1, 9, 40), (65, 64, 63)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let want: Vec<f64> =
                (0..m * n).map(|i| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum()).collect();
            let transpose = |x: &[f64], r: usize, c: usize| -> Vec<f64> {
                (0..r * c).map(|i| x[i % r * c + i / r]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            for (left, right) in [
                (View::rows(&a, m, k, k), View::rows(&b, k, n, n)),
                (View::rows(&at, k, m, m).t(), View::rows(&b, k, n, n)),
                (View::rows(&a, m, k, k), View::rows(&bt, n, k, k).t()),
            ] {
                for accumulate in [false, true] {
                    let mut out = vec![1.0; m * n];
                    product(&mut out, n, accumulate, left, right, Threads::All);
                    let start = if accumulate { 1.0 } else { 0.0 };
                    for (got, want) in out.iter().zip(&want) {
                        assert!((got - want - start).abs() < 1e-12, "{m}x{k}x{n}");
                    }
                    scaled_product(-0.5, &mut out, n, true, left, right, Threads::All);
                    for (got, want) in out.iter().zip(&want) {
                        assert!((got - 0.5 * want - start).abs() < 1e-12, "{m}x{k}x{n}");
                    }
                }
            }
        }
    }
}
