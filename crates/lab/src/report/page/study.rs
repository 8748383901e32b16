//! A study on the page: claims with their verdicts, charts, tables, pictures.

use genzoo_core::study::{Effort, Listing, Picture, Verdict};
use genzoo_core::{Device, Result, Tensor};
use serde::Serialize;

use super::super::chart::{self, Chart};
use super::super::format::seconds;
use super::base64::base64;
use super::{Fact, fact};
use crate::study::Record;

/// A study ready for the template.
#[derive(Serialize)]
pub(super) struct Part {
    title: String,
    about: String,
    facts: Vec<Fact>,
    findings: Vec<Claim>,
    charts: Vec<Chart>,
    size: (f64, f64),
    tables: Vec<Listing>,
    pictures: Vec<Shown>,
    command: String,
}

#[derive(Serialize)]
struct Claim {
    claim: String,
    verdict: &'static str,
    because: String,
}

#[derive(Serialize)]
struct Shown {
    title: String,
    png: String,
}

/// The verdict in a word.
pub(in super::super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Fails => "fails",
        Verdict::Undecided => "undecided",
    }
}

pub(super) fn part(record: &Record) -> Part {
    let page = &record.page;
    let effort = if record.budget == Effort::Small { "small" } else { "full" };
    let claim = |f: &genzoo_core::study::Finding| Claim {
        claim: f.claim.clone(),
        verdict: word(f.verdict),
        because: f.because.clone(),
    };
    Part {
        title: record.summary.clone(),
        about: page.about.clone(),
        facts: vec![
            fact("budget", effort),
            fact("took", seconds(record.seconds)),
            fact("source", record.citation.clone()),
        ],
        findings: page.findings.iter().map(claim).collect(),
        charts: page.figures.iter().filter_map(chart::chart).collect(),
        size: (chart::WIDTH, chart::HEIGHT),
        tables: page.tables.clone(),
        pictures: page.pictures.iter().filter_map(shown).collect(),
        command: record.command.clone(),
    }
}

/// A picture that cannot be drawn is left out.
fn shown(picture: &Picture) -> Option<Shown> {
    Some(Shown { title: picture.title.clone(), png: base64(&png(picture).ok()?) })
}

fn png(picture: &Picture) -> Result<Vec<u8>> {
    let (width, height) = picture.size;
    let grey: Vec<f32> = picture.images.concat();
    let images = Tensor::from_vec(grey, (picture.images.len(), 1, height, width), &Device::Cpu)?;
    crate::pictures::grid(&images, picture.images.len().clamp(1, 16))?.png()
}
