//! How well chains have mixed: autocorrelation, effective sample size, split R̂.
//!
//! ```text
//! ESS = m n / τ,   τ = −1 + 2 Σ_k P_k,   P_k = ρ_{2k} + ρ_{2k+1}, kept while positive and made decreasing
//! R̂   = √( ((n−1)/n W + B/n) / W ),   over 2m half-chains
//! ```
//!
//! ρ_t combines the chains: 1 − (W − mean autocovariance at lag t) / var⁺.
//! Source: Geyer (1992), §3.3 (initial positive and monotone sequences); Gelman et al., "Bayesian Data Analysis",
//! 3rd ed., §11.4–11.5; Vehtari et al. (2021) for the combination.

use crate::special::Moments;

/// Autocorrelation of one chain at lags `0..=max_lag`, with the biased (1/n) autocovariance.
pub fn autocorrelation(chain: &[f64], max_lag: usize) -> Vec<f64> {
    let mean = Moments::of(chain).mean();
    let variance = autocovariance(chain, mean, 0);
    (0..=max_lag).map(|lag| autocovariance(chain, mean, lag) / variance).collect()
}

/// Effective number of independent draws in `chains` of equal length (the shortest counts), for the mean.
///
/// NaN if there are fewer than four draws per chain or the chains never move.
pub fn effective_sample_size(chains: &[Vec<f64>]) -> f64 {
    let n = chains.iter().map(Vec::len).min().unwrap_or(0);
    let m = chains.len();
    if n < 4 {
        return f64::NAN;
    }
    let chains: Vec<&[f64]> = chains.iter().map(|c| &c[..n]).collect();
    let (within, plus) = variances(&chains);
    if !(plus > 0.0 && within > 0.0) {
        return f64::NAN;
    }
    let means: Vec<f64> = chains.iter().map(|c| Moments::of(c).mean()).collect();
    let rho = |lag: usize| {
        let shared: f64 =
            chains.iter().zip(&means).map(|(c, mean)| autocovariance(c, *mean, lag)).sum::<f64>() / m as f64;
        1.0 - (within - shared) / plus
    };
    let (mut tau, mut smallest) = (-1.0, f64::INFINITY);
    for k in 0..n / 2 {
        let first = if k == 0 { 1.0 } else { rho(2 * k) };
        let pair = first + rho(2 * k + 1);
        if pair <= 0.0 {
            break;
        }
        smallest = pair.min(smallest);
        tau += 2.0 * smallest;
    }
    let draws = (m * n) as f64;
    // Antithetic chains can beat independent draws, but an estimate beyond this factor is noise.
    draws / tau.max(1.0 / draws.log10())
}

/// Split R̂: near 1 where the halves of all chains agree. NaN if there are fewer than four draws per chain.
pub fn split_r_hat(chains: &[Vec<f64>]) -> f64 {
    let n = chains.iter().map(Vec::len).min().unwrap_or(0) / 2;
    if n < 2 {
        return f64::NAN;
    }
    let halves: Vec<&[f64]> = chains.iter().flat_map(|c| [&c[..n], &c[c.len() - n..]]).collect();
    let (within, plus) = variances(&halves);
    (plus / within).sqrt()
}

/// Mean variance within the chains, and the pooled estimate (n−1)/n W + B/n.
fn variances(chains: &[&[f64]]) -> (f64, f64) {
    let n = chains[0].len() as f64;
    let moments: Vec<Moments> = chains.iter().map(|c| Moments::of(c)).collect();
    let within = moments.iter().map(Moments::variance).sum::<f64>() / chains.len() as f64;
    let means: Vec<f64> = moments.iter().map(Moments::mean).collect();
    let between = if chains.len() > 1 { Moments::of(&means).variance() } else { 0.0 };
    (within, within * (n - 1.0) / n + between)
}

fn autocovariance(chain: &[f64], mean: f64, lag: usize) -> f64 {
    let pairs = chain.iter().zip(chain.iter().skip(lag));
    pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / chain.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Noise;

    /// x' = ρ x + √(1−ρ²) ξ has autocorrelation ρ^t and τ = (1 + ρ)/(1 − ρ).
    fn autoregressive(rho: f64, chains: u64, n: usize) -> Vec<Vec<f64>> {
        let chain = |seed| {
            let mut x = 0.0;
            let normals = Noise::new(seed).normals(n + 100);
            let all = normals.iter().map(|xi| {
                x = rho * x + (1.0 - rho * rho).sqrt() * xi;
                x
            });
            all.skip(100).collect()
        };
        (0..chains).map(chain).collect()
    }

    #[test]
    fn sample_size_of_an_autoregressive_chain_is_known() {
        for rho in [-0.5, 0.0, 0.5, 0.9] {
            let chains = autoregressive(rho, 4, 20_000);
            let got = effective_sample_size(&chains) / 80_000.0;
            let want = (1.0 - rho) / (1.0 + rho);
            assert!((got / want - 1.0).abs() < 0.15, "{rho}: {got} {want}");
            let one = effective_sample_size(&chains[..1]) / 20_000.0;
            assert!((one / want - 1.0).abs() < 0.3, "{rho}: {one} {want}");
        }
    }

    #[test]
    fn autocorrelation_decays_geometrically() {
        let chain = &autoregressive(0.8, 1, 50_000)[0];
        for (lag, got) in autocorrelation(chain, 8).into_iter().enumerate() {
            // Bartlett: the error is below √((1+ρ²)/(1−ρ²)/n) = 0.0096.
            assert!((got - 0.8f64.powi(lag as i32)).abs() < 4.0 * 0.0096, "{lag}: {got}");
        }
    }

    #[test]
    fn r_hat_sees_chains_that_disagree_and_chains_that_drift() {
        let mut chains = autoregressive(0.3, 4, 2_000);
        assert!((split_r_hat(&chains) - 1.0).abs() < 0.01);
        chains[0].iter_mut().for_each(|x| *x += 3.0);
        assert!(split_r_hat(&chains) > 1.5);
        let drift: Vec<f64> = (0..2_000).map(|i| i as f64).collect();
        assert!(split_r_hat(&[drift]) > 1.5);
    }

    #[test]
    fn too_little_is_no_number() {
        assert!(effective_sample_size(&[]).is_nan() && split_r_hat(&[]).is_nan());
        assert!(effective_sample_size(&[vec![1.0; 100]]).is_nan());
        assert!(split_r_hat(&[vec![1.0, 2.0, 3.0]]).is_nan());
    }
}
