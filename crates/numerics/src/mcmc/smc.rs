//! Tempered sequential Monte Carlo: particles carried from a Gaussian to a target, with its log Z.
//!
//! ```text
//! U_β = (1 − β) U₀ + β U₁,  0 = β_0 < … < β_K = 1,  U₀ normalised;   log w += (β_k − β_{k−1}) (U₀ − U₁)(x)
//! if ESS < share · n:   log Ẑ += log mean w,  resample,  w = 1;   then moves that leave e^{−U_{β_k}} invariant
//! log Ẑ += log mean w at the end;   se² = Σ_e (W_e − 1/n)²,   W_e the weight of all descendants of particle e of n
//! ```
//!
//! With given temperatures and steps E Ẑ = Z. Temperatures chosen by the conditional ESS and steps that follow the
//! acceptance make Ẑ biased by O(1/n). The error counts weights by ancestor, so that resampling cannot hide it; it is
//! meant for multinomial resampling and hence somewhat large for the systematic one used here.
//! Source: Del Moral, Doucet & Jasra (2006), §3; Zhou, Johansen & Aston (2016), arXiv:1303.3123, §3.2, for the
//! conditional ESS; Chan & Lai (2013), Eq. 2.6, and Lee & Whiteley (2018) for the error.

use candle_core::Tensor;
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result};

use super::{Bridge, Transition, Whitened, systematic};
use crate::Gaussian;
use crate::special::{effective_sample_size, log_mean_exp, log_sum_exp};

/// How to temper.
#[derive(Clone, Debug)]
pub struct Smc {
    /// Number of particles.
    pub particles: usize,
    /// Temperatures from 0 to 1; chosen on the way if absent.
    pub betas: Option<Vec<f64>>,
    /// Conditional ESS that a chosen temperature keeps, as a share of the particles.
    pub keep: f64,
    /// Share of effective particles below which they are resampled.
    pub resample: f64,
    /// Moves at each temperature.
    pub moves: usize,
    /// Leapfrogs per move; 1 is MALA.
    pub leapfrogs: usize,
    /// First size of a leapfrog, in units of the Gaussian's standard deviations.
    pub step: f64,
    /// Whether that size follows the acceptance.
    pub adapt: bool,
}

impl Default for Smc {
    /// 1,000 particles, everything adaptive, three moves of five leapfrogs.
    fn default() -> Self {
        Self {
            particles: 1_000,
            betas: None,
            keep: 0.9,
            resample: 0.5,
            moves: 3,
            leapfrogs: 5,
            step: 0.8,
            adapt: true,
        }
    }
}

/// Where the particles arrived.
#[derive(Clone, Debug)]
pub struct SmcEstimate {
    /// `log ∫ e^{−U}`, nats.
    pub log_z: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Particles, `(n, event…)`.
    pub x: Tensor,
    /// Their log-weights.
    pub log_weights: Vec<f64>,
    /// The temperatures.
    pub betas: Vec<f64>,
    /// Effective particles on arrival at each temperature above 0, before resampling.
    pub effective: Vec<f64>,
    /// Mean acceptance of the moves at each of them.
    pub acceptance: Vec<f64>,
    /// How often the particles were resampled.
    pub resampled: usize,
}

