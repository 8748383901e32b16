//! Shapes, frozen weights, and mixed second derivatives against finite differences.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use genzoo_testkit::{Tol, assert_close, assert_gradient, finite_difference_tensor};

use super::*;
use crate::{Noise, ParamStore, autograd};

pub(super) fn store(dtype: DType) -> ParamStore {
    ParamStore::new(&Noise::new(7), dtype, &Device::Cpu)
}

pub(super) fn normal(shape: &[usize], salt: u64, dtype: DType) -> Tensor {
    Noise::new(salt).normal(shape, dtype, &Device::Cpu).unwrap()
}

pub(super) fn weighted(y: &Tensor) -> Result<Tensor> {
    (y * normal(y.dims(), 99, y.dtype()))?.sum_all()
}

/// Moves every parameter away from its initial value: zero layers hide errors.
pub(super) fn shake(store: &ParamStore) {
    for (i, (_, var)) in store.entries().into_iter().enumerate() {
        let shift = (normal(var.dims(), 1000 + i as u64, var.dtype()) * 0.1).unwrap();
        var.set(&(var.as_tensor() + shift).unwrap().detach()).unwrap();
    }
}

/// The gradient of `loss` with respect to every parameter, by backward and by finite differences.
pub(super) fn check_weight_gradients(store: &ParamStore, loss: impl Fn() -> Result<Tensor>, tol: Tol) {
    let grads = loss().unwrap().backward().unwrap();
    for (name, var) in store.entries() {
        let analytic = match grads.get(var.as_tensor()) {
            Some(g) => g.clone(),
            None => var.zeros_like().unwrap(),
        };
        let start = var.as_tensor().copy().unwrap().detach();
        let numeric = finite_difference_tensor(
            |w| {
                var.set(w)?;
                loss()
            },
            &start,
        )
        .unwrap();
        var.set(&start).unwrap();
        let worst = (&analytic - &numeric).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        let worst = worst.to_scalar::<f64>().unwrap();
        assert!(worst < tol.abs, "{name}: gradient is off by {worst:e}");
    }
}

/// vjp and jvp are the derivative: `vᵀ(J u) = (vᵀJ) u`, and J u is a difference quotient.
fn check_products(net: &dyn Differentiable, x: &Tensor) {
    let y = net.forward(x).unwrap();
    let (u, v) = (normal(x.dims(), 21, DType::F64), normal(y.dims(), 22, DType::F64));
    let (y1, g) = net.vjp(x, &v).unwrap();
    let (y2, t) = net.jvp(x, &u).unwrap();
    assert_close(&y1, &y, Tol::abs(1e-12));
    assert_close(&y2, &y, Tol::abs(1e-12));
    assert_eq!(g.dims(), x.dims());
    let left = (&v * &t).unwrap().sum_all().unwrap();
    let right = (&g * &u).unwrap().sum_all().unwrap();
    assert_close(&left, &right, Tol { abs: 1e-10, rel: 1e-10 });
    let f = |s: &Tensor| net.forward(&(x + u.broadcast_mul(s)?)?)?.mul(&v)?.sum_all();
    let slope = finite_difference_tensor(f, &Tensor::zeros((), DType::F64, &Device::Cpu).unwrap()).unwrap();
    assert_close(&left, &slope, Tol { abs: 1e-7, rel: 1e-7 });
}

#[test]
fn vjp_and_jvp_are_the_derivative() {
    let s = store(DType::F64);
    let vb = s.group("g");
    let x = normal(&[5, 3], 1, DType::F64);
    for f in [Activation::Silu, Activation::Softplus, Activation::Tanh, Activation::Gelu] {
        check_products(&Linear::new(3, 4, f, &vb.pp(f)).unwrap(), &x);
        check_products(&f, &x);
    }
    check_products(
        &Mlp::new(&[3, 8, 8, 2], Activation::Silu, Activation::Identity, &vb.pp("mlp")).unwrap(),
        &x,
    );
    check_products(&ResidualMlp::new(3, 8, 2, 2, Activation::Tanh, &vb.pp("res")).unwrap(), &x);
    let image = normal(&[2, 2, 7, 7], 2, DType::F64);
    let conv = Conv2d::new(2, 3, 3, Conv::strided(2, 1), Activation::Silu, &vb.pp("conv")).unwrap();
    check_products(&conv, &image);
    let config = ConvConfig { channels: vec![3, 4], ..ConvConfig::new(7, 2) };
    let image = normal(&[2, 1, 7, 7], 2, DType::F64);
    check_products(&ConvEncoder::new(&config, &vb.pp("enc")).unwrap(), &image);
    let net = time_mlp(&s, None);
    let t = Tensor::new(&[0.0f64, 0.2, 0.5, 0.9, 1.0], &Device::Cpu).unwrap();
    check_products(&net.at(&t, None), &normal(&[5, 2], 1, DType::F64));
}

