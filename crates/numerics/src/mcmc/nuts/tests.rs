//! The walk against the recursion of the paper, on trajectories short enough to enumerate.

use super::*;
use crate::targets::Mixture;
use candle_core::Device;

/// An orbit of the leapfrog map, written for itself: index 0 is the start, negative indices the past.
struct Orbit {
    states: Vec<(Vec<f64>, Vec<f64>, f64)>, // x, p, H
    past: i64,
}

impl Orbit {
    fn through(target: &Mixture, x: &[f64], p: &[f64], step: f64, reach: i64) -> Self {
        let way = |step: f64| {
            let (mut x, mut p, mut states) = (x.to_vec(), p.to_vec(), vec![]);
            for _ in 0..=reach {
                let energy = -target.log_density(&x).0 + 0.5 * p.iter().map(|p| p * p).sum::<f64>();
                states.push((x.clone(), p.clone(), energy));
                let kick = |x: &[f64], p: &mut [f64]| {
                    let score = target.log_density(x).1;
                    p.iter_mut().zip(score).for_each(|(p, s)| *p += 0.5 * step * s);
                };
                kick(&x, &mut p);
                x.iter_mut().zip(&p).for_each(|(x, p)| *x += step * p);
                kick(&x, &mut p);
            }
            states
        };
        let mut states = way(-step);
        states.reverse();
        states.pop();
        states.extend(way(step));
        Self { states, past: reach }
    }

    fn at(&self, i: i64) -> &(Vec<f64>, Vec<f64>, f64) {
        &self.states[(i + self.past) as usize]
    }

    fn weight(&self, i: i64) -> f64 {
        (self.at(0).2 - self.at(i).2).exp()
    }

    fn turned(&self, low: i64, high: i64) -> bool {
        let ((a, p, _), (b, q, _)) = (self.at(low), self.at(high));
        let dot = |v: &[f64]| -> f64 { a.iter().zip(b).zip(v).map(|((a, b), v)| (b - a) * v).sum() };
        dot(p) < 0.0 || dot(q) < 0.0
    }

    fn turned_within(&self, low: i64, high: i64) -> bool {
        if low == high {
            return false;
        }
        let middle = low + (high - low) / 2;
        self.turned(low, high) || self.turned_within(low, middle) || self.turned_within(middle + 1, high)
    }

    /// Probability of each next index from index `from`, by trying every sequence of directions.
    fn transition(&self, from: i64, deepest: usize) -> std::collections::BTreeMap<i64, f64> {
        let mut out = std::collections::BTreeMap::new();
        self.double(from, from, &[(from, 1.0)], 1.0, deepest, &mut out);
        out
    }

    fn double(
        &self,
        low: i64,
        high: i64,
        law: &[(i64, f64)],
        probability: f64,
        left: usize,
        out: &mut std::collections::BTreeMap<i64, f64>,
    ) {
        let mut end = |law: &[(i64, f64)], probability: f64| {
            law.iter().for_each(|(i, p)| *out.entry(*i).or_insert(0.0) += probability * p);
        };
        if left == 0 {
            return end(law, probability);
        }
        let length = high - low + 1;
        let mut next = vec![];
        for (a, b) in [(high + 1, high + length), (low - length, low - 1)] {
            if self.turned_within(a, b) {
                end(law, 0.5 * probability);
                continue;
            }
            let old: f64 = (low..=high).map(|i| self.weight(i)).sum();
            let new: f64 = (a..=b).map(|i| self.weight(i)).sum();
            let take = (new / old).min(1.0);
            let mut mixed: Vec<(i64, f64)> = law.iter().map(|(i, p)| (*i, p * (1.0 - take))).collect();
            mixed.extend((a..=b).map(|i| (i, take * self.weight(i) / new)));
            let (low, high) = (low.min(a), high.max(b));
            if self.turned(low, high) {
                end(&mixed, 0.5 * probability);
            } else {
                next.push((low, high, mixed));
            }
        }
        for (low, high, mixed) in next {
            self.double(low, high, &mixed, 0.5 * probability, left - 1, out);
        }
    }
}

/// Starts whose orbits turn at various depths.
const STARTS: [([f64; 2], [f64; 2]); 3] =
    [([-1.5, 0.3], [0.9, 0.4]), ([0.5, -1.0], [-1.2, 0.1]), ([2.0, 0.5], [0.3, 1.5])];

