//! Judging a trained model: samples, quality, likelihood, speed; within a rough budget of seconds.
//!
//! Everything random is a function of the seed of the evaluation, which is the same for every model of a suite: all
//! are judged on the same test rows, against the same real samples, along the same directions.

mod drawing;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};
use genzoo_core::recipe::sampler_choice;
use genzoo_core::{Dataset, Error, Measurement, Model, Noise, Result, Space, Split, Table};

use self::drawing::{Clock, draw, speed_of};
use crate::data::random_rows;
use crate::likelihood::{self, Choice, DEGENERATE, Judged};
use crate::metrics::{self, Features, Judgement, Known, Points, Reference, Rows, Score, Settings, find};
use crate::per_row;
use crate::row::{Likelihood, Sampling, Share, Status};

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Test rows of the likelihood.
    pub n_likelihood: usize,
    /// Samples, and real rows, of the quality metrics.
    pub n_quality: usize,
    /// A rough budget; what does not fit is measured on fewer examples, and says so.
    pub seconds: Option<f64>,
    /// Seed of everything random here.
    pub seed: u64,
    /// Metrics by name; `None` for all that apply.
    pub metrics: Option<Vec<String>>,
    /// The sampler to judge with its complete options; `None` for the model's default.
    pub sampler: Option<(String, Table)>,
    /// The likelihoods to measure, the one to rank by first; none for the model's most trusted.
    pub likelihoods: Vec<Choice>,
    /// Rows that the model was trained on, as [`training_rows`] gives them; without them memorisation is not measured.
    pub training: Option<Tensor>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            n_likelihood: 10_000,
            n_quality: 2000,
            seconds: None,
            seed: 0,
            metrics: None,
            sampler: None,
            likelihoods: Vec::new(),
            training: None,
        }
    }
}

/// Most training rows that memorisation is looked for in: the first ones, which every run sees.
const TRAINING_ROWS: u64 = 5000;

/// The rows of `data`, opened with the seed of the run, that memorisation is looked for in, `(n, event…)`.
///
/// # Errors
/// If they cannot be read.
pub fn training_rows(data: &dyn Dataset) -> Result<Tensor> {
    let n = data.len(Split::Train).map_or(TRAINING_ROWS, |len| len.min(TRAINING_ROWS));
    Ok(data.rows(Split::Train, 0..n)?.x)
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The likelihood the row is ranked by.
    pub likelihood: Option<Likelihood>,
    /// Others.
    pub likelihoods: Vec<Likelihood>,
    /// What each test row costs by the first of them, in its unit.
    pub nll: Vec<f64>,
    /// What tells these test rows from others.
    pub test_rows: Option<String>,
    /// Sample quality by metric.
    pub quality: Vec<(String, Measurement)>,
    /// sha256 of the judge in whose features images were compared.
    pub judge_sha256: Option<String>,
    /// How often each class comes, as that judge names them.
    pub classes: Vec<Share>,
    /// Speed of each sampler, the judged one first.
    pub sampling: Vec<Sampling>,
    /// Some of the samples, for pictures.
    pub samples: Tensor,
    /// Whether the numbers can be true.
    pub status: Status,
    /// Why not, or why a number is absent.
    pub reason: Option<String>,
}

