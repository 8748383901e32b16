//! Variates from uniforms on (0, 1).

use std::f64::consts::TAU;

/// Two standard normals from two uniforms (Box–Muller).
pub(super) fn normal_pair(u: f64, v: f64) -> [f64; 2] {
    let radius = (-2.0 * u.ln()).sqrt();
    let (sin, cos) = (TAU * v).sin_cos();
    [radius * cos, radius * sin]
}

/// Fills `z` with standard normals from as many uniforms, rounded up to even.
pub(super) fn normals(u: &[f64], z: &mut [f64]) {
    for (z, u) in z.chunks_mut(2).zip(u.chunks_exact(2)) {
        let pair = normal_pair(u[0], u[1]);
        z.copy_from_slice(&pair[..z.len()]);
    }
}

/// The index that a uniform picks from masses summing to 1.
pub(super) fn pick(u: f64, masses: &[f64]) -> usize {
    let mut sum = 0.0;
    let below = |m: &f64| {
        sum += m;
        sum <= u
    };
    masses.iter().take(masses.len().saturating_sub(1)).map(below).take_while(|&b| b).count()
}