/// The recursion leaves e^{−H} invariant on the orbit, Σ_i e^{−H_i} P(i → 0) = e^{−H_0}.
#[test]
fn the_recursion_is_stationary() {
    let (target, deepest) = (Mixture::pair(), 4);
    for step in [0.15, 0.4, 0.9] {
        for (x, p) in STARTS {
            let orbit = Orbit::through(&target, &x, &p, step, 31);
            let flow: f64 = (-15..=15)
                .map(|i| orbit.weight(i) * orbit.transition(i, deepest).get(&0).copied().unwrap_or(0.0))
                .sum();
            assert!((flow - 1.0).abs() < 1e-10, "{flow}");
        }
    }
}

/// Many chains from one state and momentum end where the recursion says, as often as it says (χ²).
#[test]
fn the_walk_has_the_law_of_the_recursion() -> Result<()> {
    let (target, deepest, n) = (Mixture::pair(), 4, 4_000usize);
    let mut stops = std::collections::BTreeSet::new();
    for (s, (x, p)) in STARTS.into_iter().enumerate() {
        for step in [0.15, 0.4, 0.9] {
            let orbit = Orbit::through(&target, &x, &p, step, 15);
            let law = orbit.transition(0, deepest);
            let rows = Tensor::new(&x, &Device::Cpu)?.unsqueeze(0)?.broadcast_as((n, 2))?.contiguous()?;
            let mut chains = Chains::at(&target, &rows)?;
            let momentum = p.repeat(n);
            let mut noise = Noise::new(s as u64);
            let info = Nuts::new(step, deepest)?.walk(&target, &mut chains, &momentum, &mut noise)?;
            stops.extend(info.depth.iter().copied());
            let mut counts = std::collections::BTreeMap::new();
            for (x, error) in chains.x.to_vec2::<f64>()?.iter().zip(&info.energy_error) {
                let near = |i: &i64| orbit.at(*i).0.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-9);
                let i =
                    (-15..=15).find(near).ok_or_else(|| Error::data("state", "one of the orbit", "none"))?;
                assert!((error - (orbit.at(i).2 - orbit.at(0).2)).abs() < 1e-9);
                *counts.entry(i).or_insert(0u32) += 1;
            }
            assert!(counts.keys().all(|i| law.get(i).is_some_and(|p| *p > 0.0)), "{counts:?} {law:?}");
            let (mut chi, mut cells) = (0.0, 0.0);
            for (i, p) in law.iter().filter(|(_, p)| **p * n as f64 > 5.0) {
                let want = p * n as f64;
                chi += (f64::from(counts.get(i).copied().unwrap_or(0)) - want).powi(2) / want;
                cells += 1.0;
            }
            assert!(chi < cells + 4.0 * f64::sqrt(2.0 * cells) + 4.0, "{s} {step}: {chi} {cells}");
        }
    }
    assert!(stops.len() > 2, "only depths {stops:?} were tried");
    Ok(())
}

#[test]
fn chains_carry_what_the_target_says_and_report_divergence() -> Result<()> {
    let target = Mixture::pair();
    let x = target.sample(50, &mut Noise::new(1))?;
    let mut chains = Chains::at(&target, &x)?;
    let info = Nuts::new(0.3, 8)?.transition(&target, &mut chains, &mut Noise::new(2))?;
    assert!(info.moved.iter().filter(|m| **m).count() > 40 && !info.diverged.contains(&true));
    assert!(info.leapfrogs.iter().zip(&info.depth).all(|(n, d)| (1 << d) - 1 <= *n && *n < 1 << (d + 1)));
    assert!(info.acceptance.iter().all(|a| (0.6..=1.0).contains(a)));
    let fresh = Chains::at(&target, &chains.x)?;
    for (kept, fresh) in [(&chains.energy, &fresh.energy), (&chains.gradient, &fresh.gradient)] {
        assert!(rows::host(&(kept - fresh)?)?.iter().all(|gap| gap.abs() < 1e-12));
    }
    // Far beyond stability every first step diverges and no chain moves.
    let info = Nuts::new(100.0, 8)?.transition(&target, &mut chains, &mut Noise::new(3))?;
    assert!(info.diverged.iter().all(|d| *d) && !info.moved.contains(&true));
    assert!(info.acceptance.iter().all(|a| *a == 0.0));
    assert!(Nuts::new(0.1, 0).is_err() && Nuts::new(-0.1, 5).is_err());
    Ok(())
}
