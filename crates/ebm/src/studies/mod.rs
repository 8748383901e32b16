//! What is claimed of energy-based models, as studies that anyone can run again.

mod cd_is_fisher;
mod divergences;
mod hopfield;
mod integration;
mod ising;
mod judge;
mod laws;
mod mode_mass;
mod samplers;
mod ula_bias;

use genzoo_core::study::Study;

/// The studies of this family.
pub const STUDIES: &[Study] = &[
    cd_is_fisher::STUDY,
    divergences::STUDY,
    hopfield::STUDY,
    integration::STUDY,
    ising::STUDY,
    mode_mass::STUDY,
    samplers::STUDY,
    ula_bias::STUDY,
];
