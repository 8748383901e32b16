//! Explicit Runge–Kutta methods as tables of coefficients (Butcher 1964).
//!
//! ```text
//! k_i = f(t + c_i h, x + h Σ_{j<i} a_ij k_j),     x' = x + h Σ b_i k_i,     error ≈ h Σ e_i k_i
//! ```
//!
//! Coefficients: Hairer, Nørsett & Wanner, "Solving Ordinary Differential Equations I", §II.1 and Table II.5.2.

use genzoo_core::Result;

use super::State;

/// The coefficients of an explicit Runge–Kutta method.
#[derive(Debug)]
pub struct Tableau {
    /// Nodes `c`, one per stage.
    pub c: &'static [f64],
    /// Rows of the strictly lower triangular `a`; row i has i entries.
    pub a: &'static [&'static [f64]],
    /// Weights `b`.
    pub b: &'static [f64],
    /// Weights of the error estimate, `b − b̂`; empty if there is none.
    pub e: &'static [f64],
    /// Order of convergence.
    pub order: u32,
}

/// Euler's method, order 1.
pub(super) static EULER: Tableau = Tableau { c: &[0.0], a: &[&[]], b: &[1.0], e: &[], order: 1 };

/// Heun's method, the explicit trapezoidal rule, order 2 (not Ralston's, nor Heun's method of order 3).
pub(super) static HEUN: Tableau =
    Tableau { c: &[0.0, 1.0], a: &[&[], &[1.0]], b: &[0.5, 0.5], e: &[], order: 2 };

/// The classical method of Kutta (1901), order 4.
pub(super) static RK4: Tableau = Tableau {
    c: &[0.0, 0.5, 0.5, 1.0],
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
    e: &[],
    order: 4,
};

/// Dormand & Prince (1980), order 5 with an error estimate of order 4; its last stage is the next step's first.
pub(super) static DOPRI5: Tableau = Tableau {
    c: &[0.0, 1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0],
    a: &[
        &[],
        &[1.0 / 5.0],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ],
    b: &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0, 0.0],
    e: &[71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0],
    order: 5,
};

impl Tableau {
    /// Whether the last stage is evaluated at the step's end, so that it serves as the next step's first.
    pub fn first_same_as_last(&self) -> bool {
        let s = self.b.len();
        s > 1 && self.c[s - 1] == 1.0 && self.b[s - 1] == 0.0 && self.a[s - 1] == &self.b[..s - 1]
    }

    /// One step of size `h` from `x` at `t`: the new state and the stages. `first` is `k_1` if it is known.
    pub(super) fn step<S: State>(
        &self,
        f: &mut impl FnMut(f64, &S) -> Result<S>,
        t: f64,
        x: &S,
        h: f64,
        first: Option<S>,
    ) -> Result<(S, Vec<S>)> {
        let mut k = Vec::with_capacity(self.b.len());
        k.push(match first {
            Some(k) => k,
            None => f(t, x)?,
        });
        let mut end = None;
        for i in 1..self.b.len() {
            let x_i = advance(x, h, self.a[i], &k)?;
            k.push(f(t + self.c[i] * h, &x_i)?);
            end = Some(x_i);
        }
        let x = match end {
            Some(end) if self.first_same_as_last() => end,
            _ => advance(x, h, self.b, &k)?,
        };
        Ok((x, k))
    }
}

/// `x + h Σ_j weights_j k_j`.
fn advance<S: State>(x: &S, h: f64, weights: &[f64], k: &[S]) -> Result<S> {
    let mut terms = vec![(1.0, x)];
    terms.extend(weights.iter().zip(k).filter(|(w, _)| **w != 0.0).map(|(w, k)| (h * w, k)));
    S::combine(&terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conditions for order p on quadrature (Σ b c^{q−1} = 1/q) and on consistency (Σ_j a_ij = c_i).
    #[test]
    fn coefficients_meet_their_order_conditions() {
        for tableau in [&EULER, &HEUN, &RK4, &DOPRI5] {
            for q in 1..=tableau.order {
                let sum: f64 = tableau.b.iter().zip(tableau.c).map(|(b, c)| b * c.powi(q as i32 - 1)).sum();
                assert!((sum - 1.0 / q as f64).abs() < 1e-14, "order {} condition {q}", tableau.order);
            }
            for (row, c) in tableau.a.iter().zip(tableau.c) {
                assert!((row.iter().sum::<f64>() - c).abs() < 1e-14);
            }
        }
        // The embedded method has order 4: its error weights annihilate the same conditions up to q = 4, not q = 5.
        for q in 1..=5 {
            let sum: f64 = DOPRI5.e.iter().zip(DOPRI5.c).map(|(e, c)| e * c.powi(q - 1)).sum();
            assert_eq!(sum.abs() < 1e-14, q <= 4, "condition {q}: {sum}");
        }
        assert!(DOPRI5.first_same_as_last() && !RK4.first_same_as_last() && !EULER.first_same_as_last());
    }
}
