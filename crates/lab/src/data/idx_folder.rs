//! `idx{folder=NAME}`: any set of 28×28 images with labels in four idx files, vouched for by nobody.
//!
//! The files have MNIST's names, plain or gzipped, and lie in `<data_dir>/NAME`. Their form is checked like that
//! of every idx file; their identity cannot be, so it is only stated: the sha256 of what was read goes into every
//! run and row. One training row in twelve, chosen as for MNIST, is the validation split.

use std::path::{Path, PathBuf};

use genzoo_core::{Dataset, Error, Result, Space};

use super::idx::{self, Expected, Idx};
use super::mnist::{Images, SPACES, Set, space_of, word_of};
use super::registry::{Accepts, DatasetEntry, DatasetKind, Parameter};

const FILES: [(&str, &str); 2] = [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
];

/// `idx`.
pub(super) static IDX: DatasetEntry = DatasetEntry {
    name: "idx",
    summary: "28×28 grey images from four idx files of your own in a folder of --data-dir, not verified",
    kind: DatasetKind::Image,
    parameters: &[
        Parameter {
            name: "folder",
            default: "idx",
            accepts: Accepts::Name,
            meaning: "the folder in --data-dir with files named like MNIST's",
        },
        Parameter {
            name: "space",
            default: "u8",
            // The last word belongs to files that only MNIST has.
            accepts: Accepts::OneOf(SPACES.split_at(SPACES.len() - 1).0),
            meaning: "bytes, or pixels drawn as 0 and 1: anew each epoch, or once",
        },
    ],
    presets: &[],
    open: |arguments, options| {
        let Some(data_dir) = &options.data_dir else {
            return Err(Error::config("--data-dir", "the folder that holds the idx folder", "nothing"));
        };
        let folder = arguments.word("folder")?;
        let images = read(&data_dir.join(folder), folder, space_of(arguments.word("space")?), options.seed)?;
        Ok(Box::new(images) as Box<dyn Dataset>)
    },
};

/// Reads the four files of `dir`.
fn read(dir: &Path, folder: &str, space: Space, seed: u64) -> Result<Images> {
    let [train, test] = FILES.map(|names| read_pair(dir, names));
    let (train, test) = (train?, test?);
    let rows = train.0.dims[0];
    if rows < 2 {
        return Err(Error::file(dir, format!("expected at least 2 training images, found {rows}")));
    }
    let labels = train.1.data.iter().chain(&test.1.data);
    let classes = labels.max().map(|l| usize::from(*l) + 1);
    let folder_word = (folder != "idx").then(|| format!("folder={folder}"));
    let words: Vec<String> =
        folder_word.into_iter().chain(word_of(space).map(|w| format!("space={w}"))).collect();
    let name = if words.is_empty() { "idx".to_string() } else { format!("idx{{{}}}", words.join(",")) };
    let set = Set { name, stream: folder, shape: [1, 28, 28], classes, choice: None };
    Images::from_files(&set, space, seed, train, test, (rows / 12).max(1))
}

fn read_pair(dir: &Path, (images, labels): (&str, &str)) -> Result<(Idx, Idx)> {
    let found = idx::read(find(dir, images)?, &Expected::images(None, 28, 28))?;
    let rows = found.dims[0];
    Ok((found, idx::read(find(dir, labels)?, &Expected::labels(Some(rows)))?))
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [dir.join(name), dir.join(format!("{name}.gz"))];
    let missing = || Error::file(dir.join(name), "expected this file or the same with .gz, found neither");
    candidates.into_iter().find(|p| p.exists()).ok_or_else(missing)
}
