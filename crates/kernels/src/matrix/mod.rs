//! Matrix products over slices, bounds-checked: in f32 on AVX-512 by an own kernel, else by the `gemm` crate.
//!
//! Each element sums over k in an order set by the shape alone, so the bits do not depend on the threads.

#[cfg(target_arch = "x86_64")]
mod avx512;

use gemm::Parallelism;

#[cfg(target_arch = "x86_64")]
use crate::crew::share;
use crate::real::Real;
#[cfg(target_arch = "x86_64")]
use crate::support::Shared;
use crate::support::fill_blocks;

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
    compute(factor, out, stride, accumulate, a, b, threads, |_, _, _| {});
}

/// `out = a b`, row after row; then `finish(i, j, piece)` for each piece of a row, row i from column j on, once, by the
/// thread that has it in its cache.
pub(crate) fn product_then<T: Real>(
    out: &mut [T],
    a: View<T>,
    b: View<T>,
    finish: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    if !compute(T::ONE, out, b.cols, false, a, b, Threads::All, &finish) {
        let width = b.cols.max(1);
        let rows = (16 * 1024 / width).max(1);
        fill_blocks(out, rows * width, |start, block| {
            for (i, row) in block.chunks_mut(width).enumerate() {
                finish(start / width + i, 0, row);
            }
        });
    }
}

/// `out (+)= factor · a b`; returns whether `finish` was called.
#[allow(clippy::too_many_arguments)]
fn compute<T: Real>(
    factor: T,
    out: &mut [T],
    stride: usize,
    accumulate: bool,
    a: View<T>,
    b: View<T>,
    threads: Threads,
    finish: impl Fn(usize, usize, &mut [T]) + Sync,
) -> bool {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "inner sizes of a matrix product");
    if m == 0 || n == 0 {
        return false;
    }
    assert!((m - 1) * stride + n <= out.len() && n <= stride, "output of a matrix product out of bounds");
    if k == 0 {
        if !accumulate {
            for i in 0..m {
                out[i * stride..i * stride + n].fill(T::ZERO);
            }
        }
        return false;
    }
    assert!(a.last() < a.data.len() && b.last() < b.data.len(), "operand of a matrix product out of bounds");
    #[cfg(target_arch = "x86_64")]
    if wide(factor, out, stride, accumulate, a, b, threads, finish) {
        return true;
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = finish;
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
    false
}

/// [`compute`] by the kernel of `avx512`, where there is one and the product large enough to pack for; all ranges were
/// checked. Returns whether it was.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::too_many_arguments)]
fn wide<T: Real>(
    factor: T,
    out: &mut [T],
    stride: usize,
    accumulate: bool,
    a: View<T>,
    b: View<T>,
    threads: Threads,
    finish: impl Fn(usize, usize, &mut [T]) + Sync,
) -> bool {
    use avx512::{Place, Target, multiply};
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let steps_fit = [(a.row, a.col), (b.row, b.col)].iter().all(|&(row, col)| row == 1 || col == 1);
    if crate::simd::level() != crate::simd::Level::Avx512 || !steps_fit || m < 16 || n < 8 {
        return false;
    }
    let (Some(x), Some(y), Some(out)) = (T::as_f32(a.data), T::as_f32(b.data), T::as_f32_mut(out)) else {
        return false;
    };
    let to = Shared::new(out);
    let workers = match threads {
        Threads::All if m * k * n >= ALONE => rayon::current_num_threads(),
        _ => 1,
    };
    let (down, across) = grid(workers, m.div_ceil(8), n.div_ceil(16));
    let part = |piece: usize| {
        let cut = |length: usize, unit: usize, i: usize, parts: usize| {
            (length.div_ceil(unit) * i / parts * unit).min(length)
        };
        let (i, j) = (piece / across, piece % across);
        let rows = cut(m, 8, i, down)..cut(m, 8, i + 1, down);
        let columns = cut(n, 16, j, across)..cut(n, 16, j + 1, across);
        let size = (rows.len(), k, columns.len());
        let a = Place { data: x[rows.start * a.row..].as_ptr(), row: a.row, col: a.col };
        let b = Place { data: y[columns.start * b.col..].as_ptr(), row: b.row, col: b.col };
        let out = to.at(rows.start * stride + columns.start);
        // SAFETY: the features were found; `compute` checked the ranges, of which these are disjoint parts.
        unsafe { multiply(size, a, b, Target { out, stride, accumulate, factor: factor.wide() as f32 }) };
        for row in rows {
            // SAFETY: this piece of the row is no other task's.
            let piece = unsafe { to.part(row * stride + columns.start, columns.len()) };
            if let Some(piece) = T::of_f32(piece) {
                finish(row, columns.start, piece);
            }
        }
    };
    share(down * across, part);
    true
}

/// Products of fewer terms are not worth a second thread.
#[cfg(target_arch = "x86_64")]
const ALONE: usize = 1 << 19;

