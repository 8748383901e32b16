//! Training: where the estimators lead, and that they can be interrupted.

use super::*;
use crate::rbm::chains::{Chains, Settings};
use genzoo_core::{Dataset, Draw, Entry, Recipe, Split, TrainConfig, Trainer};
use std::ops::Range;

const ENTRIES: [Entry; 8] = [CD, CD25, DEEP, FAST, GAUSSIAN, PCD, POTTS, TEMPERED];

/// Rows of 0 and 1 from three patterns of six bits, each bit wrong once in ten; bytes; or two Gaussian blobs.
struct Data(DataSpec);

fn spec(space: Space, d: usize) -> DataSpec {
    let range = (space != Space::Continuous).then_some((0.0, 1.0));
    DataSpec { shape: vec![d], space, classes: None, range }
}

/// Shares of the 64 states that the bits take.
fn shares() -> Vec<(usize, f64)> {
    let patterns = [(0b111000usize, 0.45), (0b000111, 0.3), (0b101010, 0.25)];
    let share = |s: usize| {
        patterns.into_iter().map(move |(p, w)| {
            let wrong = (p ^ s).count_ones() as i32;
            w * 0.1f64.powi(wrong) * 0.9f64.powi(6 - wrong)
        })
    };
    (0..64).map(|s| (s, share(s).sum())).collect()
}

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
        let mut values: Vec<f64> = vec![];
        for i in rows.clone() {
            let mut noise = Noise::new(11).at(i);
            match self.0.space {
                Space::Continuous => {
                    let side = if i % 2 == 0 { 2.0 } else { -2.0 };
                    values.extend(noise.normals(d).iter().map(|z| side + 0.5 * z));
                }
                Space::U8 => values.extend(noise.uniforms(d).iter().map(|u| (u * u * 256.0).floor() / 256.0)),
                _ => {
                    let mut rest = noise.uniforms(1)[0];
                    let found = shares().into_iter().find(|(_, p)| {
                        rest -= p;
                        rest < 0.0
                    });
                    values.extend(bits(found.map_or(0, |f| f.0), d));
                }
            }
        }
        let n = (rows.end - rows.start) as usize;
        let mut batch = Batch::of(Tensor::from_vec(values, (n, d), &Device::Cpu)?.to_dtype(DType::F32)?);
        batch.rows = rows;
        Ok(batch)
    }
}

fn recipe(entry: &Entry, spec: &DataSpec, sets: &[&str]) -> Result<Recipe> {
    let mut recipe = Recipe::defaults(entry, spec)?;
    recipe.overlay(&(entry.tiny)(spec))?;
    for set in sets {
        recipe.set(set)?;
    }
    Ok(recipe)
}

fn build(entry: &'static Entry, spec: &DataSpec, sets: &[&str]) -> Result<Rbm> {
    let noise = Noise::new(5);
    let params = ParamStore::new(&noise, DType::F32, &Device::Cpu);
    Rbm::new(&entry.info, &recipe(entry, spec, sets)?.model, spec, params, &noise)
}

fn trained<'a>(entry: &'static Entry, data: &'a Data, sets: &[&str], steps: u64) -> Result<Trainer<'a>> {
    let model = build(entry, data.spec(), sets)?;
    let config = TrainConfig::read(&recipe(entry, data.spec(), sets)?.train)?;
    let mut trainer = Trainer::new(Box::new(model), data, config, &Noise::new(1))?;
    trainer.set_steps(steps.max(1));
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(trainer)
}

/// Mean negative log-likelihood of the true law of the bits, from every state of the model by enumeration.
fn cross_entropy(trainer: &Trainer<'_>) -> Result<f64> {
    let density = trainer.model().density("enumeration", &Table::new(), &mut Noise::new(0))?;
    let all: Vec<Vec<f64>> = (0..64).map(|s| bits(s, 6)).collect();
    let log_p = list(&density.log_prob(&Batch::of(rows_of(&all)?), &mut Noise::new(0))?.values);
    let mass: f64 = log_p.iter().map(|l| l.exp()).sum();
    assert!((mass - 1.0).abs() < 1e-10, "the law of the machine has mass {mass}");
    Ok(shares().iter().map(|(s, p)| -p * log_p[*s]).sum())
}

