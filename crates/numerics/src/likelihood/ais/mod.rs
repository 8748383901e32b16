//! Annealed importance sampling: log Z of an energy in any dimension.
//!
//! ```text
//! U_β = (1 − β) U_base + β U,   0 = β_0 < … < β_K = 1,   U_base normalised
//! z_0 ~ base;   log w += (β_k − β_{k−1}) (U_base − U)(z_{k−1});   z_k ~ MALA at β_k
//! Ẑ = mean w,   E Ẑ = Z,   E log Ẑ ≤ log Z
//! ```
//!
//! Because log Ẑ falls short in mean, −U − log Ẑ overstates log p. Run backward from exact samples of the target,
//! the same weights give a bound from the other side (bidirectional Monte Carlo).
//! The chains live in coordinates whitened by the base. A pilot run with its own draws tunes the step size per
//! temperature to the acceptance 0.574 and places the temperatures at equal thermodynamic lengths; the run proper
//! then holds both fixed, so that E Ẑ = Z is kept.
//! Source: Neal (2001), Eq. 11–18; Grosse, Ghahramani & Adams (2015), arXiv:1511.02543, for the reverse; Gelman &
//! Meng (1998), §4.2, for the placement; Roberts & Rosenthal (1998) for 0.574.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::{Error, Noise, Result, math};

use crate::gaussian::Gaussian;
use crate::mcmc::{Chains, accept, log_ratio, propose};
use crate::rows;
use crate::special::{
    Moments, bootstrap_standard_error, effective_sample_size, log_mean_exp, log_mean_weight,
};

const TARGET_ACCEPTANCE: f64 = 0.574;
/// Final weights worth fewer independent ones than this say nothing.
const DEGENERATE: f64 = 10.0;

/// Where the temperatures lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Ladder {
    /// At equal thermodynamic lengths, as a pilot run found them.
    Balanced(usize),
    /// At k/K.
    Even(usize),
    /// As given, rising from 0 to 1.
    Given(Vec<f64>),
}

/// How to anneal.
#[derive(Clone, Debug)]
pub struct Ais {
    /// Independent chains; each gives one weight.
    pub chains: usize,
    /// The temperatures.
    pub ladder: Ladder,
    /// MALA transitions at each temperature.
    pub transitions: usize,
    /// Step size in whitened coordinates; tuned by the pilot run if absent.
    pub step: Option<f64>,
    /// Chains of the pilot run, 0 for none.
    pub pilot_chains: usize,
    /// Most chains that enter the network at once.
    pub rows_at_once: usize,
}

impl Default for Ais {
    /// 512 chains, 500 balanced temperatures, one transition each.
    fn default() -> Self {
        Self {
            chains: 512,
            ladder: Ladder::Balanced(500),
            transitions: 1,
            step: None,
            pilot_chains: 64,
            rows_at_once: 4_096,
        }
    }
}

/// An estimate of log Z, and how far to trust it.
#[derive(Clone, Debug)]
pub struct AisEstimate {
    /// Logarithm of the mean weight, nats. Forward it falls short of log Z in mean, in reverse it exceeds it.
    pub log_z: f64,
    /// Its standard error by the delta method.
    pub standard_error: f64,
    /// Effective sample size of the final weights.
    pub effective_sample_size: f64,
    /// Mean acceptance probability of the transitions.
    pub acceptance: f64,
    /// The lowest mean acceptance at any temperature.
    pub lowest_acceptance: f64,
    /// The temperatures used.
    pub temperatures: Vec<f64>,
    /// The logarithm of each chain's weight.
    pub log_weights: Vec<f64>,
    /// Final positions, `(chains, event…)`; together with the weights they represent the target (forward).
    pub x: Tensor,
    /// Evaluations of the energy and its gradient on a batch, the pilot run included.
    pub evaluations: u64,
}

impl AisEstimate {
    /// Whether the weights are worth fewer than ten independent ones: then `log_z` must not be reported.
    pub fn is_degenerate(&self) -> bool {
        self.effective_sample_size.is_nan() || self.effective_sample_size < DEGENERATE
    }

