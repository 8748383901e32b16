//! Closed forms of the square lattice: finite tori, and the limit of the infinite one.
//!
//! ```text
//! L × L torus   Z = ½ (2 sinh 2β)^{L²/2} (Π 2 cosh ½Lγ_{2r+1} + Π 2 sinh ½Lγ_{2r+1} + Π 2 cosh ½Lγ_{2r} + Π 2 sinh ½Lγ_{2r}),
//!               r = 0 … L−1,   cosh γ_l = cosh² 2β / sinh 2β − cos πl/L,   γ_0 = 2β + log tanh β
//! energy        E/N → −coth 2β [1 + 2/π (2 tanh² 2β − 1) K(k)],   k = 2 sinh 2β / cosh² 2β
//! magnetisation |m| → (1 − sinh⁻⁴ 2β)^{1/8} above β_c = ½ log(1 + √2), else 0
//! ```
//!
//! K is the complete elliptic integral of the first kind with modulus k.
//! Source: Kaufman (1949); Ferdinand & Fisher (1969), Eq. 2.1–2.6; Onsager (1944); Yang (1952).

use genzoo_core::{Error, Result};

use super::Ising;

/// `β_c = ½ log(1 + √2)`, where the correlation length diverges.
pub const CRITICAL_BETA: f64 = 0.440_686_793_509_771_5;

impl Ising {
    /// `log Σ_s e^{−βE(s)}` of this torus, in nats.
    pub fn log_z(&self) -> f64 {
        let (n, beta) = (self.side as f64, self.beta);
        if beta == 0.0 {
            return n * n * 2f64.ln();
        }
        let (sinh, cosh) = ((2.0 * beta).sinh(), (2.0 * beta).cosh());
        let gamma = |l: usize| match l {
            0 => 2.0 * beta + beta.tanh().ln(),
            _ => {
                // acosh(1 + e) by what it exceeds 1, so that nothing cancels near the critical point.
                let half = (0.5 * std::f64::consts::PI * l as f64 / n).sin();
                let excess = (cosh * cosh / sinh - 2.0) + 2.0 * half * half;
                (excess + (excess * (excess + 2.0)).sqrt()).ln_1p()
            }
        };
        // log |2 cosh y| and log |2 sinh y| for y = ½ L γ; only γ_0 can be negative.
        let product = |odd: usize, sign: f64| -> f64 {
            let half = |r: usize| 0.5 * n * gamma(2 * r + odd).abs();
            (0..self.side).map(|r| half(r) + (sign * (-2.0 * half(r)).exp()).ln_1p()).sum()
        };
        let terms = [product(1, 1.0), product(1, -1.0), product(0, 1.0), product(0, -1.0)];
        let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let last = if gamma(0) < 0.0 { -1.0 } else { 1.0 };
        let sum: f64 = terms.iter().zip([1.0, 1.0, 1.0, last]).map(|(t, s)| s * (t - top).exp()).sum();
        0.5 * n * n * (2.0 * sinh).ln() - 2f64.ln() + top + sum.ln()
    }
}

/// Energy per site of the infinite lattice at `beta` > 0.
///
/// # Errors
/// If `beta` is not a finite number above 0.
pub fn energy(beta: f64) -> Result<f64> {
    if !(beta.is_finite() && beta > 0.0) {
        return Err(Error::config("beta", "a finite number above 0", beta));
    }
    let tanh = (2.0 * beta).tanh();
    // 1 − k² is the square of this factor, which is 0 at β_c, where the product is 0 · ∞ = 0.
    let factor = 2.0 * tanh * tanh - 1.0;
    let integral = if factor == 0.0 { 0.0 } else { factor * elliptic(factor.abs()) };
    Ok(-(1.0 + 2.0 / std::f64::consts::PI * integral) / tanh)
}

/// Spontaneous magnetisation per site of the infinite lattice.
pub fn magnetisation(beta: f64) -> f64 {
    if beta <= CRITICAL_BETA {
        return 0.0;
    }
    (1.0 - (2.0 * beta).sinh().powi(-4)).powf(0.125)
}

/// K by the arithmetic-geometric mean of 1 and k' = √(1 − k²): π / (2 agm).
fn elliptic(complement: f64) -> f64 {
    let (mut a, mut b) = (1.0f64, complement);
    for _ in 0..40 {
        (a, b) = (0.5 * (a + b), (a * b).sqrt());
    }
    std::f64::consts::FRAC_PI_2 / a
}
