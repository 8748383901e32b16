//! One row per model, data set and seed: the contract between runs, reports and the world.
//!
//! A row is one JSON object on one line. Absent knowledge is `null`, never 0. Rows are appended as soon as they
//! exist and synced, so a crash loses at most the row being written; a torn line is passed over with a warning.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use genzoo_core::checkpoint::sha256;
use genzoo_core::{Error, Kind, Measurement, Result, Space};
use serde::{Deserialize, Serialize};

/// The version of the format.
pub const SCHEMA: u32 = 1;
/// Largest file of rows that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// One model on one data set with one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The suite it belongs to.
    pub suite: String,
    /// Model.
    pub model: String,
    /// Family, or `baseline`.
    pub family: String,
    /// Data set with the parameters that differ from its defaults.
    pub dataset: String,
    /// Seed of training.
    pub seed: u64,
    /// How it ended.
    pub status: Status,
    /// Why, unless all is well.
    pub reason: Option<String>,
    /// Number of parameters.
    pub parameters: Option<u64>,
    /// The weights that were judged: `raw` or `ema`.
    pub weights: String,
    /// What training was allowed to cost.
    pub budget: Budget,
    /// What it cost; `None` for what is not trained.
    pub train: Option<TrainStats>,
    /// The likelihood the row is ranked by.
    pub likelihood: Option<Likelihood>,
    /// Others that were measured.
    #[serde(default)]
    pub likelihoods: Vec<Likelihood>,
    /// Sample quality by metric, in the order of the metrics.
    #[serde(default, with = "ordered")]
    pub quality: Vec<(String, Measurement)>,
    /// How often each class comes among the samples, where a judge named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Share>,
    /// Speed of each sampler.
    #[serde(default)]
    pub sampling: Vec<Sampling>,
    /// Samples at other settings of the samplers, if they were swept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<Operating>,
    /// Where it ran: `cpu`, `threads`, `device` and whatever else was known.
    pub machine: serde_json::Value,
    /// Version of genzoo.
    pub version: String,
    /// Commit it was built from, if known.
    pub commit: Option<String>,
    /// What defines the data.
    pub data_sha256: Option<String>,
    /// What defines the training.
    pub recipe_sha256: Option<String>,
    /// The command that makes this row again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// sha256 of the judge in whose features images were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_sha256: Option<String>,
    /// What tells the test rows of the likelihood from others: models can be paired where it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_rows: Option<String>,
    /// The folder of its run beside `rows.jsonl`, where the usual name was taken by a run of another budget or recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What each test row costs, in the unit of the likelihood, where [`per_row`](crate::per_row) found it.
    #[serde(skip)]
    pub nll: Vec<f64>,
}

/// How a row ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should.
    #[default]
    Ok,
    /// A loss, gradient or weight stopped being finite.
    Diverged,
    /// An error, or a number that cannot be true.
    Failed,
    /// It took too long.
    Timeout,
}

impl Status {
    /// The word in rows and tables.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Diverged => "diverged",
            Status::Failed => "failed",
            Status::Timeout => "timeout",
        }
    }
}

/// What training was allowed to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Seconds of pure training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Training examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<u64>,
}

/// What training cost and where it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainStats {
    /// Steps done.
    pub steps: u64,
    /// Training examples seen.
    pub examples: u64,
    /// Seconds of pure training.
    pub seconds: f64,
    /// Examples per second of pure training.
    pub examples_per_second: f64,
    /// Largest resident memory of the process so far, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// The last logged loss; families define it differently.
    pub final_loss: Option<f64>,
}

/// A negative log-likelihood per example with all that is needed to read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The mean negative log-likelihood.
    pub value: f64,
    /// One standard error: `√(var/n + shared²)`.
    pub stderr: f64,
    /// Test rows it rests on.
    pub n: u64,
    /// `nats`, or `bits_per_dim`.
    pub unit: String,
    /// What it says of the true log p.
    pub kind: Kind,
    /// The space whose measure it refers to.
    pub space: Space,
    /// How it was computed.
    pub method: String,
    /// The entropy of the data, where known: no model can be below.
    pub floor: Option<f64>,
    /// For estimates: how far discretisation may have moved the value, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// The speed of one sampler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Its name.
    pub sampler: String,
    /// Network evaluations spent on each example, as counted.
    pub evaluations: u64,
    /// Examples per second in large batches.
    pub examples_per_second: Option<f64>,
    /// Seconds until a single example stands.
    pub seconds_to_first: Option<f64>,
}

/// How often one class comes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Samples named so, as a part of all.
    pub share: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The true share, where known.
    #[serde(rename = "true", default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<f64>,
}

/// Samples of one setting of a sampler: what they cost, and how good they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operating {
    /// The sampler.
    pub sampler: String,
    /// The option that was swept.
    pub option: String,
    /// Its value.
    pub setting: i64,
    /// Network evaluations spent on each example, as counted.
    pub evaluations: u64,
    /// Examples per second in large batches.
    pub examples_per_second: Option<f64>,
    /// Sample quality by metric.
    #[serde(default, with = "ordered")]
    pub quality: Vec<(String, Measurement)>,
}

