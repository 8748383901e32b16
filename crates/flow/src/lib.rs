//! Normalizing flows: invertible networks with exact likelihood.
//!
//! `log p(x) = log N(f(x); 0, I) + log|det ∂f/∂x|` for an invertible `f` from data to latent.

pub mod realnvp;

use genzoo_core::Entry;

/// The models of this family.
pub const MODELS: &[Entry] = &[realnvp::ENTRY];
