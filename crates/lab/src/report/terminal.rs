//! The table of the terminal: fits the given width, drops what matters least.

use super::format::{bytes, count, fixed, plus_minus, printable, seconds, short, significant, steps};
use super::section::{
    PAIRED, Section, cell, excess, floor_cell, heading, is_reference, likelihood, name, note,
    samples_per_second, scale, sections, steps_per_second,
};
use crate::row::{Row, Status};
use crate::seeds::{Summary, summaries};

/// A column: title with one word per line, whether it is aligned to the right, how long it survives in a narrow terminal,
/// its cells, and the one that is surely the best.
struct Column {
    title: Vec<String>,
    right: bool,
    keep: usize,
    cells: Vec<String>,
    best: Option<usize>,
}

impl Column {
    fn width(&self) -> usize {
        self.title.iter().chain(&self.cells).map(|s| s.chars().count()).max().unwrap_or(0)
    }
}

/// All rows, one table per data set and budget, at most `width` characters wide.
pub fn terminal(rows: &[Row], width: usize, color: bool) -> String {
    let paint = Paint { color };
    let mut out: Vec<String> = Vec::new();
    for section in sections(rows) {
        let head = format!("{}  {}", paint.bold(&section.title()), paint.dim(&unit(&section)));
        out.push(head.trim_end().to_string());
        out.extend(table(&section, width, paint));
        out.push(String::new());
    }
    if !rows.is_empty() {
        out.push(paint.dim(LEGEND));
    }
    out.join("\n")
}

const LEGEND: &str = "\
#: rank by intervals, 1-3 is undecided; models that share a letter are not distinguishable
NLL ±: one standard error; ≤ ≥ the truth is on that side; ≈ estimate · above: nats or bits above the entropy
samples/s @ network evaluations of each";

fn unit(section: &Section<'_>) -> String {
    let unit = section.unit().map(|u| u.replace('_', " ").replace("per dim", "per dimension"));
    let unit = unit.map(|u| format!("NLL in {u}"));
    let budget = section.budget().filter(|_| !section.many_budgets);
    unit.into_iter().chain(budget).collect::<Vec<_>>().join(" · ")
}

/// The columns of a section that say anything; the first cell of each is its floor.
fn columns(section: &Section<'_>) -> Vec<Column> {
    let mut all: Vec<Column> = Vec::new();
    let mut add = |title: &str,
                   right: bool,
                   keep: usize,
                   floor: Option<String>,
                   best: Option<usize>,
                   cell: &dyn Fn(usize, &Summary<'_>) -> Option<String>| {
        let cells: Vec<Option<String>> = section.all.iter().enumerate().map(|(i, s)| cell(i, s)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|c| c.unwrap_or_else(|| "-".into()));
            let cells = std::iter::once(floor.unwrap_or_default()).chain(cells).collect();
            let title = title.split(' ').map(str::to_string).collect();
            all.push(Column { title, right, keep, cells, best });
        }
    };
    add("#", true, 930, None, None, &|i, _| section.ranks[i].map(super::rank::Rank::text));
    add("group", false, 550, None, None, &|i, _| Some(section.letters[i].clone()).filter(|l| !l.is_empty()));
    add("model", false, 990, Some("floor".into()), None, &|_, s| Some(printable(&name(&s.row))));
    add("seeds", true, 800, None, None, &|_, s| {
        let model = section.many_seeds() && !is_reference(&s.row);
        model.then(|| match &s.members[..] {
            [one] => format!("s{}", one.seed),
            many => many.len().to_string(),
        })
    });
    add("params", true, 600, None, None, &|_, s| s.row.parameters.filter(|p| *p > 0).map(count));
    let entropy = section.entropy();
    add("NLL", true, 950, entropy.map(|h| fixed(h, 4)), section.first(), &|_, s| {
        s.row.likelihood.as_ref().map(likelihood)
    });
    add("above", true, 900, entropy.map(|_| "0".into()), None, &|_, s| excess(s));
    for (i, metric) in section.metrics().iter().enumerate() {
        let scale = section.scale(metric);
        let keep = if i == 0 { 850 } else { 790 - i };
        add(
            &heading(metric, scale),
            true,
            keep,
            floor_cell(section, metric, scale),
            section.best(metric),
            &|_, s| cell(s.row.metric(metric)?, scale),
        );
    }
    add("steps/s", true, 500, None, None, &|_, s| steps_per_second(&s.row).map(short));
    add("samples/s", true, 788, None, None, &|_, s| samples_per_second(&s.row));
    add("status", false, 940, None, None, &|_, s| Some(s.row.status.name().into()));
    all
}

