//! Does a model find other data less likely than its own? Out-of-distribution detection by its density.
//!
//! ```text
//! A = P(s(x) > s(y)) + ½ P(s(x) = s(y)),    x ~ own test rows,  y ~ other rows,  s = −U or log p
//! Â = 1/(mn) Σᵢⱼ [s(xᵢ) > s(yⱼ)] + ½ [s(xᵢ) = s(yⱼ)]
//! s.e.² = Var(V₁₀)/m + Var(V₀₁)/n,          V₁₀(xᵢ) = mean over y,  V₀₁(yⱼ) = mean over x
//! ```
//!
//! Two kinds of other rows need no data set: `uniform` ones, and `marginals`, where every dimension is that of another test
//! row: its law is right in each dimension, and nothing but how dimensions go together tells these rows apart.
//!
//! 1 is perfect, ½ is chance, and below ½ the model prefers the strangers: densities of images often do (Nalisnick et
//! al. 2019). An energy serves as well as a log-density, for log Z shifts both sides alike.
//!
//! Source: DeLong, DeLong & Clarke-Pearson (1988), Eq. 3–5, computed from ranks as in Sun & Xu (2014); Hendrycks & Gimpel
//! (2017), arXiv:1610.02136, for the measure.

use genzoo_core::{
    Batch, Better, DataSpec, Dataset, Density, Device, Error, Measurement, Model, Noise, Result, Table,
    Tensor,
};
use genzoo_numerics::rows;
use serde::Serialize;

use crate::likelihood::{self, Choice};

/// Area under the receiver operating characteristic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Auroc {
    /// `Â`.
    pub value: f64,
    /// One standard error; 0 where the two samples do not overlap at all.
    pub stderr: f64,
}

/// `Â` of scores that should be higher for `inside` than for `outside`.
///
/// # Errors
/// With fewer than two rows of either kind, or a score that is not a number.
pub fn auroc(inside: &[f64], outside: &[f64]) -> Result<Auroc> {
    let (m, n) = (inside.len(), outside.len());
    if m < 2 || n < 2 {
        return Err(Error::data("rows to tell apart", "at least 2 of each kind", format!("{m} and {n}")));
    }
    if inside.iter().chain(outside).any(|s| s.is_nan()) {
        return Err(Error::data("scores", "numbers", "NaN"));
    }
    let all: Vec<f64> = inside.iter().chain(outside).copied().collect();
    let (among_all, among_in, among_out) = (mid_ranks(&all), mid_ranks(inside), mid_ranks(outside));
    let of_in: Vec<f64> = (0..m).map(|i| (among_all[i] - among_in[i]) / n as f64).collect();
    let of_out: Vec<f64> = (0..n).map(|j| 1.0 - (among_all[m + j] - among_out[j]) / m as f64).collect();
    let value = of_in.iter().sum::<f64>() / m as f64;
    let spread = |v: &[f64]| {
        let k = v.len() as f64;
        v.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (k - 1.0) / k
    };
    Ok(Auroc { value, stderr: (spread(&of_in) + spread(&of_out)).sqrt() })
}

/// Ranks from 1; equal values share the mean of theirs.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = start as f64 + 0.5 * (group.len() + 1) as f64;
        group.iter().for_each(|&i| ranks[i] = rank);
        start += group.len();
    }
    ranks
}

/// The name of rows without structure, told apart beside every other data set.
pub const UNIFORM: &str = "uniform";

/// The name of rows whose dimensions are those of different test rows.
pub const MARGINALS: &str = "marginals";

/// What the names of these measurements begin with: `auroc uniform`.
pub const PREFIX: &str = "auroc ";

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// The other data.
    pub dataset: String,
    /// How well they are told apart.
    pub auroc: Auroc,
    /// Rows of the model's own test split.
    pub n_in: usize,
    /// Rows of the other data.
    pub n_out: usize,
}

/// What the scores are, and all comparisons.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `energy`, or the name of a likelihood.
    pub score: String,
    /// One entry per other data set, then the shuffled marginals and the uniform rows.
    pub detections: Vec<Detection>,
}

impl Report {
    /// As columns of a row.
    pub fn measurements(&self) -> Vec<(String, Measurement)> {
        let of = |d: &Detection| Measurement {
            value: Some(d.auroc.value),
            stderr: Some(d.auroc.stderr),
            n: d.n_out as u64,
            unit: "1".into(),
            better: Better::Higher,
            floor: None,
        };
        self.detections.iter().map(|d| (format!("{PREFIX}{}", d.dataset), of(d))).collect()
    }
}

/// Whether rows of `other` could be rows of `own`.
pub fn comparable(own: &DataSpec, other: &DataSpec) -> bool {
    own.shape == other.shape && own.space == other.space
}

