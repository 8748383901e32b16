//! The residual block in one pass against its parts, and the direct hand-over of gradients against candle's.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Result, Tensor, Var};
use common::{f32s, gradients, scaled, strided, tensor, weighted_sum};
use genzoo_kernels::{
    Activation, BlockInput, Conv, NormConv, ResidualBlock, act, conv2d, gate, group_norm, linear,
    residual_block,
};
use genzoo_testkit::{Tol, assert_close};

/// The formula, in single operations that have their own tests; x is enlarged by repeating indices.
fn slow(t: &[Tensor], groups: [usize; 2], up: bool) -> Result<Tensor> {
    let beside = &t[1];
    let x = match up {
        false => t[0].clone(),
        true => {
            let (_, _, h, w) = beside.dims4()?;
            let halves = |n: usize| {
                let indices: Vec<u32> = (0..n as u32).map(|i| i / 2).collect();
                Tensor::from_vec(indices, n, beside.device())
            };
            let rows = t[0].index_select(&halves(h)?, 2)?;
            Tensor::cat(&[&rows.index_select(&halves(w)?, 3)?, beside], 1)?
        }
    };
    let conv = |x: &Tensor, w: &Tensor, b: &Tensor| {
        let y = x.contiguous()?.conv2d(&w.contiguous()?, w.dim(3)? / 2, 1, 1, 1)?;
        let (n, o, ..) = y.dims4()?;
        y.broadcast_add(&if b.rank() == 2 { b.reshape((n, o, 1, 1))? } else { b.reshape((1, o, 1, 1))? })
    };
    let norm = |x: &Tensor, groups, w: &Tensor, b: &Tensor| group_norm(x, groups, w, b, 1e-5, true);
    let h = conv(&norm(&x, groups[0], &t[4], &t[5])?, &t[3], &t[2])?;
    let y = conv(&norm(&h, groups[1], &t[7], &t[8])?, &t[6], &t[9])?;
    let y = if t.len() > 10 { y + conv(&x, &t[10], &t[11])? } else { y + x };
    // Without a second part its gradient is taken through a term that is zero.
    if up { y } else { y?.broadcast_add(&nothing(&t[1])?) }
}

/// Zero, as a function of x.
fn nothing(x: &Tensor) -> Result<Tensor> {
    let sum = x.sum_all()?;
    sum.mul(&sum.zeros_like()?)
}

fn fused(t: &[Tensor], groups: [usize; 2], up: bool) -> Result<Tensor> {
    let x = match up {
        true => BlockInput::Up { low: &t[0], beside: &t[1] },
        false => BlockInput::Image(&t[0]),
    };
    let block = ResidualBlock {
        first: NormConv { groups: groups[0], scale: &t[4], shift: &t[5], weight: &t[3] },
        second: NormConv { groups: groups[1], scale: &t[7], shift: &t[8], weight: &t[6] },
        bias: &t[9],
        skip: t.get(10).zip(t.get(11)),
        eps: 1e-5,
    };
    let y = residual_block(x, &t[2], &block)?;
    if up { Ok(y) } else { y.broadcast_add(&nothing(&t[1])?) }
}

