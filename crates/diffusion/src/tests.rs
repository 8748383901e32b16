//! Laws and closed forms, on Gaussian data N(0, diag S²) whose denoiser is linear.

use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

use genzoo_core::capability::{Score, Velocity};
use genzoo_core::{
    Batch, Build, Control, DType, DataSpec, Dataset, Device, Draw, Model, NoZoo, Noise, Recipe, Result,
    Space, Split, Tensor, TrainConfig, Trainer,
};
use genzoo_numerics::rows;
use genzoo_numerics::schedule::{Schedule, VariancePreserving};
use genzoo_testkit::{Tol, assert_close};

use crate::ddpm::ENTRY;
use crate::field::{AngleFlow, Field, Rotation, turn};
use crate::reverse::Step;

const SD: [f64; 2] = [0.5, 2.0];
/// Correlation of the data that models are trained on.
const RHO: f64 = 0.8;

/// E[cos φ ε − sin φ x_0 | x] from the joint covariance of Gaussian variables.
struct Exact;

impl Rotation for Exact {
    fn rotation(&self, x: &Tensor, turn: &Tensor) -> Result<Tensor> {
        let turns = rows::host(turn)?;
        let values: Vec<f64> = rows::host(x)?
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let ((sin, cos), v) = ((FRAC_PI_2 * turns[i / 2]).sin_cos(), SD[i % 2].powi(2));
                sin * cos * (1.0 - v) / (cos * cos * v + sin * sin) * x
            })
            .collect();
        Ok(Tensor::from_vec(values, x.shape(), x.device())?.to_dtype(x.dtype())?)
    }

    fn vjp(&self, x: &Tensor, turn: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.rotation(x, turn)?, self.rotation(v, turn)?)) // linear and symmetric
    }
}

fn schedules() -> Result<[VariancePreserving; 3]> {
    Ok([
        VariancePreserving::new(Schedule::LINEAR)?,
        VariancePreserving::new(Schedule::COSINE)?,
        VariancePreserving::new(Schedule::Cosine { offset: 0.0 })?,
    ])
}

/// The variance of the law at time t, from the definition x_t = α x_0 + σ ε.
fn variance(schedule: &VariancePreserving, sd: f64, t: f64) -> f64 {
    (schedule.alpha(t) * sd).powi(2) + schedule.sigma(t).powi(2)
}

fn points() -> Result<Tensor> {
    Ok(Tensor::new(&[[0.3f64, -1.2], [2.0, 0.1]], &Device::Cpu)?)
}

