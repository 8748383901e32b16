//! Opening a data set by its name, `name[@preset][{key=value,…}]`.

use std::path::PathBuf;

use genzoo_core::{Dataset, Error, Result};

use super::{classes, glyphs, idx_folder, manifest, mnist, toys};

/// Every data set: listing, help and opening follow from this slice.
pub static DATASETS: &[&DatasetEntry] = &[
    &toys::GAUSSIANS8,
    &toys::GRID25,
    &toys::MOONS,
    &toys::CIRCLES,
    &toys::RINGS,
    &toys::CHECKERBOARD,
    &toys::PINWHEEL,
    &toys::SPIRALS,
    &toys::SWISSROLL,
    &toys::SCURVE,
    &toys::FUNNEL,
    &toys::BANANA,
    &toys::TWO_MODES,
    &toys::MIXTURE1D,
    &glyphs::GLYPHS,
    &mnist::MNIST,
    &mnist::FASHION_MNIST,
    &idx_folder::IDX,
];

/// Where data lie and how they are drawn.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The folder with files of real data.
    pub data_dir: Option<PathBuf>,
    /// The seed of generated rows, orders, dequantisation.
    pub seed: u64,
}

/// What sort of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetKind {
    /// Points with an exact density.
    Toy,
    /// Images.
    Image,
}

impl DatasetKind {
    /// The word in listings.
    pub fn name(self) -> &'static str {
        match self {
            DatasetKind::Toy => "toy",
            DatasetKind::Image => "image",
        }
    }
}

/// A data set that can be opened by name.
#[derive(Debug)]
pub struct DatasetEntry {
    /// Name, as in `--data NAME`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What sort of data.
    pub kind: DatasetKind,
    /// What may stand between the braces, in canonical order.
    pub parameters: &'static [Parameter],
    /// What may stand after `@`.
    pub presets: &'static [Preset],
    /// Opens it with checked arguments.
    pub open: fn(&Arguments, &OpenOptions) -> Result<Box<dyn Dataset>>,
}

/// A parameter of a data set.
#[derive(Debug)]
pub struct Parameter {
    /// The key.
    pub name: &'static str,
    /// The default, as one would write it.
    pub default: &'static str,
    /// Which values are accepted.
    pub accepts: Accepts,
    /// What it means.
    pub meaning: &'static str,
}

/// Which values a parameter accepts.
#[derive(Clone, Copy, Debug)]
pub enum Accepts {
    /// Any finite number.
    Number,
    /// A finite number above 0.
    Positive,
    /// A finite number not below this one.
    AtLeast(f64),
    /// A number strictly between 0 and 1.
    Fraction,
    /// A whole number within bounds, both included.
    Integer(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A plain name of a file or folder.
    Name,
    /// Distinct digits in brackets, one or more.
    Digits,
    /// Numbers above 0 in brackets, or none.
    Masses,
}

/// Values of another author's definition.
#[derive(Debug)]
pub struct Preset {
    /// The name after `@`.
    pub name: &'static str,
    /// The values that differ from the defaults.
    pub values: &'static [(&'static str, &'static str)],
    /// Whose definition it is.
    pub source: &'static str,
}

/// The checked values of all parameters of an entry.
#[derive(Debug)]
pub struct Arguments {
    entry: &'static DatasetEntry,
    values: Vec<String>,
}

impl Arguments {
    /// The name of the entry, without parameters.
    pub fn entry_name(&self) -> &'static str {
        self.entry.name
    }

    /// The canonical name: only values that differ from the defaults.
    pub fn name(&self) -> String {
        self.written(|p, v| canonical(p.accepts, p.default) != v)
    }

    /// The name with every value.
    pub fn full_name(&self) -> String {
        self.written(|_, _| true)
    }

    /// A number.
    ///
    /// # Errors
    /// If the entry has no such parameter.
    pub fn number(&self, key: &str) -> Result<f64> {
        let text = self.word(key)?;
        text.parse().map_err(|_| Error::config(key, "a number", text))
    }

    /// A whole number.
    ///
    /// # Errors
    /// If the entry has no such parameter.
    pub fn integer(&self, key: &str) -> Result<usize> {
        let text = self.word(key)?;
        text.parse().map_err(|_| Error::config(key, "a whole number", text))
    }

    /// The value as text.
    ///
    /// # Errors
    /// If the entry has no such parameter.
    pub fn word(&self, key: &str) -> Result<&str> {
        let found = self.entry.parameters.iter().position(|p| p.name == key);
        found.map(|i| self.values[i].as_str()).ok_or_else(|| self.unknown(key))
    }

    fn unknown(&self, key: &str) -> Error {
        Error::unknown("data set parameter", key, self.entry.parameters.iter().map(|p| p.name))
    }

