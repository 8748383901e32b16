//! The common data and evaluation crate: every model trains on these data and is judged by these metrics.
//!
//! Nothing here knows a family: a metric cannot favour a model.

pub mod data;
pub mod metrics;
pub mod row;
