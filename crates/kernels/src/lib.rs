//! Fast tensor operations for candle on the CPU, and the set-up of threads and allocator they need.
//!
//! Each operation is a candle custom op for contiguous f32 (fast) and f64 (correct) on the CPU; other
//! devices and types take a composition of plain candle operations with the same value and gradient.
//! Results have the same bits on any number of threads: work is cut by shapes, never by the pool's size.
//!
//! Second derivatives: [`act`], [`act_grad`], [`act_curvature`], [`conv2d`], [`conv_transpose2d`], [`upsample2`],
//! [`sum_pool2`], [`pad2d`], [`mask`], [`softmax`] and [`log_sum_exp`] have derivatives built from themselves. Fused
//! operations ([`linear`], [`masked_linear`], [`linear_tangents`], [`conv2d`] with an activation, [`gate`], norms) switch
//! to such compositions when candle keeps gradient graphs (`CANDLE_GRAD_DO_NOT_DETACH`), and refuse rather than return
//! a gradient that is silently incomplete.
#![allow(unsafe_code)]

mod activation;
mod conv;
mod gate;
mod linear;
mod logistic;
mod loss;
mod mask;
mod masked_linear;
mod matrix;
mod norm;
pub mod optim;
mod pad;
mod plain;
mod real;
mod reduce;
mod resample;
pub mod runtime;
mod shift;
mod simd;
mod support;
mod tangents;

pub use activation::{Activation, act, act_curvature, act_grad};
pub use conv::{Conv, conv_transpose2d, conv2d, conv2d_input_grad, conv2d_weight_grad};
pub use gate::gate;
pub use linear::{linear, linear_and_slope};
pub use logistic::discretised_logistic_rows;
pub use loss::{bce_with_logits, bce_with_logits_rows};
pub use mask::mask;
pub use masked_linear::{Pattern, masked_linear};
pub use norm::{group_norm, layer_norm};
pub use pad::{Margins, pad2d};
pub use reduce::{log_sum_exp, softmax, sum_rows};
pub use resample::{avg_pool2, cat_channels, sum_pool2, upsample2};
pub use tangents::linear_tangents;
