//! Every instruction set against the definition in f64, within the bound of the module's documentation.

use super::{TileConv, WeightGrad};
use crate::conv::{Conv, Geometry};
use crate::simd::{Level, at_most, level};

type Matrix = Vec<Vec<f64>>;

/// The matrices of one dimension, `(Aᵀ, Bᵀ, G)`, for three or two entries of the kernel.
fn matrices(kernel: usize) -> (Matrix, Matrix, Matrix) {
    let rows = |rows: &[&[f64]]| rows.iter().map(|r| r.to_vec()).collect();
    match kernel {
        3 => (
            rows(&[&[1., 1., 1., 0.], &[0., 1., -1., -1.]]),
            rows(&[&[1., 0., -1., 0.], &[0., 1., 1., 0.], &[0., -1., 1., 0.], &[0., 1., 0., -1.]]),
            rows(&[&[1., 0., 0.], &[0.5, 0.5, 0.5], &[0.5, -0.5, 0.5], &[0., 0., 1.]]),
        ),
        _ => (
            rows(&[&[1., 1., 0.], &[0., 1., 1.]]),
            rows(&[&[1., -1., 0.], &[0., 1., 0.], &[0., -1., 1.]]),
            rows(&[&[1., 0.], &[1., 1.], &[0., 1.]]),
        ),
    }
}

/// `|left| x |right|ᵀ`, entry by entry absolute.
fn between(left: &[Vec<f64>], x: &[Vec<f64>], right: &[Vec<f64>]) -> Matrix {
    let entry = |l: &[f64], r: &[f64]| -> f64 {
        l.iter().zip(x).map(|(l, x)| r.iter().zip(x).map(|(r, x)| (l * x * r).abs()).sum::<f64>()).sum()
    };
    left.iter().map(|l| right.iter().map(|r| entry(l, r)).collect()).collect()
}

fn turned(m: &[Vec<f64>]) -> Matrix {
    (0..m[0].len()).map(|j| m.iter().map(|row| row[j]).collect()).collect()
}

/// Numbers of mixed size in (−1, 1).
fn numbers(n: usize, salt: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + salt * 104_729) % 10_007) as f32 / 5003.5 - 1.0).collect()
}

/// A tensor `(n, c, h, w)` that is zero outside.
struct Field<'a> {
    data: &'a [f32],
    sizes: [usize; 4],
}

impl Field<'_> {
    fn at(&self, n: usize, c: usize, y: isize, x: isize) -> f64 {
        let [_, channels, h, w] = self.sizes;
        if y < 0 || x < 0 || y >= h as isize || x >= w as isize {
            return 0.0;
        }
        f64::from(self.data[((n * channels + c) * h + y as usize) * w + x as usize])
    }
    /// Rows and columns from (y, x) on.
    fn tile(&self, n: usize, c: usize, (y, x): (isize, isize), rows: usize, columns: usize) -> Matrix {
        let row = |i: usize| (0..columns).map(|j| self.at(n, c, y + i as isize, x + j as isize)).collect();
        (0..rows).map(row).collect()
    }
}

/// Stride 1, one group.
fn geometry((b, c, h, w): (usize, usize, usize, usize), (o, kh): (usize, usize), padding: usize) -> Geometry {
    Geometry::new((b, c, h, w), (o, c, kh, 3), Conv { stride: 1, padding, groups: 1 }).unwrap()
}

fn cases() -> Vec<Geometry> {
    vec![
        geometry((1, 1, 1, 1), (1, 3), 1),
        geometry((1, 1, 3, 3), (1, 3), 0),
        geometry((2, 16, 7, 7), (16, 3), 1),
        geometry((1, 5, 4, 9), (37, 3), 2),
        geometry((2, 33, 5, 6), (16, 3), 0),
        geometry((1, 48, 2, 31), (20, 3), 1),
        geometry((3, 17, 10, 28), (3, 3), 1),
        geometry((2, 18, 7, 5), (33, 2), 1),
        geometry((1, 4, 2, 3), (1, 2), 0),
        geometry((5, 20, 6, 14), (16, 2), 0),
    ]
}

/// u of the bounds.
const ROUNDING: f64 = 1.0 / (1u32 << 24) as f64;

