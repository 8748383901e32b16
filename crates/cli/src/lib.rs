//! The command line of genzoo, as a library: a user's crate is a genzoo with more models.
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     genzoo::main_with(&[])
//! }
//! ```

mod args;
mod bench;
mod check;
mod compare;
mod data;
mod eval;
mod judge;
mod list;
mod logz;
mod machine;
mod ood;
mod output;
mod report;
mod run;
mod sample;
mod signals;
mod study;
mod sweep;
mod train;
mod zoo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
pub use genzoo_core as core;
use genzoo_core::{Dataset, Device, Entry, Error};
pub use genzoo_numerics as numerics;

use crate::args::{Cli, Command};
use crate::output::Output;
use crate::zoo::Registry;

/// Every model of this repository, family by family.
pub fn models() -> impl Iterator<Item = &'static Entry> {
    Registry::new(&[]).all()
}

/// Runs the command line with `own` models beside those of the zoo.
///
/// Configures threads and allocator first, so call it at the start of `main`.
pub fn main_with(own: &'static [Entry]) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    let out = Output::new(cli.global.json, cli.global.quiet);
    genzoo_kernels::runtime::configure(cli.global.threads.map(usize::from));
    signals::listen();
    let result = genzoo_kernels::runtime::run(move || dispatch(cli, Registry::new(own), out));
    match result {
        Ok(Ok(code)) => exit(code),
        Ok(Err(e)) => {
            Output::new(false, false).note(&format!("error: {}", whole(&e)));
            exit(code_of(&e))
        }
        Err(e) => {
            Output::new(false, false).note(&format!("error: {e}"));
            exit(1)
        }
    }
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn dispatch(cli: Cli, registry: Registry, out: Output) -> anyhow::Result<i32> {
    let open = Opener {
        data_dir: cli.global.data_dir.clone(),
        device: zoo::device(&cli.global.device)?,
        offline: cli.global.offline,
    };
    // The first call decides; a second dispatch in one process keeps it.
    let _ = machine::DEVICE.set(cli.global.device.clone());
    match &cli.command {
        Command::List(a) => list::command(a, registry, &out),
        Command::Train(a) => train::command(a, registry, &out, &open),
        Command::Sample(a) => sample::command(a, registry, &out, &open),
        Command::Eval(a) => eval::command(a, registry, &out, &open),
        Command::Logz(a) => logz::command(a, registry, &out, &open),
        Command::Compare(a) => compare::command(a, &out),
        Command::Bench(a) => bench::command(a, registry, &out, &open),
        Command::Report(a) => report::command(a, &out),
        Command::Data(a) => data::command(a, &out, &open),
        Command::Judge(a) => judge::command(a, &out, &open),
        Command::Check(a) => check::command(a, registry, &out),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "genzoo", &mut text);
            out.print(&String::from_utf8_lossy(&text))?;
            Ok(0)
        }
    }
}

/// The seed of the data all models are judged on.
const EVAL_SEED: u64 = 0;

/// Opens data sets the way the global options say.
struct Opener {
    data_dir: Option<PathBuf>,
    device: Device,
    offline: bool,
}

impl Opener {
    fn dataset(&self, name: &str, seed: u64) -> genzoo_core::Result<Box<dyn Dataset>> {
        let options = genzoo_lab::data::OpenOptions { data_dir: self.data_dir.clone(), seed };
        genzoo_lab::data::open(name, &options)
    }
}

/// An error and its causes, each said once: some messages already hold their cause.
fn whole(e: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in e.chain().map(ToString::to_string).filter(|c| !c.is_empty()) {
        if !text.contains(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    text
}

/// The exit code an error stands for.
fn code_of(e: &anyhow::Error) -> i32 {
    match e.chain().find_map(|c| c.downcast_ref::<Error>()) {
        Some(Error::Locked { .. }) => 5,
        Some(Error::Io { source, .. }) => match source.kind() {
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::IsADirectory
            | std::io::ErrorKind::NotADirectory => 2,
            _ => 4,
        },
        Some(Error::Diverged { .. } | Error::Unstable(_)) => 3,
        Some(
            Error::Config { .. }
            | Error::Unknown { .. }
            | Error::File { .. }
            | Error::Data { .. }
            | Error::Unsupported(_),
        ) => 2,
        Some(Error::Tensor(_) | Error::Network { .. }) | None => 1,
    }
}