impl Row {
    /// A metric of the row.
    pub fn metric(&self, name: &str) -> Option<&Measurement> {
        self.quality.iter().find(|(n, _)| n == name).map(|(_, m)| m)
    }

    /// The folder of its run beside `rows.jsonl`: `moons-realnvp-0`.
    pub fn folder(&self) -> String {
        let usual = || format!("{}-{}-{}", self.dataset, self.model, self.seed);
        folder_name(&self.run.clone().unwrap_or_else(usual))
    }
}

/// A name made safe for a folder: letters, digits, `.`, `_`, and `-` for runs of anything else. What is longer than
/// 64 characters is cut and ends in eight digits of the sha256 of the whole, so that two long names stay two.
pub fn folder_name(name: &str) -> String {
    const LONGEST: usize = 64;
    let mut out = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        if !(c == '-' && out.ends_with('-')) {
            out.push(c);
        }
    }
    let out = out.trim_matches(['-', '.']);
    match out.len() {
        0 => "run".into(),
        1..=LONGEST => out.into(),
        // Only ASCII is left, so that bytes are characters.
        _ => format!("{}-{}", &out[..LONGEST - 9], &sha256(name.as_bytes())[..8]),
    }
}

/// Appends a row and waits until the disk has it. A torn last line of a crash stays alone on its line.
///
/// # Errors
/// If the disk refuses.
pub fn append(path: &Path, row: &Row) -> Result<()> {
    let json = serde_json::to_string(row).map_err(|e| Error::file(path, e.to_string()))?;
    let mut open = OpenOptions::new();
    let mut file = open.read(true).append(true).create(true).open(path).map_err(Error::io("open", path))?;
    let separator = if ends_in_line(&mut file).map_err(Error::io("read", path))? { "" } else { "\n" };
    file.write_all(format!("{separator}{json}\n").as_bytes()).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("sync", path))
}

fn ends_in_line(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0] == b'\n')
}

