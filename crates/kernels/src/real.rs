//! f32 and f64 as the kernels see them: f32 functions are branch-free polynomials that vectorise, f64 functions the
//! standard library's.
//!
//! Accuracy of the f32 functions (tested against f64): exp, sigmoid, tanh and ln 2e-7 relative, softplus 3e-7, erf 2e-7.
//! Coefficients: exp, tanh and ln as in Cephes (Moshier 1984); erf after N. Juffa's `erff`.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, WithDType, bail};

pub(crate) trait Real: WithDType + Default + std::ops::Neg<Output = Self> + Send + Sync {
    const ZERO: Self;
    const ONE: Self;
    fn as_mut_slice(storage: &mut CpuStorage) -> Result<&mut Vec<Self>>;
    /// The slice itself where the type is f32.
    fn as_f32(_x: &[Self]) -> Option<&[f32]> {
        None
    }
    /// The slice itself where the type is f32.
    fn as_f32_mut(_x: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
    /// The slice itself where the type is f32.
    fn of_f32(_x: &mut [f32]) -> Option<&mut [Self]> {
        None
    }
    /// The vector itself where the type is f32, where alone it is called; else converted.
    fn from_f32(x: Vec<f32>) -> Vec<Self> {
        x.into_iter().map(|v| Self::of(f64::from(v))).collect()
    }
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn root(self) -> Self;
    fn exponential(self) -> Self;
    /// `exp(x) − 1` without cancellation near zero.
    fn exponential_minus_one(self) -> Self;
    fn hyperbolic_tangent(self) -> Self;
    fn error_function(self) -> Self;
    /// `ln(1 + u)` for u in [0, 1].
    fn log_one_plus(self) -> Self;
    /// `ln x` for normal x > 0; anything else gives anything.
    fn logarithm(self) -> Self;

    #[inline(always)]
    fn magnitude(self) -> Self {
        if self < Self::ZERO { -self } else { self }
    }
    #[inline(always)]
    fn logistic(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exponential())
    }
    /// `ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(−|x|))`.
    #[inline(always)]
    fn soft_plus(self) -> Self {
        let positive = if self < Self::ZERO { Self::ZERO } else { self };
        positive + (-self.magnitude()).exponential().log_one_plus()
    }
}

impl Real for f64 {
    fn as_mut_slice(storage: &mut CpuStorage) -> Result<&mut Vec<Self>> {
        match storage {
            CpuStorage::F64(data) => Ok(data),
            other => bail!("expected f64 elements, got {:?}", other.dtype()),
        }
    }
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn exponential(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn exponential_minus_one(self) -> Self {
        self.exp_m1()
    }
    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        self.tanh()
    }
    #[inline(always)]
    fn error_function(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }
    #[inline(always)]
    fn log_one_plus(self) -> Self {
        self.ln_1p()
    }
    #[inline(always)]
    fn logarithm(self) -> Self {
        self.ln()
    }
}

impl Real for f32 {
    fn as_f32(x: &[Self]) -> Option<&[f32]> {
        Some(x)
    }
    fn as_f32_mut(x: &mut [Self]) -> Option<&mut [f32]> {
        Some(x)
    }
    fn of_f32(x: &mut [f32]) -> Option<&mut [Self]> {
        Some(x)
    }
    fn from_f32(x: Vec<f32>) -> Vec<Self> {
        x
    }
    fn as_mut_slice(storage: &mut CpuStorage) -> Result<&mut Vec<Self>> {
        match storage {
            CpuStorage::F32(data) => Ok(data),
            other => bail!("expected f32 elements, got {:?}", other.dtype()),
        }
    }
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    /// `2ⁿ exp(r)` with `n = round(x / ln 2)`; overflows to infinity, underflows gradually, keeps NaN.
    #[inline(always)]
    fn exponential(self) -> Self {
        // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer, whose low bits are then readable.
        const MAGIC: f32 = 12_582_912.0;
        // Comparisons rather than min and max, which would drop a NaN.
        let x = if self > 89.0 { 89.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let p = 1.987_569_1e-4;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let y = p * (r * r) + r + 1.0;
        // Two factors: 2¹²⁸ and 2⁻¹⁵⁰ are no normal numbers.
        let n = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
        let half = n >> 1;
        let power = |k: i32| f32::from_bits((k.wrapping_add(127) << 23) as u32);
        y * power(half) * power(n.wrapping_sub(half))
    }

    #[inline(always)]
    fn exponential_minus_one(self) -> Self {
        let x = self;
        // Taylor to x⁸ below one half: the next term is under 1e-8 relative.
        let p = 1.0 / 40_320.0;
        let p = p * x + 1.0 / 5_040.0;
        let p = p * x + 1.0 / 720.0;
        let p = p * x + 1.0 / 120.0;
        let p = p * x + 1.0 / 24.0;
        let p = p * x + 1.0 / 6.0;
        let p = p * x + 0.5;
        let p = p * x + 1.0;
        let near = p * x;
        let far = x.exponential() - 1.0;
        if x.magnitude() < 0.5 { near } else { far }
    }

    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        let x = self;
        let s = x * x;
        let p = -5.704_988_7e-3;
        let p = p * s + 2.063_909e-2;
        let p = p * s + -5.373_971_6e-2;
        let p = p * s + 1.333_144_2e-1;
        let p = p * s + -3.333_328e-1;
        let near = p * s * x + x;
        let far = 1.0 - 2.0 / ((x.magnitude() * 2.0).exponential() + 1.0);
        let far = if x < 0.0 { -far } else { far };
        if x.magnitude() < 0.625 { near } else { far }
    }

