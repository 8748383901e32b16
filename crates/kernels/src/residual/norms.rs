//! Group norm with SiLU on one image, forward and backward, and the small loops around it.

use crate::norm::{Centre, Statistics};
use crate::real::Real;
use crate::reduce::{lane_sum, lane_sum2};
use crate::simd::{Job, dispatch};

/// `(mean, 1 / √(variance + ε))` of each group of one image.
pub(super) fn measure(x: &[f32], eps: f64, moments: &mut [f32]) {
    let group = 2 * x.len() / moments.len();
    for (x, kept) in x.chunks_exact(group).zip(moments.chunks_exact_mut(2)) {
        let (mean, scale) = dispatch(Statistics(x, eps));
        kept.copy_from_slice(&[mean, scale]);
    }
}

/// `out = silu(γ x̂ + β)` of one image; `slopes` receives the derivative by what stands in the brackets.
pub(super) fn normalise(
    x: &[f32],
    moments: &[f32],
    norm: [&[f32]; 2],
    out: &mut [f32],
    slopes: Option<&mut [f32]>,
) {
    let [gamma, beta] = norm;
    let (plane, per_group) = (x.len() / gamma.len(), 2 * gamma.len() / moments.len());
    let line = |c: usize| {
        let (mean, scale) = (moments[c / per_group * 2], moments[c / per_group * 2 + 1]);
        (gamma[c] * scale, beta[c] - gamma[c] * scale * mean)
    };
    let planes = x.chunks_exact(plane).zip(out.chunks_exact_mut(plane)).enumerate();
    match slopes {
        None => planes.for_each(|(c, (x, y))| {
            let (a, b) = line(c);
            dispatch(Silu { x, a, b, y });
        }),
        Some(slopes) => planes.zip(slopes.chunks_exact_mut(plane)).for_each(|((c, (x, y)), slopes)| {
            let (a, b) = line(c);
            dispatch(SiluSlope { x, a, b, y, slopes });
        }),
    }
}

/// From `d = ∂silu(γ x̂ + β)` to `d = ∂x` in place; adds the shares of γ and β to `sums`, one behind the other.
pub(super) fn normalise_backward(
    x: &[f32],
    moments: &[f32],
    gamma: &[f32],
    slopes: &[f32],
    d: &mut [f32],
    sums: &mut [f32],
) {
    let (plane, per_group) = (x.len() / gamma.len(), 2 * gamma.len() / moments.len());
    let count = (per_group * plane) as f32;
    let (by_gamma, by_beta) = sums.split_at_mut(gamma.len());
    for (group, moments) in moments.chunks_exact(2).enumerate() {
        let (mean, scale) = (moments[0], moments[1]);
        let channels = group * per_group..(group + 1) * per_group;
        let (mut a, mut b) = (0.0, 0.0);
        for c in channels.clone() {
            let at = c * plane..(c + 1) * plane;
            let (sum, dot) = dispatch(TimesSlope {
                x: &x[at.clone()],
                slopes: &slopes[at.clone()],
                d: &mut d[at],
                mean,
                scale,
            });
            by_beta[c] += sum;
            by_gamma[c] += dot;
            a += gamma[c] * sum;
            b += gamma[c] * dot;
        }
        for c in channels {
            let at = c * plane..(c + 1) * plane;
            let (x, d, weight) = (&x[at.clone()], &mut d[at], gamma[c]);
            dispatch(Centre { x, d, mean, scale, weight, a: a / count, b: b / count });
        }
    }
}

/// `y += bias + other`, without other where there is none.
pub(super) struct Add<'a>(pub(super) &'a mut [f32], pub(super) f32, pub(super) &'a [f32]);

impl Job for Add<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Self(y, bias, other) = self;
        if other.is_empty() {
            y.iter_mut().for_each(|y| *y += bias);
        } else {
            y.iter_mut().zip(other).for_each(|(y, o)| *y += bias + o);
        }
    }
}

pub(super) struct Sum<'a>(pub(super) &'a [f32]);

impl Job for Sum<'_> {
    type Out = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        lane_sum(self.0, |v| v)
    }
}

/// `y = silu(a x + b)`.
struct Silu<'a> {
    x: &'a [f32],
    a: f32,
    b: f32,
    y: &'a mut [f32],
}

impl Job for Silu<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            let z = self.a * x + self.b;
            *y = z * z.logistic();
        }
    }
}

/// [`Silu`], and its derivative by `a x + b`.
struct SiluSlope<'a> {
    x: &'a [f32],
    a: f32,
    b: f32,
    y: &'a mut [f32],
    slopes: &'a mut [f32],
}

impl Job for SiluSlope<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for ((y, slope), x) in self.y.iter_mut().zip(self.slopes).zip(self.x) {
            let z = self.a * x + self.b;
            let s = z.logistic();
            *y = z * s;
            *slope = s + z * s * (1.0 - s);
        }
    }
}

/// In place `d = d · slope`; returns `Σ d` and `Σ d x̂`.
struct TimesSlope<'a> {
    x: &'a [f32],
    slopes: &'a [f32],
    d: &'a mut [f32],
    mean: f32,
    scale: f32,
}

impl Job for TimesSlope<'_> {
    type Out = (f32, f32);
    #[inline(always)]
    fn run(self) -> (f32, f32) {
        let Self { x, slopes, d, mean, scale } = self;
        for (d, slope) in d.iter_mut().zip(slopes) {
            *d *= slope;
        }
        (lane_sum(d, |d| d), lane_sum2(d, x, |d, x| d * ((x - mean) * scale)))
    }
}
