//! Fast tensor operations for candle on the CPU, and the set-up of threads and allocator they need.
//!
//! Each operation is a candle custom op for contiguous f32 (fast) and f64 (correct) on the CPU; other
//! devices and types take a composition of plain candle operations with the same value and gradient.
//! Results have the same bits on any number of threads: work is cut by shapes, never by the pool's size.
//!
//! Second derivatives: [`act`], [`act_grad`], [`act_curvature`], [`conv2d`], [`conv_transpose2d`], [`upsample2`], [`sum_pool2`],
//! [`avg_pool2d`], [`max_pool2d`], [`resize_bilinear`], [`pad2d`], [`mask`], [`softmax`], [`log_sum_exp`], [`sum_over`],
//! [`inverse`], [`log_abs_det`] and [`solve`] have derivatives built from themselves. Fused operations ([`linear`],
//! [`masked_linear`], [`linear_tangents`], [`conv2d`] with an activation, [`residual_block`], [`attention`], [`perceptron`], [`gate`],
//! [`gaussian_rows`], norms) switch to such compositions when candle keeps gradient graphs
//! (`CANDLE_GRAD_DO_NOT_DETACH`), and refuse rather than return a gradient that is silently incomplete.
//!
//! Surprises of candle that this crate works around: `max_pool2d`, `upsample_nearest2d`, `layer_norm` and
//! `softmax_last_dim` have wrong or no gradients; `backward` begins each gradient with a tensor of zeros (see
//! [`gradients`]); sums over any but the last dimensions are two orders slower than those; two thread pools, candle's
//! and rayon's, take each other's cores (see [`runtime`]).
#![allow(unsafe_code)]

mod activation;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch_norm;
mod bernoulli;
mod contrast;
mod conv;
mod crew;
mod gate;
mod gaussian;
mod gradients;
mod linear;
mod logistic;
mod loss;
mod mask;
mod masked_linear;
mod matrix;
mod norm;
pub mod optim;
mod pad;
mod perceptron;
mod plain;
mod pool;
mod real;
mod reduce;
mod resample;
mod residual;
mod resize;
pub mod runtime;
mod shift;
mod simd;
mod small;
mod support;
mod tangents;

pub use activation::{Activation, act, act_curvature, act_grad};
pub use attention::attention;
pub use batch_norm::{BatchNormed, batch_norm};
pub use bernoulli::ones_below;
pub use contrast::contrast;
pub use conv::{Conv, conv_transpose2d, conv2d, conv2d_input_grad, conv2d_weight_grad};
pub use crew::share;
pub use gate::gate;
pub use gaussian::gaussian_rows;
pub use gradients::gradients;
pub use linear::{linear, linear_and_slope, linear_transposed};
pub use logistic::discretised_logistic_rows;
pub use loss::{bce_with_logits, bce_with_logits_rows};
pub use mask::mask;
pub use masked_linear::{Pattern, masked_linear};
pub use norm::{group_norm, instance_norm, layer_norm};
pub use pad::{Margins, pad2d};
pub use perceptron::{Dense, perceptron};
pub use pool::{avg_pool2d, max_pool2d};
pub use reduce::{log_sum_exp, log_sum_exp_over, softmax, sum_over, sum_rows};
pub use resample::{avg_pool2, cat_channels, sum_pool2, upsample2};
pub use residual::{BlockInput, NormConv, ResidualBlock, residual_block};
pub use resize::{pixel_shuffle, pixel_unshuffle, resize_bilinear};
pub use small::{inverse, log_abs_det, solve};
pub use support::fill_blocks;
pub use tangents::linear_tangents;
