//! The non-saturating GAN: a generator raises the logit that a critic gives its samples.
//!
//! ```text
//! critic, k times per step   min_D  E_x softplus(−D(x)) + E_z softplus(D(G(z))) + ½γ E_x ‖∇ₓD(x)‖²
//! generator, once            min_G  E_z softplus(−D(G(z)))
//! ```
//!
//! | symbol     | shape           | meaning                                                       |
//! |------------|-----------------|---------------------------------------------------------------|
//! | `x`        | `(b, event…)`   | data, scaled: standardised vectors, pixels as `2x − 1`        |
//! | `z`        | `(b, k)`        | standard normal code                                          |
//! | `G(z)`     | like `x`        | samples                                                       |
//! | `D(x)`     | `(b,)`          | logit of "this is data"                                       |
//! | `γ`        | number ≥ 0      | weight `r1` of the penalty; 0 leaves the original game        |
//!
//! Source: Goodfellow et al. (2014), arXiv:1406.2661, Algorithm 1 with −log D(G(z)) for the generator. The
//! penalty (Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406, Eq. 9) makes the game converge locally; the
//! original one circles.
//! There is no density. For binary data the critic compares pixels with the generator's probabilities.

use genzoo_core::capability::Critic as CriticCapability;
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, Draw, Entry, Error, Family, Model, ModelInfo, Need, Noise,
    ParamStore, PixelMap, Result, Sampler, SamplerInfo, Samples, Space, Standardizer, StateDict, Stream,
    Table, Tensor, Turn, Update, config,
};
use serde::Deserialize;
use toml::toml;

use crate::losses;
use crate::networks::{self, Critic, Generator};

/// The non-saturating GAN in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8, Space::BinaryStatic, Space::BinaryDynamic],
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(NsGan::new(table, build.spec, params)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "ns-gan",
    family: Family::Gan,
    summary: "generator and critic in a non-saturating game, with a zero-centred gradient penalty",
    citation: "Goodfellow et al. (2014), arXiv:1406.2661",
};

const SAMPLERS: &[SamplerInfo] = &[SamplerInfo {
    name: "generator",
    summary: "one pass of normal codes; binary pixels are drawn from its probabilities, or shown with draw = \"mean\"",
    defaults: || {
        toml! { draw = "likelihood" }
    },
}];

#[derive(Deserialize)]
struct Config {
    latent: usize,
    critic_steps: usize,
    r1: f64,
}

fn defaults(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        toml! {
            [model]
            latent = 32
            channels = 32
            levels = 2
            critic_steps = 1
            r1 = 0.1
            [train]
            batch = 64
            lr = 4e-4
            beta1 = 0.5
            ema = 0.995
            [train.critic]
            lr = 4e-4
        }
    } else {
        toml! {
            [model]
            latent = 4
            hidden = 128
            layers = 3
            critic_steps = 1
            r1 = 0.1
            [train]
            batch = 256
            lr = 1e-3
            beta1 = 0.5
            ema = 0.999
            schedule = "cosine"
            [train.critic]
            lr = 1e-3
        }
    }
}

fn tiny(spec: &DataSpec) -> Table {
    let model = if spec.image().is_some() {
        toml! { channels = 16 }
    } else {
        toml! {
            hidden = 16
            layers = 2
        }
    };
    let mut table = toml! {
        [train]
        batch = 32
    };
    table.insert("model".into(), model.into());
    table
}

/// A generator and its critic, over vectors or images.
pub struct NsGan {
    spec: DataSpec,
    params: ParamStore,
    config: Config,
    scaling: Standardizer,
    generator: Generator,
    critic: Critic,
    /// The same weights, seen without gradients.
    frozen: (Generator, Critic),
    /// Rows of the last critic turn: the generator answers with as many.
    rows: usize,
}