#[test]
fn the_residual_block_is_its_formula() {
    // b, c (of them beside), o, h, w, groups, kernel, up
    let cases = [
        (3, 8, 0, 8, 6usize, 7usize, [2, 2], 3, false),
        (2, 16, 0, 24, 7, 7, [4, 3], 3, false),
        (5, 6, 2, 4, 5, 7, [3, 1], 3, true),
        (18, 12, 4, 12, 8, 6, [2, 4], 5, true),
        (2, 48, 16, 32, 14, 14, [8, 8], 3, true),
    ];
    for (b, c, beside, o, h, w, groups, k, up) in cases {
        let low = if up { [b, c - beside, h.div_ceil(2), w.div_ceil(2)] } else { [b, c, h, w] };
        let beside = if up { [b, beside, h, w] } else { [1, 1, 1, 1] };
        let norm = |n: usize, salt| (scaled(&[n], salt, 0.5), tensor(&[n], salt + 1));
        let ((w1, s1), (w2, s2)) = (norm(c, 20), norm(o, 22));
        let weight = |o: usize, c: usize, k: usize, salt| {
            scaled(&[o, c, k, k], salt, 1.0 / (c as f64).sqrt() / k as f64)
        };
        let mut all = vec![
            tensor(&low, 1),
            tensor(&beside, 2),
            tensor(&[b, o], 3),
            weight(o, c, k, 4),
            (w1 + 1.0).unwrap(),
            s1,
            weight(o, o, k, 5),
            (w2 + 1.0).unwrap(),
            s2,
            tensor(&[o], 6),
        ];
        if c != o || up {
            all.extend([weight(o, c, 1, 7), tensor(&[o], 8)]);
        }
        let want = slow(&all, groups, up).unwrap();
        // f64 takes the single operations, f32 the one pass.
        assert_close(fused(&all, groups, up).unwrap(), &want, Tol::abs(1e-10));
        let single: Vec<Tensor> = all.iter().map(f32s).collect();
        assert_close(fused(&single, groups, up).unwrap(), f32s(&want), Tol::abs(1e-5));
        let exact = gradients(&all, |t| slow(t, groups, up));
        let got = gradients(&single, |t| fused(t, groups, up));
        for (i, (got, want)) in got.iter().zip(&exact).enumerate() {
            let largest =
                want.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
            let tol = Tol::abs(2e-5 * largest.max(1.0));
            assert_close(got, f32s(want), tol);
            assert!(i == 1 || largest > 1e-3, "gradient {i} says nothing");
        }
        let mut odd = single.clone();
        odd[0] = strided(&odd[0]);
        assert_close(fused(&odd, groups, up).unwrap(), f32s(&want), Tol::abs(1e-5));
    }
}

#[test]
fn residual_blocks_that_do_not_fit_are_refused() {
    let (x, s) = (f32s(&tensor(&[2, 4, 5, 5], 1)), f32s(&tensor(&[2, 4], 2)));
    let (w, v) = (f32s(&tensor(&[4, 4, 3, 3], 3)), f32s(&tensor(&[4], 4)));
    let even = f32s(&tensor(&[4, 4, 2, 2], 3));
    let block = |groups, weight| {
        let part = NormConv { groups, scale: &v, shift: &v, weight };
        let block = ResidualBlock { first: part, second: part, bias: &v, skip: None, eps: 1e-5 };
        residual_block(BlockInput::Image(&x), &s, &block)
    };
    assert!(block(2, &w).is_ok());
    assert!(block(3, &w).is_err());
    assert!(block(2, &even).is_err());
}

#[test]
fn gradients_are_those_of_backward() {
    let shapes: [&[usize]; 5] = [&[6, 5], &[6], &[6, 6], &[4, 1, 3, 3], &[4]];
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, s)| Var::from_tensor(&tensor(s, i as u64)).unwrap()).collect();
    let unused = Var::from_tensor(&tensor(&[2], 9)).unwrap();
    let x = tensor(&[7, 5], 10);
    // Weights that are used twice, once through candle's operations, and layers of each kind.
    let loss = || -> Result<Tensor> {
        let y = linear(&x, &vars[0], Some(&vars[1]), Activation::Silu)?;
        let y = linear(&y, &vars[2], Some(&vars[1]), Activation::Tanh)?;
        let y = linear(&y, &vars[2], None, Activation::Identity)?.matmul(&vars[2])?;
        let image = y.reshape((7, 1, 2, 3))?;
        let y = conv2d(&image, &vars[3], Some(&vars[4]), Conv::same(3), Activation::Relu)?;
        let y = conv2d(&image, &vars[3], None, Conv::same(3), Activation::Identity)? + gate_pair(&y)?;
        weighted_sum(&act(&y?, Activation::Softplus)?)
    };
    let all: Vec<&Var> = vars.iter().chain([&unused]).collect();
    let direct = genzoo_kernels::gradients(&loss().unwrap(), all.iter().copied()).unwrap();
    let store = loss().unwrap().backward().unwrap();
    for (v, g) in all.iter().zip(&direct) {
        match store.get(v.as_tensor()) {
            Some(want) => assert_close(g, want, Tol { abs: 1e-13, rel: 1e-13 }),
            None => assert_close(g, v.zeros_like().unwrap(), Tol::abs(0.0)),
        }
    }
    assert!(genzoo_kernels::gradients(&loss().unwrap().detach(), [&unused]).is_ok());
}

/// Gates two halves and gives both their result.
fn gate_pair(x: &Tensor) -> Result<Tensor> {
    let y = gate(x)?;
    Tensor::cat(&[&y, &y], 1)
}
