//! Fast tensor operations for candle on the CPU, and the set-up of threads and allocator they need.
//!
//! Each operation is a candle custom op for contiguous f32 (fast) and f64 (correct) on the CPU; other
//! devices and types take a composition of plain candle operations with the same value and gradient.
//! Results have the same bits on any number of threads: work is cut by shapes, never by the pool's size.
//!
//! Second derivatives: [`act`], [`act_grad`], [`conv2d`], [`conv_transpose2d`], [`upsample2`], [`sum_pool2`],
//! [`softmax`] and [`log_sum_exp`] have derivatives built from themselves. Fused operations ([`linear`],
//! [`conv2d`] with an activation, norms) switch to such compositions when candle keeps gradient graphs
//! (`CANDLE_GRAD_DO_NOT_DETACH`), and refuse rather than return a gradient that is silently incomplete.
#![allow(unsafe_code)]

mod activation;
mod conv;
mod linear;
mod logistic;
mod loss;
mod matrix;
mod norm;
pub mod optim;
mod plain;
mod real;
mod reduce;
mod resample;
pub mod runtime;
mod shift;
mod simd;
mod support;

pub use activation::{Activation, act, act_grad};
pub use conv::{Conv, conv_transpose2d, conv2d, conv2d_input_grad, conv2d_weight_grad};
pub use linear::linear;
pub use logistic::discretised_logistic_rows;
pub use loss::{bce_with_logits, bce_with_logits_rows};
pub use norm::{group_norm, layer_norm};
pub use reduce::{log_sum_exp, softmax, sum_rows};
pub use resample::{avg_pool2, cat_channels, sum_pool2, upsample2};
