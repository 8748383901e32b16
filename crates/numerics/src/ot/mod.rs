//! Optimal transport between samples: exact assignment, Wasserstein distances, their sliced form.

mod assignment;
mod one_dimensional;
mod sliced;
mod wasserstein;

pub use assignment::{Assignment, assign};
pub use one_dimensional::wasserstein_1d;
pub use sliced::{SlicedEstimate, projections, sliced_wasserstein};
pub use wasserstein::{squared_distances, wasserstein};
