//! The trainings: one student, six gradients.

use genzoo_core::{Device, Noise, Result, Tensor};
use genzoo_numerics::mcmc::jarzynski::{Motion, Walkers};
use genzoo_numerics::mcmc::{Chains, Kernel, Ula};
use genzoo_numerics::rows;
use genzoo_numerics::special::normalised_weights;
use serde::{Deserialize, Serialize};

use crate::two_modes::{Slope, TwoModes};

/// Mass of the left mode, and where both lie on the first axis.
pub(crate) const MASS: f64 = 0.25;
const LEFT: f64 = -10.0;
const RIGHT: f64 = 6.0;
/// h of every move.
const STEP: f64 = 0.1;
/// Rates of the sources for means and z, per update.
const RATES: (f64, f64) = (0.0025, 0.0125);
/// Updates between returns of CD to the data, and what it multiplies the rates by.
const RETURN: usize = 4;
const FASTER: f64 = 10.0;
/// Of the noise that denoising adds.
const SIGMA: f64 = 0.5;
/// Effective share of the walkers below which they are resampled: a coefficient of variation of 1.
const RESAMPLE: f64 = 0.5;

/// What an update descends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    Cd,
    Pcd,
    ScoreMatching,
    Denoising,
    NoiseContrast,
    Jarzynski,
}

/// What is spent on one training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) dims: usize,
    /// Data, and walkers.
    pub(crate) draws: usize,
    pub(crate) updates: usize,
    /// Rates in units of the sources'.
    pub(crate) pace: f64,
}

/// One training as it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Updates done, of the source's length.
    pub(crate) at: Vec<f64>,
    pub(crate) mass: Vec<f64>,
    /// KL(teacher ‖ student) over draws that no training saw.
    pub(crate) kl: Vec<f64>,
    /// log Z by the walkers' weights less its true value, and the error they state.
    pub(crate) log_z: Option<(f64, f64)>,
    pub(crate) resampled: u64,
}

/// Draws of the teacher, the first quarter of them left.
fn teacher(n: usize, d: usize, noise: &mut Noise) -> Vec<f64> {
    let mut x = noise.normals(n * d);
    for (i, row) in x.chunks_exact_mut(d).enumerate() {
        row[0] += if (i as f64) < MASS * n as f64 { LEFT } else { RIGHT };
    }
    x
}

/// The student that is the teacher.
fn truth(d: usize) -> TwoModes {
    let centre = |x: f64| (0..d).map(|i| if i == 0 { x } else { 0.0 }).collect();
    TwoModes { a: centre(LEFT), b: centre(RIGHT), z: (MASS / (1.0 - MASS)).ln(), variance: 1.0 }
}

/// Both modes about 0, a little apart along the first axis.
fn first(d: usize, noise: &mut Noise) -> TwoModes {
    let mut near = |x: f64| {
        let mut m: Vec<f64> = noise.normals(d).iter().map(|e| 0.01 * e).collect();
        m[0] = x;
        m
    };
    TwoModes { a: near(-0.1), b: near(0.1), z: 0.0, variance: 1.0 }
}

/// Trains one student.
pub(crate) fn train(method: Method, plan: Plan, noise: &mut Noise) -> Result<Trace> {
    let d = plan.dims;
    let data = teacher(plan.draws, d, &mut noise.fork("data"));
    let unseen = teacher(2000, d, &mut noise.fork("unseen"));
    let entropy = -mean(truth(d).energies(&unseen)) - truth(d).log_z();
    let mut student = first(d, &mut noise.fork("student"));
    let mut learner = Learner::new(method, &mut student, &data, d, noise)?;
    let (means, z) = match method {
        Method::Cd | Method::NoiseContrast => (FASTER * RATES.0, FASTER * RATES.1),
        _ => RATES,
    };
    let (means, z) = (plan.pace * means, plan.pace * z);
    let mut trace = Trace { at: vec![], mass: vec![], kl: vec![], log_z: None, resampled: 0 };
    let every = (plan.updates / 40).max(1);
    for k in 0..=plan.updates {
        if k % every == 0 {
            let clean = TwoModes { variance: 1.0, ..student.clone() };
            trace.at.push(k as f64 * plan.pace);
            trace.mass.push(student.mass());
            trace.kl.push(entropy + clean.log_z() + mean(clean.energies(&unseen)));
        }
        if k < plan.updates {
            let slope = learner.slope(&student, &data, z, noise);
            student.descend(&slope, means, z);
            learner.follow(k, &student, &data, noise)?;
        }
    }
    if let Learner::Weighted { walkers, first_log_z } = &learner {
        let (log_z, error) = walkers.log_z();
        trace.log_z = Some((first_log_z + log_z - student.log_z(), error));
        trace.resampled = walkers.resampled();
    }
    Ok(trace)
}

