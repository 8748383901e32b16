//! Every differentiable operation of the crate, with the sizes it is tried at.

use candle_core::{Result, Tensor};
use genzoo_kernels::*;

use super::{scaled, tensor};

/// One operation, of one or more tensors.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Small sizes for finite differences, and one that several threads share.
    pub(crate) small: Vec<Vec<Vec<usize>>>,
    pub(crate) large: Vec<Vec<usize>>,
    pub(crate) f: fn(&[Tensor]) -> Result<Tensor>,
}

impl Case {
    /// Inputs of these sizes, of order one.
    pub(crate) fn inputs(&self, shapes: &[Vec<usize>]) -> Vec<Tensor> {
        let salt = self.name.bytes().map(u64::from).sum::<u64>() * 10;
        shapes.iter().enumerate().map(|(i, s)| tensor(s, salt + i as u64)).collect()
    }
}

/// A curve behind operations that are linear, so that they have a second derivative to check.
fn bent(y: Tensor) -> Result<Tensor> {
    act(&y, Activation::Silu)
}

/// Far from singular.
fn regular(a: &Tensor) -> Result<Tensor> {
    a.broadcast_add(&(Tensor::eye(a.dim(1)?, a.dtype(), a.device())? * 6.0)?)
}

fn block(t: &[Tensor], x: BlockInput<'_>) -> Result<Tensor> {
    let n = t.len();
    let p = &t[n - 10..];
    let block = ResidualBlock {
        first: NormConv { groups: 2, scale: &p[2], shift: &p[3], weight: &p[1] },
        second: NormConv { groups: 1, scale: &p[5], shift: &p[6], weight: &p[4] },
        bias: &p[7],
        skip: Some((&p[8], &p[9])),
        eps: 1e-3,
    };
    residual_block(x, &p[0], &block)
}

/// The parameters of [`block`] behind what enters it.
fn block_shapes(enters: Vec<Vec<usize>>, c: usize, o: usize) -> Vec<Vec<usize>> {
    let b = enters[0][0];
    let parameters = [
        vec![b, o],
        vec![o, c, 3, 3],
        vec![c],
        vec![c],
        vec![o, o, 3, 3],
        vec![o],
        vec![o],
        vec![o],
        vec![o, c, 1, 1],
        vec![o],
    ];
    enters.into_iter().chain(parameters).collect()
}

macro_rules! case {
    ($name:literal, [$([$($small:expr),+]),+], [$($large:expr),+], $f:expr) => {
        Case {
            name: $name,
            small: vec![$(vec![$($small.to_vec()),+]),+],
            large: vec![$($large.to_vec()),+],
            f: $f,
        }
    };
}

/// Patterns and bytes that are no variables.
fn pattern(w: &Tensor) -> Result<Pattern> {
    let m = tensor(w.dims(), 77).gt(0.0)?.to_dtype(w.dtype())?;
    Pattern::new(&m)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = curves();
    cases.extend(layers());
    cases.extend(images());
    cases.extend(reductions());
    cases
}

fn curves() -> Vec<Case> {
    let (small, large) = (vec![vec![vec![3, 4]], vec![vec![2, 1, 3]]], vec![vec![70_000]]);
    let curve = |name, f: fn(&[Tensor]) -> Result<Tensor>| Case {
        name,
        small: small.clone(),
        large: large.clone(),
        f,
    };
    vec![
        curve("silu", |t| act(&t[0], Activation::Silu)),
        curve("tanh", |t| act(&t[0], Activation::Tanh)),
        curve("softplus", |t| act(&t[0], Activation::Softplus)),
        curve("sigmoid", |t| act(&t[0], Activation::Sigmoid)),
        curve("gelu", |t| act(&t[0], Activation::Gelu)),
        curve("elu", |t| act(&t[0], Activation::Elu)),
        curve("relu", |t| act(&t[0], Activation::Relu)?.sqr()),
        curve("leaky_relu", |t| act(&t[0], Activation::LeakyRelu(0.2))?.sqr()),
        case!("act_grad", [[[3, 4], [3, 4]]], [[40_000], [40_000]], |t| act_grad(
            &t[0],
            &t[1],
            Activation::Gelu
        )),
        case!("sin", [[[3, 4]]], [[40_000]], |t| sin(&(&t[0] * 2.5)?)),
        case!("cos", [[[3, 4]]], [[40_000]], |t| cos(&(&t[0] * 2.5)?)),
        case!("gate", [[[2, 4, 3]], [[3, 2]]], [[4, 32, 400]], |t| gate(&t[0])),
        case!("mask", [[[2, 3]]], [[200, 300]], |t| {
            let m = tensor(t[0].dims(), 5).to_dtype(t[0].dtype())?;
            bent(mask(&t[0], &m)?)
        }),
    ]
}

