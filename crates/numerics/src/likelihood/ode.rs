//! Log-likelihood along a velocity field: the instantaneous change of variables.
//!
//! ```text
//! dx/dt = v(x, t),   log p_0(x_0) = log p_1(x_1) + ∫_0^1 ∇·v(x_t, t) dt
//! exact       ∇·v = Σ_i e_iᵀ (∂v/∂x) e_i                   d vector–Jacobian products
//! Hutchinson  ∇·v = E εᵀ (∂v/∂x) ε,  ε_i = ±1 or N(0, 1)    K probes, each kept along its whole trajectory
//! ```
//!
//! Source: Chen et al. (2018), arXiv:1806.07366, Eq. 8; Grathwohl et al. (2019), arXiv:1810.01367, Eq. 7–8;
//! Song et al. (2021), arXiv:2011.13456, Eq. 39. Time here runs from data (0) to noise (1).
//! The error of a probe is independent between examples, so the spread of the values over a test set contains it.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Velocity;
use genzoo_core::{Error, LogProb, Noise, Result, math};

use crate::ode::{Control, Scheme, integrate};
use crate::rows;

/// How the divergence is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// One vector–Jacobian product per dimension.
    Exact,
    /// The mean over this many probes.
    Hutchinson(usize, Probe),
}

/// The law of the probes: independent coordinates with mean 0 and variance 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// ±1: exact on the diagonal of the Jacobian, so never of larger variance than a Gaussian.
    Rademacher,
    /// N(0, 1).
    Gaussian,
}

impl Probe {
    /// The name used in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rademacher => "rademacher",
            Self::Gaussian => "gaussian",
        }
    }

    fn like(self, x: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        match self {
            Self::Rademacher => noise.rademacher_like(x),
            Self::Gaussian => noise.normal_like(x),
        }
    }
}

impl std::str::FromStr for Probe {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::Rademacher, Self::Gaussian];
        let found = all.into_iter().find(|probe| probe.name() == name);
        found.ok_or_else(|| Error::unknown("probe", name, all.map(Self::name)))
    }
}

impl Divergence {
    /// Exact up to three dimensions, `probes` Hutchinson probes beyond.
    pub fn for_dimension(d: usize, probes: usize, law: Probe) -> Self {
        if d <= 3 { Self::Exact } else { Self::Hutchinson(probes, law) }
    }
}

/// What to integrate, and how.
#[derive(Clone, Copy, Debug)]
pub struct OdeLikelihood {
    /// Solver and step control.
    pub scheme: Scheme,
    /// How the divergence is found.
    pub divergence: Divergence,
    /// Time of the data, 0 unless the velocity is singular there.
    pub data_time: f64,
    /// Time of the base, 1.
    pub base_time: f64,
    /// Most rows that enter the network at once, probes and dimensions counted. The rows of one piece share their
    /// adaptive steps, so a result may change with it within the tolerance.
    pub rows_at_once: usize,
}

impl Default for OdeLikelihood {
    /// Dopri5 at 1e-5, exact divergence, from 0 to 1.
    fn default() -> Self {
        Self {
            scheme: Scheme::adaptive(1e-5, 1e-5),
            divergence: Divergence::Exact,
            data_time: 0.0,
            base_time: 1.0,
            rows_at_once: 16_384,
        }
    }
}

/// Log-densities and what is known of their error.
#[derive(Clone, Debug)]
pub struct OdeEstimate {
    /// `log p_0(x)`, `(b,)` in `f64`, nats.
    pub values: Tensor,
    /// Standard error of each value from its probes, `(b,)` in `f64`; present with at least two probes.
    pub probe_error: Option<Tensor>,
    /// The ends of the trajectories at the base, shaped like the data.
    pub latents: Tensor,
    /// Calls of the right-hand side, summed over the pieces.
    pub evaluations: u64,
}

impl OdeEstimate {
    /// The values as the contract's type; rows share no error.
    pub fn into_log_prob(self) -> LogProb {
        LogProb { values: self.values, shared_error: 0.0 }
    }
}

impl OdeLikelihood {
    /// The same with half the step, or half the tolerance.
    pub fn halved(&self) -> Self {
        let control = match self.scheme.control {
            Control::Steps(n) => Control::Steps(2 * n),
            Control::Tolerance { rtol, atol, max_steps } => {
                Control::Tolerance { rtol: 0.5 * rtol, atol: 0.5 * atol, max_steps }
            }
        };
        Self { scheme: Scheme { control, ..self.scheme }, ..*self }
    }

    /// `log p_0(x)` with the base N(0, I).
    pub fn log_prob(&self, velocity: &dyn Velocity, x: &Tensor, noise: &mut Noise) -> Result<OdeEstimate> {
        self.log_prob_with(velocity, &|z| Ok(math::log_standard_normal(&z.to_dtype(DType::F64)?)?), x, noise)
    }

