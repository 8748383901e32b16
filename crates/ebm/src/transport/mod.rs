//! An energy that corrects a normalizing flow, trained and sampled by chains in the flow's latent.
//!
//! ```text
//! p(x) = q(x) e^{−f(x)} / Z,   Z = E_q e^{−f}               q the flow, f the energy's network
//! in the latent:  U(z) = ½‖z‖² + ½D log 2π + f(x(z))        the same Z
//! flow:    raise E_data log q
//! energy:  mean f(data) − mean f(x(walkers)) + r · mean f², whose gradient is that of −E_data log p in f
//! walkers: z ← N(0, I) by the Metropolis rule,  then z ← MALA_h(z)
//! ```
//!
//! | symbol  | shape         | meaning                                                                     |
//! |---------|---------------|-----------------------------------------------------------------------------|
//! | `x`     | `(b, event…)` | data: vectors, or images of bytes as `x̃ = (k + u)/256`                      |
//! | `y`     | `(b, D)`      | the chart's coordinates: standardised vectors, or standardised logits        |
//! | `z`     | `(b, D)`      | latent of the couplings, `log q(x) = log N(z) + log|det ∂z/∂x|` (group `flow`) |
//! | `f`     | `(b,)`        | perceptron of `y`, or convolutional net of the image (group `main`)          |
//!
//! Far modes of the data are near in the latent of a good flow, and thin directions are wide there: chains that would
//! never cross between digits in pixels mix, and independence proposals from the flow itself are taken often. The
//! model starts as its flow, and stays normalisable whatever `f` learns as long as it is bounded below on the flow's draws.
//!
//! Source: Nijkamp, Gao, Sountsov, Vasudevan, Pang, Zhu & Wu (2022), "MCMC should mix: learning energy-based model with
//! neural transport latent space MCMC", arXiv:2006.06897; Hoffman et al. (2019), arXiv:1903.03704, for chains in
//! the latent. There the flow is trained beforehand; here flow and energy learn side by side, in turns, and each
//! update of the energy sees the flow as it then is. Moves are Metropolis-adjusted.

mod chart;
mod latent;

use chart::Chart;
use genzoo_core::autograd::input_gradient;
use genzoo_core::capability::Energy;
use genzoo_core::math::log_standard_normal;
use genzoo_core::nn::{Couplings, CouplingsConfig};
use genzoo_core::{
    Batch, Capabilities, DType, DataSpec, Density, DensityInfo, Entry, Error, Evidence, Family, LogProb,
    Model, ModelInfo, Noise, ParamStore, Result, Sampler, SamplerInfo, Space, Standardizer, StateDict,
    Stream, Table, Tensor, Turn, Update, config,
};
use genzoo_numerics::rows;
use latent::{Latent, LatentLangevin, SAMPLERS};
use serde::Deserialize;
use toml::toml;

use crate::neural::density::{self, LogZ};
use crate::neural::health;
use crate::neural::{Network, flat, recipe};
use crate::pcd;
use crate::pcd::walkers::Walkers;
use crate::settings::{count, rule};

/// Neural transport in the registry.
pub const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8],
    defaults,
    tiny,
    build: |table, build| {
        let params = ParamStore::new(&build.noise, DType::F32, build.device);
        Ok(Box::new(NeuralTransport::new(table, build.spec, params, &build.noise)?))
    },
};

const INFO: ModelInfo = ModelInfo {
    name: "neural-transport",
    family: Family::Ebm,
    summary: "energy that corrects a flow, trained by chains in the flow's latent",
    citation: "Nijkamp et al. (2022), arXiv:2006.06897",
};

fn defaults(spec: &DataSpec) -> Table {
    if spec.image().is_some() {
        return toml! {
            [model]
            network = "mlp"
            channels = [16, 32]
            activation = "silu"
            regularisation = 1e-3
            walkers = 256
            chains = 64
            moves = 2
            step = 0.1
            restart = 1.0
            restart_rule = "metropolis"
            alpha = 1e-3
            couplings = 8
            flow_hidden = 256
            flow_layers = 2
            bound = 3.0
            [train]
            batch = 128
            lr = 2e-3
            schedule = "cosine"
            warmup = 50
            clip = 500.0
            ema = 0.99
            [train.main]
            lr = 1e-3
            clip = 10.0
        };
    }
    toml! {
        [model]
        network = "mlp"
        hidden = 128
        layers = 3
        gain = 3.0
        activation = "silu"
        regularisation = 1e-3
        walkers = 512
        chains = 512
        moves = 1
        step = 0.1
        restart = 1.0
        restart_rule = "metropolis"
        couplings = 6
        flow_hidden = 64
        flow_layers = 2
        bound = 2.0
        [train]
        batch = 512
        lr = 5e-3
        schedule = "cosine"
        clip = 10.0
        ema = 0.99
    }
}

