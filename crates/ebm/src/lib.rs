//! Energy-based models: `p(x) = e^{−U(x)} / Z`, a density known up to one number.
//!
//! Training needs samples of the model, so every model here runs Markov chains; likelihood needs `log Z`.

pub mod pcd;
pub mod studies;

use genzoo_core::Entry;
pub use studies::STUDIES;

/// The models of this family.
pub const MODELS: &[Entry] = &[pcd::ENTRY];
