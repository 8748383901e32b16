//! Where the temperatures lie.

use genzoo_core::{Error, Result};

use crate::special::effective_sample_size;

/// How the temperatures `0 = β_0 < … < β_K = 1` are placed.
#[derive(Clone, Debug, PartialEq)]
pub enum Ladder {
    /// This many at equal thermodynamic lengths, as a pilot run found them.
    Balanced(usize),
    /// At k/K.
    Even(usize),
    /// As given, rising from 0 to 1.
    Given(Vec<f64>),
    /// As many as a pilot run needs so that the weights of each rung keep this share of their sample size.
    Adaptive {
        /// Effective share of the weights that one rung may leave, in (0, 1); nearer to 1 means more rungs.
        share: f64,
        /// Rungs at which the pilot run gives up.
        at_most: usize,
    },
}

impl Ladder {
    /// # Errors
    /// If there is no rung, a share is none, or given temperatures do not rise from 0 to 1.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Balanced(0) | Self::Even(0) | Self::Adaptive { at_most: 0, .. } => {
                Err(Error::config("temperatures", "at least 1", 0))
            }
            Self::Adaptive { share, .. } if !(*share > 0.0 && *share < 1.0) => {
                Err(Error::config("share", "a number between 0 and 1, e.g. 0.99", share))
            }
            Self::Given(betas) => {
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

    /// The temperatures where no pilot run places them: as given, or even.
    pub(super) fn without_pilot(&self) -> Vec<f64> {
        match self {
            Self::Given(betas) => betas.clone(),
            Self::Balanced(rungs) | Self::Even(rungs) | Self::Adaptive { at_most: rungs, .. } => even(*rungs),
        }
    }
}

/// `rungs + 1` temperatures at k/K.
pub(super) fn even(rungs: usize) -> Vec<f64> {
    (0..=rungs).map(|i| i as f64 / rungs as f64).collect()
}

/// `rungs + 1` temperatures at equal steps of ∫ (spread + a tenth of its mean) dβ.
pub(super) fn balance(betas: &[f64], spread: &[f64], rungs: usize) -> Vec<f64> {
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

/// The next temperature after `beta`: the farthest at which the weights of draws at `beta` keep `share` of their sample
/// size (the conditional effective sample size of Zhou, Johansen & Aston 2016, Eq. 12, for draws of equal weight).
/// `log_weights` gives them for any temperature.
pub(super) fn farthest(beta: f64, share: f64, log_weights: impl Fn(f64) -> Result<Vec<f64>>) -> Result<f64> {
    let keeps = |next: f64| -> Result<bool> {
        let logs = log_weights(next)?;
        Ok(effective_sample_size(&logs) / logs.len() as f64 >= share)
    };
    if keeps(1.0)? {
        return Ok(1.0);
    }
    let (mut near, mut far) = (beta, 1.0);
    for _ in 0..50 {
        let middle = 0.5 * (near + far);
        if keeps(middle)? { near = middle } else { far = middle }
    }
    // Where even the smallest step loses draws (walls), the ladder must move on all the same.
    Ok(near.max(beta + 1e-9))
}

/// The broken line through the points `(xs, ys)` at `x`; constant beyond its ends.
pub(super) fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let right = xs.partition_point(|v| *v < x).clamp(1, xs.len() - 1);
    let (a, b) = (xs[right - 1], xs[right]);
    let share = if b > a { ((x - a) / (b - a)).clamp(0.0, 1.0) } else { 0.0 };
    ys[right - 1] + share * (ys[right] - ys[right - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Noise;

    /// For gaps N(m, s²) the weights e^{Δ gap} are log-normal: they keep the share e^{−Δ² s²}.
    #[test]
    fn the_step_keeps_the_share_it_was_asked_for() -> Result<()> {
        let step = |beta: f64, share: f64, gaps: &[f64]| {
            farthest(beta, share, |next| Ok(gaps.iter().map(|gap| (next - beta) * gap).collect()))
        };
        let gaps: Vec<f64> = Noise::new(1).normals(200_000).iter().map(|z| 40.0 + 3.0 * z).collect();
        for share in [0.9, 0.99] {
            let width = step(0.2, share, &gaps)? - 0.2;
            let want = (-f64::ln(share)).sqrt() / 3.0;
            assert!((width / want - 1.0).abs() < 0.02, "{share}: {width} {want}");
        }
        assert_eq!(step(0.2, 0.99, &[7.0; 5])?, 1.0);
        assert!(step(0.5, 0.9, &[0.0, f64::NEG_INFINITY])? > 0.5);
        Ok(())
    }

    #[test]
    fn balanced_temperatures_crowd_where_the_spread_is() {
        let betas = even(100);
        let spread: Vec<f64> = betas.iter().map(|b| if *b < 0.5 { 3.0 } else { 1.0 }).collect();
        let placed = balance(&betas, &spread, 40);
        assert_eq!((placed[0], placed[40], placed.len()), (0.0, 1.0, 41));
        assert!(placed.windows(2).all(|p| p[0] < p[1]));
        // Lengths 1.5 and 0.5, and a floor of 0.2 over all: (1.5 + 0.1)/2.2 of the rungs lie below one half.
        let below = placed.iter().filter(|b| **b < 0.5).count() as f64;
        assert!((below - 40.0 * 1.6 / 2.2).abs() < 1.5, "{below}");
    }
}
