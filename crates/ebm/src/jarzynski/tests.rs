use super::*;
use crate::support::{Check, Data, images, mean, refused, resumes_exactly, trained, vectors};
use genzoo_core::{Dataset, Device, Draw, Noise, Split, Tensor};

fn log_p(model: &dyn Model, name: &str, x: &Tensor) -> Result<(Vec<f64>, f64)> {
    let info = model.densities().iter().find(|d| d.name == name).ok_or(Error::Unsupported(name.into()))?;
    let mut noise = Noise::new(4);
    let density = model.density(name, &(info.defaults)(), &mut noise)?;
    let p = density.log_prob(&Batch::of(x.clone()), &mut noise)?;
    Ok((rows::host(&p.values)?, p.shared_error))
}

/// Trained with every kernel, whole and in windows: log Z from the weights is the grid's, within its error.
#[test]
fn the_running_log_z_is_that_of_the_grid() -> Check {
    let data = Data(vectors(2));
    let x = data.rows(Split::Test, 0..4)?.x;
    for (kernel, chains) in [("mala", 512), ("ula", 512), ("hmc", 512), ("mala", 128), ("ula", 128)] {
        let (kernel, chains) = (format!("model.kernel={kernel}"), format!("model.chains={chains}"));
        let sets = [&kernel, &chains, "model.walkers=512", "model.step=0.02"];
        let trainer = trained(&ENTRY, &data, &sets, 60)?;
        let (grid, _) = log_p(trainer.model(), "quadrature", &x)?;
        let (running, error) = log_p(trainer.model(), "jarzynski", &x)?;
        assert!(error > 0.0 && error < 0.3, "{sets:?}: {error}");
        let gap = running[0] - grid[0];
        assert!(gap.abs() < 4.0 * error + 1e-3, "{sets:?}: {gap} ± {error}");
    }
    Ok(())
}

/// The cross-entropy in the log is that of the grid, within the errors of a batch and of log Z.
#[test]
fn the_logged_cross_entropy_is_the_truth() -> Check {
    let data = Data(vectors(2));
    let mut trainer = trained(&ENTRY, &data, &["model.walkers=1024", "model.chains=1024"], 150)?;
    let batch = data.rows(Split::Test, 0..20_000)?;
    let (values, _) = log_p(trainer.model(), "quadrature", &batch.x)?;
    let (truth, error) = mean(&values);
    let log = trainer.step()?.log;
    let of = |name: &str| log.iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, v)| *v);
    // A batch of 64 rows has an error of its own.
    let spread = error * (20_000f64 / 64.0).sqrt();
    let tolerance = 4.0 * spread.hypot(of("log_z_error"));
    let logged = of("cross_entropy");
    assert!((logged + truth).abs() < tolerance, "{logged} {truth} ± {tolerance}");
    Ok(())
}

/// A quarter of the rows at −2, three quarters at 2, deviations of 0.4: no chain crosses in between.
struct Unequal(DataSpec);

impl Dataset for Unequal {
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
    fn rows(&self, _: Split, rows: std::ops::Range<u64>) -> Result<Batch> {
        let mut values = Vec::new();
        for i in rows.clone() {
            let noise = Noise::new(11).at(i).normals(2);
            let side = if i % 4 == 0 { -2.0 } else { 2.0 };
            values.extend([(side + 0.4 * noise[0]) as f32, (0.4 * noise[1]) as f32]);
        }
        let n = (rows.end - rows.start) as usize;
        Ok(Batch::of(Tensor::from_vec(values, (n, 2), &Device::Cpu)?))
    }
}

#[test]
fn masses_of_separate_modes_are_learned() -> Check {
    let data = Unequal(vectors(2));
    let sets = ["model.walkers=1024", "model.chains=1024", "model.hidden=32", "train.batch=256"];
    let trainer = trained(&ENTRY, &data, &sets, 400)?;
    // The density's own mass on the left, by a sum over a grid.
    let n = 160usize;
    let at = |i: usize| -5.0 + (i as f64 + 0.5) * 10.0 / n as f64;
    let points: Vec<f32> = (0..n * n).flat_map(|k| [at(k / n) as f32, at(k % n) as f32]).collect();
    let x = Tensor::from_vec(points, (n * n, 2), &Device::Cpu)?;
    let p: Vec<f64> = log_p(trainer.model(), "quadrature", &x)?.0.iter().map(|l| l.exp()).collect();
    let left = p[..n * n / 2].iter().sum::<f64>() / p.iter().sum::<f64>();
    assert!((left - 0.25).abs() < 0.05, "{left}");
    // And that of samples, drawn from the walkers by their weights.
    let model = trainer.model();
    let sampler = model.sampler("langevin", &(model.samplers()[0].defaults)())?;
    let drawn = rows::host(&sampler.sample(&Draw::n(1000), &mut Noise::new(2))?.x)?;
    let share = drawn.chunks(2).filter(|r| r[0] < 0.0).count() as f64 / 1000.0;
    assert!((share - 0.25).abs() < 0.07, "{share}");
    Ok(())
}

/// Walkers, weights, log Z and the step come back to the bit, between two windows.
#[test]
fn walkers_resume_exactly() -> Check {
    for spec in [vectors(2), images(8)] {
        let sets =
            ["model.chains=8", "model.walkers=24", "model.kernel=ula", "model.step=0.001", "train.lr=1e-4"];
        let holds = ["walkers.u", "walkers.log_weights", "walkers.numbers"];
        resumes_exactly(&ENTRY, &Data(spec), &sets, &holds)?;
    }
    Ok(())
}

/// Of rates from bold to absurd, one leaves the weights behind while the walkers are still among the data.
#[test]
fn weights_that_collapse_end_the_run_with_a_remedy() -> Check {
    let data = Data(vectors(2));
    let ends: Vec<String> = [0.05, 0.1, 0.2, 0.5, 1.0]
        .into_iter()
        .filter_map(|lr| {
            let lr = format!("train.lr={lr}");
            let sets = [&lr, "train.clip=0", "model.walkers=256", "model.chains=256"];
            trained(&ENTRY, &data, &sets, 50).err().map(|e| e.to_string())
        })
        .collect();
    assert!(ends.iter().all(|e| e.contains("jarzynski diverged at step")), "{ends:?}");
    let weights = ends.iter().find(|e| e.contains("the weights of 256 walkers")).ok_or("none collapsed")?;
    assert!(weights.contains("lower train.lr"), "{weights}");
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let settings = [
        ("model.moves=0", "model.moves"),
        ("model.leapfrogs=0", "model.leapfrogs"),
        ("model.step=0", "model.step"),
        ("model.resample=2", "model.resample"),
        ("model.chains=48", "model.walkers"),
        ("model.regularisation=-1", "model.regularisation"),
        ("model.kernel=gibbs", "hmc"),
    ];
    refused(&ENTRY, &vectors(2), &settings)
}