    fn written(&self, keep: impl Fn(&Parameter, &str) -> bool) -> String {
        let pairs = self.entry.parameters.iter().zip(&self.values).filter(|(p, v)| keep(p, v));
        let pairs: Vec<String> = pairs.map(|(p, v)| format!("{}={v}", p.name)).collect();
        if pairs.is_empty() {
            self.entry.name.to_string()
        } else {
            format!("{}{{{}}}", self.entry.name, pairs.join(","))
        }
    }

    fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let i = self.entry.parameters.iter().position(|p| p.name == key).ok_or_else(|| self.unknown(key))?;
        let parameter = &self.entry.parameters[i];
        if !parameter.accepts.admits(text) {
            return Err(Error::config(
                format!("{}{{{key}}}", self.entry.name),
                parameter.accepts.words(),
                text,
            ));
        }
        self.values[i] = canonical(parameter.accepts, text);
        Ok(())
    }
}

impl Accepts {
    fn admits(self, text: &str) -> bool {
        let number =
            |admits: &dyn Fn(f64) -> bool| text.parse().is_ok_and(|v: f64| v.is_finite() && admits(v));
        match self {
            Accepts::Number => number(&|_| true),
            Accepts::Positive => number(&|v| v > 0.0),
            Accepts::AtLeast(low) => number(&|v| v >= low),
            Accepts::Fraction => number(&|v| v > 0.0 && v < 1.0),
            Accepts::Integer(low, high) => text.parse().is_ok_and(|v: u64| (low..=high).contains(&v)),
            Accepts::OneOf(words) => words.contains(&text),
            Accepts::Name => manifest::is_plain_name(text),
            Accepts::Digits => classes::list(text).is_some_and(|d| {
                let digit = |v: &f64| v.fract() == 0.0 && (0.0..10.0).contains(v);
                let fresh = |i: usize| !d[..i].contains(&d[i]);
                !d.is_empty() && d.iter().all(digit) && (0..d.len()).all(fresh)
            }),
            Accepts::Masses => classes::list(text).is_some_and(|m| m.iter().all(|v| *v > 0.0)),
        }
    }

    /// What is accepted, in words.
    pub fn words(self) -> String {
        match self {
            Accepts::Number => "a finite number".into(),
            Accepts::Positive => "a number above 0".into(),
            Accepts::AtLeast(low) => format!("a number of at least {low}"),
            Accepts::Fraction => "a number between 0 and 1".into(),
            Accepts::Integer(low, high) => format!("a whole number from {low} to {high}"),
            Accepts::OneOf(words) => format!("one of {}", words.join(", ")),
            Accepts::Name => "a name of letters, digits, '.', '_' and '-'".into(),
            Accepts::Digits => "distinct digits in brackets, such as [2,3,6]".into(),
            Accepts::Masses => "numbers above 0 in brackets, such as [4,2,1], or []".into(),
        }
    }
}

/// One spelling per value: `1.0`, `1` and `1e0` are the same data set.
fn canonical(accepts: Accepts, text: &str) -> String {
    match accepts {
        Accepts::OneOf(_) | Accepts::Name => text.to_string(),
        Accepts::Digits | Accepts::Masses => {
            let numbers = classes::list(text).unwrap_or_default();
            format!("[{}]", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(","))
        }
        // Adding 0 turns −0 into 0.
        _ => text.parse::<f64>().map_or_else(|_| text.to_string(), |v| (v + 0.0).to_string()),
    }
}

/// Opens the data set that `spec` names.
///
/// # Errors
/// If the name, preset or a key is unknown (the nearest valid one is suggested), a value cannot be used, the
/// text is malformed, or the data cannot be read.
pub fn open(spec: &str, options: &OpenOptions) -> Result<Box<dyn Dataset>> {
    let arguments = parse(spec, DATASETS)?;
    (arguments.entry.open)(&arguments, options)
}

fn parse(spec: &str, entries: &[&'static DatasetEntry]) -> Result<Arguments> {
    let spec = spec.trim();
    let malformed =
        || Error::config("data set", "name, name@preset or name{key=value,…}", format!("'{spec}'"));
    let (head, body) = match spec.split_once('{') {
        None => (spec, None),
        Some((head, rest)) => (head, Some(rest.strip_suffix('}').ok_or_else(malformed)?)),
    };
    let (name, preset) = match head.split_once('@') {
        None => (head.trim(), None),
        Some((name, preset)) => (name.trim(), Some(preset.trim())),
    };
    let entry = entries.iter().copied().find(|e| e.name == name);
    let entry = entry.ok_or_else(|| Error::unknown("data set", name, entries.iter().map(|e| e.name)))?;
    let values = entry.parameters.iter().map(|p| canonical(p.accepts, p.default)).collect();
    let mut arguments = Arguments { entry, values };
    if let Some(preset) = preset {
        let found = entry.presets.iter().find(|p| p.name == preset);
        let found =
            found.ok_or_else(|| Error::unknown("preset", preset, entry.presets.iter().map(|p| p.name)))?;
        for (key, value) in found.values {
            arguments.set(key, value)?;
        }
    }
    let mut seen = Vec::new();
    for pair in pairs(body.unwrap_or("")).map(str::trim).filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(malformed)?;
        let (key, value) = (key.trim(), value.trim());
        if seen.contains(&key) {
            return Err(Error::config(format!("{name}{{{key}}}"), "the key once", "twice"));
        }
        seen.push(key);
        arguments.set(key, value)?;
    }
    Ok(arguments)
}

