//! Sample files: `.npy`, `.npz` and `.safetensors` arrays, `.png` pictures; written atomically, read with limits.

mod archive;
mod npy;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use genzoo_core::checkpoint::{read_tensors, write_atomic, write_tensors};
use genzoo_core::{DType, Device, Error, Result, Tensor};

/// Writes samples `(n, event…)` in the format of the file's ending.
///
/// A `.png` is a grid for images and a scatter plot for points of the plane.
///
/// # Errors
/// For other endings, for points that cannot be drawn, or if the disk refuses.
pub fn write(path: &Path, x: &Tensor) -> Result<()> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("png") => crate::pictures::samples_png(x, path),
        Some("npy") => write_atomic(path, &npy::encode(x)?),
        Some("safetensors") => {
            write_tensors(path, &BTreeMap::from([("samples".to_string(), x.clone())]), HashMap::new())
        }
        _ => Err(Error::config("--out", "a file ending in .png, .npy or .safetensors", path.display())),
    }
}

/// Reads samples `(n, event…)` as f64; a list of numbers is `n` points of a line.
///
/// The file is a `.npy` array, a `.npz` or `.safetensors` archive, or a folder of PNGs. Of an archive with several
/// arrays, `key` picks one, or `file:name` does.
///
/// # Errors
/// Names the file, what was expected and what was found.
pub fn read(path: &Path, key: Option<&str>) -> Result<Tensor> {
    let (path, named) = split_name(path);
    let key = named.as_deref().or(key);
    if path.is_dir() {
        return Ok(crate::pictures::read_folder(&path)?.to_dtype(DType::F64)?);
    }
    let x = match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => npy::decode(&bytes(&path)?, &path)?,
        Some("npz") => {
            let bytes = bytes(&path)?;
            let entries = archive::entries(&bytes, &path)?;
            let entry = pick(&path, key, entries.into_iter().map(|e| (e.name.clone(), e)).collect())?;
            npy::decode(&entry.unpack(&bytes, &path)?, &path)?
        }
        Some("safetensors") => pick(&path, key, read_tensors(&path, &Device::Cpu)?.0)?,
        Some("png") => {
            return Err(Error::file(
                path,
                "expected one sample per row, found a single picture; give an .npy array, or a folder with one PNG per sample",
            ));
        }
        _ => {
            return Err(Error::file(path, "expected a .npy, .npz or .safetensors file or a folder of PNGs"));
        }
    };
    if x.rank() == 0 || x.elem_count() == 0 {
        return Err(Error::file(path, format!("expected samples of shape (n, …), found {:?}", x.dims())));
    }
    let x = x.to_dtype(DType::F64)?;
    let rows = x.reshape((x.dim(0)?, ()))?;
    let flat = rows.flatten_all()?.to_vec1::<f64>()?;
    let bad = |row: &[f64]| row.iter().any(|v| !v.is_finite());
    let d = rows.dim(1)?;
    if let Some(row) = flat.chunks_exact(d).position(bad) {
        let all = flat.chunks_exact(d).filter(|r| bad(r)).count();
        let found = format!("expected finite values, found NaN or infinity in row {row} ({all} such rows)");
        return Err(Error::file(path, found));
    }
    Ok(if x.rank() == 1 { rows } else { x })
}

/// `file:name`, unless there is a file of the whole name.
fn split_name(path: &Path) -> (PathBuf, Option<String>) {
    let whole = || (path.to_path_buf(), None);
    if path.exists() {
        return whole();
    }
    match path.to_str().and_then(|s| s.rsplit_once(':')) {
        Some((file, name)) if Path::new(file).is_file() => (file.into(), Some(name.to_string())),
        _ => whole(),
    }
}

/// The array of an archive that is asked for, or its only one.
fn pick<T>(path: &Path, key: Option<&str>, mut all: BTreeMap<String, T>) -> Result<T> {
    if let Some(key) = key {
        let names: Vec<String> = all.keys().cloned().collect();
        return all.remove(key).ok_or_else(|| Error::unknown("array", key, names.iter().map(String::as_str)));
    }
    let names: Vec<_> = all.keys().take(8).cloned().collect();
    match (all.len(), all.pop_first()) {
        (1, Some((_, x))) => Ok(x),
        (n, _) => {
            let names = names.join(", ");
            let shown = path.display();
            Err(Error::file(
                path,
                format!("expected one array, found {n} ({names}); pick one with {shown}:NAME or --key NAME"),
            ))
        }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_survive_the_disk() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        let x = Tensor::new(&[[1f32, 2.5], [-3.0, 4.0], [0.0, 1e-3]], &Device::Cpu)?;
        for name in ["a.npy", "a.safetensors"] {
            let path = dir.path().join(name);
            write(&path, &x)?;
            let y = read(&path, None)?;
            assert_eq!(y.to_dtype(DType::F32)?.to_vec2::<f32>()?, x.to_vec2::<f32>()?, "{name}");
        }
        Ok(())
    }

    fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
        fs::write(path, bytes).map_err(Error::io("write", path))
    }

    #[test]
    fn an_array_of_an_archive_is_picked_by_name() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        let path = dir.path().join("two.safetensors");
        let (x, y) = (Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?, Tensor::new(&[3u8, 4], &Device::Cpu)?);
        let both = BTreeMap::from([("x".to_string(), x), ("y".to_string(), y)]);
        write_tensors(&path, &both, HashMap::new())?;
        let named = |name: &str| PathBuf::from(format!("{}:{name}", path.display()));
        assert_eq!(read(&named("x"), None)?.to_vec2::<f64>()?, [[1.0, 2.0]]);
        // A list is points of a line; --key and :NAME are the same.
        assert_eq!(read(&named("y"), None)?.to_vec2::<f64>()?, [[3.0], [4.0]]);
        assert_eq!(read(&path, Some("y"))?.dims(), [2, 1]);
        for (path, words) in [(path.clone(), "found 2 (x, y)"), (named("z"), "unknown array 'z'")] {
            let message = read(&path, None).expect_err("not one array").to_string();
            assert!(message.contains(words), "{message}");
        }
        Ok(())
    }

    #[test]
    fn what_are_no_samples_is_refused_by_name() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        let at = |name: &str| dir.path().join(name);
        write(
            &at("nan.npy"),
            &Tensor::new(&[[0f64, 1.0], [2.0, f64::NAN], [f64::INFINITY, 0.0]], &Device::Cpu)?,
        )?;
        write_bytes(&at("grid.png"), b"whatever")?;
        write_bytes(&at("x.csv"), b"1,2")?;
        let cases = [("nan.npy", "row 1 (2 such rows)"), ("grid.png", "single picture"), ("x.csv", ".npz")];
        for (name, words) in cases.into_iter().chain([("gone.npy", "gone.npy")]) {
            let message = read(&at(name), None).expect_err("no samples").to_string();
            assert!(message.contains(words) && message.contains(name), "{message}");
        }
        Ok(())
    }
}
