//! Data with addresses: row `i` of a split is a function of (data set, seed, i) and nothing else.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Density, Measurement, Result, Sampler, Tensor};

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For fitting. A fixed set is reshuffled each epoch.
    Train,
    /// For choosing.
    Validation,
    /// For reporting.
    Test,
}

/// The space on which a likelihood lives. Numbers of different spaces are never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// Real vectors.
    Continuous,
    /// Images of 0 and 1, drawn once.
    BinaryStatic,
    /// Images of 0 and 1, drawn anew each epoch.
    BinaryDynamic,
    /// Images of bytes, presented as `(k + u)/256` in `[0, 1)` with `u` uniform.
    U8,
}

impl Space {
    /// Nats, except bits per dimension for bytes.
    pub fn unit(self) -> &'static str {
        if self == Space::U8 { "bits_per_dim" } else { "nats" }
    }

    /// Whether the values are 0 or 1.
    pub fn is_binary(self) -> bool {
        matches!(self, Space::BinaryStatic | Space::BinaryDynamic)
    }
}

/// What a model may know of its data: never a name, a path or a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    /// Shape of one example: `[d]`, or `[1, 28, 28]`.
    pub shape: Vec<usize>,
    /// The space of the likelihood.
    pub space: Space,
    /// Number of classes where rows have labels.
    pub classes: Option<usize>,
    /// Smallest and largest possible value, where bounded.
    pub range: Option<(f64, f64)>,
}

impl DataSpec {
    /// Dimensions of one example, `D`.
    pub fn dims(&self) -> usize {
        self.shape.iter().product()
    }

    /// Channels, height and width if this is an image.
    pub fn image(&self) -> Option<(usize, usize, usize)> {
        match self.shape[..] {
            [c, h, w] => Some((c, h, w)),
            _ => None,
        }
    }

    /// `x` with every value brought into the range of the data, where it has one: what a sampler hands out.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn clamp(&self, x: &Tensor) -> Result<Tensor> {
        match self.range {
            Some((low, high)) => Ok(x.clamp(low, high)?),
            None => Ok(x.clone()),
        }
    }

    /// The shape of a batch of `b`.
    pub fn batch_shape(&self, b: usize) -> Vec<usize> {
        std::iter::once(b).chain(self.shape.iter().copied()).collect()
    }
}

/// Some rows of a data set.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `(b, event…)`, f32.
    pub x: Tensor,
    /// Class indices `(b,)`, u32.
    pub label: Option<Tensor>,
    /// The paired source, for data-to-data models, shaped like `x`.
    pub source: Option<Tensor>,
    /// The addresses of the rows on the endless line of their split.
    pub rows: Range<u64>,
}

impl Batch {
    /// Rows that are only `x`, numbered from 0.
    pub fn of(x: Tensor) -> Self {
        let b = x.dims().first().copied().unwrap_or(0) as u64;
        Self { x, label: None, source: None, rows: 0..b }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.x.dims().first().copied().unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A source of rows by address.
///
/// The line of addresses is endless: fresh toy data lets `i` count on, a fixed set of `n` rows serves row
/// `i mod n` (train: in an order redrawn each epoch `i / n`). Whatever is random in a row (its
/// dequantisation, its binarisation) is keyed by the address.
pub trait Dataset: Send + Sync {
    /// The canonical name with all parameters that differ from the defaults.
    fn name(&self) -> &str;
    /// What a model may know.
    fn spec(&self) -> &DataSpec;
    /// Number of rows of a split; `None` if fresh rows never end.
    fn len(&self, split: Split) -> Option<u64>;
    /// The rows with these addresses.
    fn rows(&self, split: Split, rows: Range<u64>) -> Result<Batch>;
    /// The exact model the data come from, where it is known.
    fn truth(&self) -> Option<&dyn Truth> {
        None
    }
    /// The share of each class in the training split, where it is known.
    fn class_shares(&self) -> Option<Vec<f64>> {
        None
    }
    /// sha256 of what defines the rows: the files, or the name and version of the generator.
    fn sha256(&self) -> String;
}

/// An exact model of data: density and sampler together.
pub trait Truth: Density + Sampler + Send + Sync {
    /// `∇ log p(x)`, shaped like `x`, where it exists in closed form.
    fn score(&self, x: &Tensor) -> Result<Option<Tensor>>;
    /// The differential entropy in nats: the floor of every mean negative log-likelihood.
    fn entropy(&self) -> Measurement;
    /// The modes and their masses, where the density has separate ones.
    fn modes(&self) -> Option<&Modes> {
        None
    }
}

/// Separate modes of a density.
#[derive(Clone, Debug, PartialEq)]
pub struct Modes {
    /// Centres, each of dimension `d`.
    pub centers: Vec<Vec<f64>>,
    /// Masses, summing to 1.
    pub masses: Vec<f64>,
    /// A sample belongs to its nearest centre if it lies within this distance of it.
    pub radius: f64,
}

/// The next rows, in order.
pub trait Stream {
    /// What a model may know of the rows.
    fn spec(&self) -> &DataSpec;
    /// The next `b` rows.
    fn next(&mut self, b: usize) -> Result<Batch>;
    /// Number of rows in one epoch; `None` if the rows never repeat.
    fn epoch(&self) -> Option<u64>;
}

/// A split of a data set, read from an address on.
pub struct RowStream<'a> {
    data: &'a dyn Dataset,
    split: Split,
    position: u64,
}

impl<'a> RowStream<'a> {
    /// Starts at address `position`.
    pub fn new(data: &'a dyn Dataset, split: Split, position: u64) -> Self {
        Self { data, split, position }
    }

    /// The address of the next row: with the data set, the whole state.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Moves to another address.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }
}

impl Stream for RowStream<'_> {
    fn spec(&self) -> &DataSpec {
        self.data.spec()
    }

    fn next(&mut self, b: usize) -> Result<Batch> {
        let batch = self.data.rows(self.split, self.position..self.position + b as u64)?;
        self.position += b as u64;
        Ok(batch)
    }

    fn epoch(&self) -> Option<u64> {
        self.data.len(self.split)
    }
}
