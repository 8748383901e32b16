//! A study: a question about methods, answered by curves with errors beside the line that theory draws.
//!
//! A suite compares trained models on the same data; a study runs a method against its own theory. A family lists its
//! studies as [`Study`]s beside its models; running, keeping, drawing and printing them is not its business. A study
//! is cut into parts of at most about a minute: each is a function of its name alone, kept as soon as it is finished
//! and found again when the study is run once more after an interruption.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Device, Error, Noise, Result};

/// A question that anyone can ask again with one command.
#[derive(Clone, Copy)]
pub struct Study {
    /// Name, as in `genzoo bench NAME`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where the claim stands.
    pub citation: &'static str,
    /// Answers it.
    pub run: fn(&mut Desk<'_>) -> Result<Page>,
}

/// How much a study may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Less than five minutes on two cores; errors are larger, claims are the same.
    Small,
    /// What the figures of the sources take.
    Full,
}

impl std::str::FromStr for Effort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "small" => Ok(Effort::Small),
            "full" => Ok(Effort::Full),
            other => Err(Error::unknown("budget", other, ["small", "full"])),
        }
    }
}

/// Keeps the finished parts of a study.
pub trait Memory {
    /// The part of this name, if it was finished before.
    fn recall(&mut self, part: &str) -> Result<Option<Value>>;
    /// Keeps a finished part.
    fn keep(&mut self, part: &str, value: &Value) -> Result<()>;
    /// Tells a person that work on this part begins.
    fn begin(&mut self, _part: &str) {}
}

/// A memory of nothing: every part is computed.
pub struct Forgetful;

impl Memory for Forgetful {
    fn recall(&mut self, _: &str) -> Result<Option<Value>> {
        Ok(None)
    }

    fn keep(&mut self, _: &str, _: &Value) -> Result<()> {
        Ok(())
    }
}

/// Where a study is worked out.
pub struct Desk<'a> {
    /// What it may cost.
    pub effort: Effort,
    /// Where tensors live.
    pub device: Device,
    noise: Noise,
    memory: &'a mut dyn Memory,
}

impl<'a> Desk<'a> {
    /// A desk whose draws follow from `noise`.
    pub fn new(effort: Effort, device: Device, noise: Noise, memory: &'a mut dyn Memory) -> Self {
        Self { effort, device, noise, memory }
    }

    /// `small` or `full`, after the effort.
    pub fn choose<T>(&self, small: T, full: T) -> T {
        match self.effort {
            Effort::Small => small,
            Effort::Full => full,
        }
    }

    /// The result of `work`, computed once. The noise that `work` gets is forked by `name`, so a part does not depend
    /// on which parts were computed before it.
    ///
    /// # Errors
    /// Those of `work`, and of what keeps the parts. A kept part of another form is computed again.
    pub fn part<T, F>(&mut self, name: &str, work: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(&mut Noise) -> Result<T>,
    {
        if let Some(found) = self.memory.recall(name)?.and_then(|v| serde_json::from_value(v).ok()) {
            return Ok(found);
        }
        self.memory.begin(name);
        let result = work(&mut self.noise.fork(name))?;
        let value = serde_json::to_value(&result)
            .map_err(|e| Error::Unsupported(format!("part '{name}' cannot be kept: {e}")))?;
        self.memory.keep(name, &value)?;
        Ok(result)
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// What was asked, and how it was tried, in a few sentences.
    pub about: String,
    /// What came out, the most important first.
    pub findings: Vec<Finding>,
    /// Curves.
    pub figures: Vec<Figure>,
    /// Numbers.
    pub tables: Vec<Listing>,
    /// Pictures made of rows of pixels.
    #[serde(default)]
    pub pictures: Vec<Picture>,
}

/// A claim and what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The claim, as a sentence that can be wrong.
    pub claim: String,
    /// What the measurement says of it.
    pub verdict: Verdict,
    /// The numbers behind the verdict, with their errors.
    pub because: String,
}

/// Whether a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The numbers agree with it within their errors.
    Holds,
    /// They exclude it.
    Fails,
    /// They are too uncertain to tell.
    Undecided,
}

impl Verdict {
    /// `Holds` or `Fails`.
    pub fn of(holds: bool) -> Self {
        if holds { Verdict::Holds } else { Verdict::Fails }
    }
}

/// Curves over the same axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The curves, theory included.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// Whether equal factors are equal lengths. Points that are not positive are then not shown.
    pub logarithmic: bool,
}

impl Axis {
    /// Equal differences are equal lengths.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), logarithmic: false }
    }

    /// Equal factors are equal lengths.
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Self { label: label.into(), logarithmic: true }
    }
}

/// One curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Whether it was measured or follows from theory; theory is drawn as a line without marks.
    pub theory: bool,
    /// Its points, by rising `x`.
    pub points: Vec<Point>,
}

/// A point with half the width of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Across.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// Half the width of the 95 % interval of `y`; `None` where there is no error.
    pub error: Option<f64>,
}

impl Series {
    /// A line that theory draws.
    pub fn theory(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y)| Point { x, y, error: None }).collect();
        Self { name: name.into(), theory: true, points }
    }

    /// Measured values with half the widths of their 95 % intervals.
    pub fn measured(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y, e)| Point { x, y, error: Some(e) }).collect();
        Self { name: name.into(), theory: false, points }
    }

    /// Measured values that have no error.
    pub fn exact(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { theory: false, ..Self::theory(name, points) }
    }
}

/// A table of text, numbers already written the way a person reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// What it shows.
    pub title: String,
    /// Its heads.
    pub columns: Vec<String>,
    /// Its lines, each as long as `columns`.
    pub lines: Vec<Vec<String>>,
}

/// Grey images in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// Width and height of one image, in pixels.
    pub size: (usize, usize),
    /// Grey values from 0 (black) to 1, image by image, each by rows.
    pub images: Vec<Vec<f32>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Shelf(BTreeMap<String, Value>, Vec<String>);

    impl Memory for Shelf {
        fn recall(&mut self, part: &str) -> Result<Option<Value>> {
            Ok(self.0.get(part).cloned())
        }

        fn keep(&mut self, part: &str, value: &Value) -> Result<()> {
            self.0.insert(part.into(), value.clone());
            Ok(())
        }

        fn begin(&mut self, part: &str) {
            self.1.push(part.into());
        }
    }

    fn run(shelf: &mut Shelf, names: &[&str]) -> Result<Vec<f64>> {
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(7), shelf);
        names.iter().map(|n| desk.part(n, |noise| Ok(noise.normals(1)[0]))).collect()
    }

    #[test]
    fn a_part_is_computed_once_and_depends_on_its_name_alone() -> Result<()> {
        let mut shelf = Shelf::default();
        let whole = run(&mut shelf, &["a", "b", "c"])?;
        assert_eq!(shelf.1, ["a", "b", "c"]);
        let mut cut = Shelf::default();
        run(&mut cut, &["b"])?;
        assert_eq!(run(&mut cut, &["a", "b", "c"])?, whole);
        assert_eq!(cut.1, ["b", "a", "c"]);
        // What is kept in another form is no answer.
        cut.0.insert("a".into(), Value::from("text"));
        assert_eq!(run(&mut cut, &["a"])?, whole[..1]);
        Ok(())
    }
}