impl NsGan {
    /// Builds both networks for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        let c: Config = config::read(table, "model")?;
        for (key, value) in [("latent", c.latent), ("critic_steps", c.critic_steps)] {
            if !(1..=4096).contains(&value) {
                return Err(Error::config(format!("model.{key}"), "an integer from 1 to 4096", value));
            }
        }
        if c.r1 < 0.0 {
            return Err(Error::config("model.r1", "a number ≥ 0", c.r1));
        }
        let (g, d) = (params.group("generator"), params.group("critic"));
        let (generator, critic) = networks::build(table, spec, c.latent, &g, &d)?;
        Ok(Self {
            scaling: Standardizer::identity(spec)?,
            frozen: (generator.frozen(), critic.frozen()),
            spec: spec.clone(),
            params,
            config: c,
            generator,
            critic,
            rows: 0,
        })
    }

    /// Data as the networks see them.
    fn scale(&self, x: &Tensor) -> Result<Tensor> {
        match self.spec.image() {
            Some(_) => Ok(PixelMap::Centre.forward_and_ladj(x)?.0),
            None => self.scaling.forward(x),
        }
    }

    /// What the generator makes, as data.
    fn unscale(&self, y: &Tensor) -> Result<Tensor> {
        match self.spec.image() {
            // tanh may round to ±1 exactly; the map back then gives 0 or 1 exactly.
            Some(_) => Ok(PixelMap::Centre.inverse_and_ladj(y)?.0.clamp(0.0, 1.0)?),
            None => self.scaling.inverse(y),
        }
    }

    fn codes(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        noise.normal((n, self.config.latent), self.params.dtype(), self.params.device())
    }

    fn critic_turn(&mut self, x: &Tensor, noise: &mut Noise) -> Result<Update> {
        self.rows = x.dim(0)?;
        let fake = self.frozen.0.forward(&self.codes(self.rows, noise)?)?;
        let x = self.scale(x)?.detach();
        let (real, penalty) = if self.config.r1 > 0.0 {
            let (real, gradient) = self.critic.forward_and_gradient(&x)?;
            (real, Some(losses::gradient_penalty(&gradient)?))
        } else {
            (self.critic.forward(&x)?, None)
        };
        let game = losses::critic(&real, &self.critic.forward(&fake.detach())?)?;
        let mut log = vec![("critic_loss", number(&game)?)];
        let loss = match penalty {
            None => game,
            Some(p) => {
                log.push(("r1", number(&p)?));
                (game + p.affine(0.5 * self.config.r1, 0.0)?)?
            }
        };
        Ok(Update::Minimise { loss, log })
    }

    fn generator_turn(&self, noise: &mut Noise) -> Result<Update> {
        let fake = self.generator.forward(&self.codes(self.rows.max(1), noise)?)?;
        let loss = losses::generator(&self.frozen.1.forward(&fake)?)?;
        Ok(Update::Minimise { loss, log: vec![] })
    }
}

impl Model for NsGan {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        self.scaling.state()
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.scaling = Standardizer::load(&state, &self.spec)?;
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.scaling = Standardizer::fit(stream)?;
        Ok(())
    }

    /// The critic first, `critic_steps` times on fresh rows; the generator needs no data.
    fn turns(&self, _: u64) -> Vec<Turn> {
        let mut turns = vec![Turn::mini("critic"); self.config.critic_steps];
        turns.push(Turn { group: "generator", need: Need::Nothing });
        turns
    }

    fn update(&mut self, turn: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        match turn.group {
            "critic" => self.critic_turn(&batch.x, noise),
            _ => self.generator_turn(noise),
        }
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
        Ok(Box::new(OnePass { model: self, noisy }))
    }

    fn density(&self, name: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Err(Error::Unsupported(format!(
            "ns-gan has no likelihood (asked for '{name}'): its samples lie on a surface without a density"
        )))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { critic: Some(self), decoder: Some(self), ..Capabilities::default() }
    }
}

impl CriticCapability for NsGan {
    fn critic(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.frozen.1.forward(&self.scale(x)?)?.detach())
    }
}

struct OnePass<'a> {
    model: &'a NsGan,
    noisy: bool,
}

impl Sampler for OnePass<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let model = self.model;
        let y = model.frozen.0.forward(&model.codes(draw.n, noise)?)?.detach();
        let x = model.unscale(&y)?;
        let x = if self.noisy && model.spec.space.is_binary() { noise.bernoulli(&x)? } else { x };
        Ok(Samples { x, evaluations: 1 })
    }
}

fn number(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?.to_scalar()?)
}

mod decoder;

#[cfg(test)]
mod tests;