/// All rows of a file, and a warning for each line that is none. A missing file has no rows.
///
/// # Errors
/// If the file cannot be read or is far too large.
pub fn read(path: &Path) -> Result<(Vec<Row>, Vec<String>)> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        opened => opened.map_err(Error::io("read", path))?,
    };
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    if length > MAX_FILE {
        return Err(Error::file(
            path,
            format!("expected rows, at most {MAX_FILE} bytes; found {length} bytes"),
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let (mut rows, mut warnings) = (Vec::new(), Vec::new());
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(line) {
            Ok(row) => rows.push(row),
            Err(problem) => warnings.push(format!("{} line {}: {problem}; ignored", path.display(), i + 1)),
        }
    }
    Ok((rows, warnings))
}

fn parse(line: &[u8]) -> std::result::Result<Row, String> {
    let row: Row = serde_json::from_slice(line).map_err(|e| format!("not a row ({e})"))?;
    if row.schema == SCHEMA { Ok(row) } else { Err(format!("schema {} instead of {SCHEMA}", row.schema)) }
}

/// A list of named values as a JSON object that keeps its order.
mod ordered {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde::ser::{Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        list: &[(String, T)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(list.iter().map(|(k, v)| (k, v)))
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Vec<(String, T)>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Vec<(String, T)>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    list.push(pair);
                }
                Ok(list)
            }
        }
        from.deserialize_map(Pairs(PhantomData))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use genzoo_core::Better;

    /// A row that knows only what it is about.
    pub(crate) fn bare(suite: &str, model: &str, family: &str, dataset: &str, seed: u64) -> Row {
        let (suite, model, family, dataset) = (suite.into(), model.into(), family.into(), dataset.into());
        Row { schema: SCHEMA, suite, model, family, dataset, seed, weights: "raw".into(), ..Row::default() }
    }

    /// A row like that of the design.
    pub(crate) fn specimen() -> Row {
        let mmd2 = Measurement {
            value: Some(0.0004),
            stderr: Some(0.0001),
            n: 2000,
            unit: "1".into(),
            better: Better::Lower,
            floor: Some(0.0001),
        };
        Row {
            parameters: Some(12345),
            budget: Budget { seconds: Some(10.0), ..Budget::default() },
            train: Some(TrainStats {
                steps: 2000,
                examples: 1_024_000,
                seconds: 9.7,
                examples_per_second: 105_567.0,
                peak_rss_bytes: Some(73_400_320),
                final_loss: Some(1.2),
            }),
            likelihood: Some(Likelihood {
                value: 2.42,
                stderr: 0.01,
                n: 10_000,
                unit: "nats".into(),
                kind: Kind::Exact,
                space: Space::Continuous,
                method: "change_of_variables".into(),
                floor: Some(2.399),
                tolerance: None,
            }),
            quality: vec![("mmd2_unbiased".into(), mmd2.clone()), ("energy".into(), mmd2)],
            sampling: vec![Sampling {
                sampler: "inverse".into(),
                evaluations: 1,
                examples_per_second: Some(210_000.0),
                seconds_to_first: Some(0.002),
            }],
            machine: serde_json::json!({"cpu": "a cpu", "threads": 2, "device": "cpu"}),
            version: "0.1.0".into(),
            commit: Some("abc".into()),
            data_sha256: Some("d".into()),
            recipe_sha256: Some("r".into()),
            ..bare("quick", "realnvp", "flow", "moons", 0)
        }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn the_keys_of_a_row_are_the_contract() -> Result<()> {
        let want = r#"{"schema":1,"suite":"quick","model":"realnvp","family":"flow","dataset":"moons","seed":0,"status":"ok","reason":null,"parameters":12345,"weights":"raw","budget":{"seconds":10.0},"train":{"steps":2000,"examples":1024000,"seconds":9.7,"examples_per_second":105567.0,"peak_rss_bytes":73400320,"final_loss":1.2},"likelihood":{"value":2.42,"stderr":0.01,"n":10000,"unit":"nats","kind":"exact","space":"continuous","method":"change_of_variables","floor":2.399},"likelihoods":[],"quality":{"mmd2_unbiased":{"value":0.0004,"stderr":0.0001,"n":2000,"unit":"1","better":"lower","floor":0.0001},"energy":{"value":0.0004,"stderr":0.0001,"n":2000,"unit":"1","better":"lower","floor":0.0001}},"sampling":[{"sampler":"inverse","evaluations":1,"examples_per_second":210000.0,"seconds_to_first":0.002}],"machine":{"cpu":"a cpu","threads":2,"device":"cpu"},"version":"0.1.0","commit":"abc","data_sha256":"d","recipe_sha256":"r"}"#;
        assert_eq!(serde_json::to_string(&specimen()).expect("json"), want);
        assert_eq!(parse(want.as_bytes()).expect("a row"), specimen());
        Ok(())
    }

    #[test]
    fn rows_come_back_as_they_were_written() -> Result<()> {
        let folder = folder();
        let path = folder.path().join("rows.jsonl");
        let diverged = Row {
            status: Status::Diverged,
            reason: Some("loss\nwas \"NaN\"".into()),
            ..bare("quick", "vae", "vae", "glyphs{size=14}", 3)
        };
        append(&path, &specimen())?;
        append(&path, &diverged)?;
        assert_eq!(read(&path)?, (vec![specimen(), diverged], vec![]));
        Ok(())
    }

    #[test]
    fn a_torn_line_costs_only_itself() -> Result<()> {
        let folder = folder();
        let path = folder.path().join("rows.jsonl");
        append(&path, &specimen())?;
        let whole = std::fs::read(&path).expect("rows");
        for cut in [1, 100, whole.len() - 2] {
            let torn = [&whole[..], &whole[..cut]].concat();
            std::fs::write(&path, torn).expect("a torn file");
            let (rows, warnings) = read(&path)?;
            assert_eq!(rows, [specimen()]);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            append(&path, &specimen())?;
            let (rows, warnings) = read(&path)?;
            assert_eq!(rows.len(), 2, "the row after the torn line is whole");
            assert!(warnings.len() == 1 && warnings[0].contains("line 2"), "{warnings:?}");
        }
        Ok(())
    }

    #[test]
    fn rows_of_the_future_are_read_or_passed_over() {
        let mut json = serde_json::to_value(specimen()).expect("json");
        json["novelty"] = 1.into();
        json["likelihood"]["more"] = "x".into();
        assert_eq!(parse(json.to_string().as_bytes()).expect("a row"), specimen());
        json["schema"] = 2.into();
        assert!(parse(json.to_string().as_bytes()).is_err());
        assert!(parse(b"\xff\xfe").is_err() && parse(b"[]").is_err());
    }

    #[test]
    fn no_name_leaves_the_folder() {
        let row = bare("", "realnvp", "flow", "gaussians8{radius=5,sd=1}", 2);
        assert_eq!(row.folder(), "gaussians8-radius-5-sd-1-realnvp-2");
        assert_eq!(bare("", "../../etc", "", "a/b\\c\0", 0).folder(), "a-b-c-..-..-etc-0");
        assert_eq!(Row { run: Some("../moons-vae-0-1a2b".into()), ..row }.folder(), "moons-vae-0-1a2b");
        let long = |end: &str| folder_name(&format!("gaussians8{{{}}}{end}", "x".repeat(80)));
        assert_ne!(long("a"), long("b"), "cut names stay apart");
        assert!(long("a").len() == 64 && long("a") == long("a"));
        assert_eq!((folder_name("../.."), folder_name("")), ("run".to_string(), "run".to_string()));
    }

    #[test]
    fn a_missing_file_has_no_rows() -> Result<()> {
        assert_eq!(read(&folder().path().join("none"))?, (vec![], vec![]));
        Ok(())
    }
}
