//! Laws and closed forms, on Gaussian data N(0, diag S²) whose conditional means are linear.

use std::ops::Range;

use genzoo_core::capability::{Score, Velocity};
use genzoo_core::{
    Batch, Build, Control, DType, DataSpec, Dataset, Device, Draw, Model, NoZoo, Noise, Recipe, Result,
    Space, Split, Tensor, TrainConfig, Trainer,
};
use genzoo_numerics::rows;
use genzoo_numerics::schedule::LinearPath;
use genzoo_testkit::{Tol, assert_close};

use crate::field::{Field, Means};
use crate::linear::ENTRY;

const SD: [f64; 2] = [0.5, 2.0];
/// Correlation of the data that models are trained on.
const RHO: f64 = 0.8;

/// E[x_1 − x_0 | x_t] and E[z | x_t] from the joint covariance of Gaussian variables.
struct Exact {
    path: LinearPath,
}

impl Exact {
    fn variance(&self, sd: f64, t: f64) -> f64 {
        ((1.0 - t) * sd).powi(2) + t * t + self.path.gamma(t).powi(2)
    }
}

impl Means for Exact {
    fn means(&self, x: &Tensor, t: &Tensor) -> Result<Vec<Tensor>> {
        let (host, times) = (rows::host(x)?, rows::host(t)?);
        let per = |f: &dyn Fn(f64, f64, f64) -> f64| -> Result<Tensor> {
            let v: Vec<f64> = host.iter().enumerate().map(|(i, x)| f(*x, SD[i % 2], times[i / 2])).collect();
            Ok(Tensor::from_vec(v, x.shape(), x.device())?.to_dtype(x.dtype())?)
        };
        let v = per(&|x, sd, t| (t - (1.0 - t) * sd * sd) / self.variance(sd, t) * x)?;
        let eta = per(&|x, sd, t| self.path.gamma(t) / self.variance(sd, t) * x)?;
        Ok(if self.path.has_bridge() { vec![v, eta] } else { vec![v] })
    }

    fn vjp(&self, x: &Tensor, t: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.means(x, t)?.swap_remove(0), self.means(u, t)?.swap_remove(0))) // linear and symmetric
    }
}

fn field(bridge: f64) -> Result<Field<Exact>> {
    let path = LinearPath::new(bridge)?;
    Ok(Field { means: Exact { path }, path })
}

fn spec() -> DataSpec {
    DataSpec { shape: vec![2], space: Space::Continuous, classes: None, range: None }
}

struct Gaussian(DataSpec);
impl Dataset for Gaussian {
    fn name(&self) -> &str {
        "gaussian"
    }
    fn spec(&self) -> &DataSpec {
        &self.0
    }
    fn len(&self, _: Split) -> Option<u64> {
        None
    }
    fn rows(&self, _: Split, rows: Range<u64>) -> Result<Batch> {
        let x: Vec<f64> = rows
            .clone()
            .flat_map(|i| {
                let z = Noise::new(7).at(i).normals(2);
                [1.0 + SD[0] * z[0], -3.0 + SD[1] * (RHO * z[0] + (1.0 - RHO * RHO).sqrt() * z[1])]
            })
            .collect();
        let x = Tensor::from_vec(x, ((rows.end - rows.start) as usize, 2), &Device::Cpu)?;
        let mut batch = Batch::of(x.to_dtype(DType::F32)?);
        batch.rows = rows;
        Ok(batch)
    }
    fn sha256(&self) -> String {
        String::new()
    }
}

fn trained(steps: u64, changes: &[&str]) -> Result<Box<dyn Model>> {
    let data = Gaussian(spec());
    let mut recipe = Recipe::defaults(&ENTRY, &data.0)?;
    for change in ["train.batch=256", "model.width=32", "model.layers=2"].iter().chain(changes) {
        recipe.set(change)?;
    }
    recipe.set(&format!("train.steps={steps}"))?;
    let noise = Noise::new(0);
    let build = Build { spec: &data.0, device: &Device::Cpu, zoo: &NoZoo, noise: noise.fork("model") };
    let model = (ENTRY.build)(&recipe.model, build)?;
    let mut trainer = Trainer::new(model, &data, TrainConfig::read(&recipe.train)?, &noise)?;
    trainer.run(|_, _| Ok(Control::Continue))?;
    Ok(trainer.into_model())
}

