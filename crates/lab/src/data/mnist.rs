//! MNIST and sets of its shape, from local idx files that their manifest vouches for.
//!
//! | split      | rows                                                                          |
//! |------------|-------------------------------------------------------------------------------|
//! | train      | the training file without the validation rows: 55 000                         |
//! | validation | 5 000 rows of the training file, chosen once by the stream `validation/mnist` |
//! | test       | the test file: 10 000                                                         |
//!
//! Bytes are read once and shared. `space=u8` presents `x̃ = (k+u)/256`; `binary_dynamic` draws
//! `x ~ Bernoulli(k/255)` anew for every address; `binary_static` serves the files of Larochelle and Murray
//! (2011) with their own split and without labels where they lie in the folder, else one draw of ours. The name
//! of the opened data set says which of the two it is.

use std::ops::Range;
use std::path::Path;

use genzoo_core::{Batch, DataSpec, Dataset, Error, Noise, Result, Space, Split};
use sha2::{Digest, Sha256};

use super::classes::{self, Choice};
use super::epochs::Epochs;
use super::idx::{Idx, hex};
use super::manifest::{Larochelle, Manifest, Role};
use super::pixels::Pixels;
use super::registry::{Accepts, Arguments, DatasetEntry, DatasetKind, OpenOptions, Parameter};
use super::{amat, split_name};

/// The values `space=` accepts.
pub const SPACES: &[&str] =
    &["u8", "binary_dynamic", "binary_static", "binary_static(genzoo)", "binary_static(larochelle)"];

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "space",
        default: "u8",
        accepts: Accepts::OneOf(SPACES),
        meaning: "bytes, or pixels drawn as 0 and 1: anew each epoch, or once",
    },
    classes::DIGITS,
    classes::MASSES,
];

/// `mnist`.
pub static MNIST: DatasetEntry = DatasetEntry {
    name: "mnist",
    summary: "28×28 grey handwritten digits, 55,000 + 5,000 + 10,000, from local files or the hub",
    kind: DatasetKind::Image,
    parameters: PARAMETERS,
    presets: &[],
    open: |arguments, options| open("mnist", arguments, options),
};

/// `fashion-mnist`.
pub static FASHION_MNIST: DatasetEntry = DatasetEntry {
    name: "fashion-mnist",
    summary: "28×28 grey articles of clothing, 55,000 + 5,000 + 10,000, from local files",
    kind: DatasetKind::Image,
    parameters: PARAMETERS,
    presets: &[],
    open: |arguments, options| open("fashion-mnist", arguments, options),
};

/// Images with labels in memory.
#[derive(Debug)]
pub struct Images {
    name: String,
    spec: DataSpec,
    sha256: String,
    pixels: Pixels,
    epochs: Epochs,
    dims: usize,
    stores: Vec<Store>,
    splits: [Served; 3],
}

/// What a set is called and how its rows look.
pub(super) struct Set<'a> {
    /// The canonical name.
    pub(super) name: String,
    /// The name under which its noise is forked, the same in every space.
    pub(super) stream: &'a str,
    /// Channels, height and width.
    pub(super) shape: [usize; 3],
    /// Number of classes where rows have labels.
    pub(super) classes: Option<usize>,
    /// Which classes are served, if not all.
    pub(super) choice: Option<&'a Choice>,
}

/// The contents of one pair of files.
#[derive(Debug)]
struct Store {
    bytes: Vec<u8>,
    labels: Option<Vec<u8>>,
}

/// Which rows of which store a split serves; `None` serves all in order.
#[derive(Debug)]
struct Served {
    store: usize,
    index: Option<Vec<u32>>,
}

fn open(name: &str, arguments: &Arguments, options: &OpenOptions) -> Result<Box<dyn Dataset>> {
    let manifest = Manifest::named(name)?;
    let dir = options.data_dir.as_deref();
    let word = arguments.word("space")?;
    let choice = Choice::read(arguments)?;
    let larochelle = match word {
        // Those files have no labels to choose by.
        "binary_static" if choice.is_some() => None,
        "binary_static(larochelle)" if choice.is_some() => {
            let problem = "the files of Larochelle and Murray have no labels to choose classes by";
            return Err(Error::Unsupported(problem.into()));
        }
        "binary_static" => larochelle_folder(&manifest, dir),
        "binary_static(larochelle)" => {
            Some(larochelle_folder(&manifest, dir).unwrap_or_else(|| manifest.fetch_dir(dir)))
        }
        _ => None,
    };
    let images = match larochelle {
        Some(found) => Images::read_larochelle(&manifest, &found, options.seed)?,
        None => {
            let place = manifest.locate(dir)?;
            Images::read_chosen(&manifest, &place, space_of(word), choice.as_ref(), options.seed)?
        }
    };
    Ok(Box::new(images))
}