fn layers() -> Vec<Case> {
    vec![
        case!(
            "linear",
            [[[2, 3], [4, 3], [4]], [[2, 2, 1], [1, 1], [1]]],
            [[300, 80], [90, 80], [90]],
            |t| { linear(&t[0], &t[1], Some(&t[2]), Activation::Tanh) }
        ),
        case!("linear_transposed", [[[2, 3], [3, 4], [4]]], [[300, 80], [80, 90], [90]], |t| {
            linear_transposed(&t[0], &t[1], Some(&t[2]), Activation::Silu)
        }),
        case!("masked_linear", [[[3, 4], [5, 4], [5]]], [[200, 200], [300, 200], [300]], |t| {
            masked_linear(&t[0], &t[1], &pattern(&t[1])?, Some(&t[2]), Activation::Silu)
        }),
        case!("linear_tangents", [[[6, 3], [4, 3], [4]]], [[600, 30], [64, 30], [64]], |t| {
            linear_tangents(&t[0], &t[1], Some(&t[2]), Activation::Silu, 3)
        }),
        case!(
            "conv2d",
            [[[2, 2, 4, 5], [3, 2, 3, 3], [3]], [[1, 2, 5, 4], [3, 2, 2, 1], [1, 3]]],
            [[9, 20, 14, 14], [40, 20, 3, 3], [40]],
            |t| conv2d(&t[0], &t[1], Some(&t[2]), Conv::strided(2, 1), Activation::Silu)
        ),
        case!(
            "conv2d of 3 x 3",
            [[[1, 2, 3, 4], [3, 2, 3, 3], [3]]],
            [[9, 28, 13, 14], [48, 28, 3, 3], [48]],
            |t| conv2d(&t[0], &t[1], Some(&t[2]), Conv::same(3), Activation::Silu)
        ),
        case!(
            "grouped conv2d",
            [[[1, 4, 3, 4], [6, 2, 3, 3], [6]]],
            [[5, 32, 9, 9], [64, 16, 3, 3], [64]],
            |t| {
                let conv = Conv { stride: 1, padding: 1, groups: 2 };
                conv2d(&t[0], &t[1], Some(&t[2]), conv, Activation::Tanh)
            }
        ),
        case!(
            "conv_transpose2d",
            [[[1, 2, 3, 2], [2, 3, 4, 4], [3]], [[2, 1, 2, 2], [1, 2, 1, 1], [2]]],
            [[7, 24, 7, 7], [24, 20, 4, 4], [20]],
            |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), Conv::strided(3, 0), 1, Activation::Silu)
        ),
        case!(
            "grouped conv_transpose2d",
            [[[1, 4, 3, 2], [4, 1, 3, 3], [2]]],
            [[5, 32, 7, 7], [32, 16, 3, 3], [32]],
            |t| {
                let conv = Conv { stride: 2, padding: 1, groups: 2 };
                conv_transpose2d(&t[0], &t[1], Some(&t[2]), conv, 0, Activation::Tanh)
            }
        ),
        case!("conv2d_input_grad", [[[2, 3, 2, 2], [3, 2, 3, 3]]], [[6, 40, 7, 7], [40, 20, 3, 3]], |t| {
            let size = (2 * t[0].dim(2)?, 2 * t[0].dim(3)?);
            bent(conv2d_input_grad(&t[0], &t[1], size, Conv::strided(2, 1))?)
        }),
        case!(
            "conv2d_weight_grad",
            [[[2, 2, 4, 4], [2, 3, 2, 2]]],
            [[20, 17, 14, 14], [20, 33, 7, 7]],
            |t| bent(conv2d_weight_grad(&t[0], &t[1], (3, 3), Conv::strided(2, 1))?)
        ),
        case!("group_norm", [[[2, 4, 2, 3], [4], [4]]], [[8, 16, 14, 14], [16], [16]], |t| {
            group_norm(&t[0], 2, &t[1], &t[2], 1e-3, true)
        }),
        case!("instance_norm", [[[2, 2, 2, 3], [2], [2]]], [[8, 16, 14, 14], [16], [16]], |t| {
            instance_norm(&t[0], &t[1], &t[2], 1e-3)
        }),
        case!("layer_norm", [[[3, 4], [4], [4]]], [[500, 60], [60], [60]], |t| {
            layer_norm(&t[0], &t[1], &t[2], 1e-3)
        }),
        case!(
            "batch_norm",
            [[[3, 2, 2, 2], [2], [2]], [[5, 3], [3], [3]]],
            [[8, 16, 14, 14], [16], [16]],
            |t| { Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3)?.y) }
        ),
        Case {
            name: "residual_block",
            small: vec![block_shapes(vec![vec![1, 4, 2, 3]], 4, 2)],
            large: block_shapes(vec![vec![19, 16, 9, 9]], 16, 24),
            f: |t| block(t, BlockInput::Image(&t[0])),
        },
        Case {
            name: "residual_block on the way up",
            small: vec![block_shapes(vec![vec![1, 2, 2, 1], vec![1, 2, 3, 2]], 4, 2)],
            large: block_shapes(vec![vec![19, 16, 5, 5], vec![19, 8, 9, 10]], 24, 16),
            f: |t| block(t, BlockInput::Up { low: &t[0], beside: &t[1] }),
        },
        case!(
            "attention",
            [[[2, 3, 2], [2, 4, 2], [2, 4, 3]]],
            [[6, 60, 16], [6, 50, 16], [6, 50, 20]],
            |t| { attention(&t[0], &t[1], &t[2]) }
        ),
        case!("inverse", [[[2, 3, 3]]], [[40, 12, 12]], |t| inverse(&regular(&t[0])?)),
        case!("log_abs_det", [[[2, 3, 3]]], [[40, 12, 12]], |t| log_abs_det(&regular(&t[0])?)),
        case!("solve", [[[2, 3, 3], [2, 3, 2]]], [[40, 12, 12], [40, 12, 5]], |t| solve(
            &regular(&t[0])?,
            &t[1]
        )),
    ]
}

