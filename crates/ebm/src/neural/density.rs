//! `log p(x) = −U(x) − log Z − Σ log s`, with log Z from a grid or from annealing, over the coordinates that are learned.
//!
//! | name         | where            | log Z                                             | kind of log p          |
//! |--------------|------------------|---------------------------------------------------|------------------------|
//! | `quadrature` | one or two dims  | trapezoidal rule on a grid refined until it agrees | estimate, with error   |
//! | `ais`        | any dimension    | annealed importance sampling from the base         | upper bound, in mean   |
//!
//! `E log Ẑ ≤ log Z`, so log p by annealing is overstated in mean. Weights worth fewer than ten independent ones
//! are refused with the word `ais_degenerate`: a bound that loose is no number.

use genzoo_core::capability::Energy;
use genzoo_core::{
    Batch, DType, Density, DensityInfo, Error, Evidence, Kind, LogProb, Noise, ParamStore, Result, Table,
    config,
};
use genzoo_numerics::likelihood::ais::{Ais, Ladder};
use genzoo_numerics::likelihood::quadrature::Quadrature;
use genzoo_numerics::{Gaussian, rows};
use serde::Deserialize;
use toml::toml;

use super::restart::base_scale;
use super::{Landscape, NeuralEnergy};

pub(crate) const QUADRATURE: DensityInfo = DensityInfo {
    name: "quadrature",
    summary: "log Z on a grid (one or two dimensions)",
    defaults: || {
        toml! {
            max_points = 300_000
        }
    },
};

pub(crate) const AIS: DensityInfo = DensityInfo {
    name: "ais",
    summary: "log Z by annealed importance sampling: log p is overstated in mean",
    defaults: || {
        toml! {
            chains = 64
            temperatures = 300
        }
    },
};

const PLANE: &[DensityInfo] = &[QUADRATURE, AIS];
const SPACE: &[DensityInfo] = &[AIS];

/// Rows of data that enter the network at once.
pub(crate) const ROWS: usize = 8192;
/// Half width, in standard deviations of the base, of the box where the search for the grid begins.
const REACH: f64 = 4.0;

/// The ways to a density over so many coordinates.
pub(crate) fn infos(dims: usize) -> &'static [DensityInfo] {
    if dims <= 2 { PLANE } else { SPACE }
}

/// The model's density, its log Z paid for.
pub(crate) struct Normalised<'a> {
    model: &'a NeuralEnergy,
    landscape: Landscape,
    evidence: Evidence,
    log_z: f64,
    log_z_error: f64,
}

impl<'a> Normalised<'a> {
    pub(crate) fn new(
        model: &'a NeuralEnergy,
        name: &str,
        options: &Table,
        noise: &mut Noise,
    ) -> Result<Self> {
        let infos = infos(model.dims());
        if infos.iter().all(|d| d.name != name) {
            return Err(Error::unknown("likelihood", name, infos.iter().map(|d| d.name)));
        }
        let (d, sd) = (model.dims(), base_scale(model.confinement));
        let z = LogZ::of(&model.landscape(), d, sd, &model.params, name, options, noise)?;
        Ok(Self::with(model, name, z))
    }

    /// The density with a log Z from elsewhere.
    pub(crate) fn with(model: &'a NeuralEnergy, name: &str, z: LogZ) -> Self {
        let mut evidence = Evidence::new(z.kind, name, model.spec.space);
        evidence.tolerance = z.tolerance;
        let landscape = model.landscape();
        Self { model, landscape, evidence, log_z: z.log_z, log_z_error: z.standard_error }
    }
}

/// `log ∫ e^{−U(u)} du`, and what it says.
pub(crate) struct LogZ {
    pub(crate) log_z: f64,
    pub(crate) standard_error: f64,
    /// How far discretisation may have moved it.
    pub(crate) tolerance: Option<f64>,
    /// Of the log p that it makes.
    pub(crate) kind: Kind,
}

impl LogZ {
    /// By the method `name` of [`infos`], for an energy over `(b, d)` whose mass lies about where `N(0, sd² I)` has it.
    pub(crate) fn of(
        target: &dyn Energy,
        d: usize,
        sd: f64,
        params: &ParamStore,
        name: &str,
        options: &Table,
        noise: &mut Noise,
    ) -> Result<Self> {
        if name == QUADRATURE.name {
            by_quadrature(target, d, sd, params, options)
        } else {
            by_annealing(target, d, sd, params, options, noise)
        }
    }
}

fn by_quadrature(
    target: &dyn Energy,
    d: usize,
    sd: f64,
    params: &ParamStore,
    options: &Table,
) -> Result<LogZ> {
    #[derive(Deserialize)]
    struct Options {
        max_points: usize,
    }
    let o: Options = config::read(options, "eval")?;
    if o.max_points < 20_000 {
        return Err(Error::config("eval.max_points", "an integer ≥ 20000", o.max_points));
    }
    let half = REACH * sd;
    let quadrature = Quadrature {
        tolerance: 1e-3,
        max_points: o.max_points,
        rows_at_once: ROWS,
        dtype: params.dtype(),
        device: params.device().clone(),
        ..Quadrature::around(&vec![(-half, half); d])
    };
    let z = quadrature.of_energy(target)?;
    Ok(LogZ { log_z: z.log_z, standard_error: 0.0, tolerance: Some(z.log_z_error), kind: Kind::Estimate })
}

fn by_annealing(
    target: &dyn Energy,
    d: usize,
    sd: f64,
    params: &ParamStore,
    options: &Table,
    noise: &mut Noise,
) -> Result<LogZ> {
    #[derive(Deserialize)]
    struct Options {
        chains: usize,
        temperatures: usize,
    }
    let o: Options = config::read(options, "eval")?;
    let base = Gaussian::diagonal(&vec![0.0; d], &vec![sd; d], params.dtype(), params.device())?;
    let ais = Ais {
        chains: o.chains,
        ladder: Ladder::Balanced(o.temperatures),
        pilot_chains: o.chains.clamp(1, 32),
        ..Ais::default()
    };
    let z = ais.estimate(target, &base, &[d], noise)?;
    if z.is_degenerate() {
        return Err(Error::Unsupported(format!(
            "ais_degenerate: {} chains over {} temperatures are worth {:.1} independent weights, and 10 are needed; raise eval.temperatures",
            o.chains, o.temperatures, z.effective_sample_size
        )));
    }
    Ok(LogZ { log_z: z.log_z, standard_error: z.standard_error, tolerance: None, kind: Kind::UpperBound })
}

impl Density for Normalised<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let x = batch.x.flatten_from(1)?.to_dtype(self.model.params.dtype())?;
        let coordinates = self.model.coordinates();
        let shift = coordinates.ladj() - self.log_z;
        let mut values = Vec::with_capacity(batch.len());
        for (start, n) in rows::pieces(x.dim(0)?, ROWS) {
            let (u, rest) = coordinates.split(&x.narrow(0, start, n)?)?;
            let energy = self.landscape.energy(&u)?.to_dtype(DType::F64)?;
            let energy = rows::host(&rest.map_or_else(|| Ok(energy.clone()), |rest| &energy + rest)?)?;
            values.extend(energy.into_iter().map(|e| shift - e));
        }
        Ok(LogProb { values: rows::tensor(values, batch.x.device())?, shared_error: self.log_z_error })
    }
}
