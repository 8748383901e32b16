//! `report.html`: one page that needs nothing else, neither network nor script.
//!
//! Everything that is shown is text escaped by the template, a number we formatted, or a PNG we encoded; the page
//! forbids itself all other sources (Content-Security-Policy), so no name or reason in a row can do anything.

use std::path::Path;

use genzoo_core::{Error, Kind, Result, Tensor};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::curve::{self, Curve};
use super::format::{bytes, fixed, plus_minus, printable, seconds, shell, short, significant};
use super::intervals::{self, Axis};
use super::rank::Rank;
use super::section::{self, Section, sections};
use crate::pictures::{self, Window};
use crate::row::{Row, Status};

/// The page for the rows of a bench folder; pictures and learning curves come from the run folders beside them.
///
/// # Errors
/// If the template cannot be filled. Pictures and logs that cannot be read are left out.
pub fn html(folder: &Path, rows: &[Row]) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let filled = environment
        .add_template("report.html", include_str!("report.html"))
        .and_then(|()| environment.get_template("report.html")?.render(Serde(inert(page(folder, rows)))));
    filled.map_err(|e| Error::Unsupported(format!("cannot make the report: {e:#}")))
}

/// The page with every control character and change of writing direction escaped, wherever a text came from.
fn inert(page: impl Serialize) -> serde_json::Value {
    fn walk(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value::{Array, Object, String};
        match value {
            String(s) => String(printable(&s)),
            Array(a) => Array(a.into_iter().map(walk).collect()),
            Object(o) => Object(o.into_iter().map(|(k, v)| (k, walk(v))).collect()),
            other => other,
        }
    }
    serde_json::to_value(page).map_or(serde_json::Value::Null, walk)
}

#[derive(Serialize)]
struct Page {
    title: String,
    summary: Vec<Fact>,
    sections: Vec<Part>,
    machines: Vec<String>,
    versions: Vec<String>,
}

/// A number with its name.
#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

/// One data set.
#[derive(Serialize)]
struct Part {
    id: String,
    dataset: String,
    quality: Table,
    cost: Table,
    axis: Option<Drawing>,
    cards: Vec<Card>,
    speeds: Vec<Speed>,
    troubles: Vec<Fact>,
    recipes: Vec<Reproduction>,
    has_image: bool,
}

/// A table with one line per row.
#[derive(Serialize)]
struct Table {
    columns: Vec<Heading>,
    lines: Vec<Line>,
    has_floor: bool,
}

#[derive(Serialize)]
struct Heading {
    text: &'static str,
    title: &'static str,
    floor: Option<String>,
    errors: bool,
}

/// A line of a table.
#[derive(Serialize)]
struct Line {
    rank: String,
    family: String,
    model: String,
    seed: Option<u64>,
    reference: bool,
    status: &'static str,
    cells: Vec<Cell>,
}

#[derive(Serialize, Default)]
struct Cell {
    sign: &'static str,
    value: String,
    error: String,
    best: bool,
}

/// The picture of intervals.
#[derive(Serialize)]
struct Drawing {
    width: f64,
    height: f64,
    floor: Option<f64>,
    ticks: Vec<(f64, String)>,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    y: f64,
    name: String,
    family: String,
    reference: bool,
    mark: intervals::Mark,
    text: String,
}

/// A model's samples and learning curve.
#[derive(Serialize)]
struct Card {
    family: String,
    model: String,
    seed: Option<u64>,
    reference: bool,
    status: &'static str,
    picture: Option<String>,
    facts: Vec<Fact>,
    curve: Option<Graph>,
    note: Option<String>,
}

#[derive(Serialize)]
struct Graph {
    curve: Curve,
    high: String,
    low: String,
    steps: String,
    last: String,
}

#[derive(Serialize)]
struct Speed {
    family: String,
    model: String,
    sampler: String,
    evaluations: u64,
    rate: String,
    first: String,
}

#[derive(Serialize)]
struct Reproduction {
    model: String,
    command: Option<String>,
    facts: Vec<Fact>,
}