fn time_mlp(s: &ParamStore, classes: Option<usize>) -> TimeMlp {
    let config = TimeMlpConfig { width: 8, layers: 2, time_features: 4, classes, ..TimeMlpConfig::new(2) };
    TimeMlp::new(config, &s.group("time_mlp")).unwrap()
}

/// A loss that contains ∇ₓU has the right gradient with respect to the weights.
#[test]
fn mixed_second_derivatives_agree_with_finite_differences() {
    let tol = Tol::abs(1e-7);
    for f in [Activation::Silu, Activation::Softplus, Activation::Tanh] {
        let s = store(DType::F64);
        let net = Mlp::new(&[3, 6, 5, 1], f, Activation::Identity, &s.group("g")).unwrap();
        let x = normal(&[4, 3], 1, DType::F64);
        let loss = || {
            let (u, g) = input_gradient(&net, &x)?;
            u.sqr()?.sum_all()? + weighted(&g.sqr()?)?
        };
        check_weight_gradients(&s, loss, tol);
        let u = normal(&[4, 3], 2, DType::F64);
        let loss = || {
            let (y, t) = net.jvp(&x, &u)?;
            y.sum_all()? + weighted(&t.sqr()?)?
        };
        check_weight_gradients(&s, loss, tol);
    }
    let s = store(DType::F64);
    let config = ConvConfig { channels: vec![2, 3], ..ConvConfig::new(6, 1) };
    let net = ConvEncoder::new(&config, &s.group("g")).unwrap();
    let x = normal(&[2, 1, 6, 6], 1, DType::F64);
    check_weight_gradients(&s, || weighted(&input_gradient(&net, &x)?.1.sqr()?), tol);
    let s = store(DType::F64);
    let net = time_mlp(&s, None);
    let (x, t) =
        (normal(&[4, 2], 1, DType::F64), Tensor::new(&[0.1f64, 0.4, 0.6, 1.0], &Device::Cpu).unwrap());
    check_weight_gradients(&s, || weighted(&net.divergence(&x, &t, None)?.1.sqr()?), tol);
}

/// Differentiating the input gradient once more by x gives the Hessian.
#[test]
fn input_gradients_can_be_differentiated_by_the_input() {
    let s = store(DType::F64);
    let net = Mlp::new(&[3, 6, 1], Activation::Softplus, Activation::Identity, &s.group("g")).unwrap();
    assert_gradient(|x| weighted(&input_gradient(&net, x)?.1), &normal(&[2, 3], 1, DType::F64));
}

/// The jet along u is (f, s', s'') of s(ε) = f(x + εu), and its gradient reaches every weight.
fn check_jet(s: &ParamStore, net: &dyn Curved, x: &Tensor) {
    shake(s);
    let u = normal(x.dims(), 31, DType::F64);
    let jet = net.jet(&Jet::line(x, &u)).unwrap();
    let (y, slope) = net.jvp(x, &u).unwrap();
    assert_close(&jet.value, &y, Tol::abs(1e-12));
    assert_close(&jet.first, &slope, Tol::abs(1e-12));
    // d/dε of the slope at x + εu, by the difference of slopes.
    let v = normal(y.dims(), 32, DType::F64);
    let slope_at = |e: &Tensor| net.jvp(&(x + u.broadcast_mul(e)?)?, &u)?.1.mul(&v)?.sum_all();
    let zero = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    let want = finite_difference_tensor(slope_at, &zero).unwrap();
    let got = (jet.curvature().unwrap() * &v).unwrap().sum_all().unwrap();
    assert_close(&got, &want, Tol { abs: 1e-7, rel: 1e-7 });
    let loss = || {
        let jet = net.jet(&Jet::line(x, &u))?;
        weighted(&jet.curvature()?)? + weighted(&jet.first.sqr()?)?
    };
    check_weight_gradients(s, loss, Tol::abs(1e-6));
}

