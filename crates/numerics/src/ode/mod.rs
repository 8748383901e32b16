//! Ordinary differential equations `dx/dt = f(t, x)` between any two times, forward or backward.
//!
//! ```
//! use genzoo_core::{Result, Tensor, Device};
//! use genzoo_numerics::ode::{self, Scheme};
//! # fn main() -> Result<()> {
//! let x = Tensor::new(&[[1.0f64]], &Device::Cpu)?;
//! let decay = |_t: f64, x: &Tensor| Ok(x.neg()?);
//! let solution = ode::integrate(&Scheme::adaptive(1e-8, 1e-8), decay, x, 0.0, 1.0)?;
//! let end = solution.x.to_vec2::<f64>()?[0][0];
//! assert!((end - (-1.0f64).exp()).abs() < 1e-7);
//! # Ok(()) }
//! ```

mod adaptive;
mod fixed;
mod scheme;
mod state;
mod tableau;

pub use scheme::{Control, Scheme, Solver};
pub use state::State;
pub use tableau::Tableau;

use genzoo_core::{Error, Result};

/// Where an integration ended and what it cost.
#[derive(Clone, Debug)]
pub struct Solution<S> {
    /// The state at the final time.
    pub x: S,
    /// Calls of the right-hand side.
    pub evaluations: u64,
    /// Steps taken.
    pub accepted: u64,
    /// Steps tried and discarded by the error control.
    pub rejected: u64,
}

/// Integrates `dx/dt = f(t, x)` from `x` at `t0` to `t1`, which may lie on either side of `t0`.
///
/// The state is detached from candle's graph after every step: a solution has no gradient.
///
/// # Errors
/// If `f` fails, if the scheme asks for an error control its solver lacks, or if the adaptive control cannot meet
/// its tolerance (non-finite right-hand side, vanishing step, more than the allowed number of steps).
pub fn integrate<S: State>(
    scheme: &Scheme,
    f: impl FnMut(f64, &S) -> Result<S>,
    x: S,
    t0: f64,
    t1: f64,
) -> Result<Solution<S>> {
    match &scheme.control {
        Control::Steps(0) => Err(Error::config("steps", "at least 1", 0)),
        &Control::Steps(n) => {
            let at = |i: usize| {
                if i == n { t1 } else { t0 + (t1 - t0) * (i as f64 / n as f64) }
            };
            let times: Vec<f64> = (0..=n).map(at).collect();
            fixed::along(scheme.solver.tableau(), f, x, &times)
        }
        Control::Tolerance { rtol, atol, max_steps } => {
            adaptive::integrate(scheme.solver, (*rtol, *atol, *max_steps), f, x, t0, t1)
        }
    }
}

/// One step of `solver` from each of `times` to the next: samplers with a time grid of their own.
///
/// # Errors
/// If `f` fails.
pub fn along<S: State>(
    solver: Solver,
    f: impl FnMut(f64, &S) -> Result<S>,
    x: S,
    times: &[f64],
) -> Result<Solution<S>> {
    fixed::along(solver.tableau(), f, x, times)
}
