//! `report.html`: one page that needs nothing else and works from a file without a network.
//!
//! Everything that is shown is text escaped by the template, a number we formatted, or a PNG in base64; the page
//! forbids itself all other sources and every script but its own, which it names by hash (Content-Security-Policy), so
//! no name or reason in a row can do anything. Without scripts it loses only the sorting of its tables.
//!
//! | file     | what it holds                                        |
//! |----------|------------------------------------------------------|
//! | `tables` | quality, every metric, seed and likelihood, cost      |
//! | `cards`  | the gallery of pictures and learning curves           |
//! | `classes` | how often each class comes among the samples          |
//! | `again`  | the command that makes each row again                 |
//! | `study`  | claims, charts and tables of a study                  |

mod again;
mod base64;
mod cards;
mod classes;
mod study;
mod tables;

use std::path::Path;

use genzoo_core::{Error, Result};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::base64::base64;
use self::cards::{Card, Pictures};
use super::format::{printable, seconds};
use super::glance::{Answer, glance};
use super::intervals::{self, Axis};
use super::pareto::{self, Plot};
use super::section::{self, Section, family, is_reference, sections};
use crate::row::{Row, Status};
use crate::study::Record;

pub(super) use self::study::word;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The page for the rows of a bench folder and the study in it, if there is one; pictures and learning curves come
/// from the run folders beside them.
///
/// # Errors
/// If the template cannot be filled or the study cannot be read. Pictures and logs that cannot be read are left out.
pub fn html(folder: &Path, rows: &[Row]) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_global("style", STYLE);
    environment.add_global("script", SCRIPT);
    environment.add_global("script_sha256", base64(&Sha256::digest(SCRIPT)));
    let study = Record::read(folder)?;
    let filled = environment.add_template("report.html", include_str!("report.html")).and_then(|()| {
        environment.get_template("report.html")?.render(Serde(inert(page(folder, rows, study.as_ref()))))
    });
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
    study: Option<study::Part>,
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

