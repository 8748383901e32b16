//! The energy that every neural model of this family learns: models differ in how they train it.
//!
//! ```text
//! U(x) = f(u) + ½κ‖u‖²,   u = (x − m)/s                     p(x) = e^{−U(x)} / Z
//! ```
//!
//! | symbol    | shape          | meaning                                                              |
//! |-----------|----------------|----------------------------------------------------------------------|
//! | `x`       | `(b, event…)`  | data; for images of bytes `x̃ = (k + u)/256`                          |
//! | `u`       | `(b, D)`       | standardised data, flat: statistics of the train rows per dimension   |
//! | `f`       | `(b,)`         | the network: a perceptron of `u`, or a convolutional net of the image, plain or residual |
//! | `κ`       |                | confinement: `f` grows at most linearly, so `Z` is finite             |
//!
//! The base is the law of the confinement alone, `N(0, I/κ)`: a Gaussian fitted to the data and widened by `1/√κ`.
//! Perceptrons and residual nets end in zeros, so there `p` starts as the base and draws of the base are exact draws of the first model.
//!
//! For images a model may learn data with Gaussian noise of standard deviation `smoothing` added: bytes have directions
//! without any spread, in which an energy would have to be infinitely steep. Likelihoods are those of this model at
//! the clean data, and pay for it. With `principal = k` above 0 an image enters by its first k principal coordinates, and
//! all other directions are Gaussian ([`coordinates`]): few dimensions, in which chains mix and weights live long.
//!
//! `norm_limit = λ > 0` keeps the operator norm of every layer at most λ: after each update a layer above it is scaled
//! back, so that `f` cannot become steeper than `gain · λ^layers` times the slope of its activations ([`residual`] says what
//! its blocks come to). The bound of the norm is a proven one ([`spectral_bound`]), where power iteration would give an
//! estimate from below; that of a convolution is the bound of its windows, times the root of how many overlap.
//!
//! Sources: Carbone, "Hitchhiker's guide on energy-based models", Assumption 2.1 (confinement); Miyato et al. (2018),
//! arXiv:1802.05957, for spectral norms, which it divides by inside the network; Gouk et al. (2021), arXiv:1804.04368,
//! for scaling back after the update, as here: what a run has learned stays a network without extra state.

pub(crate) mod coordinates;
pub(crate) mod density;
pub(crate) mod health;
pub(crate) mod langevin;
mod network;
pub(crate) mod recipe;
mod residual;
pub(crate) mod restart;
mod statistics;

pub(crate) use network::{Landscape, Network, activation, confining};
pub(crate) use statistics::Statistics;

use crate::settings::{not_negative, positive};
use coordinates::Coordinates;
use genzoo_core::capability::Energy;
use genzoo_core::nn::spectral_bound;
use genzoo_core::{
    Batch, DType, DataSpec, Error, Noise, ParamStore, Result, Space, StateDict, Stream, Table, Tensor, Turn,
    config,
};
use serde::Deserialize;

/// The spaces whose data have gradients to follow.
pub(crate) const SPACES: &[Space] = &[Space::Continuous, Space::U8];

/// The energy's own settings in the table `[model]`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Config {
    confinement: f64,
    smoothing: f64,
    /// Absent where there are no layers.
    #[serde(default)]
    norm_limit: f64,
    /// Of images alone.
    #[serde(default)]
    principal: usize,
}

/// The number of coordinates that an energy of these settings sees.
///
/// # Errors
/// If there are not so many.
pub(crate) fn dims(table: &Table, spec: &DataSpec) -> Result<usize> {
    #[derive(Deserialize)]
    struct Kept {
        #[serde(default)]
        principal: usize,
    }
    let Kept { principal } = config::read(table, "model")?;
    if principal >= spec.dims() {
        let want = format!("0, or a number of principal directions below {}", spec.dims());
        return Err(Error::config("model.principal", want, principal));
    }
    Ok(if principal == 0 { spec.dims() } else { principal })
}

