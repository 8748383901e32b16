//! Optimal transport between samples: exact assignment, Wasserstein distances, entropic and sliced forms.

mod assignment;
mod one_dimensional;
mod sinkhorn;
mod sliced;
mod unequal;
mod wasserstein;

pub use assignment::{Assignment, assign};
pub use one_dimensional::wasserstein_1d;
pub use sinkhorn::{Sinkhorn, sinkhorn, sinkhorn_symmetric};
pub use sliced::{SlicedEstimate, projections, sliced_wasserstein};
pub use unequal::{Plan, transport};
pub use wasserstein::{squared_distances, wasserstein};
