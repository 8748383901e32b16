//! RealNVP for vectors: even and odd dimensions take turns.

use genzoo_core::nn::{Activation, Mlp};
use genzoo_core::{DataSpec, Error, ParamStore, Result, Standardizer, Table, Tensor, config};
use serde::Deserialize;

use super::coupling::{Conditioner, Coupling};

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
    couplings: Vec<Coupling<Mlp>>,
    /// Positions of even and odd dimensions, and where each dimension lies among (even, odd).
    even: Tensor,
    odd: Tensor,
    order: Tensor,
}

impl Conditioner for Mlp {
    fn forward(&self, kept: &Tensor) -> Result<Tensor> {
        Ok(Mlp::forward(self, kept)?)
    }

    fn frozen(&self) -> Self {
        Mlp::frozen(self)
    }
}

impl VectorFlow {
    pub(super) fn new(table: &Table, spec: &DataSpec, params: &ParamStore) -> Result<Self> {
        let c: Config = config::read(table, "model")?;
        let d = spec.dims();
        if d < 2 {
            return Err(Error::Unsupported(
                "realnvp couples two halves of the dimensions; these data have only one dimension".into(),
            ));
        }
        super::at_least("couplings", c.couplings, 2)?;
        super::at_least("hidden", c.hidden, 1)?;
        super::at_least("layers", c.layers, 1)?;
        super::check_bound(c.bound)?;
        let (n_even, n_odd) = (d.div_ceil(2), d / 2);
        let root = params.group("main");
        let mut couplings = Vec::with_capacity(c.couplings);
        for i in 0..c.couplings {
            let (kept, moved) = if i % 2 == 0 { (n_even, n_odd) } else { (n_odd, n_even) };
            let vb = root.pp(format!("coupling{i}"));
            let mut widths = vec![kept];
            widths.extend(std::iter::repeat_n(c.hidden, c.layers));
            widths.push(2 * moved);
            // The last layer starts at zero: the flow starts as the identity.
            let net = Mlp::zero_last(&widths, Activation::Relu, Activation::Identity, &vb)?;
            couplings.push(Coupling { net, bound: c.bound });
        }
        let device = params.device();
        let index = |v: Vec<u32>| Tensor::new(v, device);
        let order = (0..d).map(|i| if i % 2 == 0 { i / 2 } else { n_even + i / 2 } as u32);
        Ok(Self {
            scaling: Standardizer::identity(spec)?,
            couplings,
            even: index((0..d as u32).step_by(2).collect())?,
            odd: index((1..d as u32).step_by(2).collect())?,
            order: index(order.collect())?,
        })
    }

    /// The same flow with weights that no gradient reaches.
    pub(super) fn frozen(&self) -> Self {
        Self { couplings: self.couplings.iter().map(Coupling::frozen).collect(), ..self.clone() }
    }

    /// `z`, `(b, d)`: even dimensions first, then odd ones; and `log|det|`, `(b,)`.
    pub(super) fn to_latent(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let y = self.scaling.forward(x)?;
        let (mut even, mut odd) = (y.index_select(&self.even, 1)?, y.index_select(&self.odd, 1)?);
        let mut total: Option<Tensor> = None;
        for (i, coupling) in self.couplings.iter().enumerate() {
            let (kept, moved) = if i % 2 == 0 { (&even, &mut odd) } else { (&odd, &mut even) };
            let (y, ladj) = coupling.to_latent(kept, moved)?;
            *moved = y;
            total = Some(match total {
                None => ladj,
                Some(t) => (t + ladj)?,
            });
        }
        finish(Tensor::cat(&[even, odd], 1)?, total, self.scaling.ladj())
    }

    /// Undoes [`VectorFlow::to_latent`].
    pub(super) fn to_data(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n_even, n_odd) = (self.even.elem_count(), self.odd.elem_count());
        let mut even = z.narrow(1, 0, n_even)?.contiguous()?;
        let mut odd = z.narrow(1, n_even, n_odd)?.contiguous()?;
        let mut total: Option<Tensor> = None;
        for (i, coupling) in self.couplings.iter().enumerate().rev() {
            let (kept, moved) = if i % 2 == 0 { (&even, &mut odd) } else { (&odd, &mut even) };
            let (y, ladj) = coupling.to_data(kept, moved)?;
            *moved = y;
            total = Some(match total {
                None => ladj,
                Some(t) => (t + ladj)?,
            });
        }
        let y = Tensor::cat(&[even, odd], 1)?.index_select(&self.order, 1)?;
        finish(self.scaling.inverse(&y)?, total, -self.scaling.ladj())
    }
}

fn finish(x: Tensor, ladj: Option<Tensor>, constant: f64) -> Result<(Tensor, Tensor)> {
    let ladj = match ladj {
        Some(t) => t.affine(1.0, constant)?,
        None => Tensor::full(constant, x.dim(0)?, x.device())?.to_dtype(x.dtype())?,
    };
    Ok((x, ladj))
}
