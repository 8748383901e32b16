//! A proven bound of a matrix's largest singular value.
//!
//! ```text
//! G₀ = W Wᵀ or Wᵀ W, whichever is smaller,   G_{t+1} = G_t²
//! ‖W‖₂ ≤ ‖G_t‖_F^{1/2^{t+1}} ≤ r^{1/2^{t+2}} ‖W‖₂,   r = rank W
//! ```
//!
//! Every step squares, so that six of them leave at most 2 % for r = 128, always on the safe side; power iteration
//! approaches from below, and slowly where two singular values are close.
//! Source: Delattre, Barthélemy, Araujo & Allauzen (2023), "Efficient bound of Lipschitz constant for convolutional layers
//! by Gram iteration", arXiv:2305.16173, §3.

use candle_core::{DType, Result, Tensor};

/// Squarings.
const STEPS: i32 = 6;

/// `‖G_t‖_F^{1/2^{t+1}}` after six steps, for `w` of `(m, n)`, in f64.
///
/// # Errors
/// When `w` is not a matrix.
pub fn spectral_bound(w: &Tensor) -> Result<f64> {
    let (m, n) = w.dims2()?;
    let w = w.detach().to_dtype(DType::F64)?.contiguous()?;
    let mut gram = if m <= n { w.matmul(&w.t()?)? } else { w.t()?.matmul(&w)? };
    // G_t = e^{log_scale} · gram, kept near norm one.
    let mut log_scale = 0.0;
    for step in 0..=STEPS {
        let norm = gram.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
        if norm == 0.0 || !norm.is_finite() {
            return Ok(norm);
        }
        log_scale += norm.ln();
        if step < STEPS {
            gram = (gram / norm)?;
            gram = gram.matmul(&gram)?;
            log_scale *= 2.0;
        }
    }
    Ok((log_scale / 2f64.powi(STEPS + 1)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;
    use candle_core::Device;

    type Check = std::result::Result<(), Box<dyn std::error::Error>>;

    /// `U diag(s) V`, with U and V products of Householder reflections: its singular values are `s`.
    fn with_singular_values(
        m: usize,
        n: usize,
        s: &[f64],
    ) -> std::result::Result<Tensor, Box<dyn std::error::Error>> {
        let reflections = |mut x: Tensor, d: usize, seed: u64| -> Result<Tensor> {
            for k in 0..3 {
                let v = Tensor::from_vec(Noise::new(seed).at(k).normals(d), (d, 1), &Device::Cpu)?;
                let square = v.sqr()?.sum_all()?.to_scalar::<f64>()?;
                x = (&x - (v.matmul(&v.t()?.matmul(&x)?)? * (2.0 / square))?)?;
            }
            Ok(x)
        };
        let mut middle = vec![0.0; m * n];
        s.iter().enumerate().for_each(|(i, s)| middle[i * n + i] = *s);
        let left = reflections(Tensor::from_vec(middle, (m, n), &Device::Cpu)?, m, 1)?;
        Ok(reflections(left.t()?.contiguous()?, n, 2)?.t()?)
    }

    /// Never below the largest singular value, and above it by what the rank allows; close pairs, thin shapes and tiny or
    /// huge scales included.
    #[test]
    fn the_bound_holds_and_is_tight() -> Check {
        let flat = [1.0; 40];
        let cases: [(usize, usize, &[f64]); 5] = [
            (40, 60, &flat),
            (60, 40, &[3.0, 2.999, 1.0]),
            (1, 9, &[0.5]),
            (7, 7, &[1e-6, 1e-7]),
            (5, 8, &[4e8, 1.0]),
        ];
        for (m, n, s) in cases {
            let got = spectral_bound(&with_singular_values(m, n, s)?)?;
            let slack = (s.len() as f64).powf(1.0 / 256.0);
            assert!(got >= s[0] * (1.0 - 1e-12) && got <= s[0] * slack * (1.0 + 1e-12), "{got} for {s:?}");
        }
        assert_eq!(spectral_bound(&Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?)?, 0.0);
        assert!(spectral_bound(&Tensor::zeros(3, DType::F32, &Device::Cpu)?).is_err());
        Ok(())
    }
}
