//! Fetching a data set: names from the Hugging Face hub, bytes through a bounded reader, trust from the manifest.
//!
//! ```text
//! resolve   hf-hub: revision → commit, listing          a thread with a deadline
//! transfer  ureq: the file at that commit               connect, stall and total limits, size cap, the hub's sha256
//! decode    parquet → PNG → pixels and labels           sizes checked before anything is decoded
//! accept    sha256 of the pixels and labels as idx      must be the manifest's: no server can cheat here
//! keep      temporary file → sync → rename → sync       only now does anything get its name
//! ```
//!
//! No name, tag or commit that a server sends becomes part of a path. Offline, no socket is opened.

mod decode;
mod keep;
mod resolve;
mod transfer;

use std::path::Path;
use std::time::Duration;

use genzoo_core::{Error, Result};

use super::idx;
use super::manifest::{FileReport, HubSource, Manifest, Mirror, Role};

/// Where to fetch from and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// Never open a socket.
    pub offline: bool,
    /// Address of the hub.
    pub endpoint: String,
    /// Longest time to open a connection.
    pub connect: Duration,
    /// Longest silence of a server.
    pub stall: Duration,
    /// Longest time for one file.
    pub total: Duration,
    /// How often a request is tried when the server is busy or the connection breaks.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each further one.
    pub backoff: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            offline: false,
            endpoint: "https://huggingface.co".into(),
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            total: Duration::from_secs(900),
            attempts: 4,
            backoff: Duration::from_millis(500),
        }
    }
}

impl Options {
    /// The defaults, changed by the environment variables `HF_HUB_OFFLINE` and `HF_ENDPOINT`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The defaults, changed by `HF_HUB_OFFLINE` (1, true, yes or on) and `HF_ENDPOINT` as `variable` gives them.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut options = Self::default();
        if let Some(v) = variable("HF_HUB_OFFLINE") {
            options.offline = matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
        }
        if let Some(v) = variable("HF_ENDPOINT").filter(|v| !v.is_empty()) {
            options.endpoint = v.trim_end_matches('/').to_string();
        }
        options
    }
}

/// How far a file has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Which file.
    pub file: &'a str,
    /// Bytes received.
    pub done: u64,
    /// Bytes in all, where the server said.
    pub total: Option<u64>,
}

