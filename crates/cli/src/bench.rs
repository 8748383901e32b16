//! `genzoo bench`: train and judge a suite, one honest row per model, data set and seed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use genzoo_core::checkpoint::sha256 as sha256_of;
use genzoo_core::{Dataset, Entry, Error, Family, Model, Noise, Recipe, TrainConfig};
use genzoo_lab::evaluate::{EvalOptions, evaluate, training_rows};
use genzoo_lab::per_row;
use genzoo_lab::pictures::Gallery;
use genzoo_lab::row::{self, Budget, Row, Status};
use genzoo_lab::suite::{self, Suite};

use crate::args::Bench;
use crate::output::Output;
use crate::run::{self, RunRecord, Trained};
use crate::train::{self, Job, Outcome};
use crate::zoo::{Registry, full_name};
use crate::{EVAL_SEED, Opener, signals, study, sweep};
use crate::{eval, ood};

pub(crate) fn command(args: &Bench, registry: Registry, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    let study = study::find(&args.suite);
    let suite = match suite::find(&args.suite) {
        Ok(suite) => Some(suite),
        Err(_) if study.is_some() => None,
        Err(_) => {
            let names = suite::SUITES.iter().map(|s| s.name).chain(study::studies().map(|s| s.name));
            return Err(Error::unknown("suite", &args.suite, names).into());
        }
    };
    // Open everything and resolve every recipe first: a typing error must not surface after an hour.
    let work = suite.map(|suite| Work::new(args, suite, registry, out, open)).transpose()?;
    if work.is_none()
        && (args.models.is_some()
            || args.data.is_some()
            || args.seeds != 1
            || args.sweep
            || !args.ood.is_empty())
    {
        let problem = format!("'{}' is a study: it has no models, data sets or seeds to choose", args.suite);
        return Err(Error::config("bench", "--budget, --out and --resume alone", problem).into());
    }
    let folder = bench_folder(args)?;
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let _lock = run::lock(&folder)?;
    if folder.join(ROWS).exists() && !args.resume {
        return Err(Error::file(
            &folder,
            "this folder already holds rows; add --resume to finish them, or choose another --out",
        )
        .into());
    }
    let start = Instant::now();
    let record = study.map(|s| study::run(s, &folder, args, out, open)).transpose()?;
    let mut rows = Vec::new();
    if let Some(work) = &work {
        let bench = Running { args, suite: work.suite, others: &work.others, out, open, folder: &folder };
        match bench.rows(work)? {
            Some(all) => rows = all,
            None => return Ok(signals::exit_code()),
        }
    }
    crate::report::write(&folder, &rows)?;
    crate::report::print(&folder, &rows, record.as_ref(), Some(start.elapsed().as_secs_f64()), out)?;
    Ok(if rows.iter().all(|r| r.status == Status::Ok) { 0 } else { 3 })
}

/// Rows of each kind that `--ood` tells apart.
const OOD_ROWS: usize = 500;

/// The file of rows in a bench folder.
const ROWS: &str = "rows.jsonl";

/// What a suite of rows comes to.
struct Work {
    suite: &'static Suite,
    entries: Vec<&'static Entry>,
    judges: Vec<Box<dyn Dataset>>,
    /// What `--ood` names.
    others: Vec<Box<dyn Dataset>>,
}

impl Work {
    fn new(
        args: &Bench,
        suite: &'static Suite,
        registry: Registry,
        out: &Output,
        open: &Opener,
    ) -> anyhow::Result<Self> {
        let entries = chosen(args, registry, suite)?;
        let datasets: Vec<String> = match &args.data {
            Some(list) => split_names(list),
            None => suite.datasets.iter().map(ToString::to_string).collect(),
        };
        if entries.is_empty() || datasets.is_empty() {
            return Err(Error::config("bench", "at least one model and one data set", "none").into());
        }
        let mut judges = Vec::new();
        for name in &datasets {
            let judge = match (open.dataset(name, EVAL_SEED), suite.fallback) {
                (Err(e), Some(other)) if args.data.is_none() => {
                    out.note(&format!("note: {other} instead of {name}: {e}"));
                    open.dataset(other, EVAL_SEED)?
                }
                (judge, _) => judge?,
            };
            for entry in &entries {
                if entry.spaces.contains(&judge.spec().space) {
                    train::resolve(entry, judge.as_ref(), &budgeted(args, suite, judge.as_ref()))?;
                } else if args.models.is_some() {
                    crate::zoo::recipe(entry, judge.spec(), judge.name(), None, &[])?;
                }
            }
            judges.push(judge);
        }
        Ok(Self { suite, entries, judges, others: ood::others(&args.ood, open)? })
    }
}

/// A row still to be made.
struct Planned {
    recipe: Recipe,
    /// Its run folder in the folder of the bench.
    folder: String,
    /// Whether another run has the usual name.
    renamed: bool,
}