/// How many parts down and across share `rows` blocks of rows and `columns` registers of columns soonest among
/// `workers`: a block in a register costs four cycles per term, packing the register for a part two.
#[cfg(target_arch = "x86_64")]
fn grid(workers: usize, rows: usize, columns: usize) -> (usize, usize) {
    let cost = |&(down, across): &(usize, usize)| columns.div_ceil(across) * (4 * rows.div_ceil(down) + 2);
    let grids = (1..=workers.min(columns)).map(|across| ((workers / across).min(rows).max(1), across));
    grids.min_by_key(cost).unwrap_or((1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<T: Real>(n: usize, seed: usize) -> Vec<T> {
        (0..n).map(|i| T::of((((i * 7919 + seed * 104_729) % 1009) as f64) / 1009.0 - 0.5)).collect()
    }

    /// The three layouts of `a (m, k)` and `b (k, n)`, both kept in rows of their own that are one longer than needed.
    fn in_all_layouts<T: Real>((m, k, n): (usize, usize, usize), mut check: impl FnMut(View<T>, View<T>)) {
        let (a, b) = (numbers::<T>(m * (k + 1), 1), numbers::<T>(k * (n + 1), 2));
        let turned = |x: &[T], rows: usize, cols: usize| -> Vec<T> {
            (0..cols * (rows + 1)).map(|i| x[i % (rows + 1) % rows * (cols + 1) + i / (rows + 1)]).collect()
        };
        let (at, bt) = (turned(&a, m, k), turned(&b, k, n));
        let (upright, right) = (View::rows(&a, m, k, k + 1), View::rows(&b, k, n, n + 1));
        check(upright, right);
        check(View::rows(&at, k, m, m + 1).t(), right);
        check(upright, View::rows(&bt, n, k, k + 1).t());
    }

    fn agrees_with_the_triple_loop<T: Real>(tolerance: f64) {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 7),
            (33, 2, 17),
            (16, 70, 1),
            (1, 9, 40),
            (65, 64, 63),
            (17, 1030, 50),
            (128, 40, 100),
            (100, 130, 784),
        ] {
            in_all_layouts::<T>((m, k, n), |a, b| {
                let at = |v: &View<T>, i: usize, j: usize| v.data[i * v.row + j * v.col].wide();
                let want: Vec<f64> =
                    (0..m * n).map(|i| (0..k).map(|l| at(&a, i / n, l) * at(&b, l, i % n)).sum()).collect();
                // Rows of the output two longer than needed, which must stay as they are.
                let stride = n + 2;
                for accumulate in [false, true] {
                    let mut out = vec![T::ONE; m * stride];
                    let start = if accumulate { 1.0 } else { 0.0 };
                    for (factor, sum) in [(1.0, 1.0), (-0.5, 0.5)] {
                        let again = accumulate || sum < 1.0;
                        scaled_product(T::of(factor), &mut out, stride, again, a, b, Threads::All);
                        for (i, got) in out.iter().enumerate() {
                            let (i, j) = (i / stride, i % stride);
                            let want = if j < n { start + sum * want[i * n + j] } else { 1.0 };
                            assert!(
                                (got.wide() - want).abs() < tolerance,
                                "{m}x{k}x{n} {} {want}",
                                got.wide()
                            );
                        }
                    }
                }
                let mut out = vec![T::ONE; m * n];
                product_then(&mut out, a, b, |i, j, piece| {
                    for (k, v) in piece.iter_mut().enumerate() {
                        *v += T::of((i * n + j + k) as f64);
                    }
                });
                for (i, (got, want)) in out.iter().zip(&want).enumerate() {
                    let error = (got.wide() - want - i as f64).abs();
                    assert!(
                        error < tolerance * (1.0 + i as f64 / 10.0),
                        "{m}x{k}x{n} finished {want} by {error}"
                    );
                }
            });
        }
    }

    #[test]
    fn agrees_with_the_triple_loop_in_all_layouts() {
        agrees_with_the_triple_loop::<f64>(1e-12);
        // k u Σ |a b| with k = 1030 and |a b| < ¼ is 1.6e-2; sums that err at random stay below 1e-4.
        agrees_with_the_triple_loop::<f32>(1e-4);
    }

    #[test]
    fn bits_do_not_depend_on_the_threads() {
        for size in [(128, 784, 400), (40, 1000, 70), (900, 64, 20)] {
            in_all_layouts::<f32>(size, |a, b| {
                let on = |threads: usize| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let mut out = vec![0f32; size.0 * size.2];
                    pool.install(|| product(&mut out, size.2, false, a, b, Threads::All));
                    out
                };
                let alone = on(1);
                assert!([2, 3, 5].into_iter().all(|threads| on(threads) == alone), "{size:?}");
            });
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_output_is_cut_evenly() {
        assert_eq!(grid(1, 16, 25), (1, 1));
        assert_eq!(grid(4, 1, 1), (1, 1));
        // 128 rows and 40, 400, 500 or 784 columns; many rows and 32 columns.
        for (rows, columns) in [(16, 3), (16, 25), (16, 32), (16, 49), (100, 2)] {
            for workers in [2, 4] {
                let (down, across) = grid(workers, rows, columns);
                let largest = rows.div_ceil(down) * columns.div_ceil(across);
                assert!(
                    workers * largest * 100 <= 105 * rows * columns,
                    "{rows} x {columns} as {down} x {across}"
                );
            }
        }
    }
}
