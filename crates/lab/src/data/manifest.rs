//! Manifests: which files a data set consists of, and the only bytes they may hold.
//!
//! `datasets/<name>/manifest.toml` is embedded in the binary. A file counts as the data set's if the sha256 of its
//! uncompressed contents is the manifest's; where only the hash of the gzipped file is published, that one decides.

use std::path::{Path, PathBuf};

use genzoo_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::idx::{self, Expected, Idx};

/// A data set of images with labels in four idx files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name on the command line.
    pub name: String,
    /// A line for people.
    pub title: String,
    /// Who made it, and where it is described.
    pub source: String,
    /// The terms of its use.
    pub licence: String,
    /// Channels, height and width of one image; one channel.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// How many of the training rows are set aside for validation.
    pub validation: usize,
    /// The four files.
    #[serde(rename = "file")]
    pub files: Vec<ManifestFile>,
    /// The parquet conversion on the Hugging Face hub.
    pub hub: Option<HubSource>,
    /// A server with the gzipped files.
    pub mirror: Option<Mirror>,
    /// The fixed binarisation of Larochelle and Murray.
    pub larochelle: Option<Larochelle>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Images of the training split (validation included).
    TrainImages,
    /// Their classes.
    TrainLabels,
    /// Images of the test split.
    TestImages,
    /// Their classes.
    TestLabels,
}

impl Role {
    /// All four, in the order of every list of files here.
    pub const ALL: [Role; 4] = [Role::TrainImages, Role::TrainLabels, Role::TestImages, Role::TestLabels];

    /// Whether rows are images, not labels.
    pub fn is_images(self) -> bool {
        matches!(self, Role::TrainImages | Role::TestImages)
    }
}

/// One idx file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// What it holds.
    pub role: Role,
    /// Its name without `.gz`.
    pub name: String,
    /// Number of rows.
    pub rows: usize,
    /// Size of the uncompressed file.
    pub bytes: u64,
    /// sha256 of the uncompressed file, where known.
    pub sha256: Option<String>,
    /// A published gzipped form.
    pub gz: Option<Packed>,
}

/// A published gzipped form of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// Its size.
    pub bytes: u64,
    /// Its sha256.
    pub sha256: String,
}

/// A parquet conversion on the Hugging Face hub.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name` of the data set repository.
    pub repo: String,
    /// Branch, reference or commit.
    pub revision: String,
    /// Path of the training rows in the repository.
    pub train: String,
    /// Path of the test rows.
    pub test: String,
    /// The most bytes one parquet file may have.
    pub max_bytes: u64,
}

/// A server with the gzipped files under their usual names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The address up to and including the last slash.
    pub base: String,
}

/// The three text files of the fixed binarisation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Larochelle {
    /// Who made it, and where it is described.
    pub source: String,
    /// Training rows.
    pub train: AmatFile,
    /// Validation rows.
    pub validation: AmatFile,
    /// Test rows.
    pub test: AmatFile,
}

/// One text file of zeros and ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmatFile {
    /// Its name.
    pub name: String,
    /// Number of rows.
    pub rows: usize,
    /// Its size.
    pub bytes: u64,
    /// Its sha256.
    pub sha256: String,
}

/// What was found out about one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its name in the manifest.
    pub name: String,
    /// Where it lies, or would.
    pub path: PathBuf,
    /// sha256 of its uncompressed contents, if they are the manifest's.
    pub sha256: Option<String>,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<String>,
}

const EMBEDDED: [(&str, &str); 2] = [
    ("mnist", include_str!("../../../../datasets/mnist/manifest.toml")),
    ("fashion-mnist", include_str!("../../../../datasets/fashion-mnist/manifest.toml")),
];

/// The names of all embedded manifests.
pub fn names() -> impl Iterator<Item = &'static str> {
    EMBEDDED.iter().map(|(name, _)| *name)
}

/// Checks every file of a data set; `data_dir` as in [`Manifest::locate`].
///
/// # Errors
/// If there is no manifest of this name. Whatever is wrong with a file is in its report.
pub fn verify(name: &str, data_dir: Option<&Path>) -> Result<Vec<FileReport>> {
    let manifest = Manifest::named(name)?;
    Ok(manifest.verify(&manifest.folder(data_dir)))
}

impl Manifest {
    /// The embedded manifest of a data set; parameters after the name are ignored, the files are the same.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is none.
    pub fn named(name: &str) -> Result<Self> {
        let name = name.split(['{', '@']).next().unwrap_or(name).trim();
        let Some((_, text)) = EMBEDDED.iter().find(|(n, _)| *n == name) else {
            return Err(Error::unknown("data set with files", name, names()));
        };
        Self::parse(text, &format!("datasets/{name}/manifest.toml"))
    }