fn fact(name: impl Into<String>, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

fn page(folder: &Path, rows: &[Row]) -> Page {
    let mut suites: Vec<&str> = rows.iter().map(|r| r.suite.as_str()).collect();
    suites.dedup();
    let models = rows.iter().filter(|r| r.family != "baseline").count();
    let troubled = rows.iter().filter(|r| r.status != Status::Ok).count();
    let trained: f64 = rows.iter().filter_map(|r| r.train.as_ref()).map(|t| t.seconds).sum();
    let mut summary = vec![fact("rows", models.to_string())];
    summary.push(fact("data sets", sections(rows).len().to_string()));
    summary.push(fact("training", seconds(trained)));
    if troubled > 0 {
        summary.push(fact("failed or diverged", troubled.to_string()));
    }
    let unique = |mut all: Vec<String>| {
        all.sort();
        all.dedup();
        all
    };
    let version = |r: &Row| match &r.commit {
        Some(commit) => format!("genzoo {} ({})", r.version, clip(commit, 12)),
        None => format!("genzoo {}", r.version),
    };
    Page {
        title: printable(&suites.first().map_or("genzoo".to_string(), |s| (*s).to_string())),
        summary,
        sections: sections(rows).iter().enumerate().map(|(i, s)| part(folder, s, i)).collect(),
        machines: unique(rows.iter().map(machine).filter(|m| !m.is_empty()).collect()),
        versions: unique(rows.iter().map(version).collect()),
    }
}

/// `a cpu, 2 threads, cpu`: what a row knows of its machine.
fn machine(row: &Row) -> String {
    let text = |key: &str| row.machine.get(key).and_then(|v| v.as_str()).map(printable);
    let threads =
        row.machine.get("threads").and_then(serde_json::Value::as_u64).map(|t| format!("{t} threads"));
    let parts = [text("cpu"), threads, text("instructions"), text("device").map(|d| format!("device {d}"))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn clip(text: &str, n: usize) -> String {
    printable(text).chars().take(n).collect()
}

fn part(folder: &Path, section: &Section<'_>, index: usize) -> Part {
    let pictures = Pictures::of(folder, section);
    let speed = |row: &Row| {
        let one = |s: &crate::row::Sampling| Speed {
            family: family(row),
            model: printable(&row.model),
            sampler: printable(&s.sampler),
            evaluations: s.evaluations,
            rate: s.examples_per_second.map_or("–".into(), short),
            first: s.seconds_to_first.map_or("–".into(), seconds),
        };
        row.sampling.iter().map(one).collect::<Vec<_>>()
    };
    let trouble = |row: &&Row| Some(fact(printable(&section::name(row)), printable(&section::note(row)?)));
    Part {
        id: format!("data-{index}"),
        dataset: printable(section.dataset),
        quality: quality(section),
        cost: cost(section),
        axis: intervals::axis(section).map(|a| drawing(section, a)),
        cards: section.rows.iter().map(|row| card(folder, section, row, &pictures)).collect(),
        speeds: section.rows.iter().filter(|r| !is_reference(r)).flat_map(|r| speed(r)).collect(),
        troubles: section.rows.iter().filter_map(trouble).collect(),
        recipes: section.rows.iter().filter(|r| !is_reference(r)).map(|r| reproduction(section, r)).collect(),
        has_image: pictures.images,
    }
}

fn is_reference(row: &Row) -> bool {
    row.family == "baseline"
}

/// The family as a word that may stand in a class name: the six, else nothing.
fn family(row: &Row) -> String {
    let known = ["ebm", "vae", "gan", "flow", "diffusion", "interpolant", "baseline"];
    if known.contains(&row.family.as_str()) {
        row.family.clone()
    } else {
        clip(&row.family, 24).replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }
}

fn seed(section: &Section<'_>, row: &Row) -> Option<u64> {
    (section.many_seeds && !is_reference(row)).then_some(row.seed)
}

/// A table in the making: columns that say nothing are left out.
struct Columns<'a> {
    section: &'a Section<'a>,
    headings: Vec<Heading>,
    cells: Vec<Vec<Cell>>,
}

impl<'a> Columns<'a> {
    fn of(section: &'a Section<'a>) -> Self {
        let cells = section.rows.iter().map(|_| Vec::new()).collect();
        Self { section, headings: Vec::new(), cells }
    }

    fn add(
        &mut self,
        heading: (&'static str, &'static str),
        floor: Option<String>,
        best: Option<usize>,
        cell: impl Fn(&Row) -> Option<Cell>,
    ) {
        let cells: Vec<Option<Cell>> = self.section.rows.iter().map(|r| cell(r)).collect();
        if cells.iter().all(Option::is_none) {
            return;
        }
        let (text, title) = heading;
        let errors = cells.iter().flatten().any(|c| !c.error.is_empty());
        self.headings.push(Heading { text, title, floor, errors });
        for (i, (line, cell)) in self.cells.iter_mut().zip(cells).enumerate() {
            line.push(Cell { best: best == Some(i), ..cell.unwrap_or_default() });
        }
    }

    /// A metric, its value and error multiplied by `scale`.
    fn metric(&mut self, name: &'static str, scale: f64, heading: (&'static str, &'static str)) {
        let section = self.section;
        let floor = section.floor(name).map(|f| significant(scale * f, 2));
        self.add(heading, floor, section.best(name), |r| {
            let m = r.metric(name)?;
            Some(split("", &plus_minus(scale * m.value?, m.stderr.map(|s| scale * s))))
        });
    }

    /// Text without an error or a floor.
    fn text(&mut self, heading: (&'static str, &'static str), text: impl Fn(&Row) -> Option<String>) {
        self.add(heading, None, None, |r| Some(Cell { value: text(r)?, ..Cell::default() }));
    }

    fn table(self) -> Table {
        let section = self.section;
        let lines = section.rows.iter().zip(&section.ranks).zip(self.cells);
        let line = |((row, rank), cells): ((&&Row, &Option<Rank>), Vec<Cell>)| Line {
            rank: rank.map_or(String::new(), |r| r.text().replace('-', "–")),
            family: family(row),
            model: printable(&row.model),
            seed: seed(section, row),
            reference: is_reference(row),
            status: row.status.name(),
            cells,
        };
        Table {
            lines: lines.map(line).collect(),
            has_floor: self.headings.iter().any(|h| h.floor.is_some()),
            columns: self.headings,
        }
    }
}

/// How good: likelihood and samples.
fn quality(section: &Section<'_>) -> Table {
    let mut t = Columns::of(section);
    let nll = if section.unit() == Some("bits_per_dim") { "bits/dim" } else { "NLL" };
    let heading = (nll, "negative log-likelihood per test example; ≤ and ≥ say on which side the truth lies");
    t.add(heading, section.entropy().map(|e| fixed(e, 4)), section.first(), |r| {
        let l = r.likelihood.as_ref()?;
        Some(split(l.kind.sign(), &plus_minus(l.value, Some(l.stderr))))
    });
    let heading = ("above floor", "nats above the entropy of the data");
    t.add(heading, section.entropy().map(|_| "0".into()), None, |r| {
        let sign = r.likelihood.as_ref().map_or("", |l| l.kind.sign());
        Some(split(sign, section::excess(r)?.trim_start_matches(sign)))
    });
    t.metric("mmd2", 1e3, ("MMD² ·10³", "squared maximum mean discrepancy, in thousandths"));
    t.metric("energy_distance", 1e3, ("energy ·10³", "energy distance, in thousandths"));
    t.metric("sliced_w2", 1.0, ("sliced W2", "sliced Wasserstein distance of order 2"));
    t.metric("w2", 1.0, ("W2", "exact Wasserstein distance of order 2"));
    let floor = section.floor("mode_coverage").map(|f| fixed(f, 0));
    t.add(("modes", "modes that get at least a tenth of their mass"), floor, None, |r| {
        Some(Cell { value: section::modes(r)?, ..Cell::default() })
    });
    t.metric(
        "mode_error",
        1.0,
        ("mode error", "total variation between the shares of the modes and their masses"),
    );
    t.table()
}

/// At what price: training and sampling.
fn cost(section: &Section<'_>) -> Table {
    let mut t = Columns::of(section);
    t.text(("parameters", "number of trained parameters"), |r| {
        Some(short(r.parameters.filter(|p| *p > 0)? as f64))
    });
    t.text(("training", "seconds of pure training"), |r| Some(seconds(r.train.as_ref()?.seconds)));
    t.text(("steps", "training steps"), |r| Some(short(r.train.as_ref()?.steps as f64)));
    t.text(("steps/s", "training steps per second"), section::steps_per_second);
    t.text(("memory", "peak resident memory of training"), |r| {
        Some(bytes(r.train.as_ref()?.peak_rss_bytes?))
    });
    t.text(("samples/s", "samples per second of the judged sampler"), |r| {
        Some(short(r.sampling.first()?.examples_per_second?))
    });
    t.text(("evaluations", "network evaluations per sample, as counted"), |r| {
        Some(r.sampling.first()?.evaluations.to_string())
    });
    t.text(("first sample", "seconds until a single sample stands"), |r| {
        Some(seconds(r.sampling.first()?.seconds_to_first?))
    });
    t.table()
}

/// A value and its error, set apart.
fn split(sign: &'static str, text: &str) -> Cell {
    let (value, error) = text.split_once('±').unwrap_or((text, ""));
    let value = value.strip_prefix('-').map_or(value.to_string(), |v| format!("−{v}"));
    Cell { sign, value, error: error.to_string(), best: false }
}

fn drawing(section: &Section<'_>, axis: Axis) -> Drawing {
    const LINE: f64 = 22.0;
    let height = LINE * axis.marks.len() as f64;
    let bar = |(i, mark): (usize, intervals::Mark)| {
        let row = section.rows[mark.row];
        let text = row.likelihood.as_ref().map_or(String::new(), section::likelihood);
        let seed = seed(section, row).map_or(String::new(), |s| format!(" s{s}"));
        Bar {
            y: LINE * (i as f64 + 0.5),
            name: format!("{}{seed}", printable(&row.model)),
            family: family(row),
            reference: is_reference(row),
            mark,
            text,
        }
    };
    Drawing {
        width: intervals::WIDTH,
        height,
        floor: axis.floor,
        ticks: axis.ticks,
        bars: axis.marks.into_iter().enumerate().map(bar).collect(),
    }
}

/// Where the pictures of a section come from, and the piece of the plane that all of them show.
struct Pictures {
    window: Option<Window>,
    images: bool,
}

impl Pictures {
    fn of(folder: &Path, section: &Section<'_>) -> Self {
        let found = |reference: bool| {
            section
                .rows
                .iter()
                .filter(move |r| is_reference(r) == reference)
                .find_map(|r| samples(&folder.join(r.folder())))
        };
        // The window of the real samples: a model that misses it must be seen to miss it.
        let shown = found(true).or_else(|| found(false));
        let points = shown.as_ref().filter(|x| x.rank() == 2);
        Self {
            window: points.and_then(|x| Window::around(x).ok()),
            images: shown.as_ref().is_some_and(|x| x.rank() == 4),
        }
    }

    /// The samples of a run as a PNG in base64, whose letters need no escaping.
    fn draw(&self, folder: &Path) -> Option<String> {
        let x = samples(folder)?;
        let x = if x.rank() == 4 { x.narrow(0, 0, x.dim(0).ok()?.min(64)).ok()? } else { x };
        let png = pictures::samples(&x, self.window).ok()?.png().ok()?;
        Some(base64(&png))
    }
}

/// The kept samples of a run.
fn samples(folder: &Path) -> Option<Tensor> {
    const MOST: u64 = 64 << 20;
    let path = folder.join("samples").join("samples.npy");
    let small = std::fs::metadata(&path).ok()?.len() <= MOST;
    if small { crate::samples::read(&path, None).ok() } else { None }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = part.iter().chain([0; 2].iter()).take(3).fold(0u32, |w, b| (w << 8) | u32::from(*b));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= part.len() { letter as char } else { '=' });
        }
    }
    out
}

