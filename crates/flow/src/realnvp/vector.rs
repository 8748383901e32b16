//! RealNVP for vectors: even and odd dimensions take turns.

use genzoo_core::nn::{Couplings, CouplingsConfig};
use genzoo_core::{DataSpec, Error, ParamStore, Result, Standardizer, Table, Tensor, config};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    couplings: usize,
    hidden: usize,
    layers: usize,
    bound: f64,
}

/// Couplings over the even and the odd dimensions, after standardisation.
#[derive(Clone)]
pub(super) struct VectorFlow {
    pub(super) scaling: Standardizer,
    couplings: Couplings,
}

impl VectorFlow {
    pub(super) fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let c: Config = config::read(table, "model")?;
        let dims = spec.dims();
        if dims < 2 {
            return Err(Error::Unsupported(
                "realnvp couples two halves of the dimensions; these data have only one dimension".into(),
            ));
        }
        super::at_least("couplings", c.couplings, 2)?;
        super::at_least("hidden", c.hidden, 1)?;
        super::at_least("layers", c.layers, 1)?;
        super::check_bound(c.bound)?;
        let Config { couplings, hidden, layers, bound } = c;
        let sizes = CouplingsConfig { dims, couplings, hidden, layers, bound };
        let couplings = Couplings::new(&sizes, &params.group("main"))?;
        Ok(Self { scaling: Standardizer::identity(spec)?, couplings })
    }

    /// The same flow with weights that no gradient reaches.
    pub(super) fn frozen(&self) -> Self {
        Self { couplings: self.couplings.frozen(), ..self.clone() }
    }

    /// `z`, `(b, d)`: even dimensions first, then odd ones; and `log|det|`, `(b,)`.
    pub(super) fn to_latent(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (z, ladj) = self.couplings.to_latent(&self.scaling.forward(x)?)?;
        Ok((z, ladj.affine(1.0, self.scaling.ladj())?))
    }

    /// Undoes [`VectorFlow::to_latent`].
    pub(super) fn to_data(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (y, ladj) = self.couplings.to_data(z)?;
        Ok((self.scaling.inverse(&y)?, ladj.affine(1.0, -self.scaling.ladj())?))
    }
}
