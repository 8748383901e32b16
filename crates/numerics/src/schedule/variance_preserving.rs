//! Variance-preserving noise schedules.
//!
//! ```text
//! x_t = α(t) x_0 + σ(t) ε,   α² + σ² = 1,   λ(t) = log α²/σ²
//! dx = −½ β(t) x dt + √β(t) dW,   α(t) = exp(−½ ∫_0^t β),   β = −2 d log α/dt
//! dx/dt = −½ β(t) (x + ∇ log p_t(x))                                  the probability flow
//!
//! linear   β(t) = β_0 + (β_1 − β_0) t          β_0 = 0.1, β_1 = 20
//! cosine   α(t) = cos(½π (t + s)/(1 + s)) / cos(½π s/(1 + s)),   s = 0.008
//! ```
//!
//! Source: Song et al. (2021), arXiv:2011.13456, Eq. 11, 13 and appendix C (linear); Nichol & Dhariwal (2021),
//! arXiv:2102.09672, Eq. 17 (cosine). At t = 1 the cosine schedule reaches α = 0, where β and −λ are infinite: times
//! beyond 0.999 count as 0.999, a stand-in for the paper's cap β ≤ 0.999 on its discrete steps.

use std::f64::consts::FRAC_PI_2;

use candle_core::Tensor;
use genzoo_core::{Error, Result};

use crate::rows;

/// A schedule by name, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// β rises linearly.
    Linear {
        /// β(0).
        beta_min: f64,
        /// β(1).
        beta_max: f64,
    },
    /// α is a cosine.
    Cosine {
        /// The offset s that keeps the first steps from being too small.
        offset: f64,
    },
}

impl Schedule {
    /// The linear schedule with β from 0.1 to 20.
    pub const LINEAR: Self = Self::Linear { beta_min: 0.1, beta_max: 20.0 };
    /// The cosine schedule with offset 0.008.
    pub const COSINE: Self = Self::Cosine { offset: 0.008 };
}

impl std::str::FromStr for Schedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "linear" => Ok(Self::LINEAR),
            "cosine" => Ok(Self::COSINE),
            _ => Err(Error::unknown("schedule", name, ["linear", "cosine"])),
        }
    }
}

/// A checked schedule: functions of time in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VariancePreserving {
    schedule: Schedule,
}

/// The latest time at which the cosine schedule is evaluated.
const COSINE_END: f64 = 1.0 - 1e-3;

impl VariancePreserving {
    /// Checks the parameters of `schedule`.
    pub fn new(schedule: Schedule) -> Result<Self> {
        match schedule {
            Schedule::Linear { beta_min, beta_max } => {
                if !(beta_min >= 0.0 && beta_max > 0.0 && beta_max.is_finite() && beta_min.is_finite()) {
                    let got = format!("{beta_min}, {beta_max}");
                    return Err(Error::config("beta_min, beta_max", "β(0) ≥ 0 and β(1) > 0, finite", got));
                }
            }
            Schedule::Cosine { offset } => {
                if !(offset >= 0.0 && offset.is_finite()) {
                    return Err(Error::config("offset", "a finite number ≥ 0", offset));
                }
            }
        }
        Ok(Self { schedule })
    }

    /// `log α(t)`.
    pub fn log_alpha(&self, t: f64) -> f64 {
        match self.schedule {
            Schedule::Linear { beta_min, beta_max } => {
                -0.5 * t * (beta_min + 0.5 * (beta_max - beta_min) * t)
            }
            Schedule::Cosine { offset } => {
                let angle = |t: f64| FRAC_PI_2 * (t + offset) / (1.0 + offset);
                angle(t.min(COSINE_END)).cos().ln() - angle(0.0).cos().ln()
            }
        }
    }

    /// `α(t)`, the weight of the data.
    pub fn alpha(&self, t: f64) -> f64 {
        self.log_alpha(t).exp()
    }