    /// A manifest from its text; `origin` is what errors name.
    ///
    /// # Errors
    /// [`Error::File`] if the text is not TOML, lacks a key, or contradicts itself.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| Error::file(origin, e.to_string()))?;
        match manifest.contradiction() {
            Some(problem) => Err(Error::file(origin, problem)),
            None => Ok(manifest),
        }
    }

    /// The file with this role.
    ///
    /// # Errors
    /// If the manifest lacks it, which [`Manifest::parse`] refuses.
    pub fn file(&self, role: Role) -> Result<&ManifestFile> {
        let missing =
            || Error::data(format!("manifest of {}", self.name), format!("a file of role {role:?}"), "none");
        self.files.iter().find(|f| f.role == role).ok_or_else(missing)
    }

    /// The folders that are searched, in order: `<data_dir>/<name>`, `<data_dir>`, `datasets/<name>/raw`.
    pub fn search_path(&self, data_dir: Option<&Path>) -> Vec<PathBuf> {
        let mut out = Vec::new();
        if let Some(d) = data_dir {
            out.extend([d.join(&self.name), d.to_path_buf()]);
        }
        out.push(Path::new("datasets").join(&self.name).join("raw"));
        out
    }

    /// Where fetched files belong.
    pub fn fetch_dir(&self, data_dir: Option<&Path>) -> PathBuf {
        match data_dir {
            Some(d) => d.join(&self.name),
            None => Path::new("datasets").join(&self.name).join("raw"),
        }
    }

    /// The first folder of the search path with all four files; failing that the first with any; failing that
    /// the one where fetched files belong.
    pub fn folder(&self, data_dir: Option<&Path>) -> PathBuf {
        let present = |d: &PathBuf| self.files.iter().filter(|f| f.find(d).is_some()).count();
        let dirs = self.search_path(data_dir);
        let all = dirs.iter().find(|d| present(d) == self.files.len());
        all.or_else(|| dirs.iter().find(|d| present(d) > 0))
            .cloned()
            .unwrap_or_else(|| self.fetch_dir(data_dir))
    }

    /// The first folder of the search path that holds all four files, plain or gzipped.
    ///
    /// # Errors
    /// [`Error::File`] that says which files are missing, where they were sought, and what to do.
    pub fn locate(&self, data_dir: Option<&Path>) -> Result<PathBuf> {
        let dir = self.folder(data_dir);
        let missing: Vec<_> =
            self.files.iter().filter(|f| f.find(&dir).is_none()).map(|f| f.name.as_str()).collect();
        if missing.is_empty() {
            return Ok(dir);
        }
        let sought: Vec<_> = self.search_path(data_dir).iter().map(|d| d.display().to_string()).collect();
        Err(Error::file(
            dir,
            format!(
                "{} needs {} (or the same with .gz); searched {}. Run `genzoo data fetch {}`, or give the folder \
                 that holds them with --data-dir",
                self.name,
                missing.join(", "),
                sought.join(", "),
                self.name
            ),
        ))
    }

    /// Reads and checks the file with this role from a folder.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, damaged, or not the file of the manifest.
    pub fn read(&self, role: Role, dir: &Path) -> Result<Idx> {
        let file = self.file(role)?;
        let Some(path) = file.find(dir) else {
            return Err(Error::file(
                dir.join(&file.name),
                "expected this file or the same with .gz, found neither",
            ));
        };
        let idx = idx::read(&path, &self.expected(file))?;
        file.check(&idx, &path)?;
        if !role.is_images() {
            idx::check_labels(&path, &idx.data, self.classes)?;
        }
        Ok(idx)
    }

    /// The verdict on each of the four files in a folder.
    pub fn verify(&self, dir: &Path) -> Vec<FileReport> {
        let report = |file: &ManifestFile| {
            let path = file.find(dir);
            let (sha256, problem) = match (&path, self.read(file.role, dir)) {
                (None, _) => (None, Some("missing".to_string())),
                (Some(_), Ok(idx)) => (Some(idx.sha256), None),
                (Some(_), Err(e)) => (None, Some(e.to_string())),
            };
            let path = path.unwrap_or_else(|| dir.join(&file.name));
            FileReport { name: file.name.clone(), path, sha256, problem }
        };
        self.files.iter().map(report).collect()
    }

    /// What the idx file must hold.
    pub fn expected(&self, file: &ManifestFile) -> Expected {
        if file.role.is_images() {
            Expected::images(Some(file.rows), self.shape[1], self.shape[2])
        } else {
            Expected::labels(Some(file.rows))
        }
    }

    /// The first thing that cannot be right.
    fn contradiction(&self) -> Option<String> {
        let [channels, height, width] = self.shape;
        if channels != 1 || !(1..=1024).contains(&height) || !(1..=1024).contains(&width) {
            return Some(format!("shape: expected [1, height, width] up to 1024, found {:?}", self.shape));
        }
        if !(1..=256).contains(&self.classes) {
            return Some(format!("classes: expected 1 to 256, found {}", self.classes));
        }
        for role in Role::ALL {
            let n = self.files.iter().filter(|f| f.role == role).count();
            if n != 1 {
                return Some(format!("expected one file of role {role:?}, found {n}"));
            }
        }
        let amats = self.larochelle.iter().flat_map(|l| [&l.train, &l.validation, &l.test]);
        let names = std::iter::once(&self.name).chain(self.files.iter().map(|f| &f.name));
        if let Some(bad) = names.chain(amats.clone().map(|a| &a.name)).find(|n| !is_plain_name(n)) {
            return Some(format!("expected a plain file name, found '{}'", bad.escape_debug()));
        }
        let hashes = self.files.iter().flat_map(|f| f.sha256.iter().chain(f.gz.iter().map(|g| &g.sha256)));
        if let Some(bad) = hashes.chain(amats.map(|a| &a.sha256)).find(|h| !is_hex(h, 64)) {
            return Some(format!("sha256: expected 64 hexadecimal digits, found '{}'", bad.escape_debug()));
        }
        if let Some(bad) =
            self.hub.iter().flat_map(|h| [&h.repo, &h.train, &h.test]).find(|p| !is_plain_path(p))
        {
            return Some(format!("hub: expected a plain relative path, found '{}'", bad.escape_debug()));
        }
        self.files.iter().find_map(|f| self.contradiction_of(f))
    }

    fn contradiction_of(&self, f: &ManifestFile) -> Option<String> {
        if f.rows == 0 || f.rows > idx::MAX_ROWS {
            return Some(format!("{}: expected 1 to {} rows, found {}", f.name, idx::MAX_ROWS, f.rows));
        }
        let event = if f.role.is_images() { self.shape[1] * self.shape[2] } else { 1 };
        let bytes = (if f.role.is_images() { 16 } else { 8 }) + (f.rows * event) as u64;
        if f.bytes != bytes {
            return Some(format!("{}: {} rows make {bytes} bytes, found {}", f.name, f.rows, f.bytes));
        }
        if f.sha256.is_none() && f.gz.is_none() {
            return Some(format!("{}: expected sha256 or gz, found neither", f.name));
        }
        if f.role == Role::TrainImages && self.validation >= f.rows {
            return Some(format!(
                "validation: expected fewer than {} rows, found {}",
                f.rows, self.validation
            ));
        }
        None
    }
}

