//! `genzoo train`: one model into one run folder, safely.

use std::path::{Path, PathBuf};
use std::time::Instant;

use genzoo_core::checkpoint::Checkpoint;
use genzoo_core::{
    Control, Dataset, Device, Entry, Error, Family, Model, Need, Noise, Recipe, Result, Split, TrainConfig,
    Trainer, Turn,
};
use genzoo_lab::row::TrainStats;
use serde_json::json;
use toml::Value;

use crate::args::{How, Train};
use crate::output::Output;
use crate::run::{self, RunFolder, RunRecord, Status};
use crate::zoo::{self, Registry};
use crate::{machine, signals};

/// How a training ended.
pub(crate) enum Outcome {
    /// All steps are done.
    Finished(RunRecord),
    /// It was finished before.
    Already(RunRecord),
    /// It diverged; the record says how.
    Diverged(RunRecord),
    /// It was interrupted and left a checkpoint.
    Stopped,
}

/// What to train, resolved.
pub(crate) struct Job<'a> {
    pub(crate) entry: &'static Entry,
    pub(crate) data: &'a dyn Dataset,
    pub(crate) recipe: Recipe,
    pub(crate) seed: u64,
    pub(crate) folder: &'a Path,
    pub(crate) resume: bool,
    /// The budget in examples, if that is what was given.
    pub(crate) examples: Option<u64>,
    pub(crate) device: &'a Device,
}

pub(crate) fn command(
    args: &Train,
    registry: Registry,
    out: &Output,
    open: &crate::Opener,
) -> anyhow::Result<i32> {
    let entry = registry.find(&args.model)?;
    let data = open.dataset(&args.data, args.seed)?;
    let recipe = resolve(entry, data.as_ref(), &args.how)?;
    let default = || {
        PathBuf::from("runs").join(genzoo_lab::row::folder_name(&format!(
            "{}-{}",
            entry.info.name,
            data.name()
        )))
    };
    let folder = args.out.clone().unwrap_or_else(default);
    let job = Job {
        entry,
        data: data.as_ref(),
        recipe,
        seed: args.seed,
        folder: &folder,
        resume: args.resume,
        examples: args.how.examples,
        device: &open.device,
    };
    let code = match train(job, out)? {
        Outcome::Finished(record) => {
            summary(&record, &folder, out)?;
            0
        }
        Outcome::Already(record) => {
            out.note(&format!("{} already has all its {} steps", folder.display(), record.steps));
            summary(&record, &folder, out)?;
            0
        }
        Outcome::Diverged(record) => {
            summary(&record, &folder, out)?;
            out.note(&format!("diverged: {}", record.reason.as_deref().unwrap_or("no reason recorded")));
            3
        }
        Outcome::Stopped => {
            out.note(&format!("stopped with a checkpoint; go on with --resume --out {}", folder.display()));
            signals::exit_code()
        }
    };
    Ok(code)
}

/// Defaults, recipe, `--set` and the budget flags, in this order.
pub(crate) fn resolve(entry: &Entry, data: &dyn Dataset, how: &How) -> Result<Recipe> {
    let mut recipe = zoo::recipe(entry, data.spec(), data.name(), how.recipe.as_deref(), &how.set)?;
    if let Some(steps) = how.steps {
        recipe.train.insert("steps".into(), Value::Integer(steps.min(i64::MAX as u64) as i64));
        recipe.train.insert("seconds".into(), Value::Float(0.0));
    }
    if let Some(seconds) = how.seconds {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return Err(Error::config("--seconds", "a number > 0", seconds));
        }
        // A reference model is fitted to its end, whatever the others may cost.
        if entry.info.family != Family::Baseline {
            recipe.train.insert("seconds".into(), Value::Float(seconds));
        }
    }
    if how.examples.is_some() {
        recipe.train.insert("seconds".into(), Value::Float(0.0));
    }
    TrainConfig::read(&recipe.train)?;
    Ok(recipe)
}