/// The law N(0, V(t)) moves with velocity b = ½ V'/V x, whatever the means it was made of.
#[test]
fn the_velocity_moves_the_law_of_the_path() -> Result<()> {
    for bridge in [0.0, 0.7] {
        let field = field(bridge)?;
        let x = Tensor::new(&[[0.3f64, -1.2], [2.0, 0.1]], &Device::Cpu)?;
        for t in [0.01, 0.2, 0.5, 0.9, 0.99] {
            let b = field.velocity(&x, &rows::time(t, &x)?)?;
            let h = 1e-6;
            let rate = |sd: f64| {
                let v = |t| field.means.variance(sd, t);
                (v(t + h) - v(t - h)) / (4.0 * h * v(t))
            };
            let want = x.broadcast_mul(&Tensor::new(&[rate(SD[0]), rate(SD[1])], &Device::Cpu)?)?;
            assert_close(&b, &want, Tol { abs: 1e-6, rel: 1e-6 });
        }
    }
    Ok(())
}

/// Without a bridge the score comes from the velocity, with one from η; both are −x/V(t).
#[test]
fn both_scores_are_the_score_of_the_law() -> Result<()> {
    for bridge in [0.0, 0.7] {
        let field = field(bridge)?;
        let x = Tensor::new(&[[0.3f64, -1.2], [2.0, 0.1]], &Device::Cpu)?;
        for t in [0.01, 0.2, 0.5, 0.9, 0.99] {
            let s = field.score(&x, &rows::time(t, &x)?)?;
            let inverse = |sd| -1.0 / field.means.variance(sd, t);
            let want = x.broadcast_mul(&Tensor::new(&[inverse(SD[0]), inverse(SD[1])], &Device::Cpu)?)?;
            assert_close(&s, &want, Tol::rel(1e-9));
        }
    }
    Ok(())
}

/// The regression target is the time derivative of the path, and its mean given x_t is the velocity: the residual
/// (x_1 − x_0 + γ'z) − b is uncorrelated with x_t.
#[test]
fn the_residual_of_the_velocity_is_uncorrelated_with_the_position() -> Result<()> {
    let n = 40_000;
    let field = field(0.5)?;
    let mut noise = Noise::new(1);
    let mut draw = || noise.normal((n, 2), DType::F64, &Device::Cpu);
    let data = draw()?.broadcast_mul(&Tensor::new(&SD, &Device::Cpu)?)?;
    let (source, z) = (draw()?, draw()?);
    for t in [0.1, 0.6] {
        let t = rows::time(t, &data)?;
        let x = field.path.at(&data, &source, &z, &t)?;
        let residual = (field.path.velocity(&data, &source, &z, &t)? - field.velocity(&x, &t)?)?;
        let product = rows::host(&(residual * x)?)?;
        for j in 0..2 {
            let column: Vec<f64> = product.iter().skip(j).step_by(2).copied().collect();
            let mean = column.iter().sum::<f64>() / n as f64;
            let square = column.iter().map(|p| p * p).sum::<f64>() / n as f64;
            assert!(mean.abs() < 4.0 * (square / n as f64).sqrt(), "{mean}");
        }
    }
    Ok(())
}

