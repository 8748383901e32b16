//! One file per checkpoint: parameters, optimiser, averages, model state and position, with a checksum.
//!
//! A checkpoint is a safetensors file whose metadata holds the JSON of its position and the sha256 of its
//! tensors. It is written to a temporary name in the same folder, synced, renamed, and the folder synced, so
//! at every moment the folder holds only whole checkpoints (and perhaps one temporary file of a dead process).

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Largest header of a weight file we read, in bytes.
pub const MAX_HEADER: u64 = 1 << 20;
/// Most tensors in a weight file we read.
pub const MAX_TENSORS: usize = 10_000;
const FORMAT: &str = "genzoo-checkpoint-1";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Address of the next training row.
    pub row: u64,
    /// Moves of each group's optimiser.
    pub moves: BTreeMap<String, u64>,
    /// Updates of the weight average.
    pub ema_updates: u64,
    /// Seconds of pure training so far.
    pub seconds: f64,
}

/// Everything needed to go on.
pub struct Checkpoint {
    /// Where the run stands.
    pub position: Position,
    /// The run this belongs to: sha256 of its resolved recipe, seed and data.
    pub identity: String,
    /// All tensors, by section and name: `param/…`, `optim/<group>/m/…`, `ema/…`, `state/…`.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// The tensors of one section, without its prefix.
    pub fn section(&self, section: &str) -> BTreeMap<String, Tensor> {
        let prefix = format!("{section}/");
        self.tensors
            .iter()
            .filter_map(|(n, t)| n.strip_prefix(&prefix).map(|n| (n.to_string(), t.clone())))
            .collect()
    }

    /// Adds the tensors of one section.
    pub fn add_section(&mut self, section: &str, tensors: BTreeMap<String, Tensor>) {
        self.tensors.extend(tensors.into_iter().map(|(n, t)| (format!("{section}/{n}"), t)));
    }

    /// Writes the checkpoint of its step into `folder` and removes all but the last two.
    ///
    /// # Errors
    /// If the disk refuses; earlier checkpoints are then untouched.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{:08}.safetensors", self.position.step));
        let position =
            serde_json::to_string(&self.position).map_err(|e| Error::file(&path, e.to_string()))?;
        let metadata = HashMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("position".to_string(), position),
            ("identity".to_string(), self.identity.clone()),
        ]);
        write_tensors(&path, &self.tensors, metadata)?;
        for (_, old) in list(folder)?.into_iter().rev().skip(2) {
            fs::remove_file(&old).map_err(Error::io("remove the old checkpoint", &old))?;
        }
        Ok(path)
    }

    /// Reads and verifies one checkpoint.
    ///
    /// # Errors
    /// If the file is missing, foreign, damaged or of a newer format.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let (tensors, metadata) = read_tensors(path, device)?;
        let get = |key: &str| {
            metadata.get(key).cloned().ok_or_else(|| {
                Error::file(
                    path,
                    format!("expected a genzoo checkpoint, found a safetensors file without '{key}'"),
                )
            })
        };
        let format = get("format")?;
        if format != FORMAT {
            return Err(Error::file(
                path,
                format!("expected format {FORMAT}, found '{format}'; use the version that wrote it"),
            ));
        }
        let position = serde_json::from_str(&get("position")?)
            .map_err(|e| Error::file(path, format!("position: {e}")))?;
        Ok(Self { position, identity: get("identity")?, tensors })
    }

    /// The newest checkpoint of `folder` that reads whole, and the files passed over because they do not.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn latest(folder: &Path, device: &Device) -> Result<(Option<Self>, Vec<Error>)> {
        let mut broken = Vec::new();
        for (_, path) in list(folder)?.into_iter().rev() {
            match Self::load(&path, device) {
                Ok(c) => return Ok((Some(c), broken)),
                Err(e) => broken.push(e),
            }
        }
        Ok((None, broken))
    }
}

