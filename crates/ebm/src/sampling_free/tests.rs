//! Energies and data that every loss is judged on, and the laws that all of them keep.

use super::*;
use crate::support::{
    Check, Data, built, derivatives_agree, descends, excess, images, mean, recipe, refused, shake, trained,
    vectors,
};
use crate::{dsm, energy_discrepancy, nce, sm};
use candle_core::Var;
use genzoo_core::{Device, Draw, Entry, Split};
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};
use toml::Value;

/// `U(u) = Σⱼ ½a uⱼ² + ¼b uⱼ⁴ + c uⱼ`, with its derivatives typed out; θ = (a, b, c).
pub(crate) struct Quartic {
    pub(crate) theta: Var,
}

impl Quartic {
    pub(crate) fn new(theta: [f64; 3]) -> Result<Self> {
        Ok(Self { theta: Var::new(&theta, &Device::Cpu)? })
    }

    /// `Σ wᵢ · terms` with the three parameters, each a factor of its own term.
    fn combine(&self, terms: [Tensor; 3]) -> Result<Tensor> {
        let mut sum = terms[0].zeros_like()?;
        for (i, term) in terms.iter().enumerate() {
            sum = (sum + term.broadcast_mul(&self.theta.as_tensor().narrow(0, i, 1)?)?)?;
        }
        Ok(sum)
    }

    fn slope(&self, u: &Tensor) -> Result<Tensor> {
        self.combine([u.clone(), u.powf(3.0)?, u.ones_like()?])
    }
}

impl Energy for Quartic {
    fn energy(&self, u: &Tensor) -> Result<Tensor> {
        let terms = [(u.sqr()? * 0.5)?, (u.sqr()?.sqr()? * 0.25)?, u.clone()];
        Ok(self.combine(terms)?.sum(1)?)
    }

    fn energy_and_gradient(&self, u: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.energy(u)?, self.slope(u)?))
    }
}

impl Potential for Quartic {
    fn jet(&self, u: &Tensor, v: &Tensor) -> Result<Jet> {
        let bend = self.combine([u.ones_like()?, (u.sqr()? * 3.0)?, u.zeros_like()?])?;
        Ok(Jet {
            value: self.energy(u)?,
            first: (self.slope(u)? * v)?.sum(1)?,
            second: Some((bend * v.sqr()?)?.sum(1)?),
        })
    }
}

/// Data of one dimension with two modes, and its noised versions, in plain numbers.
#[derive(Clone, Copy)]
pub(crate) struct TwoModes {
    /// Variance of each mode; σ² more for noised data.
    pub(crate) variance: f64,
}

impl TwoModes {
    const MODES: [(f64, f64); 2] = [(0.3, -1.1), (0.7, 0.8)];

    pub(crate) fn density(self, x: f64) -> f64 {
        let normaliser = (std::f64::consts::TAU * self.variance).sqrt();
        let one = |(w, m): (f64, f64)| w * (-0.5 * (x - m).powi(2) / self.variance).exp() / normaliser;
        Self::MODES.into_iter().map(one).sum()
    }

    /// `d/dx log p`.
    pub(crate) fn score(self, x: f64) -> f64 {
        let h = 1e-5;
        (self.density(x + h).ln() - self.density(x - h).ln()) / (2.0 * h)
    }

    /// `∫ p(x) f(x) dx`, trapezoidal, on ±8.
    pub(crate) fn expect(self, f: impl Fn(f64) -> f64) -> f64 {
        Self::grid().map(|x| self.density(x) * f(x)).sum::<f64>() * Self::STEP
    }

    pub(crate) const STEP: f64 = 0.005;

    pub(crate) fn grid() -> impl Iterator<Item = f64> {
        (-1600..=1600).map(|i| f64::from(i) * Self::STEP)
    }

    pub(crate) fn sample(self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        let (which, z) = (noise.uniforms(n), noise.normals(n));
        let [(w, left), (_, right)] = Self::MODES;
        let of = |(p, z): (f64, f64)| if p < w { left } else { right } + self.variance.sqrt() * z;
        Ok(Tensor::from_vec(which.into_iter().zip(z).map(of).collect(), (n, 1), &Device::Cpu)?)
    }
}

/// A model in f64 whose weights are all random.
pub(crate) fn random<M: Method>(
    entry: &Entry,
    spec: &DataSpec,
    sets: &[&str],
    strength: f64,
) -> Result<SamplingFree<M>> {
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let model = SamplingFree::<M>::new(&recipe(entry, spec, sets)?.model, spec, params)?;
    shake(model.params(), strength)?;
    Ok(model)
}

/// For data `N(0, vI)` in d dimensions and `U = ½|u|²/v`, the loss has slope zero in every parameter of U and in log Z, if the
/// latter is `off` by nothing; else it has not.
pub(crate) fn rests_at_the_truth(method: &impl Method, log_z: &Var, (v, d): (f64, usize), off: f64) -> Check {
    let energy = Quartic::new([1.0 / v, 0.0, 0.0])?;
    let mut slopes = vec![vec![]; 4];
    for k in 0..200 {
        let mut noise = Noise::new(3).at(k);
        let u = (noise.normal((200, d), DType::F64, &Device::Cpu)? * v.sqrt())?;
        let grads = method.loss(&energy, &u, &mut noise)?.0.backward()?;
        let of = |var: &Var| {
            rows::host(grads.get(var.as_tensor()).ok_or_else(|| Error::Unsupported("none".into()))?)
        };
        let row = [of(&energy.theta)?, of(log_z)?].concat();
        slopes.iter_mut().zip(row).for_each(|(s, g)| s.push(g));
    }
    let (got, error) = mean(&slopes[3]);
    assert!(off == 0.0 || got > 10.0 * error, "{got} ± {error}");
    for slope in slopes.iter().filter(|_| off == 0.0) {
        let (got, error) = mean(slope);
        assert_close(got, 0.0, Tol::monte_carlo(error));
    }
    Ok(())
}

