//! The gallery of a section: for each model its samples, its density and field, or its nearest training images, and
//! its learning curve.

use std::path::Path;

use genzoo_core::{Kind, Tensor};
use serde::Serialize;

use super::base64::base64;
use super::classes::{self, Histogram};
use super::{Fact, fact, tables};
use crate::pictures::{self, Gallery, Window};
use crate::report::curve::{self, Curve};
use crate::report::format::{printable, seconds, short, significant, steps};
use crate::report::section::{self, Section, family, is_reference};
use crate::row::Row;
use crate::seeds::Summary;

/// Images shown beside their nearest training images.
const PAIRS: usize = 8;
/// Largest file of samples or picture that is read, in bytes.
const MOST: u64 = 64 << 20;

/// A model with its pictures.
#[derive(Serialize)]
pub(super) struct Card {
    family: String,
    model: String,
    seeds: Option<String>,
    reference: bool,
    status: &'static str,
    samples: Option<String>,
    shots: Vec<Shot>,
    seeds_samples: Vec<Shot>,
    classes: Option<Histogram>,
    facts: Vec<Fact>,
    curve: Option<Graph>,
    note: Option<String>,
}

impl Card {
    /// Whether there is more to see than samples.
    pub(super) fn is_illustrated(&self) -> bool {
        !self.shots.is_empty()
    }
}

/// A picture with its caption.
#[derive(Serialize)]
struct Shot {
    png: String,
    caption: String,
}

#[derive(Serialize)]
struct Graph {
    curve: Curve,
    high: String,
    low: String,
    steps: String,
    last: String,
}

/// Where the pictures of a section come from, and the piece of the plane that all of them show.
pub(super) struct Pictures<'p> {
    folder: &'p Path,
    window: Option<Window>,
    pub(super) images: bool,
}

impl<'p> Pictures<'p> {
    pub(super) fn of(folder: &'p Path, section: &Section<'_>) -> Self {
        let found = |reference: bool| {
            let own = section.members().filter(|r| is_reference(r) == reference);
            own.into_iter().find_map(|r| array(&folder.join(r.folder()), "samples.npy"))
        };
        // The window of the real samples: a model that misses it must be seen to miss it.
        let shown = found(true).or_else(|| found(false));
        let points = shown.as_ref().filter(|x| x.rank() == 2);
        Self {
            folder,
            window: points.and_then(|x| Window::around(x).ok()),
            images: shown.as_ref().is_some_and(|x| x.rank() == 4),
        }
    }

    /// The samples of a run as a PNG.
    fn samples(&self, row: &Row, most: usize) -> Option<String> {
        let x = array(&self.folder.join(row.folder()), "samples.npy")?;
        let x = if x.rank() == 4 { x.narrow(0, 0, x.dim(0).ok()?.min(most)).ok()? } else { x };
        Some(base64(&pictures::samples(&x, self.window).ok()?.png().ok()?))
    }

    /// What else a run left: its density and field, or the nearest training images.
    fn shots(&self, row: &Row) -> Vec<Shot> {
        let run = self.folder.join(row.folder());
        let Some(gallery) = Gallery::read(&run.join("samples")) else { return Vec::new() };
        let nearest = gallery.neighbours.as_ref().and_then(|caption| {
            let (samples, found) = (array(&run, "samples.npy")?, array(&run, Gallery::NEIGHBOURS)?);
            Some(Shot { png: beside(&samples, &found)?, caption: caption.clone() })
        });
        // The index is a file like any other: it may not name one outside of its folder.
        let inside = |name: &str| !name.contains(['/', '\\', ':']) && !name.starts_with('.');
        let shown = gallery.pictures.into_iter().filter(|p| inside(&p.file)).take(8);
        let file = |p: crate::pictures::Shown| {
            Some(Shot { png: png(&run.join("samples").join(p.file))?, caption: p.caption })
        };
        shown.filter_map(file).chain(nearest).collect()
    }
}

/// Samples above, the training images nearest to them below.
fn beside(samples: &Tensor, nearest: &Tensor) -> Option<String> {
    let n = samples.dim(0).ok()?.min(nearest.dim(0).ok()?).min(PAIRS);
    let both = Tensor::cat(&[samples.narrow(0, 0, n).ok()?, nearest.narrow(0, 0, n).ok()?], 0).ok()?;
    Some(base64(&pictures::grid(&both, n).ok()?.png().ok()?))
}

/// An array that a run keeps in `samples/`.
fn array(run: &Path, name: &str) -> Option<Tensor> {
    let path = run.join("samples").join(name);
    let small = std::fs::metadata(&path).ok()?.len() <= MOST;
    if small { crate::samples::read(&path, None).ok() } else { None }
}

/// A PNG file in base64.
fn png(path: &Path) -> Option<String> {
    let small = std::fs::metadata(path).ok()?.len() <= MOST / 16;
    let bytes = std::fs::read(path).ok().filter(|_| small)?;
    bytes.starts_with(b"\x89PNG\r\n\x1a\n").then(|| base64(&bytes))
}

/// The cards of a section, in the order of its table.
pub(super) fn cards(section: &Section<'_>, pictures: &Pictures<'_>) -> Vec<Card> {
    section.all.iter().map(|s| card(section, s, pictures)).collect()
}

fn card(section: &Section<'_>, s: &Summary<'_>, pictures: &Pictures<'_>) -> Card {
    let row = &s.row;
    let mut facts = Vec::new();
    if let Some(l) = &row.likelihood {
        let of = if l.kind == Kind::Exact { "exact" } else { "" };
        let name = if l.unit == "bits_per_dim" { "bits/dim" } else { "NLL" };
        facts.push(fact(format!("{name} {of}").trim(), section::likelihood(l)));
        facts.push(fact("by", printable(&l.method)));
    }
    if let Some(t) = &row.train {
        facts.push(fact("trained", format!("{} in {}", steps(t.steps), seconds(t.seconds))));
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
    let first = s.members[0];
    let shown = s.members.iter().skip(1).take(4);
    let of_seed =
        |r: &&Row| Some(Shot { png: pictures.samples(r, 16)?, caption: format!("seed {}", r.seed) });
    Card {
        family: family(row),
        model: printable(&row.model),
        seeds: tables::seeds(section, s),
        reference: is_reference(row),
        status: row.status.name(),
        samples: pictures.samples(first, 64),
        shots: pictures.shots(first),
        seeds_samples: shown.filter_map(of_seed).collect(),
        classes: classes::histogram(&first.classes),
        facts,
        curve: curve::read(&pictures.folder.join(first.folder())).map(graph),
        note: section::note(row).map(|n| printable(&n)),
    }
}
