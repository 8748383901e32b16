//! Energies and data that every loss is judged on, and the laws that all of them keep.

use super::*;
use crate::neural::tests::{Check, Data, images, mean, vectors};
use crate::{dsm, energy_discrepancy, nce, sm};
use candle_core::Var;
use genzoo_core::{Dataset, Device, Draw, Entry, Recipe, Split, TrainConfig, Trainer};
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};

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

/// The checked table `[model]` of an entry's tiny instance.
pub(crate) fn recipe(entry: &Entry, spec: &DataSpec, sets: &[&str]) -> Result<Recipe> {
    let mut recipe = Recipe::defaults(entry, spec)?;
    recipe.overlay(&(entry.tiny)(spec))?;
    for set in sets {
        recipe.set(set)?;
    }
    Ok(recipe)
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
    for (i, (_, var)) in model.params().entries().into_iter().enumerate() {
        let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
        var.set(&(var.as_detached_tensor() + (change * strength)?)?)?;
    }
    Ok(model)
}

/// A trained tiny instance.
pub(crate) fn trained<'a>(entry: &Entry, data: &'a Data, sets: &[&str], steps: u64) -> Result<Trainer<'a>> {
    let recipe = recipe(entry, data.spec(), sets)?;
    let build =
        Build { spec: data.spec(), device: &Device::Cpu, zoo: &genzoo_core::NoZoo, noise: Noise::new(5) };
    let model = (entry.build)(&recipe.model, build)?;
    let mut trainer = Trainer::new(model, data, TrainConfig::read(&recipe.train)?, &Noise::new(1))?;
    trainer.set_steps(steps);
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(trainer)
}

/// Mean and standard error of `−log p` above the entropy of the one-dimensional test data, `N(0, 0.7²)`.
pub(crate) fn excess(model: &dyn Model, data: &Data, density: &str) -> Result<(f64, f64)> {
    let mut noise = Noise::new(0);
    let info = model.densities().iter().find(|d| d.name == density).copied();
    let options = info.map(|d| (d.defaults)()).unwrap_or_default();
    let density = model.density(density, &options, &mut noise)?;
    let batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
    let log_p = rows::host(&density.log_prob(&batch, &mut noise)?.values)?;
    let truth = |x: f64| -0.5 * (x / 0.7).powi(2) - (0.7 * std::f64::consts::TAU.sqrt()).ln();
    let gaps: Vec<f64> = rows::host(&batch.x)?.iter().zip(&log_p).map(|(x, l)| truth(*x) - l).collect();
    Ok(mean(&gaps))
}

/// The loss's gradient against its slope along a random direction of all weights together.
fn gradient_is_the_slope<M: Method>(entry: &Entry, spec: &DataSpec, sets: &[&str]) -> Check {
    let model = random::<M>(entry, spec, sets, 0.2)?;
    let u = Noise::new(3).normal((5, spec.dims()), DType::F64, &Device::Cpu)?;
    let loss = || model.method.loss(&model.energy.tracked(), &u, &mut Noise::new(9)).map(|l| l.0);
    let grads = loss()?.backward()?;
    let (mut want, h) = (0.0, 1e-5);
    let mut sides = [0.0; 2];
    let entries = model.params().entries();
    let directions = (0..entries.len()).map(|i| Noise::new(13).at(i as u64));
    let directions = directions.zip(&entries).map(|(mut n, (_, var))| n.normal_like(var.as_tensor()));
    let directions = directions.collect::<Result<Vec<_>>>()?;
    for ((name, var), direction) in entries.iter().zip(&directions) {
        let gradient = grads.get(var.as_tensor()).ok_or_else(|| format!("{name} has no gradient"))?;
        want += number(&(gradient * direction)?.sum_all()?)?;
    }
    let start: Vec<Tensor> =
        entries.iter().map(|(_, v)| v.as_detached_tensor().copy()).collect::<std::result::Result<_, _>>()?;
    for (side, sign) in sides.iter_mut().zip([1.0, -1.0]) {
        for (((_, var), start), direction) in entries.iter().zip(&start).zip(&directions) {
            var.set(&(start + (direction * (sign * h))?)?)?;
        }
        *side = number(&loss()?)?;
    }
    assert_close((sides[0] - sides[1]) / (2.0 * h), want, Tol { abs: 1e-6, rel: 1e-5 });
    Ok(())
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
        let energy = model.energy.tracked();
        let u = Noise::new(1).normal((4, spec.dims()), DType::F64, &Device::Cpu)?;
        let v = Noise::new(2).normal_like(&u)?;
        let jet = energy.jet(&u, &v)?;
        let at = |h: f64| -> Result<Vec<f64>> { rows::host(&energy.energy(&(&u + (&v * h)?)?)?) };
        let h = 1e-4;
        let (up, here, down) = (at(h)?, at(0.0)?, at(-h)?);
        assert_close(&jet.value, &here, Tol::rel(1e-12));
        let slope: Vec<f64> = up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        assert_close(&jet.first, &slope, Tol { abs: 1e-5, rel: 1e-5 });
        let bend: Vec<f64> = (0..4).map(|i| (up[i] - 2.0 * here[i] + down[i]) / (h * h)).collect();
        assert_close(&jet.curvature()?, &bend, Tol { abs: 1e-4, rel: 1e-4 });
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
        let spec = vectors(2);
        let table = recipe(&entry, &spec, &[set])?.model;
        let noise = Noise::new(0);
        let build = Build { spec: &spec, device: &Device::Cpu, zoo: &genzoo_core::NoZoo, noise };
        let e = (entry.build)(&table, build).err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    let spec = vectors(100);
    let table = recipe(&sm::ENTRY, &spec, &[])?.model;
    let params = ParamStore::new(&Noise::new(0), DType::F32, &Device::Cpu);
    let e = SamplingFree::<sm::ScoreMatching>::new(&table, &spec, params).err().ok_or("accepted")?;
    assert!(e.to_string().contains("model.trace"), "{e}");
    Ok(())
}
