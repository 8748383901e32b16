//! The table of the terminal: fits the given width, drops what matters least.

use super::format::{bytes, fixed, plus_minus, printable, seconds, short, significant};
use super::section::{
    Section, excess, likelihood, modes, name, note, samples_per_second, sections, steps_per_second,
    thousandths,
};
use crate::row::{Row, Status};

/// A column: title, whether it is aligned to the right, how long it survives in a narrow terminal, and its cells.
struct Column {
    title: String,
    right: bool,
    keep: u8,
    cells: Vec<String>,
}

/// All rows, one table per data set, at most `width` characters wide.
pub fn terminal(rows: &[Row], width: usize, color: bool) -> String {
    let paint = Paint { color };
    let mut out: Vec<String> = Vec::new();
    for section in sections(rows) {
        let head = format!("{}  {}", paint.bold(&printable(section.dataset)), paint.dim(&floors(&section)));
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
#: rank by intervals, 1-3 is undecided · NLL ±: one standard error; ≤ ≥ the truth is on that side; ≈ estimate
above: nats or bits above the entropy of the data · samples/s @ network evaluations of each";

/// What perfect samples would score.
fn floors(section: &Section<'_>) -> String {
    let mut parts = Vec::new();
    let unit = section.unit().map(|u| u.replace('_', " ").replace("per dim", "per dimension"));
    match (unit, section.entropy()) {
        (Some(unit), Some(floor)) => parts.push(format!("NLL in {unit}, floor {}", fixed(floor, 3))),
        (Some(unit), None) => parts.push(format!("NLL in {unit}")),
        _ => {}
    }
    if let Some(floor) = section.floor("mmd2") {
        parts.push(format!("mmd² floor {}", significant(1e3 * floor, 2)));
    }
    for (metric, title) in [("w2", "W2"), ("sliced_w2", "SW2")] {
        if let (Some(floor), false) = (section.floor(metric), metric == "sliced_w2" && section.has("w2")) {
            parts.push(format!("{title} floor {}", significant(floor, 2)));
        }
    }
    parts.join(" · ")
}

/// The columns of a section that say anything.
fn columns(section: &Section<'_>) -> Vec<Column> {
    let mut all = Vec::new();
    let mut add = |title: &str, right: bool, keep: u8, cell: &dyn Fn(usize, &Row) -> Option<String>| {
        let cells: Vec<Option<String>> = section.rows.iter().enumerate().map(|(i, r)| cell(i, r)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|c| c.unwrap_or_else(|| "-".into())).collect();
            all.push(Column { title: title.into(), right, keep, cells });
        }
    };
    let value = |metric: &'static str| {
        move |_: usize, r: &Row| r.metric(metric).and_then(|m| Some(significant(m.value?, 3)))
    };
    let has_w2 = section.has("w2");
    add("#", true, 7, &|i, _| section.ranks[i].map(super::rank::Rank::text));
    add("model", false, 9, &|_, r| Some(printable(&name(r))));
    add("seed", true, 5, &|_, r| (section.many_seeds && r.family != "baseline").then(|| r.seed.to_string()));
    add("params", true, 2, &|_, r| r.parameters.filter(|p| *p > 0).map(|p| short(p as f64)));
    add("NLL", true, 8, &|_, r| r.likelihood.as_ref().map(likelihood));
    add("above", true, 6, &|_, r| excess(r));
    add("mmd²·10³", true, 6, &|_, r| r.metric("mmd2").and_then(thousandths));
    if has_w2 {
        add("W2", true, 4, &value("w2"));
    } else {
        add("SW2", true, 4, &value("sliced_w2"));
    }
    add("modes", true, 4, &|_, r| modes(r));
    add("steps/s", true, 1, &|_, r| steps_per_second(r));
    add("samples/s", true, 3, &|_, r| samples_per_second(r));
    add("status", false, 8, &|_, r| Some(r.status.name().into()));
    all
}

fn table(section: &Section<'_>, width: usize, paint: Paint) -> Vec<String> {
    let mut columns = columns(section);
    let size = |c: &Column| {
        c.cells.iter().map(|s| s.chars().count()).chain([c.title.chars().count()]).max().unwrap_or(0)
    };
    let total =
        |columns: &[Column], gap: usize| columns.iter().map(size).sum::<usize>() + gap * columns.len();
    while total(&columns, 1) > width && columns.len() > 2 {
        let least = (0..columns.len()).min_by_key(|&i| columns[i].keep).unwrap_or(0);
        columns.remove(least);
    }
    let gap = if total(&columns, 2) <= width { 2 } else { 1 };
    let widths: Vec<usize> = columns.iter().map(size).collect();
    let line = |cells: &mut dyn Iterator<Item = (String, Option<bool>)>| {
        let padded = cells.zip(columns.iter().zip(&widths)).map(|((text, mark), (c, w))| {
            let space = " ".repeat(w - text.chars().count());
            let text = match mark {
                Some(true) => paint.bold(&text),
                Some(false) => paint.red(&text),
                None => text,
            };
            if c.right { format!("{space}{text}") } else { format!("{text}{space}") }
        });
        padded.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_string()
    };
    let mut out = vec![paint.dim(&line(&mut columns.iter().map(|c| (c.title.clone(), None))))];
    let best: Vec<Option<usize>> = columns
        .iter()
        .map(|c| match c.title.as_str() {
            "NLL" => section.first(),
            "mmd²·10³" => section.best("mmd2"),
            "W2" => section.best("w2"),
            "SW2" => section.best("sliced_w2"),
            _ => None,
        })
        .collect();
    for (i, row) in section.rows.iter().enumerate() {
        let cells = columns.iter().zip(&best).map(|(c, best)| {
            let failed = c.title == "status" && row.status != Status::Ok;
            let mark = if failed { Some(false) } else { (*best == Some(i)).then_some(true) };
            (c.cells[i].clone(), mark)
        });
        let text = line(&mut cells.into_iter());
        out.push(if row.family == "baseline" { paint.dim(&text) } else { text });
        if let Some(note) = note(row) {
            let note = printable(&note);
            let room = width.saturating_sub(4).max(20);
            let short: String = note.chars().take(room).collect();
            out.push(format!(
                "    {}",
                paint.red(&if short.len() < note.len() {
                    format!("{}…", &drop_last(&short))
                } else {
                    short
                })
            ));
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
        let above = excess(row).map_or(String::new(), |e| format!(" (above {e})"));
        parts.push(format!("NLL {}{above}", likelihood(l)));
    }
    parts.extend(row.metric("mmd2").and_then(thousandths).map(|m| format!("mmd²·10³ {m}")));
    parts.extend(modes(row).map(|m| format!("modes {m}")));
    parts.extend(row.train.as_ref().map(|t| format!("{} steps in {}", t.steps, seconds(t.seconds))));
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
        let text = terminal(&zoo(), 100, false);
        for piece in ["≤", "≥", "≈", "8/8", "below_floor", "diverged", "floor 2.830"] {
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
