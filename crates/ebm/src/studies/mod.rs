//! What is claimed of energy-based models, as studies that anyone can run again.

mod divergences;

use genzoo_core::study::Study;

/// The studies of this family.
pub const STUDIES: &[Study] = &[divergences::STUDY];
