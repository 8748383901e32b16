//! Which methods learn the masses of two modes that no chain connects.
//!
//! ```text
//! teacher  ¼ N(−10 e₁, I) + ¾ N(6 e₁, I) in d dimensions                     mass of the left mode .25
//! student  U = −log(e^{−½|x−a|²} + e^{−½|x−b|²−z}), all of (a, b, z) learned, from a ≈ b ≈ 0 and equal masses
//! ```
//!
//! All methods descend the same energy by plain gradient steps on all data at once, so they differ in the gradient only.
//! The student's mass 1/(1 + e^{−z}) and its log Z are known in closed form: nothing is estimated from samples. Data hold
//! exactly a quarter in the left mode.
//!
//! The protocol is that of the sources: ULA with h = .1, one move per update; CD returns to the data every four updates
//! and has ten times the rates; walkers of PCD start at the data, those of Jarzynski at exact draws of the first
//! student. Denoising sees data with noise of deviation ½ (the student's variance then is 1 + ¼); noise contrast
//! compares with a Gaussian that has the data's mean and deviation in each coordinate, drawn anew in each update.
//!
//! Source: Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414, §4.1 and their program for Gaussian mixtures.

use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Study, Verdict};
use genzoo_core::{Device, Noise, Result, Tensor};
use genzoo_numerics::mcmc::jarzynski::{Motion, Walkers};
use genzoo_numerics::mcmc::{Chains, Kernel, Ula};
use genzoo_numerics::rows;
use genzoo_numerics::special::normalised_weights;
use serde::{Deserialize, Serialize};

use crate::two_modes::{Slope, TwoModes};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "mode-mass",
    summary: "masses of two separate modes, learned by CD, PCD, score matching, DSM, NCE and Jarzynski",
    citation: "Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414, §4.1",
    run,
};

pub(super) const MASS: f64 = 0.25;
const LEFT: f64 = -10.0;
const RIGHT: f64 = 6.0;
pub(super) const STEP: f64 = 0.1;
/// Rates of the sources for means and z, per update.
const RATES: (f64, f64) = (0.0025, 0.0125);
/// Updates between returns of CD to the data, and what it multiplies the rates by.
const RETURN: usize = 4;
const FASTER: f64 = 10.0;
const SIGMA: f64 = 0.5;
/// Effective share of the walkers below which they are resampled: a coefficient of variation of 1.
const RESAMPLE: f64 = 0.5;
/// Repetitions, and the 97.5 % point of Student's t for one fewer degrees of freedom.
const REPEATS: usize = 5;
const T: f64 = 2.776;
/// A mass that is this close is learned.
const CLOSE: f64 = 0.02;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    Cd,
    Pcd,
    ScoreMatching,
    Denoising,
    NoiseContrast,
    Jarzynski,
}

const METHODS: [(Method, &str); 6] = [
    (Method::Cd, "CD"),
    (Method::Pcd, "PCD"),
    (Method::ScoreMatching, "score matching"),
    (Method::Denoising, "denoising score matching"),
    (Method::NoiseContrast, "noise contrast"),
    (Method::Jarzynski, "Jarzynski"),
];

/// What is spent on one training.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) dims: usize,
    /// Data, and walkers.
    pub(super) draws: usize,
    pub(super) updates: usize,
    /// Rates in units of the sources'.
    pub(super) pace: f64,
}

/// One training as it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Updates done, of the source's length.
    pub(super) at: Vec<f64>,
    pub(super) mass: Vec<f64>,
    /// KL(teacher ‖ student) over draws that no training saw.
    pub(super) kl: Vec<f64>,
    /// log Z by the walkers' weights less its true value, and the error they state.
    log_z: Option<(f64, f64)>,
    resampled: u64,
}

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let mut all = Vec::new();
    for dims in [2, 10, 50] {
        let mut rows = Vec::new();
        for (method, name) in METHODS {
            // The mass that weights carry has an error of .8/√draws; the other methods miss by far more, or far less.
            let small = match (method, dims) {
                (Method::Jarzynski, 2) => 8000,
                (Method::Jarzynski, 10) => 6000,
                (Method::Jarzynski, _) => 3000,
                _ => 400,
            };
            let plan = desk.choose(
                Plan { dims, draws: small, updates: 1200, pace: 5.0 },
                Plan { dims, draws: 10_000, updates: 8000, pace: 1.0 },
            );
            let traces = (0..REPEATS)
                .map(|seed| desk.part(&format!("d={dims} {name} {seed}"), |noise| train(method, plan, noise)))
                .collect::<Result<Vec<_>>>()?;
            rows.push(Course { name, method, traces });
        }
        all.push((dims, rows));
    }
    Ok(page(&all))
}