impl Smc {
    /// Carries draws of `base` to `target`. `event` is the shape of one example, of base dimension in all.
    ///
    /// # Errors
    /// If the settings make no sense, the energy fails or is NaN at a particle, or the temperatures do not advance.
    pub fn run(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        event: &[usize],
        noise: &mut Noise,
    ) -> Result<SmcEstimate> {
        self.check(base, event)?;
        let n = self.particles;
        let seen = Whitened { target, base, event };
        let start = Gaussian::standard(base.dimension(), base.dtype(), base.device())?;
        let (bridge, transition) =
            (Bridge::new(Some(&start), &seen), Transition::Hmc { leapfrogs: self.leapfrogs });
        let mut particles = bridge.at(&start.sample(n, noise)?, transition)?;
        let (mut beta, mut log_z, mut step, mut resampled) = (0.0, 0.0, self.step, 0);
        let mut log_weights = vec![0.0; n];
        let mut ancestors: Vec<usize> = (0..n).collect();
        let (mut betas, mut effective, mut acceptance) = (vec![0.0], vec![], vec![]);
        while beta < 1.0 {
            let slopes = particles.slopes()?;
            if let Some(i) = slopes.iter().position(|s| s.is_nan()) {
                return Err(Error::data(
                    "energy during tempering",
                    "a number",
                    format!("NaN at particle {i}"),
                ));
            }
            let next = match &self.betas {
                Some(given) => given[betas.len()],
                None => self.next(beta, &slopes, &log_weights),
            };
            if next <= beta {
                return Err(Error::Unsupported(format!(
                    "tempering does not advance beyond β = {beta:.3e}: energies of the base's draws vary too much; choose a base nearer to the target or keep less than {}",
                    self.keep
                )));
            }
            log_weights.iter_mut().zip(&slopes).for_each(|(w, slope)| *w -= (next - beta) * slope);
            beta = next;
            betas.push(beta);
            effective.push(effective_sample_size(&log_weights));
            if beta < 1.0 && effective[effective.len() - 1] < self.resample * n as f64 {
                log_z += log_mean_exp(&log_weights);
                let uniform: f64 = noise.uniforms(1).iter().sum();
                let source = systematic(&log_weights, n, uniform);
                particles = particles.take(&source)?;
                ancestors = source.iter().map(|&i| ancestors[i]).collect();
                log_weights.fill(0.0);
                resampled += 1;
            }
            let mut rate = 0.0;
            for _ in 0..self.moves {
                let info =
                    bridge.jittered(&mut particles, &vec![beta; n], &vec![step; n], transition, noise)?;
                rate += info.mean_acceptance() / self.moves as f64;
                if self.adapt {
                    step *= (0.5 * (info.mean_acceptance() - transition.target_acceptance())).exp();
                }
            }
            acceptance.push(rate);
        }
        let total = log_sum_exp(&log_weights);
        let mut families = vec![0.0; n];
        ancestors.iter().zip(&log_weights).for_each(|(e, w)| families[*e] += (w - total).exp());
        let square: f64 = families.iter().map(|w| (w - 1.0 / n as f64).powi(2)).sum();
        Ok(SmcEstimate {
            log_z: log_z + log_mean_exp(&log_weights),
            standard_error: square.sqrt(),
            x: seen.positions(&particles.x)?,
            log_weights,
            betas,
            effective,
            acceptance,
            resampled,
        })
    }

    /// The farthest temperature that keeps the conditional ESS `n (Σ W v)² / Σ W v²`, v = e^{−(β' − β) slope}.
    fn next(&self, beta: f64, slopes: &[f64], log_weights: &[f64]) -> f64 {
        let total = log_sum_exp(log_weights);
        let share = |next: f64| {
            let moment = |power: f64| {
                let terms =
                    log_weights.iter().zip(slopes).map(|(w, s)| w - total - power * (next - beta) * s);
                log_sum_exp(&terms.collect::<Vec<f64>>())
            };
            (2.0 * moment(1.0) - moment(2.0)).exp()
        };
        if share(1.0) >= self.keep {
            return 1.0;
        }
        let (mut low, mut high) = (beta, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if share(middle) >= self.keep { low = middle } else { high = middle }
        }
        low
    }