/// Trained on N((1, −3), S R S) with correlation 0.8, the model's velocity is near the closed form where data is, both samplers
/// give the law's moments, and the density is the Gaussian's.
#[test]
fn a_trained_model_knows_a_gaussian() -> Result<()> {
    let model = trained(600, &[])?;
    let n = 4000;
    for (name, evaluations) in [("ode", 80), ("sde", 200)] {
        let info = model.samplers().iter().find(|s| s.name == name).map(|s| (s.defaults)());
        let sampler = model.sampler(name, &info.unwrap_or_default())?;
        let samples = sampler.sample(&Draw::n(n), &mut Noise::new(2))?;
        assert_eq!(samples.evaluations, evaluations, "{name}");
        let x = rows::host(&samples.x)?;
        for (j, mean) in [1.0, -3.0].into_iter().enumerate() {
            let column: Vec<f64> = x.iter().skip(j).step_by(2).copied().collect();
            let m = column.iter().sum::<f64>() / n as f64;
            let sd = (column.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n as f64).sqrt();
            // A short training leaves a few hundredths of a standard deviation.
            assert!((m - mean).abs() < 0.12 * SD[j], "{name}: mean {m}");
            assert!((sd / SD[j] - 1.0).abs() < 0.12, "{name}: sd {sd}");
        }
        let product = x.chunks(2).map(|x| (x[0] - 1.0) / SD[0] * (x[1] + 3.0) / SD[1]);
        let correlation = product.sum::<f64>() / n as f64;
        assert!((correlation - RHO).abs() < 0.15, "{name}: correlation {correlation}");
    }
    let data = Gaussian(spec());
    let batch = data.rows(Split::Test, 0..1000)?;
    let options = (model.densities()[0].defaults)();
    let density = model.density("ode", &options, &mut Noise::new(3))?;
    let values = rows::host(&density.log_prob(&batch, &mut Noise::new(4))?.values)?;
    let nll = -values.iter().sum::<f64>() / 1000.0;
    let determinant = (SD[0] * SD[1]).powi(2) * (1.0 - RHO * RHO);
    let entropy = 1.0 + std::f64::consts::TAU.ln() + 0.5 * determinant.ln();
    // The excess is at least 0 up to the spread of 1000 rows (one nat each: 4 s.e. ≈ 0.13).
    assert!((nll - entropy).abs() < 0.15, "{nll} against {entropy}");
    assert!(density.evidence().tolerance.is_some_and(|t| t < 1e-2));
    Ok(())
}

#[test]
fn a_bridge_trains_its_second_head_and_samples() -> Result<()> {
    let model = trained(400, &["model.gamma=0.5"])?;
    let Some(score) = model.capabilities().score else {
        panic!("the model offers a score");
    };
    let x = Tensor::new(&[[1.0f32, -3.0], [1.4, -4.0]], &Device::Cpu)?;
    let s = rows::host(&score.score(&x, &rows::time(0.3, &x)?)?)?;
    // Standardised, V = (1 − t)² R + (t² + γ²) I with γ² = 2·¼·t(1 − t), and the score is −V⁻¹y/S.
    let t = 0.3f64;
    let (same, cross) = ((1.0 - t).powi(2) + t * t + 0.5 * t * (1.0 - t), (1.0 - t).powi(2) * RHO);
    let determinant = same * same - cross * cross;
    let y = [0.8, -0.5];
    let want = [
        -(same * y[0] - cross * y[1]) / determinant / SD[0],
        -(same * y[1] - cross * y[0]) / determinant / SD[1],
    ];
    for j in 0..2 {
        assert!(s[j].abs() < 0.4 / SD[j], "{j}: {} at the mean", s[j]);
        assert!((s[2 + j] - want[j]).abs() < 0.5 / SD[j], "{j}: {} {}", s[2 + j], want[j]);
    }
    let options = (model.samplers()[1].defaults)();
    let x = model.sampler("sde", &options)?.sample(&Draw::n(2000), &mut Noise::new(1))?.x;
    let mean = x.mean(0)?.to_vec1::<f32>()?;
    assert!((mean[0] - 1.0).abs() < 0.1 && (mean[1] + 3.0).abs() < 0.4, "{mean:?}");
    Ok(())
}