fn per_column(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    Ok(x.broadcast_mul(&Tensor::new(&[f(SD[0]), f(SD[1])], &Device::Cpu)?)?)
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

/// Tweedie: the score is −x/V(t), and the denoised data is (x + σ² score)/α.
#[test]
fn score_and_denoiser_are_those_of_the_law() -> Result<()> {
    let x = points()?;
    for schedule in schedules()? {
        let field = Field { rotation: Exact, schedule };
        for t in [0.01, 0.2, 0.5, 0.9, 0.99] {
            let score = per_column(&x, |sd| -1.0 / variance(&schedule, sd, t))?;
            assert_close(&field.score(&x, &rows::time(t, &x)?)?, &score, Tol::rel(1e-9));
            let prediction = field.predict(&x, t)?;
            let data = ((&x + (&score * schedule.sigma(t).powi(2))?)? / schedule.alpha(t))?;
            assert_close(&prediction.data, &data, Tol { abs: 1e-12, rel: 1e-6 });
            assert_close(&prediction.noise, &(score * -schedule.sigma(t))?, Tol::rel(1e-9));
        }
    }
    Ok(())
}

/// Both clocks of the probability flow move N(0, V(t)) along: the velocity is ½ V'/V x, which is also
/// −½ β (x + score).
#[test]
fn the_probability_flow_moves_the_law() -> Result<()> {
    let x = points()?;
    for schedule in schedules()? {
        let field = Field { rotation: Exact, schedule };
        for t in [0.01, 0.2, 0.5, 0.9, 0.99] {
            let h = 1e-6;
            let rate = |sd: f64| {
                let v = |t| variance(&schedule, sd, t);
                (v(t + h) - v(t - h)) / (4.0 * h * v(t))
            };
            let time = rows::time(t, &x)?;
            let v = field.velocity(&x, &time)?;
            assert_close(&v, &per_column(&x, rate)?, Tol { abs: 1e-7, rel: 1e-6 });
            let song = ((&x + field.score(&x, &time)?)? * (-0.5 * schedule.beta(t)))?;
            assert_close(&v, &song, Tol::rel(1e-8));

            let angle = turn(&schedule, t);
            let variance = |sd: f64, turn: f64| {
                let (sin, cos) = (FRAC_PI_2 * turn).sin_cos();
                (cos * sd).powi(2) + sin * sin
            };
            let rate =
                |sd| (variance(sd, angle + h) - variance(sd, angle - h)) / (4.0 * h * variance(sd, angle));
            let v = AngleFlow(Exact).velocity(&x, &rows::time(angle, &x)?)?;
            assert_close(&v, &per_column(&x, rate)?, Tol { abs: 1e-7, rel: 1e-6 });
        }
    }
    Ok(())
}

#[test]
fn ddim_with_eta_one_is_ancestral() -> Result<()> {
    let mut noise = Noise::new(3);
    let x = points()?;
    for schedule in schedules()? {
        let field = Field { rotation: Exact, schedule };
        for (t, s) in [(1.0, 0.95), (0.7, 0.65), (0.3, 0.0), (0.02, 0.01)] {
            let prediction = field.predict(&x, t)?;
            let xi = noise.normal_like(&x)?;
            let step = Step::between(&schedule, t, s);
            let (a, b) = (step.ancestral(&x, &prediction, &xi)?, step.ddim(&prediction, 1.0, Some(&xi))?);
            assert_close(&a, &b, Tol { abs: 1e-9, rel: 1e-6 });
        }
    }
    Ok(())
}

/// The posterior given the true data takes the law at t exactly to the law at s, in mean and variance.
#[test]
fn the_posterior_composes_with_the_forward_noise() -> Result<()> {
    let n = 40_000;
    let mut noise = Noise::new(5);
    let mut draw = || noise.normal((n, 1), DType::F64, &Device::Cpu);
    for schedule in schedules()? {
        let (t, s) = (0.6, 0.4);
        let data = (draw()? * 0.5)?;
        let epsilon = draw()?;
        let x = ((&data * schedule.alpha(t))? + (&epsilon * schedule.sigma(t))?)?;
        let truth = crate::field::Prediction { noise: epsilon, data: data.clone() };
        let x_s = Step::between(&schedule, t, s).ancestral(&x, &truth, &draw()?)?;
        let residual = rows::host(&(x_s - (&data * schedule.alpha(s))?)?)?;
        let mean = residual.iter().sum::<f64>() / n as f64;
        let square = residual.iter().map(|r| r * r).sum::<f64>() / n as f64;
        let v = schedule.sigma(s).powi(2);
        assert!(mean.abs() < 4.0 * (v / n as f64).sqrt(), "{mean}");
        assert!((square / v - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(), "{square} {v}");
    }
    Ok(())
}

/// Trained on N((1, −3), S R S) with correlation 0.8: all samplers give the law's moments with the evaluations they state, and the
/// density is the Gaussian's.
#[test]
fn a_trained_model_knows_a_gaussian() -> Result<()> {
    let n = 4000;
    let data = Gaussian(spec());
    let batch = data.rows(Split::Test, 0..1000)?;
    for change in ["model.schedule=cosine", "model.schedule=linear", "model.weight=velocity"] {
        let model = trained(600, &[change])?;
        for (info, evaluations) in model.samplers().iter().zip([200, 50, 60]) {
            let sampler = model.sampler(info.name, &(info.defaults)())?;
            let samples = sampler.sample(&Draw::n(n), &mut Noise::new(2))?;
            assert_eq!(samples.evaluations, evaluations, "{}", info.name);
            let x = rows::host(&samples.x)?;
            for (j, mean) in [1.0, -3.0].into_iter().enumerate() {
                let column: Vec<f64> = x.iter().skip(j).step_by(2).copied().collect();
                let m = column.iter().sum::<f64>() / n as f64;
                let sd = (column.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n as f64).sqrt();
                // A short training leaves a few hundredths of a standard deviation.
                assert!((m - mean).abs() < 0.12 * SD[j], "{change} {}: mean {m}", info.name);
                assert!((sd / SD[j] - 1.0).abs() < 0.12, "{change} {}: sd {sd}", info.name);
            }
            let product = x.chunks(2).map(|x| (x[0] - 1.0) / SD[0] * (x[1] + 3.0) / SD[1]);
            let correlation = product.sum::<f64>() / n as f64;
            assert!((correlation - RHO).abs() < 0.15, "{change} {}: correlation {correlation}", info.name);
        }
        let density = model.density("ode", &(model.densities()[0].defaults)(), &mut Noise::new(3))?;
        let values = rows::host(&density.log_prob(&batch, &mut Noise::new(4))?.values)?;
        let nll = -values.iter().sum::<f64>() / 1000.0;
        let determinant = (SD[0] * SD[1]).powi(2) * (1.0 - RHO * RHO);
        let entropy = 1.0 + std::f64::consts::TAU.ln() + 0.5 * determinant.ln();
        // The excess is at least 0 up to the spread of 1000 rows (one nat each: 4 s.e. ≈ 0.13).
        assert!((nll - entropy).abs() < 0.15, "{change}: {nll} against {entropy}");
        assert!(density.evidence().tolerance.is_some_and(|t| t < 1e-2), "{change}");
    }
    Ok(())
}
