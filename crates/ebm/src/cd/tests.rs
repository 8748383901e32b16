use super::*;
use crate::neural::tests::{Check, Data, mean, vectors};
use genzoo_core::{Dataset, Recipe, Split, TrainConfig, Trainer};
use genzoo_numerics::rows;

fn recipe(spec: &DataSpec, sets: &[&str]) -> Result<Recipe> {
    let mut recipe = Recipe::defaults(&ENTRY, spec)?;
    recipe.overlay(&tiny(spec))?;
    for set in sets {
        recipe.set(set)?;
    }
    Ok(recipe)
}

fn trained<'a>(data: &'a Data, sets: &[&str], steps: u64) -> Result<Trainer<'a>> {
    let recipe = recipe(data.spec(), sets)?;
    let params = ParamStore::new(&Noise::new(5), DType::F32, &Device::Cpu);
    let model = Cd::new(&recipe.model, data.spec(), params)?;
    let mut trainer = Trainer::new(Box::new(model), data, TrainConfig::read(&recipe.train)?, &Noise::new(1))?;
    trainer.set_steps(steps);
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(trainer)
}

/// One mode has no masses to get wrong: there CD reaches the entropy, with either kernel.
#[test]
fn one_mode_is_learned_to_its_entropy() -> Check {
    for kernel in ["ula", "mala"] {
        let data = Data(vectors(1));
        let kernel = format!("model.kernel={kernel}");
        let sets = ["train.batch=256", "model.moves=4", "model.step=0.05", &kernel];
        let trainer = trained(&data, &sets, 300)?;
        let mut noise = Noise::new(0);
        let options = (density::infos(data.spec().dims())[0].defaults)();
        let density = trainer.model().density("quadrature", &options, &mut noise)?;
        let batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
        let log_p = rows::host(&density.log_prob(&batch, &mut noise)?.values)?;
        let excess: Vec<f64> = rows::host(&batch.x)?
            .iter()
            .zip(&log_p)
            .map(|(x, l)| -0.5 * (x / 0.7).powi(2) - (0.7 * std::f64::consts::TAU.sqrt()).ln() - l)
            .collect();
        let (excess, error) = mean(&excess);
        assert!(excess < 0.05 && excess > -4.0 * error, "{kernel}: {excess} ± {error}");
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    for (set, word) in [
        ("model.moves=0", "model.moves"),
        ("model.step=0", "model.step"),
        ("model.regularisation=-1", "model.regularisation"),
        ("model.kernel=gibbs", "mala"),
        ("model.confinement=0", "model.confinement"),
    ] {
        let params = ParamStore::new(&Noise::new(5), DType::F32, &Device::Cpu);
        let e = recipe(&vectors(2), &[set]).and_then(|r| Cd::new(&r.model, &vectors(2), params).map(|_| ()));
        let e = e.err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    Ok(())
}

/// A learning rate that throws the energy about is noticed, and the message says what to do.
#[test]
fn a_wild_run_ends_with_a_remedy() -> Check {
    let data = Data(vectors(2));
    let sets = ["train.lr=300", "train.clip=0", "model.kernel=ula", "model.step=0.5"];
    let e = trained(&data, &sets, 200).err().ok_or("it trained")?.to_string();
    assert!(e.contains("cd diverged at step"), "{e}");
    assert!(e.contains("lower train.lr") || e.contains("lower model.step"), "{e}");
    Ok(())
}
