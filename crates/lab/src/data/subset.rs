//! Rows for evaluation: chosen at random, never the first ones.

use genzoo_core::{Batch, Dataset, Error, Noise, Result, Split, Tensor};

/// `n` distinct rows of a split, chosen at random and numbered `0..n`.
///
/// Of a fixed set, a uniformly random subset in order of address. Of endless data, `n` consecutive rows from
/// a random address on: fresh rows are independent, so any will do.
///
/// # Errors
/// If the split has fewer than `n` rows, or cannot be read.
pub fn random_rows(data: &dyn Dataset, split: Split, n: usize, noise: &mut Noise) -> Result<Batch> {
    let Some(len) = data.len(split) else {
        let start = u64::from(noise.words(1)[0]) << 16;
        let batch = data.rows(split, start..start + n as u64)?;
        return Ok(Batch { rows: 0..n as u64, ..batch });
    };
    if n as u64 > len {
        let expected = format!("at most the {len} rows of the {split:?} split of {}", data.name());
        return Err(Error::data("evaluation rows", expected, n));
    }
    let mut chosen = noise.permutation(len as usize);
    chosen.truncate(n);
    chosen.sort_unstable();
    if n == 0 {
        return data.rows(split, 0..0);
    }
    // Rows are read in blocks, because reading one at a time costs more than reading too many.
    const BLOCK: usize = 1024;
    let (mut x, mut label, mut source) = (Vec::new(), Vec::new(), Vec::new());
    for group in chosen.chunk_by(|a, b| a / BLOCK == b / BLOCK) {
        let start = group[0];
        let end = group[group.len() - 1] + 1;
        let block = data.rows(split, start as u64..end as u64)?;
        let index: Vec<u32> = group.iter().map(|i| (i - start) as u32).collect();
        let index = Tensor::from_vec(index, group.len(), block.x.device())?;
        x.push(block.x.index_select(&index, 0)?);
        label.extend(block.label.map(|t| t.index_select(&index, 0)).transpose()?);
        source.extend(block.source.map(|t| t.index_select(&index, 0)).transpose()?);
    }
    let join = |parts: Vec<Tensor>| {
        if parts.is_empty() { Ok(None) } else { Tensor::cat(&parts, 0).map(Some) }
    };
    Ok(Batch { x: Tensor::cat(&x, 0)?, label: join(label)?, source: join(source)?, rows: 0..n as u64 })
}
