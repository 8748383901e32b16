//! Generative adversarial networks: a generator learns from a critic that learns to tell it from the data.
//!
//! They draw samples and have no density: none is offered. Their generators are decoders, which a judge may hold against
//! data through noise of its own.

mod losses;
mod networks;
pub mod ns_gan;

use genzoo_core::Entry;

/// The models of this family.
pub const MODELS: &[Entry] = &[ns_gan::ENTRY];
