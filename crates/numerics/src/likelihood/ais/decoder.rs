//! log p(x) of latent-variable models: one annealing from prior to posterior for every row of data.
//!
//! ```text
//! U(z) = −log p(x|z) − log p(z),   base p(z) = N(0, I),   Z = p(x)
//! ```
//!
//! E log Ẑ ≤ log p(x): a lower bound, which more temperatures tighten. From (x, z) drawn together from the model, z is an
//! exact draw of the posterior of x, so a reverse run from z bounds log p(x) from above: on simulated data the gap
//! between both is measured, not guessed.
//! Source: Wu, Burda, Salakhutdinov & Grosse (2017), arXiv:1611.04273; Grosse, Ancha & Roy (2016), arXiv:1606.02275.

use candle_core::{DType, Tensor};
use genzoo_core::capability::{Decoder, Energy};
use genzoo_core::{Error, Noise, Result, math};

use super::estimate::DEGENERATE;
use super::pilot::Plan;
use super::run::acceptances;
use super::{Ais, Gaussian};
use crate::rows;
use crate::special::{Moments, effective_sample_size, log_mean_weight};

/// What annealing says of log p(x), row by row.
#[derive(Clone, Debug)]
pub struct EvidenceEstimate {
    /// `log p̂(x)`, nats: below log p(x) in mean forward, above it in reverse.
    pub values: Vec<f64>,
    /// Standard error of each by the delta method, from the spread over its chains.
    pub standard_errors: Vec<f64>,
    /// Effective sample size of each row's weights, at most the number of chains.
    pub effective_sample_sizes: Vec<f64>,
    /// Mean acceptance probability of the transitions.
    pub acceptance: f64,
    /// The lowest mean acceptance at any temperature.
    pub lowest_acceptance: f64,
    /// Number of temperatures of the last pilot, 0 not counted.
    pub rungs: usize,
    /// Evaluations of the decoder on a batch, the pilot runs included.
    pub evaluations: u64,
}

impl EvidenceEstimate {
    /// The mean over the rows of the effective sample sizes.
    pub fn mean_effective_sample_size(&self) -> f64 {
        Moments::of(&self.effective_sample_sizes).mean()
    }

    /// Whether the weights of a row are worth fewer than ten independent ones, on average: too few temperatures.
    pub fn is_degenerate(&self) -> bool {
        let mean = self.mean_effective_sample_size();
        mean.is_nan() || mean < DEGENERATE
    }
}

impl Ais {
    /// `log p(x)` of every row of `x`, `(b, event…)`, from `self.chains` chains each. Memory is bounded by
    /// `rows_at_once`; rows that enter together share temperatures and step sizes.
    ///
    /// # Errors
    /// If the settings make no sense, the decoder fails or is NaN somewhere on the way.
    pub fn evidence(&self, decoder: &dyn Decoder, x: &Tensor, noise: &mut Noise) -> Result<EvidenceEstimate> {
        self.rows(decoder, x, None, noise)
    }

    /// The bound from above: row i of `z`, `(b, k)`, must be an exact draw of the posterior of row i of `x`, as it is
    /// where z was drawn from the prior and x from p(x|z).
    ///
    /// # Errors
    /// As [`Ais::evidence`].
    pub fn reverse_evidence(
        &self,
        decoder: &dyn Decoder,
        x: &Tensor,
        z: &Tensor,
        noise: &mut Noise,
    ) -> Result<EvidenceEstimate> {
        if z.dims() != [x.dim(0)?, decoder.latent_dim()] {
            let want = format!("shape {:?}", [x.dim(0)?, decoder.latent_dim()]);
            return Err(Error::data("posterior draws", want, format!("{:?}", z.dims())));
        }
        self.rows(decoder, x, Some(z), noise)
    }