/// Chains under fixed parameters: their mean gradient is that of the likelihood, whichever way they are kept.
#[test]
fn persistent_chains_average_to_the_exact_gradient() -> Check {
    let slow = binary(5, 3, 51);
    let machine =
        slow.machine(Units::Binary)?.with_base(&Tensor::new(&numbers(5, 52, 0.5)[..], &Device::Cpu)?)?;
    let data = rows_of(&slow.states[4..9])?;
    // E v, E h and E v hᵀ of the model in plain sums.
    let p = slow.probabilities();
    let mean: Vec<f64> = (0..5).map(|i| slow.states.iter().zip(&p).map(|(v, p)| p * v[i]).sum()).collect();
    for estimator in ["pcd", "pt"] {
        let text = format!(
            "estimator = '{estimator}'\nk = 1\nchains = 2000\ntemperatures = 3\nfast_lr = 0.0\nfast_decay = 0.05"
        );
        let settings: Settings = config::read(&text.parse()?, "model")?;
        let mut noise = Noise::new(53);
        let mut chains = Chains::new(&settings, &machine, &mut noise)?;
        let mut each: Vec<Vec<f64>> = vec![vec![]; 5];
        for sweep in 0..60 {
            let (v, _) = chains.advance(&machine, &data, &mut noise)?;
            if sweep >= 20 {
                each.iter_mut().enumerate().for_each(|(i, of)| {
                    of.push(list(&v.narrow(1, i, 1).and_then(|c| c.mean_all()).expect("a mean"))[0]);
                });
            }
        }
        for (i, of) in each.iter().enumerate() {
            let got = of.iter().sum::<f64>() / of.len() as f64;
            // 40 sweeps of 2,000 chains that forget within a few sweeps are worth at least eight independent rounds.
            let error = (mean[i] * (1.0 - mean[i]) / (8.0 * 2000.0)).sqrt();
            assert!((got - mean[i]).abs() < 4.0 * error, "{estimator} {i}: {got} {} ± {error}", mean[i]);
        }
    }
    Ok(())
}

/// A machine that can represent the bits reaches their entropy, up to the noise of 4,000 updates (about 0.01 nats).
#[test]
fn persistent_chains_reach_the_entropy_of_the_data() -> Check {
    let data = Data(spec(Space::BinaryStatic, 6));
    let entropy: f64 = shares().iter().map(|(_, p)| -p * p.ln()).sum();
    let sets = ["model.hidden=10", "model.init=0.3", "model.chains=256", "train.batch=256", "train.lr=0.2"];
    for (entry, most) in [(&PCD, 0.03), (&FAST, 0.06), (&TEMPERED, 0.03), (&CD25, 0.03)] {
        let got = cross_entropy(&trained(entry, &data, &sets, 4000)?)?;
        assert!(got > entropy - 1e-9 && got < entropy + most, "{}: {got} {entropy}", entry.info.name);
    }
    Ok(())
}