/// The values, and for each a bound on the error of tiles, of the convolution with kernels `at(o, c)`, each a matrix.
fn convolution(
    x: &Field<'_>,
    before: (usize, usize),
    outputs: usize,
    (oh, ow): (usize, usize),
    at: impl Fn(usize, usize) -> Matrix,
) -> (Vec<f64>, Vec<f64>) {
    let [images, channels, ..] = x.sizes;
    let kernels: Vec<Vec<Matrix>> = (0..outputs).map(|o| (0..channels).map(|c| at(o, c)).collect()).collect();
    let kh = kernels[0][0].len();
    let ((a, b, g), (a3, b3, g3)) = (matrices(kh), matrices(3));
    let (mut values, mut bounds) = (Vec::new(), Vec::new());
    let corner = |y: usize, x: usize| (y as isize - before.0 as isize, x as isize - before.1 as isize);
    for n in 0..images {
        let tiles = |c: usize, y: usize, xs: usize| between(&b, &x.tile(n, c, corner(y, xs), kh + 1, 4), &b3);
        let ahead: Vec<Vec<_>> = (0..oh.div_ceil(2) * ow.div_ceil(2))
            .map(|t| {
                let (ty, tx) = (t / ow.div_ceil(2), t % ow.div_ceil(2));
                (0..channels).map(|c| tiles(c, 2 * ty, 2 * tx)).collect()
            })
            .collect();
        for kernels in &kernels {
            let transformed: Vec<_> = kernels.iter().map(|k| between(&g, k, &g3)).collect();
            for oy in 0..oh {
                for ox in 0..ow {
                    let mut value = 0.0;
                    let mut sums = vec![vec![0.0; 4]; kh + 1];
                    let tile = &ahead[oy / 2 * ow.div_ceil(2) + ox / 2];
                    for c in 0..channels {
                        let window = x.tile(n, c, corner(oy, ox), kh, 3);
                        let products = window.iter().flatten().zip(kernels[c].iter().flatten());
                        value += products.map(|(x, w)| x * w).sum::<f64>();
                        for (i, row) in sums.iter_mut().enumerate() {
                            for (j, s) in row.iter_mut().enumerate() {
                                *s += tile[c][i][j] * transformed[c][i][j];
                            }
                        }
                    }
                    let out = between(&a, &sums, &a3)[oy % 2][ox % 2];
                    values.push(value);
                    bounds.push(1.01 * (channels + 10) as f64 * ROUNDING * out);
                }
            }
        }
    }
    (values, bounds)
}

/// Calls `check` once for each instruction set of this processor.
fn on_every_level(check: impl Fn()) {
    let mut levels = vec![Level::Baseline];
    #[cfg(target_arch = "x86_64")]
    {
        if level() != Level::Baseline {
            levels.push(Level::Avx2);
        }
        if level() == Level::Avx512 {
            levels.push(Level::Avx512);
        }
    }
    levels.into_iter().for_each(|l| at_most(l, &check));
}

/// All images by tiles.
fn apply(conv: &TileConv, x: &[f32], image: usize, out: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / image * out];
    let mut scratch = conv.scratch();
    for (x, y) in x.chunks(image).zip(y.chunks_mut(out)) {
        conv.image(x, y, &mut scratch, |_, _| {});
    }
    y
}

fn assert_within(got: &[f32], (values, bounds): &(Vec<f64>, Vec<f64>), what: &str) {
    assert_eq!(got.len(), values.len(), "{what}");
    for (i, ((got, want), bound)) in got.iter().zip(values).zip(bounds).enumerate() {
        // The numbers themselves are exact in f32, the f64 sums nearly so.
        assert!((f64::from(*got) - want).abs() <= bound + 1e-12, "{what} {i}: {got} {want} ± {bound}");
    }
}

struct Inputs {
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
}

fn inputs(g: &Geometry) -> Inputs {
    Inputs {
        x: numbers(g.b * g.c * g.h * g.w, 1),
        w: numbers(g.o * g.c * g.kh * 3, 2),
        dy: numbers(g.b * g.o * g.oh * g.ow, 3),
    }
}

#[test]
fn the_convolution_is_within_its_bound() {
    for g in cases() {
        let Inputs { x, w, .. } = inputs(&g);
        let field = Field { data: &x, sizes: [g.b, g.c, g.h, g.w] };
        let kernel = |o: usize, c: usize| -> Matrix {
            let w = &w[(o * g.c + c) * g.kh * 3..][..g.kh * 3];
            w.chunks(3).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
        };
        let padding = g.conv.padding;
        let want = convolution(&field, (padding, padding), g.o, (g.oh, g.ow), kernel);
        on_every_level(|| {
            let conv = TileConv::forward(&g, &w);
            let got = apply(&conv, &x, g.c * g.h * g.w, g.o * g.oh * g.ow);
            assert_within(&got, &want, &format!("{g:?}"));
        });
    }
}

