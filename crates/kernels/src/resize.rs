//! Bilinear resizing, and pixels moved between channels and the plane.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::support::{fill_blocks, is_fast, output, slice, uninit, with_real};

/// `(b, c, h, w) → (b, c, rows, columns)`: output pixel i reads at `(i + ½) h / rows − ½`, not below 0, between its two
/// neighbours, as PyTorch's `interpolate(mode="bilinear", align_corners=False)`. Linear in x; closed under
/// differentiation.
///
/// # Errors
/// On tensors that are not of rank 4 and on sizes of zero.
pub fn resize_bilinear(x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if rows * columns * h * w == 0 {
        bail!("resize_bilinear: sizes must be positive, got {h}x{w} to {rows}x{columns}");
    }
    let (down, across) = (Taps::new(h, rows), Taps::new(w, columns));
    if is_fast(x) {
        let resize = Resize { down: Arc::new(down), across: Arc::new(across), adjoint: false };
        return x.contiguous()?.apply_op1(resize);
    }
    // Two products with the matrices of the interpolation.
    let across = across.matrix(x)?;
    let y = x.contiguous()?.reshape((b * c * h, w))?.matmul(&across.t()?)?.reshape((b * c, h, columns))?;
    let down = down.matrix(x)?.unsqueeze(0)?.broadcast_as((b * c, rows, h))?.contiguous()?;
    down.matmul(&y)?.reshape((b, c, rows, columns))
}

/// `(b, c r², h, w) → (b, c, h r, w r)`: channel `c r² + i r + j` goes to row offset i and column offset j (Shi et al.
/// 2016, arXiv:1609.05158, eq. 4), as PyTorch's `pixel_shuffle`.
///
/// # Errors
/// When r² does not divide the channels.
pub fn pixel_shuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if r == 0 || c % (r * r) != 0 {
        bail!("pixel_shuffle: {r}² does not divide {c} channels");
    }
    let c = c / (r * r);
    let x = x.reshape(&[b, c, r, r, h, w][..])?.permute(&[0, 1, 4, 2, 5, 3][..])?;
    x.contiguous()?.reshape((b, c, h * r, w * r))
}

/// The inverse of [`pixel_shuffle`]: `(b, c, h r, w r) → (b, c r², h, w)`.
///
/// # Errors
/// When r does not divide both sizes.
pub fn pixel_unshuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if r == 0 || h % r != 0 || w % r != 0 {
        bail!("pixel_unshuffle: {r} does not divide both sizes of {h}x{w}");
    }
    let x = x.reshape(&[b, c, h / r, r, w / r, r][..])?.permute(&[0, 1, 3, 5, 2, 4][..])?;
    x.contiguous()?.reshape((b, c * r * r, h / r, w / r))
}

/// For each output the two inputs it reads and the weight of the second.
struct Taps {
    inputs: usize,
    reads: Vec<(usize, usize, f64)>,
}

impl Taps {
    fn new(inputs: usize, outputs: usize) -> Self {
        let read = |i: usize| {
            let at = ((i as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5).max(0.0);
            let low = (at.floor() as usize).min(inputs - 1);
            (low, (low + 1).min(inputs - 1), at - low as f64)
        };
        Self { inputs, reads: (0..outputs).map(read).collect() }
    }

    fn outputs(&self) -> usize {
        self.reads.len()
    }

    /// `(outputs, inputs)`, of the type and on the device of `like`.
    fn matrix(&self, like: &Tensor) -> Result<Tensor> {
        let mut m = vec![0f64; self.outputs() * self.inputs];
        for (i, &(low, high, t)) in self.reads.iter().enumerate() {
            m[i * self.inputs + low] += 1.0 - t;
            m[i * self.inputs + high] += t;
        }
        let dtype = if like.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        Tensor::from_vec(m, (self.outputs(), self.inputs), &candle_core::Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(like.device())?
            .to_dtype(like.dtype())
    }
}

/// The two inputs of an output, and their weights.
type Lines<T> = [(usize, usize, T, T)];

/// A plane resized: two rows into one line, that line into a row.
struct Enlarge<'a, T> {
    down: &'a Lines<T>,
    across: &'a Lines<T>,
    x: &'a [T],
    y: &'a mut [T],
    /// As wide as x.
    line: &'a mut [T],
}

impl<T: Real> Job for Enlarge<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { down, across, x, y, line } = self;
        let w = line.len();
        for (y, &(top, bottom, s, u)) in y.chunks_exact_mut(across.len()).zip(down) {
            let (a, b) = (&x[top * w..][..w], &x[bottom * w..][..w]);
            for ((l, &a), &b) in line.iter_mut().zip(a).zip(b) {
                *l = s * a + u * b;
            }
            for (y, &(left, right, s, t)) in y.iter_mut().zip(across) {
                *y = s * line[left] + t * line[right];
            }
        }
    }
}

/// The adjoint of [`Enlarge`].
struct Gather<'a, T> {
    down: &'a Lines<T>,
    across: &'a Lines<T>,
    g: &'a [T],
    dx: &'a mut [T],
    line: &'a mut [T],
}

impl<T: Real> Job for Gather<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { down, across, g, dx, line } = self;
        let w = line.len();
        dx.fill(T::ZERO);
        for (g, &(top, bottom, s, u)) in g.chunks_exact(across.len()).zip(down) {
            line.fill(T::ZERO);
            for (&g, &(left, right, s, t)) in g.iter().zip(across) {
                line[left] += s * g;
                line[right] += t * g;
            }
            for (row, share) in [(top, s), (bottom, u)] {
                for (dx, &l) in dx[row * w..][..w].iter_mut().zip(&*line) {
                    *dx += share * l;
                }
            }
        }
    }
}

struct Resize {
    down: Arc<Taps>,
    across: Arc<Taps>,
    adjoint: bool,
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, ..) = l.shape().dims4()?;
        let (down, across) = (&*self.down, &*self.across);
        let (h, w) = (down.inputs, across.inputs);
        let (oh, ow) = (down.outputs(), across.outputs());
        let (from, to) = if self.adjoint { (oh * ow, h * w) } else { (h * w, oh * ow) };
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let mut y = uninit::<T>(b * c * to);
            let lines = |taps: &Taps| -> Vec<(usize, usize, T, T)> {
                taps.reads.iter().map(|&(a, b, t)| (a, b, T::of(1.0 - t), T::of(t))).collect()
            };
            let (down, across) = (lines(down), lines(across));
            let some = (16 * 1024 / from.max(to)).max(1) * to;
            fill_blocks(&mut y, some, |at, y| {
                let mut line = uninit::<T>(w);
                for (y, x) in y.chunks_exact_mut(to).zip(x[at / to * from..].chunks_exact(from)) {
                    let (down, across, line) = (&down, &across, &mut line[..]);
                    match self.adjoint {
                        false => dispatch(Enlarge { down, across, x, y, line }),
                        true => dispatch(Gather { down, across, g: x, dx: y, line }),
                    }
                }
            });
            Ok(output(y, if self.adjoint { (b, c, h, w) } else { (b, c, oh, ow) }))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let other = Self { down: self.down.clone(), across: self.across.clone(), adjoint: !self.adjoint };
        g.contiguous()?.apply_op1(other).map(Some)
    }
}