    /// `log p̂` of every row under each tempered likelihood `p(x|z)^β` on the way: the temperatures, and for each of them
    /// `log (1/n) Σ_chains w` of every row. One annealing, all rows at once.
    ///
    /// # Errors
    /// As [`Ais::evidence`].
    pub(crate) fn evidence_along(
        &self,
        decoder: &dyn Decoder,
        x: &Tensor,
        noise: &mut Noise,
    ) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
        self.check()?;
        let (b, d) = (x.dim(0)?, decoder.latent_dim());
        let (base, event) = (Gaussian::standard(d, x.dtype(), x.device())?, [d]);
        let plan = self.plan_rows(decoder, x, noise)?;
        let posterior = Posterior::new(decoder, x, self.chains)?;
        let mut along = vec![vec![0.0; b]];
        let mut watch = |_: usize, log_weights: &[f64]| {
            let of = |i: usize| log_weights.iter().skip(i).step_by(b).copied().collect::<Vec<f64>>();
            along.push((0..b).map(|i| log_mean_weight(&of(i)).0).collect());
        };
        self.along(&posterior, &base, &event, b, |path| {
            self.anneal(path, &plan, (self.chains * b, None), noise, &mut watch)
        })?;
        Ok((plan.betas, along))
    }

    /// Temperatures and steps for rows `x`, from a pilot run on the first of them: two chains each show the spread within
    /// rows.
    fn plan_rows(&self, decoder: &dyn Decoder, x: &Tensor, noise: &mut Noise) -> Result<Plan> {
        let d = decoder.latent_dim();
        let (base, event) = (Gaussian::standard(d, x.dtype(), x.device())?, [d]);
        let b = x.dim(0)?.min(self.pilot_chains / 2).max(1);
        let copies = self.pilot_chains.div_ceil(b).clamp(2, 64);
        let posterior = Posterior::new(decoder, &x.narrow(0, 0, b)?.contiguous()?, copies)?;
        let chains = if self.pilot_chains == 0 { 0 } else { copies * b };
        self.along(&posterior, &base, &event, b, |path| self.plan(path, chains, noise))
    }

    fn rows(
        &self,
        decoder: &dyn Decoder,
        x: &Tensor,
        z: Option<&Tensor>,
        noise: &mut Noise,
    ) -> Result<EvidenceEstimate> {
        self.check()?;
        if self.moments.is_some() {
            return Err(Error::config(
                "moments",
                "none: every row has a posterior of its own",
                "those of one law",
            ));
        }
        let d = decoder.latent_dim();
        let (base, event) = (Gaussian::standard(d, x.dtype(), x.device())?, [d]);
        let copies = self.chains.min(self.rows_at_once.max(1));
        let mut out = EvidenceEstimate {
            values: vec![],
            standard_errors: vec![],
            effective_sample_sizes: vec![],
            acceptance: f64::NAN,
            lowest_acceptance: f64::NAN,
            rungs: 0,
            evaluations: 0,
        };
        let (mut mean, mut lowest) = (Moments::default(), f64::NAN);
        for (start, b) in rows::pieces(x.dim(0)?, self.rows_at_once / copies) {
            let part = x.narrow(0, start, b)?.contiguous()?;
            let plan = self.plan_rows(decoder, &part, noise)?;
            out.rungs = plan.betas.len() - 1;
            out.evaluations += plan.evaluations;
            let mut log_weights = vec![Vec::with_capacity(self.chains); b];
            for (_, copies) in rows::pieces(self.chains, copies) {
                let posterior = Posterior::new(decoder, &part, copies)?;
                let exact = match z {
                    None => None,
                    Some(z) => Some(rows::tile(&z.narrow(0, start, b)?.contiguous()?, copies)?),
                };
                let annealed = self.along(&posterior, &base, &event, b, |path| {
                    self.anneal(path, &plan, (copies * b, exact.as_ref()), noise, &mut |_, _| ())
                })?;
                for (i, w) in annealed.log_weights.into_iter().enumerate() {
                    log_weights[i % b].push(w);
                }
                out.evaluations += annealed.evaluations;
                let (acceptance, low) = acceptances(&annealed.acceptance);
                mean.push(acceptance);
                lowest = low.min(lowest);
            }
            for weights in log_weights {
                let (value, error) = log_mean_weight(&weights);
                out.values.push(if z.is_some() { -value } else { value });
                out.standard_errors.push(error);
                out.effective_sample_sizes.push(effective_sample_size(&weights));
            }
        }
        (out.acceptance, out.lowest_acceptance) = (mean.mean(), lowest);
        Ok(out)
    }
}

/// `−log p(x|z) − log N(z; 0, I)` for copies of some rows, one below the other.
struct Posterior<'a> {
    decoder: &'a dyn Decoder,
    x: Tensor,
}

impl<'a> Posterior<'a> {
    fn new(decoder: &'a dyn Decoder, x: &Tensor, copies: usize) -> Result<Self> {
        Ok(Self { decoder, x: rows::tile(x, copies)? })
    }

    fn with_prior(&self, log_likelihood: &Tensor, z: &Tensor) -> Result<Tensor> {
        let prior = math::log_standard_normal(&z.to_dtype(DType::F64)?)?;
        Ok((log_likelihood.to_dtype(DType::F64)? + prior)?.neg()?)
    }
}

impl Energy for Posterior<'_> {
    fn energy(&self, z: &Tensor) -> Result<Tensor> {
        self.with_prior(&self.decoder.log_likelihood(&self.x, z)?, z)
    }

    fn energy_and_gradient(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (log_likelihood, gradient) = self.decoder.log_likelihood_and_gradient(&self.x, z)?;
        Ok((self.with_prior(&log_likelihood, z)?, (z - gradient.to_dtype(z.dtype())?)?))
    }
}