/// Judges `model` on the test split of `data`.
///
/// # Errors
/// If a sampler, density or metric is unknown or fails. Numbers that cannot be true are no errors: they come with
/// a reason.
pub fn evaluate(
    model: &dyn Model,
    data: &dyn Dataset,
    options: &EvalOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Evaluation> {
    let noise = Noise::new(options.seed).fork("eval");
    let clock = Clock::new(options.seconds);
    let features = Features::of_data(data)?;
    let metrics = chosen_metrics(options, data, features)?;
    let (name, table) = match &options.sampler {
        Some(choice) => choice.clone(),
        None => owned(sampler_choice(&Table::new(), model.samplers())?),
    };
    let sampler = model.sampler(&name, &table)?;
    let wanted =
        data.len(Split::Test).map_or(options.n_quality, |len| options.n_quality.min(len as usize / 2));
    let (samples, speed) =
        draw(sampler.as_ref(), wanted.max(2), clock.at(0.3), &noise.fork("samples"), progress)?;
    let mut reasons = Vec::new();

    progress("metrics");
    let bad = rows_not_finite(&samples)?;
    let (mut quality, mut classes) = (Vec::new(), Vec::new());
    if bad > 0 {
        reasons.push(format!("non_finite_samples ({bad} of {})", samples.dim(0)?));
    } else {
        let of_truth = |x: &Points| score_of(data, x)?.ok_or_else(|| Error::Unsupported("no score".into()));
        let score: Option<Score> =
            if metrics.contains(&"ksd2") && score_is_known(data)? { Some(&of_truth) } else { None };
        let reference = reference(data, samples.dim(0)?, &metrics, (features, score), options, &noise)?;
        Judgement { quality, classes } = reference.judge(&samples, score)?;
    }

    let (judged, test_rows) = likelihoods_of(model, data, options, clock.at(0.85), &noise, progress)?;
    let mut judged = judged.into_iter();
    let first = judged.next().unwrap_or_default();
    if metrics.contains(&"kl") {
        quality.extend(first.kl.map(|m| ("kl".to_string(), m)));
    }
    reasons.extend(first.reason);
    let mut likelihoods = Vec::new();
    for (other, choice) in judged.zip(options.likelihoods.iter().skip(1)) {
        likelihoods.extend(other.likelihood);
        reasons.extend(other.reason.map(|reason| format!("{}: {reason}", choice.name)));
    }

    let mut sampling = vec![speed];
    for info in model.samplers().iter().filter(|i| i.name != name) {
        progress(&format!("speed of {}", info.name));
        let others = (model.samplers().len() - 1) as f64;
        let until = Instant::now()
            + Duration::from_secs_f64((0.15 * options.seconds.unwrap_or(20.0) / others).min(3.0));
        sampling.extend(speed_of(model, info, until, clock.at(1.3), &noise.fork("speed").fork(info.name))?);
    }

    let keep = if data.spec().image().is_some() { 100 } else { 2000 };
    let failed = reasons.iter().any(|r| !r.ends_with(DEGENERATE));
    Ok(Evaluation {
        likelihood: first.likelihood,
        likelihoods,
        nll: first.nll,
        test_rows,
        quality,
        judge_sha256: features.judge().map(|j| j.sha256().to_string()),
        classes,
        sampling,
        samples: samples.narrow(0, 0, keep.min(samples.dim(0)?))?,
        status: if failed { Status::Failed } else { Status::Ok },
        reason: if reasons.is_empty() { None } else { Some(reasons.join("; ")) },
    })
}

fn owned((name, table): (&'static str, Table)) -> (String, Table) {
    (name.to_string(), table)
}

fn chosen_metrics<'a>(
    options: &'a EvalOptions,
    data: &dyn Dataset,
    features: Features,
) -> Result<Vec<&'a str>> {
    let (image, judged) = (data.spec().image().is_some(), features.judge().is_some());
    match &options.metrics {
        Some(names) => names.iter().map(|n| find(n).map(|m| m.name)).collect(),
        None => {
            let shown = |rows: Rows| match rows {
                Rows::Samples => true,
                Rows::Points => !image,
                Rows::Features => judged,
                Rows::OnRequest => false,
            };
            Ok(metrics::metrics().filter(|m| shown(m.rows)).map(|m| m.name).collect())
        }
    }
}

