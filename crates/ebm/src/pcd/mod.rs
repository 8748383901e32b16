//! A neural energy trained by persistent contrastive divergence.
//!
//! ```text
//! U(x) = f(u) + ½κ‖u‖²,   u = (x − m)/s                     p(x) = e^{−U(x)} / Z
//! −∇_θ E_data log p = E_data ∇_θ U − E_p ∇_θ U              the second mean is taken over walkers
//! loss = mean U(data) − mean U(walkers) + r · mean f²       over data and walkers alike
//! walkers: u ← MALA_h(u),  proposal u − h∇U + √(2h) ξ       temperature 1, k moves per update
//! ```
//!
//! | symbol    | shape          | meaning                                                              |
//! |-----------|----------------|----------------------------------------------------------------------|
//! | `x`       | `(b, event…)`  | data; for images of bytes `x̃ = (k + u)/256`                          |
//! | `u`       | `(b, D)`       | standardised data, flat: statistics of the train rows per dimension   |
//! | `f`       | `(b,)`         | the network: a perceptron of `u`, or a convolutional net of the image |
//! | `κ`       |                | confinement: `f` grows at most linearly, so `Z` is finite             |
//! | walkers   | `(n, D)`       | the persistent chains, kept from update to update and in checkpoints  |
//! | `α`       |                | probability that a walker is sent back to the base in an update       |
//!
//! The base is the law of the confinement alone, `N(0, I/κ)`: a Gaussian fitted to the data and widened by `1/√κ`.
//! The network ends in zeros, so `p` starts as the base and the first walkers are exact draws of the first model.
//!
//! Source: Tieleman (2008), "Training restricted Boltzmann machines using approximations to the likelihood
//! gradient"; Carbone, "Hitchhiker's guide on energy-based models", Algorithm 2 and Assumption 2.1 (confinement);
//! Du & Mordatch (2019), arXiv:1903.08689, §3 (buffer, regularised energies).
//!
//! Departures, each for a smaller bias of the walkers:
//! - Moves are Metropolis-corrected, so that the walkers' law is `p` at any step size. `h` follows the acceptance.
//! - For vectors a restart is itself a proposal, accepted with probability `min(1, e^{f(u) − f(base)})`: this leaves
//!   `p` invariant and carries mass between modes that local moves cannot connect. For images such a proposal would
//!   never be taken, so restarts are unconditional there, as in Algorithm 2, and rare.
//! - For images the model learns data with Gaussian noise of standard deviation `smoothing` added: bytes have
//!   directions without any spread, in which an energy would have to be infinitely steep. Likelihoods are those of
//!   this model at the clean data, and pay for it.
//! - The regulariser acts on the learned part `f`, not on the confinement.

mod density;
mod energy;
mod sampler;
mod walkers;

use energy::{Landscape, Network};
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Error, Family, Model, ModelInfo,
    Noise, ParamStore, Result, Sampler, SamplerInfo, Space, Standardizer, StateDict, Stream, Table, Tensor,
    Turn, Update, capability::Energy, config,
};
use serde::Deserialize;
use toml::toml;
use walkers::{Rule, Walkers};

/// Persistent contrastive divergence in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8],
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(Pcd::new(table, build.spec, params, &build.noise)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "pcd",
    family: Family::Ebm,
    summary: "neural energy trained with persistent Langevin walkers",
    citation: "Tieleman (2008); Du & Mordatch (2019), arXiv:1903.08689",
};

fn defaults(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        return toml! {
            [model]
            channels = [16, 32]
            confinement = 1.0
            regularisation = 1e-4
            smoothing = 0.03
            walkers = 256
            chains = 64
            moves = 20
            step = 0.02
            restart = 0.01
            restart_rule = "plain"
            [train]
            batch = 64
            lr = 1e-3
            schedule = "cosine"
            clip = 10.0
            ema = 0.99
        };
    }
    toml! {
        [model]
        hidden = 128
        layers = 3
        gain = 3.0
        confinement = 0.5
        regularisation = 1e-4
        smoothing = 0.0
        walkers = 512
        chains = 512
        moves = 2
        step = 0.05
        restart = 1.0
        restart_rule = "metropolis"
        [train]
        batch = 512
        lr = 1e-2
        schedule = "cosine"
        clip = 10.0
        ema = 0.99
    }
}

fn tiny(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        return toml! {
            [model]
            channels = [4, 8]
            walkers = 16
            chains = 8
            moves = 2
            [train]
            batch = 8
        };
    }
    toml! {
        [model]
        hidden = 16
        walkers = 64
        chains = 64
        moves = 2
        [train]
        batch = 64
    }
}

/// What both networks need.
#[derive(Clone, Debug, Deserialize)]
struct Config {
    confinement: f64,
    regularisation: f64,
    smoothing: f64,
    walkers: usize,
    chains: usize,
    moves: usize,
    step: f64,
    restart: f64,
    restart_rule: Rule,
}

