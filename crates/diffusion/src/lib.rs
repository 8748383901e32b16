//! Score-based diffusion: noise is added until nothing is left of the data, and a network learns to take it back.
//!
//! | module     | holds                                                                        |
//! |------------|-------------------------------------------------------------------------------|
//! | [`ddpm`]   | the model: variance-preserving noise in continuous time, noise prediction      |
//! | [`field`]  | noise, denoiser, score and velocity, all from one prediction                   |
//! | [`reverse`] | one step back in time: DDPM's posterior and DDIM's family                     |

pub mod ddpm;
pub mod field;
pub mod reverse;

use genzoo_core::Entry;

/// The models of this family.
pub const MODELS: &[Entry] = &[ddpm::ENTRY];

#[cfg(test)]
mod tests;
