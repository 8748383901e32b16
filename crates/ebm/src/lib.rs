//! Energy-based models: `p(x) = e^{−U(x)} / Z`, a density known up to one number.
//!
//! Models of points and bytes share one neural energy and differ in how they train it; likelihood needs `log Z`.

pub mod boltzmann;
pub mod cd;
pub mod dsm;
pub mod energy_discrepancy;
pub mod fce;
pub mod hopfield;
pub mod jarzynski;
pub mod jem;
pub mod max_entropy;
pub mod mdsm;
pub mod nce;
mod neural;
pub mod pcd;
pub mod rbm;
mod sampling_free;
mod settings;
pub mod short_run;
pub mod sm;
pub mod studies;
#[cfg(test)]
mod support;
pub mod transport;
mod two_modes;

use genzoo_core::Entry;
pub use studies::STUDIES;

/// The models of this family.
pub const MODELS: &[Entry] = &[
    cd::ENTRY,
    dsm::ENTRY,
    energy_discrepancy::ENTRY,
    fce::ENTRY,
    jarzynski::ENTRY,
    jem::ENTRY,
    max_entropy::ENTRY,
    mdsm::ENTRY,
    nce::ENTRY,
    pcd::ENTRY,
    rbm::CD,
    rbm::CD25,
    rbm::DEEP,
    rbm::FAST,
    rbm::GAUSSIAN,
    rbm::PCD,
    rbm::POTTS,
    rbm::TEMPERED,
    short_run::ENTRY,
    sm::ENTRY,
    transport::ENTRY,
];
