//! A run folder: `run.json`, `log.jsonl`, `checkpoints/`, `model.safetensors`, and one lock.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use genzoo_core::checkpoint::{self, Checkpoint, read_tensors, write_atomic, write_tensors};
use genzoo_core::{Build, DataSpec, Device, Entry, Error, Model, NoZoo, Noise, Recipe, Result, StepReport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::machine::Machine;
use crate::zoo::{Registry, full_name};

/// What `run.json` records. Written before the first step and whenever the status changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) schema: u32,
    pub(crate) version: String,
    pub(crate) commit: Option<String>,
    pub(crate) status: Status,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// `flow/realnvp`.
    pub(crate) model: String,
    /// Canonical name of the data set.
    pub(crate) dataset: String,
    pub(crate) data_sha256: String,
    pub(crate) data: DataSpec,
    pub(crate) seed: u64,
    /// The length of the run, fixed once.
    pub(crate) steps: u64,
    /// The seconds the steps were derived from, if they were.
    pub(crate) seconds: Option<f64>,
    /// The examples the steps were derived from, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) examples: Option<u64>,
    pub(crate) recipe: Recipe,
    pub(crate) recipe_sha256: String,
    pub(crate) parameters: Option<u64>,
    pub(crate) machine: Machine,
    /// What training took; there once it ended.
    #[serde(default)]
    pub(crate) train: Option<genzoo_lab::row::TrainStats>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Training,
    Finished,
    Diverged,
}

impl RunRecord {
    /// What must agree for a run to be continued, as key and value.
    pub(crate) fn identity(&self) -> Vec<(&'static str, String)> {
        let mut recipe = self.recipe.clone();
        for free in ["steps", "seconds", "checkpoint_every"] {
            recipe.train.remove(free);
        }
        vec![
            ("model", self.model.clone()),
            ("--data", self.dataset.clone()),
            ("data sha256", self.data_sha256.clone()),
            ("--seed", self.seed.to_string()),
            ("recipe", serde_json::to_string(&recipe).unwrap_or_default()),
        ]
    }

    /// The command that trains this run again.
    pub(crate) fn command(&self, entry: &Entry, folder: &Path) -> String {
        let mut text = format!(
            "genzoo train {} --data '{}' --seed {} --steps {}",
            self.model, self.dataset, self.seed, self.steps
        );
        let usual = crate::zoo::recipe(entry, &self.data, &self.dataset, None, &[]);
        let same = usual.is_ok_and(|usual| {
            let strip = |r: &Recipe| {
                let mut r = r.clone();
                for free in ["steps", "seconds"] {
                    r.train.remove(free);
                }
                r
            };
            strip(&usual) == strip(&self.recipe)
        });
        if !same {
            text += &format!(" --recipe '{}'", folder.join("recipe.toml").display());
        }
        text
    }

    /// sha256 of the identity.
    pub(crate) fn identity_sha256(&self) -> String {
        let all: String = self.identity().iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        checkpoint::sha256(all.as_bytes())
    }
}