    /// `log p_0(x)` with a base given by its log-density, `(b, event…)` to `(b,)`.
    ///
    /// # Errors
    /// If the velocity fails, its shape is not that of `x`, or the solver cannot meet its tolerance.
    pub fn log_prob_with(
        &self,
        velocity: &dyn Velocity,
        base: &dyn Fn(&Tensor) -> Result<Tensor>,
        x: &Tensor,
        noise: &mut Noise,
    ) -> Result<OdeEstimate> {
        let b = x.dim(0)?;
        let d = x.elem_count() / b.max(1);
        let copies = match self.divergence {
            Divergence::Exact => d,
            Divergence::Hutchinson(0, _) => return Err(Error::config("probes", "at least 1", 0)),
            Divergence::Hutchinson(probes, _) => probes,
        };
        if b == 0 {
            return Err(Error::data("rows", "at least 1", 0));
        }
        let (mut values, mut errors, mut latents, mut evaluations) = (vec![], vec![], vec![], 0);
        for (start, rows) in rows::pieces(b, self.rows_per_piece(d)) {
            let piece =
                self.piece(velocity, base, &x.narrow(0, start, rows)?.contiguous()?, copies, noise)?;
            values.push(piece.values);
            errors.extend(piece.probe_error);
            latents.push(piece.latents);
            evaluations += piece.evaluations;
        }
        let probe_error = if errors.is_empty() { None } else { Some(Tensor::cat(&errors, 0)?) };
        Ok(OdeEstimate {
            values: Tensor::cat(&values, 0)?,
            probe_error,
            latents: Tensor::cat(&latents, 0)?,
            evaluations,
        })
    }

    /// Rows of `d` numbers that are integrated together.
    pub(super) fn rows_per_piece(&self, d: usize) -> usize {
        let copies = match self.divergence {
            Divergence::Exact => d,
            Divergence::Hutchinson(probes, _) => probes,
        };
        (self.rows_at_once / copies.max(1)).max(1)
    }

    fn piece(
        &self,
        velocity: &dyn Velocity,
        base: &dyn Fn(&Tensor) -> Result<Tensor>,
        x: &Tensor,
        copies: usize,
        noise: &mut Noise,
    ) -> Result<OdeEstimate> {
        let b = x.dim(0)?;
        let tiled = rows::tile(x, copies)?; // (copies·b, event…)
        let (probes, estimates) = match self.divergence {
            Divergence::Exact => (unit_vectors(x)?, 1),
            Divergence::Hutchinson(_, law) => (law.like(&tiled, noise)?, copies),
        };
        let rhs = |t: f64, (x, _): &(Tensor, Tensor)| {
            let tiled = rows::tile(x, copies)?;
            let (v, product) = velocity.velocity_vjp(&tiled, &rows::time(t, &tiled)?, &probes)?;
            if v.dims() != tiled.dims() || product.dims() != tiled.dims() {
                return Err(Error::data(
                    "velocity",
                    format!("shape {:?}", tiled.dims()),
                    format!("{:?}", v.dims()),
                ));
            }
            let traces =
                math::sum_event(&(product * &probes)?.to_dtype(DType::F64)?)?.reshape((copies, b))?;
            let divergence = if estimates == 1 { traces.sum_keepdim(0)? } else { traces };
            Ok((v.narrow(0, 0, b)?, divergence))
        };
        let integral = Tensor::zeros((estimates, b), DType::F64, x.device())?;
        let solution = integrate(&self.scheme, rhs, (x.clone(), integral), self.data_time, self.base_time)?;
        let (latents, integrals) = solution.x;
        let base = base(&latents)?.to_dtype(DType::F64)?;
        let values = (base + integrals.mean(0)?)?;
        let probe_error = if estimates > 1 {
            let centred = integrals.broadcast_sub(&integrals.mean_keepdim(0)?)?;
            let k = estimates as f64;
            Some((centred.sqr()?.sum(0)? / (k * (k - 1.0)))?.sqrt()?)
        } else {
            None
        };
        Ok(OdeEstimate { values, probe_error, latents, evaluations: solution.evaluations })
    }
}

