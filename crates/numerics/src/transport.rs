//! From noise to data in the coordinates of the data: the frame of every sampler that starts at `N(0, I)`, and what
//! all fields that are regressed over time share: the law of their training times and their default recipe.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Velocity;
use genzoo_core::{Backbone, DataSpec, Error, Noise, Result, Standardizer, Table};

use crate::rows;

/// `n` draws of `N(0, I)` shaped like the data, carried by `push` and brought back to the data's scale and range.
///
/// Works piece by piece, so that memory does not grow with `n`. `push` maps `(b, event…)` in standardised
/// coordinates, from noise to data.
///
/// # Errors
/// If `n` is 0 or `push` fails.
pub fn from_noise(
    spec: &DataSpec,
    scaling: &Standardizer,
    device: &Device,
    n: usize,
    noise: &mut Noise,
    mut push: impl FnMut(Tensor, &mut Noise) -> Result<Tensor>,
) -> Result<Tensor> {
    if n == 0 {
        return Err(Error::config("n", "an integer ≥ 1", 0));
    }
    let at_once = if spec.image().is_some() { 256 } else { 16_384 };
    let done = rows::pieces(n, at_once).map(|(_, b)| {
        let z = noise.normal(spec.batch_shape(b), DType::F32, device)?;
        spec.clamp(&scaling.inverse(&push(z, noise)?)?)
    });
    Ok(Tensor::cat(&done.collect::<Result<Vec<_>>>()?, 0)?)
}

/// A velocity by another clock, `t = τ^power`: equal steps of τ crowd at the data, where most happens.
///
/// ```text
/// dx/dτ = power · τ^(power − 1) · v(x, τ^power)
/// ```
#[derive(Clone, Debug)]
pub struct Warped<V> {
    /// The velocity by the first clock.
    pub velocity: V,
    /// 1 changes nothing.
    pub power: f64,
}

impl<V> Warped<V> {
    /// The time τ at which the first clock shows `t`.
    pub fn clock(&self, t: f64) -> f64 {
        t.powf(1.0 / self.power)
    }

    /// `t` and `dt/dτ` at every τ, `(b,)` in the dtype of `tau`.
    fn times(&self, tau: &Tensor) -> Result<(Tensor, Tensor)> {
        let tau_host = rows::host(tau)?;
        let map = |f: &dyn Fn(f64) -> f64| -> Result<Tensor> {
            let values = tau_host.iter().map(|tau| f(*tau)).collect();
            Ok(rows::tensor(values, tau.device())?.to_dtype(tau.dtype())?)
        };
        let p = self.power;
        Ok((map(&|tau| tau.powf(p))?, map(&|tau| p * tau.powf(p - 1.0))?))
    }
}

impl<V: std::ops::Deref<Target = W>, W: Velocity + ?Sized> Velocity for Warped<V> {
    fn velocity(&self, x: &Tensor, tau: &Tensor) -> Result<Tensor> {
        let (t, slope) = self.times(tau)?;
        rows::scale(&self.velocity.velocity(x, &t)?, &slope)
    }

    fn velocity_vjp(&self, x: &Tensor, tau: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (t, slope) = self.times(tau)?;
        let (velocity, product) = self.velocity.velocity_vjp(x, &t, v)?;
        Ok((rows::scale(&velocity, &slope)?, rows::scale(&product, &slope)?))
    }
}

/// The law of training times, `t = u^power` with `u` uniform: a power above 1 crowds them at the data, where the
/// field has most to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeLaw {
    power: f64,
}

impl TimeLaw {
    /// Uniform times for `power = 1`.
    ///
    /// # Errors
    /// If `power` is not in (0, 10].
    pub fn new(power: f64) -> Result<Self> {
        if power > 0.0 && power <= 10.0 {
            Ok(Self { power })
        } else {
            Err(Error::config("model.time_power", "a number above 0, at most 10", power))
        }
    }

