//! Langevin chains in a box, reflected at its walls.
//!
//! ```text
//! fold(x)         the point of [a, b] that a straight path to x reaches when walls mirror it; sign σ = −1 after an odd
//!                 number of hits, coordinate by coordinate
//! reflected ULA   x' = fold(x − h ∇U(x) + √(2h) ξ)
//! reflected MALA  p ~ N(0, I);  p ← p − ε/2 ∇U(x);  y = fold(x + ε p), p ← σ p;  p ← p − ε/2 ∇U(y);  h = ε²/2
//!                 accept with probability min(1, e^{H(x) − H(y)}),   H = U + ½|p|²
//! ```
//!
//! Free flight between mirrors keeps volume and is undone with p reversed, however often it hits; so reflected MALA
//! leaves e^{−U} on the box exactly invariant, without the sum over mirror images that the density of its proposal would
//! need. With U constant reflected ULA is exact too: its law is the heat kernel with reflecting walls. Otherwise it
//! keeps a bias, as ULA does.
//! Source: Afshar & Domke (2015), "Reflection, refraction, and Hamiltonian Monte Carlo"; Bubeck, Eldan & Lehec (2018)
//! for Langevin with walls.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Chains, Kernel, Landscape, StepInfo, accept, mala};
use crate::rows;

/// A box: the product of intervals.
#[derive(Clone, Debug)]
pub struct Walls {
    low: Tensor,
    width: Tensor,
}

impl Walls {
    /// The box from `low` to `high`, both of a shape that broadcasts to an event.
    ///
    /// # Errors
    /// If the shapes differ or an interval is empty or infinite.
    pub fn new(low: &Tensor, high: &Tensor) -> Result<Self> {
        let width = (high - low)?;
        for (low, width) in rows::host(low)?.into_iter().zip(rows::host(&width)?) {
            if !(low.is_finite() && width.is_finite() && width > 0.0) {
                let got = format!("{low} to {}", low + width);
                return Err(Error::data("interval of a box", "finite ends, the lower one first", got));
            }
        }
        Ok(Self { low: low.clone(), width })
    }

    /// The same interval for every coordinate.
    ///
    /// # Errors
    /// As [`Walls::new`].
    pub fn cube(low: f64, high: f64, dtype: DType, device: &Device) -> Result<Self> {
        let end = |v: f64| Tensor::new(&[v], device)?.to_dtype(dtype);
        Self::new(&end(low)?, &end(high)?)
    }

    /// `fold(x)` and σ, shaped like `x`, `(b, event…)`.
    pub fn fold(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let u = x.broadcast_sub(&self.low)?.broadcast_div(&self.width)?;
        let cell = u.floor()?;
        let odd = (&cell - ((&cell * 0.5)?.floor()? * 2.0)?)?;
        let sign = odd.affine(-2.0, 1.0)?;
        // u within its cell, counted from the other side in odd cells; round-off must not lead out.
        let inside = ((&u - &cell)? * &sign)?;
        let inside = (inside + &odd)?.clamp(0.0, 1.0)?;
        Ok((inside.broadcast_mul(&self.width)?.broadcast_add(&self.low)?, sign))
    }

    /// Chains need to start inside.
    fn inside(&self, x: &Tensor) -> Result<()> {
        let gap = (&self.fold(x)?.0 - x)?.abs()?.broadcast_div(&self.width)?;
        let farthest = rows::host(&gap)?.into_iter().fold(0.0, f64::max);
        if farthest > 1e-5 {
            return Err(Error::data("start of reflected chains", "points inside the box", "points outside"));
        }
        Ok(())
    }
}

/// ULA with step size h, reflected.
#[derive(Clone, Debug)]
pub struct ReflectedUla {
    step: f64,
    walls: Walls,
}

impl ReflectedUla {
    /// A kernel with step size `step` > 0.
    pub fn new(step: f64, walls: Walls) -> Result<Self> {
        Ok(Self { step: super::positive(step)?, walls })
    }
}

impl Kernel for ReflectedUla {
    fn init(&self, target: &dyn Energy, x: &Tensor) -> Result<Chains> {
        self.walls.inside(x)?;
        Chains::at(target, x)
    }

    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let xi = noise.normal_like(&chains.x)?;
        let free = mala::propose(&chains.x, &chains.gradient, &xi, self.step)?;
        *chains = Chains::at(target, &self.walls.fold(&free)?.0)?;
        let n = chains.x.dim(0)?;
        Ok(StepInfo::always(n))
    }
}

