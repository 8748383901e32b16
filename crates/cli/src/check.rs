//! `genzoo check`: the self-test kit for the author of a model.

use genzoo_lab::check::{self, Verdict};
use serde_json::{Value, json};

use crate::args::Check;
use crate::output::Output;
use crate::zoo::{Registry, full_name};

pub(crate) fn command(args: &Check, registry: Registry, out: &Output) -> anyhow::Result<i32> {
    let entries = match &args.model {
        Some(name) => vec![registry.find(name)?],
        None => registry.all().collect(),
    };
    let mut all: Vec<Value> = Vec::new();
    let mut failed = 0;
    for entry in entries {
        let name = full_name(entry);
        let spinner = out.spinner(&name);
        let verdicts = check::run(entry, &mut |m| spinner.set_message(m.to_string()));
        spinner.finish_and_clear();
        let lines: Vec<String> = verdicts.iter().map(|v| line(&name, v)).collect();
        out.print(&lines.join("\n"))?;
        failed += verdicts.iter().filter(|v| !v.passed).count();
        all.extend(verdicts.iter().map(
            |v| json!({"model": name, "data": v.data, "law": v.law, "passed": v.passed, "detail": v.detail}),
        ));
    }
    if out.json() {
        out.print_json(&all)?;
    } else {
        out.print(&format!("{} laws hold, {failed} fail", all.len() - failed))?;
    }
    Ok(i32::from(failed > 0))
}

fn line(model: &str, v: &Verdict) -> String {
    format!("{} {model} on {}: {} ({})", if v.passed { "ok  " } else { "FAIL" }, v.data, v.law, v.detail)
}