fn card(folder: &Path, section: &Section<'_>, row: &Row, pictures: &Pictures) -> Card {
    let run = folder.join(row.folder());
    let mut facts = Vec::new();
    if let Some(l) = &row.likelihood {
        let of = if l.kind == Kind::Exact { "exact" } else { "" };
        let name = if l.unit == "bits_per_dim" { "bits/dim" } else { "NLL" };
        facts.push(fact(format!("{name} {of}").trim(), section::likelihood(l)));
        facts.push(fact("by", printable(&l.method)));
    }
    if let Some(t) = &row.train {
        facts.push(fact("trained", format!("{} steps in {}", short(t.steps as f64), seconds(t.seconds))));
    }
    if row.weights == "ema" {
        facts.push(fact("weights", "averaged"));
    }
    let graph = |c: Curve| Graph {
        high: significant(c.high, 3),
        low: significant(c.low, 3),
        last: significant(c.last, 4),
        steps: short(c.last_step as f64),
        curve: c,
    };
    Card {
        family: family(row),
        model: printable(&row.model),
        seed: seed(section, row),
        reference: is_reference(row),
        status: row.status.name(),
        picture: pictures.draw(&run),
        facts,
        curve: curve::read(&run).map(graph),
        note: section::note(row).map(|n| printable(&n)),
    }
}