/// What a method keeps between updates.
enum Learner {
    Walkers { chains: Chains, back: Option<usize> },
    Weighted { walkers: Walkers, first_log_z: f64 },
    ScoreMatching,
    Denoising,
    Contrast { c: f64, mean: Vec<f64>, sd: Vec<f64>, on_data: Vec<f64> },
}

impl Learner {
    fn new(
        method: Method,
        student: &mut TwoModes,
        data: &[f64],
        d: usize,
        noise: &mut Noise,
    ) -> Result<Self> {
        Ok(match method {
            Method::Cd | Method::Pcd => Self::Walkers {
                chains: Chains::at(student, &tensor(data, d)?)?,
                back: (method == Method::Cd).then_some(RETURN),
            },
            Method::Jarzynski => {
                let mut x = noise.fork("walkers").normals(data.len());
                for (i, row) in x.chunks_exact_mut(d).enumerate() {
                    let centre = if i % 2 == 0 { &student.a } else { &student.b };
                    row.iter_mut().zip(centre).for_each(|(x, m)| *x += m);
                }
                let walkers = Walkers::new(student, &tensor(&x, d)?)?;
                Self::Weighted { walkers, first_log_z: student.log_z() }
            }
            Method::ScoreMatching => Self::ScoreMatching,
            Method::Denoising => {
                student.variance = 1.0 + SIGMA * SIGMA;
                Self::Denoising
            }
            Method::NoiseContrast => {
                let column = |i: usize| data.iter().skip(i).step_by(d);
                let n = (data.len() / d) as f64;
                let mean: Vec<f64> = (0..d).map(|i| column(i).sum::<f64>() / n).collect();
                let sd: Vec<f64> = (0..d)
                    .map(|i| (column(i).map(|x| (x - mean[i]).powi(2)).sum::<f64>() / n).sqrt())
                    .collect();
                let on_data = log_normal(data, &mean, &sd);
                Self::Contrast { c: student.log_z(), mean, sd, on_data }
            }
        })
    }

    /// The gradient of what the method descends.
    fn slope(&mut self, student: &TwoModes, data: &[f64], rate: f64, noise: &mut Noise) -> Slope {
        match self {
            Self::Walkers { chains, .. } => {
                let x = rows::host(&chains.x).unwrap_or_default();
                student.mean_gradient(data, None).plus(-1.0, &student.mean_gradient(&x, None))
            }
            Self::Weighted { walkers, .. } => {
                let x = rows::host(&walkers.chains().x).unwrap_or_default();
                let weights = normalised_weights(walkers.log_weights());
                student.mean_gradient(data, None).plus(-1.0, &student.mean_gradient(&x, Some(&weights)))
            }
            Self::ScoreMatching => student.score_matching(data, None),
            Self::Denoising => student.denoising(data, &noise.normals(data.len()), SIGMA),
            Self::Contrast { c, mean, sd, on_data } => {
                let d = student.dims();
                let mut x = noise.normals(data.len());
                for row in x.chunks_exact_mut(d) {
                    row.iter_mut().zip(mean.iter().zip(sd.iter())).for_each(|(x, (m, s))| *x = m + s * *x);
                }
                let on_noise = log_normal(&x, mean, sd);
                let (slope, by_c) = student.noise_contrast((data, on_data), (&x, &on_noise), *c);
                *c -= rate * by_c;
                slope
            }
        }
    }

    /// The student has moved.
    fn follow(&mut self, k: usize, student: &TwoModes, data: &[f64], noise: &mut Noise) -> Result<()> {
        match self {
            // The move uses the gradient at the student of before, as in the sources.
            Self::Walkers { chains, back } => {
                Ula::new(STEP)?.step(student, chains, noise)?;
                if back.is_some_and(|every| k.is_multiple_of(every)) {
                    *chains = Chains::at(student, &tensor(data, student.dims())?)?;
                }
            }
            Self::Weighted { walkers, .. } => {
                walkers.follow(&Motion::ula(STEP)?, student, noise)?;
                walkers.resample(RESAMPLE, noise)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn tensor(x: &[f64], d: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(x.to_vec(), (x.len() / d, d), &Device::Cpu)?)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(s, n), v| (s + v, n + 1));
    sum / n as f64
}

/// log-densities of a Gaussian with independent coordinates.
fn log_normal(x: &[f64], mean: &[f64], sd: &[f64]) -> Vec<f64> {
    let constant: f64 = sd.iter().map(|s| (s * std::f64::consts::TAU.sqrt()).ln()).sum();
    let square = |x: &[f64]| -> f64 {
        x.iter().zip(mean.iter().zip(sd)).map(|(x, (m, s))| ((x - m) / s).powi(2)).sum()
    };
    x.chunks_exact(mean.len()).map(|x| -0.5 * square(x) - constant).collect()
}