/// e_1, …, e_d for every row: `(d·b, event…)`, block i holding e_i.
fn unit_vectors(x: &Tensor) -> Result<Tensor> {
    let b = x.dim(0)?;
    let d = x.elem_count() / b;
    let eye = Tensor::eye(d, x.dtype(), x.device())?.unsqueeze(1)?.broadcast_as((d, b, d))?.contiguous()?;
    let mut shape = x.dims().to_vec();
    shape[0] = d * b;
    Ok(eye.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ode::Solver;
    use crate::special::Moments;
    use crate::targets::{Mixture, MixtureFlow};

    fn flow() -> MixtureFlow {
        MixtureFlow { mixture: Mixture::pair(), rate: 3.0 }
    }

    fn tight() -> OdeLikelihood {
        OdeLikelihood { scheme: Scheme::adaptive(1e-10, 1e-10), ..OdeLikelihood::default() }
    }

    fn base(flow: &MixtureFlow) -> impl Fn(&Tensor) -> Result<Tensor> {
        let end = flow.at(1.0);
        move |z: &Tensor| rows::tensor(end.log_densities(z)?, z.device())
    }

    /// The probability flow of an exact mixture carries it to its noised self, so its likelihood is a closed form.
    #[test]
    fn a_mixture_flow_has_the_mixture_density() -> Result<()> {
        let flow = flow();
        let mut noise = Noise::new(8);
        let x = flow.mixture.sample(60, &mut noise)?;
        let want = flow.mixture.log_densities(&x)?;
        let fixed = OdeLikelihood { scheme: Scheme::fixed(Solver::Rk4, 200), ..tight() };
        for likelihood in [tight(), fixed] {
            let got = likelihood.log_prob_with(&flow, &base(&flow), &x, &mut noise)?;
            for (got, want) in rows::host(&got.values)?.iter().zip(&want) {
                assert!((got - want).abs() < 1e-6, "{got} {want}");
            }
            assert!(got.probe_error.is_none());
        }
        Ok(())
    }

    /// In f32 the loss is that of the arithmetic, not of the accumulation.
    #[test]
    fn single_precision_is_good_to_single_precision() -> Result<()> {
        let flow = flow();
        let mut noise = Noise::new(8);
        let x = flow.mixture.sample(60, &mut noise)?;
        let likelihood = OdeLikelihood::default();
        let got = likelihood.log_prob_with(&flow, &base(&flow), &x.to_dtype(DType::F32)?, &mut noise)?;
        assert_eq!(got.values.dtype(), DType::F64);
        for (got, want) in rows::host(&got.values)?.iter().zip(flow.mixture.log_densities(&x)?) {
            assert!((got - want).abs() < 1e-3, "{got} {want}");
        }
        Ok(())
    }

    #[test]
    fn probes_agree_with_the_exact_divergence_within_their_error() -> Result<()> {
        probes_agree(Probe::Rademacher)?;
        probes_agree(Probe::Gaussian)?;
        assert!("gausian".parse::<Probe>().is_err_and(|e| e.to_string().contains("'gaussian'")));
        Ok(())
    }

    fn probes_agree(law: Probe) -> Result<()> {
        let flow = flow();
        let mut noise = Noise::new(2);
        let x = flow.mixture.sample(300, &mut noise)?;
        let scheme = Scheme::fixed(Solver::Rk4, 20);
        let exact = OdeLikelihood { scheme, ..tight() };
        let hutchinson = OdeLikelihood { divergence: Divergence::Hutchinson(8, law), ..exact };
        let truth = rows::host(&exact.log_prob_with(&flow, &base(&flow), &x, &mut noise)?.values)?;
        let got = hutchinson.log_prob_with(&flow, &base(&flow), &x, &mut noise)?;
        let errors = got.probe_error.as_ref().map(rows::host).transpose()?.unwrap_or_default();
        assert_eq!(errors.len(), 300);
        let residuals: Vec<f64> = rows::host(&got.values)?.iter().zip(&truth).map(|(a, b)| a - b).collect();
        let moments = Moments::of(&residuals);
        assert!(moments.mean().abs() < 4.0 * moments.standard_error(), "{moments:?}");
        // Mean square error and mean squared stated error estimate the same number.
        let stated = Moments::of(&errors.iter().map(|e| e * e).collect::<Vec<_>>());
        let seen = Moments::of(&residuals.iter().map(|r| r * r).collect::<Vec<_>>());
        let error = 4.0 * stated.standard_error().hypot(seen.standard_error());
        assert!((stated.mean() - seen.mean()).abs() < error, "{} {}", stated.mean(), seen.mean());
        Ok(())
    }

    #[test]
    fn pieces_do_not_change_fixed_steps() -> Result<()> {
        let flow = flow();
        let x = flow.mixture.sample(7, &mut Noise::new(1))?;
        let whole = OdeLikelihood { scheme: Scheme::fixed(Solver::Heun, 5), ..tight() };
        let pieces = OdeLikelihood { rows_at_once: 4, ..whole };
        let values = |l: OdeLikelihood| rows::host(&l.log_prob(&flow, &x, &mut Noise::new(0))?.values);
        assert_eq!(values(whole)?, values(pieces)?);
        let none = OdeLikelihood { divergence: Divergence::Hutchinson(0, Probe::Rademacher), ..whole };
        assert!(none.log_prob(&flow, &x, &mut Noise::new(0)).is_err());
        Ok(())
    }
}
