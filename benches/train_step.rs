//! One training step of each kind of network, from drawn batch to moved weights, and the sampling inner loops.
//!
//! `cargo bench -p genzoo-benches`, with one name to run one. The shapes are those of common small recipes on
//! 28×28 images and points in the plane.

use candle_core::{DType, Device, Result, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use genzoo_core::nn::{
    Activation, ConvConfig, ConvDecoder, ConvEncoder, Linear, Mlp, TimeMlp, TimeMlpConfig, UNet, UNetConfig,
    input_gradient,
};
use genzoo_core::{Noise, ParamStore};
use genzoo_kernels::optim::{AdamStep, adam};
use genzoo_kernels::{bce_with_logits_rows, runtime};

/// Adam over every parameter of a store.
struct Adam {
    params: ParamStore,
    moments: Vec<(Tensor, Tensor)>,
    moves: u64,
}

impl Adam {
    fn new(params: ParamStore) -> Result<Self> {
        let zero = |v: &candle_core::Var| v.zeros_like().map(|t| t.detach());
        let moments =
            params.entries().iter().map(|(_, v)| Ok((zero(v)?, zero(v)?))).collect::<Result<_>>()?;
        Ok(Self { params, moments, moves: 0 })
    }

    fn minimise(&mut self, loss: &Tensor) -> Result<()> {
        self.moves += 1;
        let step = AdamStep {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            moves: self.moves,
            scale: 1.0,
        };
        let grads = loss.backward()?;
        for ((_, var), (m, v)) in self.params.entries().iter().zip(&self.moments) {
            if let Some(g) = grads.get(var.as_tensor()) {
                adam(var.as_tensor(), g, m, v, &step)?;
            }
        }
        Ok(())
    }
}

fn store() -> (ParamStore, Noise) {
    let noise = Noise::new(0);
    (ParamStore::new(&noise, DType::F32, &Device::Cpu), noise)
}

fn normal(shape: &[usize], noise: &mut Noise) -> Result<Tensor> {
    noise.normal(shape, DType::F32, &Device::Cpu).map_err(candle_core::Error::wrap)
}

fn uniform(shape: &[usize], noise: &mut Noise) -> Result<Tensor> {
    noise.uniform(shape, DType::F32, &Device::Cpu).map_err(candle_core::Error::wrap)
}

type Step = Box<dyn FnMut() -> Result<()> + Send>;
type Make = fn() -> Result<Step>;

/// 784-400-20, batch 128.
fn vae() -> Result<Step> {
    let (params, mut noise) = store();
    let vb = params.group("vae");
    let hidden = Linear::new(784, 400, Activation::Relu, &vb.pp("hidden"))?;
    let heads = Linear::new(400, 40, Activation::Identity, &vb.pp("heads"))?;
    let decoder = Mlp::new(&[20, 400, 784], Activation::Relu, Activation::Identity, &vb.pp("decoder"))?;
    let mut adam = Adam::new(params)?;
    let x = uniform(&[128, 784], &mut noise)?;
    Ok(Box::new(move || {
        let code = heads.forward(&hidden.forward(&x)?)?;
        let (mu, lv) = (code.narrow(1, 0, 20)?, code.narrow(1, 20, 20)?);
        let z = (&mu + ((&lv * 0.5)?.exp()? * normal(&[128, 20], &mut noise)?)?)?;
        let recon = bce_with_logits_rows(&decoder.forward(&z)?, &x)?;
        let kl = (((mu.sqr()? + lv.exp()?)? - &lv)?.sum(1)? * 0.5)?;
        adam.minimise(&(recon + kl)?.mean_all()?)
    }))
}

/// Flow matching in the plane, 3 × 256, batch 512.
fn flow_matching() -> Result<Step> {
    let (params, mut noise) = store();
    let net = TimeMlp::new(TimeMlpConfig::new(2), &params.group("net"))?;
    let mut adam = Adam::new(params)?;
    Ok(Box::new(move || {
        let (x, z) = (normal(&[512, 2], &mut noise)?, normal(&[512, 2], &mut noise)?);
        let t = uniform(&[512], &mut noise)?;
        let time = t.unsqueeze(1)?;
        let xt = (x.broadcast_mul(&time.affine(-1.0, 1.0)?)? + z.broadcast_mul(&time)?)?;
        let v = net.forward(&xt, &t, None)?;
        adam.minimise(&(v - (z - x)?)?.sqr()?.mean_all()?)
    }))
}

/// Contrastive divergence in the plane: 2 × 128, batch 256, 40 Langevin steps.
fn contrastive_divergence() -> Result<Step> {
    let (params, mut noise) = store();
    let net = Mlp::new(&[2, 128, 128, 1], Activation::Silu, Activation::Identity, &params.group("net"))?;
    let frozen = net.frozen();
    let mut adam = Adam::new(params)?;
    Ok(Box::new(move || {
        let data = normal(&[256, 2], &mut noise)?;
        let mut x = normal(&[256, 2], &mut noise)?;
        for _ in 0..40 {
            let (_, g) = input_gradient(&frozen, &x)?;
            x = ((x - (g * 0.01)?)? + (normal(&[256, 2], &mut noise)? * 0.1414)?)?.detach();
        }
        adam.minimise(&(net.forward(&data)?.mean_all()? - net.forward(&x)?.mean_all()?)?)
    }))
}

/// A convolutional GAN on 28×28: one step of the critic and one of the generator, batch 64.
fn conv_gan() -> Result<Step> {
    let (critic_params, mut noise) = store();
    let (generator_params, _) = store();
    let config = |features| ConvConfig {
        channels: vec![64, 128],
        activation: Activation::LeakyRelu(0.2),
        ..ConvConfig::new(28, features)
    };
    let critic = ConvEncoder::new(&config(1), &critic_params.group("critic"))?;
    let generator = ConvDecoder::new(&config(64), &generator_params.group("generator"))?;
    let (mut move_critic, mut move_generator) = (Adam::new(critic_params)?, Adam::new(generator_params)?);
    let x = uniform(&[64, 1, 28, 28], &mut noise)?;
    let softplus = |t: Tensor| genzoo_kernels::act(&t, Activation::Softplus)?.mean_all();
    Ok(Box::new(move || {
        let fake = generator.frozen().forward(&normal(&[64, 64], &mut noise)?)?;
        let loss = (softplus(critic.forward(&x)?.neg()?)? + softplus(critic.forward(&fake)?)?)?;
        move_critic.minimise(&loss)?;
        let fake = generator.forward(&normal(&[64, 64], &mut noise)?)?;
        move_generator.minimise(&softplus(critic.frozen().forward(&fake)?.neg()?)?)
    }))
}

/// Denoising 28×28 images with the default U-Net at half resolution, batch 64.
fn unet() -> Result<Step> {
    let (params, mut noise) = store();
    let net = UNet::new(&UNetConfig::new(2), &params.group("net"))?;
    let mut adam = Adam::new(params)?;
    let x = uniform(&[64, 1, 28, 28], &mut noise)?;
    Ok(Box::new(move || {
        let (e, t) = (normal(&[64, 1, 28, 28], &mut noise)?, uniform(&[64], &mut noise)?);
        let y = net.forward(&(&x + &e)?, &t, None)?;
        adam.minimise(&(y - e)?.sqr()?.mean_all()?)
    }))
}

/// The same network without tape, as a sampler calls it.
fn unet_forward() -> Result<Step> {
    let (params, mut noise) = store();
    let net = UNet::new(&UNetConfig::new(2), &params.group("net"))?.frozen();
    let x = uniform(&[64, 1, 28, 28], &mut noise)?;
    let t = uniform(&[64], &mut noise)?;
    Ok(Box::new(move || net.forward(&x, &t, None).map(|_| ())))
}

fn train_steps(c: &mut Criterion) {
    runtime::configure(None);
    let mut group = c.benchmark_group("train_step");
    group.sample_size(20);
    let steps: [(&str, Make); 6] = [
        ("vae_784_400_20_b128", vae),
        ("flow_matching_3x256_b512", flow_matching),
        ("contrastive_divergence_40_langevin_b256", contrastive_divergence),
        ("conv_gan_28_b64", conv_gan),
        ("unet_28_b64", unet),
        ("unet_28_b64_forward", unet_forward),
    ];
    for (name, make) in steps {
        let mut step = make().unwrap_or_else(|e| panic!("{name} cannot be built: {e}"));
        group.bench_function(name, |b| {
            let timed = runtime::run(|| {
                b.iter(|| step().unwrap_or_else(|e| panic!("{name} failed: {e}")));
            });
            timed.unwrap_or_else(|e| panic!("{e}"));
        });
    }
    group.finish();
}

criterion_group!(benches, train_steps);
criterion_main!(benches);