    /// `b` times in [0, 1), one in each of `b` cells of equal mass: the law of each is right over a random row, and
    /// their mean has far less variance than that of independent draws.
    pub fn draw(&self, b: usize, noise: &mut Noise) -> Vec<f64> {
        let cells = noise.uniforms(b).into_iter().enumerate();
        cells.map(|(i, u)| ((i as f64 + u) / b as f64).powf(self.power)).collect()
    }
}

/// The recipe that fields regressed over time start from, with what the method adds to `[model]` and, for images,
/// its way to `[sample]`: families with the same networks and schedules differ in method only.
pub fn regression_defaults(spec: &DataSpec, mut model: Table, sample_images: Table) -> Table {
    let image = spec.image().is_some();
    model.insert("time_power".into(), if image { 2.0 } else { 1.5 }.into());
    model.extend(Backbone::defaults(spec));
    let mut out = if image {
        let mut out = toml::toml! {
            [train]
            batch = 32
            lr = 6e-3
            schedule = "cosine"
            warmup = 20
            clip = 1.0
            ema = 0.99
            [eval]
            likelihood = "ode"
            solver = "rk4"
            steps = 16
            warp = 3.0
        };
        out.insert("sample".into(), sample_images.into());
        out
    } else {
        toml::toml! {
            [train]
            batch = 512
            lr = 8e-3
            schedule = "cosine"
            warmup = 50
            clip = 1.0
            ema = 0.998
        }
    };
    out.insert("model".into(), model.into());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ode;
    use genzoo_core::Space;

    #[test]
    fn pieces_come_back_in_the_scale_and_range_of_the_data() -> Result<()> {
        let spec =
            DataSpec { shape: vec![1], space: Space::Continuous, classes: None, range: Some((4.0, 6.0)) };
        let scaling = Standardizer::new(vec![5.0], vec![2.0], &spec)?;
        let x = from_noise(&spec, &scaling, &Device::Cpu, 20_000, &mut Noise::new(0), |z, _| Ok(z))?;
        let x = rows::host(&x)?;
        assert_eq!(x.len(), 20_000);
        assert!(x.iter().all(|x| (4.0..=6.0).contains(x)));
        let inside = x.iter().filter(|x| **x > 4.0 && **x < 6.0).count() as f64 / 20_000.0;
        assert!((inside - 0.382_925).abs() < 4.0 * (0.25f64 / 20_000.0).sqrt(), "{inside}"); // P(|z| < ½)
        Ok(())
    }

    /// dx/dt = a x has the same solution by any clock.
    #[test]
    fn a_clock_does_not_change_where_a_flow_leads() -> Result<()> {
        struct Growth;
        impl Velocity for Growth {
            fn velocity(&self, x: &Tensor, _: &Tensor) -> Result<Tensor> {
                Ok((x * 0.7)?)
            }
            fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
                Ok((self.velocity(x, t)?, (v * 0.7)?))
            }
        }
        for power in [1.0, 2.0, 3.5] {
            let flow = Warped { velocity: &Growth, power };
            let x = Tensor::new(&[[1f64]], &Device::Cpu)?;
            let f = |tau: f64, x: &Tensor| flow.velocity(x, &rows::time(tau, x)?);
            let scheme = ode::Scheme::adaptive(1e-9, 1e-9);
            let end = ode::integrate(&scheme, f, x, flow.clock(0.0), flow.clock(0.8))?.x;
            assert!((rows::host(&end)?[0] - (0.7f64 * 0.8).exp()).abs() < 1e-6, "{power}");
        }
        Ok(())
    }

    /// `P(t < s) = s^{1/power}`, and every cell holds one time.
    #[test]
    fn times_follow_their_law_cell_by_cell() -> Result<()> {
        let b = 4096;
        for power in [1.0, 1.5, 2.0] {
            let t = TimeLaw::new(power)?.draw(b, &mut Noise::new(0));
            for s in [0.01, 0.2, 0.7] {
                let share = t.iter().filter(|t| **t < s).count() as f64 / b as f64;
                assert!((share - f64::powf(s, 1.0 / power)).abs() <= 1.0 / b as f64, "{power} {s} {share}");
            }
        }
        for power in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(TimeLaw::new(power).is_err(), "{power}");
        }
        Ok(())
    }
}