/// The steps that see at least `examples` training examples. A model that takes several batches per step takes fewer.
fn steps_for(model: &dyn Model, batch: usize, data: &dyn Dataset, examples: u64) -> u64 {
    let (mut seen, mut steps) = (0u64, 0u64);
    while seen < examples {
        let of = |turn: &Turn| match turn.need {
            Need::Mini => batch as u64,
            Need::Full => data.len(Split::Train).unwrap_or(0),
            Need::Nothing => 0,
        };
        let step: u64 = model.turns(steps).iter().map(of).sum();
        // A step without data would never end the count: it is a step of one batch.
        seen = seen.saturating_add(if step == 0 { batch as u64 } else { step });
        steps += 1;
    }
    steps
}

/// Trains `job` to its end, from its last checkpoint if it is resumed.
pub(crate) fn train(job: Job<'_>, out: &Output) -> Result<Outcome> {
    let mut config = TrainConfig::read(&job.recipe.train)?;
    // A model that cannot be built must not leave a folder behind.
    let model = run::build(job.entry, &job.recipe, job.data.spec(), job.seed, job.device)?;
    genzoo_core::recipe::sampler_choice(&job.recipe.sample, model.samplers())?;
    if !model.densities().is_empty() {
        genzoo_lab::likelihood::Choice::of(&job.recipe.eval, model.densities())?;
    }
    let folder = RunFolder::open(job.folder, job.resume)?;
    let seconds = (config.seconds > 0.0).then_some(config.seconds);
    // Nor does a reference model count examples.
    let examples = job.examples.filter(|_| job.entry.info.family != Family::Baseline);
    let earlier = folder.record()?;
    let mut record =
        run::new_record(job.entry, job.data, job.seed, config.steps, seconds, job.recipe.clone())?;
    record.parameters = Some(model.params().count() as u64);
    record.examples = examples;
    let derived = seconds.is_some() || examples.is_some();
    if let Some(old) = &earlier {
        agree(old, &record, job.folder)?;
        match old.status {
            Status::Diverged => return Ok(Outcome::Diverged(old.clone())),
            Status::Finished if derived || config.steps <= old.steps => {
                return Ok(Outcome::Already(old.clone()));
            }
            _ => {}
        }
        if derived || old.steps > config.steps {
            record.steps = old.steps;
        }
    } else if let Some(n) = examples {
        record.steps = steps_for(model.as_ref(), config.batch, job.data, n);
    } else if let Some(s) = seconds {
        let probe = run::build(job.entry, &job.recipe, job.data.spec(), job.seed, job.device)?;
        let mut one = config.clone();
        one.steps = u64::MAX;
        let probe = Trainer::new(probe, job.data, one, &Noise::new(job.seed))?;
        record.steps = match probe.steps_in(s) {
            Ok(n) => n,
            // It diverges within the first steps: let the run itself find and record that.
            Err(Error::Diverged { step, .. }) => step + 1,
            Err(e) => return Err(e),
        };
    }
    config.steps = record.steps;
    record.recipe.train.insert("steps".into(), Value::Integer(record.steps.min(i64::MAX as u64) as i64));
    folder.write_record(&record)?;

    let mut trainer = Trainer::new(model, job.data, config, &Noise::new(job.seed))?;
    let identity = record.identity_sha256();
    let (latest, broken) = Checkpoint::latest(&folder.checkpoints(), job.device)?;
    for e in broken {
        out.note(&format!("passed over a checkpoint: {e}"));
    }
    if let Some(c) = latest {
        if c.identity != identity {
            return Err(Error::file(
                job.folder,
                "its checkpoint belongs to a run with other settings; choose another --out",
            ));
        }
        trainer.restore(&c)?;
    }
    go(&mut trainer, &folder, &mut record, &identity, out)
}

