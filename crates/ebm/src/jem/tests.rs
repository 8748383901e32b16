use super::*;
use crate::pcd::Pcd;
use crate::support::{Check, derivatives_agree, images, recipe, trained, vectors};
use genzoo_core::capability::Energy;
use genzoo_core::{Dataset, Device, Model, Split};
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};
use std::ops::Range;

/// Images whose bright half, left or right, is their class.
struct Halves(DataSpec);

fn halves() -> Halves {
    Halves(DataSpec { classes: Some(2), ..images(8) })
}

impl Dataset for Halves {
    fn name(&self) -> &str {
        "halves"
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
        let (mut x, mut label) = (vec![], vec![]);
        for i in rows.clone() {
            let mut noise = Noise::new(3).at(i);
            let class = noise.below(2, 1)[0];
            label.push(class as u32);
            let pixels = noise.uniforms(64).into_iter().enumerate();
            x.extend(
                pixels.map(|(k, v)| (0.3 * v + if (k % 8 < 4) == (class == 0) { 0.6 } else { 0.1 }) as f32),
            );
        }
        let n = label.len();
        Ok(Batch {
            x: Tensor::from_vec(x, (n, 1, 8, 8), &Device::Cpu)?,
            label: Some(Tensor::from_vec(label, n, &Device::Cpu)?),
            source: None,
            rows,
        })
    }
}

fn build(spec: &DataSpec, dtype: DType) -> Result<Pcd<Classifier>> {
    let noise = Noise::new(5);
    let params = ParamStore::new(&noise, dtype, &Device::Cpu);
    Pcd::new(&recipe(&ENTRY, spec, &[])?.model, spec, params, &noise)
}

/// Energy, gradient and cross-entropy from the logits, in plain numbers and differences.
#[test]
fn the_energy_is_minus_the_log_of_the_sum_of_classes() -> Check {
    let data = halves();
    let mut model = build(data.spec(), DType::F64)?;
    model.prepare(&mut genzoo_core::RowStream::new(&data, Split::Train, 0), &mut Noise::new(0))?;
    let batch = data.rows(Split::Train, 0..5)?;
    let x = batch.x.to_dtype(DType::F64)?;
    let energy = &model.energy;
    let u = energy.coordinates().forward(&x.flatten_from(1)?)?;
    let logits = energy.logits(&u)?.to_vec2::<f64>()?;
    let squares = rows::host(&rows::squared_norm(&u)?)?;
    let total = |l: &[f64]| l.iter().map(|v| v.exp()).sum::<f64>().ln();
    let want: Vec<f64> =
        logits.iter().zip(squares).map(|(l, s)| 0.5 * energy.confinement() * s - total(l)).collect();
    let (got, gradient) = energy.energy_and_gradient(&x)?;
    assert_close(&got, &want, Tol::rel(1e-6));
    let (v, h) = (Noise::new(2).normal_like(&x)?, 1e-5);
    let slope = ((energy.energy(&(&x + (&v * h)?)?)? - energy.energy(&(&x - (&v * h)?)?)?)? / (2.0 * h))?;
    assert_close(&slope, &(gradient * &v)?.flatten_from(1)?.sum(1)?, Tol { abs: 1e-6, rel: 1e-6 });
    // The jet, for score matching on classifiers.
    derivatives_agree(&energy.tracked(), &u)?;

    let label = batch.label.ok_or("labels")?;
    let (loss, accuracy) = classify(energy, &u, &label)?;
    let classes = label.to_vec1::<u32>()?;
    let each = |(l, y): (&Vec<f64>, &u32)| total(l) - l[*y as usize];
    let want = logits.iter().zip(&classes).map(each).sum::<f64>() / 5.0;
    assert_close(loss.to_scalar::<f64>()?, want, Tol::rel(1e-9));
    let right = logits.iter().zip(&classes).filter(|(l, y)| (l[1] > l[0]) == (**y == 1)).count();
    assert_close(accuracy, right as f64 / 5.0, Tol::abs(1e-12));
    Ok(())
}

#[test]
fn it_learns_to_classify_while_its_walkers_move() -> Check {
    let data = halves();
    let mut trainer = trained(&ENTRY, &data, &["train.batch=32"], 0)?;
    trainer.set_steps(120);
    let mut late = vec![];
    for k in 0..120 {
        let report = trainer.step()?;
        let of = |name: &str| report.log.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let accuracy = of("accuracy").ok_or("no accuracy in the log")?;
        assert!(of("gap").is_some() && of("cross_entropy").is_some());
        if k >= 100 {
            late.push(accuracy);
        }
    }
    assert!(late.iter().sum::<f64>() / 20.0 > 0.95, "{late:?}");
    Ok(())
}

#[test]
fn data_without_classes_are_refused() {
    for spec in [images(8), vectors(2)] {
        let refused = build(&spec, DType::F32).err().is_some_and(|e| e.to_string().contains("classes"));
        assert!(refused);
    }
}
