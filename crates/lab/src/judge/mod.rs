//! The judge of small grey images: a classifier whose features are the space of all image metrics.
//!
//! ```text
//! image → bytes, 28×28 → 64 features → class probabilities
//! ```
//! Inception networks see photographs; on digits they measure little. A judge trained on the digits themselves, by our
//! own code, is small enough to be part of the binary. It sees samples and nothing else: no model, no family.
//!
//! | judge    | trained on                            | judges                          |
//! |----------|---------------------------------------|---------------------------------|
//! | `mnist`  | MNIST                                 | `mnist` in every space          |
//! | `glyphs` | `glyphs` and `glyphs{size=14}` in turn | `glyphs` of every size and space |
//!
//! `models/judge` holds the weights and says how they were made. The sha256 of the file is the judge's name in rows:
//! numbers of different judges are not comparable.

mod augment;
mod net;
mod pixels;
mod train;

use std::path::Path;
use std::sync::OnceLock;

use genzoo_core::{DType, Dataset, Device, Error, Noise, ParamStore, Result, Split, Tensor, checkpoint};
use genzoo_numerics::special::wilson_interval;

pub use net::FEATURES;
use net::Net;
pub use train::train;

/// Images per pass.
const PIECE: usize = 250;

/// A judge that is part of the binary.
pub struct Seat {
    /// Name: `mnist`.
    pub name: &'static str,
    /// The data sets it is trained on.
    pub sets: &'static [&'static str],
    /// Steps of its training.
    pub steps: u64,
    /// The weights, a safetensors file.
    weights: &'static [u8],
    taken: OnceLock<Judge>,
}

macro_rules! weights {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/judge/", $name, ".safetensors"))
    };
}

/// Every judge.
pub static JUDGES: [Seat; 2] = [
    Seat { name: "mnist", sets: &["mnist"], steps: 6000, weights: weights!("mnist"), taken: OnceLock::new() },
    Seat {
        name: "glyphs",
        sets: &["glyphs", "glyphs{size=14}"],
        steps: 1500,
        weights: weights!("glyphs"),
        taken: OnceLock::new(),
    },
];

/// The entry of this name.
///
/// # Errors
/// Names the nearest one; Inception networks are refused, because their weights are not ours to bundle.
pub fn find(name: &str) -> Result<&'static Seat> {
    if name.starts_with("inception") {
        return Err(Error::Unsupported(
            "inception features need weights that you supply: none are bundled, and this build cannot load any yet; \
             use mnist, glyphs or raw"
                .into(),
        ));
    }
    let found = JUDGES.iter().find(|j| j.name == name);
    found.ok_or_else(|| Error::unknown("judge", name, JUDGES.iter().map(|j| j.name)))
}

impl Seat {
    /// The judge itself, read on first use.
    ///
    /// # Errors
    /// If the weights in the binary are damaged.
    pub fn judge(&self) -> Result<&Judge> {
        if self.taken.get().is_none() {
            let judge = Judge::from_bytes(self.weights, Path::new(self.name))?;
            // Another thread may have been faster; its judge is the same.
            let _ = self.taken.set(judge);
        }
        self.taken.get().ok_or_else(|| Error::Unsupported(format!("the judge {} is not there", self.name)))
    }
}

/// A trained classifier of grey images.
pub struct Judge {
    sha256: String,
    net: Net,
    classes: usize,
}

/// What a judge says of some images.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// `(n, 64)`, f64.
    pub features: Tensor,
    /// Class probabilities, `(n, classes)`, f64.
    pub probabilities: Tensor,
}

/// How often a judge is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// Images named rightly.
    pub right: u64,
    /// Images seen.
    pub n: u64,
}

impl Accuracy {
    /// The share of right names.
    pub fn value(&self) -> f64 {
        self.right as f64 / self.n as f64
    }

    /// Wilson's 95 % interval.
    pub fn interval(&self) -> (f64, f64) {
        wilson_interval(self.right, self.n, 1.96)
    }
}