#[test]
fn jets_are_second_derivatives_along_a_line() {
    let x = normal(&[3, 3], 1, DType::F64);
    for f in [Activation::Silu, Activation::Softplus, Activation::Tanh, Activation::Gelu, Activation::Sigmoid]
    {
        let s = store(DType::F64);
        check_jet(&s, &Mlp::new(&[3, 5, 4, 1], f, Activation::Identity, &s.group("g")).unwrap(), &x);
    }
    let s = store(DType::F64);
    let net = ResidualMlp::new(3, 4, 2, 2, Activation::Tanh, &s.group("g")).unwrap();
    check_jet(&s, &net, &x);
    let s = store(DType::F64);
    let config = ConvConfig { channels: vec![2, 3], ..ConvConfig::new(6, 1) };
    let net = ConvEncoder::potential(&config, &s.group("g")).unwrap();
    assert!(s.entries().iter().all(|(name, _)| name != "g/linear.bias"));
    check_jet(&s, &net, &normal(&[2, 1, 6, 6], 2, DType::F64));
    let s = store(DType::F64);
    let config = TimeMlpConfig { width: 6, layers: 2, time_features: 4, outputs: 1, ..TimeMlpConfig::new(2) };
    let net = TimeMlp::potential(config, &s.group("g")).unwrap();
    assert!(TimeMlp::potential(TimeMlpConfig { outputs: 2, ..config }, &s.group("h")).is_err());
    assert!(s.entries().iter().all(|(name, _)| name != "g/mlp.2.bias"));
    let t = Tensor::new(&[0.1f64, 0.5, 0.9], &Device::Cpu).unwrap();
    check_jet(&s, &net.at(&t, None), &normal(&[3, 2], 3, DType::F64));
    // Piecewise linear maps have no curvature.
    let s = store(DType::F64);
    let net = Mlp::new(&[3, 4, 1], Activation::Relu, Activation::Identity, &s.group("g")).unwrap();
    assert!(net.jet(&Jet::line(&x, &x)).unwrap().second.is_none());
}

#[test]
fn divergence_is_the_trace_of_the_jacobian() {
    let s = store(DType::F64);
    let net = time_mlp(&s, Some(3)).frozen();
    let (x, t) = (normal(&[2, 2], 1, DType::F64), Tensor::new(&[0.3f64, 0.8], &Device::Cpu).unwrap());
    let label = Tensor::new(&[0u32, 2], &Device::Cpu).unwrap();
    let (y, divergence) = net.divergence(&x, &t, Some(&label)).unwrap();
    assert_close(&y, net.forward(&x, &t, Some(&label)).unwrap(), Tol::abs(1e-12));
    for row in 0..2 {
        let mut trace = 0.0;
        for i in 0..2 {
            let f = |x: &Tensor| net.forward(x, &t, Some(&label))?.get(row)?.get(i);
            trace += finite_difference_tensor(f, &x)
                .unwrap()
                .get(row)
                .unwrap()
                .get(i)
                .unwrap()
                .to_scalar::<f64>()
                .unwrap();
        }
        assert_close(divergence.get(row).unwrap(), trace, Tol::abs(1e-8));
    }
}

/// More dimensions than are pushed at once, and two inputs that stand still.
#[test]
fn divergence_of_many_dimensions_is_the_trace() {
    let s = store(DType::F64);
    let net = Mlp::new(&[12, 7, 10], Activation::Tanh, Activation::Identity, &s.group("g")).unwrap();
    let x = normal(&[3, 12], 1, DType::F64);
    let (y, divergence) = net.divergence(&x).unwrap();
    assert_close(y, net.forward(&x).unwrap(), Tol::abs(1e-13));
    let axes = Tensor::eye(12, DType::F64, &Device::Cpu).unwrap();
    let mut trace = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
    for i in 0..10 {
        let u = axes.narrow(0, i, 1).unwrap().broadcast_as((3, 12)).unwrap().contiguous().unwrap();
        let (_, tangent) = net.jvp(&x, &u).unwrap();
        trace = (trace + tangent.narrow(1, i, 1).unwrap().squeeze(1).unwrap()).unwrap();
    }
    assert_close(divergence, trace, Tol::abs(1e-12));
    check_weight_gradients(&s, || weighted(&net.divergence(&x)?.1.sqr()?), Tol::abs(1e-7));
    let wide = Mlp::new(&[2, 4, 3], Activation::Tanh, Activation::Identity, &s.group("wide")).unwrap();
    assert!(wide.divergence(&normal(&[3, 2], 1, DType::F64)).is_err());
}

