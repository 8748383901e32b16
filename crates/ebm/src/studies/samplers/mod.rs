//! What samplers get out of a gradient.
//!
//! ```text
//! ESS   number of independent draws whose mean is as good, the least over the statistics of the target
//! ESS/gradient and ESS/second after the warm-up; a gradient is one row of one evaluation of U and ∇U
//! ```
//!
//! Every chain starts in the target, with step sizes and masses that other chains learnt. Means of chains are then
//! unbiased if the sampler is, however slowly it mixes, and their scatter is an honest error. Deviations are cleared of
//! skewness and judged by Student's law where the mean of a chain is nearly normal: where chains agree (split R̂ ≤ 1.05
//! on every statistic, some 20 effective draws per chain), which does not look at the truth. ESS tells how fast it
//! mixes; chains that never cross between modes count as one draw each. Tempered SMC has no chains: its ESS is the
//! variance of a draw over that of the means of independent runs, per run.
//!
//! Source: Geyer (1992) and Vehtari et al. (2021) for ESS; Hall (1992) for skewness; the samplers' own files for theirs.

mod kernels;
mod targets;

use genzoo_core::study::{Axis, Desk, Figure, Finding, Listing, Page, Series, Study, Verdict};
use genzoo_core::{Noise, Result};
use genzoo_numerics::mcmc::{effective_sample_size, split_r_hat};
use genzoo_numerics::rows;
use genzoo_numerics::special::{Moments, student_statistic};
use kernels::{ALL, Length, Sampler};
use serde::{Deserialize, Serialize};
use targets::Target;

use super::judge::Comparisons;

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "samplers",
    summary: "effective draws per gradient and per second of every sampler on six targets",
    citation: "Neal (2011), arXiv:1206.1901; Hoffman & Gelman (2014); Vehtari et al. (2021)",
    run,
};

/// The split R̂ up to which chains agree.
const AGREEMENT: f64 = 1.05;

/// One sampler on one target.
#[derive(Serialize, Deserialize)]
struct Ran {
    target: String,
    sampler: String,
    /// The least over the statistics.
    ess: f64,
    gradients: f64,
    seconds: f64,
    acceptance: f64,
    /// Size of a step; of tempering the number of replicas.
    step: f64,
    /// Split R̂, the largest over the statistics; `None` if there is none or a chain never moved.
    r_hat: Option<f64>,
    /// Chains, or runs of SMC.
    chains: usize,
    /// Deviation of the mean over chains from the truth in standard errors, statistic by statistic; `None` if it diverged.
    deviations: Vec<Option<f64>>,
}

impl Ran {
    fn per_gradient(&self) -> f64 {
        self.ess / self.gradients
    }

    /// Whether the chains agree with one another, and so whether their mean is judged.
    fn agrees(&self) -> bool {
        self.r_hat.is_some_and(|r| r <= AGREEMENT)
    }
}

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let length = desk.choose(
        Length { chains: 48, warm_up: 150, gradients: 3_000 },
        Length { chains: 128, warm_up: 500, gradients: 30_000 },
    );
    work(desk, &targets::NAMES, length)
}

fn work(desk: &mut Desk<'_>, names: &[&str], length: Length) -> Result<Page> {
    let mut all = Vec::new();
    for name in names {
        for sampler in ALL {
            let part = format!("{name}, {}", sampler.name());
            all.push(desk.part(&part, |noise| measure(name, sampler, length, noise))?);
        }
    }
    Ok(Page {
        about: format!(
            "{} chains per sampler and target, all with {} gradients after their warm-up. ESS is the least over the statistics: every coordinate and \
             its square, on the funnel its spread and signs. Wall-clock times are those of the machine that made this page; no verdict rests on them. \
             The random walk is charged for gradients that it does not use, BAOAB and ULA are not corrected, tempering is charged for all its \
             replicas.",
            length.chains, length.gradients
        ),
        findings: findings(&all),
        figures: vec![figure(&all, names)],
        tables: vec![
            listing(&all, names, "ESS per 1,000 gradients", |r| format!("{:.1}", 1e3 * r.per_gradient())),
            listing(&all, names, "ESS per second, on this machine", |r| format!("{:.0}", r.ess / r.seconds)),
            listing(&all, names, "Step size; replicas of tempering", |r| format!("{:.2e}", r.step)),
            listing(&all, names, "Acceptance", |r| format!("{:.2}", r.acceptance)),
            listing(&all, names, "Split R̂, the largest over the statistics", |r| {
                r.r_hat.map_or(String::new(), |r| format!("{r:.2}"))
            }),
            listing(
                &all,
                names,
                "Largest deviation of a mean, in standard errors; in brackets where chains disagree",
                deviation,
            ),
        ],
        pictures: Vec::new(),
    })
}

