//! 256 chains on the energy `U = f(x) + ½|x|²` of a perceptron of 3 × 128, moved by the samplers of `numerics`: one
//! Langevin step is one gradient per chain, a Hamiltonian trajectory ten.

use candle_core::Tensor;
use genzoo_core::Result;
use genzoo_core::capability::Energy;
use genzoo_core::nn::{Activation, Mlp, input_gradient};
use genzoo_numerics::mcmc::{Hmc, Kernel, Ula};
use genzoo_numerics::rows;

use crate::{Built, built, normal, start};

const CHAINS: usize = 256;

struct Confined(Mlp);

impl Energy for Confined {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((self.0.forward(x)?.flatten_all()? + (rows::squared_norm(x)? * 0.5)?)?)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, gradient) = input_gradient(&self.0, x)?;
        Ok(((energy + (rows::squared_norm(x)? * 0.5)?)?, (gradient + x)?))
    }
}

fn walk(kernel: impl Kernel + Send + 'static) -> Result<Built> {
    let (params, mut noise) = start();
    let net = Mlp::new(&[2, 128, 128, 128, 1], Activation::Silu, Activation::Identity, &params.group("net"))?;
    let target = Confined(net.frozen());
    let mut chains = kernel.init(&target, &normal((CHAINS, 2), &mut noise)?)?;
    built(&params, move || {
        kernel.step(&target, &mut chains, &mut noise)?;
        Ok(chains.energy.clone())
    })
}

pub(crate) fn ula() -> Result<Built> {
    walk(Ula::new(0.01)?)
}

pub(crate) fn hmc() -> Result<Built> {
    walk(Hmc::new(0.1, 10)?)
}