fn images() -> Vec<Case> {
    vec![
        case!("upsample2", [[[1, 2, 2, 3]]], [[9, 20, 14, 14]], |t| bent(upsample2(&t[0])?)),
        case!("sum_pool2", [[[1, 2, 5, 4]]], [[9, 20, 14, 15]], |t| bent(sum_pool2(&t[0])?)),
        case!("avg_pool2", [[[1, 2, 5, 4]]], [[9, 20, 14, 15]], |t| bent(avg_pool2(&t[0])?)),
        case!("avg_pool2d", [[[2, 1, 5, 4]]], [[9, 20, 14, 15]], |t| bent(avg_pool2d(&t[0], 3, 1)?)),
        case!("max_pool2d", [[[2, 1, 5, 4]]], [[9, 20, 14, 15]], |t| bent(max_pool2d(&t[0], 2, 1)?)),
        case!("resize_bilinear", [[[2, 1, 3, 4]], [[1, 1, 1, 2]]], [[9, 20, 14, 15]], |t| {
            bent(resize_bilinear(&t[0], 5, 7)?)
        }),
        case!("pixel_shuffle", [[[1, 4, 2, 3]]], [[3, 16, 14, 15]], |t| bent(pixel_shuffle(&t[0], 2)?)),
        case!("pixel_unshuffle", [[[1, 1, 4, 6]]], [[3, 16, 14, 16]], |t| bent(pixel_unshuffle(&t[0], 2)?)),
        case!("pad2d", [[[1, 2, 2, 3]]], [[9, 20, 14, 15]], |t| {
            bent(pad2d(&t[0], Margins { top: 1, bottom: -1, left: 2, right: 1 })?)
        }),
        case!("cat_channels", [[[2, 1, 2, 2], [2, 2, 2, 2]]], [[9, 20, 14, 15], [9, 3, 14, 15]], |t| {
            bent(cat_channels(&t[0], &t[1])?)
        }),
    ]
}

fn reductions() -> Vec<Case> {
    vec![
        case!("softmax", [[[2, 4]], [[3, 2]]], [[500, 70]], |t| softmax(&t[0])),
        case!("log_sum_exp", [[[2, 4]], [[3, 2]]], [[500, 70]], |t| log_sum_exp(&t[0])),
        case!("log_sum_exp_over", [[[2, 3, 2]]], [[50, 70, 20]], |t| log_sum_exp_over(&t[0], 1)),
        case!("sum_rows", [[[3, 2]]], [[3000, 70]], |t| bent(sum_rows(&t[0])?)),
        case!("sum_over", [[[2, 3, 2]]], [[50, 70, 40]], |t| bent(sum_over(&t[0], 1)?)),
        case!("bce_with_logits_rows", [[[2, 4], [2, 4]]], [[300, 90], [300, 90]], |t| {
            bce_with_logits_rows(&t[0], &t[1])
        }),
        case!("gaussian_rows", [[[2, 4], [2, 4], [2, 4]]], [[300, 90], [300, 90], [300, 90]], |t| {
            gaussian_rows(&t[0], &t[1], &t[2])
        }),
        case!("discretised_logistic_rows", [[[2, 6]]], [[100, 300]], |t| {
            let (b, width) = t[0].dims2()?;
            let bytes =
                scaled(&[b, width / 2], 5, 100.0).affine(1.0, 128.0)?.round()?.to_dtype(t[0].dtype())?;
            discretised_logistic_rows(&t[0], &bytes, -7.0)
        }),
    ]
}