fn likelihoods_of(
    model: &dyn Model,
    data: &dyn Dataset,
    options: &EvalOptions,
    deadline: Option<Instant>,
    noise: &Noise,
    progress: &mut dyn FnMut(&str),
) -> Result<(Vec<Judged>, Option<String>)> {
    if options.n_likelihood == 0 {
        return Ok((Vec::new(), None));
    }
    let own;
    let choices = match &options.likelihoods[..] {
        [] if model.densities().is_empty() => return Ok((Vec::new(), None)),
        [] => {
            own = [Choice::of(&Table::new(), model.densities())?];
            &own[..]
        }
        chosen => chosen,
    };
    let noise = noise.fork("likelihood");
    let rows = likelihood::test_rows(data, options.n_likelihood, &mut noise.fork("rows"))?;
    let mut judged = Vec::new();
    for choice in choices {
        progress(&format!("likelihood {}", choice.name));
        let density = match choice.open(model, data, &mut noise.fork("density")) {
            Err(e) if likelihood::is_degenerate(&e) => {
                judged.push(Judged::failed(DEGENERATE));
                continue;
            }
            density => density?,
        };
        // The rows come in random order, so that any first part of them is fair, and each method sees the same ones.
        let n = choice.rows.map_or(rows.len(), |n| n.min(rows.len()));
        let rows = likelihood::slice(&rows, 0, n)?;
        let log_prob = noise.fork("log_prob");
        judged.push(likelihood::judge(density.as_ref(), data, &rows, deadline, &log_prob, progress)?);
    }
    Ok((judged, Some(per_row::fingerprint(&rows)?)))
}

fn rows_not_finite(x: &Tensor) -> Result<usize> {
    let d = x.elem_count() / x.dim(0)?.max(1);
    let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.chunks(d.max(1)).filter(|row| row.iter().any(|v| !v.is_finite())).count())
}

/// Whether the score of the data has a closed form.
fn score_is_known(data: &dyn Dataset) -> Result<bool> {
    match data.truth() {
        Some(truth) => Ok(truth.score(&data.rows(Split::Test, 0..2)?.x)?.is_some()),
        None => Ok(false),
    }
}

/// The score of the data at these points.
fn score_of(data: &dyn Dataset, x: &Points) -> Result<Option<Points>> {
    let Some(truth) = data.truth() else { return Ok(None) };
    let shape = data.spec().batch_shape(x.len());
    let score = truth.score(&x.tensor()?.reshape(shape)?.to_dtype(DType::F32)?)?;
    score.map(|s| Points::new(&s)).transpose()
}