struct Running<'a> {
    args: &'a Bench,
    suite: &'static Suite,
    others: &'a [Box<dyn Dataset>],
    out: &'a Output,
    open: &'a Opener,
    folder: &'a Path,
}

impl Running<'_> {
    /// Every row that is not finished yet, written as soon as it exists. `None` if interrupted.
    fn rows(&self, work: &Work) -> anyhow::Result<Option<Vec<Row>>> {
        let path = self.folder.join(ROWS);
        let (mut rows, warnings) = row::read(&path)?;
        for w in warnings {
            self.out.note(&w);
        }
        per_row::attach(self.folder, &mut rows);
        let there = rows.len();
        for judge in &work.judges {
            if !rows.iter().any(|r| r.model == "real" && r.dataset == judge.name()) {
                self.keep(&mut rows, &path, self.reference(judge.as_ref())?)?;
            }
            for seed in 0..self.args.seeds {
                for entry in &work.entries {
                    if !entry.spaces.contains(&judge.spec().space) {
                        continue;
                    }
                    let Some(planned) = self.plan(entry, judge.as_ref(), seed, &rows[..there])? else {
                        continue;
                    };
                    match self.one(entry, judge.as_ref(), seed, planned) {
                        Ok(Some(row)) => self.keep(&mut rows, &path, row)?,
                        Ok(None) => return Ok(None),
                        // The disk and the user's input are everyone's trouble; the rest is this row's.
                        Err(e)
                            if e.downcast_ref::<Error>()
                                .is_some_and(|e| matches!(e, Error::Io { .. } | Error::Locked { .. })) =>
                        {
                            return Err(e);
                        }
                        Err(e) => {
                            let name = full_name(entry);
                            let why = crate::whole(&e);
                            let mut row = eval::failed_row(self.suite.name, &name, judge.as_ref(), seed, why);
                            row.budget = self.budget(entry, judge.as_ref());
                            self.keep(&mut rows, &path, row)?;
                        }
                    }
                }
            }
        }
        if there > 0 {
            self.out.note(&format!("{there} rows were there already, {} are new", rows.len() - there));
        }
        Ok(Some(rows))
    }

    /// What is to be trained, and in which folder; `None` if its row is among those that are `there`. A row counts only if
    /// budget and recipe are the same too: a row of 30 seconds is not one of 120.
    fn plan(
        &self,
        entry: &'static Entry,
        judge: &dyn Dataset,
        seed: u64,
        there: &[Row],
    ) -> anyhow::Result<Option<Planned>> {
        let recipe = train::resolve(entry, judge, &budgeted(self.args, self.suite, judge))?;
        let (sha256, budget) = (run::recipe_sha256(&recipe)?, self.budget(entry, judge));
        let same = |r: &&Row| r.model == entry.info.name && r.dataset == judge.name() && r.seed == seed;
        let alike = |r: &Row| {
            // A row that failed before its run began knows no recipe.
            r.budget == budget && r.recipe_sha256.as_ref().is_none_or(|own| *own == sha256)
        };
        if there.iter().filter(same).any(alike) {
            return Ok(None);
        }
        let usual = row::folder_name(&format!("{}-{}-{seed}", judge.name(), entry.info.name));
        // A run that was interrupted has a folder and no row yet.
        let another = |r: &RunRecord| r.recipe_sha256 != sha256 || r.examples != budget.examples;
        let taken = run::read_record(&self.folder.join(&usual)).is_ok_and(|r| another(&r));
        let mark = sha256_of(format!("{sha256} {:?}", budget.examples).as_bytes());
        let name = if taken { format!("{usual}-{}", &mark[..8]) } else { usual };
        if let Some(other) = there.iter().find(same) {
            self.out.note(&format!(
                "{} on {}, seed {seed}: the row that is there has another {}; this one is trained in {name}",
                full_name(entry),
                judge.name(),
                if other.budget == budget { "recipe" } else { "budget" }
            ));
        }
        Ok(Some(Planned { recipe, folder: name, renamed: taken }))
    }

    /// Trains and judges one model. `None` if interrupted.
    fn one(
        &self,
        entry: &'static Entry,
        judge: &dyn Dataset,
        seed: u64,
        planned: Planned,
    ) -> anyhow::Result<Option<Row>> {
        let data = self.open.dataset(judge.name(), seed)?;
        let Planned { recipe, folder, renamed } = planned;
        let run = renamed.then(|| folder.clone());
        let folder = self.folder.join(folder);
        let resume = self.args.resume && folder.join("run.json").exists();
        let job = Job {
            entry,
            data: data.as_ref(),
            recipe,
            seed,
            folder: &folder,
            resume,
            examples: self.args.how.examples,
            device: &self.open.device,
        };
        let record = match train::train(job, self.out)? {
            Outcome::Stopped => return Ok(None),
            Outcome::Diverged(record) => {
                let mut row = eval::bare_row(self.suite.name, &record);
                row.command = Some(record.command(entry, &folder));
                row.run = run;
                return Ok(Some(row));
            }
            Outcome::Finished(record) | Outcome::Already(record) => record,
        };
        let trained = run::load(Registry::new(&[]).with(entry), &folder, None, &self.open.device)?;
        let mut options = eval::options(
            trained.model.as_ref(),
            &record.recipe,
            self.suite.evaluation(judge.spec(), self.args.budget),
        )?;
        options.training = Some(training_rows(data.as_ref())?);
        let mut row = self.judge(&trained, judge, &options)?;
        self.tell_apart(&mut row, trained.model.as_ref(), judge);
        row.command = Some(record.command(entry, &folder));
        row.run = run;
        self.illustrate(trained.model.as_ref(), judge, &folder);
        if self.args.sweep {
            let spinner = self.out.spinner(&trained.record.model);
            let points = sweep::sweep(trained.model.as_ref(), judge, &options, &row, &mut |m| {
                spinner.set_message(m.to_string());
            });
            spinner.finish_and_clear();
            match points {
                Ok(points) => row.sweep = points,
                Err(e) => self.out.note(&format!("{}: no sweep: {e}", trained.record.model)),
            }
        }
        eval::keep(&folder, &row)?;
        Ok(Some(row))
    }

    /// The columns of `--ood`. A row without them is a row all the same.
    fn tell_apart(&self, row: &mut Row, model: &dyn Model, judge: &dyn Dataset) {
        if self.args.ood.is_empty() || genzoo_lab::likelihood::methods(model).is_empty() {
            return;
        }
        let alike = |d: &&dyn Dataset| genzoo_lab::ood::comparable(judge.spec(), d.spec());
        let others: Vec<&dyn Dataset> = self.others.iter().map(AsRef::as_ref).filter(alike).collect();
        let spinner = self.out.spinner(model.info().name);
        let say = &mut |m: &str| spinner.set_message(m.to_string());
        match genzoo_lab::ood::detect(model, judge, &others, OOD_ROWS, EVAL_SEED, say) {
            Ok(report) => row.quality.extend(report.measurements()),
            Err(e) => self.out.note(&format!("{}: not held against other data: {e}", model.info().name)),
        }
        spinner.finish_and_clear();
    }

    /// The row `real`: what the data themselves score.
    fn reference(&self, judge: &dyn Dataset) -> anyhow::Result<Row> {
        let model = genzoo_lab::baseline::real(self.open.dataset(judge.name(), EVAL_SEED)?)?;
        let options = EvalOptions {
            training: Some(training_rows(judge)?),
            ..self.suite.evaluation(judge.spec(), self.args.budget)
        };
        let spinner = self.out.spinner("real");
        let evaluation =
            evaluate(model.as_ref(), judge, &options, &mut |m| spinner.set_message(m.to_string()))?;
        spinner.finish_and_clear();
        let name = format!("{}/real", Family::Baseline.name());
        let mut row = eval::failed_row(self.suite.name, &name, judge, EVAL_SEED, String::new());
        (row.status, row.reason) = (evaluation.status, evaluation.reason);
        row.likelihood = evaluation.likelihood;
        row.likelihoods = evaluation.likelihoods;
        (row.nll, row.test_rows) = (evaluation.nll, evaluation.test_rows);
        row.quality = evaluation.quality;
        row.judge_sha256 = evaluation.judge_sha256;
        row.classes = evaluation.classes;
        row.sampling = evaluation.sampling;
        let folder = self.folder.join(row::folder_name(&format!("{}-real-{EVAL_SEED}", judge.name())));
        picture(&folder, &evaluation.samples)?;
        per_row::write(&folder, &row.nll)?;
        if judge.spec().image().is_none() {
            self.illustrate(model.as_ref(), judge, &folder);
        }
        Ok(row)
    }

    /// The pictures of the report. A row without them is a row all the same.
    fn illustrate(&self, model: &dyn Model, judge: &dyn Dataset, folder: &Path) {
        let spec = judge.spec();
        let seconds =
            self.args.how.seconds.unwrap_or_else(|| self.suite.train_seconds(spec, self.args.budget));
        // A small part of what training and judging take; most densities need far less.
        let part = if spec.image().is_some() { 0.08 } else { 0.16 };
        let seconds = (part * seconds).clamp(0.2, 3.0);
        let folder = folder.join("samples");
        let made = if spec.image().is_some() {
            let samples = genzoo_lab::samples::read(&folder.join("samples.npy"), None);
            samples.and_then(|x| Gallery::of_images(&x, judge, seconds, &folder)).map(|_| ())
        } else if spec.shape == [2] {
            let noise = Noise::new(EVAL_SEED).fork("gallery");
            Gallery::of_plane(model, judge, seconds, &noise, &folder).map(|_| ())
        } else {
            Ok(())
        };
        if let Err(e) = made {
            self.out.note(&format!("{}: no pictures: {e}", model.info().name));
        }
    }

    /// What training of a model was allowed to cost, as far as its recipe says.
    fn budget(&self, entry: &Entry, judge: &dyn Dataset) -> Budget {
        let how = budgeted(self.args, self.suite, judge);
        if how.examples.is_some() && entry.info.family != Family::Baseline {
            return Budget { examples: how.examples, ..Budget::default() };
        }
        let config = train::resolve(entry, judge, &how).and_then(|r| TrainConfig::read(&r.train));
        match config {
            Ok(c) if c.seconds > 0.0 => Budget { seconds: Some(c.seconds), ..Budget::default() },
            Ok(c) => Budget { steps: Some(c.steps), ..Budget::default() },
            Err(_) => Budget::default(),
        }
    }

    fn judge(&self, trained: &Trained, judge: &dyn Dataset, options: &EvalOptions) -> anyhow::Result<Row> {
        let spinner = self.out.spinner(&trained.record.model);
        let evaluation =
            evaluate(trained.model.as_ref(), judge, options, &mut |m| spinner.set_message(m.to_string()))?;
        spinner.finish_and_clear();
        picture(&trained.folder, &evaluation.samples)?;
        Ok(eval::row(self.suite.name, trained, Some(&evaluation)))
    }

    /// Appends a finished row at once: a crash later keeps it.
    fn keep(&self, rows: &mut Vec<Row>, path: &Path, row: Row) -> anyhow::Result<()> {
        row::append(path, &row)?;
        self.out.note(&genzoo_lab::report::line(&row));
        rows.push(row);
        Ok(())
    }
}