impl Config {
    fn check(&self) -> Result<()> {
        let rule = |ok: bool, key: &str, want: &str, got: String| {
            if ok {
                return Ok(());
            }
            Err(Error::config(format!("model.{key}"), want, got))
        };
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        rule(
            positive(self.confinement),
            "confinement",
            "a number above 0 (or Z is infinite)",
            self.confinement.to_string(),
        )?;
        rule(
            not_negative(self.regularisation),
            "regularisation",
            "a number ≥ 0",
            self.regularisation.to_string(),
        )?;
        rule(not_negative(self.smoothing), "smoothing", "a number ≥ 0", self.smoothing.to_string())?;
        rule(positive(self.step), "step", "a number above 0", self.step.to_string())?;
        rule(
            (0.0..=1.0).contains(&self.restart),
            "restart",
            "a probability from 0 to 1",
            self.restart.to_string(),
        )?;
        rule(self.moves > 0, "moves", "an integer ≥ 1", self.moves.to_string())?;
        rule(self.chains > 0, "chains", "an integer ≥ 1", self.chains.to_string())?;
        rule(
            self.walkers >= self.chains
                && self.walkers.is_multiple_of(self.chains)
                && self.walkers <= 1 << 20,
            "walkers",
            &format!("a multiple of chains = {}, at most 1048576", self.chains),
            self.walkers.to_string(),
        )
    }
}

/// A neural energy and its walkers.
pub struct Pcd {
    spec: DataSpec,
    config: Config,
    params: ParamStore,
    network: Network,
    scaling: Standardizer,
    walkers: Walkers,
}

impl Pcd {
    /// Builds network and walkers for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        if spec.space.is_binary() {
            return Err(Error::Unsupported(
                "pcd moves its walkers along gradients, and binary data have none; use a data set of bytes or vectors"
                    .into(),
            ));
        }
        let config: Config = config::read(table, "model")?;
        config.check()?;
        let network = Network::new(table, spec, &params)?;
        let walkers = Walkers::new(spec.dims(), &config, &params, noise)?;
        Ok(Self {
            scaling: Standardizer::identity(&flat(spec))?,
            spec: spec.clone(),
            config,
            params,
            network,
            walkers,
        })
    }

    /// The energy over `u` with weights outside every graph.
    fn landscape(&self) -> Landscape {
        Landscape {
            network: self.network.frozen(),
            scaling: self.scaling.clone(),
            confinement: self.config.confinement,
        }
    }

    /// Data as rows of `u`, smoothed if the model learns smoothed data.
    fn standardise(&self, x: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let x = x.flatten_from(1)?.to_dtype(self.params.dtype())?;
        let x = match self.config.smoothing {
            0.0 => x,
            sd => (&x + (noise.normal_like(&x)? * sd)?)?,
        };
        self.scaling.forward(&x)
    }
}

/// The data as vectors: every dimension, pixels too, has its own statistics.
fn flat(spec: &DataSpec) -> DataSpec {
    DataSpec { shape: vec![spec.dims()], ..spec.clone() }
}

impl Model for Pcd {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.scaling.state()?;
        state.extend(self.walkers.state()?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.scaling = Standardizer::load(&state, &flat(&self.spec))?;
        self.walkers.load(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        let rows = stream.epoch().map_or(Standardizer::ROWS, |e| Standardizer::ROWS.min(e as usize));
        let x = stream.next(rows.max(2))?.x.flatten_from(1)?.to_dtype(DType::F64)?;
        let mean = x.mean(0)?;
        // Smoothing adds its variance; without it a dimension that never varies is left unscaled.
        let variance = (x.broadcast_sub(&mean)?.sqr()?.mean(0)? + self.config.smoothing.powi(2))?;
        let sd = variance.to_vec1::<f64>()?.into_iter().map(|v| if v > 1e-12 { v.sqrt() } else { 1.0 });
        self.scaling = Standardizer::new(mean.to_vec1()?, sd.collect(), &flat(&self.spec))?;
        Ok(())
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    fn update(&mut self, _: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let landscape = self.landscape();
        let acceptance = self.walkers.advance(&landscape, &self.config, &mut noise.fork("walkers"))?;
        let data = self.standardise(&batch.x, &mut noise.fork("smoothing"))?; // (b, D)
        let walkers = self.walkers.active(self.config.chains)?; // (n, D), as they now stand
        let (b, n) = (data.dim(0)?, walkers.dim(0)?);
        // One pass for both: f of data, then f of walkers.
        let f = self.network.forward(&self.scaling, &Tensor::cat(&[&data, &walkers], 0)?)?; // (b + n,)
        let on_data = f.narrow(0, 0, b)?.mean_all()?;
        let on_walkers = f.narrow(0, b, n)?.mean_all()?;
        let regulariser = (f.sqr()?.mean_all()? * self.config.regularisation)?;
        let gap = (&on_data - &on_walkers)?;
        // The confinement has no parameters; it is the same constant in every gradient and is left out.
        let loss = (&gap + regulariser)?;
        let log = vec![
            ("gap", gap.to_dtype(DType::F64)?.to_scalar::<f64>()?),
            ("acceptance", acceptance),
            ("step", self.walkers.step()),
        ];
        self.walkers.next_window(self.config.chains);
        Ok(Update::Minimise { loss, log })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        sampler::infos(&self.spec)
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        Ok(Box::new(sampler::Langevin::new(self, name, options)?))
    }

    fn densities(&self) -> &[DensityInfo] {
        density::infos(&self.spec)
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        Ok(Box::new(density::Normalised::new(self, name, options, noise)?))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { energy: Some(self), ..Capabilities::default() }
    }
}

/// `U(x)` over data; a density of `x` differs from `e^{−U}` by a constant factor only.
impl Energy for Pcd {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.landscape().energy(&self.scaling.forward(&x.flatten_from(1)?)?)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let u = self.scaling.forward(&x.flatten_from(1)?)?;
        let (energy, gradient) = self.landscape().energy_and_gradient(&u)?;
        Ok((energy, self.scaling.gradient(&gradient)?.reshape(x.shape())?))
    }
}

#[cfg(test)]
mod tests;
