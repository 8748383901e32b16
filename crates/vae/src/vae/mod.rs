//! Variational autoencoder: a decoder of a normal code, trained with an encoder that guesses the code.
//!
//! ```text
//! log p(x) ≥ L(x) = E_{z ~ q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ N(0, I)),   z = μ(x) + σ(x) ⊙ ε
//! log p(x) ≥ L_k(x) = E log (1/k) Σ_i p(x|z_i) p(z_i)/q(z_i|x) ≥ L(x)                      "iwae"
//! ```
//!
//! | symbol   | shape          | meaning                                                              |
//! |----------|----------------|----------------------------------------------------------------------|
//! | `x`      | `(b, event…)`  | vectors, bytes or binary pixels                                      |
//! | `z`      | `(b, k)`       | code                                                                 |
//! | `μ, lv`  | `(b, k)` each  | mean and log-variance of `q(z|x)`                                    |
//! | `p(x|z)` |                | Gaussian with learned variance; discretised logistic; Bernoulli      |
//!
//! Source: Kingma & Welling (2013), arXiv:1312.6114, Eq. 3, 10 and appendix B; the bound with k samples is
//! Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, Eq. 8.
//! The loss is −L with one code per example; its weight on the divergence is 1 from the first step.

use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Draw, Entry, Error, Evidence, Family, Kind,
    LogProb, Model, ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Standardizer,
    StateDict, Stream, Table, Tensor, Turn, Update, config,
};
use genzoo_numerics::likelihood::iwae::ImportanceBound;
use serde::Deserialize;
use toml::toml;

use crate::gaussian;
use crate::networks::Networks;

/// The variational autoencoder in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8, Space::BinaryStatic, Space::BinaryDynamic],
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(Vae::new(table, build.spec, params)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "vae",
    family: Family::Vae,
    summary: "Gaussian encoder, learned likelihood, trained on the evidence lower bound",
    citation: "Kingma & Welling (2013), arXiv:1312.6114",
};

const SAMPLERS: &[SamplerInfo] = &[SamplerInfo {
    name: "prior",
    summary: "decodes normal codes; draw = \"likelihood\" draws from p(x|z), \"mean\" shows its centre",
    defaults: || {
        toml! { draw = "likelihood" }
    },
}];

const DENSITIES: &[DensityInfo] = &[
    DensityInfo {
        name: "iwae",
        summary: "importance-weighted lower bound with k codes per example",
        defaults: || {
            toml! { k = 64 }
        },
    },
    DensityInfo {
        name: "elbo",
        summary: "evidence lower bound, the mean of k codes per example",
        defaults: || {
            toml! { k = 1 }
        },
    },
];

#[derive(Deserialize)]
struct Config {
    latent: usize,
    hidden: usize,
    layers: usize,
    gain: f64,
}

fn defaults(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        toml! {
            [model]
            latent = 24
            hidden = 512
            layers = 2
            gain = 1.0
            [train]
            batch = 128
            lr = 2e-3
            schedule = "cosine"
            warmup = 100
            clip = 200.0
        }
    } else {
        toml! {
            [model]
            latent = 2
            hidden = 128
            layers = 2
            gain = 8.0
            [train]
            batch = 256
            lr = 5e-3
            beta2 = 0.99
            schedule = "cosine"
            warmup = 200
            clip = 50.0
        }
    }
}

fn tiny(_: &DataSpec) -> Table {
    toml! {
        [model]
        latent = 2
        hidden = 16
        layers = 1
        [train]
        batch = 32
    }
}

/// A variational autoencoder over vectors or images.
pub struct Vae {
    spec: DataSpec,
    params: ParamStore,
    networks: Networks,
    /// The same weights, seen without gradients.
    frozen: Networks,
}

