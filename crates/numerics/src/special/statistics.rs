//! Sample statistics: moments in one pass, bootstrap errors, intervals for proportions.

use genzoo_core::{Noise, Result};

/// Mean and variance of a stream of numbers in one stable pass (Welford 1962), mergeable (Chan et al. 1979).
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// The moments of `values`.
    pub fn of(values: &[f64]) -> Self {
        let mut moments = Self::default();
        values.iter().for_each(|&v| moments.push(v));
        moments
    }

    /// Takes one more number in.
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    /// The moments of both streams together.
    pub fn merge(self, other: Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        Self {
            count: self.count + other.count,
            mean: self.mean + delta * m / (n + m),
            squares: self.squares + other.squares + delta * delta * n * m / (n + m),
        }
    }

    /// How many numbers were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sample mean; NaN without numbers.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.mean }
    }

    /// Unbiased sample variance; NaN for fewer than two numbers.
    pub fn variance(&self) -> f64 {
        if self.count < 2 { f64::NAN } else { self.squares / (self.count - 1) as f64 }
    }

    /// Standard error of the mean of independent numbers; NaN for fewer than two.
    pub fn standard_error(&self) -> f64 {
        (self.variance() / self.count as f64).sqrt()
    }
}

/// Standard deviation of `statistic` over `resamples` resamples of `0..n` with replacement (Efron 1979).
///
/// `statistic` gets the drawn indices, so paired and multivariate samples resample together.
pub fn bootstrap_standard_error(
    n: usize,
    resamples: usize,
    mut statistic: impl FnMut(&[usize]) -> Result<f64>,
    noise: &mut Noise,
) -> Result<f64> {
    if n == 0 {
        return Ok(f64::NAN);
    }
    let mut moments = Moments::default();
    for _ in 0..resamples {
        moments.push(statistic(&noise.below(n, n))?);
    }
    Ok(moments.variance().sqrt())
}

/// A function of means, with its standard error and without its bias of order 1/n, from leaving out each of the blocks
/// in turn (Quenouille 1956; Tukey 1958). `blocks` hold independent means of K quantities, of equal weight; there must
/// be at least two.
pub fn jackknife<const K: usize>(blocks: &[[f64; K]], statistic: impl Fn(&[f64; K]) -> f64) -> (f64, f64) {
    let n = blocks.len() as f64;
    let total: [f64; K] = std::array::from_fn(|k| blocks.iter().map(|b| b[k]).sum());
    let without =
        |b: &[f64; K]| statistic(&std::array::from_fn::<f64, K, _>(|k| (total[k] - b[k]) / (n - 1.0)));
    let left_out = Moments::of(&blocks.iter().map(without).collect::<Vec<_>>());
    let whole = statistic(&total.map(|t| t / n));
    let variance = left_out.variance() * (n - 1.0) * (n - 1.0) / n;
    (n * whole - (n - 1.0) * left_out.mean(), variance.sqrt())
}

/// Wilson's score interval for a proportion, `successes` of `trials`, at `z` standard errors (1.96 for 95 %).
///
/// It stays inside [0, 1] and has width also at 0 and at `trials`; without trials it is all of [0, 1].
pub fn wilson_interval(successes: u64, trials: u64, z: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (trials as f64, successes as f64 / trials as f64);
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook formula E x² − (E x)² would lose every digit here.
    #[test]
    fn moments_survive_a_large_offset() {
        let values: Vec<f64> = (0..1000).map(|i| 1e9 + (i % 10) as f64).collect();
        let moments = Moments::of(&values);
        assert!((moments.mean() - (1e9 + 4.5)).abs() < 1e-5); // 100 units in the last place
        assert!((moments.variance() - 8.25 * 1000.0 / 999.0).abs() < 1e-6, "{}", moments.variance());
    }

    #[test]
    fn merging_is_pushing_everything() {
        let values: Vec<f64> = (0..50).map(|i| (i as f64 * 0.7).sin()).collect();
        let merged = Moments::of(&values[..13]).merge(Moments::of(&values[13..]));
        let whole = Moments::of(&values);
        assert_eq!(merged.count(), 50);
        assert!((merged.mean() - whole.mean()).abs() < 1e-15);
        assert!((merged.variance() - whole.variance()).abs() < 1e-15);
        assert!(Moments::default().mean().is_nan() && Moments::of(&[1.0]).variance().is_nan());
    }

    #[test]
    fn bootstrap_of_the_mean_is_its_standard_error() -> Result<()> {
        let mut noise = Noise::new(3);
        let values = noise.normals(400);
        let mean = |rows: &[usize]| Ok(rows.iter().map(|&i| values[i]).sum::<f64>() / rows.len() as f64);
        let got = bootstrap_standard_error(400, 2000, mean, &mut noise)?;
        let want = Moments::of(&values).standard_error();
        // A standard deviation from 2000 draws has relative error 1/√4000.
        assert!((got / want - 1.0).abs() < 4.0 / 4000f64.sqrt() + 1.0 / 400.0, "{got} {want}");
        Ok(())
    }

    /// On a mean it is the mean and its standard error; on E x² − (E x)² it is the unbiased variance.
    #[test]
    fn the_jackknife_has_its_closed_forms() {
        let values = Noise::new(4).normals(50);
        let blocks: Vec<[f64; 2]> = values.iter().map(|x| [*x, x * x]).collect();
        let moments = Moments::of(&values);
        let (mean, error) = jackknife(&blocks, |m| m[0]);
        assert!((mean - moments.mean()).abs() < 1e-13);
        assert!((error - moments.standard_error()).abs() < 1e-13);
        let (variance, error) = jackknife(&blocks, |m| m[1] - m[0] * m[0]);
        assert!((variance - moments.variance()).abs() < 1e-12, "{variance} {}", moments.variance());
        // Normal draws: √(2/49) of it, from fifty of them within some thirty percent.
        assert!((error / (variance * (2.0 / 49.0f64).sqrt()) - 1.0).abs() < 0.5, "{error}");
    }

    /// The interval's ends are where the score test just rejects: |p̂ − p| = z √(p(1−p)/n).
    #[test]
    fn wilson_ends_solve_the_score_equation() {
        for (k, n) in [(0, 10), (3, 10), (10, 10), (500, 1000)] {
            let (low, high) = wilson_interval(k, n, 1.96);
            for end in [low, high] {
                let gap = (k as f64 / n as f64 - end).abs();
                assert!((gap - 1.96 * (end * (1.0 - end) / n as f64).sqrt()).abs() < 1e-9);
            }
        }
        assert_eq!(wilson_interval(0, 0, 2.0), (0.0, 1.0));
    }
}
