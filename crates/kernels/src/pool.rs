//! Means and maxima over square windows of images; both with gradients closed under differentiation.
//!
//! candle's `max_pool2d` has a wrong gradient, and its `avg_pool2d` none where windows overlap.

use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::support::{Shared, fill_blocks, is_fast, output, slice, uninit, with_real};

/// Mean of each `kernel × kernel` window, `stride` apart, without padding: `(b, c, h, w) → (b, c, h', w')` with
/// `h' = ⌊(h − kernel) / stride⌋ + 1`, as PyTorch's `avg_pool2d`.
///
/// # Errors
/// When no window fits.
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let windows = Windows::new("avg_pool2d", x, kernel, stride)?;
    match is_fast(x) {
        true => x.contiguous()?.apply_op1(Mean { windows, adjoint: false }),
        false => windows.gather(x)?.mean(D::Minus1),
    }
}

/// Largest pixel of each window, as PyTorch's `max_pool2d`; of equal ones the first takes the gradient. NaN where
/// there is one.
///
/// # Errors
/// When no window fits.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let windows = Windows::new("max_pool2d", x, kernel, stride)?;
    match is_fast(x) {
        true => x.contiguous()?.apply_op1(Max { windows, places: OnceLock::new() }),
        false => windows.gather(x)?.max(D::Minus1),
    }
}

/// All windows of images of one size.
#[derive(Clone, Copy)]
struct Windows {
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    kernel: usize,
    stride: usize,
}

impl Windows {
    fn new(what: &str, x: &Tensor, kernel: usize, stride: usize) -> Result<Self> {
        let (_, _, h, w) = x.dims4()?;
        if kernel == 0 || stride == 0 || kernel > h.min(w) {
            bail!("{what}: no {kernel}x{kernel} window, {stride} apart, fits images of {h}x{w}");
        }
        Ok(Self { h, w, oh: (h - kernel) / stride + 1, ow: (w - kernel) / stride + 1, kernel, stride })
    }

    fn pixels(&self) -> usize {
        self.oh * self.ow
    }

    /// The pixels of window q, row by row.
    fn places(&self, q: usize) -> impl Iterator<Item = usize> + use<> {
        let Self { w, ow, kernel, stride, .. } = *self;
        let first = q / ow * stride * w + q % ow * stride;
        (0..kernel * kernel).map(move |k| first + k / kernel * w + k % kernel)
    }

    /// `(b, c, h', w', kernel²)` in candle's operations, for any device.
    fn gather(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, ..) = x.dims4()?;
        let (k, device) = (self.kernel, x.device());
        let lines = |out: usize| -> Result<Tensor> {
            let lines = (0..out * k).map(|i| (i / k * self.stride + i % k) as u32).collect::<Vec<_>>();
            Tensor::from_vec(lines, out * k, device)
        };
        let x = x.contiguous()?.index_select(&lines(self.oh)?, 2)?.index_select(&lines(self.ow)?, 3)?;
        let x = x.reshape((b * c, self.oh, k, self.ow, k))?.transpose(2, 3)?.contiguous()?;
        x.reshape((b, c, self.oh, self.ow, k * k))
    }

    fn shape(&self, l: &Layout, adjoint: bool) -> Result<(usize, usize, usize, usize)> {
        let (b, c, ..) = l.shape().dims4()?;
        Ok(if adjoint { (b, c, self.h, self.w) } else { (b, c, self.oh, self.ow) })
    }
}

/// Calls `f(plane of x, plane of y)` for each pair of planes.
fn planes<T: Real>(x: &[T], from: usize, to: usize, f: impl Fn(usize, &[T], &mut [T]) + Sync) -> Vec<T> {
    let mut y = uninit::<T>(x.len() / from * to);
    let pairs = y.par_chunks_mut(to).zip(x.par_chunks(from)).enumerate();
    pairs.with_min_len(16 * 1024 / from + 1).for_each(|(i, (y, x))| f(i, x, y));
    y
}

struct Mean {
    windows: Windows,
    adjoint: bool,
}

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (windows, adjoint) = (self.windows, self.adjoint);
        let (image, pixels) = (windows.h * windows.w, windows.pixels());
        with_real!(s.dtype(), T, {
            let share = T::of(1.0 / (windows.kernel * windows.kernel) as f64);
            let x = slice::<T>(s, l)?;
            let y = match adjoint {
                false => planes(x, image, pixels, |_, x, y| {
                    for (q, y) in y.iter_mut().enumerate() {
                        *y = share * windows.places(q).map(|p| x[p]).fold(T::ZERO, |a, b| a + b);
                    }
                }),
                true => planes(x, pixels, image, |_, g, dx| {
                    dx.fill(T::ZERO);
                    for (q, &g) in g.iter().enumerate() {
                        windows.places(q).for_each(|p| dx[p] += share * g);
                    }
                }),
            };
            Ok(output(y, windows.shape(l, adjoint)?))
        })
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        g.contiguous()?.apply_op1(Self { windows: self.windows, adjoint: !self.adjoint }).map(Some)
    }
}