fn tiny(spec: &DataSpec) -> Table {
    let own = if spec.image().is_some() {
        toml! { walkers = 16 chains = 8 couplings = 2 flow_hidden = 8 }
    } else {
        toml! { walkers = 64 chains = 64 couplings = 2 flow_hidden = 8 }
    };
    recipe::tiny(spec, own)
}

#[derive(Deserialize)]
struct FlowConfig {
    couplings: usize,
    flow_hidden: usize,
    flow_layers: usize,
    bound: f64,
    /// Of the logit; images alone have it.
    #[serde(default = "no_alpha")]
    alpha: f64,
}

fn no_alpha() -> f64 {
    1e-3
}

/// A flow, the energy that corrects it, and the walkers in the latent.
pub struct NeuralTransport {
    spec: DataSpec,
    params: ParamStore,
    chart: Chart,
    flow: Couplings,
    network: Network,
    seen: Standardizer,
    config: pcd::Config,
    walkers: Walkers,
}

impl NeuralTransport {
    /// Builds flow, network and walkers for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses data of one dimension, which have no two halves.
    pub fn new(table: &Table, spec: &DataSpec, params: ParamStore, noise: &Noise) -> Result<Self> {
        let c: FlowConfig = config::read(table, "model")?;
        for (key, value) in
            [("couplings", c.couplings), ("flow_hidden", c.flow_hidden), ("flow_layers", c.flow_layers)]
        {
            count(key, value, 4096)?;
        }
        rule(c.bound > 0.0 && c.bound <= 20.0, "bound", "a number in (0, 20]", c.bound)?;
        let dims = spec.dims();
        if dims < 2 {
            return Err(Error::Unsupported(
                "neural-transport couples two halves of the dimensions; these data have only one dimension"
                    .into(),
            ));
        }
        let sizes = CouplingsConfig {
            dims,
            couplings: c.couplings,
            hidden: c.flow_hidden,
            layers: c.flow_layers,
            bound: c.bound,
        };
        let flow = Couplings::new(&sizes, &params.group("flow"))?;
        let network = Network::new(table, spec, &params)?;
        let config: pcd::Config = config::read(table, "model")?;
        config.check()?;
        let walkers = Walkers::new(dims, 1.0, &config, &params, noise)?;
        let seen = Standardizer::identity(&flat(dims, spec))?;
        let chart = Chart::new(spec, c.alpha)?;
        Ok(Self { spec: spec.clone(), params, chart, flow, network, seen, config, walkers })
    }

    fn latent_of(&self, flow: Couplings, network: Network) -> Latent {
        let image = self.spec.image().is_some();
        Latent { flow, network, chart: self.chart.clone(), seen: self.seen.clone(), image }
    }

    /// With weights outside every graph: for moving chains and for judging.
    fn latent(&self) -> Latent {
        self.latent_of(self.flow.frozen(), self.network.frozen())
    }

    /// `−log q(x) + f(x)`, `(b,)`.
    fn energy_of(&self, latent: &Latent, x: &Tensor) -> Result<Tensor> {
        let (y, of_chart) = self.chart.forward(x)?;
        let (z, of_flow) = latent.flow.to_latent(&y)?;
        Ok((latent.learned(&y)? - (log_standard_normal(&z)? + of_flow)? - of_chart)?)
    }

    /// 1 for every row inside the chart, else 0.
    fn inside(&self, x: &Tensor) -> Result<Tensor> {
        let inside: Vec<u8> = self.chart.covers(x)?.into_iter().map(u8::from).collect();
        Ok(Tensor::from_vec(inside, x.dim(0)?, x.device())?)
    }

    /// `energy`, infinite where the chart ends.
    fn ended(&self, x: &Tensor, energy: &Tensor) -> Result<Tensor> {
        let beyond = energy.ones_like()?.affine(0.0, f64::INFINITY)?;
        rows::select(&self.inside(x)?, energy, &beyond)
    }