fn measure(name: &str, sampler: Sampler, length: Length, noise: &mut Noise) -> Result<Ran> {
    let target = targets::make(name)?;
    let trace = kernels::run(sampler, &target, length, noise)?;
    let spread = spread(&target, noise)?;
    let (mut deviations, mut least) = (Vec::new(), f64::INFINITY);
    let r_hats: Vec<f64> = trace.values.iter().map(|chains| split_r_hat(chains)).collect();
    for ((chains, truth), variance) in trace.values.iter().zip(&target.truth).zip(spread) {
        let each: Vec<f64> = chains.iter().map(|c| Moments::of(c).mean()).collect();
        let over = Moments::of(&each);
        deviations.push(Some(student_statistic(&each, *truth)).filter(|z| z.is_finite()));
        let ess = match sampler {
            _ if !over.mean().is_finite() => 0.0,
            Sampler::Smc => variance / over.standard_error().powi(2),
            _ => effective_sample_size(chains),
        };
        // A chain that never moved counts as one draw.
        least = least.min(if ess.is_nan() { chains.len() as f64 } else { ess });
    }
    Ok(Ran {
        target: name.into(),
        sampler: sampler.name().into(),
        ess: least,
        gradients: trace.gradients as f64,
        seconds: trace.seconds,
        acceptance: trace.acceptance,
        step: trace.step,
        r_hat: Some(r_hats.iter().fold(1.0, |top, r| if r.is_nan() { f64::NAN } else { f64::max(top, *r) }))
            .filter(|r: &f64| r.is_finite()),
        chains: trace.values.first().map_or(0, Vec::len),
        deviations,
    })
}

/// The variance of each statistic of one draw.
fn spread(target: &Target, noise: &mut Noise) -> Result<Vec<f64>> {
    let x = rows::host(&(target.draws)(20_000, &mut noise.fork("spread"))?)?;
    let values: Vec<Vec<f64>> = x.chunks(target.dims).map(|row| (target.statistics)(row)).collect();
    let of = |s: usize| Moments::of(&values.iter().map(|v| v[s]).collect::<Vec<_>>()).variance();
    Ok((0..target.truth.len()).map(of).collect())
}

/// The largest deviation, in brackets where it is not judged.
fn deviation(ran: &Ran) -> String {
    let largest =
        ran.deviations.iter().map(|z| z.map(f64::abs)).try_fold(0.0, |top, z| z.map(|z| z.max(top)));
    match largest {
        None => "diverged".into(),
        Some(z) if ran.agrees() => format!("{z:.1}"),
        Some(z) => format!("({z:.1})"),
    }
}

fn find<'a>(all: &'a [Ran], target: &str, sampler: Sampler) -> Option<&'a Ran> {
    all.iter().find(|r| r.target == target && r.sampler == sampler.name())
}

fn figure(all: &[Ran], names: &[&str]) -> Figure {
    let series = ALL.iter().map(|sampler| {
        let points = names
            .iter()
            .enumerate()
            .filter_map(|(i, name)| Some(((i + 1) as f64, 1e3 * find(all, name, *sampler)?.per_gradient())));
        Series::exact(sampler.name(), points)
    });
    let numbered: Vec<String> =
        names.iter().enumerate().map(|(i, name)| format!("{} {name}", i + 1)).collect();
    Figure {
        title: "Effective draws per 1,000 gradients".into(),
        x: Axis::linear(format!("target: {}", numbered.join(", "))),
        y: Axis::logarithmic("ESS per 1,000 gradients"),
        series: series.collect(),
    }
}

