//! Data sets by name: `moons`, `gaussians8{radius=5,sd=1}`, `gaussians8@torchcfm`,
//! `mnist{digits=[2,3,6],masses=[4,2,1]}`.
//!
//! [`DATASETS`] is the list from which opening, listing and help follow. A data set adds its own file and
//! its line there.

mod amat;
mod classes;
pub mod epochs;
mod glyphs;
#[cfg(feature = "hub")]
pub mod hub;
pub mod idx;
mod idx_folder;
pub mod manifest;
pub mod mnist;
pub mod pixels;
mod registry;
mod subset;
mod toys;

pub use manifest::verify;
pub use registry::{
    Accepts, Arguments, DATASETS, DatasetEntry, DatasetKind, OpenOptions, Parameter, Preset, open,
};
pub use subset::random_rows;

use genzoo_core::Split;
use sha2::{Digest, Sha256};

/// The name under which a split's noise is forked.
pub fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

/// The sha256 of a generator's definition, for data that come from no file.
pub(crate) fn generator_sha256(definition: &str) -> String {
    Sha256::digest(definition.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}
