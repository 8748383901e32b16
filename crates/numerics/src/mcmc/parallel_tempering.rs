//! Parallel tempering: replicas of every chain at several temperatures, which exchange their places.
//!
//! ```text
//! replica k moves on U_k = (1 − β_k) U₀ + β_k U₁,   0 ≤ β_1 < … < β_K = 1
//! neighbours k, k+1 swap with probability min(1, exp((β_k − β_{k+1}) (D_k − D_{k+1}))),   D = U₁ − U₀ at the replica
//! ```
//!
//! Pairs (1,2), (3,4), … and pairs (2,3), (4,5), … take turns, which carries states between the ends fastest. Every
//! replica keeps its own law exactly; the last samples the target, the first should mix by itself. Rejections add up
//! to the communication barrier Λ = Σ r_k, which hardly depends on the ladder: with a swap rate s wanted, Λ/(1 − s)
//! pairs at equal shares of Λ have it.
//! Source: Geyer (1991); Okabe et al. (2001) for the turns; Syed, Bouchard-Côté, Deligiannidis & Doucet (2022),
//! arXiv:1905.02939, §4–5, for the barrier.

use candle_core::Tensor;
use genzoo_core::{Error, Noise, Result};

use super::{Bridge, Ends, Transition};
use crate::special::Moments;

/// A ladder of temperatures, and Hamiltonian moves on it; with one leapfrog they are MALA's.
#[derive(Clone, Debug)]
pub struct ParallelTempering {
    betas: Vec<f64>,
    steps: Vec<f64>,
    leapfrogs: usize,
}

/// Every chain at every temperature.
#[derive(Clone, Debug)]
pub struct Replicas {
    ends: Ends, // replica k of chain c in row k·chains + c
    chains: usize,
    sweeps: u64,
    walkers: Vec<Walker>, // who is in the row
}

/// A state on its way along the ladder.
#[derive(Clone, Copy, Debug, Default)]
struct Walker {
    /// Whether it was at the first replica since it was last at the last one.
    cooling: bool,
    round_trips: u64,
}

/// What one step did.
#[derive(Clone, Debug)]
pub struct TemperingInfo {
    /// Acceptance probability of the moves of each replica, averaged over chains.
    pub acceptance: Vec<f64>,
    /// Probability of the swap of each pair of neighbours, averaged over chains; `None` where it was not their turn.
    pub swaps: Vec<Option<f64>>,
}

impl Replicas {
    /// The states at temperature number `k`, `(chains, event…)`.
    pub fn at(&self, k: usize) -> Result<Tensor> {
        Ok(self.ends.x.narrow(0, k * self.chains, self.chains)?)
    }

    /// Journeys from the last replica to the first and back that are complete, over all chains.
    pub fn round_trips(&self) -> u64 {
        self.walkers.iter().map(|w| w.round_trips).sum()
    }
}

impl ParallelTempering {
    /// Replicas at `betas`, rising to 1, with leapfrogs of size `steps`, one per replica.
    ///
    /// # Errors
    /// If there are fewer than two replicas or the numbers make no sense.
    pub fn new(betas: &[f64], steps: &[f64], leapfrogs: usize) -> Result<Self> {
        let rising = betas.windows(2).all(|pair| pair[0] < pair[1]);
        let ends = betas.first().is_some_and(|b| *b >= 0.0) && betas.last().is_some_and(|b| *b == 1.0);
        if betas.len() < 2 || !rising || !ends {
            return Err(Error::config(
                "betas",
                "at least two, from 0 or above rising to 1",
                format!("{betas:?}"),
            ));
        }
        if steps.len() != betas.len() {
            return Err(Error::config("steps", format!("{} of them", betas.len()), steps.len()));
        }
        for step in steps {
            super::positive(*step)?;
        }
        if leapfrogs == 0 {
            return Err(Error::config("leapfrogs", "at least 1", 0));
        }
        Ok(Self { betas: betas.to_vec(), steps: steps.to_vec(), leapfrogs })
    }

    /// The temperatures, β rising to 1.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// Puts every replica of chain c at row c of `x`, `(chains, event…)`.
    pub fn init(&self, bridge: &Bridge<'_>, x: &Tensor) -> Result<Replicas> {
        let copies: Vec<&Tensor> = self.betas.iter().map(|_| x).collect();
        self.place(bridge.at(&Tensor::cat(&copies, 0)?, self.transition())?)
    }

