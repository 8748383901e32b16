use super::*;
use crate::pcd::Pcd;
use crate::support::{Check, Data, derivatives_agree, images, recipe, shake, trained, vectors};
use genzoo_core::capability::Energy;
use genzoo_core::{Dataset, Device, Model, Split, Turn, Update};
use genzoo_testkit::{Tol, assert_close};

fn build(spec: &DataSpec, dtype: DType, sets: &[&str], seed: u64) -> Result<Pcd<MaxEntropy>> {
    let noise = Noise::new(seed);
    let params = ParamStore::new(&noise, dtype, &Device::Cpu);
    Pcd::new(&recipe(&ENTRY, spec, sets)?.model, spec, params, &noise)
}

/// Energy, gradient and curvature of ⟨θ, φ⟩ against differences.
#[test]
fn derivatives_are_those_of_the_energy() -> Check {
    for spec in [vectors(3), images(8)] {
        for sets in [&["model.constraint=equal"][..], &["model.constraint=at_most"][..]] {
            let model = build(&spec, DType::F64, sets, 5)?;
            shake(model.params(), 3.0)?;
            let u = Noise::new(1).normal((4, spec.dims()), DType::F64, &Device::Cpu)?;
            derivatives_agree(&model.energy.tracked(), &u)?;
        }
    }
    Ok(())
}

/// Mean statistics of the model by a grid over u, and of the data by many rows.
fn both(
    model: &Pcd<MaxEntropy>,
    data: &Data,
) -> std::result::Result<(Vec<f64>, Vec<f64>), Box<dyn std::error::Error>> {
    let grid: Vec<f32> = (0..2401).map(|i| (i - 1200) as f32 * 0.01).collect();
    let u = Tensor::from_vec(grid, (2401, 1), &Device::Cpu)?;
    let weights: Vec<f64> =
        rows::host(&model.energy.landscape().energy(&u)?)?.iter().map(|e| (-e).exp()).collect();
    let z: f64 = weights.iter().sum();
    let values =
        model.addition.statistics.values(model.energy.coordinates().scaling(), &u)?.to_vec2::<f32>()?;
    let count = values[0].len();
    let of_model =
        (0..count).map(|k| values.iter().zip(&weights).map(|(v, w)| f64::from(v[k]) * w).sum::<f64>() / z);
    let batch = data.rows(Split::Test, 500_000..520_000)?;
    let u = model.energy.standardise(&batch, &mut Noise::new(0))?;
    Ok((of_model.collect(), rows::host(&model.addition.mean_of(&model.energy, &u)?)?))
}

/// A trained model whose type is known, through a checkpoint into a fresh one: state and parameters are all there is.
fn learned(
    data: &Data,
    sets: &[&str],
    steps: u64,
) -> std::result::Result<Pcd<MaxEntropy>, Box<dyn std::error::Error>> {
    let saved = trained(&ENTRY, data, sets, steps)?.checkpoint("id")?;
    let mut again = build(data.spec(), DType::F32, sets, 99)?;
    again.params().load(&saved.section("param"))?;
    again.set_state(saved.section("state"))?;
    Ok(again)
}

#[test]
fn trained_statistics_are_those_of_the_data() -> Check {
    let data = Data(vectors(1));
    let sets = ["train.lr=3e-2", "train.batch=256", "model.walkers=256", "model.chains=256"];
    let model = learned(&data, &sets, 300)?;
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
    let model = learned(&data, &sets, 400)?;
    let (of_model, of_data) = both(&model, &data)?;
    let theta = rows::host(&model.addition.statistics.theta()?)?;
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
    let mut model = build(data.spec(), DType::F32, &["model.examples=1", "model.smoothing=0"], 5)?;
    model.prepare(&mut genzoo_core::RowStream::new(&data, Split::Train, 7), &mut Noise::new(0))?;
    let kept = model.addition.examples.clone().ok_or("an example")?;
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