fn go(
    trainer: &mut Trainer<'_>,
    folder: &RunFolder,
    record: &mut RunRecord,
    identity: &str,
    out: &Output,
) -> Result<Outcome> {
    let (every, log_every) = (trainer.config().checkpoint_every, trainer.config().log_every);
    let mut log = folder.log(trainer.position().step)?;
    let bar = out.bar(record.steps, &record.model);
    bar.set_position(trainer.position().step);
    machine::reset_peak_rss();
    let guard = signals::Guard::new();
    let mut final_loss = None;
    let mut shown = Instant::now();
    let ended = trainer.run(|t, report| {
        final_loss = report.loss.or(final_loss);
        let last = report.step == t.config().steps;
        if report.step % log_every == 0 || last {
            log.step(report, t.position().seconds)?;
        }
        let stop = signals::stop_requested();
        if (every > 0 && report.step % every == 0) || last || stop {
            t.checkpoint(identity)?.save(&folder.checkpoints())?;
        }
        if shown.elapsed().as_millis() > 100 || last {
            shown = Instant::now();
            bar.set_position(report.step);
            bar.set_message(report.loss.map_or_else(String::new, |l| format!("loss {l:.4}")));
        }
        Ok(if stop && !last { Control::Stop } else { Control::Continue })
    });
    drop(guard);
    bar.finish_and_clear();
    let position = trainer.position().clone();
    let examples = position.row;
    record.train = Some(TrainStats {
        steps: position.step,
        examples,
        seconds: position.seconds,
        examples_per_second: if position.seconds > 0.0 { examples as f64 / position.seconds } else { 0.0 },
        peak_rss_bytes: machine::peak_rss(),
        final_loss,
    });
    match ended {
        Ok(Control::Stop) => return Ok(Outcome::Stopped),
        Ok(Control::Continue) => {}
        Err(e @ Error::Diverged { .. }) => {
            record.status = Status::Diverged;
            record.reason = Some(e.to_string());
            folder.write_record(record)?;
            return Ok(Outcome::Diverged(record.clone()));
        }
        Err(e) => return Err(e),
    }
    if position.step == 0 {
        trainer.checkpoint(identity)?.save(&folder.checkpoints())?;
    }
    let model = trainer.model();
    folder.export("model.safetensors", model.params().snapshot()?, model.state()?, record)?;
    if let Some(ema) = trainer.ema() {
        folder.export("model_ema.safetensors", ema.snapshot()?, model.state()?, record)?;
    }
    record.status = Status::Finished;
    folder.write_record(record)?;
    Ok(Outcome::Finished(record.clone()))
}

/// A resumed run must be the same run: everything but its length, threads and checkpoint interval.
fn agree(old: &RunRecord, new: &RunRecord, folder: &Path) -> Result<()> {
    for ((key, was), (_, is)) in old.identity().into_iter().zip(new.identity()) {
        if was == is {
            continue;
        }
        if key == "recipe" {
            let (path, a, b) = difference(&json!(old.recipe), &json!(new.recipe), "").unwrap_or_default();
            return Err(Error::config(path, format!("{a}, as in {}", folder.join("run.json").display()), b));
        }
        return Err(Error::config(key, format!("{was}, as in {}", folder.join("run.json").display()), is));
    }
    Ok(())
}

/// The first key at which two recipes differ, and both values.
fn difference(a: &serde_json::Value, b: &serde_json::Value, path: &str) -> Option<(String, String, String)> {
    use serde_json::Value::Object;
    if let (Object(x), Object(y)) = (a, b) {
        let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
        return keys.into_iter().find_map(|k| {
            let path = if path.is_empty() { k.clone() } else { format!("{path}.{k}") };
            if ["train.steps", "train.seconds", "train.checkpoint_every"].contains(&path.as_str()) {
                return None;
            }
            difference(
                x.get(k).unwrap_or(&serde_json::Value::Null),
                y.get(k).unwrap_or(&serde_json::Value::Null),
                &path,
            )
        });
    }
    (a != b).then(|| (path.to_string(), a.to_string(), b.to_string()))
}

fn summary(record: &RunRecord, folder: &Path, out: &Output) -> anyhow::Result<()> {
    let stats = record.train.as_ref();
    if out.json() {
        return out.print_json(&json!({
            "run": folder, "status": record.status, "reason": record.reason, "model": record.model,
            "dataset": record.dataset, "seed": record.seed, "parameters": record.parameters, "train": stats,
        }));
    }
    if let Some(s) = stats {
        let loss = s.final_loss.map_or_else(String::new, |l| format!(", last loss {l:.4}"));
        out.print(&format!(
            "{} on {}: {} steps in {:.1} s ({:.0} examples/s){loss}\n{}",
            record.model,
            run::printable(&record.dataset),
            s.steps,
            s.seconds,
            s.examples_per_second,
            folder.display()
        ))?;
    }
    Ok(())
}
