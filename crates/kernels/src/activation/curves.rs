//! Each activation's formula and first three derivatives.

use crate::real::Real;

/// A function of one number with three derivatives.
pub(crate) trait Curve: Copy + Send + Sync {
    fn value<T: Real>(self, x: T) -> T;
    fn first<T: Real>(self, x: T) -> T;
    fn second<T: Real>(self, x: T) -> T;
    fn third<T: Real>(self, x: T) -> T;
    /// `(f(x), f'(x))`, where one costs little more than the other.
    #[inline(always)]
    fn value_and_first<T: Real>(self, x: T) -> (T, T) {
        (self.value(x), self.first(x))
    }
    /// `f'(x)` as a function of `y = f(x)`, for the curves of [`slope_from_value`].
    #[inline(always)]
    fn first_from_value<T: Real>(self, _y: T) -> T {
        T::ONE
    }
}

#[derive(Clone, Copy)]
pub(super) struct Identity;
impl Curve for Identity {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        x
    }
    #[inline(always)]
    fn first<T: Real>(self, _: T) -> T {
        T::ONE
    }
    #[inline(always)]
    fn second<T: Real>(self, _: T) -> T {
        T::ZERO
    }
    #[inline(always)]
    fn third<T: Real>(self, _: T) -> T {
        T::ZERO
    }
}

/// Slope 0 is ReLU.
#[derive(Clone, Copy)]
pub(super) struct Leaky(pub(super) f64);
impl Curve for Leaky {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        // As `x ≤ 0` rather than `x > 0`, so that NaN passes through.
        if x <= T::ZERO { x * T::of(self.0) } else { x }
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { T::of(self.0) }
    }
    #[inline(always)]
    fn second<T: Real>(self, _: T) -> T {
        T::ZERO
    }
    #[inline(always)]
    fn third<T: Real>(self, _: T) -> T {
        T::ZERO
    }
    #[inline(always)]
    fn first_from_value<T: Real>(self, y: T) -> T {
        self.first(y)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Silu;
impl Curve for Silu {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        x * x.logistic()
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        self.value_and_first(x).1
    }
    #[inline(always)]
    fn second<T: Real>(self, x: T) -> T {
        let s = x.logistic();
        let two = T::of(2.0);
        s * (T::ONE - s) * (two + x * (T::ONE - two * s))
    }
    #[inline(always)]
    fn third<T: Real>(self, x: T) -> T {
        let s = x.logistic();
        let p = s * (T::ONE - s);
        let q = T::ONE - T::of(2.0) * s;
        p * (q * (T::of(3.0) + x * q) - T::of(2.0) * x * p)
    }
    #[inline(always)]
    fn value_and_first<T: Real>(self, x: T) -> (T, T) {
        let s = x.logistic();
        let y = x * s;
        (y, s + y * (T::ONE - s))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Softplus;
impl Curve for Softplus {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        x.soft_plus()
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        x.logistic()
    }
    #[inline(always)]
    fn second<T: Real>(self, x: T) -> T {
        Sigmoid.first(x)
    }
    #[inline(always)]
    fn third<T: Real>(self, x: T) -> T {
        Sigmoid.second(x)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;
impl Curve for Tanh {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        x.hyperbolic_tangent()
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        self.first_from_value(self.value(x))
    }
    #[inline(always)]
    fn second<T: Real>(self, x: T) -> T {
        let t = self.value(x);
        T::of(-2.0) * t * (T::ONE - t * t)
    }
    #[inline(always)]
    fn third<T: Real>(self, x: T) -> T {
        let s = self.value(x) * self.value(x);
        (T::ONE - s) * (T::of(6.0) * s - T::of(2.0))
    }
    #[inline(always)]
    fn first_from_value<T: Real>(self, y: T) -> T {
        T::ONE - y * y
    }
}

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;
impl Curve for Sigmoid {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        x.logistic()
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        self.first_from_value(x.logistic())
    }
    #[inline(always)]
    fn second<T: Real>(self, x: T) -> T {
        let s = x.logistic();
        s * (T::ONE - s) * (T::ONE - T::of(2.0) * s)
    }
    #[inline(always)]
    fn third<T: Real>(self, x: T) -> T {
        let s = x.logistic();
        let p = s * (T::ONE - s);
        p * (T::ONE - T::of(6.0) * p)
    }
    #[inline(always)]
    fn first_from_value<T: Real>(self, y: T) -> T {
        y * (T::ONE - y)
    }
}

/// With φ the standard normal density: `φ' = −x φ`.
#[derive(Clone, Copy)]
pub(super) struct Gelu;
impl Gelu {
    #[inline(always)]
    fn distribution<T: Real>(x: T) -> T {
        T::of(0.5) * (T::ONE + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).error_function())
    }
    #[inline(always)]
    fn density<T: Real>(x: T) -> T {
        T::of(0.398_942_280_401_432_7) * (T::of(-0.5) * x * x).exponential()
    }
}
impl Curve for Gelu {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        x * Self::distribution(x)
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        Self::distribution(x) + x * Self::density(x)
    }
    #[inline(always)]
    fn second<T: Real>(self, x: T) -> T {
        Self::density(x) * (T::of(2.0) - x * x)
    }
    #[inline(always)]
    fn third<T: Real>(self, x: T) -> T {
        Self::density(x) * x * (x * x - T::of(4.0))
    }
    #[inline(always)]
    fn value_and_first<T: Real>(self, x: T) -> (T, T) {
        let p = Self::distribution(x);
        (x * p, p + x * Self::density(x))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Elu;
impl Curve for Elu {
    #[inline(always)]
    fn value<T: Real>(self, x: T) -> T {
        if x > T::ZERO { x } else { x.exponential_minus_one() }
    }
    #[inline(always)]
    fn first<T: Real>(self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { x.exponential() }
    }
    #[inline(always)]
    fn second<T: Real>(self, x: T) -> T {
        if x > T::ZERO { T::ZERO } else { x.exponential() }
    }
    #[inline(always)]
    fn third<T: Real>(self, x: T) -> T {
        self.second(x)
    }
    #[inline(always)]
    fn first_from_value<T: Real>(self, y: T) -> T {
        if y > T::ZERO { T::ONE } else { y + T::ONE }
    }
}
