//! Training steps of small generative models on fixed batches: what `side_by_side` times against PyTorch.
//!
//! Each file is one workload, made of the layers, optimisers and noise of `genzoo_core` as a model would use them.
//! The scripts of the same names in `torch/` are the same networks, batches and rules; the two are compared
//! by their number of parameters before anything is timed. A step goes from a batch in memory to moved weights:
//! it draws its noise, but loads no data.

use candle_core::{DType, Device, Shape, Tensor};
use genzoo_core::optim::{OptimConfig, Optimizer, Rule, Schedule};
use genzoo_core::{Error, Noise, ParamStore, Result};

mod chains;
mod dcgan;
mod ebm;
mod ffjord;
mod fm;
mod maf;
mod pixelcnn;
mod rbm;
mod realnvp;
mod unet;
mod vae;
mod wgan_gp;

/// One step; its value is a loss or an output, whose mean says whether two programs do the same.
pub type Step = Box<dyn FnMut() -> Result<Tensor> + Send>;

/// A named step, not yet built.
pub struct Workload {
    /// As in the table of results.
    pub name: &'static str,
    /// The network, its sizes and its batch.
    pub about: &'static str,
    /// Builds network, batch and optimiser.
    pub build: fn() -> Result<Built>,
}

/// A step ready to run.
pub struct Built {
    /// Number of scalars in the network, which PyTorch's must equal.
    pub parameters: usize,
    /// The step.
    pub step: Step,
}

/// All workloads, in the order of the table.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "vae",
        about: "VAE 784-400-20, Bernoulli pixels, batch 128: one step of Adam",
        build: vae::step,
    },
    Workload {
        name: "realnvp",
        about: "RealNVP in the plane, 8 affine couplings of 64-64, batch 512: one step of Adam",
        build: realnvp::step,
    },
    Workload {
        name: "fm",
        about: "flow matching in the plane, 3 × 256 with 32 features of time, batch 512: one step of Adam",
        build: fm::step,
    },
    Workload {
        name: "ebm",
        about: "energy of 3 × 128 in the plane, 40 Langevin steps and a contrastive step of Adam, batch 256",
        build: ebm::step,
    },
    Workload {
        name: "ula",
        about: "256 chains on such an energy: one unadjusted Langevin step, one gradient each",
        build: chains::ula,
    },
    Workload {
        name: "hmc",
        about: "the same chains: one Hamiltonian trajectory of ten leapfrogs, accepted or not",
        build: chains::hmc,
    },
    Workload {
        name: "dcgan",
        about: "DCGAN on 28×28 (100 → 7·7·128 → 64 → 1; critic 64-128), batch 64: critic and generator move once",
        build: dcgan::step,
    },
    Workload {
        name: "unet",
        about: "U-Net on 28×28 (base 32, multipliers 1-2-2, group norm, time), batch 64: noise-prediction step",
        build: unet::step,
    },
    Workload { name: "unet_forward", about: "the same U-Net, forward pass alone", build: unet::forward },
    Workload {
        name: "rbm",
        about: "RBM 784-500, one step of persistent contrastive divergence, batch 128, gradients by hand",
        build: rbm::step,
    },
    Workload {
        name: "wgan_gp",
        about: "critic of DCGAN's sizes with SiLU on 28×28, gradient penalty, batch 64: one step of Adam",
        build: wgan_gp::step,
    },
    Workload {
        name: "maf",
        about: "MAF of 784 dimensions, 5 MADEs with 512 hidden units, batch 128: one step of Adam",
        build: maf::step,
    },
    Workload {
        name: "maf_log_density",
        about: "the same MAF, log-densities of a batch of 128",
        build: maf::log_density,
    },
    Workload {
        name: "maf_sampling",
        about: "the same MAF, 128 samples, one dimension after the other",
        build: maf::sampling,
    },
    Workload {
        name: "ffjord",
        about: "FFJORD in the plane, 3 × 64, RK4 of 20 steps with the exact trace, batch 256: one step of Adam",
        build: ffjord::step,
    },
    Workload {
        name: "pixelcnn",
        about: "gated PixelCNN on 28×28, 5 layers of 64 channels, batch 32: one step of Adam",
        build: pixelcnn::step,
    },
];

/// The workload of this name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<&'static Workload> {
    let found = WORKLOADS.iter().find(|w| w.name == name);
    found.ok_or_else(|| Error::unknown("workload", name, WORKLOADS.iter().map(|w| w.name)))
}

/// An empty store in f32 on the CPU, and the noise of the run.
fn start() -> (ParamStore, Noise) {
    let noise = Noise::new(0);
    (ParamStore::new(&noise, DType::F32, &Device::Cpu), noise)
}

fn normal(shape: impl Into<Shape>, noise: &mut Noise) -> Result<Tensor> {
    noise.normal(shape, DType::F32, &Device::Cpu)
}

fn uniform(shape: impl Into<Shape>, noise: &mut Noise) -> Result<Tensor> {
    noise.uniform(shape, DType::F32, &Device::Cpu)
}

fn built(params: &ParamStore, step: impl FnMut() -> Result<Tensor> + Send + 'static) -> Result<Built> {
    Ok(Built { parameters: params.count(), step: Box::new(step) })
}

/// An optimiser over every parameter of a store, at a constant rate.
struct Learner(Optimizer);

impl Learner {
    /// Adam with PyTorch's defaults.
    fn adam(params: &ParamStore) -> Result<Self> {
        Self::new(params, Rule::Adam, 0.9)
    }

    /// Plain gradient descent.
    fn descent(params: &ParamStore) -> Result<Self> {
        Self::new(params, Rule::Sgd, 0.0)
    }

    fn new(params: &ParamStore, optimizer: Rule, beta1: f64) -> Result<Self> {
        let config = OptimConfig {
            lr: 1e-3,
            optimizer,
            beta1,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
            schedule: Schedule::Constant,
            warmup: 0,
        };
        Ok(Self(Optimizer::new(config, params.entries())?))
    }

    /// Backward and one move; returns the loss outside its graph.
    fn minimise(&mut self, loss: &Tensor) -> Result<Tensor> {
        let grads = genzoo_kernels::gradients(loss, self.0.vars())?;
        self.follow(&grads)?;
        Ok(loss.detach())
    }

    /// One move by given gradients.
    fn follow(&mut self, grads: &[Tensor]) -> Result<()> {
        let lr = self.0.config().lr;
        let norm = self.0.step(grads, lr)?;
        if norm.is_finite() { Ok(()) } else { Err(Error::data("gradient norm", "a finite number", norm)) }
    }
}