    fn transition(&self) -> Transition {
        Transition::Hmc { leapfrogs: self.leapfrogs }
    }

    fn place(&self, ends: Ends) -> Result<Replicas> {
        let n = ends.x.dim(0)?;
        Ok(Replicas { ends, chains: n / self.betas.len(), sweeps: 0, walkers: vec![Walker::default(); n] })
    }

    /// Moves every replica once, then lets every second pair of neighbours try to swap.
    pub fn step(
        &self,
        bridge: &Bridge<'_>,
        replicas: &mut Replicas,
        noise: &mut Noise,
    ) -> Result<TemperingInfo> {
        let n = replicas.chains;
        let spread =
            |of: &[f64]| -> Vec<f64> { of.iter().flat_map(|v| std::iter::repeat_n(*v, n)).collect() };
        let (betas, steps) = (spread(&self.betas), spread(&self.steps));
        let info = bridge.jittered(&mut replicas.ends, &betas, &steps, self.transition(), noise)?;
        let acceptance = info.acceptance.chunks(n.max(1)).map(|of| Moments::of(of).mean()).collect();
        Ok(TemperingInfo { acceptance, swaps: self.swap(replicas, noise)? })
    }

    fn swap(&self, replicas: &mut Replicas, noise: &mut Noise) -> Result<Vec<Option<f64>>> {
        let (n, pairs) = (replicas.chains, self.betas.len() - 1);
        let slopes = replicas.ends.slopes()?;
        let mut source: Vec<usize> = (0..slopes.len()).collect();
        let mut swaps = vec![None; pairs];
        for k in ((replicas.sweeps % 2) as usize..pairs).step_by(2) {
            let mut probability = Moments::default();
            for (c, u) in noise.uniforms(n).into_iter().enumerate() {
                let (hot, cold) = (k * n + c, (k + 1) * n + c);
                let log = (self.betas[k] - self.betas[k + 1]) * (slopes[hot] - slopes[cold]);
                probability.push(if log.is_nan() { 0.0 } else { log.min(0.0).exp() });
                if u.ln() < log {
                    source.swap(hot, cold);
                }
            }
            swaps[k] = Some(probability.mean());
        }
        replicas.ends = replicas.ends.take(&source)?;
        replicas.walkers = source.iter().map(|&i| replicas.walkers[i]).collect();
        replicas.walkers.iter_mut().take(n).for_each(|w| w.cooling = true);
        for walker in replicas.walkers.iter_mut().skip(pairs * n).filter(|w| w.cooling) {
            *walker = Walker { cooling: false, round_trips: walker.round_trips + 1 };
        }
        replicas.sweeps += 1;
        Ok(swaps)
    }