    /// `σ(t)`, the weight of the noise, accurate also near t = 0 where it vanishes.
    pub fn sigma(&self, t: f64) -> f64 {
        (-(2.0 * self.log_alpha(t)).exp_m1()).max(0.0).sqrt()
    }

    /// `λ(t) = log α²/σ²`, falling from +∞.
    pub fn log_snr(&self, t: f64) -> f64 {
        2.0 * (self.log_alpha(t) - self.sigma(t).ln())
    }

    /// `β(t)`, the squared diffusion coefficient.
    pub fn beta(&self, t: f64) -> f64 {
        match self.schedule {
            Schedule::Linear { beta_min, beta_max } => beta_min + (beta_max - beta_min) * t,
            Schedule::Cosine { offset } => {
                let rate = FRAC_PI_2 / (1.0 + offset);
                2.0 * rate * (rate * (t.min(COSINE_END) + offset)).tan()
            }
        }
    }

    /// The time at which the log-signal-to-noise ratio is `lambda`, in [0, 1].
    pub fn time_of_log_snr(&self, lambda: f64) -> f64 {
        if lambda == f64::NEG_INFINITY {
            return 1.0;
        }
        // log α = −½ log(1 + e^{−λ})
        let log_alpha = -0.5 * crate::special::softplus(-lambda);
        let t = match self.schedule {
            Schedule::Linear { beta_min, beta_max } => {
                // ½ (β_1 − β_0) t² + β_0 t + 2 log α = 0, in the form that does not cancel.
                let area = -2.0 * log_alpha;
                let slope = beta_max - beta_min;
                2.0 * area / (beta_min + (beta_min * beta_min + 2.0 * slope * area).max(0.0).sqrt())
            }
            Schedule::Cosine { offset } => {
                let start = (FRAC_PI_2 * offset / (1.0 + offset)).cos();
                (log_alpha.exp() * start).acos() / FRAC_PI_2 * (1.0 + offset) - offset
            }
        };
        if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) }
    }

    /// `(α, σ)` for a batch of times `(b,)`, each `(b,)` in the dtype of `t`.
    pub fn coefficients(&self, t: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.map(t, |t| self.alpha(t))?, self.map(t, |t| self.sigma(t))?))
    }

    /// `α(t) x + σ(t) ε` for a batch `(b, event…)` and times `(b,)`.
    pub fn noised(&self, x: &Tensor, epsilon: &Tensor, t: &Tensor) -> Result<Tensor> {
        let (alpha, sigma) = self.coefficients(t)?;
        Ok((rows::scale(x, &alpha)? + rows::scale(epsilon, &sigma)?)?)
    }

    /// The velocity of the probability flow, `−½ β(t) (x + score)`.
    pub fn flow_velocity(&self, x: &Tensor, score: &Tensor, t: &Tensor) -> Result<Tensor> {
        rows::scale(&(x + score)?, &self.map(t, |t| -0.5 * self.beta(t))?)
    }

    fn map(&self, t: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
        let values = rows::host(t)?.into_iter().map(f).collect();
        Ok(rows::tensor(values, t.device())?.to_dtype(t.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn all() -> Result<Vec<VariancePreserving>> {
        let flat = Schedule::Linear { beta_min: 3.0, beta_max: 3.0 };
        [Schedule::LINEAR, Schedule::COSINE, flat].into_iter().map(VariancePreserving::new).collect()
    }

    #[test]
    fn variance_is_preserved_and_signal_only_falls() -> Result<()> {
        for schedule in all()? {
            assert_eq!((schedule.alpha(0.0), schedule.sigma(0.0)), (1.0, 0.0));
            let mut last = f64::INFINITY;
            for i in 1..=100 {
                let t = i as f64 / 100.1;
                assert!((schedule.alpha(t).powi(2) + schedule.sigma(t).powi(2) - 1.0).abs() < 1e-14);
                assert!(schedule.log_snr(t) < last);
                last = schedule.log_snr(t);
            }
        }
        Ok(())
    }

    #[test]
    fn closed_forms_at_chosen_times() -> Result<()> {
        let linear = VariancePreserving::new(Schedule::LINEAR)?;
        // ∫_0^1 (0.1 + 19.9 t) dt = 10.05
        assert!((linear.alpha(1.0) - (-5.025f64).exp()).abs() < 1e-16);
        assert!((linear.beta(0.5) - 10.05).abs() < 1e-14);
        let cosine = VariancePreserving::new(Schedule::COSINE)?;
        let bar = |t: f64| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
        assert!((cosine.alpha(0.3).powi(2) - bar(0.3) / bar(0.0)).abs() < 1e-15);
        assert!(cosine.beta(1.0).is_finite() && cosine.log_snr(1.0).is_finite());
        // σ² = β_0 t to first order: no digit is lost at tiny times.
        assert!((linear.sigma(1e-12).powi(2) / 1e-13 - 1.0).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn beta_is_the_decay_rate_of_alpha() -> Result<()> {
        for schedule in all()? {
            for t in [0.1, 0.4, 0.9] {
                let h = 1e-5;
                let slope = (schedule.log_alpha(t + h) - schedule.log_alpha(t - h)) / (2.0 * h);
                assert!((schedule.beta(t) + 2.0 * slope).abs() < 1e-6 * schedule.beta(t));
            }
        }
        Ok(())
    }

    #[test]
    fn time_undoes_log_snr() -> Result<()> {
        for schedule in all()? {
            for t in [1e-6, 1e-3, 0.2, 0.7, 0.998] {
                let back = schedule.time_of_log_snr(schedule.log_snr(t));
                assert!((back - t).abs() < 1e-9 + 1e-6 * t, "{t} {back}");
            }
            assert_eq!(schedule.time_of_log_snr(f64::INFINITY), 0.0);
            assert_eq!(schedule.time_of_log_snr(f64::NEG_INFINITY), 1.0);
        }
        Ok(())
    }

    /// For data N(0, s²) the noised law is N(0, v), v = α²s² + σ², and the flow must carry its standard deviation:
    /// velocity / x = ½ v'/v.
    #[test]
    fn the_flow_carries_the_marginal_law() -> Result<()> {
        let x = Tensor::new(&[[0.7f64], [-2.0]], &Device::Cpu)?;
        for schedule in all()? {
            let v = |t: f64| (2.0 * schedule.log_alpha(t)).exp() * 4.0 + schedule.sigma(t).powi(2);
            let (t, h) = (0.37, 1e-5);
            let rate = (v(t + h) - v(t - h)) / (4.0 * h * v(t));
            let times = rows::time(t, &x)?;
            let velocity = rows::host(&schedule.flow_velocity(&x, &(&x * (-1.0 / v(t)))?, &times)?)?;
            for (velocity, x) in velocity.iter().zip(rows::host(&x)?) {
                assert!((velocity - rate * x).abs() < 1e-7 * (1.0 + velocity.abs()), "{velocity}");
            }
            let noised = rows::host(&schedule.noised(&x, &x.ones_like()?, &times.to_dtype(DType::F64)?)?)?;
            assert!((noised[0] - schedule.alpha(t) * 0.7 - schedule.sigma(t)).abs() < 1e-14);
        }
        Ok(())
    }

    #[test]
    fn parameters_without_sense_are_errors() {
        for schedule in [
            Schedule::Linear { beta_min: -1.0, beta_max: 2.0 },
            Schedule::Linear { beta_min: 0.0, beta_max: 0.0 },
            Schedule::Linear { beta_min: 0.0, beta_max: f64::NAN },
            Schedule::Cosine { offset: -0.1 },
        ] {
            assert!(VariancePreserving::new(schedule).is_err());
        }
        assert!("cosin".parse::<Schedule>().is_err_and(|e| e.to_string().contains("cosine")));
    }
}
