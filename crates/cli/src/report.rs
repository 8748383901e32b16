//! `genzoo report`: rows of a bench folder as terminal table, report.html and table.md.

use std::path::Path;

use genzoo_core::Error;
use genzoo_core::checkpoint::write_atomic;
use genzoo_lab::per_row;
use genzoo_lab::row::{self, Row};
use genzoo_lab::study::Record;

use crate::args::Report;
use crate::output::Output;

pub(crate) fn command(args: &Report, out: &Output) -> anyhow::Result<i32> {
    let path = args.dir.join("rows.jsonl");
    let record = Record::read(&args.dir)?;
    if !path.exists() && record.is_none() {
        let problem = "expected a bench folder, found neither rows.jsonl nor study.json in it";
        return Err(Error::file(&args.dir, problem).into());
    }
    let (mut rows, warnings) = row::read(&path)?;
    for w in warnings {
        out.note(&w);
    }
    per_row::attach(&args.dir, &mut rows);
    write(&args.dir, &rows)?;
    print(&args.dir, &rows, record.as_ref(), None, out)?;
    Ok(0)
}

/// Writes report.html, and table.md beside the rows.
pub(crate) fn write(folder: &Path, rows: &[Row]) -> anyhow::Result<()> {
    write_atomic(&folder.join("report.html"), genzoo_lab::report::html(folder, rows)?.as_bytes())?;
    if !rows.is_empty() {
        write_atomic(&folder.join("table.md"), genzoo_lab::report::markdown(rows).as_bytes())?;
    }
    Ok(())
}

/// Prints the rows, the study, or both, and where the report lies. As JSON rows are a list, a study is an object, and
/// both are an object with `study` and `rows`.
pub(crate) fn print(
    folder: &Path,
    rows: &[Row],
    record: Option<&Record>,
    seconds: Option<f64>,
    out: &Output,
) -> anyhow::Result<()> {
    if out.json() {
        return match record {
            None => out.print_json(&rows),
            Some(record) if rows.is_empty() => out.print_json(record),
            Some(record) => out.print_json(&serde_json::json!({"study": record, "rows": rows})),
        };
    }
    if let Some(record) = record {
        out.print(&genzoo_lab::report::answer(record, out.width()))?;
    }
    if !rows.is_empty() {
        out.print(&genzoo_lab::report::terminal(rows, out.width(), out.color()))?;
    }
    let took = seconds.map(|s| match rows.len() {
        0 => format!("{s:.0} s: "),
        n => format!("{n} rows in {s:.0} s: "),
    });
    out.print(&format!("{}{}", took.unwrap_or_default(), folder.join("report.html").display()))
}
