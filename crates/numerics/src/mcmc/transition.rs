//! Which kernel moves chains on tempered targets.

use std::fmt;

use genzoo_core::{Error, Result};

/// A transition that leaves each tempered target exactly invariant.
///
/// MALA is the unadjusted Langevin algorithm with its correction; without it the weights would be biased, so plain ULA
/// is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A random walk, without gradients.
    Metropolis,
    /// A Langevin step.
    Mala,
    /// A Hamiltonian trajectory.
    Hmc {
        /// Leapfrog steps per trajectory.
        leapfrogs: usize,
    },
}

impl Transition {
    /// The names of [`Transition::parse`].
    pub const NAMES: [&'static str; 3] = ["hmc", "mala", "mh"];

    /// A transition by name; `leapfrogs` counts for `hmc`.
    ///
    /// # Errors
    /// Names the nearest transition.
    pub fn parse(name: &str, leapfrogs: usize) -> Result<Self> {
        match name {
            "mh" => Ok(Self::Metropolis),
            "mala" => Ok(Self::Mala),
            "hmc" => Ok(Self::Hmc { leapfrogs }),
            _ => Err(Error::unknown("transition", name, Self::NAMES)),
        }
    }

    /// Evaluations of the target per transition.
    pub fn evaluations(self) -> usize {
        match self {
            Self::Hmc { leapfrogs } => leapfrogs,
            _ => 1,
        }
    }

    /// The acceptance at which chains in many dimensions mix fastest.
    pub(crate) fn target_acceptance(self) -> f64 {
        match self {
            Self::Metropolis => 0.234,
            // One leapfrog is a Langevin step.
            Self::Mala | Self::Hmc { leapfrogs: 1 } => 0.574,
            Self::Hmc { .. } => 0.651,
        }
    }

    /// The step size that is optimal on N(0, I) in `d` dimensions, about.
    pub(crate) fn first_step(self, d: usize) -> f64 {
        let d = d as f64;
        match self {
            Self::Metropolis => 2.38 / d.sqrt(),
            // Proposal variance 2h = 1.65² d^{−1/3}.
            Self::Mala => 1.36 / d.cbrt(),
            Self::Hmc { .. } => 1.2 / d.powf(0.25),
        }
    }

    pub(super) fn needs_gradient(self) -> bool {
        self != Self::Metropolis
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metropolis => f.write_str("mh"),
            Self::Mala => f.write_str("mala"),
            Self::Hmc { leapfrogs } => write!(f, "hmc {leapfrogs}"),
        }
    }
}
