use super::*;
use genzoo_core::nn::Differentiable;
use genzoo_core::{Dataset, Density, Device, Split, Standardizer};
use genzoo_numerics::mcmc::Chains;
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};
use std::ops::Range;

pub(crate) type Check = std::result::Result<(), Box<dyn std::error::Error>>;

pub(crate) fn vectors(d: usize) -> DataSpec {
    DataSpec { shape: vec![d], space: Space::Continuous, classes: None, range: None }
}

pub(crate) fn images(size: usize) -> DataSpec {
    DataSpec { shape: vec![1, size, size], space: Space::U8, classes: None, range: Some((0.0, 1.0)) }
}

/// Vectors: halves of the rows around ±2 in the first dimension, everything of deviation 0.7. Images: uniform.
pub(crate) struct Data(pub(crate) DataSpec);

impl Dataset for Data {
    fn name(&self) -> &str {
        "test"
    }
    fn spec(&self) -> &DataSpec {
        &self.0
    }
    fn len(&self, _: Split) -> Option<u64> {
        None
    }
    fn sha256(&self) -> String {
        String::new()
    }
    fn rows(&self, _: Split, rows: Range<u64>) -> Result<Batch> {
        let d = self.0.dims();
        let mut values = Vec::new();
        for i in rows.clone() {
            let mut noise = Noise::new(11).at(i);
            let side = if i % 2 == 0 { 2.0 } else { -2.0 };
            let row = if self.0.image().is_some() {
                noise.uniforms(d)
            } else {
                noise.normals(d).iter().map(|z| 0.7 * z).collect()
            };
            values.extend(row.iter().enumerate().map(|(j, v)| {
                let shift = if j == 0 && d > 1 { side } else { 0.0 };
                (v + shift) as f32
            }));
        }
        let n = (rows.end - rows.start) as usize;
        let mut batch = Batch::of(Tensor::from_vec(values, self.0.batch_shape(n), &Device::Cpu)?);
        batch.rows = rows;
        Ok(batch)
    }
}

/// An energy in f64 whose weights are all random: a landscape with some relief.
fn random(spec: &DataSpec, strength: f64) -> Result<NeuralEnergy> {
    let mut table = with_energy(spec, Table::new());
    for (section, over) in with_tiny_energy(spec, Table::new()) {
        if let (Some(Value::Table(own)), Value::Table(over)) = (table.get_mut(&section), over) {
            own.extend(over);
        }
    }
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let mut energy = NeuralEnergy::new(&config::get(&table, "model", "recipe")?, spec, params)?;
    for (i, (_, var)) in energy.params.entries().into_iter().enumerate() {
        let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
        var.set(&(var.as_detached_tensor() + (change * strength)?)?)?;
    }
    let d = spec.dims();
    let (mean, sd) = ((0..d).map(|i| 0.3 * i as f64), (0..d).map(|i| 0.5 + 0.2 * i as f64));
    energy.coordinates =
        Coordinates::standardised(Standardizer::new(mean.collect(), sd.collect(), &flat(d, spec))?);
    Ok(energy)
}

/// Mean and standard error.
pub(crate) fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[test]
fn energy_gradient_is_the_slope_of_the_energy() -> Check {
    for spec in [vectors(3), images(6)] {
        let model = random(&spec, 0.3)?;
        let x = Noise::new(1).normal(spec.batch_shape(4), DType::F64, &Device::Cpu)?;
        let (energy, gradient) = model.energy_and_gradient(&x)?;
        assert_close(&model.energy(&x)?, &energy, Tol::rel(1e-12));
        let direction = Noise::new(2).normal_like(&x)?;
        let h = 1e-5;
        let up = model.energy(&(&x + (&direction * h)?)?)?;
        let down = model.energy(&(&x - (&direction * h)?)?)?;
        let slope = ((up - down)? / (2.0 * h))?;
        let want = (gradient * direction)?.flatten_from(1)?.sum(1)?;
        assert_close(&slope, &want, Tol { abs: 1e-7, rel: 1e-6 });
    }
    Ok(())
}

