use super::*;
use genzoo_core::nn::Differentiable;
use genzoo_core::{Dataset, Device, Draw, Recipe, Split, TrainConfig, Trainer};
use genzoo_numerics::mcmc::Chains;
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};
use std::ops::Range;

type Check = std::result::Result<(), Box<dyn std::error::Error>>;

fn vectors(d: usize) -> DataSpec {
    DataSpec { shape: vec![d], space: Space::Continuous, classes: None, range: None }
}

fn images(size: usize) -> DataSpec {
    DataSpec { shape: vec![1, size, size], space: Space::U8, classes: None, range: Some((0.0, 1.0)) }
}

/// Vectors: halves of the rows around ±2 in the first dimension, everything of deviation 0.7. Images: uniform.
struct Data(DataSpec);

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

fn recipe(spec: &DataSpec, sets: &[&str]) -> Result<Recipe> {
    let mut recipe = Recipe::defaults(&ENTRY, spec)?;
    recipe.overlay(&tiny(spec))?;
    for set in sets {
        recipe.set(set)?;
    }
    Ok(recipe)
}

fn build(spec: &DataSpec, dtype: DType, sets: &[&str]) -> Result<Pcd> {
    let noise = Noise::new(5);
    let params = ParamStore::new(&noise, dtype, &Device::Cpu);
    Pcd::new(&recipe(spec, sets)?.model, spec, params, &noise)
}

/// A model in f64 whose weights are all random: a landscape with some relief.
fn random(spec: &DataSpec, strength: f64) -> Result<Pcd> {
    let mut model = build(spec, DType::F64, &[])?;
    for (i, (_, var)) in model.params.entries().into_iter().enumerate() {
        let change = Noise::new(7).at(i as u64).normal_like(var.as_tensor())?;
        var.set(&(var.as_detached_tensor() + (change * strength)?)?)?;
    }
    let d = spec.dims();
    let (mean, sd) = ((0..d).map(|i| 0.3 * i as f64), (0..d).map(|i| 0.5 + 0.2 * i as f64));
    model.scaling = Standardizer::new(mean.collect(), sd.collect(), &flat(spec))?;
    Ok(model)
}

fn trained<'a>(data: &'a Data, sets: &[&str], steps: u64) -> Result<Trainer<'a>> {
    let recipe = recipe(data.spec(), sets)?;
    let params = ParamStore::new(&Noise::new(5), DType::F32, &Device::Cpu);
    let model = Pcd::new(&recipe.model, data.spec(), params, &Noise::new(5))?;
    let mut trainer = Trainer::new(Box::new(model), data, TrainConfig::read(&recipe.train)?, &Noise::new(1))?;
    trainer.set_steps(steps);
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(trainer)
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
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
        let want = f.flatten_all()?.to_vec1::<f64>()?[0]
            + 0.5 * model.config.confinement * (u[0] * u[0] + u[1] * u[1]);
        assert_close(model.energy(&x)?.get(i)?.to_scalar::<f64>()?, want, Tol::rel(1e-6));
    }
    Ok(())
}

/// `U = ½(κ + θ)u²` with one parameter θ: the gap of `∂U/∂θ = ½u²` must carry `1/(κ + θ)` to the data's variance.
#[test]
fn one_parameter_moves_to_the_variance_of_the_data() -> Check {
    struct Spring(f64);
    impl Energy for Spring {
        fn energy(&self, u: &Tensor) -> Result<Tensor> {
            Ok((rows::squared_norm(u)? * (0.5 * self.0))?)
        }
        fn energy_and_gradient(&self, u: &Tensor) -> Result<(Tensor, Tensor)> {
            Ok((self.energy(u)?, (u * self.0)?))
        }
    }
    for rule in ["plain", "metropolis"] {
        let sets = ["model.walkers=2000", "model.chains=1000", "model.moves=4", "model.restart=0"];
        let recipe = recipe(&vectors(1), &sets)?;
        let mut config: Config = config::read(&recipe.model, "model")?;
        if rule == "metropolis" {
            config.restart = 1.0;
        }
        let noise = Noise::new(3);
        let params = ParamStore::new(&noise, DType::F64, &Device::Cpu);
        let mut walkers = Walkers::new(1, &config, &params, &noise)?;
        let variance = 0.36;
        let (mut theta, mut late) = (0.0, vec![]);
        for k in 0..400 {
            let target = Spring(config.confinement + theta);
            walkers.advance(&target, &config, &mut noise.at(k))?;
            let square = rows::host(&walkers.active(config.chains)?.sqr()?.mean_all()?)?[0];
            walkers.next_window(config.chains);
            theta -= 0.5 * (0.5 * variance - 0.5 * square);
            if k >= 200 {
                late.push(config.confinement + theta);
            }
        }
        // 200 correlated steps of 1000 walkers: the mean of ½u² has an error of 1 % per step at worst.
        let (precision, _) = mean(&late);
        assert_close(1.0 / precision, variance, Tol::rel(0.03));
    }
    Ok(())
}