/// The parts between commas; a comma in brackets belongs to a list.
fn pairs(body: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    body.split(move |c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(spec: &str) -> Result<String> {
        parse(spec, DATASETS).map(|a| a.name())
    }

    fn refusal(spec: &str) -> String {
        name(spec).unwrap_err().to_string()
    }

    #[test]
    fn names_are_canonical() {
        for (spec, canonical) in [
            ("moons", "moons"),
            (" moons { noise = 0.10 } ", "moons"),
            ("moons{}", "moons"),
            ("gaussians8{sd=1.0,radius=5}", "gaussians8{radius=5,sd=1}"),
            ("gaussians8@torchcfm", "gaussians8{radius=5,sd=1}"),
            ("gaussians8@torchcfm{sd=2e0}", "gaussians8{radius=5,sd=2}"),
            ("two-modes{d=3,left=-0}", "two-modes{d=3,left=0}"),
            ("glyphs{digits=[ 2, 3,6.0],size=14}", "glyphs{size=14,digits=[2,3,6]}"),
            ("glyphs{masses=[],digits=[0,1,2,3,4,5,6,7,8,9]}", "glyphs"),
            ("mnist{digits=[2,3,6],masses=[4,2,1]}", "mnist{digits=[2,3,6],masses=[4,2,1]}"),
        ] {
            assert_eq!(name(spec).unwrap(), canonical, "{spec}");
            assert_eq!(name(canonical).unwrap(), canonical);
        }
    }

    #[test]
    fn unknown_names_suggest_the_nearest() {
        assert_eq!(refusal("moon"), "unknown data set 'moon', did you mean 'moons'?");
        assert_eq!(refusal("moons{nois=1}"), "unknown data set parameter 'nois', did you mean 'noise'?");
        assert_eq!(refusal("moons@torchcfn"), "unknown preset 'torchcfn', did you mean 'torchcfm'?");
        assert_eq!(refusal(""), "unknown data set ''");
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        assert_eq!(refusal("gaussians8{sd=-1}"), "gaussians8{sd}: expected a number above 0, got -1");
        assert_eq!(refusal("gaussians8{sd=nan}"), "gaussians8{sd}: expected a number above 0, got nan");
        assert_eq!(refusal("moons{noise=0}"), "moons{noise}: expected a number of at least 0.001, got 0");
        assert_eq!(refusal("funnel{d=1}"), "funnel{d}: expected a whole number from 2 to 4096, got 1");
        assert_eq!(refusal("funnel{d=2.5}"), "funnel{d}: expected a whole number from 2 to 4096, got 2.5");
        assert_eq!(refusal("two-modes{mass=1}"), "two-modes{mass}: expected a number between 0 and 1, got 1");
        assert_eq!(refusal("moons{noise=1,noise=2}"), "moons{noise}: expected the key once, got twice");
        for digits in ["[2,2]", "[]", "[10]", "[2.5]", "2"] {
            let e = refusal(&format!("glyphs{{digits={digits}}}"));
            assert!(e.starts_with("glyphs{digits}: expected distinct digits in brackets"), "{e}");
        }
        assert!(refusal("glyphs{masses=[1,-1]}").contains("numbers above 0 in brackets"));
        for malformed in ["moons{noise", "moons{noise}", "moons{noise=1}x"] {
            assert!(refusal(malformed).contains("name{key=value,…}"), "{malformed}: {}", refusal(malformed));
        }
    }

    #[test]
    fn defaults_and_presets_are_valid_and_open() {
        for entry in DATASETS {
            for p in entry.parameters {
                assert!(p.accepts.admits(p.default), "{}{{{}={}}}", entry.name, p.name, p.default);
            }
            for preset in entry.presets {
                let spec = format!("{}@{}", entry.name, preset.name);
                let arguments = parse(&spec, DATASETS).unwrap();
                assert_eq!(arguments.full_name(), parse(&arguments.name(), DATASETS).unwrap().full_name());
            }
        }
    }
}