#[test]
fn energy_is_the_network_plus_the_confinement() -> Check {
    let model = random(&vectors(2), 0.3)?;
    let x = Noise::new(1).normal((5, 2), DType::F64, &Device::Cpu)?;
    let Network::Vector(net, gain) = &model.network else {
        return Err("a perceptron".into());
    };
    // The scaling is kept in f32.
    for (i, row) in x.to_vec2::<f64>()?.into_iter().enumerate() {
        let u = [row[0] / 0.5, (row[1] - 0.3) / 0.7];
        let f = Differentiable::forward(net, &(Tensor::new(&[u], &Device::Cpu)? * *gain)?)?;
        let want =
            f.flatten_all()?.to_vec1::<f64>()?[0] + 0.5 * model.confinement * (u[0] * u[0] + u[1] * u[1]);
        assert_close(model.energy(&x)?.get(i)?.to_scalar::<f64>()?, want, Tol::rel(1e-6));
    }
    Ok(())
}

#[test]
fn restarts_leave_the_model_invariant_and_connect_its_modes() -> Check {
    let model = random(&vectors(2), 0.4)?;
    let landscape = model.landscape();
    let n = 4000;
    let long = |start: f64, seed: u64, steps: usize| -> Result<Vec<f64>> {
        let mut noise = Noise::new(seed);
        let mut chains = Chains::at(&landscape, &(Tensor::ones((n, 2), DType::F64, &Device::Cpu)? * start)?)?;
        for _ in 0..steps {
            restart::restart(&landscape, model.confinement, &mut chains, 1.0, &mut noise)?;
        }
        rows::host(&chains.energy)
    };
    // What the grid says of E U, against chains that only ever restart, from either side.
    let (mut z, mut first) = (0.0, 0.0);
    let axis: Vec<f64> = (0..400).map(|i| -10.0 + 0.05 * (f64::from(i) + 0.5)).collect();
    for a in &axis {
        let row: Vec<f64> = axis.iter().flat_map(|b| [*a, *b]).collect();
        for e in rows::host(&landscape.energy(&Tensor::from_vec(row, (400, 2), &Device::Cpu)?)?)? {
            z += (-e).exp();
            first += e * (-e).exp();
        }
    }
    for start in [-3.0, 3.0] {
        let (got, error) = mean(&long(start, 8, 200)?);
        assert_close(got, first / z, Tol::monte_carlo(error));
    }
    Ok(())
}

#[test]
fn any_weights_give_a_density_of_mass_one() -> Check {
    // The network grows linearly at most, the confinement as a square: Z is finite however wild the weights.
    let model = random(&vectors(2), 1.0)?;
    let mut noise = Noise::new(0);
    let defaults = (density::infos(model.dims())[0].defaults)();
    let density = density::Normalised::new(&model, "quadrature", &defaults, &mut noise)?;
    let (n, half) = (400usize, 12.0);
    let cell = 2.0 * half / n as f64;
    let mut mass = 0.0;
    for i in 0..n {
        let at = |k: usize| -half + (k as f64 + 0.5) * cell;
        let row: Vec<f64> = (0..n).flat_map(|j| [at(i), at(j)]).collect();
        let batch = Batch::of(Tensor::from_vec(row, (n, 2), &Device::Cpu)?);
        mass += rows::host(&density.log_prob(&batch, &mut noise)?.values)?
            .iter()
            .map(|l| l.exp() * cell * cell)
            .sum::<f64>();
    }
    assert!((mass - 1.0).abs() < 5e-3, "{mass}");
    Ok(())
}