#[test]
fn training_reaches_the_entropy_of_a_gaussian() -> Check {
    let data = Data(vectors(1));
    let sets = ["train.lr=1e-2", "train.batch=256", "model.walkers=256", "model.chains=256"];
    let trainer = trained(&data, &sets, 300)?;
    let mut noise = Noise::new(0);
    let density =
        trainer.model().density("quadrature", &(density::infos(data.spec())[0].defaults)(), &mut noise)?;
    let batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
    let log_p = rows::host(&density.log_prob(&batch, &mut noise)?.values)?;
    let truth: Vec<f64> = rows::host(&batch.x)?
        .iter()
        .zip(&log_p)
        .map(|(x, l)| -0.5 * (x / 0.7).powi(2) - (0.7 * std::f64::consts::TAU.sqrt()).ln() - l)
        .collect();
    let (excess, error) = mean(&truth);
    assert!(excess < 0.03 && excess > -4.0 * error, "{excess} ± {error}");
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
            walkers::restart(&landscape, model.config.confinement, &mut chains, 1.0, &mut noise)?;
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
    let density = model.density("quadrature", &(density::infos(&model.spec)[0].defaults)(), &mut noise)?;
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

#[test]
fn annealing_agrees_with_the_grid_and_refuses_when_degenerate() -> Check {
    let data = Data(vectors(2));
    let trainer = trained(&data, &["train.lr=1e-2"], 100)?;
    let model = trainer.model();
    let batch = data.rows(Split::Test, 0..8)?;
    let log_p = |name: &str, options: Table| -> Result<(Vec<f64>, f64)> {
        let mut noise = Noise::new(4);
        let p = model.density(name, &options, &mut noise)?.log_prob(&batch, &mut noise)?;
        Ok((rows::host(&p.values)?, p.shared_error))
    };
    let (grid, _) = log_p("quadrature", toml! { max_points = 300_000 })?;
    let (annealed, error) = log_p("ais", toml! { chains = 256 temperatures = 100 })?;
    assert!(error > 0.0 && error < 0.2, "{error}");
    assert_close(&annealed, &grid, Tol::abs(4.0 * error + 1e-3));
    let refused = log_p("ais", toml! { chains = 4 temperatures = 4 }).err().ok_or("accepted")?;
    assert!(refused.to_string().contains("ais_degenerate"), "{refused}");
    Ok(())
}

#[test]
fn evaluations_are_counted() -> Check {
    for spec in [vectors(2), images(8)] {
        let model = build(&spec, DType::F32, &[])?;
        for (steps, n) in [(0i64, 3usize), (7, 5)] {
            let mut options = (sampler::infos(&spec)[0].defaults)();
            options.insert("steps".into(), steps.into());
            let drawn = model.sampler("langevin", &options)?.sample(&Draw::n(n), &mut Noise::new(0))?;
            // One where the chain starts, one for each proposal.
            assert_eq!(drawn.evaluations, steps as u64 + 1);
            assert_eq!(drawn.x.dims(), spec.batch_shape(n));
            if let Some((low, high)) = spec.range {
                assert!(rows::host(&drawn.x)?.iter().all(|v| (low..=high).contains(v)));
            }
        }
    }
    Ok(())
}

#[test]
fn walkers_resume_exactly() -> Check {
    for spec in [vectors(2), images(8)] {
        let data = Data(spec);
        let mut whole = trained(&data, &["model.chains=8", "model.walkers=24"], 4)?;
        let saved = whole.checkpoint("id")?;
        let mut resumed = trained(&data, &["model.chains=8", "model.walkers=24"], 0)?;
        resumed.restore(&saved)?;
        for _ in 0..4 {
            whole.step()?;
            resumed.step()?;
        }
        let (a, b) = (whole.model().state()?, resumed.model().state()?);
        assert!(a.contains_key("walkers.u"));
        for (name, tensor) in &a {
            assert_close(tensor, &b[name], Tol::EQUAL);
        }
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    for (set, word) in [
        ("model.confinement=0", "model.confinement"),
        ("model.hidden=0", "model.hidden"),
        ("model.step=0", "model.step"),
        ("model.restart=1.5", "model.restart"),
        ("model.moves=0", "model.moves"),
        ("model.chains=48", "model.walkers"),
        ("model.restart_rule=never", "metropolis"),
        ("model.smoothing=-1", "model.smoothing"),
        ("model.walker=4", "walkers"),
    ] {
        let e = build(&vectors(2), DType::F32, &[set]).err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    let binary = DataSpec { space: Space::BinaryStatic, ..images(8) };
    assert!(build(&binary, DType::F32, &[]).is_err());
    let model = build(&vectors(3), DType::F32, &[])?;
    assert!(model.density("quadrature", &Table::new(), &mut Noise::new(0)).is_err());
    assert!(model.sampler("gibbs", &Table::new()).is_err());
    Ok(())
}