/// The energy, its scaling and its parameters (one group, `main`).
pub(crate) struct NeuralEnergy {
    spec: DataSpec,
    params: ParamStore,
    network: Network,
    coordinates: Coordinates,
    confinement: f64,
    smoothing: f64,
    norm_limit: f64,
}

impl NeuralEnergy {
    /// The energy for data of this kind from the complete table `[model]`, of which it reads its own keys.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub(crate) fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        let network = Network::new(table, spec, &params)?;
        Self::with(network, table, spec, params)
    }

    /// The same around a network of another kind.
    ///
    /// # Errors
    /// As [`NeuralEnergy::new`].
    pub(crate) fn with(network: Network, table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        if spec.space.is_binary() {
            return Err(Error::Unsupported(
                "this model follows gradients of its energy, and binary data have none; use a data set of bytes or vectors"
                    .into(),
            ));
        }
        let c: Config = config::read(table, "model")?;
        positive("confinement", c.confinement)?;
        not_negative("smoothing", c.smoothing)?;
        not_negative("norm_limit", c.norm_limit)?;
        if c.principal > 0 && !matches!(network, Network::Vector(..)) {
            let want = "0: this energy is of whole images";
            return Err(Error::config("model.principal", want, c.principal));
        }
        dims(table, spec)?;
        let energy = Self {
            network,
            coordinates: Coordinates::identity(spec, c.principal)?,
            spec: spec.clone(),
            params,
            confinement: c.confinement,
            smoothing: c.smoothing,
            norm_limit: c.norm_limit,
        };
        energy.limit_norms()?;
        Ok(energy)
    }

    /// After an update: brings layers whose operator norm left the limit back to it.
    pub(crate) fn constrain(&self, turn: &Turn) -> Result<()> {
        if turn.group == "main" { self.limit_norms() } else { Ok(()) }
    }

    fn limit_norms(&self) -> Result<()> {
        if self.norm_limit == 0.0 {
            return Ok(());
        }
        for (name, var) in self.params.of_group("main") {
            if !name.ends_with("weight") {
                continue;
            }
            let weight = var.as_detached_tensor();
            let norm = match *weight.dims() {
                // Every pixel is seen through as many windows as overlap there.
                [outputs, _, height, width] => {
                    let stride = self.network.stride(&name);
                    let windows = height.div_ceil(stride) * width.div_ceil(stride);
                    spectral_bound(&weight.reshape((outputs, ()))?)? * (windows as f64).sqrt()
                }
                _ => spectral_bound(&weight)?,
            };
            if norm > self.norm_limit {
                var.set(&(weight * (self.norm_limit / norm))?)?;
            }
        }
        Ok(())
    }

    /// What the data are.
    pub(crate) fn spec(&self) -> &DataSpec {
        &self.spec
    }

    /// The parameters.
    pub(crate) fn params(&self) -> &ParamStore {
        &self.params
    }

    /// κ.
    pub(crate) fn confinement(&self) -> f64 {
        self.confinement
    }

    /// From data to `u`.
    pub(crate) fn coordinates(&self) -> &Coordinates {
        &self.coordinates
    }

    /// The number of coordinates, D unless only principal ones are learned.
    pub(crate) fn dims(&self) -> usize {
        self.coordinates.dims(&self.spec)
    }

    /// `U` over `u` with weights outside every graph: for moving chains and for judging.
    pub(crate) fn landscape(&self) -> Landscape {
        Landscape { network: self.network.frozen(), ..self.tracked() }
    }

    /// `U` over `u` with weights in the graph, its gradient too: for losses.
    pub(crate) fn tracked(&self) -> Landscape {
        Landscape {
            network: self.network.clone(),
            scaling: self.coordinates.scaling().clone(),
            confinement: self.confinement,
        }
    }

    /// `f(u)`, `(b, D) → (b,)`, in the graph of the weights. The confinement has no parameters: it is the same
    /// constant in every gradient.
    pub(crate) fn learned(&self, u: &Tensor) -> Result<Tensor> {
        self.network.forward(self.coordinates.scaling(), u)
    }

    /// `mean f(data) − mean f(walkers) + r · mean f²`, whose gradient is that of the cross-entropy if the walkers, with
    /// their `weights` `(n,)` of sum 1, are samples of the model; and the difference of the means. One pass for both.
    ///
    /// # Errors
    /// [`Error::Unstable`] when walkers have left the data, or energies blow up.
    pub(crate) fn contrast(
        &self,
        data: &Tensor,
        walkers: &Tensor,
        weights: Option<&Tensor>,
        regularisation: f64,
    ) -> Result<(Tensor, f64)> {
        health::check_walkers(walkers)?;
        let (b, n) = (data.dim(0)?, walkers.dim(0)?);
        let f = self.learned(&Tensor::cat(&[data, walkers], 0)?)?; // (b + n,)
        let (on_data, on_walkers) = (f.narrow(0, 0, b)?.mean_all()?, f.narrow(0, b, n)?);
        let on_walkers = match weights {
            None => on_walkers.mean_all()?,
            Some(w) => (on_walkers * w.to_dtype(f.dtype())?)?.sum_all()?,
        };
        let gap = (on_data - on_walkers)?;
        let loss = (&gap + (f.sqr()?.mean_all()? * regularisation)?)?;
        let gap = gap.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        health::check_gap(gap, self.dims())?;
        Ok((loss, gap))
    }

    /// The logits of a classifier's energy, `(b, K)`, in the graph of the weights.
    ///
    /// # Errors
    /// If the energy is not a classifier's.
    pub(crate) fn logits(&self, u: &Tensor) -> Result<Tensor> {
        self.network.logits(self.coordinates.scaling(), u)
    }

    /// Data as rows of `u`, smoothed if the model learns smoothed data.
    pub(crate) fn standardise(&self, batch: &Batch, noise: &mut Noise) -> Result<Tensor> {
        let x = batch.x.flatten_from(1)?.to_dtype(self.params.dtype())?;
        let x = match self.smoothing {
            0.0 => x,
            sd => (&x + (noise.normal_like(&x)? * sd)?)?,
        };
        self.coordinates.forward(&x)
    }

    /// Fits the coordinates to the first rows.
    pub(crate) fn prepare(&mut self, stream: &mut dyn Stream) -> Result<()> {
        self.coordinates.fit(stream, self.smoothing)
    }

    /// What must be saved beyond parameters.
    pub(crate) fn state(&self) -> Result<StateDict> {
        self.coordinates.state()
    }

    /// Restores what [`NeuralEnergy::state`] gave.
    pub(crate) fn set_state(&mut self, state: &StateDict) -> Result<()> {
        self.coordinates = self.coordinates.load(state, &self.spec)?;
        Ok(())
    }
}

/// `U(x)` over data; a density of `x` differs from `e^{−U}` by a constant factor only.
impl Energy for NeuralEnergy {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let (u, rest) = self.coordinates.split(&x.flatten_from(1)?)?;
        let energy = self.landscape().energy(&u)?;
        match rest {
            None => Ok(energy),
            Some(rest) => Ok((&energy + rest.to_dtype(energy.dtype())?)?),
        }
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let flat = x.flatten_from(1)?;
        let (_, gradient) = self.landscape().energy_and_gradient(&self.coordinates.forward(&flat)?)?;
        Ok((self.energy(x)?, self.coordinates.gradient(&flat, &gradient)?.reshape(x.shape())?))
    }
}

/// Data as vectors of `d` numbers: every dimension, pixels too, has its own statistics.
pub(crate) fn flat(d: usize, spec: &DataSpec) -> DataSpec {
    DataSpec { shape: vec![d], ..spec.clone() }
}

#[cfg(test)]
pub(crate) mod tests;
