//! Reference rows: models that are no family, for the scale of every table.

mod real;

pub use real::real;