/// Steps and paths of the checkpoints in `folder`, oldest first. Empty if there is no folder.
///
/// # Errors
/// If the folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let step = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".safetensors"))
            .and_then(|n| n.parse().ok());
        if let Some(step) = step {
            out.push((step, path));
        }
    }
    out.sort();
    Ok(out)
}

/// Writes `bytes` so that `path` holds either its old contents or all of the new ones, whatever happens.
///
/// # Errors
/// If the disk refuses; `path` is then untouched and the temporary file gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temp = tempfile::Builder::new()
        .prefix(".genzoo-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(Error::io("create a file in", folder))?;
    temp.write_all(bytes).map_err(Error::io("write", path))?;
    temp.as_file().sync_all().map_err(Error::io("sync", path))?;
    #[cfg(unix)]
    {
        // A temporary file starts private; the final one is as readable as any file the user makes.
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o644);
        temp.as_file().set_permissions(mode).map_err(Error::io("set permissions of", path))?;
    }
    temp.persist(path).map_err(|e| Error::Io {
        action: "rename into",
        path: path.to_path_buf(),
        source: e.error,
    })?;
    File::open(folder).and_then(|d| d.sync_all()).map_err(Error::io("sync the folder", folder))
}

/// Writes named tensors and metadata as one safetensors file, atomically. The metadata gains `sha256`.
///
/// # Errors
/// If a tensor cannot be serialised or the disk refuses.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    mut metadata: HashMap<String, String>,
) -> Result<()> {
    let tensors: BTreeMap<&str, Tensor> = tensors
        .iter()
        .map(|(n, t)| Ok((n.as_str(), t.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<_>>()?;
    metadata.insert("sha256".to_string(), checksum(tensors.iter().map(|(n, t)| (*n, t)))?);
    let bytes = safetensors::serialize(tensors.iter().map(|(n, t)| (*n, t)), Some(metadata))
        .map_err(|e| Error::file(path, e.to_string()))?;
    write_atomic(path, &bytes)
}

/// Reads a safetensors file within our limits: header size, number of tensors, rank, element counts and
/// finite floats; and, where the metadata carries a `sha256` of ours, the checksum.
///
/// # Errors
/// Names the file, what was expected and what was found.
pub fn read_tensors(
    path: &Path,
    device: &Device,
) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let mut head = [0u8; 8];
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    std::io::Read::read_exact(&mut file, &mut head)
        .map_err(|_| Error::file(path, "expected a safetensors file, found fewer than 8 bytes"))?;
    let header = u64::from_le_bytes(head);
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if header > MAX_HEADER || header > size {
        return Err(Error::file(
            path,
            format!(
                "expected a safetensors header of at most {MAX_HEADER} bytes, found a claim of {header} in a file of {size} bytes"
            ),
        ));
    }
    parse_tensors(&fs::read(path).map_err(Error::io("read", path))?, path, device)
}

/// As [`read_tensors`], of bytes already at hand; `path` names them in messages.
///
/// # Errors
/// As [`read_tensors`].
pub fn parse_tensors(
    bytes: &[u8],
    path: &Path,
    device: &Device,
) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let parsed = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("not a whole safetensors file: {e}")))?;
    if parsed.len() > MAX_TENSORS {
        return Err(Error::file(
            path,
            format!("expected at most {MAX_TENSORS} tensors, found {}", parsed.len()),
        ));
    }
    let (_, meta) = SafeTensors::read_metadata(bytes).map_err(|e| Error::file(path, e.to_string()))?;
    let metadata = meta.metadata().clone().unwrap_or_default();
    let mut tensors = BTreeMap::new();
    for (name, view) in parsed.iter() {
        let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        let elements = view.shape().iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if view.shape().len() > 8 || elements.is_none() {
            return Err(Error::file(
                path,
                format!("tensor '{shown}' claims {} dimensions, expected at most 8", view.shape().len()),
            ));
        }
        let dtype =
            DType::try_from(view.dtype()).map_err(|e| Error::file(path, format!("tensor '{shown}': {e}")))?;
        let t = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), device)?;
        if dtype.is_float() && !finite(&t)? {
            return Err(Error::file(path, format!("tensor '{shown}' holds values that are not finite")));
        }
        tensors.insert(name.to_string(), t);
    }
    if let Some(want) = metadata.get("sha256") {
        let got = checksum(tensors.iter().map(|(n, t)| (n.as_str(), t)))?;
        if *want != got {
            return Err(Error::file(
                path,
                format!("checksum mismatch: expected {want}, found {got}; the file is damaged"),
            ));
        }
    }
    Ok((tensors, metadata))
}