impl ManifestFile {
    /// Where the file lies in a folder: plain if it is there, else gzipped. A file of which only the gzipped
    /// form has a known hash is sought in that form first.
    pub fn find(&self, dir: &Path) -> Option<PathBuf> {
        let plain = dir.join(&self.name);
        let gz = dir.join(format!("{}.gz", self.name));
        let order = if self.sha256.is_some() { [plain, gz] } else { [gz, plain] };
        order.into_iter().find(|p| p.exists())
    }

    /// Compares hashes.
    ///
    /// # Errors
    /// [`Error::File`] with the hash expected and the hash found.
    pub fn check(&self, found: &Idx, path: &Path) -> Result<()> {
        let (what, expected, found) = match (&self.sha256, &self.gz, &found.gz_sha256) {
            (Some(expected), ..) => ("contents", expected, &found.sha256),
            (None, Some(gz), Some(found)) => ("gzipped file", &gz.sha256, found),
            (None, ..) => {
                let problem =
                    format!("no sha256 is published for the uncompressed file; expected {}.gz", self.name);
                return Err(Error::file(path, problem));
            }
        };
        if expected == found {
            return Ok(());
        }
        let problem =
            format!("expected {what} with sha256 {expected}, found {found}: not the file of the manifest");
        Err(Error::file(path, problem))
    }
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`: a name that cannot leave its folder.
pub fn is_plain_name(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(ok)
}

fn is_plain_path(path: &str) -> bool {
    path.split('/').all(is_plain_name)
}

/// Whether `text` is `n` hexadecimal digits in lower case.
pub(super) fn is_hex(text: &str, n: usize) -> bool {
    text.len() == n && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
