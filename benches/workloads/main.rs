//! `genzoo-workloads NAME [--threads N]` builds one workload and runs it as the standard input says.
//!
//! ```text
//! first output line    {"workload", "parameters", "threads", "instructions", "version"}
//! each input line      a number of steps
//! each output line     {"ms": [per step], "value": mean of the last step's result}
//! ```
//! It waits for each line, so that a driver can run two programs in turn; it ends with its input.
//! `genzoo-workloads --list` prints `{"workload", "about"}` for each.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use candle_core::DType;
use genzoo_benches::{Built, WORKLOADS, find};
use genzoo_core::{Error, Result};
use genzoo_kernels::runtime;
use serde_json::{Value, json};

#[global_allocator]
static GLOBAL: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match serve(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("genzoo-workloads: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[&str]) -> Result<()> {
    let (name, threads) = match arguments {
        ["--list"] => {
            return WORKLOADS.iter().try_for_each(|w| say(&json!({ "workload": w.name, "about": w.about })));
        }
        [name] => (*name, None),
        [name, "--threads", n] => {
            let count = n.parse::<usize>().ok().filter(|&n| n > 0);
            (*name, Some(count.ok_or_else(|| Error::config("--threads", "a whole number above 0", n))?))
        }
        other => return Err(Error::config("arguments", "NAME [--threads N] or --list", other.join(" "))),
    };
    let runtime = runtime::configure(threads);
    let workload = find(name)?;
    let mut built = runtime::run(workload.build)??;
    say(&json!({
        "workload": name,
        "parameters": built.parameters,
        "threads": runtime.threads,
        "instructions": runtime.instructions,
        "version": env!("CARGO_PKG_VERSION"),
    }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::io("read", "the standard input"))?;
        let steps = line.trim().parse::<usize>().ok().filter(|&n| n > 0);
        let steps = steps.ok_or_else(|| Error::config("steps", "a whole number above 0", &line))?;
        say(&runtime::run(|| time(&mut built, steps))??)?;
    }
    Ok(())
}

fn time(built: &mut Built, steps: usize) -> Result<Value> {
    let mut ms = Vec::with_capacity(steps);
    let mut last = None;
    for _ in 0..steps {
        let start = Instant::now();
        last = Some((built.step)()?);
        ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let value = match last {
        Some(t) => t.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?,
        None => f64::NAN,
    };
    Ok(json!({ "ms": ms, "value": value }))
}

/// One line, at once: the driver waits for it.
fn say(value: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).map_err(Error::io("write", "the standard output"))
}