impl Vae {
    /// Builds the networks for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        let c: Config = config::read(table, "model")?;
        for (key, value) in [("latent", c.latent), ("hidden", c.hidden)] {
            if value == 0 {
                return Err(Error::config(format!("model.{key}"), "an integer ≥ 1", value));
            }
        }
        if !(c.gain > 0.0 && c.gain.is_finite()) {
            return Err(Error::config("model.gain", "a number above 0", c.gain));
        }
        let networks = Networks::new(spec, c.latent, c.hidden, c.layers, c.gain, &params)?;
        Ok(Self { spec: spec.clone(), params, frozen: networks.frozen(), networks })
    }

    fn rescale(&mut self, scaling: Standardizer) {
        self.networks.scaling = scaling.clone();
        self.frozen.scaling = scaling;
    }
}

impl Model for Vae {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        self.networks.scaling.state()
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.rescale(Standardizer::load(&state, &self.spec)?);
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.rescale(Standardizer::fit(stream)?);
        Ok(())
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let model = &self.networks;
        let target = model.target(&batch.x)?; // (b, d)
        let (mu, lv) = model.encode(&target)?; // (b, k) each
        let z = gaussian::sample(&mu, &lv, noise)?;
        let recon = model.likelihood.log_prob(&model.outputs(&z)?, &target)?.neg()?.mean_all()?;
        let kl = gaussian::kl_to_standard(&mu, &lv)?.mean_all()?;
        let log = vec![("recon", number(&recon)? - model.ladj()), ("kl", number(&kl)?)];
        let loss = (recon + kl)?.affine(1.0, -model.ladj())?;
        Ok(Update::Minimise { loss, log })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        if SAMPLERS.iter().all(|s| s.name != name) {
            return Err(Error::unknown("sampler", name, SAMPLERS.iter().map(|s| s.name)));
        }
        let noisy = match options.get("draw").and_then(|v| v.as_str()) {
            Some("likelihood") => true,
            Some("mean") => false,
            other => {
                return Err(Error::config(
                    "sample.draw",
                    "\"likelihood\" or \"mean\"",
                    other.unwrap_or("nothing"),
                ));
            }
        };
        Ok(Box::new(Prior { model: self, noisy }))
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, options: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        let importance = match name {
            "iwae" => true,
            "elbo" => false,
            _ => {
                return Err(Error::unknown("likelihood", name, DENSITIES.iter().map(|d| d.name)));
            }
        };
        let k = match options.get("k").and_then(|v| v.as_integer()) {
            Some(k) if (1..=1_000_000).contains(&k) => k as usize,
            other => {
                return Err(Error::config(
                    "eval.k",
                    "an integer from 1 to 1000000",
                    other.map_or("nothing".to_string(), |k| k.to_string()),
                ));
            }
        };
        let mut evidence = Evidence::new(Kind::LowerBound, format!("{name}(k={k})"), self.spec.space);
        // The logistic gives probabilities of bytes, not a density of their dequantisation.
        evidence.discrete = self.spec.space == Space::U8;
        Ok(Box::new(Bound { networks: &self.frozen, importance, k, evidence }))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { decoder: Some(&self.frozen), encoder: Some(&self.frozen), ..Capabilities::default() }
    }
}

struct Prior<'a> {
    model: &'a Vae,
    noisy: bool,
}

impl Sampler for Prior<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let (networks, params) = (&self.model.frozen, &self.model.params);
        let k = genzoo_core::capability::Decoder::latent_dim(networks);
        let z = noise.normal((draw.n, k), params.dtype(), params.device())?;
        let output = networks.outputs(&z)?;
        let rows = if self.noisy {
            networks.likelihood.draw(&output, noise)?
        } else {
            networks.likelihood.mean(&output)?
        };
        Ok(Samples { x: networks.to_data(&rows)?, evaluations: 1 })
    }
}

struct Bound<'a> {
    networks: &'a Networks,
    importance: bool,
    k: usize,
    evidence: Evidence,
}

impl Density for Bound<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb> {
        let model = self.networks;
        let bound = ImportanceBound::new(self.k).estimate(model, model, &batch.x, noise)?;
        Ok(LogProb { values: if self.importance { bound.values } else { bound.elbo }, shared_error: 0.0 })
    }
}

fn number(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?.to_scalar()?)
}

#[cfg(test)]
mod tests;
