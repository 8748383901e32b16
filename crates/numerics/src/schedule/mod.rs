//! How data turns into noise: variance-preserving schedules of diffusion, paths of interpolants.
//!
//! Time runs from data, t = 0, to noise, t = 1.

mod interpolant;
mod variance_preserving;

pub use interpolant::LinearPath;
pub use variance_preserving::{Schedule, VariancePreserving};
