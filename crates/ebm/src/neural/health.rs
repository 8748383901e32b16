//! Signs that training by walkers will not recover, with what helps.

use genzoo_core::{Error, Result, Tensor};
use genzoo_numerics::rows;

/// Standard deviations of the data, root mean square over dimensions, beyond which a walker has left them.
const FAR: f64 = 10.0;
/// Nats per dimension between data and walkers that no model in good order shows.
const GAP: f64 = 1e3;

/// Whether walkers `u`, `(n, D)`, are still among the data.
///
/// # Errors
/// [`Error::Unstable`] if one is not a number, or half of them have left.
pub(crate) fn check_walkers(u: &Tensor) -> Result<()> {
    let (n, d) = u.dims2()?;
    let radii: Vec<f64> =
        rows::host(&rows::squared_norm(u)?)?.into_iter().map(|s| (s / d as f64).sqrt()).collect();
    if radii.iter().any(|r| !r.is_finite()) {
        return Err(Error::Unstable(
            "a walker is not a number: the energy is too steep for its step; lower model.step or train.lr, or raise model.regularisation"
                .into(),
        ));
    }
    let far = radii.iter().filter(|r| **r > FAR).count();
    if 2 * far > n {
        return Err(Error::Unstable(format!(
            "{far} of {n} walkers are more than {FAR} standard deviations from the data: their steps overshoot or nothing holds them; lower model.step, or raise model.confinement"
        )));
    }
    Ok(())
}

/// Whether the mean energies of data and walkers are still comparable: `gap` is the first less the second.
///
/// # Errors
/// [`Error::Unstable`] if they are not.
pub(crate) fn check_gap(gap: f64, dims: usize) -> Result<()> {
    // What is not finite is the trainer's to report.
    if gap.is_finite() && gap.abs() > GAP * (dims.max(10)) as f64 {
        let side = if gap < 0.0 { "below" } else { "above" };
        return Err(Error::Unstable(format!(
            "energies blow up: the data lie {:.1e} nats {side} the walkers; lower train.lr, raise model.regularisation, or clip gradients with train.clip",
            gap.abs()
        )));
    }
    Ok(())
}

/// Whether weights survived an update of the energy.
///
/// # Errors
/// [`Error::Unstable`] if hardly any did.
pub(crate) fn check_weights(effective: f64, n: usize) -> Result<()> {
    let least = (0.01 * n as f64).max(1.5);
    if effective < least || effective.is_nan() {
        return Err(Error::Unstable(format!(
            "the weights of {n} walkers are worth {effective:.1} after one update: the energy moves faster than the walkers can follow; lower train.lr, or raise model.moves or model.walkers"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::{DType, Device, Noise};

    #[test]
    fn each_sign_is_seen_and_names_its_remedy() -> Result<()> {
        let u = Noise::new(1).normal((100, 4), DType::F32, &Device::Cpu)?;
        check_walkers(&u)?;
        check_gap(-50.0, 2)?;
        check_gap(f64::NAN, 2)?;
        check_weights(40.0, 100)?;
        let says = |r: Result<()>, word: &str| r.is_err_and(|e| e.to_string().contains(word));
        assert!(says(check_walkers(&(&u * 30.0)?), "model.confinement"));
        assert!(says(check_walkers(&(&u * f64::INFINITY)?), "model.step"));
        assert!(says(check_gap(-2e4, 2), "below the walkers; lower train.lr"));
        assert!(says(check_weights(1.2, 100), "model.walkers"));
        Ok(())
    }
}
