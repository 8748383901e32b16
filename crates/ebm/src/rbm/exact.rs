//! What can be said without sampling: log Z of small machines, and the pseudo-likelihood.
//!
//! ```text
//! Z = Σ_h Σ_v e^{−U(v, h)}: one layer is summed in closed form, the other one state by state, where it has at most 20 units
//! PL(v) = Σ_i log p(v_i | v without i)
//! ```
//!
//! The pseudo-likelihood is no likelihood and bounds none; it needs no Z, and its maximum is where the likelihood's is if
//! the machine can represent the data.
//! Source: Salakhutdinov & Murray (2008), §3, for the sum; Besag (1975) for the pseudo-likelihood.

use genzoo_core::{DType, Error, Result, Tensor, math};
use genzoo_numerics::likelihood::enumeration::Enumeration;
use genzoo_numerics::rows;

use super::{Machine, Units};

/// Most units whose states are visited one by one.
pub const ENUMERABLE: usize = 20;
/// States that are visited at once.
const ROWS: usize = 2048;

impl Machine {
    /// Whether one of the layers is small enough to be enumerated.
    pub fn is_enumerable(&self) -> bool {
        let (d, h) = self.sizes();
        h <= ENUMERABLE || (d <= ENUMERABLE && matches!(self.units(), Units::Binary))
    }

    /// `log Z`, exact up to round-off; computed in `f64`.
    ///
    /// # Errors
    /// If both layers have more than [`ENUMERABLE`] units.
    pub fn log_z(&self) -> Result<f64> {
        let (d, h) = self.sizes();
        if !self.is_enumerable() {
            let got = format!("{d} visible and {h} hidden units");
            return Err(Error::data("layer to enumerate", format!("at most {ENUMERABLE} units"), got));
        }
        let wide = self.to_dtype(DType::F64)?;
        let all = |units: usize| Enumeration {
            rows_at_once: ROWS,
            device: self.weights().device().clone(),
            ..Enumeration::binary(units)
        };
        let sum = if h <= d || !matches!(self.units(), Units::Binary) {
            all(h).estimate(&|states| wide.hidden_log_weight(states))?
        } else {
            all(d).estimate(&|states| Ok(wide.free_energy(states)?.neg()?))?
        };
        Ok(sum.log_z)
    }

    /// `PL(v)`, `(n, D) → (n,)` in nats. For discrete units.
    ///
    /// # Errors
    /// For Gaussian units, whose conditionals are mixtures without a closed normaliser.
    pub fn log_pseudo_likelihood(&self, v: &Tensor) -> Result<Tensor> {
        let levels = match self.units() {
            Units::Binary => 1,
            Units::Potts(levels) => *levels,
            Units::Gaussian { .. } => {
                let text =
                    "the pseudo-likelihood of Gaussian units has no closed form; use ais or enumeration";
                return Err(Error::Unsupported(text.into()));
            }
        };
        let (n, d) = v.dims2()?;
        let fields = self.fields(v)?;
        let mut total = Tensor::zeros(n, DType::F64, v.device())?;
        for first in (0..d).step_by(levels) {
            let own = v.narrow(1, first, levels)?.contiguous()?; // (n, levels)
            let block = self.weights().narrow(0, first, levels)?;
            let others = (&fields - own.matmul(&block)?)?;
            let weight = |row: Option<usize>| -> Result<Tensor> {
                let (bias, fields) = match row {
                    None => (0.0, others.clone()),
                    Some(r) => {
                        let bias = rows::host(&self.visible_bias().narrow(0, first + r, 1)?)?[0];
                        (bias, others.broadcast_add(&block.narrow(0, r, 1)?)?)
                    }
                };
                Ok((math::softplus(&fields)?.to_dtype(DType::F64)?.sum(1)? + bias)?)
            };
            let mut states = (0..levels).map(|r| weight(Some(r))).collect::<Result<Vec<_>>>()?;
            if levels == 1 {
                states.push(weight(None)?);
            }
            let states = Tensor::stack(&states, 1)?; // (n, states of the site)
            let own = own.to_dtype(DType::F64)?;
            let chosen = match levels {
                1 => Tensor::cat(&[&own, &own.affine(-1.0, 1.0)?], 1)?,
                _ => own,
            };
            let log_p = ((&states * chosen)?.sum(1)? - math::log_sum_exp(&states)?)?;
            total = (total + log_p)?;
        }
        Ok(total)
    }
}