/// MALA with step size h = ε²/2, reflected.
#[derive(Clone, Debug)]
pub struct ReflectedMala {
    step: f64,
    walls: Walls,
}

impl ReflectedMala {
    /// A kernel with step size `step` > 0.
    pub fn new(step: f64, walls: Walls) -> Result<Self> {
        Ok(Self { step: super::positive(step)?, walls })
    }

    /// One flight: the end and its momentum.
    fn flight(&self, target: &dyn Energy, from: &Chains, p: &Tensor) -> Result<(Chains, Tensor)> {
        let length = (2.0 * self.step).sqrt();
        let p = (p - (&from.gradient * (0.5 * length))?)?;
        let (x, sign) = self.walls.fold(&(&from.x + (&p * length)?)?)?;
        let end = Chains::at(target, &x)?;
        let p = ((p * sign)? - (&end.gradient * (0.5 * length))?)?;
        Ok((end, p))
    }
}

impl Kernel for ReflectedMala {
    fn init(&self, target: &dyn Energy, x: &Tensor) -> Result<Chains> {
        self.walls.inside(x)?;
        Chains::at(target, x)
    }

    fn step(&self, target: &dyn Energy, chains: &mut Chains, noise: &mut Noise) -> Result<StepInfo> {
        let p = noise.normal_like(&chains.x)?;
        let (end, q) = self.flight(target, chains, &p)?;
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let kinetic = (rows::squared_norm(&wide(&p)?)? - rows::squared_norm(&wide(&q)?)?)?;
        let ratio = ((wide(&chains.energy)? - wide(&end.energy)?)? + (kinetic * 0.5)?)?;
        let (info, mask) = accept(&rows::host(&ratio)?, noise, chains.x.device())?;
        *chains = target.select(&mask, &end, chains)?;
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::Moments;

    /// U = s x: on [a, b] an exponential law cut off at both ends.
    struct Slope(f64);

    impl Energy for Slope {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok((x.squeeze(1)? * self.0)?)
        }
        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            Ok((self.energy(x)?, x.ones_like()?.affine(self.0, 0.0)?))
        }
    }

    fn walls() -> Result<Walls> {
        Walls::cube(-1.0, 2.0, DType::F64, &Device::Cpu)
    }

    /// Against mirrors applied one at a time, at points as far out as twenty boxes.
    #[test]
    fn folding_is_reflecting_until_inside() -> Result<()> {
        let low = Tensor::new(&[-1.0f64, 0.5], &Device::Cpu)?;
        let high = Tensor::new(&[2.0f64, 1.0], &Device::Cpu)?;
        let x = (Noise::new(1).normal((500, 2), DType::F64, &Device::Cpu)? * 20.0)?;
        let (folded, sign) = Walls::new(&low, &high)?.fold(&x)?;
        let (folded, sign) = (rows::host(&folded)?, rows::host(&sign)?);
        for (i, x) in rows::host(&x)?.into_iter().enumerate() {
            let (a, b) = [(-1.0, 2.0), (0.5, 1.0)][i % 2];
            let (mut at, mut direction) = (x, 1.0);
            while !(a..=b).contains(&at) {
                at = if at > b { 2.0 * b - at } else { 2.0 * a - at };
                direction = -direction;
            }
            assert!((folded[i] - at).abs() < 1e-12 && sign[i] == direction, "{x}: {} {at}", folded[i]);
        }
        Ok(())
    }

    /// With U = 0 each step convolves with the reflecting heat kernel: cos(mπ(x − a)/w) decays by e^{−h(mπ/w)²}.
    #[test]
    fn without_a_slope_reflected_ula_is_the_heat_equation() -> Result<()> {
        let (n, h, from) = (40_000, 0.2, -0.4);
        let (kernel, target, mut noise) = (ReflectedUla::new(h, walls()?)?, Slope(0.0), Noise::new(2));
        let mut chains = kernel.init(&target, &Tensor::full(from, (n, 1), &Device::Cpu)?)?;
        for k in 1..=10 {
            kernel.step(&target, &mut chains, &mut noise)?;
            let x = rows::host(&chains.x)?;
            for m in 1..=4 {
                let wave = |x: f64| (f64::from(m) * std::f64::consts::PI * (x + 1.0) / 3.0).cos();
                let rate = h * (f64::from(m) * std::f64::consts::PI / 3.0).powi(2);
                let got = Moments::of(&x.iter().map(|x| wave(*x)).collect::<Vec<_>>());
                let want = (-rate * f64::from(k)).exp() * wave(from);
                assert!(
                    (got.mean() - want).abs() < 4.0 * got.standard_error(),
                    "{k} {m}: {} {want}",
                    got.mean()
                );
            }
        }
        Ok(())
    }

    /// The cut exponential has every moment in closed form; steps that fly through the box many times cost acceptance.
    #[test]
    fn reflected_mala_leaves_a_cut_exponential_invariant() -> Result<()> {
        let (n, s) = (20_000, 1.3);
        let target = Slope(s);
        let mass = (s.exp() - (-2.0 * s).exp()) / s;
        // ∫ x e^{−sx} dx = −e^{−sx} (x/s + 1/s²).
        let antiderivative = |x: f64| -(-s * x).exp() * (x / s + 1.0 / (s * s));
        let mean = (antiderivative(2.0) - antiderivative(-1.0)) / mass;
        let beyond = (1.0 - (-2.0 * s).exp()) / s / mass;
        for h in [0.05, 0.8, 4.0] {
            let (kernel, mut noise) = (ReflectedMala::new(h, walls()?)?, Noise::new(3));
            let mut chains = kernel.init(&target, &Tensor::full(0.3, (n, 1), &Device::Cpu)?)?;
            let mut acceptance = 0.0;
            for _ in 0..120 {
                acceptance += kernel.step(&target, &mut chains, &mut noise)?.mean_acceptance() / 120.0;
            }
            assert!((0.2..1.0).contains(&acceptance), "{acceptance}");
            let x = rows::host(&chains.x)?;
            assert!(x.iter().all(|x| (-1.0..=2.0).contains(x)));
            let got = Moments::of(&x);
            assert!((got.mean() - mean).abs() < 4.0 * got.standard_error(), "{h}: {} {mean}", got.mean());
            let right = Moments::of(&x.iter().map(|x| f64::from(*x > 0.0)).collect::<Vec<_>>());
            assert!(
                (right.mean() - beyond).abs() < 4.0 * right.standard_error(),
                "{h}: {} {beyond}",
                right.mean()
            );
        }
        Ok(())
    }

    /// What carries detailed balance: a flight is undone by the flight with its momentum reversed.
    #[test]
    fn flights_reverse_to_round_off() -> Result<()> {
        let (target, kernel) = (Slope(0.7), ReflectedMala::new(9.0, walls()?)?);
        let x = (Noise::new(4).uniform((300, 1), DType::F64, &Device::Cpu)? * 3.0)?.affine(1.0, -1.0)?;
        let (from, p) = (Chains::at(&target, &x)?, Noise::new(5).normal((300, 1), DType::F64, &Device::Cpu)?);
        let (end, q) = kernel.flight(&target, &from, &p)?;
        let (back, r) = kernel.flight(&target, &end, &q.neg()?)?;
        for gap in [(back.x - x)?, (r + p)?] {
            assert!(rows::host(&gap)?.iter().all(|g| g.abs() < 1e-12));
        }
        Ok(())
    }

    #[test]
    fn boxes_that_make_no_sense_and_starts_outside_are_errors() -> Result<()> {
        let cpu = Device::Cpu;
        assert!(Walls::cube(1.0, 1.0, DType::F64, &cpu).is_err());
        assert!(Walls::cube(0.0, f64::INFINITY, DType::F64, &cpu).is_err());
        let outside = Tensor::full(2.1, (1, 1), &cpu)?;
        assert!(ReflectedMala::new(0.1, walls()?)?.init(&Slope(0.0), &outside).is_err());
        assert!(ReflectedUla::new(0.1, walls()?)?.init(&Slope(0.0), &outside).is_err());
        assert!(ReflectedUla::new(0.0, walls()?).is_err());
        Ok(())
    }
}