fn listing(all: &[Ran], names: &[&str], title: &str, text: impl Fn(&Ran) -> String) -> Listing {
    let lines = ALL.iter().map(|sampler| {
        let cells = names.iter().map(|name| find(all, name, *sampler).map_or(String::new(), &text));
        std::iter::once(sampler.name().to_string()).chain(cells).collect()
    });
    let columns = std::iter::once("sampler").chain(names.iter().copied()).map(String::from).collect();
    Listing { title: title.into(), columns, lines: lines.collect() }
}

fn findings(all: &[Ran]) -> Vec<Finding> {
    let (mut exact, mut judged, mut pairs) = (Comparisons::default(), 0, 0);
    for ran in
        ALL.into_iter().filter(|s| s.exact()).flat_map(|s| all.iter().filter(move |r| r.sampler == s.name()))
    {
        pairs += 1;
        if ran.agrees() {
            judged += 1;
            let deviations = ran.deviations.iter().map(|z| z.unwrap_or(f64::NAN));
            deviations.for_each(|z| exact.push_student(z, ran.chains - 1));
        }
    }
    let mut out = vec![Finding {
        claim: "Every corrected sampler has the right means on every target where its chains agree.".into(),
        verdict: exact.verdict(),
        because: format!(
            "On {judged} of {pairs} pairs of sampler and target chains agree (split R̂ ≤ {AGREEMENT}); the others are too slow for \
             this budget. {}",
            exact.because()
        ),
    }];
    let ratios = [
        (
            "correlated",
            Sampler::Hmc,
            Sampler::Mala,
            2.0,
            "On a correlated Gaussian trajectories beat Langevin steps, gradient for gradient, by more than 2.",
        ),
        (
            "correlated",
            Sampler::MalaDense,
            Sampler::Mala,
            10.0,
            "Learnt masses multiply the effective draws per gradient of Langevin steps there by more than 10.",
        ),
        (
            "correlated",
            Sampler::NutsDense,
            Sampler::Nuts,
            2.0,
            "Those of NUTS, which pays less for narrow directions, by more than 2.",
        ),
        (
            "mixture",
            Sampler::Tempering,
            Sampler::Hmc,
            2.0,
            "Between separate modes tempering is worth its replicas: more than twice the draws per gradient of HMC.",
        ),
    ];
    for (target, better, worse, factor, claim) in ratios {
        if let (Some(a), Some(b)) = (find(all, target, better), find(all, target, worse)) {
            out.push(ratio(claim, (a, b), factor));
        }
    }
    out
}

/// Whether one sampler has more than `factor` times the ESS per gradient of another. An ESS from few chains is known to
/// about a fifth, so a ratio within a third of the factor decides nothing.
fn ratio(claim: &str, (a, b): (&Ran, &Ran), factor: f64) -> Finding {
    let got = a.per_gradient() / b.per_gradient();
    let verdict = match got / factor {
        r if r > 4.0 / 3.0 => Verdict::Holds,
        r if r < 0.75 => Verdict::Fails,
        _ => Verdict::Undecided,
    };
    Finding {
        claim: claim.into(),
        verdict,
        because: format!(
            "Per 1,000 gradients {:.2} ({}) and {:.2} ({}) effective draws: a factor of {got:.1}.",
            1e3 * a.per_gradient(),
            a.sampler,
            1e3 * b.per_gradient(),
            b.sampler
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;
    use genzoo_core::study::{Effort, Forgetful};

    #[test]
    fn corrected_samplers_are_right_when_little_is_spent() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(4), &mut memory);
        let length = Length { chains: 24, warm_up: 60, gradients: 400 };
        let page = work(&mut desk, &["two modes", "rosenbrock", "correlated"], length)?;
        assert!(page.findings.iter().all(|f| f.verdict != Verdict::Fails), "{:#?}", page.findings);
        assert_eq!(page.findings[0].verdict, Verdict::Holds, "{:#?}", page.findings[0]);
        assert_eq!(page.tables[0].lines.len(), ALL.len());
        Ok(())
    }
}
