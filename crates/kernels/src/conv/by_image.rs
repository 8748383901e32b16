//! Convolutions of f32 image by image: by tiles where they win, by shifted planes else.

use rayon::prelude::*;

use super::Geometry;
use crate::support::uninit;
use crate::{shift, winograd};

/// A convolution or the gradient by its input, its kernels packed, to be applied image by image.
pub(crate) enum ImageConv {
    Forward(shift::Forward),
    InputGrad(shift::InputGrad),
    Tiles(winograd::TileConv),
}

/// Room for one image at a time.
pub(crate) enum Scratch {
    Planes(shift::Scratch),
    Tiles(winograd::Scratch),
}

impl ImageConv {
    /// The convolution with `w (o, c / groups, kh, kw)`.
    pub(crate) fn forward(g: &Geometry, w: &[f32]) -> Self {
        match winograd::wins(g) {
            true => Self::Tiles(winograd::TileConv::forward(g, w)),
            false => Self::Forward(shift::Forward::new(g, w)),
        }
    }

    /// The gradient by the input of the convolution with w.
    pub(crate) fn input_grad(g: &Geometry, w: &[f32]) -> Self {
        match winograd::wins(g) {
            true => Self::Tiles(winograd::TileConv::input_grad(g, w)),
            false => Self::InputGrad(shift::InputGrad::new(g, w)),
        }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        match self {
            Self::Forward(conv) => Scratch::Planes(conv.scratch()),
            Self::InputGrad(conv) => Scratch::Planes(conv.scratch()),
            Self::Tiles(conv) => Scratch::Tiles(conv.scratch()),
        }
    }

    /// `y` of one image x; `finish(o, plane)` sees each plane of y when it is done, while it is in cache.
    pub(crate) fn image(
        &self,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut Scratch,
        finish: impl Fn(usize, &mut [f32]),
    ) {
        match (self, scratch) {
            (Self::Forward(conv), Scratch::Planes(scratch)) => conv.image(x, y, scratch, finish),
            (Self::InputGrad(conv), Scratch::Planes(scratch)) => conv.image(x, y, scratch, finish),
            (Self::Tiles(conv), Scratch::Tiles(scratch)) => conv.image(x, y, scratch, finish),
            _ => debug_assert!(false, "scratch of another convolution"),
        }
    }

    /// `y` of all images x, which have `image` elements each, as those of y have `out` in planes of `plane`;
    /// `finish(n · planes + o, plane)` as above.
    pub(crate) fn images(
        &self,
        x: &[f32],
        image: usize,
        (out, plane): (usize, usize),
        finish: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let mut y = uninit::<f32>(x.len() / image * out);
        y.par_chunks_mut(out).zip(x.par_chunks(image)).enumerate().for_each_init(
            || self.scratch(),
            |scratch, (n, (y, x))| self.image(x, y, scratch, |o, p| finish(n * (out / plane) + o, p)),
        );
        y
    }
}

/// `y (b, o, oh, ow)` of `x (b, c, h, w)`, `w (o, c / groups, kh, kw)`; `finish(b · o, plane)`.
pub(super) fn forward(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let plane = g.oh * g.ow;
    ImageConv::forward(g, w).images(x, g.c * g.h * g.w, (g.o * plane, plane), finish)
}

/// `dx (b, c, h, w)` of `dy (b, o, oh, ow)`, `w (o, c / groups, kh, kw)`; `finish(b · c, plane)`.
pub(super) fn input_grad(
    g: &Geometry,
    dy: &[f32],
    w: &[f32],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let plane = g.h * g.w;
    ImageConv::input_grad(g, w).images(dy, g.o * g.oh * g.ow, (g.c * plane, plane), finish)
}

/// Partial sums of weight gradients over sets of images: fixed, so that the bits are.
const PARTS: usize = 16;

/// The sets of images of the partial sums, at most [`PARTS`].
pub(crate) fn image_sets(images: usize) -> Vec<std::ops::Range<usize>> {
    let parts = images.min(PARTS);
    (0..parts).map(|p| p * images / parts..(p + 1) * images / parts).collect()
}