/// With a limit of the norms, no pair of points is separated by more energy than the layers together allow: gain · λ^layers
/// times the steepest slope of the activation (1.1 for SiLU) times the distance. For images λ bounds the convolution
/// itself, which is applied to pairs of images here.
#[test]
fn limited_norms_limit_the_slope() -> Check {
    let (limit, steepest) = (0.8f64, 1.0999f64);
    for (spec, sets, layers) in
        [(vectors(3), toml! { norm_limit = 0.8 }, 4), (images(6), toml! { norm_limit = 0.8 }, 3)]
    {
        let mut table = with_energy(&spec, Table::new());
        let Some(Value::Table(model)) = table.get_mut("model") else { return Err("a table".into()) };
        model.extend(sets);
        let model = model.clone();
        let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
        let energy = NeuralEnergy::new(&model, &spec, params)?;
        for (i, (_, var)) in energy.params.entries().into_iter().enumerate() {
            let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
            var.set(&(var.as_detached_tensor() + (change * 2.0)?)?)?;
        }
        let gain = if spec.image().is_some() { 2.0 } else { 3.0 }; // images enter as 2x − 1
        let allowed = gain * limit.powi(layers) * steepest.powi(layers - 1);
        let pairs = |seed: u64| -> Result<(Tensor, Tensor)> {
            let u = Noise::new(seed).normal((200, spec.dims()), DType::F64, &Device::Cpu)?;
            Ok((u.clone(), (&u + (Noise::new(seed + 1).normal_like(&u)? * 1e-2)?)?))
        };
        let steepest_seen = || -> Result<f64> {
            let (a, b) = pairs(3)?;
            let rise = rows::host(&(energy.learned(&a)? - energy.learned(&b)?)?.abs()?)?;
            let way = rows::host(&(a - b)?.sqr()?.sum(1)?.sqrt()?)?;
            Ok(rise.iter().zip(&way).map(|(r, w)| r / w).fold(0.0, f64::max))
        };
        assert!(steepest_seen()? > allowed, "the weights are wild before");
        energy.constrain(&Turn::mini("noise"))?;
        assert!(steepest_seen()? > allowed, "another group's turn changes nothing");
        energy.constrain(&Turn::mini("main"))?;
        let seen = steepest_seen()?;
        assert!(seen <= allowed && seen > 0.0, "{seen} of {allowed}");
    }
    Ok(())
}

/// A residual energy has the derivatives of its values, and starts as the base.
#[test]
fn residual_energies_are_energies() -> Check {
    let spec = vectors(3);
    let mut table = with_energy(&spec, Table::new());
    let Some(Value::Table(model)) = table.get_mut("model") else { return Err("a table".into()) };
    model.extend(toml! { network = "residual" hidden = 8 layers = 2 });
    let model = model.clone();
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let energy = NeuralEnergy::new(&model, &spec, params)?;
    let u = Noise::new(1).normal((5, 3), DType::F64, &Device::Cpu)?;
    assert_close(&energy.learned(&u)?, [0.0; 5], Tol::EQUAL);
    for (i, (_, var)) in energy.params.entries().into_iter().enumerate() {
        let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
        var.set(&(var.as_detached_tensor() + (change * 0.3)?)?)?;
    }
    let v = Noise::new(2).normal_like(&u)?;
    let (landscape, h) = (energy.tracked(), 1e-4);
    let at = |by: f64| -> Result<Vec<f64>> { rows::host(&landscape.energy(&(&u + (&v * by)?)?)?) };
    let (up, here, down) = (at(h)?, at(0.0)?, at(-h)?);
    let slope: Vec<f64> = up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * h)).collect();
    let bend: Vec<f64> = (0..5).map(|i| (up[i] - 2.0 * here[i] + down[i]) / (h * h)).collect();
    let gradient = landscape.energy_and_gradient(&u)?.1;
    assert_close(&(gradient * &v)?.sum(1)?, &slope, Tol { abs: 1e-5, rel: 1e-5 });
    let jet = crate::sampling_free::Potential::jet(&landscape, &u, &v)?;
    assert_close(&jet.first, &slope, Tol { abs: 1e-5, rel: 1e-5 });
    assert_close(&jet.curvature()?, &bend, Tol { abs: 1e-4, rel: 1e-4 });
    let unknown = toml! { network = "conv" };
    let mut wrong = model;
    wrong.extend(unknown);
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let Err(error) = NeuralEnergy::new(&wrong, &spec, params) else {
        return Err("'conv' is accepted".into());
    };
    assert!(error.to_string().contains("residual"), "{error}");
    // Whole images have no perceptron to choose.
    let mut table = with_energy(&images(6), Table::new());
    let Some(Value::Table(of_images)) = table.get_mut("model") else { return Err("a table".into()) };
    of_images.extend(toml! { network = "residual" });
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let Err(error) = NeuralEnergy::new(of_images, &images(6), params) else {
        return Err("'residual' is accepted for whole images".into());
    };
    assert!(error.to_string().contains("model.principal"), "{error}");
    Ok(())
}
