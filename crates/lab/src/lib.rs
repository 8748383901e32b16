//! The common data and evaluation crate: every model trains on these data and is judged by these metrics.
//!
//! Nothing here knows a family: a metric cannot favour a model.

pub mod baseline;
pub mod check;
pub mod data;
pub mod evaluate;
pub mod judge;
pub mod likelihood;
pub mod metrics;
pub mod ood;
pub mod per_row;
pub mod pictures;
pub mod report;
pub mod row;
pub mod samples;
pub mod seeds;
pub mod study;
pub mod suite;
