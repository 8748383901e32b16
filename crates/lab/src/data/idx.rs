//! idx files, plain or gzipped: the format of MNIST.
//!
//! ```text
//! magic  00 00 08 k       two zeros, the type (08 = bytes), the number of dimensions k
//! dims   k × u32          big endian: (n) for labels, (n, 28, 28) for images
//! data   n·… bytes        row major, nothing after it
//! ```
//!
//! Source: <http://yann.lecun.com/exdb/mnist/>, "the IDX file format". Only bytes are read here.
//!
//! A header is a claim: it is compared with what is expected before anything is allocated, and never more than
//! the expected bytes and one more are taken from the file or from the decompressor.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use genzoo_core::{Error, Result};
use sha2::{Digest, Sha256};

/// The most rows that are accepted where no manifest says how many there are (1 048 576).
pub const MAX_ROWS: usize = 1 << 20;

/// The most bytes of data that are accepted where no manifest says how many there are (1 GiB).
pub const MAX_BYTES: u64 = 1 << 30;

/// The contents of an idx file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The dimensions, rows first.
    pub dims: Vec<usize>,
    /// The bytes, row major.
    pub data: Vec<u8>,
    /// sha256 of the uncompressed file, header included.
    pub sha256: String,
    /// sha256 of the file as it lies on disk if it is gzipped.
    pub gz_sha256: Option<String>,
}

/// What a file must hold.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Number of rows; `None` accepts 1 to [`MAX_ROWS`].
    pub rows: Option<usize>,
    /// Shape of one row: `[28, 28]` for images, `[]` for labels.
    pub event: Vec<usize>,
}

impl Expected {
    /// Images of `height × width`.
    pub fn images(rows: Option<usize>, height: usize, width: usize) -> Self {
        Self { rows, event: vec![height, width] }
    }

    /// One byte per row.
    pub fn labels(rows: Option<usize>) -> Self {
        Self { rows, event: Vec::new() }
    }

    fn magic(&self) -> [u8; 4] {
        [0, 0, 8, 1 + self.event.len() as u8]
    }

    fn describe(&self) -> String {
        let rows = self.rows.map_or_else(|| format!("1 to {MAX_ROWS}"), |n| n.to_string());
        shape_text(&rows, self.event.iter().map(usize::to_string))
    }

    /// The number of data bytes if the claimed dimensions are acceptable.
    fn accept(&self, dims: &[u32]) -> Option<usize> {
        let (&rows, event) = dims.split_first()?;
        let rows = rows as usize;
        let fits = match self.rows {
            Some(n) => rows == n,
            None => (1..=MAX_ROWS).contains(&rows),
        };
        let same =
            event.len() == self.event.len() && event.iter().zip(&self.event).all(|(a, b)| *a as usize == *b);
        let bytes = self.event.iter().try_fold(rows, |acc, d| acc.checked_mul(*d))?;
        (fits && same && (self.rows.is_some() || bytes as u64 <= MAX_BYTES)).then_some(bytes)
    }
}