fn reproduction(section: &Section<'_>, row: &Row) -> Reproduction {
    let steps = row.train.as_ref().map(|t| t.steps);
    let derived = || {
        let data = shell(&printable(&row.dataset));
        Some(format!(
            "genzoo train {} --data {data} --seed {} --steps {}",
            shell(&printable(&section::name(row))),
            row.seed,
            steps?
        ))
    };
    let command = row.command.as_deref().map(printable).or_else(derived);
    let digest = |name: &str, value: &Option<String>| value.as_ref().map(|v| fact(name, clip(v, 12)));
    let mut facts = vec![fact("seed", row.seed.to_string())];
    facts.extend(digest("data", &row.data_sha256));
    facts.extend(digest("recipe", &row.recipe_sha256));
    facts.extend(digest("commit", &row.commit));
    let seed = seed(section, row).map_or(String::new(), |s| format!(", seed {s}"));
    Reproduction { model: format!("{}{seed}", printable(&section::name(row))), command, facts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::tests::zoo;

    #[test]
    fn base64_is_that_of_the_standard() {
        let got = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|s| base64(s.as_bytes()));
        assert_eq!(got, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    /// A folder with samples and logs of some of the rows.
    fn bench() -> Result<tempfile::TempDir> {
        let io = |e| Error::io("write", "a temporary folder")(e);
        let folder = tempfile::tempdir().map_err(io)?;
        for row in zoo().iter().take(4) {
            let run = folder.path().join(row.folder());
            std::fs::create_dir_all(run.join("samples")).map_err(io)?;
            let points = genzoo_core::Noise::new(1).normal(
                (200, 2),
                genzoo_core::DType::F32,
                &genzoo_core::Device::Cpu,
            )?;
            crate::samples::write(&run.join("samples/samples.npy"), &points)?;
            let log: String = (0..50)
                .map(|i| format!("{{\"step\":{},\"loss\":{}}}\n", 10 * i, 5.0 - 0.05 * f64::from(i)))
                .collect();
            std::fs::write(run.join("log.jsonl"), log).map_err(io)?;
        }
        Ok(folder)
    }

    #[test]
    fn the_page_holds_everything_and_needs_nothing() -> Result<()> {
        let folder = bench()?;
        let page = html(folder.path(), &zoo())?;
        assert_eq!(page.matches("data:image/png;base64,").count(), 4);
        for piece in [
            "realnvp",
            "ns-gan",
            "below_floor",
            "glyphs{size=14}",
            "≤",
            "diverged at step 120",
            "genzoo train flow&#x2f;realnvp",
        ] {
            assert!(page.contains(piece), "{piece}");
        }
        assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
        for foreign in ["http:", "https:", "<script", "src=\"//", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(!html(folder.path(), &[])?.is_empty());
        assert!(html(folder.path(), &[crate::row::tests::bare("s", "m", "f", "d", 0)])?.contains("data-0"));
        Ok(())
    }

    #[test]
    fn hostile_names_are_inert() -> Result<()> {
        let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>' onload='x\u{202e}\0";
        let mut rows = zoo();
        for row in &mut rows {
            for text in [
                &mut row.suite,
                &mut row.model,
                &mut row.family,
                &mut row.dataset,
                &mut row.weights,
                &mut row.version,
            ] {
                *text = evil.into();
            }
            row.reason = Some(evil.into());
            row.commit = Some(evil.into());
            row.data_sha256 = Some(evil.into());
            row.command = Some(evil.into());
            row.machine = serde_json::json!({"cpu": evil, "device": evil});
            row.sampling.iter_mut().for_each(|s| s.sampler = evil.into());
            row.quality.iter_mut().for_each(|(n, _)| *n = evil.into());
            for l in row.likelihood.iter_mut() {
                (l.method, l.unit) = (evil.into(), evil.into());
            }
        }
        let page = html(Path::new("/nowhere"), &rows)?;
        // Outside of what we wrote ourselves there is no bare angle bracket, quote or control character.
        for bad in ["<script", "<img src=x", "' onload", "\u{202e}", "\0"] {
            assert!(!page.contains(bad), "{bad:?}");
        }
        assert!(page.contains("&lt;script&gt;"));
        Ok(())
    }
}
