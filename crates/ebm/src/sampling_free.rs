//! Models whose energy is learned from a loss alone, without chains.
//!
//! ```text
//! U_θ(u) = f_θ(u) + ½κ‖u‖²,   θ ← θ − η ∇_θ L(θ; data)
//! ```
//!
//! The loss is all that tells these models apart: a [`Method`]. What they share stands here: the neural energy, the
//! sampler (chains from the base, which never saw the data) and the densities by quadrature and annealing.
//! Losses see a [`Potential`], an energy whose values, slopes and curvatures are ordinary graphs over its weights; so
//! they can be judged on energies of one parameter as well.

use crate::neural::density::{self, Normalised};
use crate::neural::langevin::{self, Langevin, Legacy};
use crate::neural::{Landscape, Network, NeuralEnergy, recipe};
use genzoo_core::capability::Energy;
use genzoo_core::nn::Jet;
use genzoo_core::{
    Batch, Build, Capabilities, DType, DataSpec, Density, DensityInfo, Error, Model, ModelInfo, Noise,
    ParamStore, Result, Sampler, SamplerInfo, Scalars, StateDict, Stream, Table, Tensor, Turn, Update,
};

/// An energy in training: values and gradients are graphs over its weights, and so are second derivatives.
pub(crate) trait Potential: Energy {
    /// `U(u)`, `v·∇U` and `vᵀ∇²U v` at every row, each `(b,)`; `u` and `v` are `(b, D)`.
    fn jet(&self, u: &Tensor, v: &Tensor) -> Result<Jet>;
}

impl Potential for Landscape {
    fn jet(&self, u: &Tensor, v: &Tensor) -> Result<Jet> {
        let jet = self.network.jet(&self.scaling, u, v)?;
        let (along, square) = ((u * v)?.sum(1)?, v.sqr()?.sum(1)?);
        Ok(Jet {
            value: (&jet.value + crate::neural::confining(u, self.confinement)?)?,
            first: (&jet.first + (along * self.confinement)?)?,
            second: Some((jet.curvature()? + (square * self.confinement)?)?),
        })
    }
}

/// A loss, and what it keeps.
pub(crate) trait Method: Send + Sized {
    /// Who the model is.
    const INFO: ModelInfo;

    /// Reads its own keys of the complete table `[model]` and makes its own parameters.
    fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self>;

    /// Looks at data once; the energy's scaling is known by then.
    fn prepare(&mut self, _: &NeuralEnergy, _: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        Ok(())
    }

    /// What must be saved beyond parameters.
    fn state(&self) -> Result<StateDict> {
        Ok(StateDict::new())
    }

    /// Restores what [`Method::state`] gave.
    fn set_state(&mut self, _: &StateDict) -> Result<()> {
        Ok(())
    }

    /// The loss on rows `u`, `(b, D)`, a scalar; and what is worth logging.
    fn loss(&self, energy: &dyn Potential, u: &Tensor, noise: &mut Noise) -> Result<(Tensor, Scalars)>;

    /// The updates of a step; `main` moves the energy.
    fn turns(&self) -> Vec<Turn> {
        vec![Turn::mini("main")]
    }

    /// The loss of a turn other than `main`, which moves what is the method's own; the energy stands still.
    fn own_loss(&self, _: &Landscape, _: &Tensor, _: &mut Noise) -> Result<(Tensor, Scalars)> {
        Err(Error::Unsupported(format!("{} moves its energy alone", Self::INFO.name)))
    }

    /// The network of the energy, whose parameters join the method's own.
    fn network(&self, table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Network> {
        Network::new(table, spec, params)
    }

    /// Ways to draw samples.
    fn samplers(&self) -> &'static [SamplerInfo] {
        langevin::infos(None)
    }

    /// The sampler `name` of [`Method::samplers`].
    fn sampler<'a>(
        &'a self,
        energy: &'a NeuralEnergy,
        name: &str,
        options: &Table,
    ) -> Result<Box<dyn Sampler + 'a>> {
        from_base(energy, self.samplers(), name, options)
    }

    /// Densities beyond those that every neural energy has.
    fn densities(&self) -> &'static [DensityInfo] {
        &[]
    }

    /// The density `name` of [`Method::densities`].
    fn density<'a>(&'a self, _: &'a NeuralEnergy, name: &str) -> Result<Box<dyn Density + 'a>> {
        Err(Error::unknown("likelihood", name, []))
    }
}