/// Reads an idx file, plain or gzipped (told apart by the first two bytes, not by the name).
///
/// # Errors
/// [`Error::File`] naming the file, what was expected and what was found: not a file, wrong magic number, other
/// dimensions, truncated, oversized, damaged gzip. [`Error::Io`] if the file system refuses.
pub fn read(path: impl AsRef<Path>, expected: &Expected) -> Result<Idx> {
    let path = path.as_ref();
    let kind = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !kind.is_file() {
        return Err(Error::file(path, "expected a regular file, found a folder or a device"));
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    read_from(file, path, expected)
}

/// Reads an idx stream, plain or gzipped; `path` is what errors name.
///
/// # Errors
/// As [`read`].
pub fn read_from(reader: impl Read, path: &Path, expected: &Expected) -> Result<Idx> {
    let mut reader = BufReader::with_capacity(1 << 16, Hashing { inner: reader, hash: Sha256::new() });
    let head = peek(&mut reader).map_err(Error::io("read", path))?;
    if head != [0x1f, 0x8b] {
        return read_plain(reader, path, expected);
    }
    let mut gz = MultiGzDecoder::new(reader);
    let mut idx = read_plain(&mut gz, path, expected)?;
    // The decoder was asked for one byte more than expected and met the end, so the whole file has been hashed.
    idx.gz_sha256 = Some(hex(&gz.into_inner().into_inner().hash.finalize()));
    Ok(idx)
}

fn read_plain(mut reader: impl Read, path: &Path, expected: &Expected) -> Result<Idx> {
    let want = 4 * (2 + expected.event.len());
    let header = take(&mut reader, want, path)?;
    if header.len() >= 4 && header[..4] != expected.magic() {
        let found = header[..4].iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        let magic = expected.magic().map(|b| format!("{b:02x}")).join(" ");
        let problem = format!("expected an idx file with magic number {magic}, found {found}");
        return Err(Error::file(path, problem));
    }
    if header.len() < want {
        return Err(Error::file(
            path,
            format!("expected an idx header of {want} bytes, found {} bytes", header.len()),
        ));
    }
    let dims: Vec<u32> = header[4..].as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b)).collect();
    let Some(bytes) = expected.accept(&dims) else {
        let claim = shape_text(&dims[0].to_string(), dims[1..].iter().map(u32::to_string));
        return Err(Error::file(
            path,
            format!("expected {} bytes, the header claims {claim}", expected.describe()),
        ));
    };
    let mut data = Vec::new();
    let room = bytes.checked_add(1).map(|n| data.try_reserve_exact(n));
    if !matches!(room, Some(Ok(()))) {
        return Err(Error::file(path, format!("expected room for {bytes} bytes, memory is too small")));
    }
    reader.take(bytes as u64 + 1).read_to_end(&mut data).map_err(|e| damaged(e, path))?;
    if data.len() != bytes {
        let found =
            if data.len() < bytes { format!("{} (truncated)", data.len()) } else { "more".to_string() };
        return Err(Error::file(path, format!("expected {bytes} bytes after the header, found {found}")));
    }
    let sha256 = hex(&Sha256::new().chain_update(&header).chain_update(&data).finalize());
    Ok(Idx { dims: dims.iter().map(|d| *d as usize).collect(), data, sha256, gz_sha256: None })
}

/// The header of an idx file of bytes with these dimensions.
///
/// # Errors
/// If there are more than 255 dimensions or one does not fit 32 bits.
pub fn header(dims: &[usize]) -> Result<Vec<u8>> {
    let bad = |got: String| Error::data("idx header", "at most 255 dimensions below 2^32", got);
    let k = u8::try_from(dims.len()).map_err(|_| bad(format!("{} dimensions", dims.len())))?;
    let mut out = vec![0, 0, 8, k];
    for d in dims {
        out.extend(u32::try_from(*d).map_err(|_| bad(format!("a dimension of {d}")))?.to_be_bytes());
    }
    Ok(out)
}

/// A whole idx file.
///
/// # Errors
/// If the number of bytes is not the product of the dimensions, or as [`header`].
pub fn encode(dims: &[usize], data: &[u8]) -> Result<Vec<u8>> {
    if dims.iter().try_fold(1usize, |acc, d| acc.checked_mul(*d)) != Some(data.len()) {
        return Err(Error::data(
            "idx data",
            format!("the product of {dims:?} bytes"),
            format!("{} bytes", data.len()),
        ));
    }
    let mut out = header(dims)?;
    out.extend_from_slice(data);
    Ok(out)
}

/// Checks that every label is below `classes`.
///
/// # Errors
/// [`Error::File`] with the first row whose label is not.
pub fn check_labels(path: &Path, labels: &[u8], classes: usize) -> Result<()> {
    match labels.iter().position(|l| usize::from(*l) >= classes) {
        Some(i) => Err(Error::file(
            path,
            format!("expected labels 0 to {}, found {} in row {i}", classes.saturating_sub(1), labels[i]),
        )),
        None => Ok(()),
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Up to `n` bytes.
fn take(reader: &mut impl Read, n: usize, path: &Path) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(n);
    reader.take(n as u64).read_to_end(&mut out).map_err(|e| damaged(e, path))?;
    Ok(out)
}

/// The first two bytes without consuming them; zeros where the file is shorter.
fn peek(reader: &mut BufReader<impl Read>) -> std::io::Result<[u8; 2]> {
    use std::io::BufRead;
    let buffer = reader.fill_buf()?;
    Ok([buffer.first().copied().unwrap_or(0), buffer.get(1).copied().unwrap_or(0)])
}

/// Errors of the decompressor speak of the contents, all others of the file system.
fn damaged(e: std::io::Error, path: &Path) -> Error {
    match e.kind() {
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            Error::file(path, format!("expected a whole gzip file, found a damaged one ({e})"))
        }
        ErrorKind::UnexpectedEof => Error::file(path, "expected a whole gzip file, found a truncated one"),
        _ => Error::io("read", path)(e),
    }
}

fn shape_text(rows: &str, event: impl Iterator<Item = String>) -> String {
    std::iter::once(rows.to_string()).chain(event).collect::<Vec<_>>().join(" × ")
}

/// Hashes what passes through.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}
