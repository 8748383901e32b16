//! Mathematics that two families, or a family and the lab, share.
//!
//! | module         | what it answers                                                              |
//! |----------------|------------------------------------------------------------------------------|
//! | [`special`]    | stable scalar functions, statistics with their standard errors               |
//! | [`ode`]        | `dx/dt = f(t, x)`: Euler, Heun, RK4, adaptive Dopri5                          |
//! | [`sde`]        | `dx = f dt + g dW`: Euler–Maruyama, Stratonovich Heun                          |
//! | [`mcmc`]       | Langevin, Hamiltonian and Gibbs chains, tempering, and how well a chain mixed  |
//! | [`likelihood`] | log p along an ODE, log Z by AIS or quadrature, importance-weighted bounds    |
//! | [`ot`]         | exact assignment, Wasserstein, sliced, entropic transport                     |
//! | [`schedule`]   | noise schedules of diffusion and paths of interpolants                        |
//! | [`transport`]  | from noise to data in the data's scale: the frame of samplers                 |
//! | [`combined`]   | energies made of energies: temperature, products of experts                   |
//! | [`counted`]    | network evaluations, counted and never declared                               |
//! | [`gaussian`]   | the multivariate normal: density, whitening, base of annealing                |
//!
//! Conventions: batches are rows first, `(b, event…)`; t = 0 is data and t = 1 is noise; energies are low where data
//! is likely; log-probabilities are nats per example. Networks run in the dtype of their input, sums that enter a
//! reported number run in `f64`.

pub mod combined;
pub mod counted;
pub mod gaussian;
pub mod likelihood;
pub mod mcmc;
pub mod ode;
pub mod ot;
pub mod rows;
pub mod schedule;
pub mod sde;
pub mod special;
pub mod transport;

#[cfg(test)]
mod targets;

pub use combined::{Product, Tempered};
pub use counted::{Counted, Evaluations};
pub use gaussian::Gaussian;