impl Judge {
    /// Reads the weights that [`train`] made.
    ///
    /// # Errors
    /// If the file cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        Self::from_bytes(&bytes, path)
    }

    fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let (tensors, _) = checkpoint::parse_tensors(bytes, path, &Device::Cpu)?;
        let classes = tensors.get("main/logits.bias").map_or(0, Tensor::elem_count);
        if classes < 2 {
            return Err(Error::file(
                path,
                "expected the weights of a judge, found no logits of two classes or more",
            ));
        }
        let params = ParamStore::new(&Noise::new(0), DType::F32, &Device::Cpu);
        let net = Net::new(classes, &params)?;
        params.load(&tensors).map_err(|e| Error::file(path, e.to_string()))?;
        Ok(Self { sha256: checkpoint::sha256(bytes), net: net.frozen(), classes })
    }

    /// sha256 of the file of its weights.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Features and class probabilities of images `(n, 1, h, w)` with values in [0, 1].
    ///
    /// # Errors
    /// For other shapes and for values outside [0, 1].
    pub fn judge(&self, x: &Tensor) -> Result<Verdict> {
        let n = x.dims().first().copied().unwrap_or(0);
        let (mut features, mut probabilities) = (Vec::new(), Vec::new());
        for start in (0..n).step_by(PIECE) {
            let x = pixels::prepare(&x.narrow(0, start, PIECE.min(n - start))?)?;
            let h = self.net.features(&x)?;
            let logits = self.net.logits(&h)?.to_dtype(DType::F64)?;
            let log_z = genzoo_core::math::log_sum_exp(&logits)?.unsqueeze(1)?;
            probabilities.push(logits.broadcast_sub(&log_z)?.exp()?);
            features.push(h.to_dtype(DType::F64)?);
        }
        let join = |parts: Vec<Tensor>, width: usize| match parts.is_empty() {
            true => Tensor::zeros((0, width), DType::F64, &Device::Cpu),
            false => Tensor::cat(&parts, 0),
        };
        Ok(Verdict { features: join(features, FEATURES)?, probabilities: join(probabilities, self.classes)? })
    }

    /// The features alone, `(n, 64)`, f64.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.judge(x)?.features)
    }

    /// How many rows of a split, at most `most`, it names rightly.
    ///
    /// # Errors
    /// If the rows cannot be read or have no labels.
    pub fn accuracy(&self, data: &dyn Dataset, split: Split, most: u64) -> Result<Accuracy> {
        let n = data.len(split).unwrap_or(most).min(most);
        let mut right = 0;
        for start in (0..n).step_by(1000) {
            let rows = data.rows(split, start..(start + 1000).min(n))?;
            let label = rows.label.ok_or_else(|| Error::data("rows", "labels", "none"))?.to_vec1::<u32>()?;
            let named = self.judge(&rows.x)?.probabilities.argmax(1)?.to_vec1::<u32>()?;
            right += named.iter().zip(&label).filter(|(a, b)| a == b).count() as u64;
        }
        Ok(Accuracy { right, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{OpenOptions, open};

    #[test]
    fn glyphs_are_named_at_every_size() -> Result<()> {
        for (name, least) in [("glyphs", 0.99f64), ("glyphs{size=14}", 0.99), ("glyphs{size=20}", 0.98)] {
            let data = open(name, &OpenOptions::default())?;
            let judge = find("glyphs")?.judge()?;
            let a = judge.accuracy(data.as_ref(), Split::Validation, 1000)?;
            // Four standard errors of a proportion of 1000 below what was measured.
            assert!(a.value() > least - 4.0 * (least * (1.0 - least) / 1000.0).sqrt(), "{name}: {a:?}");
            assert_eq!(a.n, 1000);
        }
        Ok(())
    }

    #[test]
    fn a_verdict_does_not_depend_on_the_neighbours() -> Result<()> {
        let data = open("glyphs", &OpenOptions::default())?;
        let judge = find("glyphs")?.judge()?;
        let x = data.rows(Split::Validation, 0..300)?.x;
        let all = judge.judge(&x)?;
        assert_eq!((all.features.dims(), all.probabilities.dims()), (&[300, FEATURES][..], &[300, 10][..]));
        let some = judge.judge(&x.narrow(0, 247, 9)?)?;
        let values = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f64>());
        assert_eq!(values(&all.features.narrow(0, 247, 9)?)?, values(&some.features)?);
        for p in all.probabilities.sum(1)?.to_vec1::<f64>()? {
            assert!((p - 1.0).abs() < 1e-12);
        }
        assert_eq!(judge.judge(&x.narrow(0, 0, 0)?)?.features.dims(), [0, FEATURES]);
        Ok(())
    }

    #[test]
    fn judges_are_found_by_name() -> Result<()> {
        assert_eq!(find("glyphs")?.judge()?.sha256().len(), 64);
        let e = |name: &str| find(name).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e("inception").contains("none are bundled"), "{}", e("inception"));
        assert!(e("mnits").contains("mnist"));
        Ok(())
    }

    #[test]
    fn other_files_are_refused() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        let path = dir.path().join("w.safetensors");
        let t = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
        for name in ["x", "main/logits.bias"] {
            let all = std::collections::BTreeMap::from([(name.to_string(), t.clone())]);
            checkpoint::write_tensors(&path, &all, std::collections::HashMap::new())?;
            let e = Judge::read(&path).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(e.contains("w.safetensors"), "{e}");
        }
        Ok(())
    }
}