/// Metropolis-adjusted Langevin chains from the base.
///
/// # Errors
/// If `infos` do not name it, or an option makes no sense.
pub(crate) fn from_base<'a>(
    energy: &'a NeuralEnergy,
    infos: &'static [SamplerInfo],
    name: &str,
    options: &Table,
) -> Result<Box<dyn Sampler + 'a>> {
    // An image of the base is never taken for one of the model: there restarts are not worth proposing.
    let legacy = Legacy { restarts: energy.spec().image().is_none(), ..Legacy::default() };
    Ok(Box::new(Langevin::new(energy, legacy, infos, name, options)?))
}

/// A neural energy and the loss that trains it.
pub(crate) struct SamplingFree<M> {
    pub(crate) energy: NeuralEnergy,
    pub(crate) method: M,
    densities: Vec<DensityInfo>,
}

/// Builds the model of a registry entry.
///
/// # Errors
/// Names the setting that cannot work.
pub(crate) fn build<M: Method + 'static>(table: &Table, build: Build<'_>) -> Result<Box<dyn Model>> {
    let params = ParamStore::new(&build.noise, DType::F32, build.device);
    Ok(Box::new(SamplingFree::<M>::new(table, build.spec, params)?))
}

impl<M: Method> SamplingFree<M> {
    /// Builds network and method for data of this kind from the complete table `[model]`.
    ///
    /// # Errors
    /// Names the setting that cannot work; refuses binary data, which have no gradient to follow.
    pub(crate) fn new(table: &Table, spec: &DataSpec, params: ParamStore) -> Result<Self> {
        let method = M::new(table, spec, &params)?;
        let network = method.network(table, spec, &params)?;
        let energy = NeuralEnergy::with(network, table, spec, params)?;
        let mut densities = density::infos(energy.dims()).to_vec();
        densities.extend(method.densities());
        Ok(Self { energy, method, densities })
    }
}

/// The defaults of a method: its own keys of `[model]` beside the energy's.
pub(crate) fn defaults(spec: &DataSpec, own: Table) -> Table {
    recipe::defaults(
        spec,
        own,
        if spec.image().is_some() {
            Table::new()
        } else {
            toml::toml! { lr = 5e-3 }
        },
    )
}

impl<M: Method> Model for SamplingFree<M> {
    fn info(&self) -> &ModelInfo {
        &M::INFO
    }

    fn params(&self) -> &ParamStore {
        self.energy.params()
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.energy.state()?;
        state.extend(self.method.state()?);
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.energy.set_state(&state)?;
        self.method.set_state(&state)
    }

    fn prepare(&mut self, stream: &mut dyn Stream, noise: &mut Noise) -> Result<()> {
        self.energy.prepare(stream)?;
        self.method.prepare(&self.energy, stream, noise)
    }

    fn turns(&self, _: u64) -> Vec<Turn> {
        self.method.turns()
    }

    fn update(&mut self, turn: &Turn, batch: &Batch, noise: &mut Noise) -> Result<Update> {
        let u = self.energy.standardise(batch, &mut noise.fork("smoothing"))?;
        let mut noise = noise.fork("loss");
        let (loss, log) = match turn.group {
            "main" => self.method.loss(&self.energy.tracked(), &u, &mut noise)?,
            _ => self.method.own_loss(&self.energy.landscape(), &u, &mut noise)?,
        };
        Ok(Update::Minimise { loss, log })
    }

    fn after(&mut self, turn: &Turn, _: &mut Noise) -> Result<Scalars> {
        self.energy.constrain(turn)?;
        Ok(Scalars::new())
    }

    fn samplers(&self) -> &[SamplerInfo] {
        self.method.samplers()
    }

    fn sampler(&self, name: &str, options: &Table) -> Result<Box<dyn Sampler + '_>> {
        self.method.sampler(&self.energy, name, options)
    }

    fn densities(&self) -> &[DensityInfo] {
        &self.densities
    }

    fn density(&self, name: &str, options: &Table, noise: &mut Noise) -> Result<Box<dyn Density + '_>> {
        if self.method.densities().iter().any(|d| d.name == name) {
            return self.method.density(&self.energy, name);
        }
        Ok(Box::new(Normalised::new(&self.energy, name, options, noise)?))
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { energy: Some(&self.energy), ..Capabilities::default() }
    }
}

/// A number as the log takes it.
pub(crate) fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

#[cfg(test)]
pub(crate) mod tests;
