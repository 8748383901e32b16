//! `genzoo sample`: draws from a run into a picture or an array.

use std::time::Instant;

use genzoo_core::{Draw, Noise, Table, config};
use serde_json::json;
use toml::Value;

use crate::args::Sample;
use crate::output::Output;
use crate::run;
use crate::zoo::Registry;

pub(crate) fn command(
    args: &Sample,
    registry: Registry,
    out: &Output,
    open: &crate::Opener,
) -> anyhow::Result<i32> {
    let trained = run::load(registry, &args.run, args.weights.as_deref(), &open.device)?;
    let model = trained.model.as_ref();
    let table =
        choice(&trained.record.recipe.sample, "sampler", args.sampler.as_deref(), &args.set, "sample.");
    let (name, options) = genzoo_core::recipe::sampler_choice(&table, model.samplers())?;
    let sampler = model.sampler(name, &options)?;
    let mut noise = Noise::new(args.seed).fork("sample");
    let spinner = out.spinner(&trained.record.model);
    spinner.set_message(format!("drawing {} with {name}", args.n));
    let start = Instant::now();
    let samples = sampler.sample(&Draw::n(args.n as usize), &mut noise)?;
    let seconds = start.elapsed().as_secs_f64();
    spinner.finish_and_clear();
    genzoo_lab::samples::write(&args.out, &samples.x)?;
    if out.json() {
        out.print_json(&json!({
            "out": args.out, "n": args.n, "sampler": name, "evaluations": samples.evaluations, "seconds": seconds,
            "weights": trained.weights, "model": trained.record.model, "seed": args.seed,
        }))?;
    } else {
        out.print(&format!(
            "{} samples by {name} ({} evaluations each, {:.2} s, {} weights) in {}",
            args.n,
            samples.evaluations,
            seconds,
            trained.weights,
            args.out.display()
        ))?;
    }
    Ok(0)
}

/// The run's own choice, unless the command line names another one; `--set` keys may carry their section.
pub(crate) fn choice(own: &Table, key: &str, named: Option<&str>, sets: &[String], section: &str) -> Table {
    let mut table = own.clone();
    if let Some(name) = named
        && table.get(key).and_then(Value::as_str) != Some(name)
    {
        table = Table::from_iter([(key.to_string(), Value::String(name.to_string()))]);
    }
    for set in sets {
        if let Some((k, v)) = set.split_once('=') {
            let k = k.trim();
            table.insert(k.strip_prefix(section).unwrap_or(k).to_string(), config::parse_value(v.trim()));
        } else {
            // Left as it is: the check of the options names it.
            table.insert(set.clone(), Value::String(String::new()));
        }
    }
    table
}
