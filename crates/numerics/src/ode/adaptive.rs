//! Step sizes from an error estimate, with a proportional–integral controller.
//!
//! ```text
//! err = rms( h Σ e_i k_i / (atol + rtol max(|x|, |x'|)) ),    accept if err ≤ 1
//! h' = h · clamp( 0.9 · err^{−(1/5 − ¾β)} · err_previous^β, 0.2, 10 ),   β = 0.04
//! ```
//!
//! One step size serves the whole batch, so a row's result depends on its neighbours, within the tolerance.
//! Source: Hairer, Nørsett & Wanner, "Solving Ordinary Differential Equations I", §II.4 (control and first step),
//! and "II", §IV.2 (the integral part, after Gustafsson 1991).

use genzoo_core::{Error, Result};

use super::{Solution, Solver, State};

const SAFETY: f64 = 0.9;
const INTEGRAL: f64 = 0.04;
const SHRINK: f64 = 0.2;
const GROW: f64 = 10.0;

pub(super) fn integrate<S: State>(
    solver: Solver,
    (rtol, atol, max_steps): (f64, f64, u64),
    mut f: impl FnMut(f64, &S) -> Result<S>,
    mut x: S,
    t0: f64,
    t1: f64,
) -> Result<Solution<S>> {
    let tableau = solver.tableau();
    if tableau.e.is_empty() {
        return Err(Error::config("solver", "dopri5 where a tolerance is given", solver));
    }
    if !(rtol >= 0.0 && atol >= 0.0 && rtol + atol > 0.0 && (rtol + atol).is_finite()) {
        return Err(Error::config("rtol, atol", "tolerances ≥ 0, not both 0", format!("{rtol}, {atol}")));
    }
    if t0 == t1 {
        return Ok(Solution { x, evaluations: 0, accepted: 0, rejected: 0 });
    }
    let mut evaluations = 0;
    let mut f = |t: f64, x: &S| {
        evaluations += 1;
        f(t, x)
    };
    let proportional = 1.0 / tableau.order as f64 - 0.75 * INTEGRAL;
    let (mut t, mut accepted, mut rejected) = (t0, 0, 0);
    let (mut previous, mut just_rejected) = (1e-4f64, false);
    let mut first = f(t, &x)?.detach();
    let mut h = first_step(tableau.order, (rtol, atol), &mut f, &x, &first, t0, t1)?;
    loop {
        let remaining = t1 - t;
        // A sliver left by rounding is joined to this step, and the last step lands on t1 exactly.
        let last = h.abs() * (1.0 + 1e-10) >= remaining.abs();
        if last {
            h = remaining;
        }
        if h.abs() <= 1e-14 * t.abs().max((t1 - t0).abs()) && !last || accepted + rejected >= max_steps {
            return Err(Error::Unsupported(format!(
                "dopri5 cannot meet rtol {rtol:e}, atol {atol:e}: at t = {t} after {} steps its step is {h:e}; \
                 loosen the tolerance or use fixed steps",
                accepted + rejected
            )));
        }
        let (next, mut k) = tableau.step(&mut f, t, &x, h, Some(first.clone()))?;
        let terms: Vec<_> =
            tableau.e.iter().zip(&k).filter(|(e, _)| **e != 0.0).map(|(e, k)| (h * e, k)).collect();
        let error = S::combine(&terms)?.scaled_norm(&x, &next, rtol, atol)?;
        if error <= 1.0 {
            accepted += 1;
            t = if last { t1 } else { t + h };
            x = next.detach();
            if last {
                return Ok(Solution { x, evaluations, accepted, rejected });
            }
            first = match k.pop() {
                Some(k) if tableau.first_same_as_last() => k.detach(),
                _ => f(t, &x)?.detach(),
            };
            let factor = SAFETY * error.powf(-proportional) * previous.powf(INTEGRAL);
            // Right after a rejection the step does not grow, or the two would alternate.
            h *= factor.clamp(SHRINK, if just_rejected { 1.0 } else { GROW });
            previous = error.max(1e-4);
            just_rejected = false;
        } else {
            rejected += 1;
            just_rejected = true;
            // An error that is not a number comes from a step into nowhere: shrink as much as one may.
            let factor = SAFETY * error.powf(-proportional);
            h *= if factor.is_finite() { factor.clamp(SHRINK, SAFETY) } else { SHRINK };
        }
    }
}

/// A first step from the sizes of x, x' and an estimate of x'' (§II.4, algorithm "starting step size").
fn first_step<S: State>(
    order: u32,
    (rtol, atol): (f64, f64),
    f: &mut impl FnMut(f64, &S) -> Result<S>,
    x: &S,
    slope: &S,
    t0: f64,
    t1: f64,
) -> Result<f64> {
    let span = (t1 - t0).abs();
    let direction = (t1 - t0).signum();
    let size = x.scaled_norm(x, x, rtol, atol)?;
    let speed = slope.scaled_norm(x, x, rtol, atol)?;
    if !speed.is_finite() {
        return Err(Error::Unsupported(format!("the right-hand side is not finite at t = {t0}")));
    }
    let guess = if size < 1e-5 || speed < 1e-5 { 1e-6 } else { 0.01 * size / speed }.min(span);
    let ahead = S::combine(&[(1.0, x), (direction * guess, slope)])?;
    let bend = S::combine(&[(1.0, &f(t0 + direction * guess, &ahead)?), (-1.0, slope)])?
        .scaled_norm(x, x, rtol, atol)?
        / guess;
    let steepest = speed.max(bend);
    let refined = if steepest <= 1e-15 {
        (guess * 1e-3).max(1e-6)
    } else if steepest.is_finite() {
        (0.01 / steepest).powf(1.0 / (order as f64))
    } else {
        guess * 1e-3
    };
    Ok(direction * refined.min(100.0 * guess).min(span))
}