fn finite(t: &Tensor) -> Result<bool> {
    if t.elem_count() == 0 {
        return Ok(true);
    }
    // x − x is 0 for finite x and NaN otherwise.
    let d = t.sub(t)?.to_dtype(DType::F32)?.flatten_all()?.sum_all()?.to_scalar::<f32>()?;
    Ok(d == 0.0)
}

/// sha256 over names, dtypes, shapes and contents in the order of the names.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<String> {
    let mut h = Sha256::new();
    for (name, t) in tensors {
        h.update(name.as_bytes());
        h.update(format!("|{:?}|{:?}|", t.dtype(), t.dims()).as_bytes());
        h.update(safetensors::View::data(t).as_ref());
    }
    Ok(hex(&h.finalize()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// sha256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64) -> Result<Checkpoint> {
        let mut c = Checkpoint {
            position: Position { step, row: 7, ..Position::default() },
            identity: "id".into(),
            tensors: BTreeMap::new(),
        };
        let t = Tensor::new(&[[1f32, 2.0], [3.0, step as f32]], &Device::Cpu)?;
        c.add_section("param", BTreeMap::from([("main/w".to_string(), t)]));
        Ok(c)
    }

    #[test]
    fn what_is_saved_is_loaded_and_two_are_kept() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        for step in [1, 2, 3, 20] {
            sample(step)?.save(dir.path())?;
        }
        let steps: Vec<u64> = list(dir.path())?.into_iter().map(|(s, _)| s).collect();
        assert_eq!(steps, [3, 20]);
        let (c, broken) = Checkpoint::latest(dir.path(), &Device::Cpu)?;
        let c = c.expect("a checkpoint was saved");
        assert!(broken.is_empty());
        assert_eq!(c.position, sample(20)?.position);
        assert_eq!(c.section("param")["main/w"].to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 20.0]]);
        Ok(())
    }

    #[test]
    fn any_damaged_byte_or_length_is_noticed_and_the_older_one_serves() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        sample(1)?.save(dir.path())?;
        let path = sample(2)?.save(dir.path())?;
        let good = fs::read(&path).map_err(Error::io("read", &path))?;
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).map_err(Error::io("write", &path))?;
            assert!(Checkpoint::load(&path, &Device::Cpu).is_err(), "cut at {cut}");
        }
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x10;
            fs::write(&path, &bad).map_err(Error::io("write", &path))?;
            let (c, _) = Checkpoint::latest(dir.path(), &Device::Cpu)?;
            let c = c.expect("the older checkpoint is whole");
            // A flip inside the metadata may leave a readable file; its tensors are then untouched.
            let w = c.section("param")["main/w"].to_vec2::<f32>()?;
            assert!(w[1][1] == c.position.step as f32 || w[1][1] == 2.0, "flip at {i}: {w:?}");
        }
        Ok(())
    }

    #[test]
    fn values_that_are_not_finite_are_refused() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        let path = dir.path().join("w.safetensors");
        let t = Tensor::new(&[1f32, f32::NAN], &Device::Cpu)?;
        write_tensors(&path, &BTreeMap::from([("w".to_string(), t)]), HashMap::new())?;
        let e = read_tensors(&path, &Device::Cpu).unwrap_err().to_string();
        assert!(e.contains("'w' holds values that are not finite"), "{e}");
        Ok(())
    }
}
