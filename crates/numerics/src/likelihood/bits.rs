//! Nats and bits per dimension, for images of 8-bit values.
//!
//! A stream of dequantised images gives x̃ = (k + u)/256 in [0, 1]^D, and the density of k + u is that of x̃ over
//! 256^D, hence the 8 bits:
//!
//! ```text
//! bits_per_dim = −log p(x̃) / (D ln 2) + 8        (continuous density of x̃)
//! bits_per_dim = −log P(k) / (D ln 2)            (discrete probability of the levels)
//! ```
//!
//! Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, §3.1.

use std::f64::consts::LN_2;

/// Bits per dimension of a continuous log-density at x̃ in [0, 1]^D, from nats per example.
pub fn from_density(log_density: f64, dimensions: usize) -> f64 {
    -log_density / (dimensions as f64 * LN_2) + 8.0
}

/// The log-density in nats per example, from bits per dimension.
pub fn to_density(bits_per_dim: f64, dimensions: usize) -> f64 {
    (8.0 - bits_per_dim) * dimensions as f64 * LN_2
}

/// Bits per dimension of a discrete log-probability, from nats per example.
pub fn from_probability(log_probability: f64, dimensions: usize) -> f64 {
    -log_probability / (dimensions as f64 * LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uniform_density_costs_eight_bits_either_way() {
        let d = 784;
        assert_eq!(from_density(0.0, d), 8.0);
        assert!((from_probability(-(d as f64) * 256f64.ln(), d) - 8.0).abs() < 1e-12);
        assert!((to_density(from_density(-123.4, d), d) + 123.4).abs() < 1e-9);
    }

    /// A density that is constant on each cell has the discrete probability density/256 per cell.
    #[test]
    fn a_piecewise_constant_density_is_its_histogram() {
        let levels = [0.5f64, 0.25, 0.25];
        for p in levels {
            let density: f64 = p * 256.0;
            assert!((from_density(density.ln(), 1) - from_probability(p.ln(), 1)).abs() < 1e-12);
        }
    }
}
