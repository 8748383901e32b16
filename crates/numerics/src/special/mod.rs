//! Stable functions of `f64` numbers, and statistics that carry their standard errors.
//!
//! The tensor forms live in [`genzoo_core::math`].

mod line;
mod log_sum_exp;
mod normal;
mod softplus;
mod statistics;
mod student;
mod weights;

pub use line::{Line, simultaneous};
pub use log_sum_exp::{log_mean_exp, log_sum_exp};
pub use normal::{erf, erfc, log_normal_density, normal_cdf, normal_quantile};
pub use softplus::softplus;
pub use statistics::{Moments, bootstrap_standard_error, jackknife, wilson_interval};
pub use student::{student_quantile, student_statistic, student_within};
pub use weights::{effective_sample_size, log_mean_weight, normalised_weights};
