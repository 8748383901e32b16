use super::*;
use crate::neural::tests::{Check, Data, images, vectors};
use genzoo_core::capability::Energy;
use genzoo_core::{Dataset, Device, NoZoo, Recipe, Split, TrainConfig, Trainer};
use genzoo_testkit::{Tol, assert_close};

fn recipe(spec: &DataSpec, sets: &[&str]) -> Result<Recipe> {
    let mut recipe = Recipe::defaults(&ENTRY, spec)?;
    recipe.overlay(&(ENTRY.tiny)(spec))?;
    sets.iter().try_for_each(|set| recipe.set(set))?;
    Ok(recipe)
}

fn build(spec: &DataSpec, dtype: DType, sets: &[&str]) -> Result<MaxEntropy> {
    let noise = Noise::new(5);
    MaxEntropy::new(&recipe(spec, sets)?.model, spec, ParamStore::new(&noise, dtype, &Device::Cpu), &noise)
}

/// Energy, gradient and curvature of ⟨θ, φ⟩ against differences.
#[test]
fn derivatives_are_those_of_the_energy() -> Check {
    for spec in [vectors(3), images(8)] {
        for sets in [&["model.constraint=equal"][..], &["model.constraint=at_most"][..]] {
            let model = build(&spec, DType::F64, sets)?;
            for (i, (_, var)) in model.params().entries().into_iter().enumerate() {
                var.set(&(Noise::new(7).at(i as u64).normal_like(var.as_tensor())? * 3.0)?)?;
            }
            let energy = model.pcd.energy().tracked();
            let u = Noise::new(1).normal((4, spec.dims()), DType::F64, &Device::Cpu)?;
            let v = Noise::new(2).normal_like(&u)?;
            let at = |e: f64| -> Result<Vec<f64>> { rows::host(&energy.energy(&(&u + (&v * e)?)?)?) };
            let (value, gradient) = energy.energy_and_gradient(&u)?;
            let h = 1e-4;
            let (up, here, down) = (at(h)?, at(0.0)?, at(-h)?);
            assert_close(&value, &here, Tol::rel(1e-12));
            let slope: Vec<f64> = up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * h)).collect();
            assert_close(&(gradient * &v)?.sum(1)?, &slope, Tol { abs: 1e-5, rel: 1e-5 });
            let jet = crate::sampling_free::Potential::jet(&energy, &u, &v)?;
            let bend: Vec<f64> = (0..4).map(|i| (up[i] - 2.0 * here[i] + down[i]) / (h * h)).collect();
            assert_close(&jet.curvature()?, &bend, Tol { abs: 1e-3, rel: 1e-4 });
        }
    }
    Ok(())
}

/// Mean statistics of the model by a grid over u, and of the data by many rows.
fn both(
    model: &MaxEntropy,
    data: &Data,
) -> std::result::Result<(Vec<f64>, Vec<f64>), Box<dyn std::error::Error>> {
    let grid: Vec<f32> = (0..2401).map(|i| (i - 1200) as f32 * 0.01).collect();
    let u = Tensor::from_vec(grid, (2401, 1), &Device::Cpu)?;
    let weights: Vec<f64> =
        rows::host(&model.pcd.energy().landscape().energy(&u)?)?.iter().map(|e| (-e).exp()).collect();
    let z: f64 = weights.iter().sum();
    let values = model.statistics.values(model.pcd.energy().coordinates().scaling(), &u)?.to_vec2::<f32>()?;
    let count = values[0].len();
    let of_model =
        (0..count).map(|k| values.iter().zip(&weights).map(|(v, w)| f64::from(v[k]) * w).sum::<f64>() / z);
    let batch = data.rows(Split::Test, 500_000..520_000)?;
    let u = model.pcd.energy().standardise(&batch, &mut Noise::new(0))?;
    Ok((of_model.collect(), rows::host(&model.mean_of(&u)?)?))
}

/// A model in training, whose type is known.
fn trained(
    data: &Data,
    sets: &[&str],
    steps: u64,
) -> std::result::Result<MaxEntropy, Box<dyn std::error::Error>> {
    let recipe = recipe(data.spec(), sets)?;
    let noise = Noise::new(5);
    let build =
        genzoo_core::Build { spec: data.spec(), device: &Device::Cpu, zoo: &NoZoo, noise: noise.clone() };
    let model = (ENTRY.build)(&recipe.model, build)?;
    let mut trainer = Trainer::new(model, data, TrainConfig::read(&recipe.train)?, &Noise::new(1))?;
    trainer.set_steps(steps);
    for _ in 0..steps {
        trainer.step()?;
    }
    // Through a checkpoint into a fresh model: state and parameters are all there is.
    let saved = trainer.checkpoint("id")?;
    let params = ParamStore::new(&Noise::new(99), DType::F32, &Device::Cpu);
    let mut again = MaxEntropy::new(&recipe.model, data.spec(), params, &Noise::new(99))?;
    again.params().load(&saved.section("param"))?;
    again.set_state(saved.section("state"))?;
    Ok(again)
}

#[test]
fn trained_statistics_are_those_of_the_data() -> Check {
    let data = Data(vectors(1));
    let sets = ["train.lr=3e-2", "train.batch=256", "model.walkers=256", "model.chains=256"];
    let model = trained(&data, &sets, 300)?;
    let (of_model, of_data) = both(&model, &data)?;
    // 256 walkers and rows per update, averaged over the last steps of a falling rate.
    assert_close(&of_model, &of_data, Tol::abs(0.04));
    Ok(())
}

/// Kuhn–Tucker: multipliers are not negative, no bound is exceeded, and one with slack has a multiplier near 0.
#[test]
fn inequalities_are_kept_and_slack_ones_cost_nothing() -> Check {
    let data = Data(vectors(1));
    let sets = [
        "train.lr=3e-2",
        "train.batch=256",
        "model.walkers=256",
        "model.chains=256",
        "model.constraint=at_most",
    ];
    let model = trained(&data, &sets, 400)?;
    let (of_model, of_data) = both(&model, &data)?;
    let theta = rows::host(&model.statistics.theta()?)?;
    for ((got, bound), theta) in of_model.iter().zip(&of_data).zip(&theta) {
        assert!(*theta >= 0.0 && *got < bound + 0.05, "{got} over {bound}");
        assert!((bound - got) * theta < 0.05, "slack {} at {theta}", bound - got);
    }
    Ok(())
}

/// With one example every update sees its statistics, whatever the stream brings.
#[test]
fn one_example_is_enough() -> Check {
    let data = Data(images(8));
    let mut model = build(data.spec(), DType::F32, &["model.examples=1", "model.smoothing=0"])?;
    model.prepare(&mut genzoo_core::RowStream::new(&data, Split::Train, 7), &mut Noise::new(0))?;
    let kept = model.examples.clone().ok_or("an example")?;
    let mut losses = vec![];
    for start in [0, 100] {
        let batch = data.rows(Split::Train, start..start + 8)?;
        let state = model.state()?;
        match model.update(&Turn::mini("main"), &batch, &mut Noise::new(3))? {
            Update::Minimise { loss, .. } => losses.push(loss.to_scalar::<f32>()?),
            _ => return Err("a loss".into()),
        }
        model.set_state(state)?;
    }
    assert_eq!(losses[0], losses[1]);
    assert_close(&kept, &model.state()?["examples"], Tol::EQUAL);
    Ok(())
}
