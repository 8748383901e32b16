//! The choice of solver and of how its steps are controlled.

use std::fmt;
use std::str::FromStr;

use genzoo_core::{Error, Result};

use super::tableau::{DOPRI5, EULER, HEUN, RK4, Tableau};

/// A Runge–Kutta method by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solver {
    /// Euler, order 1, one evaluation per step.
    Euler,
    /// Heun (explicit trapezoid), order 2, two evaluations per step.
    Heun,
    /// Classical Runge–Kutta, order 4, four evaluations per step.
    Rk4,
    /// Dormand–Prince, order 5, six evaluations per step, with an error estimate.
    Dopri5,
}

impl Solver {
    /// Every solver.
    pub const ALL: [Self; 4] = [Self::Euler, Self::Heun, Self::Rk4, Self::Dopri5];

    /// The name used in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
            Self::Rk4 => "rk4",
            Self::Dopri5 => "dopri5",
        }
    }

    /// The order of convergence in the step size.
    pub fn order(self) -> u32 {
        self.tableau().order
    }

    /// Its coefficients.
    pub fn tableau(self) -> &'static Tableau {
        match self {
            Self::Euler => &EULER,
            Self::Heun => &HEUN,
            Self::Rk4 => &RK4,
            Self::Dopri5 => &DOPRI5,
        }
    }
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Solver {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|solver| solver.name() == name)
            .ok_or_else(|| Error::unknown("solver", name, Self::ALL.map(Self::name)))
    }
}

/// How the step size is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Control {
    /// This many equal steps.
    Steps(usize),
    /// Steps whose estimated error, over the whole batch, stays below `atol + rtol·|x|`.
    Tolerance {
        /// Relative tolerance.
        rtol: f64,
        /// Absolute tolerance.
        atol: f64,
        /// Steps, accepted or not, after which the solver gives up.
        max_steps: u64,
    },
}

/// A solver and its step control.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    /// The method.
    pub solver: Solver,
    /// The choice of its steps.
    pub control: Control,
}

impl Scheme {
    /// `steps` equal steps of `solver`.
    pub fn fixed(solver: Solver, steps: usize) -> Self {
        Self { solver, control: Control::Steps(steps) }
    }

    /// Dopri5 with error control, at most 10,000 steps.
    pub fn adaptive(rtol: f64, atol: f64) -> Self {
        Self { solver: Solver::Dopri5, control: Control::Tolerance { rtol, atol, max_steps: 10_000 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_themselves() {
        for solver in Solver::ALL {
            assert_eq!(solver.name().parse::<Solver>().ok(), Some(solver));
        }
        let error = "dopri".parse::<Solver>().map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("'dopri'") && e.contains("dopri5")));
    }
}