fn table(section: &Section<'_>, width: usize, paint: Paint) -> Vec<String> {
    let mut columns = columns(section);
    let total = |columns: &[Column], gap: usize| {
        columns.iter().map(Column::width).sum::<usize>() + gap * columns.len()
    };
    while total(&columns, 1) > width && columns.len() > 2 {
        let least = (0..columns.len()).min_by_key(|&i| columns[i].keep).unwrap_or(0);
        columns.remove(least);
    }
    let gap = if total(&columns, 2) <= width { 2 } else { 1 };
    let line = |cell: &dyn Fn(&Column) -> (String, Option<bool>)| {
        let padded = columns.iter().map(|c| {
            let (text, mark) = cell(c);
            let space = " ".repeat(c.width() - text.chars().count());
            let text = match mark {
                Some(true) => paint.bold(&text),
                Some(false) => paint.red(&text),
                None => text,
            };
            if c.right { format!("{space}{text}") } else { format!("{text}{space}") }
        });
        padded.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_string()
    };
    let mut out = Vec::new();
    let lines = columns.iter().map(|c| c.title.len()).max().unwrap_or(0);
    for i in (0..lines).rev() {
        // Titles stand on the same line below.
        let word = |c: &Column| c.title.iter().rev().nth(i).cloned().unwrap_or_default();
        out.push(paint.dim(&line(&|c| (word(c), None))));
    }
    if columns.iter().any(|c| !c.cells[0].is_empty() && c.cells[0] != "floor") {
        out.push(paint.dim(&line(&|c| (c.cells[0].clone(), None))));
    }
    for (i, s) in section.all.iter().enumerate() {
        let failed = s.row.status != Status::Ok;
        let text = line(&|c| {
            let status = failed && c.title == ["status"];
            (c.cells[i + 1].clone(), if status { Some(false) } else { (c.best == Some(i)).then_some(true) })
        });
        out.push(if is_reference(&s.row) { paint.dim(&text) } else { text });
        if let Some(note) = note(&s.row) {
            let note = printable(&note);
            let room = width.saturating_sub(4).max(20);
            let short: String = note.chars().take(room).collect();
            let cut = short.len() < note.len();
            let shown = if cut { format!("{}…", &drop_last(&short)) } else { short };
            out.push(format!("    {}", if failed { paint.red(&shown) } else { paint.dim(&shown) }));
        }
    }
    out
}

fn drop_last(text: &str) -> String {
    let mut chars = text.chars();
    chars.next_back();
    chars.collect()
}

/// One line about a row that was just finished.
pub fn line(row: &Row) -> String {
    let mut parts = vec![format!("{}  {}", row.dataset, name(row))];
    if row.status != Status::Ok {
        parts.extend(note(row));
        return printable(&parts.join("  "));
    }
    if let Some(l) = &row.likelihood {
        let above = summaries(&[row]).first().and_then(excess);
        let above = above.map_or(String::new(), |e| format!(" (above {e})"));
        parts.push(format!("NLL {}{above}", likelihood(l)));
    }
    let metrics = row.quality.iter().filter(|(n, _)| n != PAIRED).take(2);
    parts.extend(metrics.filter_map(|(n, m)| {
        let scale = scale(m.value.into_iter().collect());
        Some(format!("{} {}", heading(n, scale), cell(m, scale)?))
    }));
    parts.extend(row.train.as_ref().map(|t| format!("{} in {}", steps(t.steps), seconds(t.seconds))));
    parts.extend(note(row));
    printable(&parts.join("  "))
}

