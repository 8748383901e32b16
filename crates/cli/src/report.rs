//! `genzoo report`: rows of a bench folder as terminal table, report.html and table.md.

use std::path::Path;

use genzoo_core::Error;
use genzoo_core::checkpoint::write_atomic;
use genzoo_lab::row::{self, Row};

use crate::args::Report;
use crate::output::Output;

pub(crate) fn command(args: &Report, out: &Output) -> anyhow::Result<i32> {
    let path = args.dir.join("rows.jsonl");
    if !path.exists() {
        return Err(Error::file(&args.dir, "expected a bench folder, found no rows.jsonl in it").into());
    }
    let (rows, warnings) = row::read(&path)?;
    for w in warnings {
        out.note(&w);
    }
    write(&args.dir, &rows)?;
    if out.json() {
        out.print_json(&rows)?;
    } else {
        out.print(&genzoo_lab::report::terminal(&rows, out.width(), out.color()))?;
        out.print(&args.dir.join("report.html").display().to_string())?;
    }
    Ok(0)
}

/// Writes report.html and table.md beside the rows.
pub(crate) fn write(folder: &Path, rows: &[Row]) -> anyhow::Result<()> {
    write_atomic(&folder.join("report.html"), genzoo_lab::report::html(folder, rows)?.as_bytes())?;
    Ok(write_atomic(&folder.join("table.md"), genzoo_lab::report::markdown(rows).as_bytes())?)
}
