//! Both instruction sets against plain loops: the processor would otherwise choose one.

use super::loops::{lanes, transpose};
use super::planes::{Reads, Rows, SLACK, move_rows};
use super::weights::LANES;
use super::x86;

fn numbers(n: usize, salt: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-5, "{i}: {a} against {b}");
    }
}

/// The instruction sets this processor has.
fn levels() -> Vec<bool> {
    let mut wide = Vec::new();
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        wide.push(false);
    }
    if crate::simd::level() == crate::simd::Level::Avx512 {
        wide.push(true);
    }
    wide
}

#[test]
fn tiles_are_sums_of_shifted_runs() {
    let offsets = [0, 3, 40, 17, 5];
    for padded in [1, 4, 8] {
        for len in [1usize, 15, 16, 17, 33, 64, 130] {
            let x = numbers(40 + 144 + SLACK, 1);
            let w = numbers(offsets.len() * padded, 2);
            let stride = len.next_multiple_of(16);
            let mut want = vec![0.0; padded * len];
            for (i, want) in want.chunks_mut(len).enumerate() {
                for (q, y) in want.iter_mut().enumerate() {
                    *y = offsets.iter().enumerate().map(|(k, o)| w[k * padded + i] * x[o + q]).sum();
                }
            }
            for wide in levels() {
                let mut out = vec![0.0; padded * stride];
                // SAFETY: the features were detected; x is longer than the largest offset and the padded length.
                unsafe {
                    match wide {
                        true => x86::tile_avx512(&x, &offsets, &w, padded, len, &mut out, stride),
                        false => x86::tile_avx2(&x, &offsets, &w, padded, len, &mut out, stride),
                    }
                }
                let got: Vec<f32> = out.chunks(stride).flat_map(|row| row[..len].to_vec()).collect();
                assert_close(&got, &want);
            }
        }
    }
}

#[test]
fn outer_products_are_sums_over_pixels() {
    for entries in [1, 8, 9, 11, 20] {
        for width in [16, 32, 48] {
            let (row, size) = (9, (3, 5));
            let offsets: Vec<usize> = (0..entries).map(|k| k * 7 % 40).collect();
            let (x, dy) = (numbers(100, 1), numbers(15 * width, 2));
            let start = numbers(entries * width, 3);
            let mut want = start.clone();
            for (k, want) in want.chunks_mut(width).enumerate() {
                for q in 0..15 {
                    for (o, s) in want.iter_mut().enumerate() {
                        *s += x[offsets[k] + q / 5 * row + q % 5] * dy[q * width + o];
                    }
                }
            }
            for wide in levels() {
                let mut acc = start.clone();
                // SAFETY: the features were detected; offsets stay below 40 and pixels below 23 more.
                unsafe {
                    match wide {
                        true => x86::outer_avx512(&x, &offsets, row, &dy, size, &mut acc, width),
                        false => x86::outer_avx2(&x, &offsets, row, &dy, size, &mut acc, width),
                    }
                }
                assert_close(&acc, &want);
            }
        }
    }
}

#[test]
fn rows_move_where_they_belong() {
    let x = numbers(400, 1);
    for (from_step, to_step) in [(1, 1), (2, 1), (1, 2), (3, 1)] {
        for columns in [1, 7, 14, 16, 19, 33] {
            let from = Rows { start: 2, stride: columns * from_step + 1, step: from_step };
            let to = Rows { start: 1, stride: columns * to_step + 3, step: to_step };
            let mut out = vec![0.0; 400];
            move_rows(&x, from, &mut out, to, 3, columns);
            let mut want = vec![0.0; 400];
            for i in 0..3 {
                for j in 0..columns {
                    want[to.start + i * to.stride + j * to_step] =
                        x[from.start + i * from.stride + j * from_step];
                }
            }
            assert_eq!(out, want, "{columns} columns, steps {from_step} and {to_step}");
        }
    }
}

#[test]
fn lanes_are_sums_of_shifted_rows() {
    if crate::simd::level() != crate::simd::Level::Avx512 {
        return;
    }
    let offsets = vec![0, 3, 40, 17, 5];
    let (row, ahead) = (21, 48);
    for wide in [16, LANES] {
        for size in [(1, 1), (3, 7), (2, 16), (3, 20), (2, 14)] {
            let (x, w) = (numbers(200, 1), numbers(offsets.len() * ahead, 2));
            let mut want = vec![0.0; size.0 * size.1 * wide];
            for (q, want) in want.chunks_mut(wide).enumerate() {
                let at = q / size.1 * row + q % size.1;
                for (o, y) in want.iter_mut().enumerate() {
                    *y = offsets.iter().enumerate().map(|(k, from)| w[k * ahead + o] * x[from + at]).sum();
                }
            }
            let mut out = vec![0.0; want.len()];
            lanes(&x, &Reads::new(offsets.clone()), row, &w, ahead, size, &mut out, wide);
            assert_close(&out, &want);
        }
    }
}

#[test]
fn transposing_turns_rows_into_columns_and_touches_nothing_else() {
    for (rows, columns) in [(1, 1), (16, 16), (17, 5), (40, 33), (3, 50)] {
        let (stride, out_stride) = (columns + 2, rows + 3);
        let x = numbers(rows * stride, 1);
        let mut out = vec![9.0; columns * out_stride];
        let mut want = out.clone();
        for i in 0..rows {
            for j in 0..columns {
                want[j * out_stride + i] = x[i * stride + j];
            }
        }
        transpose(&x, stride, (rows, columns), &mut out, out_stride);
        assert_eq!(out, want, "{rows} x {columns}");
    }
}
