//! `.npz` archives: the arrays in a zip file, stored or deflated, as NumPy writes them.
//!
//! Source: PKWARE, .ZIP File Format Specification 6.3.9, §4.3.

use std::io::Read;
use std::path::Path;

use genzoo_core::{Error, Result};

/// Most bytes of an unpacked array: 2³³.
const MAX_BYTES: u64 = 1 << 33;
/// Most arrays of an archive.
const MAX_ENTRIES: usize = 4096;

/// An array of an archive.
pub(super) struct Entry {
    /// Its name, without `.npy`.
    pub(super) name: String,
    /// 0 if stored, 8 if deflated.
    method: u16,
    packed: u64,
    unpacked: u64,
    offset: u64,
}

/// The arrays listed in the archive's central directory.
pub(super) fn entries(bytes: &[u8], path: &Path) -> Result<Vec<Entry>> {
    let bad = |found: &str| Error::file(path, format!("expected an .npz archive, found {found}"));
    // The end record is 22 bytes and a comment of at most 65535.
    let last = bytes.len().checked_sub(22).ok_or_else(|| bad("fewer than 22 bytes"))?;
    let end = (last.saturating_sub(65_535)..=last).rev().find(|&at| bytes[at..].starts_with(b"PK\x05\x06"));
    let end = end.ok_or_else(|| bad("no end of a zip directory"))?;
    let count = number(bytes, end as u64 + 10, 2).ok_or_else(|| bad("a cut directory"))?;
    let mut at = number(bytes, end as u64 + 16, 4).ok_or_else(|| bad("a cut directory"))?;
    if count as usize > MAX_ENTRIES || at == 0xffff_ffff {
        return Err(bad("more arrays or bytes than are read here"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let (entry, next) = header(bytes, at).ok_or_else(|| bad("a damaged directory"))?;
        at = next;
        entries.extend(entry.name.ends_with(".npy").then_some(entry));
    }
    entries.iter_mut().for_each(|e| e.name.truncate(e.name.len() - 4));
    Ok(entries)
}

/// A little-endian number of `size` bytes.
fn number(bytes: &[u8], at: u64, size: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |a, &b| (a << 8) | u64::from(b)))
}

/// The entry whose directory header begins at `at`, and where the next begins.
fn header(bytes: &[u8], at: u64) -> Option<(Entry, u64)> {
    let field = |offset: u64, size: usize| number(bytes, at + offset, size);
    if field(0, 4)? != 0x0201_4b50 {
        return None;
    }
    let (name_len, extra_len, comment_len) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
    let start = usize::try_from(at + 46).ok()?;
    let name = bytes.get(start..start + name_len as usize)?;
    let mut entry = Entry {
        name: String::from_utf8(name.to_vec()).ok()?,
        method: u16::try_from(field(10, 2)?).ok()?,
        packed: field(20, 4)?,
        unpacked: field(24, 4)?,
        offset: field(42, 4)?,
    };
    // Zip64: what does not fit into 32 bits stands in the extra field 1, in this order.
    let (mut extra, end) = (46 + name_len, 46 + name_len + extra_len);
    while extra + 4 <= end {
        let (id, size) = (field(extra, 2)?, field(extra + 2, 2)?);
        if id == 1 {
            let mut value = extra + 4;
            for wide in [&mut entry.unpacked, &mut entry.packed, &mut entry.offset] {
                if *wide == 0xffff_ffff {
                    *wide = field(value, 8)?;
                    value += 8;
                }
            }
        }
        extra += 4 + size;
    }
    Some((entry, at + 46 + name_len + extra_len + comment_len))
}

impl Entry {
    /// The bytes of the array's `.npy` file.
    pub(super) fn unpack(&self, bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
        let name = &self.name;
        let bad =
            |found: &str| Error::file(path, format!("array '{name}': expected a whole one, found {found}"));
        if self.unpacked > MAX_BYTES {
            return Err(bad(&format!("{} bytes, more than are read here", self.unpacked)));
        }
        // The lengths of the local header may differ from the directory's.
        let local = || {
            let at = |field: u64| number(bytes, self.offset.checked_add(field)?, 2);
            let start = usize::try_from(self.offset.checked_add(30 + at(26)? + at(28)?)?).ok()?;
            bytes.get(start..start.checked_add(usize::try_from(self.packed).ok()?)?)
        };
        let packed = local().ok_or_else(|| bad("a cut file"))?;
        let mut out = Vec::new();
        match self.method {
            0 => out.extend_from_slice(packed),
            8 => {
                let limit = self.unpacked + 1;
                let mut reader = flate2::read::DeflateDecoder::new(packed).take(limit);
                reader.read_to_end(&mut out).map_err(|e| bad(&format!("damaged data ({e})")))?;
            }
            other => {
                return Err(bad(&format!("compression method {other}; use np.savez or np.savez_compressed")));
            }
        }
        if out.len() as u64 != self.unpacked {
            return Err(bad(&format!("{} bytes instead of {}", out.len(), self.unpacked)));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use candle_core::DType;
    use std::fs;
    use std::path::PathBuf;

    /// Written by NumPy 2.4 as `np.savez('stored.npz', a=a, b=b)` and `np.savez_compressed('deflated.npz', a=a, b=b)`
    /// with `a = np.arange(6, dtype=np.float32).reshape(3, 2) / 2` and `b = np.array([[1, 255]], dtype=np.uint8)`.
    const STORED: &[u8] = include_bytes!("../../tests/fixtures/stored.npz");
    const DEFLATED: &[u8] = include_bytes!("../../tests/fixtures/deflated.npz");

    #[test]
    fn numpy_archives_are_read() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        for (file, bytes) in [("stored.npz", STORED), ("deflated.npz", DEFLATED)] {
            let path = dir.path().join(file);
            fs::write(&path, bytes).map_err(Error::io("write", &path))?;
            let named = |name: &str| PathBuf::from(format!("{}:{name}", path.display()));
            let want = [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]];
            assert_eq!(read(&named("a"), None)?.to_vec2::<f64>()?, want);
            assert_eq!(read(&path, Some("b"))?.to_vec2::<f64>()?, [[1.0, 255.0]]);
            assert_eq!(read(&path, Some("b"))?.dtype(), DType::F64);
            let message = read(&path, None).expect_err("two arrays").to_string();
            assert!(message.contains("found 2 (a, b)"), "{message}");
        }
        Ok(())
    }

    /// Every byte of the archive changed, and every cut of it: an error or numbers, but no panic.
    #[test]
    fn damaged_archives_are_refused_and_never_panic() -> Result<()> {
        let path = Path::new("a.npz");
        let array = |bytes: &[u8]| -> Result<Vec<u8>> {
            let entry = entries(bytes, path)?.into_iter().find(|e| e.name == "a");
            entry.ok_or_else(|| Error::file(path, "no array"))?.unpack(bytes, path)
        };
        assert!(array(DEFLATED).is_ok());
        for cut in 0..DEFLATED.len() {
            assert!(array(&DEFLATED[..cut]).is_err(), "cut at {cut}");
        }
        for i in 0..DEFLATED.len() {
            for flip in [1u8, 0x10, 0xff] {
                let mut bad = DEFLATED.to_vec();
                bad[i] ^= flip;
                drop(array(&bad));
            }
        }
        Ok(())
    }
}