/// One data set with one budget.
#[derive(Serialize)]
struct Part {
    id: String,
    title: String,
    about: String,
    glance: Vec<Answer>,
    quality: tables::Table,
    told_apart: Option<tables::Table>,
    every_metric: Option<tables::Table>,
    every_seed: Option<tables::Table>,
    evidence: Vec<tables::Evidence>,
    cost: tables::Table,
    axis: Option<Drawing>,
    plots: Vec<Plot>,
    plot_size: (f64, f64),
    cards: Vec<Card>,
    speeds: Vec<tables::Speed>,
    troubles: Vec<Fact>,
    recipes: Vec<again::Reproduction>,
    has_image: bool,
    /// Whether each model gets a row of pictures, so that the same kind stands below each other.
    in_rows: bool,
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

fn fact(name: impl Into<String>, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

fn page(folder: &Path, rows: &[Row], study: Option<&Record>) -> Page {
    let suite =
        rows.first().map(|r| r.suite.as_str()).or(study.map(|s| s.study.as_str())).unwrap_or("genzoo");
    let all = sections(rows);
    let models = rows.iter().filter(|r| !is_reference(r)).count();
    let troubled = rows.iter().filter(|r| r.status != Status::Ok).count();
    let trained: f64 = rows.iter().filter_map(|r| r.train.as_ref()).map(|t| t.seconds).sum();
    let mut summary = Vec::new();
    if !rows.is_empty() {
        summary.push(fact("rows", models.to_string()));
        summary.push(fact("tables", all.len().to_string()));
        summary.push(fact("training", seconds(trained)));
    }
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
    let of_data = |d: &str| all.iter().filter(|s| s.dataset == d).collect::<Vec<_>>();
    Page {
        title: printable(suite),
        summary,
        study: study.map(study::part),
        sections: all.iter().enumerate().map(|(i, s)| part(folder, s, &of_data(s.dataset), i)).collect(),
        machines: unique(rows.iter().map(machine).filter(|m| !m.is_empty()).collect()),
        versions: unique(
            rows.iter().map(version).chain(study.map(|s| format!("genzoo {}", s.version))).collect(),
        ),
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

/// `LowerBound` as words: `lower bound`.
fn machine_word(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn part(folder: &Path, section: &Section<'_>, others: &[&Section<'_>], index: usize) -> Part {
    let pictures = Pictures::of(folder, section);
    let cards = cards::cards(section, &pictures);
    let trouble = |row: &&Row| Some(fact(printable(&section::name(row)), printable(&section::note(row)?)));
    Part {
        id: format!("data-{index}"),
        title: section.title(),
        about: about(section),
        glance: glance(section),
        quality: tables::quality(section),
        told_apart: tables::told_apart(section),
        every_metric: tables::every_metric(section),
        every_seed: tables::every_seed(section),
        evidence: tables::evidence(section),
        cost: tables::cost(section),
        axis: intervals::axis(section).map(|a| drawing(section, a)),
        plots: pareto::plots(section, others),
        plot_size: (pareto::WIDTH, pareto::HEIGHT),
        in_rows: !pictures.images && cards.iter().any(Card::is_illustrated),
        cards,
        speeds: tables::speeds(section),
        troubles: section.members().collect::<Vec<_>>().iter().filter_map(trouble).collect(),
        recipes: again::reproductions(section),
        has_image: pictures.images,
    }
}

/// What all models of a section share: their budget and their seeds.
fn about(section: &Section<'_>) -> String {
    let spent: Vec<f64> = section.models().filter_map(|s| s.row.train.as_ref()).map(|t| t.seconds).collect();
    let (low, high) = spent.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    let mut parts = Vec::new();
    if let Some(budget) = section.budget() {
        let range = format!(" ({} to {} were used)", seconds(low), seconds(high));
        let range = if spent.is_empty() { String::new() } else { range };
        parts.push(format!("Every model has the same budget, {budget}{range}."));
    }
    let counts: Vec<usize> = section.models().map(|s| s.members.len()).collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(1), Some(1)) => {
            parts.push("One seed each: what is said holds for these runs, not for every seed.".into());
        }
        (Some(low), Some(high)) if low == high => {
            parts.push(format!("Means over {low} seeds; ± holds the errors over seeds and from the data."));
        }
        (Some(low), Some(high)) => parts.push(format!("Means over {low} to {high} seeds.")),
        _ => {}
    }
    parts.join(" ")
}

fn drawing(section: &Section<'_>, axis: Axis) -> Drawing {
    const LINE: f64 = 22.0;
    let height = LINE * axis.marks.len() as f64;
    let bar = |(i, mark): (usize, intervals::Mark)| {
        let s = &section.all[mark.row];
        let seeds = tables::seeds(section, s).map_or(String::new(), |s| format!(", {s}"));
        Bar {
            y: LINE * (i as f64 + 0.5),
            name: format!("{}{seeds}", printable(&s.row.model)),
            family: family(&s.row),
            reference: is_reference(&s.row),
            mark,
            text: s.row.likelihood.as_ref().map_or(String::new(), section::likelihood),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::tests::zoo;

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
        for foreign in ["http:", "https:", "src=\"//", "@import", "url(", "<link", "<iframe", "<base"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        // One script, and the page names it by its hash.
        let script =
            page.split("<script>").nth(1).and_then(|s| s.split("</script>").next()).expect("a script");
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains(&format!("script-src 'sha256-{}'", base64(&Sha256::digest(script)))));
        assert!(!html(folder.path(), &[])?.is_empty());
        assert!(html(folder.path(), &[crate::row::tests::bare("s", "m", "f", "d", 0)])?.contains("data-0"));
        Ok(())
    }

    #[test]
    fn a_study_stands_alone_or_above_the_rows() -> Result<()> {
        let folder = bench()?;
        let mut record = crate::report::answer::tests::record();
        record.page.findings[0].claim = "\"><img src=x onerror=alert(1)>\u{202e}".into();
        record.write(folder.path())?;
        let alone = html(folder.path(), &[])?;
        assert!(alone.contains("genzoo bench slopes --budget small"));
        assert!(!alone.contains("<img src=x") && !alone.contains('\u{202e}'));
        assert!(alone.contains("95 %") && !alone.contains("How to read this."));
        let both = html(folder.path(), &zoo())?;
        assert!(both.find("id=\"study\"") < both.find("id=\"data-0\"") && both.contains("How to read this."));
        assert_eq!(Record::read(folder.path())?, Some(record));
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
            row.sweep.push(crate::row::Operating {
                sampler: evil.into(),
                option: evil.into(),
                setting: 3,
                evaluations: 3,
                examples_per_second: Some(9.0),
                quality: row.quality.iter().map(|(_, m)| (evil.into(), m.clone())).collect(),
            });
            row.sampling.iter_mut().for_each(|s| s.sampler = evil.into());
            row.quality.iter_mut().for_each(|(n, _)| *n = evil.into());
            for l in row.likelihood.iter_mut() {
                (l.method, l.unit) = (evil.into(), evil.into());
            }
        }
        let page = html(Path::new("/nowhere"), &rows)?;
        // Outside of what we wrote ourselves there is no bare angle bracket, quote or control character.
        for bad in ["<script>alert", "<img src=x", "' onload", "\u{202e}", "\0"] {
            assert!(!page.contains(bad), "{bad:?}");
        }
        assert!(page.contains("&lt;script&gt;") && page.matches("<script").count() == 1);
        assert_eq!(unbalanced(&page), None);
        Ok(())
    }

    #[test]
    fn every_element_is_closed_and_every_id_and_target_is_unique() -> Result<()> {
        let folder = bench()?;
        let mut rows = zoo();
        rows.push(Row { seed: 1, ..rows[1].clone() });
        rows[2].likelihoods = vec![rows[4].likelihood.clone().expect("an upper bound")];
        let page = html(folder.path(), &rows)?;
        assert_eq!(unbalanced(&page), None);
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|s| s.split('"').next()).collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert!(ids.len() == unique.len() && ids.len() >= 5, "{ids:?}");
        for target in page.split("href=\"#").skip(1).filter_map(|s| s.split('"').next()) {
            assert!(ids.contains(&target), "{target}");
        }
        for piece in
            ["2 seeds", "Every seed", "Every likelihood", "Which fits best?", "over 2 seeds", "upper bound"]
        {
            assert!(page.contains(piece), "{piece}");
        }
        Ok(())
    }

    /// The first tag that closes nothing or is never closed, outside of style and script.
    fn unbalanced(page: &str) -> Option<String> {
        const VOID: [&str; 4] = ["meta", "img", "br", "!doctype"];
        let mut open: Vec<String> = Vec::new();
        let mut rest = page;
        while let Some((_, after)) = rest.split_once('<') {
            // Attributes are quoted and have their angle brackets escaped, so that the next one ends the tag.
            let (tag, after) = after.split_once('>')?;
            rest = after;
            let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
            match (tag.starts_with('/'), VOID.contains(&name)) {
                (_, true) => {}
                (true, _) if open.pop().as_deref() != Some(name) => return Some(tag.into()),
                (true, _) => {}
                (false, _) => open.push(name.into()),
            }
            if matches!(tag, "style" | "script") {
                rest = rest.split_once("</")?.1;
                open.pop();
                rest = rest.split_once('>')?.1;
            }
        }
        open.pop()
    }
}
