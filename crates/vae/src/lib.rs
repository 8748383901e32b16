//! Variational autoencoders: latent-variable models trained on a lower bound of the likelihood.
//!
//! `log p(x) ≥ E_{z ~ q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))`, with equality where `q` is the posterior.

mod gaussian;
mod likelihood;
mod logistic;
mod networks;
pub mod vae;

use genzoo_core::Entry;

/// The models of this family.
pub const MODELS: &[Entry] = &[vae::ENTRY];
