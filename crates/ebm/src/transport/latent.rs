//! The energy over the latent of the flow, and chains that move there.

use genzoo_core::autograd::input_gradient;
use genzoo_core::capability::Energy;
use genzoo_core::math::log_standard_normal;
use genzoo_core::nn::Couplings;
use genzoo_core::{
    DataSpec, Draw, Error, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Standardizer, Table,
    Tensor, config,
};
use genzoo_numerics::mcmc::{Chains, Kernel, Mala};
use genzoo_numerics::{Counted, rows};
use serde::Deserialize;
use toml::toml;

use super::chart::Chart;
use crate::neural::Network;
use crate::neural::langevin::ROWS;
use crate::neural::restart::restart;

pub(super) const SAMPLERS: &[SamplerInfo] = &[SamplerInfo {
    name: "latent-langevin",
    summary: "chains in the latent: independence proposals and Metropolis-adjusted Langevin moves in turns",
    defaults: || {
        toml! { steps = 20 step = 0.0 }
    },
}];

/// `U(z) = −log N(z; 0, I) + f(x(z))`, so that `Z = ∫ e^{−U} dz = E_q e^{−f}`.
#[derive(Clone)]
pub(super) struct Latent {
    pub(super) flow: Couplings,
    pub(super) network: Network,
    pub(super) chart: Chart,
    pub(super) seen: Standardizer,
    pub(super) image: bool,
}

impl Latent {
    /// `f`, `(b,)`, of data in the chart's coordinates: perceptrons see those, convolutional nets the image itself.
    pub(super) fn learned(&self, y: &Tensor) -> Result<Tensor> {
        match self.image {
            true => self.network.forward(&self.seen, &self.chart.inverse(y)?),
            false => self.network.forward(&self.seen, y),
        }
    }

    fn of(&self, z: &Tensor) -> Result<Tensor> {
        Ok((self.learned(&self.flow.to_data(z)?.0)? - log_standard_normal(z)?)?)
    }
}

impl Energy for Latent {
    fn energy(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.of(z)?.detach())
    }

    fn energy_and_gradient(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok(input_gradient(|z| self.of(z).map_err(candle_core::Error::wrap), z)?)
    }
}

#[derive(Deserialize)]
struct Options {
    /// Independence proposals and moves of each chain together.
    steps: usize,
    /// Step size of the moves; 0 takes the one that training arrived at.
    step: f64,
}

/// Chains that start from draws of the flow.
pub(super) struct LatentLangevin<'a> {
    spec: &'a DataSpec,
    params: &'a ParamStore,
    latent: Latent,
    steps: usize,
    step: f64,
}

impl<'a> LatentLangevin<'a> {
    pub(super) fn new(
        latent: Latent,
        spec: &'a DataSpec,
        params: &'a ParamStore,
        arrived_at: f64,
        name: &str,
        options: &Table,
    ) -> Result<Self> {
        if SAMPLERS.iter().all(|s| s.name != name) {
            return Err(Error::unknown("sampler", name, SAMPLERS.iter().map(|s| s.name)));
        }
        let o: Options = config::read(options, "sample")?;
        if !(o.step >= 0.0 && o.step.is_finite()) {
            let want = "a number ≥ 0 (0 for the one training used)";
            return Err(Error::config("sample.step", want, o.step));
        }
        let step = if o.step > 0.0 { o.step } else { arrived_at };
        Ok(Self { spec, params, latent, steps: o.steps, step })
    }
}

impl Sampler for LatentLangevin<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let target = Counted::new(&self.latent);
        let (d, dtype, device) = (self.spec.dims(), self.params.dtype(), self.params.device());
        let mut parts = vec![Tensor::zeros((0, d), dtype, device)?];
        for (_, n) in rows::pieces(draw.n, ROWS) {
            let mut chains = Chains::at(&target, &noise.normal((n, d), dtype, device)?)?;
            for i in 0..self.steps {
                if i % 2 == 0 {
                    restart(&target, 1.0, &mut chains, 1.0, noise)?;
                } else {
                    Mala::new(self.step)?.step(&target, &mut chains, noise)?;
                }
            }
            let y = self.latent.flow.to_data(&chains.x)?.0;
            // The model lives on all of space; only what is handed out is brought into the data's range.
            parts.push(self.spec.clamp(&self.latent.chart.inverse(&y)?.detach())?);
        }
        Ok(Samples {
            x: Tensor::cat(&parts, 0)?.reshape(self.spec.batch_shape(draw.n))?,
            evaluations: target.evaluations().examples / draw.n.max(1) as u64,
        })
    }
}