/// The space of a word of [`SPACES`].
pub(super) fn space_of(word: &str) -> Space {
    match word {
        "binary_dynamic" => Space::BinaryDynamic,
        "binary_static" | "binary_static(genzoo)" | "binary_static(larochelle)" => Space::BinaryStatic,
        _ => Space::U8,
    }
}

/// The word for images drawn from bytes by ourselves; `None` for the default.
pub(super) fn word_of(space: Space) -> Option<&'static str> {
    match space {
        Space::BinaryStatic => Some("binary_static(genzoo)"),
        Space::BinaryDynamic => Some("binary_dynamic"),
        Space::U8 | Space::Continuous => None,
    }
}

/// The first folder of the search path with all three files.
fn larochelle_folder(manifest: &Manifest, data_dir: Option<&Path>) -> Option<std::path::PathBuf> {
    let files = manifest.larochelle.as_ref()?;
    let all = |dir: &std::path::PathBuf| larochelle_files(files).iter().all(|f| amat::is_present(dir, f));
    manifest.search_path(data_dir).into_iter().find(all)
}

fn larochelle_files(files: &Larochelle) -> [&super::manifest::AmatFile; 3] {
    [&files.train, &files.validation, &files.test]
}

impl Images {
    /// Reads the four idx files in `dir`, checks them against the manifest and presents them in a space.
    ///
    /// # Errors
    /// [`Error::File`] naming the first file that is missing, damaged or not the manifest's.
    pub fn read(manifest: &Manifest, dir: &Path, space: Space, seed: u64) -> Result<Self> {
        Self::read_chosen(manifest, dir, space, None, seed)
    }

    fn read_chosen(
        manifest: &Manifest,
        dir: &Path,
        space: Space,
        choice: Option<&Choice>,
        seed: u64,
    ) -> Result<Self> {
        let [train, train_labels, test, test_labels] = Role::ALL.map(|role| manifest.read(role, dir));
        let (train, test) = ((train?, train_labels?), (test?, test_labels?));
        let space_word = word_of(space).map(|w| format!("space={w}"));
        let words: Vec<String> =
            space_word.into_iter().chain(choice.map(|c| c.words().to_string())).collect();
        let parameters = if words.is_empty() { String::new() } else { format!("{{{}}}", words.join(",")) };
        let set = Set {
            name: format!("{}{parameters}", manifest.name),
            stream: &manifest.name,
            shape: manifest.shape,
            classes: Some(manifest.classes),
            choice,
        };
        Self::from_files(&set, space, seed, train, test, manifest.validation)
    }

    /// Of images and labels of the training file and of the test file; the last argument is how many of the
    /// training rows become the validation split.
    ///
    /// # Errors
    /// If a chosen class has no row.
    pub(super) fn from_files(
        set: &Set<'_>,
        space: Space,
        seed: u64,
        train: (Idx, Idx),
        test: (Idx, Idx),
        validation: usize,
    ) -> Result<Self> {
        let (chosen, held_out) = validation_split(set.stream, train.0.dims[0], validation);
        let mut served =
            [(0, Split::Train, Some(chosen)), (0, Split::Validation, Some(held_out)), (1, Split::Test, None)];
        let mut hash = Sha256::new();
        if let Some(choice) = set.choice {
            hash.update(format!("{}\n", choice.words()));
            for (store, split, index) in &mut served {
                let (images, labels) = [&train, &test][*store];
                let rows = index.take().unwrap_or_else(|| (0..images.dims[0] as u32).collect());
                let label = |row: u32| u32::from(labels.data[row as usize]);
                *index = Some(choice.of(&rows, label, (set.stream, *split))?);
            }
        }
        let stores = [train, test].map(|(images, labels)| {
            hash.update(format!("{}\n{}\n", images.sha256, labels.sha256));
            let labels = Some(labels.data);
            Store { bytes: images.data, labels }
        });
        let splits = served.map(|(store, _, index)| Served { store, index });
        Ok(Self::new(set, space, seed, hex(&hash.finalize()), stores.into(), splits))
    }