    /// The standard error of log Ẑ over resampled chains; steadier than the delta method where weights are uneven.
    pub fn bootstrap_error(&self, resamples: usize, noise: &mut Noise) -> Result<f64> {
        let w = &self.log_weights;
        let statistic = |rows: &[usize]| Ok(log_mean_exp(&rows.iter().map(|&i| w[i]).collect::<Vec<_>>()));
        bootstrap_standard_error(w.len(), resamples, statistic, noise)
    }
}

impl Ais {
    /// Estimates log ∫ e^{−U} from draws of `base`. `event` is the shape of one example, of base dimension in all.
    ///
    /// # Errors
    /// If the settings make no sense, the energy fails or is NaN somewhere on the way.
    pub fn estimate(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        event: &[usize],
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        self.check(base, event)?;
        let path = Path { target, base, event };
        let plan = self.plan(&path, noise)?;
        self.run(&path, plan, None, noise)
    }

    /// The bound from above: anneals exact draws `x` of the target, `(n, event…)`, back to the base.
    ///
    /// # Errors
    /// As [`Ais::estimate`].
    pub fn reverse(
        &self,
        target: &dyn Energy,
        base: &Gaussian,
        x: &Tensor,
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        let event = x.dims().get(1..).unwrap_or_default().to_vec();
        self.check(base, &event)?;
        let path = Path { target, base, event: &event };
        let plan = self.plan(&path, noise)?;
        self.run(&path, plan, Some(x), noise)
    }

