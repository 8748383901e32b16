//! The common data and evaluation crate: data sets, baselines, metrics, suites, rows, reports, pictures.
