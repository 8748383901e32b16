use super::*;
use crate::baseline;
use crate::data::{OpenOptions, open};
use genzoo_core::{Build, NoZoo, Recipe, TrainConfig, Trainer};

type Check = std::result::Result<(), Box<dyn std::error::Error>>;

/// Every pair, as the definition has it.
fn by_pairs(inside: &[f64], outside: &[f64]) -> f64 {
    let mut sum = 0.0;
    for x in inside {
        for y in outside {
            sum += if x > y { 1.0 } else { f64::from(u8::from(x == y)) * 0.5 };
        }
    }
    sum / (inside.len() * outside.len()) as f64
}

/// DeLong's components from every pair, with the variance of each.
fn delong(inside: &[f64], outside: &[f64]) -> f64 {
    let part = |own: &[f64], f: &dyn Fn(f64) -> f64| {
        let v: Vec<f64> = own.iter().map(|x| f(*x)).collect();
        let k = v.len() as f64;
        let mean = v.iter().sum::<f64>() / k;
        v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (k - 1.0) / k
    };
    let (a, b) = (part(inside, &|x| by_pairs(&[x], outside)), part(outside, &|y| by_pairs(inside, &[y])));
    (a + b).sqrt()
}

#[test]
fn ranks_give_what_pairs_give() -> Check {
    let mut noise = Noise::new(3);
    for round in 0..20 {
        let (m, n) = (2 + round, 17);
        // Rounded scores have ties.
        let digits = if round % 2 == 0 { 1.0 } else { 1e6 };
        let mut draw = |k: usize, shift: f64| -> Vec<f64> {
            noise.normals(k).iter().map(|z| ((z + shift) * digits).round() / digits).collect()
        };
        let (inside, outside) = (draw(m, 0.8), draw(n, 0.0));
        let got = auroc(&inside, &outside)?;
        assert!((got.value - by_pairs(&inside, &outside)).abs() < 1e-12);
        assert!((got.stderr - delong(&inside, &outside)).abs() < 1e-12, "{got:?}");
    }
    // scikit-learn 1.5: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) = 0.75.
    assert_eq!(auroc(&[0.35, 0.8], &[0.1, 0.4])?.value, 0.75);
    assert_eq!(auroc(&[2.0, 3.0], &[0.0, 1.0])?, Auroc { value: 1.0, stderr: 0.0 });
    assert!(auroc(&[1.0], &[0.0, 2.0]).is_err() && auroc(&[1.0, f64::NAN], &[0.0, 2.0]).is_err());
    Ok(())
}

/// N(1, 1) against N(0, 1): A = Φ(1/√2) = 0.760250. The interval of ± 2 s.e. covers it, and the s.e. is the spread.
#[test]
fn gaussians_have_the_area_and_the_error_that_theory_says() -> Check {
    let want = 0.760_249_938_9;
    let (repeats, mut values, mut errors) = (300u64, vec![], vec![]);
    for k in 0..repeats {
        let mut noise = Noise::new(5).at(k);
        let inside: Vec<f64> = noise.normals(60).iter().map(|z| z + 1.0).collect();
        let got = auroc(&inside, &noise.normals(90))?;
        values.push(got.value);
        errors.push(got.stderr);
    }
    let n = repeats as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let sd = (values.iter().map(|v| (v - mean(&values)).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    assert!((mean(&values) - want).abs() < 4.0 * sd / n.sqrt(), "{} {sd}", mean(&values));
    // A spread of 300 values has a relative error of 4 %.
    assert!((mean(&errors) / sd - 1.0).abs() < 0.17, "{} {sd}", mean(&errors));
    let covered = values.iter().zip(&errors).filter(|(v, e)| (*v - want).abs() < 2.0 * **e).count();
    assert!(covered as f64 > 0.91 * n, "{covered}");
    Ok(())
}

#[test]
fn a_gaussian_tells_its_own_data_from_others() -> Check {
    let entry = baseline::MODELS.iter().find(|e| e.info.name == "gaussian").ok_or("the baseline")?;
    let options = OpenOptions { data_dir: None, seed: 0 };
    let own = open("moons", &options)?;
    let recipe = Recipe::defaults(entry, own.spec())?;
    let build = Build { spec: own.spec(), device: &Device::Cpu, zoo: &NoZoo, noise: Noise::new(0) };
    let mut trainer = Trainer::new(
        (entry.build)(&recipe.model, build)?,
        own.as_ref(),
        TrainConfig::read(&recipe.train)?,
        &Noise::new(0),
    )?;
    trainer.step()?;
    let (same, far) = (open("moons", &options)?, open("gaussians8{radius=40}", &options)?);
    let report = detect(trainer.model(), own.as_ref(), &[same.as_ref(), far.as_ref()], 800, 1, &mut |_| ())?;
    let [again, other, shuffled, uniform] = &report.detections[..] else { return Err("four".into()) };
    // The same rows under the same name: chance.
    assert!((again.auroc.value - 0.5).abs() < 1e-12, "{again:?}");
    assert!(other.auroc.value > 0.99, "{other:?}");
    // A Gaussian of moons knows their correlation, though little else.
    assert!(shuffled.dataset == MARGINALS && shuffled.auroc.value > 0.5, "{shuffled:?}");
    assert!(uniform.dataset == UNIFORM && uniform.auroc.value > 0.5 && uniform.n_out == 800, "{uniform:?}");
    let columns = report.measurements();
    assert!(columns[1].0 == "auroc gaussians8{radius=40}" && columns[1].1.value == Some(other.auroc.value));
    let glyphs = open("glyphs{size=14}", &options)?;
    let e = detect(trainer.model(), own.as_ref(), &[glyphs.as_ref()], 10, 1, &mut |_| ()).err();
    assert!(e.ok_or("accepted")?.to_string().contains("glyphs"));
    Ok(())
}

/// Every column holds the values it held, and rows are no longer together.
#[test]
fn shuffled_marginals_keep_every_column() -> Check {
    let x = Noise::new(1).normal((40, 1, 2, 3), genzoo_core::DType::F32, &Device::Cpu)?;
    let shuffled = marginals(&Batch::of(x.clone()), &mut Noise::new(2))?.x;
    assert_eq!(shuffled.dims(), x.dims());
    let columns = |x: &Tensor| -> Result<Vec<Vec<f64>>> {
        let values = rows::host(x)?;
        Ok((0..6).map(|j| values.iter().skip(j).step_by(6).copied().collect()).collect())
    };
    let (before, after) = (columns(&x)?, columns(&shuffled)?);
    for (mut a, mut b) in before.into_iter().zip(after) {
        assert_ne!(a, b);
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        assert_eq!(a, b);
    }
    Ok(())
}