/// The loss's gradient against its slope along a random direction of all weights together.
fn gradient_is_the_slope<M: Method>(entry: &Entry, spec: &DataSpec, sets: &[&str]) -> Check {
    let model = random::<M>(entry, spec, sets, 0.2)?;
    let u = Noise::new(3).normal((5, spec.dims()), DType::F64, &Device::Cpu)?;
    let loss = || model.method.loss(&model.energy.tracked(), &u, &mut Noise::new(9)).map(|l| l.0);
    descends(&model.params().entries(), loss)
}

#[test]
fn every_loss_has_the_gradient_of_its_slope() -> Check {
    let (plane, image) = (vectors(2), images(6));
    for trace in ["exact", "hutchinson", "sliced", "difference"] {
        let trace = format!("model.trace={trace}");
        gradient_is_the_slope::<sm::ScoreMatching>(&sm::ENTRY, &plane, &[&trace, "model.slices=3"])?;
    }
    gradient_is_the_slope::<sm::ScoreMatching>(&sm::ENTRY, &image, &[])?;
    for spec in [&plane, &image] {
        gradient_is_the_slope::<dsm::Denoising>(&dsm::ENTRY, spec, &[])?;
        gradient_is_the_slope::<energy_discrepancy::Discrepancy>(&energy_discrepancy::ENTRY, spec, &[])?;
        for noise in ["model.noise=base", "model.noise=mixture"] {
            gradient_is_the_slope::<nce::Contrast>(&nce::ENTRY, spec, &[noise])?;
        }
    }
    Ok(())
}

/// The jet of the whole energy, confinement and scaling included, against differences of the energy.
#[test]
fn jets_are_derivatives_of_the_energy_along_a_line() -> Check {
    for spec in [vectors(3), images(6)] {
        let mut model = random::<dsm::Denoising>(&dsm::ENTRY, &spec, &[], 0.3)?;
        model.prepare(
            &mut genzoo_core::RowStream::new(&Data(spec.clone()), Split::Train, 0),
            &mut Noise::new(1),
        )?;
        let u = Noise::new(1).normal((4, spec.dims()), DType::F64, &Device::Cpu)?;
        derivatives_agree(&model.energy.tracked(), &u)?;
    }
    Ok(())
}

#[test]
fn training_reaches_the_entropy_of_a_gaussian() -> Check {
    let data = Data(vectors(1));
    for (entry, sets, steps) in [
        (sm::ENTRY, vec!["model.trace=exact"], 300),
        (sm::ENTRY, vec!["model.trace=difference"], 300),
        (dsm::ENTRY, vec![], 300),
        (nce::ENTRY, vec![], 300),
        (nce::ENTRY, vec!["model.noise=mixture"], 300),
        (energy_discrepancy::ENTRY, vec![], 300),
    ] {
        let mut sets = sets;
        sets.extend(["train.batch=256", "train.lr=1e-2"]);
        let trainer = trained(&entry, &data, &sets, steps)?;
        let (gap, error) = excess(trainer.model(), &data, "quadrature")?;
        assert!(gap < 0.03 && gap > -4.0 * error, "{} {sets:?}: {gap} ± {error}", entry.info.name);
    }
    Ok(())
}

#[test]
fn chains_start_without_the_data_and_are_counted() -> Check {
    for spec in [vectors(2), images(6)] {
        let model = random::<dsm::Denoising>(&dsm::ENTRY, &spec, &[], 0.1)?;
        let mut options = (model.samplers()[0].defaults)();
        options.insert("steps".into(), Value::Integer(6));
        let drawn = model.sampler("langevin", &options)?.sample(&Draw::n(5), &mut Noise::new(0))?;
        assert_eq!(drawn.x.dims(), spec.batch_shape(5));
        assert_eq!(drawn.evaluations, 7);
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    for (entry, set, word) in [
        (sm::ENTRY, "model.slices=0", "model.slices"),
        (sm::ENTRY, "model.difference=0", "model.difference"),
        (sm::ENTRY, "model.trace=half", "model"),
        (sm::ENTRY, "model.activation=relu", "model.activation"),
        (dsm::ENTRY, "model.activation=cubic", "model.activation"),
        (dsm::ENTRY, "model.sigma=0", "model.sigma"),
        (nce::ENTRY, "model.ratio=0", "model.ratio"),
        (nce::ENTRY, "model.base_share=0", "model.base_share"),
        (nce::ENTRY, "model.width=-1", "model.width"),
        (nce::ENTRY, "model.centres=0", "model.centres"),
        (energy_discrepancy::ENTRY, "model.time=0", "model.time"),
        (energy_discrepancy::ENTRY, "model.neighbours=0", "model.neighbours"),
        (energy_discrepancy::ENTRY, "model.stabilisation=-1", "model.stabilisation"),
        (energy_discrepancy::ENTRY, "model.confinement=0", "model.confinement"),
    ] {
        refused(&entry, &vectors(2), &[(set, word)])?;
    }
    let e = built(&sm::ENTRY, &vectors(100), &[]).err().ok_or("accepted")?;
    assert!(e.to_string().contains("model.trace"), "{e}");
    Ok(())
}
