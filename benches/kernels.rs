//! The kernels one by one under criterion: `cargo bench -p genzoo-benches --bench kernels`, with part of a name to run some.
//!
//! Products and convolutions count multiplications and additions, so that `Gelem/s` reads as GFLOP/s and `product/1024`
//! is the peak to hold them against; the rest count the bytes that must at least be read and written, and `copy` is
//! their measure. `side_by_side --kernels` makes a table of it.

use candle_core::{DType, Device, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use genzoo_core::Noise;
use genzoo_kernels::optim::{AdamStep, adam, ema};
use genzoo_kernels::{
    Activation, Conv, act, attention, batch_norm, bce_with_logits_rows, conv2d, conv2d_input_grad,
    conv2d_weight_grad, gaussian_rows, group_norm, inverse, layer_norm, linear, log_sum_exp, max_pool2d,
    resize_bilinear, runtime, sin, softmax, sum_over, sum_rows, upsample2,
};

#[global_allocator]
static GLOBAL: runtime::Allocator = runtime::ALLOCATOR;

fn normal(shape: &[usize]) -> Tensor {
    let drawn = Noise::new(0).normal(shape, DType::F32, &Device::Cpu);
    drawn.unwrap_or_else(|e| panic!("no numbers of shape {shape:?}: {e}"))
}

/// Multiplications and additions.
fn flops(n: usize) -> Throughput {
    Throughput::Elements(n as u64)
}

/// Bytes of so many f32.
fn floats(n: usize) -> Throughput {
    Throughput::Bytes(4 * n as u64)
}

/// Times `f`, which does this work, on the workers.
fn time(c: &mut Criterion, name: &str, work: Throughput, f: impl Fn() -> Result<Tensor> + Send + Sync) {
    let mut group = c.benchmark_group("kernels");
    group.throughput(work);
    group.bench_function(name, |b| {
        let timed = runtime::run(|| b.iter(|| f().unwrap_or_else(|e| panic!("{name} failed: {e}"))));
        timed.unwrap_or_else(|e| panic!("{e}"));
    });
    group.finish();
}

fn products(c: &mut Criterion) {
    runtime::configure(None);
    let (a, b) = (normal(&[1024, 1024]), normal(&[1024, 1024]));
    time(c, "product/1024", flops(2 << 30), || a.matmul(&b));
    for (n, i, o) in [(1024, 1024, 1024), (128, 784, 400), (128, 400, 784), (512, 64, 64), (512, 256, 256)] {
        let (x, w, bias) = (normal(&[n, i]), normal(&[o, i]), normal(&[o]));
        let name = format!("linear/{n}x{i}x{o}");
        time(c, &name, flops(2 * n * i * o), || linear(&x, &w, Some(&bias), Activation::Relu));
    }
    let (q, k, v) = (normal(&[64, 196, 32]), normal(&[64, 196, 32]), normal(&[64, 196, 32]));
    time(c, "attention/64x196x32", flops(64 * 196 * 196 * 32 * 4), || attention(&q, &k, &v));
    let a = normal(&[256, 16, 16]);
    time(c, "inverse/256x16", flops(256 * 2 * 16 * 16 * 16), || inverse(&a));
}

fn convolutions(c: &mut Criterion) {
    runtime::configure(None);
    // Channels, outputs, size, kernel and geometry of the U-Net's and DCGAN's layers, batch 64.
    for (name, i, o, n, k, conv) in [
        ("32-32 3x3 on 28x28", 32, 32, 28, 3, Conv::same(3)),
        ("64-64 3x3 on 14x14", 64, 64, 14, 3, Conv::same(3)),
        ("64-64 3x3 on 7x7", 64, 64, 7, 3, Conv::same(3)),
        ("64-128 4x4/2 on 14x14", 64, 128, 14, 4, Conv::strided(2, 1)),
        ("1-64 4x4/2 on 28x28", 1, 64, 28, 4, Conv::strided(2, 1)),
    ] {
        let out = conv.output_size(n, k).unwrap_or(0);
        let (x, w, g) = (normal(&[64, i, n, n]), normal(&[o, i, k, k]), normal(&[64, o, out, out]));
        let work = || flops(2 * 64 * out * out * o * i * k * k);
        time(c, &format!("conv2d/{name}"), work(), || conv2d(&x, &w, None, conv, Activation::Identity));
        time(c, &format!("conv2d_input_grad/{name}"), work(), || conv2d_input_grad(&g, &w, (n, n), conv));
        time(c, &format!("conv2d_weight_grad/{name}"), work(), || conv2d_weight_grad(&x, &g, (k, k), conv));
    }
}

fn elements(c: &mut Criterion) {
    runtime::configure(None);
    let image = normal(&[64, 32, 28, 28]);
    let n = image.elem_count();
    let (channels, rows) = (normal(&[32]), image.reshape((n / 784, 784)).unwrap_or_else(|e| panic!("{e}")));
    let (pixels, others) = (normal(&[784]), normal(&[n / 784, 784]));
    let third = normal(&[n / 784, 784]);
    time(c, "copy", floats(2 * n), || image.copy());
    for f in [Activation::Silu, Activation::Tanh, Activation::Gelu, Activation::Softplus] {
        time(c, &f.to_string(), floats(2 * n), || act(&image, f));
    }
    time(c, "sin", floats(2 * n), || sin(&image));
    time(c, "group_norm", floats(2 * n), || group_norm(&image, 8, &channels, &channels, 1e-5, true));
    time(c, "batch_norm", floats(2 * n), || Ok(batch_norm(&image, &channels, &channels, 1e-5)?.y));
    time(c, "layer_norm", floats(2 * n), || layer_norm(&rows, &pixels, &pixels, 1e-5));
    time(c, "softmax", floats(2 * n), || softmax(&rows));
    time(c, "log_sum_exp", floats(n), || log_sum_exp(&rows));
    time(c, "sum_rows", floats(n), || sum_rows(&rows));
    time(c, "sum_over", floats(n), || sum_over(&image, 1));
    time(c, "bce_with_logits_rows", floats(2 * n), || bce_with_logits_rows(&rows, &others));
    time(c, "gaussian_rows", floats(3 * n), || gaussian_rows(&rows, &others, &third));
    time(c, "upsample2", floats(5 * n), || upsample2(&image));
    time(c, "max_pool2d", floats(n + n / 4), || max_pool2d(&image, 2, 2));
    time(c, "resize_bilinear", floats(5 * n), || resize_bilinear(&image, 56, 56));
    let [w, g, m, v] = [(); 4].map(|()| normal(&[1 << 20]));
    let step = AdamStep {
        lr: 1e-9,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: false,
        moves: 1,
        scale: 1.0,
    };
    let v = v.sqr().unwrap_or_else(|e| panic!("{e}"));
    time(c, "adam", floats(7 << 20), || adam(&w, &g, &m, &v, &step).map(|()| w.clone()));
    time(c, "ema", floats(3 << 20), || ema(&m, &w, 0.999).map(|()| m.clone()));
    time(c, "uniform noise", floats(1 << 20), || {
        let drawn = Noise::new(0).uniform(1 << 20, DType::F32, &Device::Cpu);
        drawn.map_err(candle_core::Error::wrap)
    });
    time(c, "normal noise", floats(1 << 20), || {
        let drawn = Noise::new(0).normal(1 << 20, DType::F32, &Device::Cpu);
        drawn.map_err(candle_core::Error::wrap)
    });
}

criterion_group!(benches, products, convolutions, elements);
criterion_main!(benches);