    fn check(&self, base: &Gaussian, event: &[usize]) -> Result<()> {
        let d: usize = event.iter().product();
        if d != base.dimension() || event.is_empty() {
            return Err(Error::data("event", format!("{} numbers, as the base has", base.dimension()), d));
        }
        for (key, value) in [("chains", self.chains), ("transitions", self.transitions)] {
            if value == 0 {
                return Err(Error::config(key, "at least 1", 0));
            }
        }
        if let Some(step) = self.step.filter(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Error::config("step", "a finite number above 0", step));
        }
        match &self.ladder {
            Ladder::Balanced(0) | Ladder::Even(0) => Err(Error::config("temperatures", "at least 1", 0)),
            Ladder::Given(betas) => {
                let rises = betas.windows(2).all(|p| p[0] < p[1]);
                let ends = betas.first() == Some(&0.0) && betas.last() == Some(&1.0);
                if rises && ends {
                    return Ok(());
                }
                Err(Error::config("temperatures", "numbers rising from 0 to 1", format!("{betas:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Temperatures and the step size at each, from a pilot run where they are not given.
    fn plan(&self, path: &Path<'_>, noise: &mut Noise) -> Result<Plan> {
        let even = |k: usize| (0..=k).map(|i| i as f64 / k as f64).collect::<Vec<_>>();
        let (given, rungs) = match &self.ladder {
            Ladder::Balanced(k) => (None, *k),
            Ladder::Even(k) => (Some(even(*k)), *k),
            Ladder::Given(betas) => (Some(betas.clone()), betas.len() - 1),
        };
        // Optimal scaling on the base: proposal variance 2h = 1.65² d^{−1/3}.
        let start = self.step.unwrap_or(1.36 / (path.base.dimension() as f64).cbrt());
        let pilot_needed = self.step.is_none() || given.is_none();
        if self.pilot_chains == 0 || !pilot_needed {
            let betas = given.unwrap_or_else(|| even(rungs));
            let steps = vec![start; betas.len()];
            return Ok(Plan { betas, steps, evaluations: 0 });
        }
        // Squares crowd the pilot's temperatures where the energy of the base's draws varies most.
        let pilot_betas = match &given {
            Some(betas) => betas.clone(),
            None => even(rungs.min(400)).iter().map(|b| b * b).collect(),
        };
        let pilot = self.pilot(path, pilot_betas, start, noise)?;
        let betas = given.unwrap_or_else(|| balance(&pilot.betas, &pilot.spread, rungs));
        let steps = match self.step {
            Some(step) => vec![step; betas.len()],
            None => betas.iter().map(|b| interpolate(&pilot.betas, &pilot.log_steps, *b).exp()).collect(),
        };
        Ok(Plan { betas, steps, evaluations: pilot.evaluations })
    }

    /// One annealing run whose step size follows the acceptance (Robbins–Monro) and which notes the spread of
    /// U_base − U at each temperature.
    fn pilot(&self, path: &Path<'_>, betas: Vec<f64>, start: f64, noise: &mut Noise) -> Result<Pilot> {
        let z = noise.normal(
            (self.pilot_chains, path.base.dimension()),
            path.base.dtype(),
            path.base.device(),
        )?;
        let mut walkers = path.at(z)?;
        let mut evaluations = 1;
        let mut log_step = start.ln();
        let (mut spread, mut log_steps) = (vec![], vec![]);
        for (k, &beta) in betas.iter().enumerate() {
            let transitions = if k == 1 { self.transitions.max(20) } else { self.transitions };
            for _ in 0..if k == 0 { 0 } else { transitions } {
                let acceptance = path.transition(&mut walkers, beta, log_step.exp(), noise)?;
                log_step += 0.5 * (Moments::of(&acceptance).mean() - TARGET_ACCEPTANCE);
                evaluations += 1;
            }
            let gaps = rows::host(&(&walkers.base - &walkers.target)?)?;
            spread.push(Moments::of(&gaps).variance().sqrt());
            log_steps.push(log_step);
        }
        Ok(Pilot { betas, spread, log_steps, evaluations })
    }

    /// The run proper: forward from the base, or backward from `samples`.
    fn run(
        &self,
        path: &Path<'_>,
        plan: Plan,
        samples: Option<&Tensor>,
        noise: &mut Noise,
    ) -> Result<AisEstimate> {
        let chains = samples.map_or(Ok(self.chains), |x| x.dim(0))?;
        let rungs = plan.betas.len() - 1;
        let mut acceptance = vec![Moments::default(); rungs];
        let (mut log_weights, mut ends, mut evaluations) = (vec![], vec![], plan.evaluations);
        for (start, n) in rows::pieces(chains, self.rows_at_once) {
            let z = match samples {
                None => noise.normal((n, path.base.dimension()), path.base.dtype(), path.base.device())?,
                Some(x) => path.base.whiten(&x.narrow(0, start, n)?.reshape((n, ()))?)?,
            };
            let mut walkers = path.at(z)?;
            evaluations += 1;
            let mut log_w = vec![0.0; n];
            for (i, rate) in acceptance.iter_mut().enumerate() {
                let k = if samples.is_none() { i + 1 } else { rungs - i };
                let gaps = rows::host(&(&walkers.base - &walkers.target)?)?;
                let width = plan.betas[k] - plan.betas[k - 1];
                log_w.iter_mut().zip(gaps).for_each(|(w, gap)| *w += width * gap);
                // The chain moves at the temperature between this weight and the next; after the last it need not.
                let next = if samples.is_none() { k } else { k - 1 };
                if i + 1 == rungs {
                    break;
                }
                for _ in 0..self.transitions {
                    let moved = path.transition(&mut walkers, plan.betas[next], plan.steps[next], noise)?;
                    moved.iter().for_each(|&a| rate.push(a));
                    evaluations += 1;
                }
            }
            log_weights.extend(log_w);
            ends.push(path.event_of(&path.base.colour(&walkers.z)?)?);
        }
        if let Some(i) = log_weights.iter().position(|w| w.is_nan()) {
            return Err(Error::data("energy during annealing", "a number", format!("NaN in chain {i}")));
        }
        // In reverse the weights estimate 1/Z.
        let sign = if samples.is_none() { 1.0 } else { -1.0 };
        let signed: Vec<f64> = log_weights.iter().map(|w| sign * w).collect();
        let (log_mean, standard_error) = log_mean_weight(&signed);
        let rates: Vec<f64> = acceptance.iter().filter(|m| m.count() > 0).map(Moments::mean).collect();
        Ok(AisEstimate {
            log_z: sign * log_mean,
            standard_error,
            effective_sample_size: effective_sample_size(&signed),
            acceptance: Moments::of(&rates).mean(),
            lowest_acceptance: rates.iter().copied().fold(f64::NAN, f64::min),
            temperatures: plan.betas,
            log_weights: signed,
            x: Tensor::cat(&ends, 0)?,
            evaluations,
        })
    }
}

struct Plan {
    betas: Vec<f64>,
    steps: Vec<f64>,
    evaluations: u64,
}

struct Pilot {
    betas: Vec<f64>,
    spread: Vec<f64>,
    log_steps: Vec<f64>,
    evaluations: u64,
}

/// The two ends of the path, seen in whitened coordinates.
struct Path<'a> {
    target: &'a dyn Energy,
    base: &'a Gaussian,
    event: &'a [usize],
}

/// Chains with both energies at hand, so that changing the temperature costs no evaluation.
struct Walkers {
    z: Tensor,        // (n, d)
    base: Tensor,     // (n,) f64, normalised
    target: Tensor,   // (n,) f64
    gradient: Tensor, // of the target, (n, d)
}

impl Path<'_> {
    fn event_of(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = vec![x.dim(0)?];
        shape.extend_from_slice(self.event);
        Ok(x.reshape(shape)?)
    }

    fn at(&self, z: Tensor) -> Result<Walkers> {
        let z = z.detach();
        let x = self.event_of(&self.base.colour(&z)?)?;
        let (energy, gradient) = self.target.energy_and_gradient(&x)?;
        let target = (energy.detach().to_dtype(DType::F64)? - self.base.log_det())?;
        let gradient = self.base.pull_gradient(&gradient.detach().reshape(z.shape())?)?;
        let base = math::log_standard_normal(&z.to_dtype(DType::F64)?)?.neg()?;
        Ok(Walkers { z, base, target, gradient })
    }

    /// One MALA transition of every chain at temperature `beta`; the acceptance probabilities.
    fn transition(&self, walkers: &mut Walkers, beta: f64, step: f64, noise: &mut Noise) -> Result<Vec<f64>> {
        let from = walkers.tempered(beta)?;
        let xi = noise.normal_like(&from.x)?;
        let proposal = self.at(propose(&from.x, &from.gradient, &xi, step)?)?;
        let ratio = log_ratio(&from, &proposal.tempered(beta)?, &xi, step)?;
        let (info, mask) = accept(&ratio, noise, from.x.device())?;
        walkers.z = rows::select(&mask, &proposal.z, &walkers.z)?;
        walkers.base = rows::select(&mask, &proposal.base, &walkers.base)?;
        walkers.target = rows::select(&mask, &proposal.target, &walkers.target)?;
        walkers.gradient = rows::select(&mask, &proposal.gradient, &walkers.gradient)?;
        Ok(info.acceptance)
    }
}

impl Walkers {
    fn tempered(&self, beta: f64) -> Result<Chains> {
        Ok(Chains {
            x: self.z.clone(),
            energy: ((&self.base * (1.0 - beta))? + (&self.target * beta)?)?,
            gradient: ((&self.z * (1.0 - beta))? + (&self.gradient * beta)?)?,
        })
    }
}

/// `rungs + 1` temperatures at equal steps of ∫ (spread + a tenth of its mean) dβ.
fn balance(betas: &[f64], spread: &[f64], rungs: usize) -> Vec<f64> {
    let finite = spread.iter().copied().filter(|s| s.is_finite()).fold(0.0, f64::max);
    let spread: Vec<f64> = spread.iter().map(|s| if s.is_finite() { *s } else { finite }).collect();
    let area = |i: usize| 0.5 * (spread[i] + spread[i + 1]) * (betas[i + 1] - betas[i]);
    let total: f64 = (0..betas.len() - 1).map(area).sum();
    // The floor keeps temperatures everywhere, also where the pilot run saw no spread at all.
    let floor = if total > 0.0 { 0.1 * total } else { 1.0 };
    let mut length = vec![0.0];
    for i in 0..betas.len() - 1 {
        length.push(length[i] + area(i) + floor * (betas[i + 1] - betas[i]));
    }
    let whole = length[betas.len() - 1];
    let mut placed: Vec<f64> =
        (0..=rungs).map(|k| interpolate(&length, betas, whole * k as f64 / rungs as f64)).collect();
    placed[0] = 0.0;
    placed[rungs] = 1.0;
    placed
}

/// The broken line through the points `(xs, ys)` at `x`; constant beyond its ends.
fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let right = xs.partition_point(|v| *v < x).clamp(1, xs.len() - 1);
    let (a, b) = (xs[right - 1], xs[right]);
    let share = if b > a { ((x - a) / (b - a)).clamp(0.0, 1.0) } else { 0.0 };
    ys[right - 1] + share * (ys[right] - ys[right - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::likelihood::quadrature::Quadrature;
    use crate::targets::Mixture;
    use candle_core::Device;

    fn standard(d: usize) -> Result<Gaussian> {
        Gaussian::standard(d, DType::F64, &Device::Cpu)
    }

    /// A double well that is no mixture: U = (x² − 1)² + ½ y² + x y / 4.
    struct DoubleWell;

    impl Energy for DoubleWell {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok(self.energy_and_gradient(x)?.0)
        }
        fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            let (u, v) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
            let well = (u.sqr()? - 1.0)?;
            let energy = ((well.sqr()? + (v.sqr()? * 0.5)?)? + ((&u * &v)? * 0.25)?)?;
            let gradient = Tensor::cat(&[((&u * well)? * 4.0 + (&v * 0.25)?)?, (&v + (&u * 0.25)?)?], 1)?;
            Ok((energy.squeeze(1)?, gradient))
        }
    }

    #[test]
    fn annealing_agrees_with_quadrature() -> Result<()> {
        let judge = Quadrature { dtype: DType::F64, ..Quadrature::around(&[(-5.0, 5.0), (-5.0, 5.0)]) };
        let truth = judge.of_energy(&DoubleWell)?.log_z;
        let base = Gaussian::full(&[0.2, -0.1], &[1.5, 0.3, 0.3, 1.2], DType::F64, &Device::Cpu)?;
        for (i, ladder) in [Ladder::Balanced(60), Ladder::Even(60)].into_iter().enumerate() {
            let ais = Ais { chains: 1000, ladder, ..Ais::default() };
            let got = ais.estimate(&DoubleWell, &base, &[2], &mut Noise::new(i as u64))?;
            assert!((got.log_z - truth).abs() < 4.0 * got.standard_error, "{} {truth}", got.log_z);
            assert!(got.standard_error < 0.02 && got.effective_sample_size > 700.0, "{got:?}");
            assert!((got.acceptance - TARGET_ACCEPTANCE).abs() < 0.1, "{}", got.acceptance);
            let bootstrap = got.bootstrap_error(400, &mut Noise::new(7))?;
            assert!((bootstrap / got.standard_error - 1.0).abs() < 0.25, "{bootstrap}");
        }
        Ok(())
    }

    /// Sixteen dimensions, log Z known; forward and reverse runs close in on it from both sides.
    #[test]
    fn forward_and_reverse_enclose_a_known_constant() -> Result<()> {
        let d = 16;
        let side = |s: f64| (0..d).map(|j| s * if j % 2 == 0 { 0.5 } else { -0.3 }).collect::<Vec<_>>();
        let target = Mixture {
            weights: vec![0.4, 0.6],
            means: vec![side(1.0), side(-1.0)],
            variances: vec![0.3, 0.5],
            log_z: -12.3,
        };
        let ais = Ais { chains: 300, ladder: Ladder::Balanced(150), ..Ais::default() };
        let mut noise = Noise::new(3);
        let forward = ais.estimate(&target, &standard(d)?, &[d], &mut noise)?;
        assert!((forward.log_z - target.log_z).abs() < 4.0 * forward.standard_error, "{}", forward.log_z);
        assert!(forward.standard_error < 0.15, "{}", forward.standard_error);
        let exact = target.sample(300, &mut noise)?;
        let reverse = ais.reverse(&target, &standard(d)?, &exact, &mut noise)?;
        assert!((reverse.log_z - target.log_z).abs() < 4.0 * reverse.standard_error, "{}", reverse.log_z);
        let slack = 4.0 * forward.standard_error.hypot(reverse.standard_error);
        assert!(forward.log_z < reverse.log_z + slack);
        assert_eq!((forward.x.dims(), forward.log_weights.len()), (&[300, d][..], 300));
        Ok(())
    }

    /// Where base and target agree every weight is exactly Z, whatever the chains do.
    #[test]
    fn no_distance_no_error() -> Result<()> {
        let target =
            Mixture { weights: vec![1.0], means: vec![vec![0.0; 3]], variances: vec![1.0], log_z: 2.5 };
        let ais = Ais { chains: 20, ladder: Ladder::Balanced(5), ..Ais::default() };
        let got = ais.estimate(&target, &standard(3)?, &[3], &mut Noise::new(0))?;
        assert!((got.log_z - 2.5).abs() < 1e-12 && got.standard_error < 1e-12);
        assert!((got.effective_sample_size - 20.0).abs() < 1e-9 && !got.is_degenerate());
        Ok(())
    }

    /// E Ẑ = Z forward, and E 1/Ẑ = 1/Z in reverse, hold for any number of temperatures, even a single one.
    #[test]
    fn the_mean_weight_is_unbiased_for_short_ladders() -> Result<()> {
        let target = Mixture { weights: vec![1.0], means: vec![vec![0.5]], variances: vec![0.7], log_z: 0.4 };
        let mut noise = Noise::new(5);
        let exact = target.sample(20_000, &mut noise)?;
        for betas in [vec![0.0, 1.0], vec![0.0, 0.3, 1.0], vec![0.0, 0.1, 0.7, 1.0]] {
            let ladder = Ladder::Given(betas);
            let ais = Ais { chains: 20_000, ladder, step: Some(0.5), pilot_chains: 0, ..Ais::default() };
            for got in [
                ais.estimate(&target, &standard(1)?, &[1], &mut noise)?,
                ais.reverse(&target, &standard(1)?, &exact, &mut noise)?,
            ] {
                assert!((got.log_z - 0.4).abs() < 4.0 * got.standard_error, "{got:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn settings_without_sense_are_errors_and_hopeless_weights_are_named() -> Result<()> {
        let target = Mixture::pair();
        let base = standard(2)?;
        let fails =
            |ais: Ais, event: &[usize]| ais.estimate(&target, &base, event, &mut Noise::new(0)).is_err();
        assert!(fails(Ais { chains: 0, ..Ais::default() }, &[2]));
        assert!(fails(Ais { transitions: 0, ..Ais::default() }, &[2]));
        assert!(fails(Ais { ladder: Ladder::Even(0), ..Ais::default() }, &[2]));
        assert!(fails(Ais { ladder: Ladder::Given(vec![0.0, 0.5]), ..Ais::default() }, &[2]));
        assert!(fails(Ais { step: Some(-1.0), ..Ais::default() }, &[2]));
        assert!(fails(Ais::default(), &[3]));
        // Plain importance sampling of a far, narrow target.
        let far =
            Mixture { weights: vec![1.0], means: vec![vec![6.0; 2]], variances: vec![0.01], log_z: 0.0 };
        let hopeless = Ais { ladder: Ladder::Given(vec![0.0, 1.0]), ..Ais::default() };
        assert!(hopeless.estimate(&far, &base, &[2], &mut Noise::new(0))?.is_degenerate());
        Ok(())
    }
}
