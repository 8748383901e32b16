//! Which modes the samples reach, and with what mass.
//!
//! ```text
//! s_k = share of the samples within the radius of centre k (the nearest one), m_k its true mass
//! coverage = number of modes with s_k ≥ m_k/10
//! error    = ½ (Σ_k |s_k − m_k| + s_none)        the total variation between shares and masses
//! ```
//! Samples near no centre (`s_none`) count as misplaced mass. The truth has a little mass out there too: the floor
//! shows how much. A mode with a stray sample or two is not covered, hence the tenth.
//!
//! The total variation is `P(A) − m(A)` for the set A of modes that get too much, so its standard error is
//! the binomial one, `√(s_A (1 − s_A)/n)`. The number of covered modes varies with those near the threshold:
//! its variance is `Σ_k p_k (1 − p_k)`, with p_k the chance of reaching the threshold again.
//!
//! Source: Metz et al. (2017), arXiv:1611.02163, for counting modes; the masses follow Carbone et al. (2023).

use genzoo_core::{Better, Error, Modes, Result};
use genzoo_numerics::special::normal_cdf;

use super::case::{Case, Measured};
use super::points::Points;
use super::two_sample::Estimate;
use super::{MetricInfo, Rows};

pub(super) static METRICS: [MetricInfo; 2] = [
    MetricInfo {
        name: "mode_coverage",
        summary: "number of modes that get at least a tenth of their mass",
        unit: "modes",
        better: Better::Higher,
        rows: Rows::Points,
    },
    MetricInfo {
        name: "mode_error",
        summary: "total variation between the shares of the modes and their true masses",
        unit: "1",
        better: Better::Lower,
        rows: Rows::Points,
    },
];

pub(super) fn measure(case: &Case) -> Result<Vec<Measured>> {
    let modes = case.modes.ok_or_else(|| Error::Unsupported("these data have no known modes".into()))?;
    let (shares, n) = (shares(case.fake, modes), case.fake.len());
    let both = [coverage(&shares, modes, n), mass_error(&shares, modes, n)];
    Ok(both.map(|e| Measured::of(e, case.real, case.fake)).to_vec())
}

/// A mode is covered if it gets this part of its mass.
const COVERED: f64 = 0.1;

/// The share of each mode, and last that of none.
pub fn shares(x: &Points, modes: &Modes) -> Vec<f64> {
    let k = modes.centers.len();
    let mut counts = vec![0u64; k + 1];
    for i in 0..x.len() {
        let square = |c: &Vec<f64>| x.row(i).iter().zip(c).map(|(x, c)| (x - c) * (x - c)).sum::<f64>();
        let nearest = modes.centers.iter().map(square).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        let at = nearest.filter(|(_, r)| *r <= modes.radius * modes.radius).map_or(k, |(i, _)| i);
        counts[at] += 1;
    }
    counts.into_iter().map(|c| c as f64 / x.len().max(1) as f64).collect()
}

/// The number of covered modes.
pub fn coverage(shares: &[f64], modes: &Modes, n: usize) -> Estimate {
    let pairs = || shares.iter().zip(&modes.masses);
    let value = pairs().filter(|(s, m)| **s >= COVERED * **m).count() as f64;
    let variance = |(s, m): (&f64, &f64)| {
        let spread = (s * (1.0 - s) / n as f64).sqrt();
        let p =
            if spread > 0.0 { normal_cdf((s - COVERED * m) / spread) } else { f64::from(u8::from(*s > 0.0)) };
        p * (1.0 - p)
    };
    Estimate { value, stderr: pairs().map(variance).sum::<f64>().sqrt() }
}

/// The total variation between shares and masses.
pub fn mass_error(shares: &[f64], modes: &Modes, n: usize) -> Estimate {
    let none = shares.last().copied().unwrap_or(0.0);
    let off = shares.iter().zip(&modes.masses).map(|(s, m)| (s - m).abs()).sum::<f64>();
    let more = shares.iter().zip(&modes.masses).filter(|(s, m)| s > m).map(|(s, _)| s).sum::<f64>() + none;
    Estimate { value: 0.5 * (off + none), stderr: (more * (1.0 - more) / n as f64).max(0.0).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::{normal, of};
    use crate::metrics::two_sample::{mean, variance};

    fn three() -> Modes {
        Modes { centers: vec![vec![0.0], vec![10.0], vec![20.0]], masses: vec![0.5, 0.3, 0.2], radius: 3.0 }
    }

    #[test]
    fn by_hand() {
        let modes = three();
        let x = of(&[&[0.1], &[-1.0], &[2.9], &[10.0], &[9.0], &[4.9], &[-50.0], &[12.0], &[0.0], &[11.0]]);
        let s = shares(&x, &modes);
        assert_eq!(s, [0.4, 0.4, 0.0, 0.2]);
        let error = mass_error(&s, &modes, 10);
        assert!((error.value - 0.5 * (0.1 + 0.1 + 0.2 + 0.2)).abs() < 1e-15);
        // A = {second, none}: P(A) − m(A) = 0.6 − 0.3 is the same number.
        assert!((error.stderr - (0.6 * 0.4 / 10f64).sqrt()).abs() < 1e-15);
        assert_eq!(coverage(&s, &modes, 10).value, 2.0);
    }

    #[test]
    fn perfect_shares_have_no_error_and_cover_all() {
        let (modes, s) = (three(), [0.5, 0.3, 0.2, 0.0]);
        assert!(mass_error(&s, &modes, 2000).value.abs() < 1e-16);
        let c = coverage(&s, &modes, 2000);
        assert!(c.value == 3.0 && c.stderr < 1e-6);
        // One stray sample of 2000 does not cover a mode of mass 0.2; at the threshold it is a coin.
        assert_eq!(coverage(&[0.6, 0.3995, 0.0005, 0.0], &modes, 2000).value, 2.0);
        assert!((coverage(&[0.6, 0.38, 0.02, 0.0], &modes, 2000).stderr - 0.5).abs() < 1e-6);
    }

    /// With one mode 0.1 too heavy: samples of the two-mode law, judged against (0.5, 0.5).
    #[test]
    fn the_standard_error_is_the_spread_over_samples() {
        let modes = Modes { centers: vec![vec![-3.0], vec![3.0]], masses: vec![0.5, 0.5], radius: 9.0 };
        let (n, mut values, mut errors) = (400, Vec::new(), Vec::new());
        for run in 0..300 {
            // sign(z + 0.2533) is +1 with probability 0.6.
            let z = normal(n, 1, 1.0, 0.2533, run);
            let plus = (0..n).filter(|&i| z.row(i)[0] > 0.0).count() as f64 / n as f64;
            let e = mass_error(&[1.0 - plus, plus, 0.0], &modes, n);
            values.push(e.value);
            errors.push(e.stderr);
        }
        let spread = variance(&values).sqrt();
        assert!((mean(&values) - 0.1).abs() < 4.0 * spread / 300f64.sqrt());
        assert!((mean(&errors) / spread - 1.0).abs() < 4.0 / 600f64.sqrt());
    }
}
