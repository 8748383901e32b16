//! Checked bytes get their name: written beside it, synced, renamed, the folder synced.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use genzoo_core::{Error, Result};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::data::idx::hex;
use crate::data::manifest::ManifestFile;

/// An unnamed place in `dir`, removed unless persisted.
pub(super) fn temporary(dir: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fetch-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the umask, as any new file
    }
    builder.tempfile_in(dir).map_err(Error::io("create a file in", dir))
}

/// Compares the idx file made of a header and data with the manifest.
pub(super) fn check(url: &str, file: &ManifestFile, header: &[u8], data: &[u8]) -> Result<()> {
    let Some(expected) = &file.sha256 else {
        return Err(Error::file(url, format!("no sha256 is published for the contents of {}", file.name)));
    };
    let found = hex(&Sha256::new().chain_update(header).chain_update(data).finalize());
    if found == *expected {
        return Ok(());
    }
    let problem = format!(
        "expected rows that make {} with sha256 {expected}, found {found}: not the data set of the manifest, nothing kept",
        file.name
    );
    Err(Error::file(url, problem))
}

/// Writes a file of these parts under a plain name.
pub(super) fn write(dir: &Path, name: &str, parts: &[&[u8]]) -> Result<()> {
    let mut temporary = temporary(dir)?;
    for part in parts {
        temporary.write_all(part).map_err(Error::io("write", dir.join(name)))?;
    }
    persist(dir, name, temporary)
}

/// Gives a temporary file its plain name.
pub(super) fn persist(dir: &Path, name: &str, temporary: NamedTempFile) -> Result<()> {
    let path = dir.join(name);
    temporary.as_file().sync_all().map_err(Error::io("write", &path))?;
    temporary.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
    #[cfg(unix)]
    File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io("write", dir))?;
    Ok(())
}
