//! Multi-scale denoising score matching: one energy for every scale of noise, sampled from the widest to the narrowest.
//!
//! ```text
//! U_σ(ũ) = f(ũ/√(1 + σ²), t) + ½‖ũ‖²/(1/κ + σ² − σ₀²),   t = log(σ/σ₀) / log(σ₁/σ₀)
//! ũ = u + σξ,  log σ uniform on [log σ₀, log σ₁]        J(θ) = ½ E ‖σ∇U_σ(ũ) − ξ‖²
//! minimiser at every scale: ∇U_σ = −∇log (p* ∗ N(0, σ²I))
//! ```
//!
//! | symbol   | shape    | meaning                                                                  |
//! |----------|----------|--------------------------------------------------------------------------|
//! | `u`      | `(b, D)` | standardised data                                                         |
//! | `σ`, `t` | `(b,)`   | scale of the noise, its own for every row, and its place between the ends  |
//! | `f`      | `(b,)`   | a perceptron of `ũ` and of features of `t`                                |
//! | `σ₀, σ₁` |          | `model.sigma_min`, where the model's density is read, and `model.sigma_max`   |
//!
//! A single scale sees no data between modes and learns nothing there; wide noise joins the modes, so the masses are
//! learned at wide scales and carried down by chains that follow the scales.
//!
//! Sampler `annealed-langevin`: Langevin moves on `U_σ` for a geometric ladder of σ from σ₁ to σ₀, the first from draws of
//! `N(0, (1/κ + σ₁² − σ₀²)I)`.
//!
//! Source: Li, Chen & Sommer (2019), arXiv:1910.07762 (energies); Song & Ermon (2019), arXiv:1907.05600,
//! Algorithm 1 (annealed Langevin dynamics); Salimans & Ho (2021) for energies conditional on the noise.
//!
//! Departures: every row is noised by ξ and by −ξ, as in `dsm`. Moves are Metropolis-corrected with steps that follow the
//! acceptance toward 0.574 within the first half of each level, which energies allow and scores do not.

use candle_core::D;
use genzoo_core::capability::Energy;
use genzoo_core::nn::{TimeMlp, TimeMlpConfig, input_gradient};
use genzoo_core::{
    DataSpec, Draw, Entry, Error, Family, ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo,
    Samples, Scalars, Space, Table, Tensor, config,
};
use genzoo_numerics::mcmc::{Chains, Kernel, Mala};
use genzoo_numerics::{Counted, rows};
use serde::Deserialize;
use toml::toml;

use crate::neural::langevin::{self, GAIN, TARGET_ACCEPTANCE};
use crate::neural::{Landscape, Network, NeuralEnergy, activation, recipe};
use crate::sampling_free::{self, Method, Potential, number};
use crate::settings::{count, positive, rule};

/// Multi-scale denoising score matching in the registry.
pub const ENTRY: Entry = Entry {
    info: MultiScale::INFO,
    spaces: &[Space::Continuous],
    defaults,
    tiny,
    build: sampling_free::build::<MultiScale>,
};

fn defaults(spec: &DataSpec) -> Table {
    let own = toml! {
        sigma_min = 0.05
        sigma_max = 2.0
        time_features = 16
    };
    let mut table = sampling_free::defaults(spec, own);
    if let Some(toml::Value::Table(model)) = table.get_mut("model") {
        model.remove("network"); // a perceptron that sees the scale
    }
    table
}

fn tiny(spec: &DataSpec) -> Table {
    recipe::tiny(spec, Table::new())
}

const SAMPLERS: &[SamplerInfo] = &[
    SamplerInfo {
        name: "annealed-langevin",
        summary: "Metropolis-adjusted Langevin chains along the scales of noise, widest first",
        defaults: || {
            toml! {
                levels = 12
                steps = 8
            }
        },
    },
    SamplerInfo {
        name: "langevin",
        summary: "Metropolis-adjusted Langevin chains at the narrowest scale, from the base",
        defaults: || {
            toml! {
                steps = 100
                step = 0.0
            }
        },
    },
];

