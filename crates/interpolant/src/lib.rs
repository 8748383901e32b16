//! Stochastic interpolants: a path between data and noise, and the velocity that follows it in the mean.
//!
//! | module     | holds                                                        |
//! |------------|---------------------------------------------------------------|
//! | [`linear`] | the model on the linear path: training, samplers, density      |
//! | [`field`]  | the learned velocity and score, in standardised coordinates    |

pub mod field;
pub mod linear;

use genzoo_core::Entry;

/// The models of this family.
pub const MODELS: &[Entry] = &[linear::ENTRY];

#[cfg(test)]
mod tests;
