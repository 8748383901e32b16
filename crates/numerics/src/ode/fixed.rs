//! One Runge–Kutta step between each pair of neighbouring times.

use genzoo_core::Result;

use super::{Solution, State, Tableau};

pub(super) fn along<S: State>(
    tableau: &Tableau,
    mut f: impl FnMut(f64, &S) -> Result<S>,
    mut x: S,
    times: &[f64],
) -> Result<Solution<S>> {
    let mut evaluations = 0;
    let mut counted = |t: f64, x: &S| {
        evaluations += 1;
        f(t, x)
    };
    let mut last = None;
    for pair in times.windows(2) {
        let (next, mut stages) = tableau.step(&mut counted, pair[0], &x, pair[1] - pair[0], last.take())?;
        x = next.detach();
        if tableau.first_same_as_last() {
            last = stages.pop().map(|k| k.detach());
        }
    }
    Ok(Solution { x, evaluations, accepted: times.len().saturating_sub(1) as u64, rejected: 0 })
}

#[cfg(test)]
mod tests {
    use super::super::{Scheme, Solver, along, integrate};
    use crate::rows;
    use candle_core::{Device, Tensor};
    use genzoo_core::Result;

    /// A rotation with angular speed 2 + cos t, by the angle 2t + sin t: both the nodes and the stages matter.
    fn error(solver: Solver, steps: usize, t0: f64, t1: f64) -> Result<f64> {
        let at = |t: f64| [(2.0 * t + t.sin()).cos(), (2.0 * t + t.sin()).sin()];
        let turn = Tensor::new(&[[0f64, 1.0], [-1.0, 0.0]], &Device::Cpu)?;
        let f = |t: f64, x: &Tensor| Ok((x.matmul(&turn)? * (2.0 + t.cos()))?);
        let solution =
            integrate(&Scheme::fixed(solver, steps), f, Tensor::new(&[at(t0)], &Device::Cpu)?, t0, t1)?;
        Ok(rows::host(&solution.x)?.iter().zip(at(t1)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt())
    }

    #[test]
    fn each_solver_converges_with_its_order() -> Result<()> {
        for solver in Solver::ALL {
            for (t0, t1) in [(0.0, 1.3), (1.3, 0.1)] {
                let points: Vec<(f64, f64)> = [16, 24, 32, 48, 64]
                    .iter()
                    .map(|&n| Ok((1.0 / n as f64, error(solver, n, t0, t1)?)))
                    .collect::<Result<_>>()?;
                let slope = crate::targets::slope(&points);
                assert!((slope - solver.order() as f64).abs() < 0.3, "{solver} {t0} to {t1}: {slope}");
            }
        }
        Ok(())
    }

    #[test]
    fn evaluations_per_step_are_the_stages_less_the_shared_one() -> Result<()> {
        let x = Tensor::new(&[1f64], &Device::Cpu)?;
        for (solver, evaluations) in
            [(Solver::Euler, 10), (Solver::Heun, 20), (Solver::Rk4, 40), (Solver::Dopri5, 61)]
        {
            let mut calls = 0;
            let f = |_: f64, x: &Tensor| {
                calls += 1;
                Ok(x.neg()?)
            };
            let solution = integrate(&Scheme::fixed(solver, 10), f, x.clone(), 0.0, 1.0)?;
            assert_eq!((solution.evaluations, solution.accepted, calls), (evaluations, 10, evaluations));
        }
        Ok(())
    }

    #[test]
    fn an_even_grid_is_equal_steps() -> Result<()> {
        let x = Tensor::new(&[1f64, -2.0], &Device::Cpu)?;
        let f = |t: f64, x: &Tensor| Ok((x.sqr()? * t)?);
        let steps = integrate(&Scheme::fixed(Solver::Rk4, 4), f, x.clone(), 0.0, 1.0)?.x;
        let grid = along(Solver::Rk4, f, x, &[0.0, 0.25, 0.5, 0.75, 1.0])?.x;
        assert_eq!(rows::host(&steps)?, rows::host(&grid)?);
        Ok(())
    }

    #[test]
    fn no_steps_is_an_error_and_no_time_is_the_identity() -> Result<()> {
        let x = Tensor::new(&[1f64], &Device::Cpu)?;
        let f = |_: f64, x: &Tensor| Ok(x.clone());
        assert!(integrate(&Scheme::fixed(Solver::Heun, 0), f, x.clone(), 0.0, 1.0).is_err());
        for scheme in [Scheme::fixed(Solver::Heun, 3), Scheme::adaptive(1e-6, 1e-6)] {
            assert_eq!(rows::host(&integrate(&scheme, f, x.clone(), 0.5, 0.5)?.x)?, [1.0]);
        }
        Ok(())
    }
}