/// The real samples and floors for `n` samples of these data, kept for the next model.
fn reference(
    data: &dyn Dataset,
    n: usize,
    metrics: &[&str],
    (features, score): (Features, Option<Score>),
    options: &EvalOptions,
    noise: &Noise,
) -> Result<Arc<Reference>> {
    /// What the reference is a function of.
    type Key = (String, Vec<u32>);
    static KEPT: Mutex<Vec<(Key, Arc<Reference>)>> = Mutex::new(Vec::new());
    // Two rows tell apart what name and hash may not: the same generator opened under another seed.
    let first =
        |x: &Tensor| x.narrow(0, 0, 2.min(x.dim(0)?))?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let mut rows = first(&data.rows(Split::Test, 0..2)?.x)?;
    let mut trained = 0;
    if let Some(training) = &options.training {
        rows.extend(first(training)?);
        trained = training.dim(0)?;
    }
    let key: Key = (
        format!("{} {} {n} {metrics:?} {trained} {}", data.name(), data.sha256(), options.seed),
        rows.into_iter().map(f32::to_bits).collect(),
    );
    let lookup =
        |kept: &Vec<(Key, Arc<Reference>)>| kept.iter().find(|(k, _)| *k == key).map(|(_, r)| r.clone());
    // A poisoned lock only means that another evaluation panicked; what is kept is complete.
    if let Some(found) = lookup(&KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
        return Ok(found);
    }
    let noise = noise.fork("reference");
    let both = random_rows(data, Split::Test, 2 * n, &mut noise.fork("rows"))?.x;
    // Rows of a fixed set come in the order of their addresses, which need not be random.
    let both = metrics::shuffled(&both, &mut noise.fork("order"))?;
    let (real, other) = (both.narrow(0, 0, n)?, both.narrow(0, n, n)?);
    let shares = data.class_shares();
    let known = Known {
        features,
        other: Some(&other),
        train: options.training.as_ref(),
        modes: data.truth().filter(|_| data.spec().space == Space::Continuous).and_then(|t| t.modes()),
        shares: shares.as_deref(),
        score,
    };
    let made = Arc::new(Reference::new(&real, known, metrics, Settings::default(), &noise)?);
    let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if kept.len() >= 8 {
        kept.remove(0);
    }
    kept.push((key, made.clone()));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::real;
    use crate::data::{OpenOptions, open};
    use candle_core::Device;
    use genzoo_core::{
        Batch, Density, DensityInfo, Draw, Family, ModelInfo, ParamStore, Sampler, SamplerInfo, Samples,
        Turn, Update,
    };

    fn few() -> EvalOptions {
        EvalOptions { n_likelihood: 3000, n_quality: 400, ..EvalOptions::default() }
    }

    fn run(model: &dyn Model, data: &dyn Dataset, options: &EvalOptions) -> Result<Evaluation> {
        evaluate(model, data, options, &mut |_| ())
    }

    #[test]
    fn the_data_judged_as_a_model_are_perfect() -> Result<()> {
        for name in ["gaussians8", "moons"] {
            let data = open(name, &OpenOptions::default())?;
            let model = real(open(name, &OpenOptions::default())?)?;
            let few = EvalOptions { training: Some(training_rows(data.as_ref())?), ..few() };
            let e = run(model.as_ref(), data.as_ref(), &few)?;
            assert_eq!((e.status, e.reason.clone()), (Status::Ok, None));
            let l = e.likelihood.clone().expect("the truth has a density");
            assert!((l.value - l.floor.expect("an entropy")).abs() < 4.0 * l.stderr && l.n == 3000);
            let names: Vec<&str> = e.quality.iter().map(|(n, _)| n.as_str()).collect();
            let modes = data.truth().is_some_and(|t| t.modes().is_some());
            let shown = metrics::metrics().filter(|m| matches!(m.rows, Rows::Samples | Rows::Points));
            let want = shown.map(|m| m.name).filter(|n| modes || !n.starts_with("mode_"));
            assert_eq!(names, want.collect::<Vec<_>>());
            for (name, m) in &e.quality {
                let (value, floor) = (m.value.expect("a value"), m.floor.expect("a floor"));
                // Both are draws of the same statistic: twice the variance of one, and the square of W₂ is skewed.
                let error = 2f64.sqrt() * m.stderr.expect("an error");
                assert!(
                    (value - floor).abs() < 5.0 * error + 1e-9,
                    "{name}: {value} against {floor} ± {error}"
                );
            }
            let speed = &e.sampling[0];
            assert!(speed.evaluations == 0 && speed.examples_per_second.is_some_and(|s| s > 0.0));
            let again = run(model.as_ref(), data.as_ref(), &few)?;
            assert_eq!(
                (again.likelihood, again.quality),
                (e.likelihood, e.quality),
                "a function of the seed"
            );
        }
        Ok(())
    }

    #[test]
    fn digits_are_judged_in_the_space_of_their_judge() -> Result<()> {
        let data = open("glyphs{size=14}", &OpenOptions::default())?;
        let model = real(open("glyphs{size=14}", &OpenOptions::default())?)?;
        let options = EvalOptions { n_quality: 150, ..few() };
        let e = run(model.as_ref(), data.as_ref(), &options)?;
        assert_eq!((e.status, e.likelihood.is_none()), (Status::Ok, true));
        let shown = metrics::metrics().filter(|m| matches!(m.rows, Rows::Samples | Rows::Features));
        let want = shown.filter(|m| m.needs() != metrics::Needs::Train).map(|m| m.name);
        assert!(e.quality.iter().map(|(n, _)| n.as_str()).eq(want));
        assert_eq!(e.samples.dims(), [100, 1, 14, 14]);
        let judge = crate::judge::find("glyphs")?.judge()?;
        assert_eq!(e.judge_sha256.as_deref(), Some(judge.sha256()));
        let shares: Vec<f64> = e.classes.iter().map(|c| c.share).collect();
        assert!(shares.len() == 10 && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(e.classes.iter().all(|c| c.low < c.share && c.share < c.high && c.truth == Some(0.1)));
        Ok(())
    }

    /// Quality cannot tell a memorizer from the data; its distances to the training rows can.
    #[test]
    fn a_memorizer_is_caught_and_the_data_are_not() -> Result<()> {
        for name in ["moons", "glyphs{size=14}"] {
            let data = open(name, &OpenOptions::default())?;
            let entry =
                crate::baseline::MODELS.iter().find(|e| e.info.name == "memorizer").expect("an entry");
            let mut recipe = genzoo_core::Recipe::defaults(entry, data.spec())?;
            recipe.set("model.rows=600")?;
            let noise = Noise::new(0).fork("init");
            let build = genzoo_core::Build {
                spec: data.spec(),
                device: &Device::Cpu,
                zoo: &genzoo_core::NoZoo,
                noise,
            };
            let config = genzoo_core::TrainConfig::read(&recipe.train)?;
            let model = (entry.build)(&recipe.model, build)?;
            let copies =
                genzoo_core::Trainer::new(model, data.as_ref(), config, &Noise::new(0))?.into_model();
            let fresh = real(open(name, &OpenOptions::default())?)?;
            let training = Some(data.rows(Split::Train, 0..600)?.x);
            let options = EvalOptions { training, n_quality: 300, n_likelihood: 0, ..few() };
            let c_t = |model: &dyn Model| -> Result<(f64, f64)> {
                let e = run(model, data.as_ref(), &options)?;
                let of = |n: &str| e.quality.iter().find(|(name, _)| name == n).and_then(|(_, m)| m.value);
                Ok((of("c_t").expect("a value"), of("authenticity").expect("a value")))
            };
            let (copied, new) = (c_t(copies.as_ref())?, c_t(fresh.as_ref())?);
            assert!(copied.0 < -5.0 && copied.1 == 0.0, "{name}: {copied:?}");
            // C_T of fresh rows has variance 1 at most, up to the noise of the held-out rows of each cell.
            assert!(new.0.abs() < 4.0 && new.1 > 0.3, "{name}: {new:?}");
        }
        Ok(())
    }

    #[test]
    fn a_budget_bounds_the_work_and_metrics_can_be_chosen() -> Result<()> {
        let data = open("moons", &OpenOptions::default())?;
        let model = real(open("moons", &OpenOptions::default())?)?;
        let metrics = Some(vec!["energy_distance_u".to_string(), "kl".to_string()]);
        let options = EvalOptions { metrics, seconds: Some(0.01), n_likelihood: 1_000_000, ..few() };
        let e = run(model.as_ref(), data.as_ref(), &options)?;
        assert_eq!(
            e.quality.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
            ["energy_distance_u", "kl"]
        );
        assert!(e.likelihood.is_some_and(|l| l.n < 1_000_000));
        let options = EvalOptions { metrics: Some(vec!["mmd".into()]), ..few() };
        assert!(
            run(model.as_ref(), data.as_ref(), &options)
                .expect_err("no such metric")
                .to_string()
                .contains("mmd2")
        );
        let options = EvalOptions { sampler: Some(("euler".into(), Table::new())), ..few() };
        assert!(run(model.as_ref(), data.as_ref(), &options).is_err());
        Ok(())
    }

    /// A model whose samples are all `value`, and whose density says that it is degenerate.
    struct Fake {
        params: ParamStore,
        value: f64,
    }

    static FAKE: ModelInfo = ModelInfo { name: "fake", family: Family::Ebm, summary: "", citation: "" };
    static SAMPLER: [SamplerInfo; 1] = [SamplerInfo { name: "constant", summary: "", defaults: Table::new }];
    static DENSITY: [DensityInfo; 1] = [DensityInfo { name: "ais", summary: "", defaults: Table::new }];

    impl Model for Fake {
        fn info(&self) -> &ModelInfo {
            &FAKE
        }
        fn params(&self) -> &ParamStore {
            &self.params
        }
        fn turns(&self, _: u64) -> Vec<Turn> {
            Vec::new()
        }
        fn update(&mut self, _: &Turn, _: &Batch, _: &mut Noise) -> Result<Update> {
            Ok(Update::Done { log: Vec::new() })
        }
        fn samplers(&self) -> &[SamplerInfo] {
            &SAMPLER
        }
        fn sampler(&self, _: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
            Ok(Box::new(Constant(self.value)))
        }
        fn densities(&self) -> &[DensityInfo] {
            &DENSITY
        }
        fn density(&self, _: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
            Err(Error::Unsupported("ais_degenerate: effective sample size 3.1 of 512".into()))
        }
    }

    struct Constant(f64);

    impl Sampler for Constant {
        fn info(&self) -> &SamplerInfo {
            &SAMPLER[0]
        }
        fn sample(&self, draw: &Draw, _: &mut Noise) -> Result<Samples> {
            let x = Tensor::full(self.0 as f32, (draw.n, 2), &Device::Cpu)?;
            Ok(Samples { x, evaluations: 7 })
        }
    }

    fn fake(value: f64) -> Fake {
        Fake { params: ParamStore::new(&Noise::new(0), DType::F32, &Device::Cpu), value }
    }

    /// The data themselves are at discrepancy zero of their own score, a constant is not.
    #[test]
    fn a_known_score_judges_without_real_samples() -> Result<()> {
        let name = "gaussians8";
        let data = open(name, &OpenOptions::default())?;
        let metrics = Some(vec!["ksd2".to_string()]);
        let options = EvalOptions { metrics, n_likelihood: 0, ..few() };
        let model = real(open(name, &OpenOptions::default())?)?;
        let of = |model: &dyn Model| -> Result<Measurement> {
            Ok(run(model, data.as_ref(), &options)?.quality[0].1.clone())
        };
        let (right, wrong) = (of(model.as_ref())?, of(&fake(0.5))?);
        let z = |m: &Measurement| m.value.unwrap_or(0.0) / m.stderr.unwrap_or(1.0);
        assert!(z(&right).abs() < 5.0 && right.floor.is_some(), "{right:?}");
        assert!(wrong.value > Some(10.0 * right.stderr.unwrap_or(1.0)), "{wrong:?}");
        Ok(())
    }

    #[test]
    fn data_under_another_seed_have_their_own_reference() -> Result<()> {
        let options = EvalOptions { metrics: Some(vec!["sliced_w2".into()]), n_likelihood: 0, ..few() };
        let floor = |seed: u64| -> Result<Option<f64>> {
            let data = open("moons", &OpenOptions { seed, ..OpenOptions::default() })?;
            Ok(run(&fake(0.5), data.as_ref(), &options)?.quality[0].1.floor)
        };
        assert!(floor(0)? != floor(1)? && floor(0)? == floor(0)?);
        Ok(())
    }

    #[test]
    fn a_degenerate_estimate_is_no_number_and_no_failure() -> Result<()> {
        let data = open("moons", &OpenOptions::default())?;
        let e = run(&fake(0.5), data.as_ref(), &few())?;
        assert_eq!((e.status, e.reason.as_deref()), (Status::Ok, Some("ais_degenerate")));
        assert!(e.likelihood.is_none() && !e.quality.is_empty() && e.sampling[0].evaluations == 7);
        Ok(())
    }

    #[test]
    fn samples_that_are_not_finite_fail_the_row_and_have_no_quality() -> Result<()> {
        let data = open("moons", &OpenOptions::default())?;
        let e = run(&fake(f64::NAN), data.as_ref(), &few())?;
        assert_eq!(e.status, Status::Failed);
        let reason = e.reason.unwrap_or_default();
        assert!(reason.contains("non_finite_samples (400 of 400)") && e.quality.is_empty(), "{reason}");
        Ok(())
    }
}
