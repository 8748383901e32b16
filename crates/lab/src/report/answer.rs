//! A study as text: every claim with its verdict, then the tables.

use super::format::printable;
use super::page::word;
use crate::study::Record;

/// The study for a terminal of this width.
pub fn answer(record: &Record, width: usize) -> String {
    let width = width.max(40);
    let mut out = vec![printable(&record.summary), String::new()];
    for f in &record.page.findings {
        let word = word(f.verdict);
        out.extend(wrapped(&format!("{word:9}  "), &printable(&f.claim), width));
        out.extend(wrapped(&" ".repeat(11), &printable(&f.because), width));
    }
    for t in &record.page.tables {
        out.push(String::new());
        out.push(printable(&t.title));
        let all: Vec<Vec<String>> = std::iter::once(&t.columns)
            .chain(&t.lines)
            .map(|l| l.iter().map(|c| printable(c)).collect())
            .collect();
        let wide: Vec<usize> = (0..t.columns.len())
            .map(|i| all.iter().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0))
            .collect();
        for line in &all {
            let cell = |(i, (c, w)): (usize, (&String, &usize))| {
                let fill = " ".repeat(w.saturating_sub(c.chars().count()));
                if i == 0 { format!("{c}{fill}") } else { format!("{fill}{c}") }
            };
            let cells: Vec<String> = line.iter().zip(&wide).enumerate().map(cell).collect();
            out.push(cells.join("  ").trim_end().to_string());
        }
    }
    out.push(String::new());
    out.join("\n")
}

/// `text` in lines of at most `width`, the first after `lead`, the others below its end.
fn wrapped(lead: &str, text: &str, width: usize) -> Vec<String> {
    let indent = lead.chars().count();
    let mut lines = vec![lead.to_string()];
    let mut used = indent;
    for word in text.split_whitespace() {
        let n = word.chars().count();
        if used > indent && used + 1 + n > width {
            lines.push(" ".repeat(indent));
            used = indent;
        }
        let Some(line) = lines.last_mut() else { continue };
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += n;
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use genzoo_core::study::{Effort, Finding, Listing, Page, Verdict};

    pub(in crate::report) fn record() -> Record {
        let page = Page {
            about: "How a question was asked.".into(),
            findings: vec![Finding {
                claim: "The slope is one half.".into(),
                verdict: Verdict::Holds,
                because:
                    "It is .499 ± .004, and the line of theory lies within the bars of nine points of ten."
                        .into(),
            }],
            tables: vec![Listing {
                title: "Slopes".into(),
                columns: vec!["d".into(), "slope".into()],
                lines: vec![vec!["2".into(), "-.499".into()], vec!["10".into(), "-.5".into()]],
            }],
            ..Page::default()
        };
        Record {
            schema: 1,
            study: "slopes".into(),
            summary: "Errors against draws".into(),
            citation: "a book".into(),
            budget: Effort::Small,
            seconds: 1.5,
            command: "genzoo bench slopes --budget small".into(),
            version: "0.1.0".into(),
            page,
        }
    }

    #[test]
    fn claims_wrap_and_columns_stand_below_each_other() {
        let text = answer(&record(), 60);
        assert!(text.lines().all(|l| l.chars().count() <= 60), "{text}");
        assert!(text.contains("holds      The slope is one half.\n           It is .499"));
        assert!(text.contains("\nd   slope\n2   -.499\n10    -.5\n"), "{text}");
    }
}