/// A folder of one run, held open under its lock.
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Creates the folder, or takes over an existing one if `resume`. Fails if another process holds it.
    pub(crate) fn open(path: &Path, resume: bool) -> Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "expected a folder, found a file; choose another --out"));
        }
        fs::create_dir_all(path.join("checkpoints")).map_err(Error::io("create", path))?;
        let lock = lock(path)?;
        if !resume && path.join("run.json").exists() {
            return Err(Error::file(
                path,
                "this folder already holds a run; add --resume to go on with it, or choose another --out",
            ));
        }
        let strangers = fs::read_dir(path).map_err(Error::io("list", path))?.flatten();
        let known =
            ["checkpoints", "lock", "run.json", "log.jsonl", "samples", "eval", "eval.json", "recipe.toml"];
        for entry in strangers {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours =
                known.contains(&name.as_str()) || name.starts_with("model") || name.starts_with(".genzoo-");
            if !ours && !path.join("run.json").exists() {
                return Err(Error::file(
                    path,
                    format!(
                        "expected an empty folder or a run, found '{}'; choose another --out",
                        printable(&name)
                    ),
                ));
            }
            // A dead process may have left one unfinished file behind; under the lock nobody is writing it.
            if name.starts_with(".genzoo-") && name.ends_with(".tmp") {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        for entry in fs::read_dir(path.join("checkpoints")).map_err(Error::io("list", path))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".genzoo-") && name.ends_with(".tmp") {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The record of an earlier start, if there was one.
    pub(crate) fn record(&self) -> Result<Option<RunRecord>> {
        if self.path.join("run.json").exists() { read_record(&self.path).map(Some) } else { Ok(None) }
    }

    pub(crate) fn write_record(&self, record: &RunRecord) -> Result<()> {
        let path = self.path.join("run.json");
        let text = serde_json::to_string_pretty(record).map_err(|e| Error::file(&path, e.to_string()))?;
        write_atomic(&path, (text + "\n").as_bytes())?;
        write_atomic(&self.path.join("recipe.toml"), record.recipe.to_toml()?.as_bytes())
    }

    /// The log, cut back to the lines of the first `step` steps, ready to append.
    pub(crate) fn log(&self, step: u64) -> Result<Log> {
        let path = self.path.join("log.jsonl");
        let mut kept = String::new();
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            for line in text.lines() {
                let of = serde_json::from_str::<Value>(line).ok().and_then(|v| v.get("step")?.as_u64());
                if of.is_some_and(|s| s <= step) {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
            if kept == text {
                let file = OpenOptions::new().append(true).open(&path).map_err(Error::io("open", &path))?;
                return Ok(Log { file, path });
            }
        }
        write_atomic(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Log { file, path })
    }

    /// Exports weights and state for use elsewhere: plain names, and metadata that says what they are.
    pub(crate) fn export(
        &self,
        name: &str,
        weights: BTreeMap<String, genzoo_core::Tensor>,
        state: genzoo_core::StateDict,
        record: &RunRecord,
    ) -> Result<()> {
        let path = self.path.join(name);
        let mut tensors = weights;
        tensors.extend(state.into_iter().map(|(n, t)| (format!("state/{n}"), t)));
        let text = |v: Value| v.to_string();
        let metadata = HashMap::from([
            ("format".to_string(), "genzoo-model-1".to_string()),
            ("model".to_string(), record.model.clone()),
            ("config".to_string(), text(json!(record.recipe.model))),
            ("data".to_string(), text(json!(record.data))),
        ]);
        write_tensors(&path, &tensors, metadata)
    }
}

/// The log of a run: one JSON line per logged step.
pub(crate) struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    pub(crate) fn step(&mut self, report: &StepReport, seconds: f64) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), json!(report.step));
        line.insert("loss".into(), json!(report.loss));
        line.insert("grad_norm".into(), json!(report.grad_norm));
        line.insert("lr".into(), json!(report.lr));
        for (name, value) in &report.log {
            // A model's own "step" must not pass for the trainer's: resumption reads it.
            let taken = line.contains_key(*name) || *name == "seconds";
            line.insert(if taken { format!("model_{name}") } else { (*name).to_string() }, json!(value));
        }
        line.insert("seconds".into(), json!((seconds * 1e6).round() / 1e6));
        let text = Value::Object(line).to_string() + "\n";
        self.file.write_all(text.as_bytes()).map_err(Error::io("append to", &self.path))
    }
}

/// Takes the lock of a folder, or says who holds it.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open the lock", &path))?;
    match file.try_lock() {
        Ok(()) => {
            let me = format!("process {} on {}\n", std::process::id(), crate::machine::hostname());
            file.set_len(0)
                .and_then(|()| file.write_all(me.as_bytes()))
                .map_err(Error::io("write the lock", &path))?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder's line is a courtesy: without it the message still stands.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown holder" } else { holder };
            Err(Error::Locked { path: folder.to_path_buf(), holder: printable(holder) })
        }
        Err(fs::TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
    }
}

/// Reads `run.json` of a folder.
pub(crate) fn read_record(folder: &Path) -> Result<RunRecord> {
    let path = folder.join("run.json");
    let text = fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::file(folder, "expected a run folder, found no run.json in it"),
        _ => Error::io("read", &path)(e),
    })?;
    let raw: Value = serde_json::from_str(&text)
        .map_err(|e| Error::file(&path, format!("expected the JSON of a run: {e}")))?;
    match raw.get("schema").and_then(Value::as_u64) {
        Some(1) => {}
        Some(s) => {
            return Err(Error::file(
                &path,
                format!("expected schema 1, found {s}; use the version that wrote it"),
            ));
        }
        None => {
            return Err(Error::file(&path, "expected the JSON of a run, found no schema number"));
        }
    }
    serde_json::from_value(raw).map_err(|e| Error::file(&path, format!("expected the JSON of a run: {e}")))
}

/// A trained model, taken from its run folder.
pub(crate) struct Trained {
    pub(crate) model: Box<dyn Model>,
    pub(crate) record: RunRecord,
    pub(crate) folder: PathBuf,
    /// `raw` or `ema`.
    pub(crate) weights: &'static str,
}