/// Everything a row knows, line by line.
pub fn details(row: &Row) -> String {
    let mut out = Vec::new();
    for (l, what) in
        row.likelihood.iter().map(|l| (l, "NLL")).chain(row.likelihoods.iter().map(|l| (l, "also")))
    {
        let floor = l.floor.map_or(String::new(), |f| format!(", floor {}", fixed(f, 4)));
        let tolerance = l.tolerance.map_or(String::new(), |t| format!(", tolerance {}", significant(t, 2)));
        let of = format!("{} on {} rows by {}{floor}{tolerance}", l.unit, l.n, l.method);
        out.push(format!("{what:18} {:>18}  {of}", likelihood(l)));
    }
    for (metric, m) in &row.quality {
        let value = m.value.map_or("-".into(), |v| plus_minus(v, m.stderr.filter(|s| *s > 0.0)));
        let value = match m.value {
            // A discrepancy near zero needs more digits than its four decimals.
            Some(v) if m.stderr.is_some_and(|s| s > 0.0 && s < 1e-3) => {
                format!("{v:.2e}±{:.0e}", m.stderr.unwrap_or(0.0))
            }
            _ => value,
        };
        let floor = m.floor.map_or(String::new(), |f| format!(", floor {}", significant(f, 2)));
        out.push(format!("{metric:18} {value:>18}  n = {}{floor}", m.n));
    }
    for s in &row.sampling {
        let speed = s.examples_per_second.map_or("-".into(), |v| format!("{}/s", short(v)));
        let first = s.seconds_to_first.map_or(String::new(), |v| format!(", first after {}", seconds(v)));
        out.push(format!("{:18} {speed:>18}  {} evaluations each{first}", s.sampler, s.evaluations));
    }
    if let Some(t) = &row.train {
        let memory = t.peak_rss_bytes.map_or(String::new(), |b| format!(", peak memory {}", bytes(b)));
        let speed = short(t.examples_per_second);
        out.push(format!(
            "{:18} {:>18}  in {}, {speed} examples/s{memory}",
            "training",
            format!("{} steps", t.steps),
            seconds(t.seconds)
        ));
    }
    out.extend(note(row));
    printable(&out.join("\0")).replace("\\0", "\n")
}

/// Colours, or none.
#[derive(Clone, Copy)]
struct Paint {
    color: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
    fn red(self, text: &str) -> String {
        self.with("31", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::tests::zoo;

    #[test]
    fn the_table_fits_and_every_model_stands_in_it() {
        for width in [100, 80, 50] {
            let text = terminal(&zoo(), width, false);
            let table = text.split("\n\n").next().unwrap_or_default();
            assert!(table.lines().skip(1).all(|l| l.chars().count() <= width), "{width}\n{table}");
            for name in ["flow/realnvp", "interpolant/linear", "gan/ns-gan", "ebm/pcd", "real"] {
                assert!(text.contains(name), "{name}\n{text}");
            }
        }
        let text = terminal(&zoo(), 140, false);
        for piece in ["≤", "≥", "≈", "8/8", "below_floor", "diverged", "floor", "2.8301"] {
            assert!(text.contains(piece), "{piece}\n{text}");
        }
        assert!(!text.contains('\x1b') && terminal(&zoo(), 100, true).contains('\x1b'));
        assert_eq!(terminal(&[], 100, false), "");
    }

    #[test]
    fn hostile_names_do_not_reach_the_terminal() {
        let mut rows = zoo();
        rows[1].model = "x\x1b[2J\n".into();
        rows[1].reason = Some("\u{202e}\x07".into());
        rows[2].dataset = "\x1b]0;t\x07".into();
        let all = [terminal(&rows, 100, false), line(&rows[1]), details(&rows[1])].concat();
        assert!(all.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{all:?}");
    }

    #[test]
    fn rows_that_know_nothing_are_shown() {
        let bare = crate::row::tests::bare("s", "m", "f", "d", 0);
        assert!(terminal(std::slice::from_ref(&bare), 100, false).contains("f/m"));
        assert_eq!((line(&bare), details(&bare)), ("d  f/m".to_string(), String::new()));
    }
}