/// Fetches the data set `name` to where it is sought with this `data_dir`.
///
/// # Errors
/// If there is no manifest of this name, and as [`fetch`].
pub fn fetch_dataset(
    name: &str,
    data_dir: Option<&Path>,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<FileReport>> {
    let manifest = Manifest::named(name)?;
    let dir = manifest.locate(data_dir).unwrap_or_else(|_| manifest.fetch_dir(data_dir));
    fetch(&manifest, &dir, options, progress)
}

/// Fetches what is missing of a data set into `dir` and reports on all its files.
///
/// The hub is asked first, the mirror after it. Files that are already there and right are left alone and no
/// server is asked; a wrong file is replaced once a right one has arrived.
///
/// # Errors
/// [`Error::Network`] if no source delivers, [`Error::File`] if what came is not what the manifest says (nothing
/// is kept then), [`Error::Io`] if the file system refuses, [`Error::Unsupported`] offline or without a source.
pub fn fetch(
    manifest: &Manifest,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<FileReport>> {
    let reports = manifest.verify(dir);
    let wanting: Vec<_> = reports.iter().filter(|r| r.problem.is_some()).map(|r| r.name.clone()).collect();
    if wanting.is_empty() {
        return Ok(reports);
    }
    if options.offline {
        return Err(Error::Unsupported(format!(
            "{} is not complete in {} (wanting {}), and fetching is forbidden by --offline or HF_HUB_OFFLINE; \
             copy the files there or point --data-dir at them",
            manifest.name,
            dir.display(),
            wanting.join(", ")
        )));
    }
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let mut failures = Vec::new();
    if let Some(hub) = &manifest.hub {
        match from_hub(manifest, hub, dir, options, progress) {
            Ok(()) => return complete(manifest, dir),
            Err(e) => failures.push(e),
        }
    }
    // A full disk or a forbidden folder is not cured by another server.
    let hopeless = matches!(failures.last(), Some(Error::Io { .. }));
    if let (Some(mirror), false) = (&manifest.mirror, hopeless) {
        match from_mirror(manifest, mirror, dir, options, progress) {
            Ok(()) => return complete(manifest, dir),
            Err(e) => failures.push(e),
        }
    }
    match (failures.pop(), failures.pop()) {
        (Some(mirror), Some(hub)) => Err(Error::Network {
            url: format!("{} from the hub and its mirror", manifest.name),
            problem: format!("{hub}; {mirror}"),
        }),
        (Some(only), None) => Err(only),
        _ => Err(Error::Unsupported(format!(
            "{} names no server; copy its files to {}",
            manifest.name,
            dir.display()
        ))),
    }
}

/// The reports after a fetch. A wrong plain file hides a right gzipped one; it is the user's, so it stays.
fn complete(manifest: &Manifest, dir: &Path) -> Result<Vec<FileReport>> {
    let reports = manifest.verify(dir);
    match reports.iter().find_map(|r| r.problem.as_ref().map(|p| (&r.path, p))) {
        Some((path, problem)) => Err(Error::file(path, format!("{problem}; remove it and fetch again"))),
        None => Ok(reports),
    }
}

/// The files of a folder, checked against the manifest and read by candle-datasets' own loader.
///
/// That loader trusts headers, so it is only let near files whose every byte is known, and needs them plain.
///
/// # Errors
/// As [`Manifest::read`], or if a file is there only gzipped.
pub fn candle_dataset(manifest: &Manifest, dir: &Path) -> Result<candle_datasets::vision::Dataset> {
    for file in &manifest.files {
        let path = dir.join(&file.name);
        file.check(&idx::read(&path, &manifest.expected(file))?, &path)?;
    }
    Ok(candle_datasets::vision::mnist::load_dir(dir)?)
}

fn from_hub(
    manifest: &Manifest,
    hub: &HubSource,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let commit = resolve::resolve(hub, options)?;
    let halves =
        [(&hub.train, Role::TrainImages, Role::TrainLabels), (&hub.test, Role::TestImages, Role::TestLabels)];
    let mut accepted = Vec::new();
    for (path, images, labels) in halves {
        let url = format!("{}/datasets/{}/resolve/{commit}/{path}", options.endpoint, hub.repo);
        let mut expect = resolve::expectation(&url, options)?;
        expect.max = hub.max_bytes;
        let parquet = transfer::download(&url, &expect, dir, options, &mut |done, total| {
            progress(Progress { file: path, done, total });
        })?;
        let (image_file, label_file) = (manifest.file(images)?, manifest.file(labels)?);
        let want = decode::Want {
            rows: image_file.rows,
            height: manifest.shape[1],
            width: manifest.shape[2],
            classes: manifest.classes,
        };
        let (pixels, classes) =
            decode::parquet(parquet.reopen().map_err(Error::io("read", parquet.path()))?, &url, &want)?;
        for (file, data) in [(image_file, pixels), (label_file, classes)] {
            let mut dims = vec![file.rows];
            dims.extend(manifest.expected(file).event);
            let header = idx::header(&dims)?;
            keep::check(&url, file, &header, &data)?;
            accepted.push((file.name.clone(), header, data));
        }
    }
    for (name, header, data) in &accepted {
        keep::write(dir, name, &[header, data])?;
    }
    Ok(())
}

fn from_mirror(
    manifest: &Manifest,
    mirror: &Mirror,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let mut accepted = Vec::new();
    for file in &manifest.files {
        let name = format!("{}.gz", file.name);
        let url = format!("{}{name}", mirror.base);
        // Where the contents have a hash the wrapping is free, but gzip adds at most a few bytes to them.
        let expect = match (&file.sha256, &file.gz) {
            (None, Some(gz)) => {
                transfer::Expect { max: gz.bytes, bytes: Some(gz.bytes), sha256: Some(gz.sha256.clone()) }
            }
            _ => transfer::Expect { max: file.bytes + 1024, bytes: None, sha256: None },
        };
        let packed = transfer::download(&url, &expect, dir, options, &mut |done, total| {
            progress(Progress { file: &name, done, total });
        })?;
        let reader = packed.reopen().map_err(Error::io("read", packed.path()))?;
        let found = idx::read_from(reader, Path::new(&url), &manifest.expected(file))?;
        file.check(&found, Path::new(&url))?;
        accepted.push((name, packed));
    }
    for (name, packed) in accepted {
        keep::persist(dir, &name, packed)?;
    }
    Ok(())
}
