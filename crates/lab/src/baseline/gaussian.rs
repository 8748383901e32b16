//! `gaussian`: the normal with the mean and covariance of the training rows; for images of low rank.
//!
//! ```text
//! full          p(x) = N(x; m, S)                       S = 1/n Σ (x_i − m)(x_i − m)ᵀ
//! of rank q     p(x) = N(x; m, W Wᵀ + σ² I)             W = U_q (Λ_q − σ² I)^½,  σ² = mean of the other eigenvalues
//! ```
//!
//! | symbol    | shape            | meaning                                             |
//! |-----------|------------------|-----------------------------------------------------|
//! | `m`       | `(d,)`           | mean                                                |
//! | `U_q, Λ_q`| `(d, q)`, `(q,)` | first eigenvectors and eigenvalues of `S`           |
//!
//! Both are the maximum of the likelihood. The density of the second by the matrix inversion lemma, with
//! `M = Wᵀ W + σ² I` and `v = Wᵀ (x − m)`:
//!
//! ```text
//! −2 log p = (‖x − m‖² − vᵀ M⁻¹ v)/σ² + log|M| + (d − q) log σ² + d log 2π
//! ```
//! It is the density of `x` as the stream gives it, for bytes that of `(k + u)/256`; no scaling stands between.
//!
//! Source: Tipping & Bishop (1999), J. R. Statist. Soc. B 61, 611–622, eqs. 7 and 8.

use candle_core::{DType, Tensor};
use genzoo_core::{
    Batch, DataSpec, Density, DensityInfo, Draw, Entry, Error, Evidence, Family, Kind, LogProb, Model,
    ModelInfo, Need, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Stream, Table, Turn,
    Update, config, math,
};
use nalgebra::{DMatrix, SymmetricEigen};

use super::fitted::{self, collect, get, matrix, parameters, rows_of, set};

pub(super) const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8],
    defaults: |spec| {
        let mut table = toml::toml! {
            [model]
            rank = 0
            rows = 10000
            [train]
            steps = 1
        };
        if spec.image().is_some()
            && let Some(toml::Value::Table(model)) = table.get_mut("model")
        {
            model.insert("rank".into(), 64.into());
            model.insert("rows".into(), 5000.into());
        }
        table
    },
    tiny: |spec| {
        let mut table = toml::toml! {
            [model]
            rows = 300
        };
        if spec.image().is_some()
            && let Some(toml::Value::Table(model)) = table.get_mut("model")
        {
            model.insert("rank".into(), 8.into());
        }
        table
    },
    build: |table, build| Ok(Box::new(Gaussian::new(table, build.spec, &build.noise)?)),
};

const INFO: ModelInfo = ModelInfo {
    name: "gaussian",
    family: Family::Baseline,
    summary: "a normal with the mean and covariance of the data, of low rank for images",
    citation: "Tipping & Bishop (1999), J. R. Statist. Soc. B 61, 611-622",
};
const SAMPLERS: &[SamplerInfo] =
    &[SamplerInfo { name: "exact", summary: "independent draws", defaults: Table::new }];
const DENSITIES: &[DensityInfo] =
    &[DensityInfo { name: "closed-form", summary: "the formula of the normal", defaults: Table::new }];

struct Gaussian {
    spec: DataSpec,
    params: ParamStore,
    /// 0 for a full covariance.
    rank: usize,
    most: usize,
    rows: Vec<f64>,
}

impl Gaussian {
    fn new(table: &Table, spec: &DataSpec, noise: &Noise) -> Result<Self> {
        let (rank, most): (usize, usize) =
            (config::get(table, "rank", "model")?, config::get(table, "rows", "model")?);
        let d = spec.dims();
        if rank >= d {
            return Err(Error::config(
                "model.rank",
                format!("an integer below {d}, or 0 for a full covariance"),
                rank,
            ));
        }
        if rank == 0 && d > 1024 {
            return Err(Error::config("model.rank", format!("a rank ≥ 1 for {d} dimensions"), rank));
        }
        if most < 2 {
            return Err(Error::config("model.rows", "an integer ≥ 2", most));
        }
        let identity = Tensor::eye(d, DType::F64, &candle_core::Device::Cpu)?;
        let factor = if rank == 0 { identity } else { identity.narrow(1, 0, rank)?.contiguous()? };
        let first =
            [("mean", matrix(&vec![0.0; d], 1, d)?), ("factor", factor), ("noise", matrix(&[1.0], 1, 1)?)];
        // A full covariance has no noise beside its factor.
        let params = parameters(noise, if rank == 0 { &first[..2] } else { &first })?;
        Ok(Self { spec: spec.clone(), params, rank, most, rows: Vec::new() })
    }

    fn fit(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let d = self.spec.dims();
        let n = rows_of(&rows, INFO.name)?.len() / d;
        if n < 2 {
            return Err(Error::data("training rows", "at least 2", n));
        }
        let x = matrix(&rows, n, d)?;
        let mean = x.mean_keepdim(0)?;
        let centred = x.broadcast_sub(&mean)?;
        let covariance = (centred.t()?.contiguous()?.matmul(&centred)? / n as f64)?;
        let covariance = DMatrix::from_row_slice(d, d, &fitted::flat(&covariance)?);
        if self.rank == 0 {
            let lower = covariance.cholesky().ok_or_else(|| {
                let want = "rows that spread in every direction (or model.rank ≥ 1)";
                Error::data("the covariance of the training rows", want, "a singular matrix")
            })?;
            return set(&self.params, &[("mean", mean), ("factor", row_major(&lower.l())?)]);
        }
        let (factor, noise) = low_rank(covariance, self.rank)?;
        set(
            &self.params,
            &[("mean", mean), ("factor", row_major(&factor)?), ("noise", matrix(&[noise.sqrt()], 1, 1)?)],
        )
    }
}

