//! Softplus, the smooth ramp: `log(1 + e^x) = max(x, 0) + log(1 + e^{−|x|})`.

/// `log(1 + e^x)` without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_of_x_minus_softplus_of_minus_x_is_x() {
        for x in [0.0, 1e-30, 1.5, 37.0, 100.0, 1e4] {
            assert!((softplus(x) - softplus(-x) - x).abs() <= 1e-15 * (1.0 + x));
        }
        assert_eq!(softplus(f64::INFINITY), f64::INFINITY);
        assert_eq!(softplus(f64::NEG_INFINITY), 0.0);
        assert!((softplus(-100.0) / (-100f64).exp() - 1.0).abs() < 1e-15);
    }
}
