//! `genzoo bench STUDY`: one question, answered on a page of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use genzoo_core::checkpoint::write_atomic;
use genzoo_core::study::{Desk, Effort, Memory, Study};
use genzoo_core::{Error, Noise};
use genzoo_lab::study::{FILE, Record};
use indicatif::ProgressBar;
use serde_json::Value;

use crate::args::Bench;
use crate::output::Output;
use crate::{EVAL_SEED, Opener};

/// Every study, family by family.
pub(crate) fn studies() -> impl Iterator<Item = &'static Study> {
    genzoo_ebm::STUDIES.iter()
}

/// The study of this name.
pub(crate) fn find(name: &str) -> Option<&'static Study> {
    studies().find(|s| s.name == name)
}

/// Answers `study` and keeps the answer in `folder`, which the caller holds locked. A finished study is run again
/// under `--resume`: its parts are found, so that costs little.
pub(crate) fn run(
    study: &'static Study,
    folder: &Path,
    args: &Bench,
    out: &Output,
    open: &Opener,
) -> anyhow::Result<Record> {
    if folder.join(FILE).exists() && !args.resume {
        let problem =
            "this folder already holds a study; add --resume to go on with it, or choose another --out";
        return Err(Error::file(folder, problem).into());
    }
    let effort = args.budget;
    let start = Instant::now();
    let mut shelf = Shelf::new(folder, study.name, effort, out)?;
    let noise = Noise::new(EVAL_SEED).fork(study.name);
    let page = (study.run)(&mut Desk::new(effort, open.device.clone(), noise, &mut shelf))?;
    shelf.bar.finish_and_clear();
    let budget = if effort == Effort::Small { " --budget small" } else { "" };
    let record = Record {
        schema: 1,
        study: study.name.into(),
        summary: study.summary.into(),
        citation: study.citation.into(),
        budget: effort,
        seconds: start.elapsed().as_secs_f64(),
        command: format!("genzoo bench {}{budget}", study.name),
        version: format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("GENZOO_COMMIT")),
        page,
    };
    record.write(folder)?;
    Ok(record)
}

/// Finished parts as files of a folder, one folder per budget.
struct Shelf {
    folder: PathBuf,
    bar: ProgressBar,
}

impl Shelf {
    fn new(folder: &Path, name: &str, effort: Effort, out: &Output) -> anyhow::Result<Self> {
        let folder = folder.join("parts").join(if effort == Effort::Small { "small" } else { "full" });
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        Ok(Self { folder, bar: out.spinner(name) })
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.join(format!("{}.json", genzoo_lab::row::folder_name(part)))
    }
}

impl Memory for Shelf {
    fn recall(&mut self, part: &str) -> genzoo_core::Result<Option<Value>> {
        let path = self.path(part);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        // What cannot be understood is computed again. The name guards against two parts in one file.
        let kept: Option<(String, Value)> = serde_json::from_slice(&text).ok();
        Ok(kept.filter(|(name, _)| name == part).map(|(_, value)| value))
    }

    fn keep(&mut self, part: &str, value: &Value) -> genzoo_core::Result<()> {
        let path = self.path(part);
        let text = serde_json::to_vec(&(part, value)).map_err(|e| Error::file(&path, e.to_string()))?;
        write_atomic(&path, &text)
    }

    fn begin(&mut self, part: &str) {
        self.bar.set_message(part.to_string());
    }
}
