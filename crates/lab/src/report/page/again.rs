//! How to make each row again.

use serde::Serialize;

use super::{Fact, clip, fact};
use crate::report::format::{printable, shell};
use crate::report::section::{self, Section, is_reference};
use crate::row::Row;

#[derive(Serialize)]
pub(super) struct Reproduction {
    model: String,
    command: Option<String>,
    facts: Vec<Fact>,
}

/// The commands of the rows; references that have none are left out.
pub(super) fn reproductions(section: &Section<'_>) -> Vec<Reproduction> {
    let many = section.many_seeds();
    let shown = section.members().filter(|r| !is_reference(r) || r.command.is_some());
    shown.map(|row| reproduction(row, many)).collect()
}

fn reproduction(row: &Row, many_seeds: bool) -> Reproduction {
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
    let seed = if many_seeds { format!(", seed {}", row.seed) } else { String::new() };
    Reproduction { model: format!("{}{seed}", printable(&section::name(row))), command, facts }
}
