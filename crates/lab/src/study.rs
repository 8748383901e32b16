//! What is kept of a finished study: its page, and what gives it again.

use std::path::Path;

use genzoo_core::checkpoint::write_atomic;
use genzoo_core::study::{Effort, Page};
use genzoo_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The file of a bench folder that holds a study.
pub const FILE: &str = "study.json";

/// Largest study that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// A finished study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub schema: u32,
    /// The study's name.
    pub study: String,
    /// One line.
    pub summary: String,
    /// Where the claim stands.
    pub citation: String,
    /// What it was allowed to cost.
    pub budget: Effort,
    /// What the last run took; finished parts that were found again cost nothing.
    pub seconds: f64,
    /// The command that gives it again.
    pub command: String,
    /// Version and commit.
    pub version: String,
    /// The answer.
    pub page: Page,
}

impl Record {
    /// The study in `folder`, if there is one.
    ///
    /// # Errors
    /// If the file is there and cannot be read or understood.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        if bytes > MAX_BYTES {
            return Err(Error::file(&path, format!("expected at most {MAX_BYTES} bytes, found {bytes}")));
        }
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let understood = serde_json::from_slice(&text);
        understood.map(Some).map_err(|e| Error::file(&path, format!("not a study of this version ({e})")))
    }

    /// Writes it into `folder`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::file(&path, e.to_string()))?;
        write_atomic(&path, &text)
    }
}
