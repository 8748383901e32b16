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

mod training;

use genzoo_core::Result;
use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Study, Verdict};

use training::MASS;
pub(super) use training::{Method, Plan, Trace, train};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "mode-mass",
    summary: "masses of two separate modes, learned by CD, PCD, score matching, DSM, NCE and Jarzynski",
    citation: "Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414, §4.1",
    run,
};

/// Repetitions, and the 97.5 % point of Student's t for one fewer degrees of freedom.
pub(super) const REPEATS: usize = 5;
const T: f64 = 2.776;
/// A mass that is this close is learned.
const CLOSE: f64 = 0.02;

const METHODS: [(Method, &str); 6] = [
    (Method::Cd, "CD"),
    (Method::Pcd, "PCD"),
    (Method::ScoreMatching, "score matching"),
    (Method::Denoising, "denoising score matching"),
    (Method::NoiseContrast, "noise contrast"),
    (Method::Jarzynski, "Jarzynski"),
];

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
                (Method::NoiseContrast, _) => 2000,
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

/// One method in one dimension.
struct Course {
    name: &'static str,
    method: Method,
    traces: Vec<Trace>,
}

/// Mean over repetitions and half the width of its 95 % interval.
pub(super) fn interval(values: impl Iterator<Item = f64>) -> (f64, f64) {
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
    let gaps: Vec<(usize, (f64, f64))> = courses(Method::Jarzynski)
        .map(|(d, c)| (d, interval(c.traces.iter().filter_map(|t| t.log_z).map(|(gap, _)| gap))))
        .collect();
    let stated = courses(Method::Jarzynski)
        .flat_map(|(_, c)| c.traces.iter().filter_map(|t| t.log_z))
        .map(|(_, error)| error)
        .fold(0.0, f64::max);
    let text = gaps.iter().map(|(d, (gap, half))| format!("{gap:+.3} ± {half:.3} in d = {d}"));
    out.push(Finding {
        claim: "After thousands of updates the weights still know log Z to within half a nat.".into(),
        verdict: all_of(gaps.iter().map(|(_, (gap, half))| {
            if gap.abs() + half <= 0.5 {
                Verdict::Holds
            } else if gap.abs() - half > 0.5 {
                Verdict::Fails
            } else {
                Verdict::Undecided
            }
        })),
        because: format!(
            "Their log Z less the exact one: {}. The error they state, {stated:.3} at most, leaves out that the student learns from their own noise, \
             which makes log Z too small by about rate · tr Cov(∂U)/n in each update.",
            text.collect::<Vec<_>>().join(", ")
        ),
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
    use genzoo_core::Noise;

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