#[cfg(test)]
mod tests {
    use super::super::{Control, Scheme, Solver, integrate};
    use crate::{rows, targets::slope};
    use candle_core::{DType, Device, Tensor};
    use genzoo_core::Result;

    /// The Kepler problem with eccentricity 0.5: q'' = −q/|q|³, period 2π, so one period is the identity.
    fn kepler(_: f64, s: &Tensor) -> Result<Tensor> {
        let (q, p) = (s.narrow(1, 0, 2)?, s.narrow(1, 2, 2)?);
        let cube = rows::squared_norm(&q)?.sqrt()?.powf(3.0)?;
        Ok(Tensor::cat(&[&p, &rows::scale(&q.neg()?, &cube.recip()?)?], 1)?)
    }

    #[test]
    fn a_planet_comes_back_within_the_tolerance() -> Result<()> {
        let start = [0.5, 0.0, 0.0, 3f64.sqrt()];
        let x = Tensor::new(&[start], &Device::Cpu)?;
        let mut points = Vec::new();
        for tolerance in [1e-4, 1e-6, 1e-8, 1e-10] {
            for end in [1.0, -1.0] {
                let scheme = Scheme::adaptive(tolerance, tolerance);
                let solution = integrate(&scheme, kepler, x.clone(), 0.0, end * std::f64::consts::TAU)?;
                let miss: f64 = rows::host(&solution.x)?.iter().zip(start).map(|(a, b)| (a - b).abs()).sum();
                assert!(miss < 1000.0 * tolerance, "{tolerance}: {miss}");
                let spent = 6 * (solution.accepted + solution.rejected) + 2;
                assert_eq!(solution.evaluations, spent);
                points.push((1.0 / solution.accepted as f64, miss));
            }
        }
        // Error against mean step size: order five, although no step size was prescribed.
        let order = slope(&points);
        assert!((order - 5.0).abs() < 0.8, "{order}");
        Ok(())
    }

    #[test]
    fn tensors_of_a_pair_share_the_step() -> Result<()> {
        let x = Tensor::new(&[1f64, 2.0], &Device::Cpu)?;
        let zero = Tensor::zeros(2, DType::F64, &Device::Cpu)?;
        // x' = −x and l' = x: the second is x(0) − x(t).
        let f = |_: f64, (x, _): &(Tensor, Tensor)| Ok((x.neg()?, x.clone()));
        let pair = integrate(&Scheme::adaptive(1e-10, 1e-10), f, (x.clone(), zero.clone()), 0.0, 2.0)?;
        let (end, integral) = (rows::host(&pair.x.0)?, rows::host(&pair.x.1)?);
        for (i, start) in [1.0, 2.0].into_iter().enumerate() {
            assert!((end[i] - start * f64::exp(-2.0)).abs() < 1e-9);
            assert!((integral[i] - (start - end[i])).abs() < 1e-9);
        }
        let g = |_: f64, s: &Vec<Tensor>| Ok(vec![s[0].neg()?, s[0].clone()]);
        let list = integrate(&Scheme::adaptive(1e-10, 1e-10), g, vec![x, zero], 0.0, 2.0)?;
        assert_eq!(rows::host(&list.x[0])?, end);
        Ok(())
    }

    #[test]
    fn blow_up_and_nonsense_are_errors_and_not_hangs() -> Result<()> {
        let x = Tensor::new(&[1f64], &Device::Cpu)?;
        // x' = x² reaches infinity at t = 1.
        let square = |_: f64, x: &Tensor| Ok(x.sqr()?);
        assert!(integrate(&Scheme::adaptive(1e-6, 1e-6), square, x.clone(), 0.0, 2.0).is_err());
        let nan = |_: f64, x: &Tensor| Ok((x * f64::NAN)?);
        assert!(integrate(&Scheme::adaptive(1e-6, 1e-6), nan, x.clone(), 0.0, 1.0).is_err());
        let control = Control::Tolerance { rtol: 1e-3, atol: 1e-3, max_steps: 100 };
        let without_estimate = Scheme { solver: Solver::Rk4, control };
        assert!(integrate(&without_estimate, square, x.clone(), 0.0, 0.5).is_err());
        assert!(integrate(&Scheme::adaptive(0.0, 0.0), square, x.clone(), 0.0, 0.5).is_err());
        assert!(integrate(&Scheme::adaptive(f64::NAN, 1.0), square, x, 0.0, 0.5).is_err());
        Ok(())
    }
}