    fn flow_turn(&self, batch: &Batch) -> Result<Update> {
        let (y, of_chart) = self.chart.forward(&batch.x)?;
        let (z, ladj) = self.flow.to_latent(&y)?;
        let loss = (log_standard_normal(&z)? + ladj)?.mean_all()?.neg()?;
        let own = rows::host(&(&loss - of_chart.mean_all()?)?.unsqueeze(0)?)?[0];
        Ok(Update::Minimise { loss, log: vec![("flow_nll", own)] })
    }

    fn energy_turn(&mut self, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let frozen = self.latent();
        let acceptance = self.walkers.advance(&frozen, &self.config, &mut noise.fork("walkers"))?;
        let z = self.walkers.active(self.config.chains)?;
        self.walkers.next_window(self.config.chains);
        health::check_walkers(&z)?;
        let on_model = frozen.flow.to_data(&z)?.0.detach();
        let data = self.chart.forward(&batch.x)?.0;
        let (b, n) = (data.dim(0)?, on_model.dim(0)?);
        let tracked = self.latent_of(frozen.flow, self.network.clone());
        let f = tracked.learned(&Tensor::cat(&[&data, &on_model], 0)?)?; // (b + n,)
        let gap = (f.narrow(0, 0, b)?.mean_all()? - f.narrow(0, b, n)?.mean_all()?)?;
        let loss = (&gap + (f.sqr()?.mean_all()? * self.config.regularisation)?)?;
        let gap = rows::host(&gap.unsqueeze(0)?)?[0];
        health::check_gap(gap, self.spec.dims())?;
        let log = vec![("gap", gap), ("acceptance", acceptance), ("step", self.walkers.step())];
        Ok(Update::Minimise { loss, log })
    }
}

impl Model for NeuralTransport {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.chart.state()?;
        state.extend(self.walkers.state()?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.chart.load(&state)?;
        self.walkers.load(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.chart.fit(stream)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        vec![Turn::mini("flow"), Turn::mini("main")]
    }

    fn update(&mut self, turn: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        match turn.group {
            "flow" => self.flow_turn(batch),
            _ => self.energy_turn(batch, noise),
        }
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        let (latent, step) = (self.latent(), self.walkers.step());
        Ok(Box::new(LatentLangevin::new(latent, &self.spec, &self.params, step, name, options)?))
    }

    fn densities(&self) -> &[DensityInfo] {
        density::infos(self.spec.dims())
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        let infos = density::infos(self.spec.dims());
        if infos.iter().all(|d| d.name != name) {
            return Err(Error::unknown("likelihood", name, infos.iter().map(|d| d.name)));
        }
        let latent = self.latent();
        let z = LogZ::of(&latent, self.spec.dims(), 1.0, &self.params, name, options, noise)?;
        let mut evidence = Evidence::new(z.kind, name, self.spec.space);
        evidence.tolerance = z.tolerance;
        Ok(Box::new(Corrected { model: self, latent, z, evidence }))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { energy: Some(self), ..Capabilities::default() }
    }
}

/// `−log q + f`: a density of `x` differs from `e^{−U}` by the factor Z, near 1 while the flow is good. Where the chart
/// ends, so does the density: there U is infinite and its gradient is given as zero.
impl Energy for NeuralTransport {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.ended(x, &self.energy_of(&self.latent(), x)?.detach())
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let latent = self.latent();
        let (energy, gradient) =
            input_gradient(|x| self.energy_of(&latent, x).map_err(candle_core::Error::wrap), x)?;
        let flat = gradient.flatten_from(1)?;
        let inside = self.inside(x)?;
        let kept = rows::select(&inside, &flat, &flat.zeros_like()?)?.reshape(x.shape())?;
        Ok((self.ended(x, &energy)?, kept))
    }
}

/// `log p = log q − f − log Z`.
struct Corrected<'a> {
    model: &'a NeuralTransport,
    latent: Latent,
    z: LogZ,
    evidence: Evidence,
}

impl Density for Corrected<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let x = batch.x.to_dtype(self.model.params.dtype())?;
        let mut values = Vec::with_capacity(batch.len());
        for (start, n) in rows::pieces(x.dim(0)?, density::ROWS) {
            let energy = self.model.energy_of(&self.latent, &x.narrow(0, start, n)?)?;
            values.extend(rows::host(&energy.detach())?.into_iter().map(|e| -e - self.z.log_z));
        }
        let values = rows::tensor(values, batch.x.device())?;
        Ok(LogProb { values, shared_error: self.z.standard_error })
    }
}

#[cfg(test)]
mod tests;
