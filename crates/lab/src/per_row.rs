//! What each test row costs a model, kept beside its run, so that models can be compared row by row.
//!
//! `eval/nll.npy` in a run folder holds the negative log-likelihood of every test row, `(n,)` in `f64`, in the unit of the
//! row's main likelihood and in the order that all models of an evaluation share. Its mean is that likelihood; a file
//! whose mean is another belongs to another evaluation and is passed over.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use genzoo_core::checkpoint::sha256;
use genzoo_core::{Batch, Error, Result};

use crate::row::Row;
use crate::samples;

/// The file in a run folder.
const FILE: &str = "eval/nll.npy";

/// Most rows whose values are read: more than any evaluation has.
const MOST: usize = 10_000_000;

/// Keeps the values beside a run; an older file goes if there are none.
///
/// # Errors
/// If the disk refuses.
pub fn write(run: &Path, nll: &[f64]) -> Result<()> {
    let path = run.join(FILE);
    if nll.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
            _ => Ok(()),
        };
    }
    let folder = run.join("eval");
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    samples::write(&path, &Tensor::new(nll, &Device::Cpu)?)
}

/// Gives the rows of a bench folder their values, where the files of their runs hold them.
pub fn attach(bench: &Path, rows: &mut [Row]) {
    for row in rows {
        row.nll = read(&bench.join(row.folder()), row).unwrap_or_default();
    }
}

fn read(run: &Path, row: &Row) -> Option<Vec<f64>> {
    let (likelihood, path) = (row.likelihood.as_ref()?, run.join(FILE));
    row.test_rows.as_ref()?;
    if std::fs::metadata(&path).ok()?.len() > 8 * MOST as u64 {
        return None;
    }
    let values: Vec<f64> = samples::read(&path, None).ok()?.flatten_all().ok()?.to_vec1().ok()?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let same = (mean - likelihood.value).abs() < 1e-9 * (1.0 + likelihood.value.abs());
    (same && values.len() as u64 == likelihood.n).then_some(values)
}

/// What tells one choice of test rows from another: their number and the first of them.
pub(crate) fn fingerprint(rows: &Batch) -> Result<String> {
    let first = rows.x.narrow(0, 0, rows.len().min(64))?.to_dtype(DType::F32)?;
    let values = first.flatten_all()?.to_vec1::<f32>()?;
    let bytes = format!("{} {:?}", rows.len(), first.dims()).into_bytes();
    Ok(sha256(&values.iter().fold(bytes, |mut all, v| {
        all.extend(v.to_le_bytes());
        all
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Likelihood;
    use crate::row::tests::specimen;

    #[test]
    fn values_come_back_to_the_row_they_belong_to_and_to_no_other() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("create", "a temporary folder")(e))?;
        let nll: Vec<f64> = (0..1_000).map(|i| f64::from(i).sqrt() / 7.0).collect();
        let value = nll.iter().sum::<f64>() / 1_000.0;
        let mut row = specimen();
        row.likelihood = row.likelihood.map(|l| Likelihood { value, n: 1_000, ..l });
        row.test_rows = Some("t".into());
        write(&folder.path().join(row.folder()), &nll)?;
        let other = Row { seed: 7, ..row.clone() };
        let stale = Row {
            likelihood: row.likelihood.clone().map(|l| Likelihood { value: 1.1 * value, ..l }),
            ..row.clone()
        };
        let mut rows = [row, other, stale];
        attach(folder.path(), &mut rows);
        assert!(rows[0].nll == nll && rows[1].nll.is_empty() && rows[2].nll.is_empty());
        write(&folder.path().join(rows[0].folder()), &[])?;
        attach(folder.path(), &mut rows);
        assert!(rows[0].nll.is_empty());
        Ok(())
    }
}
