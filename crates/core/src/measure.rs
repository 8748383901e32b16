//! Numbers that carry what they are: measurements with error, and likelihoods with kind, space and unit.

use serde::{Deserialize, Serialize};

use crate::Tensor;
use crate::data::Space;

/// Which way a number is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Lower is better.
    Lower,
    /// Higher is better.
    Higher,
}

/// A measured number with its uncertainty. Absent knowledge is `None`, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The value; `None` where the measurement failed.
    pub value: Option<f64>,
    /// One standard error.
    pub stderr: Option<f64>,
    /// How many examples it rests on.
    pub n: u64,
    /// Unit, `"1"` for pure numbers.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// What a perfect model would score.
    pub floor: Option<f64>,
}

/// What a number says about the true log-likelihood. Speaks of log p; rows print −log p.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The log-likelihood itself.
    Exact,
    /// The true log p is at least this (ELBO, importance bounds): the NLL is at most the value, printed `≤`.
    LowerBound,
    /// The true log p is at most this (forward AIS of an energy model): printed `≥`.
    UpperBound,
    /// Neither: discretised ODE, quadrature, Hutchinson trace; printed `≈`.
    Estimate,
}

impl Kind {
    /// The sign a table prints before the negative log-likelihood.
    pub fn sign(self) -> &'static str {
        match self {
            Kind::Exact => "",
            Kind::LowerBound => "≤",
            Kind::UpperBound => "≥",
            Kind::Estimate => "≈",
        }
    }
}

/// How a log-probability was obtained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it says about the truth.
    pub kind: Kind,
    /// The method in words a row prints: `change_of_variables`, `ode(rk4, 40 steps, hutchinson 1)`, `iwae(k=64)`.
    pub method: String,
    /// The space whose measure the density refers to.
    pub space: Space,
    /// For estimates: how far, in nats per example, discretisation may have moved the value.
    pub tolerance: Option<f64>,
    /// For bytes: true when values are log P(k) of the bytes themselves, false when they are a log-density of
    /// `x̃ = (k + u)/256`, which turns into bits with 8 more per dimension.
    #[serde(default)]
    pub discrete: bool,
}

impl Evidence {
    /// Evidence without a tolerance, about a density of `x` as the stream gives it.
    pub fn new(kind: Kind, method: impl Into<String>, space: Space) -> Self {
        Self { kind, method: method.into(), space, tolerance: None, discrete: false }
    }
}

/// Log-probabilities of a batch.
#[derive(Clone, Debug)]
pub struct LogProb {
    /// `(b,)`, f64, nats per example.
    pub values: Tensor,
    /// One standard error of what all rows share, e.g. of log Z; 0 if nothing.
    pub shared_error: f64,
}
