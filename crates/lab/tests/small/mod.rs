//! A data set of eighteen little pictures with a manifest of its own, for tests of files and servers.
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use genzoo_core::Noise;
use genzoo_lab::data::manifest::Manifest;
use sha2::{Digest, Sha256};

pub const TRAIN: usize = 12;
pub const TEST: usize = 6;
pub const PIXELS: usize = 784;
pub const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

pub fn pixels(train: bool) -> Vec<u8> {
    let (name, rows) = if train { ("train", TRAIN) } else { ("test", TEST) };
    Noise::new(1).fork(name).words(rows * PIXELS).iter().map(|w| (w >> 24) as u8).collect()
}

pub fn labels(train: bool) -> Vec<u8> {
    (0..if train { TRAIN } else { TEST }).map(|i| (i * 7 % 10) as u8).collect()
}

/// Written out by hand, so that the project's writer is not its own judge.
pub fn idx_images(pixels: &[u8]) -> Vec<u8> {
    let n = (pixels.len() / PIXELS) as u8;
    [&[0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28], pixels].concat()
}

pub fn idx_labels(labels: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 1, 0, 0, 0, labels.len() as u8], labels].concat()
}

/// The four idx files in the order of [`NAMES`].
pub fn files() -> [Vec<u8>; 4] {
    [
        idx_images(&pixels(true)),
        idx_labels(&labels(true)),
        idx_images(&pixels(false)),
        idx_labels(&labels(false)),
    ]
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut e = GzEncoder::new(Vec::new(), Compression::default());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

pub fn manifest_text() -> String {
    let mut text = String::from(
        "name = \"small\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\nshape = [1, 28, 28]\nclasses = 10\nvalidation = 4\n\
         [hub]\nrepo = \"zoo/small\"\nrevision = \"refs/convert/parquet\"\ntrain = \"small/train/0000.parquet\"\n\
         test = \"small/test/0000.parquet\"\nmax_bytes = 1000000\n",
    );
    let roles = ["train_images", "train_labels", "test_images", "test_labels"];
    let rows = [TRAIN, TRAIN, TEST, TEST];
    for (((role, name), rows), bytes) in roles.iter().zip(NAMES).zip(rows).zip(files()) {
        text += &format!(
            "[[file]]\nrole = \"{role}\"\nname = \"{name}\"\nrows = {rows}\nbytes = {}\nsha256 = \"{}\"\n",
            bytes.len(),
            sha256(&bytes)
        );
    }
    text
}

pub fn manifest() -> Manifest {
    Manifest::parse(&manifest_text(), "small/manifest.toml").unwrap()
}

/// Writes the four files, gzipped where `packed` says so.
pub fn write(dir: &Path, packed: [bool; 4]) {
    for ((name, bytes), packed) in NAMES.iter().zip(files()).zip(packed) {
        if packed {
            std::fs::write(dir.join(format!("{name}.gz")), gz(&bytes)).unwrap();
        } else {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

/// Every path below `dir`, sorted.
pub fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            out.extend(tree(&path));
        }
        out.push(path);
    }
    out.sort();
    out
}
