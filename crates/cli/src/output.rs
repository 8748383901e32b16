//! The only place that prints: results to stdout, progress and notes to stderr.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::run::printable;

/// Where results and progress go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether results are wanted as JSON.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// Whether stdout is a terminal that wants colour.
    pub(crate) fn color(self) -> bool {
        !self.json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    /// Width of the terminal, 100 where there is none.
    pub(crate) fn width(self) -> usize {
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        columns.or_else(terminal_columns).unwrap_or(100)
    }

    /// A result, as text. Nothing is printed in JSON mode.
    pub(crate) fn print(self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { write_stdout(text) }
    }

    /// A result, as JSON.
    pub(crate) fn print_json(self, value: &impl Serialize) -> anyhow::Result<()> {
        write_stdout(&serde_json::to_string_pretty(value)?)
    }

    /// Something worth knowing that is not a result.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{}", printable(text).replace("\\n", "\n"));
        }
    }

    /// A progress bar on stderr; invisible off a terminal, in JSON mode and when quiet.
    pub(crate) fn bar(self, steps: u64, name: &str) -> ProgressBar {
        let hidden = self.quiet || self.json || !std::io::stderr().is_terminal();
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = "{prefix:.bold} {bar:24} {human_pos}/{human_len} {per_sec} eta {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_string());
        bar
    }

    /// A line that says what is going on, on stderr.
    pub(crate) fn spinner(self, name: &str) -> ProgressBar {
        let bar = self.bar(0, name);
        if let Ok(style) = ProgressStyle::with_template("{prefix:.bold} {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar
    }
}

fn write_stdout(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        // A reader such as `head` that has seen enough is no failure.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(genzoo_core::Error::io("write to", "standard output")(e).into()),
        Ok(()) => Ok(()),
    }
}

fn terminal_columns() -> Option<usize> {
    terminal_size::terminal_size().map(|(w, _)| usize::from(w.0)).filter(|w| *w > 20)
}
