//! Stochastic differential equations `dx = f(t, x) dt + g(t, x) dW` with diagonal noise.
//!
//! ```text
//! Euler–Maruyama   x' = x + f h + g ΔW                                        Itô;          strong ½, weak 1
//! Heun             x̂  = x + f h + g ΔW                                        Stratonovich; strong 1 (*), weak 1
//!                  x' = x + ½ (f + f̂) h + ½ (g + ĝ) ΔW
//! ΔW ~ N(0, |h|)
//! ```
//!
//! Where g does not depend on x the two calculi agree, Euler–Maruyama has strong order 1, and Heun's drift is of
//! second order. (*) for diagonal noise. Time may run backward (h < 0), as in reverse diffusion: the noise has
//! variance |h| either way. Heun here is the stochastic method of Rümelin (1982), not the sampler of Karras et al.
//! Source: Kloeden & Platen, "Numerical Solution of Stochastic Differential Equations", §10.2 and §14.

use candle_core::Tensor;
use genzoo_core::{Error, Noise, Result};

/// A stochastic solver by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdeSolver {
    /// Euler–Maruyama, for Itô equations; one evaluation per step.
    EulerMaruyama,
    /// Stochastic Heun, for Stratonovich equations; two evaluations per step.
    Heun,
}

impl std::str::FromStr for SdeSolver {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "euler-maruyama" => Ok(Self::EulerMaruyama),
            "heun" => Ok(Self::Heun),
            _ => Err(Error::unknown("solver", name, ["euler-maruyama", "heun"])),
        }
    }
}

/// One step from `t` to `t + h` with the Brownian increment `dw`, shaped like `x`.
///
/// `diffusion` may return any shape that broadcasts against `x`, e.g. `(1,)` for a number.
pub fn step(
    solver: SdeSolver,
    drift: &mut impl FnMut(f64, &Tensor) -> Result<Tensor>,
    diffusion: &mut impl FnMut(f64, &Tensor) -> Result<Tensor>,
    (t, h): (f64, f64),
    x: &Tensor,
    dw: &Tensor,
) -> Result<Tensor> {
    let f = drift(t, x)?;
    let g = diffusion(t, x)?;
    let euler = ((x + (&f * h)?)? + dw.broadcast_mul(&g)?)?;
    if solver == SdeSolver::EulerMaruyama {
        return Ok(euler);
    }
    let f = (f + drift(t + h, &euler)?)?;
    let g = (g + diffusion(t + h, &euler)?)?;
    Ok(((x + (f * (0.5 * h))?)? + (dw.broadcast_mul(&g)? * 0.5)?)?)
}

/// Integrates along `times`, one step from each to the next, drawing one normal per coordinate and step.
///
/// The state is detached from candle's graph after every step.
///
/// # Errors
/// If `drift` or `diffusion` fail.
pub fn along(
    solver: SdeSolver,
    mut drift: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    mut diffusion: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    mut x: Tensor,
    times: &[f64],
    noise: &mut Noise,
) -> Result<Tensor> {
    for pair in times.windows(2) {
        let h = pair[1] - pair[0];
        let dw = (noise.normal_like(&x)? * h.abs().sqrt())?;
        x = step(solver, &mut drift, &mut diffusion, (pair[0], h), &x, &dw)?.detach();
    }
    Ok(x)
}