/// Loads RUN: a run folder or one of its checkpoints. `weights` is `raw`, `ema` or the better kept one.
pub(crate) fn load(
    registry: Registry,
    run: &Path,
    weights: Option<&str>,
    device: &Device,
) -> Result<Trained> {
    if run.to_str().is_some_and(|s| s.starts_with("hf://")) {
        return Err(Error::Unsupported(
            "foreign weights from the hub cannot be loaded yet: give a run folder".into(),
        ));
    }
    if !run.exists() {
        return Err(Error::file(run, "expected a run folder or a checkpoint, found nothing there"));
    }
    let (folder, file) = if run.is_dir() {
        (run.to_path_buf(), None)
    } else {
        let up = run.ancestors().skip(1).take(2).find(|p| p.join("run.json").exists());
        let folder = up.ok_or_else(|| {
            Error::file(
                run,
                "expected a checkpoint inside a run folder, found no run.json beside or above it",
            )
        })?;
        (folder.to_path_buf(), Some(run.to_path_buf()))
    };
    let record = read_record(&folder)?;
    let entry = registry.find(&record.model)?;
    let mut model = build(entry, &record.recipe, &record.data, record.seed, device)?;
    let want = match weights {
        None | Some("ema" | "raw") => weights,
        Some(other) => return Err(Error::config("--weights", "raw or ema", other)),
    };
    let exported = |n: &str| folder.join(n).exists();
    let (params, state, which) = match file {
        Some(path) if path.parent().is_some_and(|p| p.ends_with("checkpoints")) => {
            from_checkpoint(&Checkpoint::load(&path, device)?, want, &path)?
        }
        Some(path) => {
            from_export(&path, if path.ends_with("model_ema.safetensors") { "ema" } else { "raw" }, device)?
        }
        None if want != Some("raw") && exported("model_ema.safetensors") => {
            from_export(&folder.join("model_ema.safetensors"), "ema", device)?
        }
        None if want != Some("ema") && exported("model.safetensors") => {
            from_export(&folder.join("model.safetensors"), "raw", device)?
        }
        None => {
            let (latest, broken) = Checkpoint::latest(&folder.join("checkpoints"), device)?;
            match latest {
                Some(c) => from_checkpoint(&c, want, &folder)?,
                None => {
                    return Err(broken
                        .into_iter()
                        .next()
                        .unwrap_or_else(|| Error::file(&folder, "this run has no checkpoint yet")));
                }
            }
        }
    };
    model.params().load(&params).map_err(|e| Error::file(&folder, e.to_string()))?;
    model.set_state(state)?;
    Ok(Trained { model, record, folder, weights: which })
}

type Weights = (BTreeMap<String, genzoo_core::Tensor>, genzoo_core::StateDict, &'static str);

fn from_checkpoint(c: &Checkpoint, want: Option<&str>, path: &Path) -> Result<Weights> {
    let ema = c.section("ema");
    match (want, ema.is_empty()) {
        (Some("ema"), true) => {
            Err(Error::file(path, "expected averaged weights, found none; train with train.ema > 0"))
        }
        (None | Some("ema"), false) => Ok((ema, c.section("state"), "ema")),
        _ => Ok((c.section("param"), c.section("state"), "raw")),
    }
}

fn from_export(path: &Path, which: &'static str, device: &Device) -> Result<Weights> {
    let (all, _) = read_tensors(path, device)?;
    let (mut params, mut state) = (BTreeMap::new(), BTreeMap::new());
    for (name, t) in all {
        match name.strip_prefix("state/") {
            Some(n) => state.insert(n.to_string(), t),
            None => params.insert(name, t),
        };
    }
    Ok((params, state, which))
}

/// Builds a fresh model; its initial values are a function of the seed.
pub(crate) fn build(
    entry: &Entry,
    recipe: &Recipe,
    spec: &DataSpec,
    seed: u64,
    device: &Device,
) -> Result<Box<dyn Model>> {
    let noise = Noise::new(seed).fork("init");
    (entry.build)(&recipe.model, Build { spec, device, zoo: &NoZoo, noise })
}

/// What tells one resolved recipe from another.
pub(crate) fn recipe_sha256(recipe: &Recipe) -> Result<String> {
    Ok(checkpoint::sha256(recipe.to_toml()?.as_bytes()))
}

/// A fresh record of a run about to start.
pub(crate) fn new_record(
    entry: &Entry,
    data: &dyn genzoo_core::Dataset,
    seed: u64,
    steps: u64,
    seconds: Option<f64>,
    recipe: Recipe,
) -> Result<RunRecord> {
    Ok(RunRecord {
        schema: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        commit: crate::machine::commit(),
        status: Status::Training,
        reason: None,
        model: full_name(entry),
        dataset: data.name().to_string(),
        data_sha256: data.sha256(),
        data: data.spec().clone(),
        seed,
        steps,
        seconds,
        examples: None,
        recipe_sha256: recipe_sha256(&recipe)?,
        recipe,
        parameters: None,
        machine: Machine::here(),
        train: None,
    })
}

/// Text from a user or a file, with control characters escaped for a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) {
                c.escape_debug().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn terminals_see_no_control_characters() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }
}