    /// Reads the fixed binarisation of Larochelle and Murray from `dir`.
    ///
    /// # Errors
    /// [`Error::File`] naming the first file that is missing or not the manifest's.
    pub fn read_larochelle(manifest: &Manifest, dir: &Path, seed: u64) -> Result<Self> {
        let Some(files) = &manifest.larochelle else {
            let problem = format!("{} has no binarisation by Larochelle and Murray", manifest.name);
            return Err(Error::Unsupported(problem));
        };
        let pixels = manifest.shape.iter().product();
        let mut hash = Sha256::new();
        let mut stores = Vec::new();
        for file in larochelle_files(files) {
            // Bytes 0 and 255 are drawn as exactly 0 and 1.
            let bytes = amat::read(dir, file, pixels)?.into_iter().map(|b| b * 255).collect();
            hash.update(format!("{}\n", file.sha256));
            stores.push(Store { bytes, labels: None });
        }
        let set = Set {
            name: format!("{}{{space=binary_static(larochelle)}}", manifest.name),
            stream: &manifest.name,
            shape: manifest.shape,
            classes: None,
            choice: None,
        };
        let splits = [0, 1, 2].map(|store| Served { store, index: None });
        Ok(Self::new(&set, Space::BinaryStatic, seed, hex(&hash.finalize()), stores, splits))
    }

    fn new(
        set: &Set<'_>,
        space: Space,
        seed: u64,
        sha256: String,
        stores: Vec<Store>,
        splits: [Served; 3],
    ) -> Self {
        let noise = Noise::new(seed).fork(set.stream);
        let dims: usize = set.shape.iter().product();
        let rows = |s: &Served| s.index.as_ref().map_or(stores[s.store].bytes.len() / dims, Vec::len) as u64;
        let epochs = Epochs::new(&noise, rows(&splits[0]), rows(&splits[1]), rows(&splits[2]));
        let pixels = Pixels::new(set.stream, space, set.shape, &noise);
        let spec = pixels.spec(set.classes);
        Self { name: set.name.clone(), spec, sha256, pixels, epochs, dims, stores, splits }
    }
}

/// Training rows and validation rows, both in the order of the file. The choice is the same for every seed.
fn validation_split(name: &str, rows: usize, validation: usize) -> (Vec<u32>, Vec<u32>) {
    let order = Noise::new(0).fork("validation").fork(name).permutation(rows);
    let mut chosen = vec![false; rows];
    for &i in order.iter().take(validation) {
        chosen[i] = true;
    }
    let pick = |which: bool| (0..rows as u32).filter(|i| chosen[*i as usize] == which).collect();
    (pick(false), pick(true))
}

impl Dataset for Images {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> &DataSpec {
        &self.spec
    }

    fn len(&self, split: Split) -> Option<u64> {
        Some(self.epochs.len(split))
    }

    fn rows(&self, split: Split, rows: Range<u64>) -> Result<Batch> {
        let served = &self.splits[split as usize];
        let store = &self.stores[served.store];
        let mut items = self.epochs.items(split, rows.clone())?;
        if let Some(index) = &served.index {
            items.iter_mut().for_each(|i| *i = u64::from(index[*i as usize]));
        }
        let mut bytes = Vec::with_capacity(items.len() * self.dims);
        for &i in &items {
            let at = i as usize * self.dims;
            let row = store.bytes.get(at..at + self.dims);
            bytes.extend_from_slice(row.ok_or_else(|| self.out_of_range(split, i))?);
        }
        let labels = store.labels.as_ref().map(|l| items.iter().map(|&i| u32::from(l[i as usize])).collect());
        self.pixels.batch(split, rows, &items, &bytes, labels)
    }

    fn class_shares(&self) -> Option<Vec<f64>> {
        let train = &self.splits[Split::Train as usize];
        let labels = self.stores[train.store].labels.as_ref()?;
        let items: Vec<usize> = match &train.index {
            Some(index) => index.iter().map(|i| *i as usize).collect(),
            None => (0..labels.len()).collect(),
        };
        let mut counts = vec![0u64; self.spec.classes?];
        for &i in &items {
            if let Some(count) = counts.get_mut(usize::from(labels[i])) {
                *count += 1;
            }
        }
        Some(counts.into_iter().map(|c| c as f64 / items.len() as f64).collect())
    }

    fn sha256(&self) -> String {
        self.sha256.clone()
    }
}

impl Images {
    fn out_of_range(&self, split: Split, item: u64) -> Error {
        Error::data(format!("{} {}", self.name, split_name(split)), "a row of the file", item)
    }
}