fn row_major(m: &DMatrix<f64>) -> Result<Tensor> {
    matrix(m.transpose().as_slice(), m.nrows(), m.ncols())
}

/// W and σ² of the best model of rank `q`.
pub(super) fn low_rank(covariance: DMatrix<f64>, q: usize) -> Result<(DMatrix<f64>, f64)> {
    let d = covariance.nrows();
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let rest = order[q..].iter().map(|&i| eigen.eigenvalues[i]).sum::<f64>() / (d - q) as f64;
    if !(rest.is_finite() && rest > 0.0) {
        let want =
            format!("rows that spread in more than {q} directions; lower model.rank or raise model.rows");
        return Err(Error::data(
            "the covariance of the training rows",
            want,
            format!("a remaining variance of {rest}"),
        ));
    }
    let factor = DMatrix::from_fn(d, q, |i, j| {
        eigen.eigenvectors[(i, order[j])] * (eigen.eigenvalues[order[j]] - rest).max(0.0).sqrt()
    });
    Ok((factor, rest))
}

impl Model for Gaussian {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        self.rows = collect(stream, self.most)?;
        Ok(())
    }

    /// One closed form, in the first step.
    fn turns(&self, step: u64) -> Vec<Turn> {
        if step == 0 { vec![Turn { group: "main", need: Need::Nothing }] } else { Vec::new() }
    }

    fn update(&mut self, _: &Turn, _: &Batch, _: &mut Noise) -> Result<Update> {
        self.fit()?;
        Ok(Update::Done { log: vec![] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        match name {
            "exact" => Ok(Box::new(Normal::new(self)?)),
            other => Err(Error::unknown("sampler", other, ["exact"])),
        }
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        match name {
            "closed-form" => Ok(Box::new(Normal::new(self)?)),
            other => Err(Error::unknown("density", other, ["closed-form"])),
        }
    }
}

/// The fitted normal, ready for use.
struct Normal<'a> {
    spec: &'a DataSpec,
    evidence: Evidence,
    mean: Tensor,   // (1, d)
    factor: Tensor, // (d, d) lower triangular, or W (d, q)
    /// σ of the rest; `None` for a full covariance.
    rest: Option<f64>,
    /// What takes `x − m` (full) or `Wᵀ(x − m)` (low rank) to a standard normal: L⁻ᵀ of S or of M.
    whiten: Tensor,
    /// `−½ (log|covariance| + d log 2π)`
    constant: f64,
}

impl<'a> Normal<'a> {
    fn new(model: &'a Gaussian) -> Result<Self> {
        let d = model.spec.dims();
        let columns = if model.rank == 0 { d } else { model.rank };
        let factor = DMatrix::from_row_slice(d, columns, &get(&model.params, "factor")?);
        let (lower, rest, log_det) = if model.rank == 0 {
            let log_det = 2.0 * factor.diagonal().iter().map(|v| v.ln()).sum::<f64>();
            (factor.clone(), None, log_det)
        } else {
            let sigma = get(&model.params, "noise")?.first().copied().unwrap_or(f64::NAN);
            let m = factor.transpose() * &factor + DMatrix::identity(columns, columns) * (sigma * sigma);
            let lower = m.cholesky().map(|c| c.l()).ok_or_else(not_a_normal)?;
            let log_m = 2.0 * lower.diagonal().iter().map(|v| v.ln()).sum::<f64>();
            (lower, Some(sigma), log_m + 2.0 * (d - columns) as f64 * sigma.ln())
        };
        let identity = DMatrix::identity(columns, columns);
        let inverse = lower.solve_lower_triangular(&identity).ok_or_else(not_a_normal)?;
        if !log_det.is_finite() {
            return Err(not_a_normal());
        }
        Ok(Self {
            spec: &model.spec,
            evidence: Evidence::new(Kind::Exact, "closed_form", model.spec.space),
            mean: matrix(&get(&model.params, "mean")?, 1, d)?,
            factor: row_major(&factor)?,
            rest,
            whiten: row_major(&inverse.transpose())?,
            constant: -0.5 * log_det - d as f64 * math::HALF_LOG_TAU,
        })
    }
}

fn not_a_normal() -> Error {
    Error::data("weights", "the factor of a positive definite covariance", "another matrix")
}

impl Density for Normal<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let centred = batch.x.to_dtype(DType::F64)?.flatten_from(1)?.broadcast_sub(&self.mean)?;
        let squared = match self.rest {
            None => centred.matmul(&self.whiten)?.sqr()?.sum(1)?,
            Some(sigma) => {
                let inside = centred.matmul(&self.factor)?.matmul(&self.whiten)?.sqr()?.sum(1)?;
                ((centred.sqr()?.sum(1)? - inside)? / (sigma * sigma))?
            }
        };
        Ok(LogProb { values: squared.affine(-0.5, self.constant)?, shared_error: 0.0 })
    }
}

impl Sampler for Normal<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let (n, d) = (draw.n, self.spec.dims());
        let z = noise.normal((n, self.factor.dim(1)?), DType::F64, &candle_core::Device::Cpu)?;
        let mut x = z.matmul(&self.factor.t()?)?.broadcast_add(&self.mean)?;
        if let Some(sigma) = self.rest {
            x = (x + (noise.normal((n, d), DType::F64, &candle_core::Device::Cpu)? * sigma)?)?;
        }
        fitted::samples(fitted::flat(&x)?, n, self.spec)
    }
}