#[test]
fn the_input_gradient_is_within_its_bound() {
    for g in cases() {
        let Inputs { w, dy, .. } = inputs(&g);
        let field = Field { data: &dy, sizes: [g.b, g.o, g.oh, g.ow] };
        // Output y takes pixel y + ky − p through entry ky, so pixel y gets from output y − ky + p.
        let kernel = |c: usize, o: usize| -> Matrix {
            let entry = |ky: usize, kx: usize| f64::from(w[((o * g.c + c) * g.kh + ky) * 3 + kx]);
            (0..g.kh).rev().map(|ky| (0..3).rev().map(|kx| entry(ky, kx)).collect()).collect()
        };
        let before = (g.kh - 1 - g.conv.padding, 2 - g.conv.padding);
        let want = convolution(&field, before, g.c, (g.h, g.w), kernel);
        on_every_level(|| {
            let conv = TileConv::input_grad(&g, &w);
            let got = apply(&conv, &dy, g.o * g.oh * g.ow, g.c * g.h * g.w);
            assert_within(&got, &want, &format!("{g:?}"));
        });
    }
}

#[test]
fn the_weight_gradient_is_within_its_bound() {
    for g in cases() {
        let Inputs { x, dy, .. } = inputs(&g);
        let image = Field { data: &x, sizes: [g.b, g.c, g.h, g.w] };
        let slope = Field { data: &dy, sizes: [g.b, g.o, g.oh, g.ow] };
        let ((at, bt, gk), (at3, bt3, gk3)) = (matrices(g.kh), matrices(3));
        let (down, across) = (g.oh.div_ceil(2), g.ow.div_ceil(2));
        let (mut values, mut bounds) = (Vec::new(), Vec::new());
        let padding = g.conv.padding as isize;
        for o in 0..g.o {
            for c in 0..g.c {
                let mut sums = vec![vec![0.0; 4]; g.kh + 1];
                for t in 0..g.b * down * across {
                    let (n, y, x) = (t / (down * across), t / across % down * 2, t % across * 2);
                    let (y, x) = (y as isize, x as isize);
                    let d = image.tile(n, c, (y - padding, x - padding), g.kh + 1, 4);
                    let (v, s) = (
                        between(&bt, &d, &bt3),
                        between(&turned(&at), &slope.tile(n, o, (y, x), 2, 2), &turned(&at3)),
                    );
                    for (i, row) in sums.iter_mut().enumerate() {
                        for (j, sum) in row.iter_mut().enumerate() {
                            *sum += v[i][j] * s[i][j];
                        }
                    }
                }
                let back = between(&turned(&gk), &sums, &turned(&gk3));
                for (ky, row) in back.iter().enumerate() {
                    for (kx, bound) in row.iter().enumerate() {
                        let at = |i: usize| {
                            let (n, y, x) = (i / (g.oh * g.ow), i / g.ow % g.oh, i % g.ow);
                            let pixel = ((y + ky) as isize - padding, (x + kx) as isize - padding);
                            slope.at(n, o, y as isize, x as isize) * image.at(n, c, pixel.0, pixel.1)
                        };
                        values.push((0..g.b * g.oh * g.ow).map(at).sum());
                        bounds.push(1.01 * (g.b * down * across + 24) as f64 * ROUNDING * bound);
                    }
                }
            }
        }
        let want = (values, bounds);
        let (entries, width) = (g.c * g.kh * 3, g.o.next_multiple_of(16));
        on_every_level(|| {
            let conv = WeightGrad::new(&g);
            let mut scratch = conv.scratch();
            for n in 0..g.b {
                let (image, out) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
                conv.image(&x[n * image..][..image], &dy[n * out..][..out], &mut scratch);
            }
            // What was there is added to.
            let mut sum = vec![1.0; entries * width];
            conv.close(&mut sum, &mut scratch);
            let got: Vec<f32> =
                (0..g.o * entries).map(|i| sum[i % entries * width + i / entries] - 1.0).collect();
            // The one of the start costs a rounding of its own size.
            let want = (want.0.clone(), want.1.iter().map(|b| b + 1e-6).collect());
            assert_within(&got, &want, &format!("{g:?}"));
        });
    }
}

/// A pixel reaches the outputs whose windows hold it and no other, also when it is not finite.
#[test]
fn what_is_not_finite_reaches_its_windows_alone() {
    for (kh, padding) in [(3, 1), (3, 0), (3, 2), (2, 1), (2, 0)] {
        let g = geometry((1, 2, 6, 7), (3, kh), padding);
        let Inputs { x, w, .. } = inputs(&g);
        for value in [f32::NAN, f32::INFINITY] {
            for at in 0..g.h * g.w {
                let mut x = x.clone();
                x[g.h * g.w + at] = value;
                on_every_level(|| {
                    let got = apply(&TileConv::forward(&g, &w), &x, x.len(), g.o * g.oh * g.ow);
                    for (i, v) in got.iter().enumerate() {
                        let (oy, ox) = (i / g.ow % g.oh, i % g.ow);
                        let inside = |p: usize, o: usize, k: usize| p + padding >= o && p + padding < o + k;
                        let seen = inside(at / g.w, oy, kh) && inside(at % g.w, ox, 3);
                        assert_eq!(v.is_finite(), !seen, "{value} in pixel {at}, output {i}: {v}");
                    }
                });
            }
        }
    }
}