#[test]
fn frozen_networks_track_nothing_and_share_storage() {
    let s = store(DType::F32);
    let mlp = Mlp::new(&[2, 4, 1], Activation::Silu, Activation::Identity, &s.group("mlp")).unwrap();
    let frozen = mlp.frozen();
    let x = normal(&[3, 2], 1, DType::F32);
    assert!(mlp.forward(&x).unwrap().track_op());
    assert!(!frozen.forward(&x).unwrap().track_op());
    let (_, g) = input_gradient(&frozen, &x).unwrap();
    assert!(!g.track_op(), "the Langevin path keeps no tape");
    shake(&s);
    assert_close(mlp.forward(&x).unwrap(), frozen.forward(&x).unwrap(), Tol::EQUAL);

    let image = normal(&[2, 1, 14, 14], 1, DType::F32);
    let t = Tensor::new(&[0.1f32, 0.9], &Device::Cpu).unwrap();
    let unet =
        UNet::new(&UNetConfig { base: 8, classes: Some(4), ..UNetConfig::new(1) }, &s.group("u")).unwrap();
    let norm = ConvConfig { normalization: Normalization::Group, ..ConvConfig::new(14, 3) };
    let encoder = ConvEncoder::new(&norm, &s.group("e")).unwrap();
    let decoder = ConvDecoder::new(&norm, &s.group("d")).unwrap();
    shake(&s);
    let label = Tensor::new(&[1u32, 3], &Device::Cpu).unwrap();
    let v = normal(&[2, 1, 14, 14], 2, DType::F32);
    let frozen = unet.frozen();
    let (y, g) = autograd::input_vjp(|x| frozen.forward(x, &t, Some(&label)), &image, &v).unwrap();
    assert_close(&y, unet.forward(&image, &t, Some(&label)).unwrap(), Tol::EQUAL);
    assert_eq!(g.dims(), image.dims());
    let x = Var::from_tensor(&image).unwrap();
    let y = decoder.frozen().forward(&encoder.frozen().forward(x.as_tensor()).unwrap()).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(x.as_tensor()).is_some());
    assert!(s.entries().iter().all(|(_, w)| grads.get(w.as_tensor()).is_none()));
}

#[test]
fn every_weight_of_the_networks_gets_its_gradient() {
    let s = store(DType::F64);
    let config =
        UNetConfig { base: 4, embedding: 4, classes: Some(2), multipliers: vec![1, 2], ..UNetConfig::new(2) };
    let unet = UNet::new(&config, &s.group("u")).unwrap();
    shake(&s);
    let x = normal(&[2, 1, 6, 6], 1, DType::F64);
    let t = Tensor::new(&[0.2f64, 0.7], &Device::Cpu).unwrap();
    let label = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
    let loss = || weighted(&unet.forward(&x, &t, Some(&label))?);
    let grads = loss().unwrap().backward().unwrap();
    for (name, var) in s.entries() {
        let Some(g) = grads.get(var.as_tensor()) else { panic!("{name} has no gradient") };
        let norm = g.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(norm > 0.0, "{name} has gradient zero");
    }
    // One parameter of each kind against finite differences; all together would take minutes.
    let some = [
        "u/stem.weight",
        "u/time.0.bias",
        "u/label",
        "u/down.0.0.norm1.weight",
        "u/head.weight",
        "u/up.0.0.skip.bias",
    ];
    for name in some {
        let (_, var) = s.entries().into_iter().find(|(n, _)| n == name).unwrap();
        let start = var.as_tensor().copy().unwrap().detach();
        let numeric = finite_difference_tensor(
            |w| {
                var.set(w)?;
                loss()
            },
            &start,
        )
        .unwrap();
        var.set(&start).unwrap();
        // Normalising groups of a few pixels makes high derivatives large: the differences themselves are off by 1e-5.
        assert_close(grads.get(var.as_tensor()).unwrap(), numeric, Tol { abs: 1e-3, rel: 1e-4 });
    }
}

#[test]
fn image_networks_keep_their_sizes() {
    let t = Tensor::new(&[0.1f32, 0.9], &Device::Cpu).unwrap();
    for size in [28, 14, 7, 9] {
        let s = store(DType::F32);
        let x = normal(&[2, 1, size, size], 1, DType::F32);
        for stem in [1, 2] {
            let net =
                UNet::new(&UNetConfig { base: 8, ..UNetConfig::new(stem) }, &s.group(&format!("u{stem}")))
                    .unwrap();
            let y = net.forward(&x, &t, None).unwrap();
            assert_eq!(y.dims(), x.dims());
            assert_close(y, x.zeros_like().unwrap(), Tol::EQUAL);
        }
        for normalization in [Normalization::None, Normalization::Group] {
            let config =
                ConvConfig { normalization, activation: Activation::Relu, ..ConvConfig::new(size, 5) };
            let vb = s.group(&format!("{normalization:?}"));
            let z = ConvEncoder::new(&config, &vb.pp("e")).unwrap().forward(&x).unwrap();
            assert_eq!(z.dims(), [2, 5]);
            assert_eq!(ConvDecoder::new(&config, &vb.pp("d")).unwrap().forward(&z).unwrap().dims(), x.dims());
        }
    }
}