    fn check(&self, base: &Gaussian, event: &[usize]) -> Result<()> {
        let d: usize = event.iter().product();
        if d != base.dimension() {
            return Err(Error::data("event", format!("{} numbers, as the base has", base.dimension()), d));
        }
        for (key, least, got) in [("particles", 2, self.particles), ("leapfrogs", 1, self.leapfrogs)] {
            if got < least {
                return Err(Error::config(key, format!("at least {least}"), got));
            }
        }
        super::positive(self.step)?;
        for (key, share) in [("keep", self.keep), ("resample", self.resample)] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::config(key, "a share, at least 0 and below 1", share));
            }
        }
        if let Some(betas) = &self.betas {
            let rising = betas.windows(2).all(|pair| pair[0] < pair[1]);
            if betas.len() < 2 || !rising || betas[0] != 0.0 || betas[betas.len() - 1] != 1.0 {
                return Err(Error::config("betas", "rising from 0 to 1", format!("{betas:?}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::likelihood::quadrature::Quadrature;
    use crate::rows;
    use crate::special::Moments;
    use crate::targets::Mixture;
    use candle_core::{DType, Device};

    /// U = 4 (x² − 1)² + ½ (y − x)² + ½ x: two wells, one deeper.
    struct Wells;

    impl Energy for Wells {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok(self.energy_and_gradient(x)?.0)
        }
        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            let (mut energies, mut gradient) = (vec![], vec![]);
            for row in rows::host(x)?.chunks(2) {
                let (x, y) = (row[0], row[1]);
                energies.push(4.0 * (x * x - 1.0).powi(2) + 0.5 * (y - x).powi(2) + 0.5 * x);
                gradient.extend([16.0 * x * (x * x - 1.0) - (y - x) + 0.5, y - x]);
            }
            let n = energies.len();
            Ok((
                Tensor::from_vec(energies, n, &Device::Cpu)?,
                Tensor::from_vec(gradient, (n, 2), &Device::Cpu)?,
            ))
        }
    }

    fn base() -> Result<Gaussian> {
        Gaussian::diagonal(&[0.3, 0.0], &[1.5, 2.0], DType::F64, &Device::Cpu)
    }

    #[test]
    fn log_z_and_weighted_means_agree_with_quadrature() -> Result<()> {
        let judge = Quadrature { dtype: DType::F64, ..Quadrature::around(&[(-4.0, 4.0), (-5.0, 5.0)]) };
        let truth = judge.of_energy(&Wells)?.log_z;
        // The share of the right well, on a fine grid: the y integral is the same everywhere.
        let weight = |x: f64| (-4.0 * (x * x - 1.0).powi(2) - 0.5 * x).exp();
        let right: f64 = (0..4_000).map(|i| weight((f64::from(i) + 0.5) / 1_000.0)).sum();
        let left: f64 = (0..4_000).map(|i| weight(-(f64::from(i) + 0.5) / 1_000.0)).sum();
        let even: Vec<f64> = (0..=12).map(|k| (f64::from(k) / 12.0).powi(2)).collect();
        for (seed, settings) in [
            Smc::default(),
            Smc { resample: 0.95, leapfrogs: 1, ..Smc::default() },
            Smc { betas: Some(even), resample: 0.9, ..Smc::default() },
        ]
        .into_iter()
        .enumerate()
        {
            let got = settings.run(&Wells, &base()?, &[2], &mut Noise::new(seed as u64))?;
            assert!((got.log_z - truth).abs() < 4.0 * got.standard_error, "{} {truth}", got.log_z);
            assert!((0.005..0.08).contains(&got.standard_error), "{}", got.standard_error);
            assert_eq!(got.betas.len(), got.effective.len() + 1);
            assert!(seed == 0 || got.resampled > 0);
            let total = log_sum_exp(&got.log_weights);
            let shares = rows::host(&got.x)?
                .chunks(2)
                .zip(&got.log_weights)
                .map(|(x, w)| if x[0] > 0.0 { (w - total).exp() } else { 0.0 })
                .sum::<f64>();
            let want = right / (left + right);
            assert!((shares - want).abs() < 4.0 * (want * (1.0 - want) / 300.0).sqrt(), "{shares} {want}");
            assert!(got.acceptance.last().is_some_and(|a| (0.3..0.98).contains(a)), "{:?}", got.acceptance);
        }
        Ok(())
    }

    /// Fixed temperatures and steps: Ẑ/Z has mean 1, and the stated errors are those of repetition.
    #[test]
    fn the_estimate_is_unbiased_and_its_error_honest() -> Result<()> {
        let target = Mixture::pair();
        let settings = Smc {
            particles: 60,
            betas: Some(vec![0.0, 0.1, 0.3, 0.6, 1.0]),
            resample: 0.9,
            moves: 1,
            leapfrogs: 2,
            step: 0.5,
            adapt: false,
            ..Smc::default()
        };
        let (mut ratios, mut logs, mut stated, mut resampled) =
            (Moments::default(), Moments::default(), Moments::default(), 0);
        for seed in 0..300 {
            let got = settings.run(&target, &base()?, &[2], &mut Noise::new(seed))?;
            ratios.push((got.log_z - 1.7).exp());
            logs.push(got.log_z);
            stated.push(got.standard_error.powi(2));
            resampled += got.resampled;
        }
        assert!((ratios.mean() - 1.0).abs() < 4.0 * ratios.standard_error(), "{ratios:?}");
        assert!(ratios.standard_error() < 0.02 && resampled > 200, "{ratios:?} {resampled}");
        // Variances of 300 repeats have an error of 8 %; the stated one may be too large, never too small.
        let share = stated.mean() / logs.variance();
        assert!((0.7..2.0).contains(&share), "{share}");
        Ok(())
    }

    #[test]
    fn settings_that_make_no_sense_are_errors() -> Result<()> {
        let run = |smc: Smc, event: &[usize]| smc.run(&Wells, &base()?, event, &mut Noise::new(0));
        assert!(run(Smc { particles: 1, ..Smc::default() }, &[2]).is_err());
        assert!(run(Smc { keep: 1.0, ..Smc::default() }, &[2]).is_err());
        assert!(run(Smc { betas: Some(vec![0.0, 0.5]), ..Smc::default() }, &[2]).is_err());
        assert!(run(Smc { step: f64::NAN, ..Smc::default() }, &[2]).is_err());
        assert!(run(Smc::default(), &[3]).is_err());
        Ok(())
    }
}
