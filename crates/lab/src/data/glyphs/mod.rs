//! `glyphs`: grey handwritten-looking digits drawn from strokes, ten balanced classes, no file and no download.
//!
//! ```text
//! digit = item mod 10 → template → jitter → elastic waves → slant, rotation, aspect → size, centre of mass → pen
//! ```
//!
//! Like MNIST it is a fixed set: white on black, the longer side about 20 of 28 pixels, the centre of mass in the
//! middle, 60,000 training, 5,000 validation and 10,000 test rows. Unlike MNIST every row is a function of
//! (seed, split, item), and any `size` is drawn directly rather than shrunk.

mod pen;
mod pose;
#[rustfmt::skip] // a stroke is a line
mod templates;

use std::ops::Range;
use std::sync::OnceLock;

use genzoo_core::{Batch, DataSpec, Dataset, Noise, Result, Split};
use rayon::prelude::*;

use super::classes::{self, Choice};
use super::epochs::Epochs;
use super::pixels::{self, Pixels};
use super::{
    Accepts, Arguments, DatasetEntry, DatasetKind, OpenOptions, Parameter, generator_sha256, split_name,
};

pub(super) static GLYPHS: DatasetEntry = DatasetEntry {
    name: "glyphs",
    summary: "grey digits drawn from strokes, a stand-in for MNIST that needs no file",
    kind: DatasetKind::Image,
    parameters: &[
        Parameter {
            name: "size",
            default: "28",
            accepts: Accepts::Integer(8, 64),
            meaning: "height and width in pixels",
        },
        Parameter {
            name: "space",
            default: "u8",
            accepts: Accepts::OneOf(pixels::SPACES),
            meaning: "of the pixels",
        },
        classes::DIGITS,
        classes::MASSES,
    ],
    presets: &[],
    open: |arguments, options| Ok(Box::new(Glyphs::new(arguments, options)?)),
};

const TRAIN: u64 = 60_000;
const VALIDATION: u64 = 5_000;
const TEST: u64 = 10_000;

struct Glyphs {
    name: String,
    /// What defines the rows, in words.
    definition: String,
    spec: DataSpec,
    size: usize,
    noise: Noise,
    pixels: Pixels,
    epochs: Epochs,
    /// The items that each split serves, if not all.
    chosen: Option<[Vec<u32>; 3]>,
    /// What has been drawn so far, by split and item.
    drawn: [Vec<OnceLock<Box<[u8]>>>; 3],
}

impl Glyphs {
    fn new(arguments: &Arguments, options: &OpenOptions) -> Result<Self> {
        let size = arguments.integer("size")?;
        let space = pixels::space(arguments.word("space")?)?;
        let noise = Noise::new(options.seed).fork("data").fork("glyphs");
        let pixels = Pixels::new(&format!("glyphs{size}"), space, [1, size, size], &noise);
        let word = arguments.word("space")?;
        let mut definition = format!("genzoo glyphs 1: glyphs{{size={size},space={word}}}");
        let (mut lengths, mut chosen) = ([TRAIN, VALIDATION, TEST], None);
        if let Some(choice) = Choice::read(arguments)? {
            definition = format!("{definition} {}", choice.words());
            let of = |split: Split, n: u64| {
                let items: Vec<u32> = (0..n as u32).collect();
                choice.of(&items, |item| digit(item.into()), ("glyphs", split))
            };
            let items =
                [of(Split::Train, TRAIN)?, of(Split::Validation, VALIDATION)?, of(Split::Test, TEST)?];
            lengths = [0, 1, 2].map(|i| items[i].len() as u64);
            chosen = Some(items);
        }
        let [train, validation, test] = lengths;
        Ok(Self {
            name: arguments.name(),
            definition,
            spec: pixels.spec(Some(10)),
            size,
            epochs: Epochs::new(&noise, train, validation, test),
            chosen,
            noise,
            pixels,
            drawn: [TRAIN, VALIDATION, TEST].map(|n| (0..n).map(|_| OnceLock::new()).collect()),
        })
    }

    fn cache(&self, split: Split) -> &[OnceLock<Box<[u8]>>] {
        &self.drawn[split as usize]
    }
}

/// The digit that an item shows: every ten consecutive items show all ten.
fn digit(item: u64) -> u32 {
    (item % 10) as u32
}

/// The bytes of a digit, `size × size`, row by row.
fn draw(digit: u32, size: usize, noise: &mut Noise) -> Box<[u8]> {
    pen::render(&pose::strokes(digit, size, noise), size)
}

impl Dataset for Glyphs {
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
        let mut items = self.epochs.items(split, rows.clone())?;
        if let Some(chosen) = &self.chosen {
            items.iter_mut().for_each(|i| *i = u64::from(chosen[split as usize][*i as usize]));
        }
        let (noise, cache) = (self.noise.fork(split_name(split)), self.cache(split));
        let mut bytes = vec![0u8; items.len() * self.size * self.size];
        bytes.par_chunks_exact_mut(self.size * self.size).zip(&items).for_each(|(out, &item)| {
            let image =
                cache[item as usize].get_or_init(|| draw(digit(item), self.size, &mut noise.at(item)));
            out.copy_from_slice(image);
        });
        let labels = items.iter().map(|&item| digit(item)).collect();
        self.pixels.batch(split, rows, &items, &bytes, Some(labels))
    }

    fn class_shares(&self) -> Option<Vec<f64>> {
        let Some([train, ..]) = &self.chosen else { return Some(vec![0.1; 10]) };
        let share =
            |d: u32| train.iter().filter(|i| digit((**i).into()) == d).count() as f64 / train.len() as f64;
        Some((0..10).map(share).collect())
    }

    fn sha256(&self) -> String {
        generator_sha256(&self.definition)
    }
}

#[cfg(test)]
mod tests;