#[test]
fn the_default_u_net_has_under_half_a_million_parameters() {
    let s = store(DType::F32);
    UNet::new(&UNetConfig::new(2), &s.group("u")).unwrap();
    assert!((300_000..500_000).contains(&s.count()), "{}", s.count());
}

/// PyTorch's default: U(−1/√fan_in, 1/√fan_in) has variance 1/(3 fan_in).
#[test]
fn layers_start_as_in_pytorch() {
    let s = store(DType::F64);
    Linear::new(50, 400, Activation::Identity, &s.group("linear")).unwrap();
    Conv2d::new(5, 80, 3, Conv::same(3), Activation::Identity, &s.group("conv")).unwrap();
    let shapes: BTreeMap<_, _> = s.entries().into_iter().map(|(n, v)| (n, v.dims().to_vec())).collect();
    assert_eq!(shapes["linear/weight"], [400, 50]);
    assert_eq!(shapes["conv/weight"], [80, 5, 3, 3]);
    for (name, fan_in) in [("linear/weight", 50.0), ("conv/weight", 45.0), ("linear/bias", 50.0)] {
        let (_, var) = s.entries().into_iter().find(|(n, _)| n == name).unwrap();
        let w = var.as_tensor().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let bound = 1.0 / f64::sqrt(fan_in);
        assert!(w.iter().all(|v| v.abs() <= bound), "{name} exceeds its bound");
        let n = w.len() as f64;
        let variance = w.iter().map(|v| v * v).sum::<f64>() / n;
        // v² has variance bound⁴ (1/5 − 1/9).
        let error = bound.powi(2) * (4.0f64 / 45.0 / n).sqrt();
        assert_close(variance, bound * bound / 3.0, Tol::monte_carlo(error));
    }
}

#[test]
fn input_vjp_is_the_vector_jacobian_product() {
    let s = store(DType::F64);
    let net = Mlp::new(&[3, 5, 2], Activation::Tanh, Activation::Identity, &s.group("g")).unwrap().frozen();
    let (x, v) = (normal(&[4, 3], 1, DType::F64), normal(&[4, 2], 2, DType::F64));
    let (y, g) = autograd::input_vjp(|x| net.forward(x), &x, &v).unwrap();
    let (want_y, want) = net.vjp(&x, &v).unwrap();
    assert_close(y, want_y, Tol::abs(1e-12));
    assert_close(g, want, Tol::abs(1e-12));
    assert!(autograd::input_vjp(|x| Ok(x.detach()), &x, &x).is_err());
}

#[test]
fn time_features_separate_times() {
    let t = Tensor::new(&[0.0f64, 0.5, 1.0], &Device::Cpu).unwrap();
    let f = time::sinusoidal(&t, 6).unwrap();
    assert_close(f.get(0).unwrap(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], Tol::abs(1e-15));
    let want = [0.5f64, 5.0, 50.0];
    let mut row: Vec<f64> = want.iter().map(|a| a.sin()).collect();
    row.extend(want.iter().map(|a| a.cos()));
    assert_close(f.get(1).unwrap(), row, Tol::abs(1e-12));
    assert!(time::sinusoidal(&t, 5).is_err());
}

#[test]
fn labels_are_checked() {
    let s = store(DType::F64);
    let net = time_mlp(&s, None);
    let (x, t) = (normal(&[2, 2], 1, DType::F64), Tensor::new(&[0.3f64, 0.8], &Device::Cpu).unwrap());
    let label = Tensor::new(&[0u32, 2], &Device::Cpu).unwrap();
    assert!(net.forward(&x, &t, Some(&label)).is_err());
    let s = store(DType::F64);
    let net = time_mlp(&s, Some(2));
    assert!(net.forward(&x, &t, Some(&Tensor::new(&[0u32, 3], &Device::Cpu).unwrap())).is_err());
    // No label is the last row of the table.
    let none = net.forward(&x, &t, None).unwrap();
    let last = net.forward(&x, &t, Some(&Tensor::new(&[2u32, 2], &Device::Cpu).unwrap())).unwrap();
    assert_close(none, last, Tol::EQUAL);
}