    /// Adapts steps and ladder: `rounds` times `sweeps` sweeps of `replicas`, each round on the ladder that the one
    /// before it says gives neighbours the swap rate `rate`. The first and the last β stay.
    ///
    /// # Errors
    /// If `rate` is not strictly between 0 and 1, fewer than two sweeps are to judge, or a step fails.
    pub fn tune(
        self,
        bridge: &Bridge<'_>,
        mut replicas: Replicas,
        rate: f64,
        (rounds, sweeps): (usize, usize),
        noise: &mut Noise,
    ) -> Result<(Self, Replicas)> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(Error::config("rate", "a swap rate between 0 and 1", rate));
        }
        if sweeps < 2 {
            return Err(Error::config("sweeps", "at least 2, so that every pair has its turn", sweeps));
        }
        let mut ladder = self;
        for _ in 0..rounds {
            let mut swaps = vec![Moments::default(); ladder.betas.len() - 1];
            for sweep in 0..sweeps {
                let info = ladder.step(bridge, &mut replicas, noise)?;
                let best = ladder.transition().target_acceptance();
                for (step, acceptance) in ladder.steps.iter_mut().zip(info.acceptance) {
                    *step *= (0.3 * (acceptance - best)).exp();
                }
                // The first half settles on the new ladder, unless there is hardly any.
                if 2 * sweep >= sweeps || sweeps < 4 {
                    swaps.iter_mut().zip(info.swaps).for_each(|(m, s)| s.into_iter().for_each(|s| m.push(s)));
                }
            }
            let rates: Vec<f64> = swaps.iter().map(Moments::mean).collect();
            let (next, sources) = ladder.respaced(&rates, rate);
            let n = replicas.chains;
            let rows: Vec<usize> = sources.iter().flat_map(|k| (0..n).map(move |c| k * n + c)).collect();
            replicas = next.place(replicas.ends.take(&rows)?)?;
            ladder = next;
        }
        Ok((ladder, replicas))
    }

    /// The ladder on which swaps have the rate `rate`, by the rates measured on this one; and for each of its replicas
    /// the nearest one here.
    fn respaced(&self, rates: &[f64], rate: f64) -> (Self, Vec<usize>) {
        let mut barrier = vec![0.0];
        for swap in rates {
            // A pair that always swaps still is a pair.
            barrier.push(barrier[barrier.len() - 1] + (1.0 - swap).max(1e-3));
        }
        let total = barrier[rates.len()];
        let pairs = (total / (1.0 - rate)).round().max(1.0) as usize;
        let (mut betas, mut steps, mut sources) = (vec![], vec![], vec![]);
        for i in 0..=pairs {
            let wanted = total * i as f64 / pairs as f64;
            let k = barrier.iter().rposition(|b| *b <= wanted).unwrap_or(0).min(rates.len() - 1);
            let share = ((wanted - barrier[k]) / (barrier[k + 1] - barrier[k])).clamp(0.0, 1.0);
            betas.push(self.betas[k] + share * (self.betas[k + 1] - self.betas[k]));
            steps.push((self.steps[k].ln() * (1.0 - share) + self.steps[k + 1].ln() * share).exp());
            sources.push(if share < 0.5 { k } else { k + 1 });
        }
        if let Some(last) = betas.last_mut() {
            *last = 1.0; // not 1 − 10⁻¹⁶
        }
        (Self { betas, steps, leapfrogs: self.leapfrogs }, sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Mixture;
    use crate::{Gaussian, rows};
    use candle_core::{DType, Device};

    /// Two modes 24 standard deviations apart, masses 0.25 and 0.75.
    fn far() -> Mixture {
        Mixture {
            weights: vec![0.25, 0.75],
            means: vec![vec![-6.0, 0.0], vec![6.0, 0.0]],
            variances: vec![0.25, 0.25],
            log_z: 0.0,
        }
    }

    #[test]
    fn replicas_keep_their_laws_and_carry_mass_between_far_modes() -> Result<()> {
        let (target, n, mut noise) = (far(), 200, Noise::new(1));
        let base = Gaussian::diagonal(&[0.0; 2], &[6.0; 2], DType::F64, &Device::Cpu)?;
        let bridge = Bridge::new(Some(&base), &target);
        // All chains start in the lighter mode.
        let x = Tensor::new(&[[-6.0f64, 0.0]], &Device::Cpu)?.broadcast_as((n, 2))?.contiguous()?;
        let first = ParallelTempering::new(&[0.0, 0.02, 0.1, 0.4, 1.0], &[5.0, 2.0, 1.0, 0.7, 0.5], 3)?;
        let replicas = first.init(&bridge, &x)?;
        let (ladder, mut replicas) = first.tune(&bridge, replicas, 0.6, (4, 30), &mut noise)?;
        assert!(ladder.betas()[0] == 0.0 && ladder.betas().last() == Some(&1.0));
        for _ in 0..60 {
            ladder.step(&bridge, &mut replicas, &mut noise)?;
        }
        let mut swaps = vec![Moments::default(); ladder.betas().len() - 1];
        let mut acceptance = vec![Moments::default(); ladder.betas().len()];
        for _ in 0..40 {
            let info = ladder.step(&bridge, &mut replicas, &mut noise)?;
            acceptance.iter_mut().zip(info.acceptance).for_each(|(m, a)| m.push(a));
            swaps.iter_mut().zip(info.swaps).for_each(|(m, s)| s.into_iter().for_each(|s| m.push(s)));
        }
        assert!(acceptance.iter().all(|m| (0.5..0.8).contains(&m.mean())), "{acceptance:?}");
        // Every pair took its turn in every second sweep, and swaps near the wanted rate.
        for swap in &swaps {
            assert!(swap.count() == 20 && (swap.mean() - 0.6).abs() < 0.12, "{swaps:?} {:?}", ladder.betas());
        }
        assert!(replicas.round_trips() > 300, "{}", replicas.round_trips());
        let cold = rows::host(&replicas.at(swaps.len())?)?;
        let right = cold.chunks(2).filter(|row| row[0] > 0.0).count() as f64 / n as f64;
        // Chains are independent of one another.
        assert!((right - 0.75).abs() < 4.0 * (0.25 * 0.75 / n as f64).sqrt(), "{right}");
        let second = Moments::of(&cold.chunks(2).map(|row| row[1]).collect::<Vec<_>>());
        assert!((second.variance() - 0.25).abs() < 4.0 * 0.25 * (2.0 / n as f64).sqrt());
        let hot = Moments::of(&rows::host(&replicas.at(0)?)?);
        assert!((hot.variance() - 36.0).abs() < 4.0 * 36.0 * (1.0 / n as f64).sqrt(), "{}", hot.variance());
        assert!(hot.mean().abs() < 4.0 * 6.0 / (2.0 * n as f64).sqrt());
        Ok(())
    }

    /// p(x) p(y) s(x, y) = p(y) p(x) s(y, x), and Gaussians whose mean swap probability is known: for U = |x|²/2 in two
    /// dimensions, D is exponential with rate β, and E s = 2 β_1 / (β_1 + β_2) for β_1 < β_2.
    #[test]
    fn swaps_of_gaussians_have_the_known_rate() -> Result<()> {
        let (n, mut noise) = (2_000, Noise::new(2));
        let target = Gaussian::standard(2, DType::F64, &Device::Cpu)?;
        let bridge = Bridge::new(None, &target);
        let betas = [0.2, 0.5, 1.0];
        let ladder = ParallelTempering::new(&betas, &[1.0; 3], 1)?;
        let mut parts = vec![];
        for beta in betas {
            parts.push((noise.normal((n, 2), DType::F64, &Device::Cpu)? / f64::sqrt(beta))?);
        }
        let mut replicas = ladder.place(bridge.at(&Tensor::cat(&parts, 0)?, ladder.transition())?)?;
        let mut got = [Moments::default(); 2];
        for _ in 0..20 {
            for (got, swap) in got.iter_mut().zip(ladder.swap(&mut replicas, &mut noise)?) {
                swap.into_iter().for_each(|s| got.push(s));
            }
            let rows = betas.map(|b| [b; 2_000]).concat();
            bridge.jittered(
                &mut replicas.ends,
                &rows,
                &vec![1.0; 3 * n],
                Transition::Hmc { leapfrogs: 3 },
                &mut noise,
            )?;
        }
        for (k, got) in got.iter().enumerate() {
            let want = 2.0 * betas[k] / (betas[k] + betas[k + 1]);
            // Ten turns of 2,000 pairs, correlated a little in time.
            assert!((got.mean() - want).abs() < 0.015, "{} {want}", got.mean());
        }
        for (k, beta) in betas.into_iter().enumerate() {
            let moments = Moments::of(&rows::host(&replicas.at(k)?)?);
            let error = 4.0 / beta * (1.0 / n as f64).sqrt();
            assert!((moments.variance() - 1.0 / beta).abs() < error, "{k} {}", moments.variance());
        }
        Ok(())
    }

    #[test]
    fn ladders_that_make_no_sense_are_errors() {
        let new = |betas: &[f64]| ParallelTempering::new(betas, &vec![0.1; betas.len()], 1);
        assert!(new(&[1.0]).is_err() && new(&[0.0, 0.5]).is_err() && new(&[0.5, 0.2, 1.0]).is_err());
        assert!(new(&[-0.1, 1.0]).is_err() && new(&[f64::NAN, 1.0]).is_err() && new(&[0.0, 1.0]).is_ok());
        assert!(ParallelTempering::new(&[0.0, 1.0], &[0.1], 1).is_err());
        assert!(ParallelTempering::new(&[0.0, 1.0], &[0.1, 0.0], 1).is_err());
        assert!(ParallelTempering::new(&[0.0, 1.0], &[0.1, 0.1], 0).is_err());
    }
}