    #[inline(always)]
    fn error_function(self) -> Self {
        let x = self;
        let t = x.magnitude();
        let s = x * x;
        let r = -1.728_534_7e-5 * t + 3.831_971_3e-4;
        let u = -3.883_964_4e-3 * t + 2.425_462_2e-2;
        let r = r * s + u;
        let r = r * t + -1.067_778_8e-1;
        let r = r * t + -6.348_467e-1;
        let r = r * t + -1.287_175_1e-1;
        let r = r * t - t;
        let far = 1.0 - r.exponential();
        let far = if x < 0.0 { -far } else { far };
        let p = -5.967_617e-4;
        let p = p * s + 4.991_194e-3;
        let p = p * s + -2.676_813_5e-2;
        let p = p * s + 1.128_199_2e-1;
        let p = p * s + -3.761_253_4e-1;
        let p = p * s + 1.283_791_7e-1;
        let near = p * x + x;
        if t > 0.921_875 { far } else { near }
    }

    /// `2 artanh(s)` with `s = u / (2 + u) ≤ 1/3`, as an odd series to s¹⁷.
    #[inline(always)]
    fn log_one_plus(self) -> Self {
        let s = self / (2.0 + self);
        let q = s * s;
        let p = 1.0 / 17.0;
        let p = p * q + 1.0 / 15.0;
        let p = p * q + 1.0 / 13.0;
        let p = p * q + 1.0 / 11.0;
        let p = p * q + 1.0 / 9.0;
        let p = p * q + 1.0 / 7.0;
        let p = p * q + 0.2;
        let p = p * q + 1.0 / 3.0;
        (p * q * s + s) * 2.0
    }

    /// `x = 2ᵉ (1 + f)` with 1 + f in [√½, √2), then Cephes' polynomial of f.
    #[inline(always)]
    fn logarithm(self) -> Self {
        let bits = self.to_bits();
        let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000); // in [1, 2)
        let high = u32::from(mantissa > std::f32::consts::SQRT_2);
        let f = f32::from_bits(mantissa.to_bits() - (high << 23)) - 1.0;
        let e = ((bits >> 23) as i32 - 127 + high as i32) as f32;
        let p = 7.037_683_6e-2;
        let p = p * f - 1.151_461e-1;
        let p = p * f + 1.167_699_9e-1;
        let p = p * f - 1.242_014_1e-1;
        let p = p * f + 1.424_932_3e-1;
        let p = p * f - 1.666_805_8e-1;
        let p = p * f + 2.000_071_5e-1;
        let p = p * f - 2.499_999_4e-1;
        let p = p * f + 3.333_333e-1;
        let q = f * f;
        let y = p * f * q - 2.121_944_4e-4 * e - 0.5 * q;
        f + y + 0.693_359_4 * e
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let n = 200_001;
        let mut worst = 0f64;
        for i in 0..n {
            let x = from + (to - from) * (i as f32 / (n - 1) as f32);
            let want = exact(f64::from(x));
            let got = f64::from(f(x));
            let error = (got - want).abs() / want.abs().max(1e-30);
            assert!(got.is_finite(), "{x} gives {got}");
            worst = worst.max(error);
        }
        worst
    }

    #[test]
    fn f32_functions_are_accurate_to_a_few_units_in_the_last_place() {
        assert!(worst(f32::exponential, f64::exp, -87.0, 88.7) < 2.5e-7);
        assert!(worst(f32::exponential_minus_one, f64::exp_m1, -10.0, 10.0) < 4e-7);
        assert!(worst(f32::hyperbolic_tangent, f64::tanh, -12.0, 12.0) < 4e-7);
        assert!(worst(f32::log_one_plus, f64::ln_1p, 1e-20, 1.0) < 3e-7);
        assert!(worst(f32::logarithm, f64::ln, 1.2e-38, 1e-3) < 2.5e-7);
        assert!(worst(f32::logarithm, f64::ln, 1e-3, 2.0) < 2.5e-7);
        assert!(worst(f32::logarithm, f64::ln, 2.0, 3e38) < 2.5e-7);
        assert!(worst(f32::logistic, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0) < 4e-7);
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        assert!(worst(f32::soft_plus, softplus, -80.0, 80.0) < 4e-7);
    }

    /// erf by its Taylor series, exact to 1e-15 for |x| ≤ 3.
    fn erf_series(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for k in 1..120 {
            term *= -x * x / f64::from(k);
            sum += term / f64::from(2 * k + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn error_function_agrees_with_its_series() {
        assert!(worst(f32::error_function, erf_series, -3.0, 3.0) < 3e-7);
        for i in -30..=30 {
            let x = f64::from(i) / 10.0;
            assert!((x.error_function() - erf_series(x)).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn extremes_stay_meaningful() {
        assert_eq!(f32::exponential(1000.0), f32::INFINITY);
        assert_eq!(f32::exponential(-1000.0), 0.0);
        assert_eq!(f32::exponential(f32::INFINITY), f32::INFINITY);
        assert_eq!(f32::exponential(0.0), 1.0);
        assert_eq!(f32::hyperbolic_tangent(100.0), 1.0);
        assert_eq!(f32::hyperbolic_tangent(-100.0), -1.0);
        assert_eq!(f32::soft_plus(1e4), 1e4);
        assert_eq!(f32::soft_plus(-1e4), 0.0);
        assert_eq!(f32::logistic(-1e4), 0.0);
        for f in
            [f32::exponential, f32::hyperbolic_tangent, f32::soft_plus, f32::logistic, f32::error_function]
        {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
