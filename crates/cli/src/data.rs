//! `genzoo data`: list, fetch, verify, show.

use genzoo_core::Split;
use serde_json::json;

use crate::args::Data;
use crate::output::Output;
use crate::run::printable;
use crate::{EVAL_SEED, Opener};

pub(crate) fn command(args: &Data, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    match args {
        Data::List => {
            let list = crate::args::List {
                what: crate::args::Listing::Datasets,
            };
            crate::list::command(&list, crate::zoo::Registry::new(&[]), out)
        }
        Data::Fetch { dataset } => fetch(dataset, out, open),
        Data::Verify { dataset } => verify(dataset, out, open),
        Data::Show {
            dataset,
            out: file,
            n,
        } => {
            let data = open.dataset(dataset, EVAL_SEED)?;
            let batch = data.rows(Split::Test, 0..u64::from(*n))?;
            if let Some(path) = file {
                genzoo_lab::samples::write(path, &batch.x)?;
            }
            let spec = data.spec();
            let entropy = data.truth().map(genzoo_core::Truth::entropy);
            let of = |s| data.len(s);
            if out.json() {
                out.print_json(&json!({
                    "name": data.name(), "spec": spec, "sha256": data.sha256(), "entropy": entropy,
                    "rows": {"train": of(Split::Train), "validation": of(Split::Validation), "test": of(Split::Test)},
                    "out": file,
                }))?;
                return Ok(0);
            }
            let count = |s| of(s).map_or("endless".to_string(), |n| n.to_string());
            let mut text = format!(
                "{}\nshape {:?}, {}, likelihood in {}\nrows: train {}, validation {}, test {}\nsha256 {}",
                printable(data.name()),
                spec.shape,
                serde_json::to_string(&spec.space)?.replace('"', ""),
                spec.space.unit(),
                count(Split::Train),
                count(Split::Validation),
                count(Split::Test),
                data.sha256(),
            );
            if let Some(m) = entropy
                && let Some(v) = m.value
            {
                text += &format!(
                    "\nentropy {v:.4} nats{}",
                    m.stderr.map_or(String::new(), |s| format!(" ± {s:.1e}"))
                );
            }
            if let Some(path) = file {
                text += &format!("\n{}", path.display());
            }
            out.print(&text)?;
            Ok(0)
        }
    }
}

fn verify(dataset: &str, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    let reports = genzoo_lab::data::verify(dataset, open.data_dir.as_deref())?;
    let good = reports.iter().all(|r| r.problem.is_none());
    if out.json() {
        out.print_json(&reports)?;
    } else {
        let lines: Vec<String> = reports
            .iter()
            .map(|r| format!("{}  {}", r.problem.as_deref().unwrap_or("ok"), r.path.display()))
            .collect();
        out.print(&lines.join("\n"))?;
    }
    Ok(if good { 0 } else { 2 })
}

#[cfg(feature = "hub")]
fn fetch(dataset: &str, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    let spinner = out.spinner(dataset);
    let files =
        genzoo_lab::data::hub::fetch_dataset(dataset, open.data_dir.as_deref(), open.offline, &mut |m| {
            spinner.set_message(m.to_string());
        })?;
    spinner.finish_and_clear();
    if out.json() {
        out.print_json(&files)?;
    } else {
        out.print(
            &files
                .iter()
                .map(|f| format!("verified  {}", f.display()))
                .collect::<Vec<_>>()
                .join("\n"),
        )?;
    }
    Ok(0)
}

#[cfg(not(feature = "hub"))]
fn fetch(_: &str, _: &Output, _: &Opener) -> anyhow::Result<i32> {
    Err(genzoo_core::Error::Unsupported(
        "this genzoo was built without the feature 'hub'; put the files into --data-dir".into(),
    )
    .into())
}
