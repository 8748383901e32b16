//! `genzoo data`: list, fetch, verify, show.

use genzoo_core::Split;
use genzoo_lab::data::manifest::FileReport;
use serde_json::json;

use crate::args::Data;
use crate::output::Output;
use crate::run::printable;
use crate::{EVAL_SEED, Opener};

pub(crate) fn command(args: &Data, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    match args {
        Data::List => {
            let list = crate::args::List { what: crate::args::Listing::Datasets };
            crate::list::command(&list, crate::zoo::Registry::new(&[]), out)
        }
        Data::Fetch { dataset } => fetch(dataset, out, open),
        Data::Verify { dataset } => verify(dataset, out, open),
        Data::Show { dataset, out: file, n } => {
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
    report(&genzoo_lab::data::verify(dataset, open.data_dir.as_deref())?, out)
}

#[cfg(feature = "hub")]
fn fetch(dataset: &str, out: &Output, open: &Opener) -> anyhow::Result<i32> {
    use genzoo_lab::data::hub;
    let mut options = hub::Options::from_env();
    options.offline |= open.offline;
    let bar = out.bar(0, dataset);
    let reports = hub::fetch_dataset(dataset, open.data_dir.as_deref(), &options, &mut |p| {
        bar.set_length(p.total.unwrap_or(p.done));
        bar.set_position(p.done);
        bar.set_message(printable(p.file));
    })?;
    bar.finish_and_clear();
    report(&reports, out)
}

#[cfg(not(feature = "hub"))]
fn fetch(_: &str, _: &Output, _: &Opener) -> anyhow::Result<i32> {
    let why = "this genzoo was built without the feature 'hub'; put the files into --data-dir";
    Err(genzoo_core::Error::Unsupported(why.into()).into())
}

/// The verdict on every file; exit code 2 unless all are right.
fn report(files: &[FileReport], out: &Output) -> anyhow::Result<i32> {
    if out.json() {
        out.print_json(&files)?;
    } else {
        let line = |r: &FileReport| match &r.problem {
            None => format!("verified  {}", printable(&r.path.display().to_string())),
            Some(problem) => format!("bad       {}: {problem}", printable(&r.path.display().to_string())),
        };
        out.print(&files.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(if files.iter().all(|r| r.problem.is_none()) { 0 } else { 2 })
}
