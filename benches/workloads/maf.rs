//! Masked autoregressive flow (Papamakarios et al. 2017, arXiv:1705.07057, eq. 4 and 5): layers
//! `u = (x − μ(x)) e^{−α(x)}` of one MADE each, every second one in reversed order.

use candle_core::{D, Tensor};
use genzoo_core::math::HALF_LOG_TAU;
use genzoo_core::nn::{Activation, Made};
use genzoo_core::{Noise, ParamStore, Result};

use crate::{Built, Learner, built, normal, start};

const BATCH: usize = 128;
const DIMS: usize = 784;
const LAYERS: usize = 5;

struct Flow(Vec<Made>);

impl Flow {
    fn new(params: &ParamStore) -> Result<Self> {
        let vb = params.group("flow");
        let forward: Vec<usize> = (0..DIMS).collect();
        let backward: Vec<usize> = (0..DIMS).rev().collect();
        let layers = (0..LAYERS).map(|i| {
            let order = if i % 2 == 0 { &forward } else { &backward };
            Made::new(order, &[512], 2, Activation::Relu, &vb.pp(i))
        });
        Ok(Self(layers.collect::<candle_core::Result<_>>()?))
    }

    fn frozen(&self) -> Self {
        Self(self.0.iter().map(Made::frozen).collect())
    }

    /// `log p(x)`, `(b,)`.
    fn log_density(&self, x: &Tensor) -> Result<Tensor> {
        let mut u = x.clone();
        let mut ladj: Option<Tensor> = None;
        for made in &self.0 {
            let raw = made.forward(&u)?;
            let (mu, alpha) = (raw.narrow(1, 0, DIMS)?.contiguous()?, raw.narrow(1, DIMS, DIMS)?.neg()?);
            u = ((u - mu)? * alpha.exp()?)?;
            let change = alpha.sum(D::Minus1)?;
            ladj = Some(match ladj {
                None => change,
                Some(sum) => (sum + change)?,
            });
        }
        let base = u.sqr()?.sum(D::Minus1)?.affine(-0.5, -(DIMS as f64) * HALF_LOG_TAU)?;
        Ok(match ladj {
            None => base,
            Some(ladj) => (base + ladj)?,
        })
    }
}

/// Noise to data: every layer undone, the last one first, one dimension after the other.
fn sample(flow: &Flow, noise: &mut Noise) -> Result<Tensor> {
    let mut x = normal((BATCH, DIMS), noise)?;
    for made in flow.0.iter().rev() {
        let columns = x.t()?.contiguous()?;
        x = made.solve(BATCH, |i, net| {
            let u = columns.get(i)?.unsqueeze(1)?;
            (u * net.narrow(1, 1, 1)?.exp()?)? + net.narrow(1, 0, 1)?
        })?;
    }
    Ok(x)
}

pub(crate) fn step() -> Result<Built> {
    let (params, mut noise) = start();
    let flow = Flow::new(&params)?;
    let mut learner = Learner::adam(&params)?;
    let x = normal((BATCH, DIMS), &mut noise)?;
    built(&params, move || learner.minimise(&flow.log_density(&x)?.mean_all()?.neg()?))
}

pub(crate) fn log_density() -> Result<Built> {
    let (params, mut noise) = start();
    let flow = Flow::new(&params)?.frozen();
    let x = normal((BATCH, DIMS), &mut noise)?;
    built(&params, move || flow.log_density(&x))
}

pub(crate) fn sampling() -> Result<Built> {
    let (params, mut noise) = start();
    let flow = Flow::new(&params)?.frozen();
    built(&params, move || sample(&flow, &mut noise))
}