/// Sums weight gradients image by image.
pub(crate) struct WeightGrad {
    g: Geometry,
    kind: Kind,
}

enum Kind {
    Planes(shift::WeightGrad),
    Tiles(winograd::WeightGrad),
}

impl WeightGrad {
    pub(crate) fn new(g: &Geometry) -> Self {
        let kind = match winograd::wins_by_weight(g) {
            true => Kind::Tiles(winograd::WeightGrad::new(g)),
            false => Kind::Planes(shift::WeightGrad::new(g)),
        };
        Self { g: *g, kind }
    }

    /// Entries of the kernels of one output.
    fn entries(&self) -> usize {
        self.g.c / self.g.conv.groups * self.g.kh * self.g.kw
    }

    /// Outputs of a group, rounded up.
    fn width(&self) -> usize {
        (self.g.o / self.g.conv.groups).next_multiple_of(16)
    }

    /// Length of a sum, `(groups, entries, outputs of a group rounded up)`; it starts at zero.
    pub(crate) fn len(&self) -> usize {
        self.g.conv.groups * self.entries() * self.width()
    }

    /// For the images of one sum.
    pub(crate) fn scratch(&self) -> Scratch {
        match &self.kind {
            Kind::Planes(conv) => Scratch::Planes(conv.scratch()),
            Kind::Tiles(conv) => Scratch::Tiles(conv.scratch()),
        }
    }

    /// Adds the share of one image `x (c, h, w)` with the output's gradient `dy (o, oh, ow)`, to `sum` or to what
    /// [`Self::close`] will add to it.
    pub(crate) fn image(&self, x: &[f32], dy: &[f32], sum: &mut [f32], scratch: &mut Scratch) {
        match (&self.kind, scratch) {
            (Kind::Planes(conv), Scratch::Planes(scratch)) => conv.image(x, dy, sum, scratch),
            (Kind::Tiles(conv), Scratch::Tiles(scratch)) => conv.image(x, dy, scratch),
            _ => debug_assert!(false, "scratch of another convolution"),
        }
    }

    /// Behind the last image of a sum.
    pub(crate) fn close(&self, sum: &mut [f32], scratch: &mut Scratch) {
        if let (Kind::Tiles(conv), Scratch::Tiles(scratch)) = (&self.kind, scratch) {
            conv.close(sum, scratch);
        }
    }

    /// The sums added in order, as `dw (o, c / groups, kh, kw)`.
    pub(crate) fn total<'a>(&self, mut parts: impl Iterator<Item = &'a [f32]>, dw: &mut [f32]) {
        let Some(first) = parts.next() else { return dw.fill(0.0) };
        let mut total = first.to_vec();
        for part in parts {
            crate::reduce::add_rows(&mut total, part);
        }
        let (entries, width) = (self.entries(), self.width());
        let outputs = self.g.o / self.g.conv.groups;
        for (dw, total) in dw.chunks_exact_mut(outputs * entries).zip(total.chunks_exact(entries * width)) {
            for (o, dw) in dw.chunks_exact_mut(entries).enumerate() {
                for (dw, total) in dw.iter_mut().zip(total.chunks_exact(width)) {
                    *dw = total[o];
                }
            }
        }
    }
}

/// `dw (o, c / groups, kh, kw)` of `x (b, c, h, w)`, `dy (b, o, oh, ow)`.
pub(super) fn weight_grad(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let conv = WeightGrad::new(g);
    let (image, out) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
    let sets = image_sets(g.b);
    let mut sums = vec![0f32; sets.len() * conv.len()];
    sums.par_chunks_mut(conv.len()).zip(sets).for_each(|(sum, images)| {
        let mut scratch = conv.scratch();
        for n in images {
            conv.image(&x[n * image..][..image], &dy[n * out..][..out], sum, &mut scratch);
        }
        conv.close(sum, &mut scratch);
    });
    let mut dw = uninit::<f32>(g.o * conv.entries());
    conv.total(sums.chunks_exact(conv.len()), &mut dw);
    dw
}