/// The recipe flags of the command line, with the suite's budget where none is given.
fn budgeted(args: &Bench, suite: &Suite, data: &dyn Dataset) -> crate::args::How {
    let mut how = args.how.clone();
    let sets_budget = how.set.iter().any(|s| s.starts_with("train.steps") || s.starts_with("train.seconds"));
    if how.steps.is_none() && how.seconds.is_none() && how.examples.is_none() && !sets_budget {
        how.seconds = Some(suite.train_seconds(data.spec(), args.budget));
    }
    how
}

fn chosen(args: &Bench, registry: Registry, suite: &Suite) -> anyhow::Result<Vec<&'static Entry>> {
    Ok(match &args.models {
        Some(names) => names.iter().map(|n| registry.find(n.trim())).collect::<Result<_, _>>()?,
        None => {
            let all: Vec<&'static Entry> = registry.all().collect();
            match suite.models {
                Some(names) => {
                    let own = all.iter().filter(|e| !crate::models().any(|m| m.info.name == e.info.name));
                    names
                        .iter()
                        .map(|n| registry.find(n))
                        .collect::<Result<Vec<_>, _>>()?
                        .into_iter()
                        .chain(own.copied())
                        .collect()
                }
                None => all,
            }
        }
    })
}

/// `a,b{x=1,y=2}` is two names.
fn split_names(list: &str) -> Vec<String> {
    let (mut out, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                out.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out.into_iter().map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect()
}

fn bench_folder(args: &Bench) -> anyhow::Result<PathBuf> {
    if let Some(out) = &args.out {
        if out.exists() && !out.is_dir() {
            return Err(Error::file(out, "expected a folder, found a file; choose another --out").into());
        }
        return Ok(out.clone());
    }
    let base = PathBuf::from("runs").join(&args.suite);
    if args.resume || !base.exists() {
        return Ok(base);
    }
    (2..10_000)
        .map(|i| PathBuf::from("runs").join(format!("{}-{i}", args.suite)))
        .find(|p| !p.exists())
        .ok_or_else(|| Error::config("--out", "a folder", "none of runs/SUITE-2 … is free").into())
}

/// Keeps some samples and their picture in `samples/`.
fn picture(folder: &Path, samples: &genzoo_core::Tensor) -> anyhow::Result<()> {
    let dir = folder.join("samples");
    std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    genzoo_lab::samples::write(&dir.join("samples.png"), samples)?;
    Ok(genzoo_lab::samples::write(&dir.join("samples.npy"), samples)?)
}

#[cfg(test)]
mod tests {
    use super::split_names;

    #[test]
    fn commas_inside_braces_belong_to_the_name() {
        assert_eq!(
            split_names("moons,gaussians8{radius=5,sd=1}, rings"),
            ["moons", "gaussians8{radius=5,sd=1}", "rings"]
        );
    }
}
