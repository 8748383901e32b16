//! `genzoo eval`: likelihood, quality and speed of a trained run.

use std::path::Path;

use genzoo_core::checkpoint::write_atomic;
use genzoo_core::{Dataset, Error, Model, Recipe, Table};
use genzoo_lab::evaluate::{EvalOptions, Evaluation, evaluate, training_rows};
use genzoo_lab::likelihood::{Choice, methods};
use genzoo_lab::per_row;
use genzoo_lab::report::rank::Interval;
use genzoo_lab::row::{Budget, Row, Status};
use genzoo_lab::seeds::summaries;
use serde_json::json;

use crate::EVAL_SEED;
use crate::args::Eval;
use crate::output::Output;
use crate::run::{self, RunRecord, Trained};
use crate::sample::choice;
use crate::zoo::Registry;

pub(crate) fn command(
    args: &Eval,
    registry: Registry,
    out: &Output,
    open: &crate::Opener,
) -> anyhow::Result<i32> {
    let trained = run::load(registry, &args.run, args.weights.as_deref(), &open.device)?;
    let data = open.dataset(&trained.record.dataset, EVAL_SEED)?;
    if !args.ood.is_empty() {
        return crate::ood::command(args, &trained, data.as_ref(), out, open);
    }
    let of = |section: &str| args.set.iter().filter(|s| s.starts_with(section)).cloned().collect::<Vec<_>>();
    if let Some(stray) = args.set.iter().find(|s| !s.starts_with("eval.") && !s.starts_with("sample.")) {
        return Err(Error::config("--set", "a key of [eval] or [sample], e.g. eval.steps=80", stray).into());
    }
    let recipe = Recipe {
        sample: choice(&trained.record.recipe.sample, "sampler", None, &of("sample."), "sample."),
        ..trained.record.recipe.clone()
    };
    let suite = genzoo_lab::suite::default_evaluation(data.spec());
    let mut options = options(trained.model.as_ref(), &recipe, suite)?;
    if !args.likelihood.is_empty() || args.set.iter().any(|s| s.starts_with("eval.")) {
        options.likelihoods = likelihoods(trained.model.as_ref(), &recipe.eval, args)?;
    }
    options.metrics.clone_from(&args.metrics);
    if let Some(n) = args.n_likelihood {
        options.n_likelihood = n as usize;
    }
    if let Some(n) = args.n_quality {
        options.n_quality = n as usize;
    }
    let spinner = out.spinner(&trained.record.model);
    let trained_on = open.dataset(&trained.record.dataset, trained.record.seed)?;
    options.training = Some(training_rows(trained_on.as_ref())?);
    let evaluation = evaluate(trained.model.as_ref(), data.as_ref(), &options, &mut |m| {
        spinner.set_message(m.to_string())
    })?;
    spinner.finish_and_clear();
    let row = row("eval", &trained, Some(&evaluation));
    let folder = &trained.folder;
    keep(folder, &row)?;
    if out.json() {
        out.print_json(&row)?;
    } else {
        out.print(&genzoo_lab::report::terminal(std::slice::from_ref(&row), out.width(), out.color()))?;
        out.print(&genzoo_lab::report::details(&row))?;
        if let Some(both) = enclosed(&row) {
            out.print(&both)?;
        }
    }
    Ok(if row.status == Status::Ok { 0 } else { 3 })
}

/// Writes `eval.json`, and what each test row costs, into the folder of a run.
pub(crate) fn keep(folder: &Path, row: &Row) -> anyhow::Result<()> {
    per_row::write(folder, &row.nll)?;
    Ok(write_atomic(&folder.join("eval.json"), (serde_json::to_string_pretty(row)? + "\n").as_bytes())?)
}

/// The choices a recipe makes for its own evaluation.
pub(crate) fn options(
    model: &dyn Model,
    recipe: &Recipe,
    mut options: EvalOptions,
) -> genzoo_core::Result<EvalOptions> {
    let (name, table) = genzoo_core::recipe::sampler_choice(&recipe.sample, model.samplers())?;
    options.sampler = Some((name.to_string(), table));
    if !model.densities().is_empty() {
        options.likelihoods = vec![Choice::of(&recipe.eval, model.densities())?];
    } else if let Some(key) = recipe.eval.keys().next() {
        return Err(Error::config(format!("eval.{key}"), "nothing: this model has no likelihood", "a value"));
    }
    Ok(options)
}