/// Draws of the teacher, the first quarter of them left.
pub(super) fn teacher(n: usize, d: usize, noise: &mut Noise) -> Vec<f64> {
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
pub(super) fn first(d: usize, noise: &mut Noise) -> TwoModes {
    let mut near = |x: f64| {
        let mut m: Vec<f64> = noise.normals(d).iter().map(|e| 0.01 * e).collect();
        m[0] = x;
        m
    };
    TwoModes { a: near(-0.1), b: near(0.1), z: 0.0, variance: 1.0 }
}

/// Trains one student.
pub(super) fn train(method: Method, plan: Plan, noise: &mut Noise) -> Result<Trace> {
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

/// One method in one dimension.
struct Course {
    name: &'static str,
    method: Method,
    traces: Vec<Trace>,
}

/// Mean over repetitions and half the width of its 95 % interval.
fn interval(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, T * (variance / n).sqrt())
}

impl Course {
    fn last_mass(&self) -> (f64, f64) {
        interval(self.traces.iter().filter_map(|t| t.mass.last().copied()))
    }

    fn last_kl(&self) -> (f64, f64) {
        interval(self.traces.iter().filter_map(|t| t.kl.last().copied()))
    }

    fn series(&self, of: impl Fn(&Trace) -> &Vec<f64>) -> Series {
        let at = self.traces.first().map(|t| t.at.clone()).unwrap_or_default();
        let points = at.iter().enumerate().map(|(i, x)| {
            let (y, half) = interval(self.traces.iter().filter_map(|t| of(t).get(i).copied()));
            (*x, y, half)
        });
        Series::measured(self.name, points.collect::<Vec<_>>())
    }
}

fn page(all: &[(usize, Vec<Course>)]) -> Page {
    let across = || Axis::linear("updates, in the sources' rates");
    let mut figures: Vec<Figure> = all
        .iter()
        .map(|(d, courses)| {
            let end = courses[0].traces[0].at.last().copied().unwrap_or(1.0);
            let mut series = vec![Series::theory("truth", [(0.0, MASS), (end, MASS)])];
            series.extend(courses.iter().map(|c| c.series(|t| &t.mass)));
            Figure {
                title: format!("Mass of the left mode, d = {d}"),
                x: across(),
                y: Axis::linear("mass"),
                series,
            }
        })
        .collect();
    if let Some((d, courses)) = all.last() {
        figures.push(Figure {
            title: format!("KL divergence from teacher to student, d = {d}"),
            x: across(),
            y: Axis::logarithmic("nats"),
            series: courses.iter().map(|c| c.series(|t| &t.kl)).collect(),
        });
    }
    let lines = all.iter().flat_map(|(d, courses)| {
        courses.iter().map(move |c| {
            let ((mass, half), (kl, kl_half)) = (c.last_mass(), c.last_kl());
            let holds = if (mass - MASS).abs() <= half { "holds" } else { "excludes" };
            vec![
                d.to_string(),
                c.name.to_string(),
                format!("{mass:.3} ± {half:.3}"),
                format!("{holds} .25"),
                format!("{kl:.3} ± {kl_half:.3}"),
            ]
        })
    });
    let columns = ["d", "method", "mass, 95 %", "interval", "KL, nats"];
    Page {
        about: format!(
            "A quarter of the data lie around −10, three quarters around 6. Each method trains the same energy of two Gaussians {REPEATS} times, \
             each time on data of its own; masses follow from the parameters without sampling. Bars and ± are 95 % intervals of the mean over repetitions."
        ),
        findings: findings(all),
        figures,
        tables: vec![Listing {
            title: "After training".into(),
            columns: columns.map(String::from).into(),
            lines: lines.collect(),
        }],
        pictures: Vec::new(),
    }
}

fn findings(all: &[(usize, Vec<Course>)]) -> Vec<Finding> {
    let courses = |method| {
        let found = all.iter().flat_map(move |(d, c)| c.iter().map(move |c| (*d, c)));
        found.filter(move |(_, c)| c.method == method)
    };
    let masses = |method| {
        let text = courses(method).map(|(d, c)| {
            let (mass, half) = c.last_mass();
            format!("{mass:.3} ± {half:.3} in d = {d}")
        });
        format!("Mass of the left mode, truth .25: {}.", text.collect::<Vec<_>>().join(", "))
    };
    let mut out = vec![Finding {
        claim: format!("Jarzynski's correction learns the mass to within ±{CLOSE}."),
        verdict: all_of(courses(Method::Jarzynski).map(|(_, c)| {
            let (mass, half) = c.last_mass();
            learned((mass - MASS).abs(), half)
        })),
        because: masses(Method::Jarzynski),
    }];
    for (method, name) in METHODS.into_iter().filter(|(m, _)| *m != Method::Jarzynski) {
        let learns = method == Method::NoiseContrast;
        let verdicts = courses(method).map(|(_, c)| {
            let (mass, half) = c.last_mass();
            if learns { learned((mass - MASS).abs(), half) } else { Verdict::of((mass - MASS).abs() > half) }
        });
        let claim = if learns {
            format!("So does {name}, whose noise reaches both modes.")
        } else {
            format!("The interval of {name} excludes the true mass.")
        };
        out.push(Finding { claim, verdict: all_of(verdicts), because: masses(method) });
    }
    let scores: Vec<f64> = courses(Method::Jarzynski)
        .flat_map(|(_, c)| c.traces.iter().filter_map(|t| t.log_z))
        .map(|(gap, error)| gap / error)
        .collect();
    let held = scores.iter().filter(|z| z.abs() < 1.96).count();
    let worst = courses(Method::Jarzynski)
        .flat_map(|(_, c)| c.traces.iter().filter_map(|t| t.log_z))
        .map(|(gap, _)| gap.abs())
        .fold(0.0, f64::max);
    out.push(Finding {
        claim: "The weights know log Z at the end of training: most of their 95 % intervals hold it.".into(),
        verdict: Verdict::of(2 * held > scores.len()),
        because: format!("{held} of {} intervals hold it; the largest gap is {worst:.3} nats.", scores.len()),
    });
    out
}

/// Whether a mass that misses by `distance`, known to ± `half`, is learned: it is close, and its interval holds the truth.
fn learned(distance: f64, half: f64) -> Verdict {
    if distance <= CLOSE && distance <= half {
        Verdict::Holds
    } else if distance - half > CLOSE {
        Verdict::Fails
    } else {
        Verdict::Undecided
    }
}

/// Fails if one fails, holds if all hold.
fn all_of(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.fold(Verdict::Holds, |all, one| match (all, one) {
        (Verdict::Fails, _) | (_, Verdict::Fails) => Verdict::Fails,
        (Verdict::Undecided, _) | (_, Verdict::Undecided) => Verdict::Undecided,
        _ => Verdict::Holds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { dims: 2, draws: 500, updates: 1200, pace: 6.0 };

    /// The same seed for all: masses follow from the gradient alone.
    #[test]
    fn the_correction_finds_the_mass_and_cd_does_not() -> Result<()> {
        let last = |t: &Trace| t.mass.last().copied().unwrap_or(f64::NAN);
        let jarzynski = train(Method::Jarzynski, PLAN, &mut Noise::new(1))?;
        assert!((last(&jarzynski) - MASS).abs() < 0.06, "{:?}", jarzynski.mass);
        assert!(jarzynski.resampled > 0);
        for method in [Method::Cd, Method::ScoreMatching] {
            let trace = train(method, PLAN, &mut Noise::new(1))?;
            assert!((last(&trace) - MASS).abs() > 0.08, "{method:?}: {:?}", trace.mass);
            // The means are right all the same: what is left is the divergence of the masses.
            let (p, q) = (MASS, last(&trace));
            let outcomes = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
            let kl = trace.kl.last().copied().unwrap_or(f64::NAN);
            assert!((kl - outcomes).abs() < 0.05, "{method:?}: {kl} {outcomes}");
        }
        Ok(())
    }

    /// Every method but the persistent one starts at a large divergence and comes down.
    #[test]
    fn all_methods_learn_the_shapes() -> Result<()> {
        for (method, name) in METHODS {
            let trace = train(method, PLAN, &mut Noise::new(2))?;
            assert!(trace.kl[0] > 10.0 && trace.kl.iter().all(|k| *k > -0.1), "{name}: {:?}", trace.kl);
            let least = trace.kl.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(least < 1.2, "{name}: {:?}", trace.kl);
        }
        Ok(())
    }

    #[test]
    fn verdicts_follow_the_interval() {
        assert_eq!(learned(0.005, 0.01), Verdict::Holds);
        assert_eq!(learned(0.015, 0.01), Verdict::Undecided);
        assert_eq!(learned(0.03, 0.04), Verdict::Undecided);
        assert_eq!(learned(0.05, 0.01), Verdict::Fails);
        let (mean, half) = interval([0.2, 0.25, 0.3, 0.25, 0.25].into_iter());
        assert!((mean - 0.25).abs() < 1e-15 && (half - T * (0.005f64 / 4.0 / 5.0).sqrt()).abs() < 1e-15);
        let all = |v: &[Verdict]| all_of(v.iter().copied());
        assert_eq!(all(&[Verdict::Holds, Verdict::Undecided]), Verdict::Undecided);
        assert_eq!(all(&[Verdict::Undecided, Verdict::Fails, Verdict::Holds]), Verdict::Fails);
    }
}
