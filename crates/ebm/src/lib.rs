//! Energy-based models: `p(x) = e^{−U(x)} / Z`, a density known up to one number.
//!
//! Models of points and bytes share one neural energy and differ in how they train it; likelihood needs `log Z`.

mod neural;
pub mod pcd;
pub mod studies;

use genzoo_core::Entry;
pub use studies::STUDIES;

/// The models of this family.
pub const MODELS: &[Entry] = &[pcd::ENTRY];