struct Max {
    windows: Windows,
    /// Where the largest pixel of each window lies in its plane.
    places: OnceLock<Arc<[u32]>>,
}

impl CustomOp1 for Max {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let windows = self.windows;
        let (image, pixels) = (windows.h * windows.w, windows.pixels());
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let count = x.len() / image;
            let (mut y, mut places) = (uninit::<T>(count * pixels), vec![0u32; count * pixels]);
            let to = Shared::new(&mut places);
            let some = (16 * 1024 / image).max(1) * pixels;
            fill_blocks(&mut y, some, |at, y| {
                // SAFETY: blocks are disjoint.
                let places = unsafe { to.part(at, y.len()) };
                let outs = y.chunks_exact_mut(pixels).zip(places.chunks_exact_mut(pixels));
                for ((y, places), x) in outs.zip(x[at / pixels * image..].chunks_exact(image)) {
                    dispatch(MaxPlane { windows, x, y, places });
                }
            });
            let places: Arc<[u32]> = places.into();
            let _ = self.places.set(places);
            Ok(output(y, windows.shape(l, false)?))
        })
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let Some(places) = self.places.get() else { bail!("max_pool2d: no forward pass was run") };
        let op = Places { windows: self.windows, places: places.clone(), pick: false };
        g.contiguous()?.apply_op1(op).map(Some)
    }
}

/// The largest pixel of each window of a plane, and its place: row by row, pixel by pixel of the windows.
struct MaxPlane<'a, T> {
    windows: Windows,
    x: &'a [T],
    y: &'a mut [T],
    places: &'a mut [u32],
}

impl<T: Real> Job for MaxPlane<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self { windows: Windows { w, ow, kernel, stride, .. }, x, y, places } = self;
        let rows = y.chunks_exact_mut(ow).zip(places.chunks_exact_mut(ow));
        for (i, (y, places)) in rows.enumerate() {
            let top = i * stride * w;
            // True for a larger pixel, and for the first NaN, which nothing exceeds.
            #[allow(clippy::eq_op)]
            let take = |y: &mut T, place: &mut u32, v: T, p: usize| {
                let beats = v > *y || (v != v && *y == *y);
                (*y, *place) = if beats { (v, p as u32) } else { (*y, *place) };
            };
            if (kernel, stride) == (2, 2) {
                let (upper, lower) = (x[top..][..w].as_chunks::<2>().0, x[top + w..][..w].as_chunks::<2>().0);
                let outs = y.iter_mut().zip(places.iter_mut());
                for (j, ((y, place), (a, b))) in outs.zip(upper.iter().zip(lower)).enumerate() {
                    let p = top + 2 * j;
                    (*y, *place) = (a[0], p as u32);
                    take(y, place, a[1], p + 1);
                    take(y, place, b[0], p + w);
                    take(y, place, b[1], p + w + 1);
                }
                continue;
            }
            for k in 0..kernel * kernel {
                let first = top + k / kernel * w + k % kernel;
                let pixels = x[first..].iter().step_by(stride);
                for (j, ((y, place), &v)) in y.iter_mut().zip(places.iter_mut()).zip(pixels).enumerate() {
                    let p = first + j * stride;
                    if k == 0 {
                        (*y, *place) = (v, p as u32);
                    } else {
                        take(y, place, v, p);
                    }
                }
            }
        }
    }
}

/// The pixels at the places.
fn pick<T: Real>(x: &[T], places: &[u32], pixels: usize, image: usize) -> Vec<T> {
    planes(x, image, pixels, |i, x, y| {
        for (y, &p) in y.iter_mut().zip(&places[i * pixels..]) {
            *y = x[p as usize];
        }
    })
}

/// Values put to fixed places of the image, or picked from there: each is the other's derivative.
struct Places {
    windows: Windows,
    places: Arc<[u32]>,
    pick: bool,
}

impl CustomOp1 for Places {
    fn name(&self) -> &'static str {
        "max_pool2d_places"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (image, pixels) = (self.windows.h * self.windows.w, self.windows.pixels());
        with_real!(s.dtype(), T, {
            let x = slice::<T>(s, l)?;
            let y = match self.pick {
                true => pick(x, &self.places, pixels, image),
                false => planes(x, pixels, image, |i, g, dx| {
                    dx.fill(T::ZERO);
                    for (&g, &p) in g.iter().zip(&self.places[i * pixels..]) {
                        dx[p as usize] += g;
                    }
                }),
            };
            Ok(output(y, self.windows.shape(l, !self.pick)?))
        })
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let op = Self { windows: self.windows, places: self.places.clone(), pick: !self.pick };
        g.contiguous()?.apply_op1(op).map(Some)
    }
}
