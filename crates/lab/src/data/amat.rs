//! The fixed binarisation of MNIST: text files of zeros and ones.
//!
//! ```text
//! row   d₁ ␣ d₂ ␣ … d₇₈₄ ⏎      each dᵢ is '0' or '1': two bytes per pixel
//! ```
//!
//! Source: Larochelle and Murray (2011), The neural autoregressive distribution estimator, AISTATS. The three
//! files have 50 000, 10 000 and 10 000 rows, no labels, and their own split.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use genzoo_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::idx::hex;
use super::manifest::AmatFile;

/// Reads and checks one file: `rows · pixels` bytes of 0 and 1.
///
/// # Errors
/// [`Error::File`] if size, sha256 or a character is not as expected.
pub(super) fn read(dir: &Path, file: &AmatFile, pixels: usize) -> Result<Vec<u8>> {
    let path = dir.join(&file.name);
    let bad = |problem: String| Error::file(&path, problem);
    let expected = file.rows.checked_mul(2 * pixels).filter(|n| *n as u64 == file.bytes);
    let expected =
        expected.ok_or_else(|| bad(format!("{} rows do not make {} bytes", file.rows, file.bytes)))?;
    let reader = File::open(&path).map_err(Error::io("read", &path))?;
    let mut text = Vec::new();
    text.try_reserve_exact(expected + 1).map_err(|_| bad(format!("expected room for {expected} bytes")))?;
    reader.take(expected as u64 + 1).read_to_end(&mut text).map_err(Error::io("read", &path))?;
    if text.len() != expected {
        let found = if text.len() < expected { text.len().to_string() } else { "more".into() };
        return Err(bad(format!("expected {expected} bytes, found {found}")));
    }
    let sha256 = hex(&Sha256::digest(&text));
    if sha256 != file.sha256 {
        return Err(bad(format!(
            "expected sha256 {}, found {sha256}: not the file of the manifest",
            file.sha256
        )));
    }
    let mut out = Vec::with_capacity(file.rows * pixels);
    for (i, pair) in text.as_chunks::<2>().0.iter().enumerate() {
        match pair {
            [d @ (b'0' | b'1'), b' ' | b'\n'] => out.push(d - b'0'),
            _ => {
                return Err(bad(format!(
                    "expected '0' or '1' and a space in row {}, found {pair:?}",
                    i / pixels
                )));
            }
        }
    }
    Ok(out)
}

/// Whether the file is there.
pub(super) fn is_present(dir: &Path, file: &AmatFile) -> bool {
    dir.join(&file.name).exists()
}