#[derive(Clone, Debug, Deserialize)]
struct Config {
    hidden: usize,
    layers: usize,
    gain: f64,
    activation: String,
    confinement: f64,
    sigma_min: f64,
    sigma_max: f64,
    time_features: usize,
}

/// The loss J, and the energy at every scale.
pub(crate) struct MultiScale {
    config: Config,
    net: TimeMlp,
}

impl MultiScale {
    /// `t` of a scale.
    fn place(&self, sigma: f64) -> f64 {
        (sigma / self.config.sigma_min).ln() / (self.config.sigma_max / self.config.sigma_min).ln()
    }

    /// What `ũ` is multiplied by before it enters the network.
    fn magnification(&self, sigma: f64) -> f64 {
        self.config.gain / sigma.hypot(1.0)
    }

    /// The inverse variance of the base at a scale: κ at the narrowest, noise added to it at others.
    fn confinement(&self, sigma: f64) -> f64 {
        let added = sigma.powi(2) - self.config.sigma_min.powi(2);
        1.0 / (1.0 / self.config.confinement + added)
    }

    /// `f` at one scale.
    fn network_at(&self, sigma: f64) -> Network {
        Network::Noised(self.net.clone(), self.magnification(sigma), self.place(sigma))
    }

    /// `∇U_σ` with a scale for every row, `(b, D)`, in the graph of the weights.
    pub(crate) fn gradient(&self, noised: &Tensor, sigma: &[f64]) -> Result<Tensor> {
        let row = |f: &dyn Fn(f64) -> f64| -> Result<Tensor> {
            let values = rows::tensor(sigma.iter().map(|s| f(*s)).collect(), noised.device())?;
            Ok(values.to_dtype(noised.dtype())?)
        };
        let (t, scale) = (row(&|s| self.place(s))?, row(&|s| self.magnification(s))?);
        let (_, slope) = input_gradient(&self.net.at(&t, None), &rows::scale(noised, &scale)?)?;
        let pull = rows::scale(noised, &row(&|s| self.confinement(s))?)?;
        Ok((rows::scale(&slope, &scale)? + pull)?)
    }

    /// `J` at every row and for both of its noises, `(2b,)`.
    pub(crate) fn rows(&self, u: &Tensor, sigma: &[f64], noise: &mut Noise) -> Result<Tensor> {
        let sigma: Vec<f64> = sigma.iter().chain(sigma).copied().collect();
        let scale = rows::tensor(sigma.clone(), u.device())?;
        let xi = noise.normal_like(u)?;
        let xi = Tensor::cat(&[&xi, &xi.neg()?], 0)?;
        let noised = (rows::tile(u, 2)? + rows::scale(&xi, &scale)?)?;
        let miss = (rows::scale(&self.gradient(&noised, &sigma)?, &scale)? - xi)?;
        Ok((miss.sqr()?.sum(D::Minus1)? * 0.5)?)
    }
}

impl Method for MultiScale {
    const INFO: ModelInfo = ModelInfo {
        name: "mdsm",
        family: Family::Ebm,
        summary: "neural energy of every scale of noise, trained by denoising, sampled by annealed Langevin",
        citation: "Li, Chen & Sommer (2019), arXiv:1910.07762; Song & Ermon (2019), arXiv:1907.05600",
    };

    fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let config: Config = config::read(table, "model")?;
        positive("sigma_min", config.sigma_min)?;
        let wider = config.sigma_max > config.sigma_min && config.sigma_max.is_finite();
        rule(wider, "sigma_max", "a number above sigma_min", config.sigma_max)?;
        count("hidden", config.hidden, 1 << 14)?;
        count("layers", config.layers, 1 << 14)?;
        count("time_features", config.time_features, 1 << 14)?;
        let net = TimeMlp::potential(
            TimeMlpConfig {
                inputs: spec.dims(),
                outputs: 1,
                width: config.hidden,
                layers: config.layers,
                time_features: config.time_features,
                classes: None,
                activation: activation(&config.activation)?,
                zero_last: true,
            },
            &params.group("main"),
        )?;
        Ok(Self { config, net })
    }

    fn network(&self, _: &Table, _: &DataSpec, _: &ParamStore) -> Result<Network> {
        Ok(self.network_at(self.config.sigma_min))
    }

    fn loss(&self, _: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)> {
        let (b, d) = u.dims2()?;
        let span = (self.config.sigma_max / self.config.sigma_min).ln();
        // Places in equal cells: every update sees all scales alike.
        let places = noise.uniforms(b).into_iter().enumerate().map(|(i, p)| (i as f64 + p) / b as f64);
        let sigma: Vec<f64> = places.map(|t| self.config.sigma_min * (t * span).exp()).collect();
        let loss = self.rows(u, &sigma, noise)?.mean_all()?;
        let learned = 0.5 * d as f64 - number(&loss)?;
        Ok((loss, vec![("explained", learned)]))
    }

    fn samplers(&self) -> &'static [SamplerInfo] {
        SAMPLERS
    }

    fn sampler<'a>(
        &'a self,
        energy: &'a NeuralEnergy,
        name: &str,
        options: &Table,
    ) -> Result<Box<dyn Sampler + 'a>> {
        if name != SAMPLERS[0].name {
            return sampling_free::from_base(energy, SAMPLERS, name, options);
        }
        let options: Options = config::read(options, "sample")?;
        if options.levels < 2 {
            return Err(Error::config("sample.levels", "an integer ≥ 2", options.levels));
        }
        Ok(Box::new(Annealed { method: self, energy, options }))
    }
}

#[derive(Deserialize)]
struct Options {
    /// Scales of the ladder.
    levels: usize,
    /// Moves on each.
    steps: usize,
}

/// Chains that follow the scales.
struct Annealed<'a> {
    method: &'a MultiScale,
    energy: &'a NeuralEnergy,
    options: Options,
}

impl Sampler for Annealed<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let (spec, params) = (self.energy.spec(), self.energy.params());
        let c = &self.method.config;
        let (mut parts, mut evaluations) = (Vec::new(), 0);
        for (_, n) in rows::pieces(draw.n, langevin::ROWS) {
            let xi = noise.normal((n, spec.dims()), params.dtype(), params.device())?;
            let mut u = (xi / self.method.confinement(c.sigma_max).sqrt())?;
            for level in 0..self.options.levels {
                let part = level as f64 / (self.options.levels - 1) as f64;
                let sigma = c.sigma_max * (c.sigma_min / c.sigma_max).powf(part);
                let landscape = Landscape {
                    network: self.method.network_at(sigma).frozen(),
                    scaling: self.energy.coordinates().scaling().clone(),
                    confinement: self.method.confinement(sigma),
                };
                let target = Counted::new(&landscape);
                u = self.walk(&target, &u, sigma, noise)?;
                evaluations += target.evaluations().examples;
            }
            parts.push(spec.clamp(&self.energy.coordinates().scaling().inverse(&u)?)?);
        }
        let x = match parts.is_empty() {
            true => Tensor::zeros((0, spec.dims()), params.dtype(), params.device())?,
            false => Tensor::cat(&parts, 0)?,
        };
        let x = x.reshape(spec.batch_shape(draw.n))?.detach();
        Ok(Samples { x, evaluations: evaluations / draw.n.max(1) as u64 })
    }
}

impl Annealed<'_> {
    fn walk(&self, target: &dyn Energy, u: &Tensor, sigma: f64, noise: &mut Noise) -> Result<Tensor> {
        let mut chains = Chains::at(target, u)?;
        // Where the noise alone decides, the energy bends as 1/σ².
        let mut log_step = (0.5 * sigma * sigma).ln();
        for i in 0..self.options.steps {
            let info = Mala::new(log_step.exp())?.step(target, &mut chains, noise)?;
            if 2 * i < self.options.steps {
                log_step += 4.0 * GAIN * (info.mean_acceptance() - TARGET_ACCEPTANCE);
            }
        }
        Ok(chains.x)
    }
}

#[cfg(test)]
mod tests;
