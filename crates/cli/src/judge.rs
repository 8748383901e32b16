//! `genzoo judge`: train and examine the classifiers whose features judge images.

use std::collections::{BTreeMap, HashMap};

use genzoo_core::checkpoint::write_tensors;
use genzoo_core::{Control, Split};
use genzoo_lab::judge::{self, Accuracy, Judge};
use serde_json::{Value, json};

use crate::args;
use crate::output::Output;
use crate::{EVAL_SEED, Opener, signals};

pub(crate) fn command(args: &args::Judge, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    match args {
        args::Judge::Train(args) => train(args, out, open),
        args::Judge::Eval(args) => eval(args, out, open),
    }
}

fn train(args: &args::JudgeTrain, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    let seat = judge::find(&args.judge)?;
    let sets = seat.sets.iter().map(|n| open.dataset(n, args.seed)).collect::<Result<Vec<_>, _>>()?;
    let steps = args.steps.unwrap_or(seat.steps);
    let bar = out.bar(steps, &format!("judge {}", seat.name));
    let guard = signals::Guard::new();
    let mut last = None;
    let start = std::time::Instant::now();
    let trained = judge::train(&sets, steps, args.seed, |report| {
        bar.set_position(report.step);
        last = report.loss.or(last);
        if report.step % 10 == 0 {
            bar.set_message(last.map_or_else(String::new, |l| format!("loss {l:.4}")));
        }
        Ok(if signals::stop_requested() { Control::Stop } else { Control::Continue })
    });
    drop(guard);
    bar.finish_and_clear();
    if signals::stop_requested() {
        out.note("stopped; nothing is written: this training is short enough to start again");
        return Ok(signals::exit_code());
    }
    let weights: BTreeMap<_, _> = trained?;
    // No metadata but the checksum: the same weights are the same file.
    write_tensors(&args.out, &weights, HashMap::new())?;
    out.note(&format!("trained in {:.0} s", start.elapsed().as_secs_f64()));
    report(&Judge::read(&args.out)?, &args.out.display().to_string(), seat, Split::Validation, out, open)
}

fn eval(args: &args::JudgeEval, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    let seat = judge::find(&args.judge)?;
    let split = if args.test { Split::Test } else { Split::Validation };
    match &args.weights {
        Some(path) => report(&Judge::read(path)?, &path.display().to_string(), seat, split, out, open),
        None => report(seat.judge()?, "the weights in this binary", seat, split, out, open),
    }
}

/// How often the judge is right on each of its data sets.
fn report(
    judge: &Judge,
    weights: &str,
    seat: &judge::Seat,
    split: Split,
    out: &Output,
    open: &Opener,
) -> anyhow::Result<i32> {
    let spinner = out.spinner("accuracy");
    let mut rows = Vec::new();
    for name in seat.sets {
        spinner.set_message((*name).to_string());
        let data = open.dataset(name, EVAL_SEED)?;
        rows.push((*name, judge.accuracy(data.as_ref(), split, u64::MAX)?));
    }
    spinner.finish_and_clear();
    let word = if split == Split::Test { "test" } else { "validation" };
    if out.json() {
        let accuracy = |(name, a): &(&str, Accuracy)| {
            let (low, high) = a.interval();
            json!({"data": name, "split": word, "accuracy": a.value(), "low": low, "high": high, "right": a.right, "n": a.n})
        };
        let all: Vec<Value> = rows.iter().map(accuracy).collect();
        out.print_json(
            &json!({"judge": seat.name, "weights": weights, "judge_sha256": judge.sha256(), "accuracy": all}),
        )?;
        return Ok(0);
    }
    let mut lines = vec![format!("judge {} ({weights})", seat.name), format!("sha256 {}", judge.sha256())];
    for (name, a) in rows {
        let (low, high) = a.interval();
        let percent = 100.0 * a.value();
        let (low, high) = (100.0 * low, 100.0 * high);
        lines.push(format!(
            "{name} {word}: {percent:.2} % right, 95 % interval {low:.2} to {high:.2}, {} of {}",
            a.right, a.n
        ));
    }
    out.print(&lines.join("\n"))?;
    Ok(0)
}
