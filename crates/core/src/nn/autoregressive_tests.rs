//! What may be seen is seen, what may not is not, and gradients agree with finite differences.

use candle_core::{DType, Device, Result, Tensor};
use genzoo_testkit::{Tol, assert_close};

use super::tests::{check_weight_gradients, normal, shake, store, weighted};
use super::*;

/// `seen[j][i]`: whether number i of `f(x)` changes with number j of one row `x`, `x` moved far.
fn dependence(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Vec<Vec<bool>> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (values, base) = (flat(x), flat(&f(x).unwrap()));
    let moved = |j: usize| {
        let mut v = values.clone();
        v[j] += 1.0;
        flat(&f(&Tensor::from_vec(v, x.shape(), &Device::Cpu).unwrap()).unwrap())
    };
    (0..values.len()).map(|j| moved(j).iter().zip(&base).map(|(a, b)| a != b).collect()).collect()
}

#[test]
fn a_made_sees_the_dimensions_before_and_no_other() {
    for order in [vec![0, 1, 2, 3, 4], vec![4, 3, 2, 1, 0], vec![2, 0, 4, 1, 3], vec![0]] {
        let s = store(DType::F64);
        let net = Made::new(&order, &[16, 12], 2, Activation::Tanh, &s.group("g")).unwrap();
        let d = order.len();
        let x = normal(&[1, d], 1, DType::F64);
        for (j, seen) in dependence(|x| net.forward(x), &x).iter().enumerate() {
            for (i, &seen) in seen.iter().enumerate() {
                assert_eq!(seen, order[j] < order[i % d], "order {order:?}: output {i} and input {j}");
            }
        }
        let frozen = net.frozen().forward(&x).unwrap();
        assert!(!frozen.track_op());
        assert_close(frozen, net.forward(&x).unwrap(), Tol::EQUAL);
    }
    let vb = store(DType::F64).group("bad");
    assert!(Made::new(&[0, 2], &[3], 1, Activation::Tanh, &vb).is_err());
    assert!(Made::new(&[1, 0], &[], 1, Activation::Tanh, &vb).is_err());
}

/// `x_i = u_i e^{α_i} + μ_i`, undone by `u_i = (x_i − μ_i) e^{−α_i}` of one forward pass.
#[test]
fn a_made_is_solved_in_its_order() {
    for (order, hidden) in
        [(vec![0, 1, 2, 3, 4], vec![9]), (vec![2, 0, 4, 1, 3], vec![9, 7]), (vec![0], vec![2])]
    {
        let s = store(DType::F64);
        let net = Made::new(&order, &hidden, 2, Activation::Tanh, &s.group("g")).unwrap();
        shake(&s);
        let d = order.len();
        let u = normal(&[3, d], 1, DType::F64);
        let step = |i: usize, net: &Tensor| {
            (u.narrow(1, i, 1)? * net.narrow(1, 1, 1)?.exp()?)? + net.narrow(1, 0, 1)?
        };
        let x = net.solve(3, step).unwrap();
        assert!(!x.track_op());
        let raw = net.forward(&x).unwrap();
        let (mu, alpha) = (raw.narrow(1, 0, d).unwrap(), raw.narrow(1, d, d).unwrap());
        let back = ((x - mu).unwrap() * alpha.neg().unwrap().exp().unwrap()).unwrap();
        assert_close(back, &u, Tol::abs(1e-12));
    }
}

/// Finite differences see the mask: a weight outside it has derivative zero.
#[test]
fn masked_weights_have_the_right_gradients() {
    let s = store(DType::F64);
    let net = Made::new(&[2, 0, 1], &[5], 2, Activation::Silu, &s.group("g")).unwrap();
    shake(&s);
    let x = normal(&[4, 3], 1, DType::F64);
    check_weight_gradients(&s, || weighted(&net.forward(&x)?.sqr()?), Tol::abs(1e-8));
}

#[test]
fn causal_convolutions_see_what_comes_before() {
    let (h, w) = (5, 6);
    let x = normal(&[1, 1, h, w], 1, DType::F64);
    for kernel in [3, 5] {
        for causal in [Causal::Vertical, Causal::StrictVertical, Causal::Horizontal, Causal::StrictHorizontal]
        {
            let s = store(DType::F64);
            let conv = CausalConv2d::new(1, 1, kernel, causal, &s.group("g")).unwrap();
            let reach = (kernel / 2) as isize;
            for (j, seen) in dependence(|x| conv.forward(x), &x).iter().enumerate() {
                for (i, &seen) in seen.iter().enumerate() {
                    // How far the input lies above and to the left of the output.
                    let up = (i / w) as isize - (j / w) as isize;
                    let left = (i % w) as isize - (j % w) as isize;
                    let expected = match causal {
                        Causal::Vertical => (0..=reach).contains(&up) && left.abs() <= reach,
                        Causal::StrictVertical => (1..=reach).contains(&up) && left.abs() <= reach,
                        Causal::Horizontal => up == 0 && (0..=reach).contains(&left),
                        Causal::StrictHorizontal => up == 0 && (1..=reach).contains(&left),
                    };
                    assert_eq!(seen, expected, "{causal:?} {kernel}: output {i} and input {j}");
                }
            }
        }
    }
    let vb = store(DType::F64).group("bad");
    assert!(CausalConv2d::new(1, 1, 4, Causal::Vertical, &vb).is_err());
}

/// Two gated layers behind strict ones: raster order holds, and both stacks reach the end.
#[test]
fn gated_layers_keep_the_raster_order() {
    let s = store(DType::F64);
    let vb = s.group("g");
    let first = CausalConv2d::new(1, 3, 3, Causal::StrictVertical, &vb.pp("v")).unwrap();
    let second = CausalConv2d::new(1, 3, 3, Causal::StrictHorizontal, &vb.pp("h")).unwrap();
    let layers: Vec<_> =
        (0..2).map(|i| GatedCausalConv2d::new(3, 3, &vb.pp("layer").pp(i)).unwrap()).collect();
    let net = |x: &Tensor| -> Result<Tensor> {
        let (mut v, mut h) = (first.forward(x)?, second.forward(x)?);
        for layer in &layers {
            (v, h) = layer.forward(&v, &h)?;
        }
        h.sum(1)
    };
    let (height, width) = (4, 5);
    let x = normal(&[1, 1, height, width], 1, DType::F64);
    for (j, seen) in dependence(net, &x).iter().enumerate() {
        for (i, &seen) in seen.iter().enumerate() {
            assert!(!seen || j < i, "output {i} sees input {j}");
            let neighbour = (j + 1 == i && i % width > 0) || j + width == i;
            assert!(seen || !neighbour, "output {i} misses its neighbour {j}");
        }
    }
    let image = normal(&[2, 1, 3, 3], 2, DType::F64);
    check_weight_gradients(&s, || weighted(&net(&image)?.sqr()?), Tol::abs(1e-7));
    let frozen = layers[0].frozen();
    let v = normal(&[1, 3, 4, 4], 3, DType::F64);
    let (a, b) = frozen.forward(&v, &v).unwrap();
    assert!(!a.track_op() && !b.track_op());
}
