//! `genzoo eval RUN --ood DATASET`: does the model find other data less likely than its own?

use genzoo_core::Dataset;
use genzoo_core::checkpoint::write_atomic;
use genzoo_lab::ood::{MARGINALS, Report, UNIFORM, detect};
use serde_json::json;

use crate::EVAL_SEED;
use crate::args::Eval;
use crate::output::Output;
use crate::run::Trained;

pub(crate) fn command(
    args: &Eval,
    trained: &Trained,
    own: &dyn Dataset,
    out: &Output,
    open: &crate::Opener,
) -> anyhow::Result<i32> {
    let others = others(&args.ood, open)?;
    let others: Vec<&dyn Dataset> = others.iter().map(AsRef::as_ref).collect();
    let n = args.n_likelihood.unwrap_or(2000) as usize;
    let spinner = out.spinner(&trained.record.model);
    let say = &mut |m: &str| spinner.set_message(m.to_string());
    let report = detect(trained.model.as_ref(), own, &others, n, EVAL_SEED, say)?;
    spinner.finish_and_clear();
    let whole = json!({
        "model": trained.record.model, "dataset": own.name(), "weights": trained.weights,
        "score": report.score, "detections": report.detections,
    });
    let path = trained.folder.join("ood.json");
    write_atomic(&path, (serde_json::to_string_pretty(&whole)? + "\n").as_bytes())?;
    if out.json() {
        out.print_json(&whole)?
    } else {
        out.print(&table(own.name(), &report))?
    }
    Ok(0)
}

/// The data sets of `--ood`, opened.
pub(crate) fn others(names: &[String], open: &crate::Opener) -> genzoo_core::Result<Vec<Box<dyn Dataset>>> {
    let named = names.iter().filter(|name| ![UNIFORM, MARGINALS].contains(&name.as_str()));
    named.map(|name| open.dataset(name, EVAL_SEED)).collect()
}

fn table(own: &str, report: &Report) -> String {
    let width = report.detections.iter().map(|d| d.dataset.chars().count()).max().unwrap_or(0);
    let mut lines = vec![format!("{own} against other data, by {}", report.score)];
    for d in &report.detections {
        let (value, error) = (d.auroc.value, d.auroc.stderr);
        let rows = format!("{} and {} rows", d.n_in, d.n_out);
        lines.push(format!("{:width$}  AUROC {value:.4} ± {error:.4}  {rows}", d.dataset));
    }
    lines.push("1 tells them apart always, 0.5 is chance, below 0.5 the others look likelier".into());
    lines.join("\n")
}
