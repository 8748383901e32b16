//! The table in Markdown, for a README or an issue.

use super::format::{count, fixed, printable, short};
use super::section::{
    Section, cell, excess, floor_cell, heading, likelihood, name, note, samples_per_second, sections,
    steps_per_second,
};
use crate::row::Row;

/// More metrics than these make a table too wide to be read; all of them stand in the page.
const METRICS: usize = 6;

/// One Markdown table per data set and budget.
pub fn markdown(rows: &[Row]) -> String {
    sections(rows).iter().map(section).collect::<Vec<_>>().join("\n")
}

fn section(section: &Section<'_>) -> String {
    let mut out = format!("### {}\n\n", escape(&section.title()));
    let unit = section.unit().map_or(String::new(), |u| format!(", {}", u.replace('_', " ")));
    let metrics: Vec<(String, f64)> =
        section.metrics().into_iter().take(METRICS).map(|m| (m.clone(), section.scale(&m))).collect();
    let own = |left: &[&str], right: &[&str], metric: &dyn Fn(&(String, f64)) -> Option<String>| {
        let text = |t: &&str| Some((*t).to_string());
        line(left.iter().map(text).chain(metrics.iter().map(metric)).chain(right.iter().map(text)))
    };
    let nll = format!("NLL{unit}");
    out += &own(
        &["rank", "group", "model", "parameters", &nll, "above floor"],
        &["steps/s", "samples/s @evaluations", "status"],
        &|(m, scale)| Some(escape(&heading(m, *scale))),
    );
    out += &own(&["---:", "---", ":---", "---:", "---:", "---:"], &["---:", "---:", ":---"], &|_| {
        Some("---:".into())
    });
    let (entropy, zero) = match section.entropy() {
        Some(h) => (fixed(h, 3), "0"),
        None => (String::new(), ""),
    };
    out += &own(&["", "", "*floor*", "", &entropy, zero], &["", "", ""], &|(m, scale)| {
        floor_cell(section, m, *scale)
    });
    for ((s, rank), letters) in section.all.iter().zip(&section.ranks).zip(&section.letters) {
        let row = &s.row;
        let seeds = match (s.is_mean(), section.many_seeds() && !super::section::is_reference(row)) {
            (true, _) => format!(" ({} seeds)", s.members.len()),
            (false, true) => format!(" (seed {})", row.seed),
            _ => String::new(),
        };
        let left = [
            rank.map(super::rank::Rank::text),
            Some(letters.clone()),
            Some(escape(&name(row)) + &seeds),
            row.parameters.filter(|p| *p > 0).map(count),
            row.likelihood.as_ref().map(likelihood),
            excess(s),
        ];
        let right = [
            steps_per_second(row).map(short),
            samples_per_second(row),
            Some(escape(&note(row).unwrap_or_else(|| row.status.name().into()))),
        ];
        let of = |(m, scale): &(String, f64)| cell(row.metric(m)?, *scale);
        out += &line(left.into_iter().chain(metrics.iter().map(of)).chain(right));
    }
    out
}

fn line(cells: impl IntoIterator<Item = Option<String>>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|c| c.unwrap_or_default()).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Text that neither ends a cell nor becomes markup.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '#' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::tests::zoo;

    #[test]
    fn every_line_has_the_same_cells() {
        let mut rows = zoo();
        rows[1].model = "a|b\n<script>[x](javascript:y)".into();
        let text = markdown(&rows);
        let cells = |l: &str| l.replace("\\|", "").matches('|').count();
        for table in text.split("### ").skip(1) {
            let mut lines = table.lines().filter(|l| l.starts_with('|')).map(cells);
            let first = lines.next();
            assert!(first > Some(8) && lines.all(|n| Some(n) == first), "{table}");
        }
        assert!(!text.contains('<') && text.contains("a\\|b") && text.contains("\\[x\\]"), "{text}");
        assert!(text.contains("### gaussians8\n") && text.contains("≤3.0124±.0091"));
    }
}
