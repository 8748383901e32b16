//! The table in Markdown, for a README or an issue.

use super::format::{fixed, printable, short, significant};
use super::section::{
    Section, excess, likelihood, modes, name, note, samples_per_second, sections, steps_per_second,
    thousandths,
};
use crate::row::Row;

/// One Markdown table per data set.
pub fn markdown(rows: &[Row]) -> String {
    sections(rows).iter().map(section).collect::<Vec<_>>().join("\n")
}

fn section(section: &Section<'_>) -> String {
    let mut out = format!("### {}\n\n", escape(section.dataset));
    let unit = section.unit().map_or(String::new(), |u| format!(", {}", u.replace('_', " ")));
    let (wasserstein, title) = if section.has("w2") { ("w2", "W2") } else { ("sliced_w2", "sliced W2") };
    out += &format!(
        "| rank | model | parameters | NLL{unit} | above floor | mmd²·10³ | {title} | modes | steps/s | samples/s @evaluations | status |\n"
    );
    out += "|---:|:---|---:|---:|---:|---:|---:|---:|---:|---:|:---|\n";
    let floor = |metric: &str, scale: f64| section.floor(metric).map(|f| significant(scale * f, 2));
    let floors = [
        None,
        Some("*floor*".to_string()),
        None,
        section.entropy().map(|f| fixed(f, 3)),
        section.entropy().map(|_| "0".into()),
        floor("mmd2", 1e3),
        floor(wasserstein, 1.0),
    ];
    out += &line(floors.into_iter().chain(std::iter::repeat_n(None, 4)));
    for (row, rank) in section.rows.iter().zip(&section.ranks) {
        out += &line([
            rank.map(super::rank::Rank::text),
            Some(
                escape(&name(row))
                    + &if section.many_seeds { format!(" (seed {})", row.seed) } else { String::new() },
            ),
            row.parameters.filter(|p| *p > 0).map(|p| short(p as f64)),
            row.likelihood.as_ref().map(likelihood),
            excess(row),
            row.metric("mmd2").and_then(thousandths),
            row.metric(wasserstein).and_then(|m| Some(significant(m.value?, 3))),
            modes(row),
            steps_per_second(row),
            samples_per_second(row),
            Some(escape(&note(row).unwrap_or_else(|| row.status.name().into()))),
        ]);
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
        assert!(text.lines().filter(|l| l.starts_with('|')).all(|l| cells(l) == 12), "{text}");
        assert!(!text.contains('<') && text.contains("a\\|b") && text.contains("\\[x\\]"), "{text}");
        assert!(text.contains("### gaussians8\n") && text.contains("≤3.0124±.0091"));
    }
}
