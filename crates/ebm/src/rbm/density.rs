//! `log p(x) = −F(v) − log Z`, with log Z by enumeration or by annealing.
//!
//! | name          | log Z                                                            | what it says of log p       |
//! |---------------|------------------------------------------------------------------|-----------------------------|
//! | `enumeration` | a sum over all states of a layer of at most 20 units             | exact                       |
//! | `sandwich`    | the middle between annealing forward and backward                | an estimate; half of their gap is its tolerance |
//! | `ais`         | annealed from independent units                                  | an upper bound, in mean     |
//!
//! Backward, chains start from states of the machine and are annealed to the independent units; in mean they then say more
//! than log Z, as forward ones say less. The states come from the persistent chains, or from the end of the forward
//! run, after `burn` more sweeps: they are draws of the machine only as far as those chains have mixed, so the two
//! together are an estimate and no bound. Weights worth fewer than ten independent ones are refused with the word
//! `ais_degenerate`.
//!
//! `path = "moments"` anneals through averages of moments instead of log-densities (see `averages`; binary units only),
//! to the same truth. Neither path is always the shorter one: on a machine of two patterns both cost the same.
//!
//! With a second hidden layer all of them give the lower bound of mean field (see `deep`), whatever they say of log Z.
//!
//! Source: Salakhutdinov & Murray (2008), §4.1; Burda, Grosse & Salakhutdinov (2015), arXiv:1412.8566, for the reverse.

use genzoo_core::{
    Batch, DType, Density, DensityInfo, Error, Evidence, Kind, LogProb, Noise, Result, Space, Table, config,
};
use genzoo_numerics::likelihood::ais::{Ais, AisEstimate, Ladder};
use genzoo_numerics::rows;
use serde::Deserialize;
use toml::toml;

use super::{Beta, Machine, Rbm, annealing_path, deep};

const ENUMERATION: DensityInfo = DensityInfo {
    name: "enumeration",
    summary: "log Z as a sum over all states of the smaller layer",
    defaults: Table::new,
};

const SANDWICH: DensityInfo = DensityInfo {
    name: "sandwich",
    summary: "log Z between annealing forward and backward; path: geometric, or moments of binary units",
    defaults: || {
        toml! {
            chains = 100
            temperatures = 10000
            path = "geometric"
            burn = 500
        }
    },
};

const AIS: DensityInfo = DensityInfo {
    name: "ais",
    summary: "log Z by annealed importance sampling: log p is overstated in mean; path: geometric, or moments of binary units",
    defaults: || {
        toml! {
            chains = 100
            temperatures = 10000
            path = "geometric"
        }
    },
};

/// Small machines change little along the path.
const SMALL: &[DensityInfo] = &[
    ENUMERATION,
    DensityInfo {
        defaults: || toml! { chains = 100 temperatures = 300 path = "geometric" burn = 100 },
        ..SANDWICH
    },
    DensityInfo { defaults: || toml! { chains = 100 temperatures = 300 path = "geometric" }, ..AIS },
];
const LARGE: &[DensityInfo] = &[SANDWICH, AIS];

/// Turns of mean field that complete a row.
const TURNS: usize = 50;
/// Rows of data that are judged at once.
const ROWS: usize = 2048;

pub(super) fn infos(enumerable: bool) -> &'static [DensityInfo] {
    if enumerable { SMALL } else { LARGE }
}

#[derive(Deserialize)]
struct Options {
    chains: usize,
    temperatures: usize,
    path: String,
    #[serde(default)]
    burn: usize,
}

/// The model's density, its log Z paid for.
pub(super) struct Normalised<'a> {
    model: &'a Rbm,
    machine: Machine, // f64
    evidence: Evidence,
    log_z: f64,
    log_z_error: f64,
}

impl<'a> Normalised<'a> {
    pub(super) fn new(model: &'a Rbm, name: &str, options: &Table, noise: &mut Noise) -> Result<Self> {
        let machine = model.machine()?;
        let infos = infos(machine.is_enumerable());
        if infos.iter().all(|d| d.name != name) {
            return Err(Error::unknown("likelihood", name, infos.iter().map(|d| d.name)));
        }
        let mut evidence = Evidence::new(Kind::Exact, name, model.spec.space);
        evidence.discrete = model.spec.space == Space::U8;
        let (log_z, log_z_error) = if name == ENUMERATION.name {
            (machine.log_z()?, 0.0)
        } else {
            let o: Options = config::read(options, "eval")?;
            let ladder = Ladder::Balanced(o.temperatures);
            let ais = Ais { chains: o.chains, ladder, pilot_chains: 32, ..Ais::default() };
            let kept = model.chains.target()?;
            let path = annealing_path(&o.path, &machine, kept.as_ref(), o.chains, &mut noise.fork("path"))?;
            if o.path != "geometric" {
                evidence.method = format!("{name}({})", o.path);
            }
            let forward = trusted(ais.estimate_bipartite(path.as_ref(), noise)?, &o)?;
            if name == AIS.name {
                evidence.kind = Kind::UpperBound;
                (forward.log_z, forward.standard_error)
            } else {
                let mut v = model.chains.target()?.unwrap_or(forward.x);
                for _ in 0..o.burn {
                    v = machine.sweep(&v, Beta::TARGET, noise)?;
                }
                let reverse = trusted(ais.reverse_bipartite(path.as_ref(), &v, noise)?, &o)?;
                evidence.kind = Kind::Estimate;
                evidence.tolerance = Some(0.5 * (reverse.log_z - forward.log_z).abs());
                let error = 0.5 * forward.standard_error.hypot(reverse.standard_error);
                (0.5 * (forward.log_z + reverse.log_z), error)
            }
        };
        let mut log_z_error = log_z_error;
        if model.config.second > 0 {
            // Mean field bounds log p from below; what log Z may be off is an error of the bound.
            evidence.kind = Kind::LowerBound;
            log_z_error = log_z_error.hypot(evidence.tolerance.take().unwrap_or(0.0));
        }
        Ok(Self { model, machine: machine.to_dtype(DType::F64)?, evidence, log_z, log_z_error })
    }
}

fn trusted(z: AisEstimate, o: &Options) -> Result<AisEstimate> {
    if !z.is_degenerate() {
        return Ok(z);
    }
    Err(Error::Unsupported(format!(
        "ais_degenerate: {} chains over {} temperatures are worth {:.1} independent weights, and 10 are needed; raise eval.temperatures",
        o.chains, o.temperatures, z.effective_sample_size
    )))
}

impl Density for Normalised<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let x = batch.x.to_dtype(DType::F64)?;
        let mut values = Vec::with_capacity(batch.len());
        for (start, n) in rows::pieces(x.dim(0)?, ROWS) {
            let part = x.narrow(0, start, n)?;
            let v = self.model.states(&self.machine, &part, TURNS)?;
            let mut log = (self.model.encoding.log_share(&part)? - self.machine.free_energy(&v)?)?;
            if self.model.config.second > 0 {
                let second = self.model.config.second;
                log = (log + deep::entropy(&v.narrow(1, v.dim(1)? - second, second)?)?)?;
            }
            values.extend(rows::host(&log)?.into_iter().map(|l| l - self.log_z));
        }
        Ok(LogProb { values: rows::tensor(values, batch.x.device())?, shared_error: self.log_z_error })
    }
}