/// Holds `model` against up to `n` test rows of `own`, of every set of `others`, of shuffled marginals, and of uniform rows
/// in the range of `own` (binary: fair coins).
///
/// # Errors
/// If another data set has another shape or space, or the model has neither an energy nor a likelihood.
pub fn detect(
    model: &dyn Model,
    own: &dyn Dataset,
    others: &[&dyn Dataset],
    n: usize,
    seed: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<Report> {
    let noise = Noise::new(seed).fork("ood");
    for other in others {
        let (a, b) = (own.spec(), other.spec());
        if !comparable(a, b) {
            let describe = |s: &DataSpec| format!("rows {:?} of {:?}", s.shape, s.space);
            let what = format!("other data '{}'", other.name());
            return Err(Error::data(what, describe(a), describe(b)));
        }
    }
    let scorer = Scorer::new(model, own, &mut noise.fork("density"))?;
    let rows = |data: &dyn Dataset| likelihood::test_rows(data, n, &mut noise.fork("rows").fork(data.name()));
    progress(own.name());
    let mine = rows(own)?;
    let inside = scorer.scores(&mine, &mut noise.fork("score"))?;
    let mut detections = Vec::new();
    let mut hold = |name: &str, batch: &Batch| -> Result<()> {
        progress(name);
        let outside = scorer.scores(batch, &mut noise.fork("score"))?;
        detections.push(Detection {
            dataset: name.to_string(),
            auroc: auroc(&inside, &outside)?,
            n_in: inside.len(),
            n_out: outside.len(),
        });
        Ok(())
    };
    for other in others {
        hold(other.name(), &rows(*other)?)?;
    }
    hold(MARGINALS, &marginals(&mine, &mut noise.fork(MARGINALS))?)?;
    hold(UNIFORM, &uniform(own.spec(), &mine, &mut noise.fork(UNIFORM))?)?;
    Ok(Report { score: scorer.name(), detections })
}

/// As many rows as `mine`, each dimension of which is shuffled among the rows.
fn marginals(mine: &Batch, noise: &mut Noise) -> Result<Batch> {
    let (n, x) = (mine.len(), mine.x.flatten_from(1)?);
    let d = x.dim(1)?;
    let values = rows::host(&x)?;
    let mut out = vec![0.0; n * d];
    for j in 0..d {
        for (i, from) in noise.permutation(n).into_iter().enumerate() {
            out[i * d + j] = values[from * d + j];
        }
    }
    let x = Tensor::from_vec(out, mine.x.shape(), &Device::Cpu)?.to_dtype(mine.x.dtype())?;
    Ok(Batch { x: x.to_device(mine.x.device())?, ..mine.clone() })
}

/// As many rows as `mine`, without structure: uniform in the range of the data, else in the box of `mine`.
fn uniform(spec: &DataSpec, mine: &Batch, noise: &mut Noise) -> Result<Batch> {
    let u = noise.uniform_like(&mine.x)?;
    let x = match spec.range {
        _ if spec.space.is_binary() => u.ge(0.5)?.to_dtype(u.dtype())?,
        Some((low, high)) => u.affine(high - low, low)?,
        None => {
            let (low, high) = (mine.x.min_keepdim(0)?, mine.x.max_keepdim(0)?);
            u.broadcast_mul(&(high - &low)?)?.broadcast_add(&low)?
        }
    };
    Ok(Batch { x, ..mine.clone() })
}

/// The model's word on a row.
enum Scorer<'a> {
    Energy(&'a dyn Model),
    Density(String, Box<dyn Density + 'a>),
}

/// Rows per call.
const ROWS: usize = 500;

impl<'a> Scorer<'a> {
    fn new(model: &'a dyn Model, data: &dyn Dataset, noise: &mut Noise) -> Result<Self> {
        if model.capabilities().energy.is_some() {
            return Ok(Self::Energy(model));
        }
        let infos = likelihood::methods(model);
        if infos.is_empty() {
            let message = "this model has neither an energy nor a likelihood to tell data apart by";
            return Err(Error::Unsupported(message.into()));
        }
        let choice = Choice::of(&Table::new(), &infos)?;
        let density = choice.open(model, data, noise)?;
        Ok(Self::Density(choice.name, density))
    }

    fn name(&self) -> String {
        match self {
            Self::Energy(_) => "energy".into(),
            Self::Density(name, _) => name.clone(),
        }
    }

    fn scores(&self, batch: &Batch, noise: &mut Noise) -> Result<Vec<f64>> {
        let mut out = Vec::with_capacity(batch.len());
        for start in (0..batch.len()).step_by(ROWS) {
            let piece = likelihood::slice(batch, start, ROWS.min(batch.len() - start))?;
            let values = match self {
                Self::Density(_, density) => density.log_prob(&piece, noise)?.values,
                Self::Energy(model) => match model.capabilities().energy {
                    Some(energy) => energy.energy(&piece.x)?.neg()?,
                    None => Tensor::zeros(piece.len(), genzoo_core::DType::F64, &Device::Cpu)?,
                },
            };
            out.extend(values.to_dtype(genzoo_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