/// Integrates from `t0` to `t1` in `steps` equal steps; see [`along`].
///
/// # Errors
/// If `steps` is 0, or `drift` or `diffusion` fail.
pub fn integrate(
    solver: SdeSolver,
    drift: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    diffusion: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    x: Tensor,
    (t0, t1, steps): (f64, f64, usize),
    noise: &mut Noise,
) -> Result<Tensor> {
    if steps == 0 {
        return Err(Error::config("steps", "at least 1", 0));
    }
    let at = |i: usize| {
        if i == steps { t1 } else { t0 + (t1 - t0) * (i as f64 / steps as f64) }
    };
    along(solver, drift, diffusion, x, &(0..=steps).map(at).collect::<Vec<_>>(), noise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rows, special::Moments, targets::slope};
    use candle_core::{DType, Device};

    const FINE: usize = 256;

    /// Brownian increments of `paths` paths on the finest grid of [0, 1], column by column.
    fn increments(paths: usize) -> Result<Tensor> {
        let dw = Noise::new(11).normal((FINE, paths), DType::F64, &Device::Cpu)?;
        Ok((dw / (FINE as f64).sqrt())?)
    }

    /// Root mean square error at t = 1 on `steps` steps of the same Brownian paths.
    fn strong_error(
        solver: SdeSolver,
        steps: usize,
        drift: impl Fn(f64, &Tensor) -> Result<Tensor>,
        diffusion: impl Fn(f64, &Tensor) -> Result<Tensor>,
        exact: &Tensor,
        dw: &Tensor,
    ) -> Result<f64> {
        let paths = dw.dim(1)?;
        let coarse = dw.reshape((steps, FINE / steps, paths))?.sum(1)?;
        let h = 1.0 / steps as f64;
        let mut x = Tensor::ones(paths, DType::F64, &Device::Cpu)?;
        for i in 0..steps {
            let mut f = &drift;
            let mut g = &diffusion;
            x = step(solver, &mut f, &mut g, (i as f64 * h, h), &x, &coarse.get(i)?)?;
        }
        Ok((x - exact)?.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt())
    }

    fn order(error: impl Fn(usize) -> Result<f64>) -> Result<f64> {
        let points =
            [8, 16, 32, 64].iter().map(|&n| Ok((1.0 / n as f64, error(n)?))).collect::<Result<Vec<_>>>()?;
        Ok(slope(&points))
    }

    /// Geometric Brownian motion: x(1) = e^{μ − σ²/2 + σW} by Itô, e^{μ + σW} by Stratonovich.
    #[test]
    fn strong_orders_on_geometric_brownian_motion() -> Result<()> {
        let (mu, sd) = (0.4, 0.6);
        let dw = increments(4000)?;
        let w = dw.sum(0)?;
        let f = |_: f64, x: &Tensor| Ok((x * mu)?);
        let g = |_: f64, x: &Tensor| Ok((x * sd)?);
        let ito = w.affine(sd, mu - 0.5 * sd * sd)?.exp()?;
        let stratonovich = w.affine(sd, mu)?.exp()?;
        let got = order(|n| strong_error(SdeSolver::EulerMaruyama, n, f, g, &ito, &dw))?;
        assert!((got - 0.5).abs() < 0.15, "Euler–Maruyama {got}");
        let got = order(|n| strong_error(SdeSolver::Heun, n, f, g, &stratonovich, &dw))?;
        assert!((got - 1.0).abs() < 0.2, "Heun {got}");
        Ok(())
    }

    /// Ornstein–Uhlenbeck has additive noise: Euler–Maruyama is of strong order 1. The exact end point is
    /// e^{−1} + ∫ e^{−(1−s)} dW, a sum over the fine grid up to an error of order 1/256.
    #[test]
    fn additive_noise_raises_the_strong_order_to_one() -> Result<()> {
        let dw = increments(4000)?;
        let kernel: Vec<f64> = (0..FINE).map(|i| (-(1.0 - (i as f64 + 0.5) / FINE as f64)).exp()).collect();
        let kernel = Tensor::from_vec(kernel, (1, FINE), &Device::Cpu)?;
        let exact = (kernel.matmul(&dw)?.squeeze(0)? + (-1f64).exp())?;
        let f = |_: f64, x: &Tensor| Ok(x.neg()?);
        let g = |_: f64, _: &Tensor| Ok(Tensor::ones(1, DType::F64, &Device::Cpu)?);
        let got = order(|n| strong_error(SdeSolver::EulerMaruyama, n, f, g, &exact, &dw))?;
        assert!((got - 1.0).abs() < 0.2, "{got}");
        Ok(())
    }

    /// E x² of a linear equation needs only the first two moments of the increments, so all 2ⁿ paths with
    /// ΔW = ±√h give the scheme's expectation without sampling error. Itô: E x(1)² = e^{2μ + σ²};
    /// Stratonovich: e^{2μ + 2σ²}.
    #[test]
    fn weak_order_is_one_by_enumeration_of_all_paths() -> Result<()> {
        let (mu, sd) = (0.4, 0.5);
        let second_moment = |solver, n: usize| -> Result<f64> {
            let (paths, h) = (1usize << n, 1.0 / n as f64);
            let mut x = Tensor::ones(paths, DType::F64, &Device::Cpu)?;
            for i in 0..n {
                let sign = |p| if (p >> i) & 1 == 0 { h.sqrt() } else { -h.sqrt() };
                let dw = rows::tensor((0..paths).map(sign).collect(), &Device::Cpu)?;
                let mut f = |_: f64, x: &Tensor| Ok((x * mu)?);
                let mut g = |_: f64, x: &Tensor| Ok((x * sd)?);
                x = step(solver, &mut f, &mut g, (i as f64 * h, h), &x, &dw)?;
            }
            Ok(x.sqr()?.mean_all()?.to_scalar::<f64>()?)
        };
        for (solver, exact) in [
            (SdeSolver::EulerMaruyama, (2.0 * mu + sd * sd).exp()),
            (SdeSolver::Heun, (2.0 * mu + 2.0 * sd * sd).exp()),
        ] {
            let points = [5, 7, 9, 11, 13]
                .iter()
                .map(|&n| Ok((1.0 / n as f64, (second_moment(solver, n)? - exact).abs())))
                .collect::<Result<Vec<_>>>()?;
            let got = slope(&points);
            assert!((got - 1.0).abs() < 0.3, "{solver:?} {got} {points:?}");
        }
        Ok(())
    }

    /// Stationary Ornstein–Uhlenbeck stays N(0, 1) in either direction of time: reversed, the drift −x of time t
    /// becomes x − 2x = −x against a negative step, and the noise must still have variance |h|.
    #[test]
    fn noise_has_variance_of_the_absolute_step() -> Result<()> {
        let n = 20_000;
        let g = |_: f64, _: &Tensor| Ok(Tensor::full(2f64.sqrt(), 1, &Device::Cpu)?);
        for (t0, t1, sign) in [(0.0, 1.0, -1.0), (1.0, 0.0, 1.0)] {
            let mut noise = Noise::new(2);
            let x = noise.normal(n, DType::F64, &Device::Cpu)?;
            let f = |_: f64, x: &Tensor| Ok((x * sign)?);
            let x = integrate(SdeSolver::Heun, f, g, x, (t0, t1, 20), &mut noise)?;
            let moments = Moments::of(&rows::host(&x)?);
            // Heun's stationary variance differs from 1 by less than h² = 1/400.
            let error = 4.0 * (2.0 / n as f64).sqrt() + 1.0 / 400.0;
            assert!((moments.variance() - 1.0).abs() < error, "{}", moments.variance());
        }
        Ok(())
    }
}
