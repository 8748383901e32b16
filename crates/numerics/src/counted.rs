//! Network evaluations, counted by a wrapper and never declared by hand.
//!
//! `Counted` offers whatever capability its inner object offers and counts each call before passing it on. A call on
//! a batch of b rows is one forward evaluation of b examples; a call that also returns a derivative is one forward
//! and one backward evaluation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use candle_core::Tensor;
use genzoo_core::capability::{Bijector, Critic, Decoder, Encoder, Energy, Score, Velocity};
use genzoo_core::{Noise, Result};

/// How often a network was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluations {
    /// Forward passes over a batch.
    pub forward: u64,
    /// Backward passes over a batch.
    pub backward: u64,
    /// Rows over all forward passes.
    pub examples: u64,
}

/// A capability whose calls are counted; shared references can count concurrently.
#[derive(Debug)]
pub struct Counted<T> {
    inner: T,
    forward: AtomicU64,
    backward: AtomicU64,
    examples: AtomicU64,
}

impl<T> Counted<T> {
    /// Starts counting at 0. `inner` is usually a reference to a capability or a closure.
    pub fn new(inner: T) -> Self {
        Self { inner, forward: 0.into(), backward: 0.into(), examples: 0.into() }
    }

    /// What has been counted so far.
    pub fn evaluations(&self) -> Evaluations {
        Evaluations {
            forward: self.forward.load(Relaxed),
            backward: self.backward.load(Relaxed),
            examples: self.examples.load(Relaxed),
        }
    }

    /// Calls a closure on one batch and counts it as a forward pass.
    pub fn call(&self, x: &Tensor) -> Result<Tensor>
    where
        T: Fn(&Tensor) -> Result<Tensor>,
    {
        self.count(x, false);
        (self.inner)(x)
    }

    /// Calls a closure of a batch and its times and counts it as a forward pass.
    pub fn call_at(&self, x: &Tensor, t: &Tensor) -> Result<Tensor>
    where
        T: Fn(&Tensor, &Tensor) -> Result<Tensor>,
    {
        self.count(x, false);
        (self.inner)(x, t)
    }

    fn count(&self, x: &Tensor, backward: bool) {
        self.forward.fetch_add(1, Relaxed);
        self.backward.fetch_add(u64::from(backward), Relaxed);
        self.examples.fetch_add(x.dims().first().copied().unwrap_or(1) as u64, Relaxed);
    }
}

impl<T: Energy + ?Sized> Energy for Counted<&T> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.count(x, false);
        self.inner.energy(x)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(x, true);
        self.inner.energy_and_gradient(x)
    }
}

impl<T: Score + ?Sized> Score for Counted<&T> {
    fn score(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.count(x, false);
        self.inner.score(x, t)
    }
}

impl<T: Velocity + ?Sized> Velocity for Counted<&T> {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        self.count(x, false);
        self.inner.velocity(x, t)
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(x, true);
        self.inner.velocity_vjp(x, t, v)
    }
}

impl<T: Bijector + ?Sized> Bijector for Counted<&T> {
    fn inverse_and_ladj(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(x, false);
        self.inner.inverse_and_ladj(x)
    }

    fn forward_and_ladj(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(z, false);
        self.inner.forward_and_ladj(z)
    }
}

impl<T: Decoder + ?Sized> Decoder for Counted<&T> {
    fn latent_dim(&self) -> usize {
        self.inner.latent_dim()
    }

    fn is_generator(&self) -> bool {
        self.inner.is_generator()
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.count(z, false);
        self.inner.decode(z)
    }

    fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        self.count(z, false);
        self.inner.log_likelihood(x, z)
    }

    fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
        self.count(z, true);
        self.inner.log_likelihood_and_gradient(x, z)
    }
}

impl<T: Encoder + ?Sized> Encoder for Counted<&T> {
    fn sample_and_log_q(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
        self.count(x, false);
        self.inner.sample_and_log_q(x, noise)
    }
}

impl<T: Critic + ?Sized> Critic for Counted<&T> {
    fn critic(&self, x: &Tensor) -> Result<Tensor> {
        self.count(x, false);
        self.inner.critic(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Mixture;
    use candle_core::{DType, Device};

    #[test]
    fn calls_rows_and_derivatives_are_counted() -> Result<()> {
        let target = Mixture::pair();
        let counted = Counted::new(&target);
        let energy: &dyn Energy = &counted;
        let x = Tensor::zeros((5, 2), DType::F64, &Device::Cpu)?;
        energy.energy(&x)?;
        energy.energy_and_gradient(&x.narrow(0, 0, 3)?)?;
        assert_eq!(counted.evaluations(), Evaluations { forward: 2, backward: 1, examples: 8 });

        let closure = Counted::new(|x: &Tensor, _: &Tensor| Ok(x.clone()));
        closure.call_at(&x, &x)?;
        assert_eq!(closure.evaluations(), Evaluations { forward: 1, backward: 0, examples: 5 });
        Ok(())
    }
}
