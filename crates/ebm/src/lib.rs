//! Energy-based models: `p(x) = e^{−U(x)} / Z`, a density known up to one number.
//!
//! Models of points and bytes share one neural energy and differ in how they train it; likelihood needs `log Z`.

pub mod cd;
pub mod jarzynski;
mod neural;
pub mod pcd;
pub mod short_run;
pub mod studies;
mod two_modes;

use genzoo_core::Entry;
pub use studies::STUDIES;

/// The models of this family.
pub const MODELS: &[Entry] = &[cd::ENTRY, jarzynski::ENTRY, pcd::ENTRY, short_run::ENTRY];
