//! Sines and cosines: of reduced angles for whoever makes noise, and as tensor operations.
//!
//! ```text
//! x = k π/2 + r,  |r| ≤ π/4;   sin x is ± sin r or ± cos r by k mod 4       ∂ sin = cos,  ∂ cos = −sin
//! ```
//!
//! f32 goes through f64 arithmetic: within 0.5001 units of the last place for |x| ≤ 2²⁰, the standard library's beyond.
//! f64 is the standard library's. Source: polynomials and the two parts of π/2 are those of fdlibm (Sun Microsystems 1993).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use crate::real::Real;
use crate::simd::{Job, dispatch};
use crate::support::{
    fill_blocks, incoming, is_fast, keeps_gradient_graphs, output, slice, uninit, with_real,
};

/// `sin r` for |r| ≤ π/4, within a unit of the last place.
#[inline(always)]
pub(crate) fn sine(r: f64) -> f64 {
    let z = r * r;
    let tail = -0.000_198_412_698_298_579_5
        + z * (2.755_731_370_707_006_8e-6 + z * (-2.505_076_025_340_686_3e-8 + z * 1.589_690_995_211_55e-10));
    let tail = 0.008_333_333_333_322_49 + z * tail;
    r + z * r * (-0.166_666_666_666_666_32 + z * tail)
}

/// `cos r` for |r| ≤ π/4, within a unit of the last place.
#[inline(always)]
pub(crate) fn cosine(r: f64) -> f64 {
    let z = r * r;
    let tail =
        -2.755_731_435_139_066_3e-7 + z * (2.087_572_321_298_175e-9 + z * -1.135_964_755_778_819_5e-11);
    let tail = 2.480_158_728_947_673e-5 + z * tail;
    let tail = z * (0.041_666_666_666_666_6 + z * (-0.001_388_888_888_887_411 + z * tail));
    let half = 0.5 * z;
    let w = 1.0 - half;
    w + (((1.0 - w) - half) + z * tail)
}

/// `sin x`, element by element.
///
/// # Errors
/// If the dtype has no sine.
pub fn sin(x: &Tensor) -> Result<Tensor> {
    wave(x, Wave::Sine)
}

/// `cos x`, element by element.
///
/// # Errors
/// If the dtype has no cosine.
pub fn cos(x: &Tensor) -> Result<Tensor> {
    wave(x, Wave::Cosine)
}

fn wave(x: &Tensor, wave: Wave) -> Result<Tensor> {
    if is_fast(x) && !keeps_gradient_graphs() {
        return x.contiguous()?.apply_op1(wave);
    }
    match wave {
        Wave::Sine => x.sin(),
        Wave::Cosine => x.cos(),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Wave {
    Sine,
    Cosine,
}

impl CustomOp1 for Wave {
    fn name(&self) -> &'static str {
        match self {
            Self::Sine => "sin",
            Self::Cosine => "cos",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(storage.dtype(), T, {
            let x = slice::<T>(storage, layout)?;
            let mut out = uninit::<T>(x.len());
            match (T::as_f32(x), T::as_f32_mut(&mut out)) {
                (Some(x), Some(out)) => fill_blocks(out, 16 * 1024, |start, out| {
                    dispatch(Waves { x: &x[start..start + out.len()], out, wave: *self });
                }),
                _ => out.iter_mut().zip(x).for_each(|(out, x)| *out = T::of(self.standard(x.wide()))),
            }
            Ok(output(out, layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = incoming(self.name(), g)?;
        Ok(Some(match self {
            Self::Sine => (g * cos(x)?)?,
            Self::Cosine => (g * sin(x)?)?.neg()?,
        }))
    }
}

impl Wave {
    fn standard(self, x: f64) -> f64 {
        match self {
            Self::Sine => x.sin(),
            Self::Cosine => x.cos(),
        }
    }
}

/// Elements that are made together.
const LANES: usize = 16;
/// Up to here k times the first part of π/2 is exact.
const FARTHEST: f32 = 1_048_576.0;
const QUARTER: [f64; 2] = [1.570_796_326_734_125_6, 6.077_100_506_506_192e-11];
/// Added and taken away, it rounds to an integer, whose last bits it leaves in its own.
const ROUND: f64 = 6_755_399_441_055_744.0;

struct Waves<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    wave: Wave,
}

impl Job for Waves<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        // A cosine is the sine a quarter later.
        let later = u64::from(self.wave == Wave::Cosine);
        for (x, out) in self.x.chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            if !x.iter().all(|x| x.abs() <= FARTHEST) {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = self.wave.standard(f64::from(*x)) as f32;
                }
                continue;
            }
            let mut lanes = [0.0; LANES];
            lanes[..x.len()].copy_from_slice(x);
            for lane in &mut lanes {
                let x = f64::from(*lane);
                let rounded = x * std::f64::consts::FRAC_2_PI + ROUND;
                let k = rounded - ROUND;
                let r = (x - k * QUARTER[0]) - k * QUARTER[1];
                let quarter = rounded.to_bits().wrapping_add(later);
                let value = if quarter & 1 == 0 { sine(r) } else { cosine(r) };
                *lane = if quarter & 2 == 0 { value } else { -value } as f32;
            }
            out.copy_from_slice(&lanes[..x.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn both(x: &[f32]) -> Result<[Vec<f32>; 2]> {
        let x = Tensor::new(x, &Device::Cpu)?;
        Ok([sin(&x)?.to_vec1()?, cos(&x)?.to_vec1()?])
    }

    #[test]
    fn f32_is_rounded_from_the_truth() -> Result<()> {
        // Multiples of π/4 and their neighbours, and both signs of every size.
        let mut x: Vec<f32> =
            (0..4000).map(|i| (f64::from(i) * std::f64::consts::FRAC_PI_4) as f32).collect();
        x.extend((0..60_000).map(|i| 1e-8 * (i as f32 * 5.5e-4).exp()));
        x.extend(x.clone().iter().map(|x| -x));
        x.extend([0.0, -0.0, FARTHEST, -FARTHEST, f32::MIN_POSITIVE, 1e-42]);
        for (got, wave) in both(&x)?.iter().zip([Wave::Sine, Wave::Cosine]) {
            for (x, got) in x.iter().zip(got) {
                let want = wave.standard(f64::from(*x));
                let unit = f64::from((want as f32).abs().max(f32::MIN_POSITIVE)) * 2f64.powi(-23);
                assert!((f64::from(*got) - want).abs() <= 0.5001 * unit, "{x}: {got} {want}");
            }
        }
        Ok(())
    }

    #[test]
    fn far_angles_and_what_is_no_angle_go_the_standard_way() -> Result<()> {
        let x = [3e6, -1e30, f32::NAN, f32::INFINITY, 1.0];
        let [s, c] = both(&x)?;
        for (i, x) in x.iter().enumerate() {
            let same = |got: f32, want: f64| got == want as f32 || (got.is_nan() && want.is_nan());
            assert!(same(s[i], f64::from(*x).sin()) && same(c[i], f64::from(*x).cos()), "{x}");
        }
        Ok(())
    }
}