/// The likelihoods of `--likelihood METHOD[:OPTIONS]`, the first with what `--set eval.…` adds; without any, that of the
/// recipe with those settings.
fn likelihoods(model: &dyn Model, own: &Table, args: &Eval) -> genzoo_core::Result<Vec<Choice>> {
    let infos = methods(model);
    let sets: Vec<&str> = args.set.iter().filter_map(|s| s.strip_prefix("eval.")).collect();
    let name = own.get("likelihood").and_then(|v| v.as_str()).or(model.densities().first().map(|d| d.name));
    let named: Vec<&str> = match (&args.likelihood[..], name) {
        ([], Some(name)) => vec![name],
        ([], None) => {
            let key = format!("eval.{}", sets.first().unwrap_or(&""));
            return Err(Error::config(key, "a likelihood to set, by --likelihood", "none of its own"));
        }
        (all, _) => all.iter().map(String::as_str).collect(),
    };
    let mut choices = Vec::new();
    for (i, text) in named.iter().enumerate() {
        let settings = if i == 0 { sets.join(",") } else { String::new() };
        let between = match (settings.is_empty(), text.contains(':')) {
            (true, _) => "",
            (false, true) => ",",
            (false, false) => ":",
        };
        choices.push(Choice::parse(&format!("{text}{between}{settings}"), own, &infos)?);
    }
    Ok(choices)
}

/// Where several likelihoods together place the truth, in a line.
fn enclosed(row: &Row) -> Option<String> {
    let unit = &row.likelihood.as_ref().filter(|_| !row.likelihoods.is_empty())?.unit;
    let Interval { low, high } = Interval::of_summary(summaries(&[row]).first()?)?;
    let (what, value) = match (low.is_finite(), high.is_finite()) {
        (true, true) => ("truth between", format!("{low:.4}, {high:.4}")),
        (true, false) => ("truth at least", format!("{low:.4}")),
        (false, true) => ("truth at most", format!("{high:.4}")),
        (false, false) => return None,
    };
    Some(format!("{what:18} {value:>18}  {unit}, to two standard errors"))
}

/// The row of a run; without an evaluation it only says how training ended.
pub(crate) fn row(suite: &str, trained: &Trained, evaluation: Option<&Evaluation>) -> Row {
    let mut row = bare_row(suite, &trained.record);
    row.weights = trained.weights.to_string();
    if let Some(e) = evaluation {
        row.likelihood.clone_from(&e.likelihood);
        row.likelihoods.clone_from(&e.likelihoods);
        (row.nll, row.test_rows) = (e.nll.clone(), e.test_rows.clone());
        row.quality.clone_from(&e.quality);
        row.judge_sha256.clone_from(&e.judge_sha256);
        row.classes.clone_from(&e.classes);
        row.sampling.clone_from(&e.sampling);
        row.status = e.status;
        row.reason.clone_from(&e.reason);
    }
    row
}

/// A row that knows only the run.
pub(crate) fn bare_row(suite: &str, record: &RunRecord) -> Row {
    let (family, model) = record.model.split_once('/').unwrap_or(("", &record.model));
    let steps = (record.seconds.is_none() && record.examples.is_none()).then_some(record.steps);
    let diverged = record.status == run::Status::Diverged;
    Row {
        schema: 1,
        suite: suite.to_string(),
        model: model.to_string(),
        family: family.to_string(),
        dataset: record.dataset.clone(),
        seed: record.seed,
        status: if diverged { Status::Diverged } else { Status::Ok },
        reason: record.reason.clone(),
        parameters: record.parameters,
        weights: "raw".to_string(),
        budget: Budget { seconds: record.seconds, steps, examples: record.examples },
        train: record.train.clone(),
        machine: json!(record.machine),
        version: record.version.clone(),
        commit: record.commit.clone(),
        data_sha256: Some(record.data_sha256.clone()),
        recipe_sha256: Some(record.recipe_sha256.clone()),
        ..Row::default()
    }
}

/// A row of a model that could not even be trained.
pub(crate) fn failed_row(suite: &str, model: &str, data: &dyn Dataset, seed: u64, reason: String) -> Row {
    let (family, name) = model.split_once('/').unwrap_or(("", model));
    Row {
        schema: 1,
        suite: suite.to_string(),
        model: name.to_string(),
        family: family.to_string(),
        dataset: data.name().to_string(),
        seed,
        status: Status::Failed,
        reason: Some(reason),
        weights: "raw".to_string(),
        machine: json!(crate::machine::Machine::here()),
        version: env!("CARGO_PKG_VERSION").to_string(),
        commit: crate::machine::commit(),
        data_sha256: Some(data.sha256()),
        ..Row::default()
    }
}
