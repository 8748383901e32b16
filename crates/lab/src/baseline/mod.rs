//! Reference rows: models that are no family, for the scale of every table.
//!
//! | model         | what it is                                    | what its row tells                               |
//! |---------------|-----------------------------------------------|--------------------------------------------------|
//! | [`real`]      | the data themselves                           | the floor of every metric                        |
//! | `gaussian`    | one normal, of low rank for images            | what mean and covariance explain                 |
//! | `gmm`         | a mixture of normals                          | what a classical density model reaches           |
//! | `kde`         | a normal around every training row            | the same without parameters                      |
//! | `memorizer`   | training rows, given back                     | perfect quality that generalises nothing         |
//!
//! All but `real` are entries of the registry: they are trained, sampled, judged and tested like every other model.
//! They collect their rows in `prepare` and fit in the first step, so that their seconds count. Numbers are `f64`.

mod fitted;
mod gaussian;
mod gmm;
mod kde;
mod memorizer;
mod mixture;
mod real;

use genzoo_core::Entry;

pub use real::real;

/// The reference models that are trained.
pub const MODELS: &[Entry] = &[gaussian::ENTRY, gmm::ENTRY, kde::ENTRY, memorizer::ENTRY];

#[cfg(test)]
mod tests;