#[test]
fn gaussian_units_learn_two_blobs() -> Check {
    let data = Data(spec(Space::Continuous, 2));
    // The entropy of half a Gaussian each, 4√2/0.5 deviations apart.
    let entropy = 2f64.ln() + (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + 2.0 * 0.5f64.ln();
    let sets = ["train.lr=1e-2", "model.chains=256", "train.batch=256"];
    let trainer = trained(&GAUSSIAN, &data, &sets, 2500)?;
    let density = trainer.model().density("enumeration", &Table::new(), &mut Noise::new(0))?;
    let batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
    let log_p = list(&density.log_prob(&batch, &mut Noise::new(0))?.values);
    let got = -log_p.iter().sum::<f64>() / 4000.0;
    // 4,000 rows of a law with a variance of about 1 nat² have an error of 0.016.
    assert!(got < entropy + 0.15 && got > entropy - 0.07, "{got} {entropy}");
    // Both blobs, and nothing between them.
    let model = trainer.model();
    let drawn = model
        .sampler("gibbs", &(model.samplers()[0].defaults)())?
        .sample(&Draw::n(1000), &mut Noise::new(2))?;
    let x = list(&drawn.x.narrow(1, 0, 1)?);
    let right = x.iter().filter(|x| **x > 0.0).count() as f64 / 1000.0;
    assert!((right - 0.5).abs() < 0.1, "{right}");
    Ok(())
}

/// The bound of a deep machine is below its likelihood: over all states it has a mass below one, and training brings it near
/// the entropy of the data.
#[test]
fn a_deep_machine_learns_the_bits() -> Check {
    let data = Data(spec(Space::BinaryStatic, 6));
    let entropy: f64 = shares().iter().map(|(_, p)| -p * p.ln()).sum();
    let sets = ["model.init=0.3", "model.chains=256", "train.batch=256", "train.lr=0.2"];
    let trainer = trained(&DEEP, &data, &sets, 3000)?;
    let density = trainer.model().density("enumeration", &Table::new(), &mut Noise::new(0))?;
    assert_eq!(density.evidence().kind, genzoo_core::Kind::LowerBound);
    let all: Vec<Vec<f64>> = (0..64).map(|s| bits(s, 6)).collect();
    let log_p = list(&density.log_prob(&Batch::of(rows_of(&all)?), &mut Noise::new(0))?.values);
    let mass: f64 = log_p.iter().map(|l| l.exp()).sum();
    assert!(mass < 1.0 && mass > 0.5, "{mass}");
    let got: f64 = shares().iter().map(|(s, p)| -p * log_p[*s]).sum();
    assert!(got > entropy && got < entropy + 0.3, "{got} {entropy}");
    Ok(())
}

/// The law of bytes sums to one over a grid of two sites.
#[test]
fn levels_are_a_law_of_bytes() -> Check {
    let data = Data(spec(Space::U8, 2));
    let trainer = trained(&POTTS, &data, &[], 200)?;
    let density = trainer.model().density("enumeration", &Table::new(), &mut Noise::new(0))?;
    assert!(density.evidence().discrete);
    let mut mass = 0.0;
    for a in 0..256 {
        let row: Vec<f64> =
            (0..256).flat_map(|b| [f64::from(a) / 256.0, f64::from(b) / 256.0 + 0.001]).collect();
        let batch = Batch::of(Tensor::from_vec(row, (256, 2), &Device::Cpu)?);
        mass +=
            list(&density.log_prob(&batch, &mut Noise::new(0))?.values).iter().map(|l| l.exp()).sum::<f64>();
    }
    assert!((mass - 1.0).abs() < 1e-9, "{mass}");
    Ok(())
}

/// Chains, fast weights, ladders and running means live in the checkpoint.
#[test]
fn every_estimator_resumes_exactly() -> Check {
    for entry in &ENTRIES {
        let data = Data(match entry.spaces[0] {
            Space::Continuous => spec(Space::Continuous, 2),
            Space::U8 => spec(Space::U8, 3),
            _ => spec(Space::BinaryStatic, 6),
        });
        let sets: &[&str] = &["model.sparsity=0.1"];
        let mut whole = trained(entry, &data, sets, 4)?;
        let saved = whole.checkpoint("id")?;
        let mut resumed = trained(entry, &data, sets, 0)?;
        resumed.restore(&saved)?;
        for _ in 0..3 {
            whole.step()?;
            resumed.step()?;
        }
        let (a, b) = (whole.model().state()?, resumed.model().state()?);
        assert_eq!(a.contains_key("chains.v"), entry.info.name != "rbm-cd" && entry.info.name != "rbm-cd25");
        for (name, tensor) in &a {
            assert_close(tensor, &b[name], Tol::EQUAL);
        }
        let (a, b) = (whole.model().params().snapshot()?, resumed.model().params().snapshot()?);
        for (name, tensor) in &a {
            assert_close(tensor, &b[name], Tol::EQUAL);
        }
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let bits = spec(Space::BinaryStatic, 6);
    for (set, word) in [
        ("model.hidden=0", "model.hidden"),
        ("model.k=0", "model.k"),
        ("model.chains=0", "model.chains"),
        ("model.temperatures=1", "model.temperatures"),
        ("model.fast_decay=0", "model.fast_decay"),
        ("model.fast_lr=-1", "model.fast_lr"),
        ("model.weight_decay=-1", "model.weight_decay"),
        ("model.sparsity_target=1.0", "model.sparsity_target"),
        ("model.estimator=pcdd", "model"),
        ("model.init=-1.0", "model.init"),
    ] {
        let e = build(&PCD, &bits, &[set]).err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    let e = build(&POTTS, &spec(Space::U8, 3), &["model.levels=7"]).err().ok_or("accepted")?.to_string();
    assert!(e.contains("model.levels"), "{e}");
    let model = build(&CD, &bits, &[])?;
    let mut options = (model.samplers()[0].defaults)();
    options.insert("start".into(), "chains".into());
    assert!(model.sampler("gibbs", &options).is_err() && model.sampler("langevin", &options).is_err());
    assert!(model.density("ode", &Table::new(), &mut Noise::new(0)).is_err());
    Ok(())
}
