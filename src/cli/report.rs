//! `ovenproof report`: makes any report of a run again from its journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;

use super::{Failure, Printer};
use crate::diagnostic;
use crate::home::Home;
use crate::journal::{self, Entry, Event, JournalError};
use crate::report::{Run, html, junit, markdown, terminal};

/// Show how a run went, and make its reports again.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The run: its id, its folder, or its journal.
    run: String,

    /// Write one self-contained HTML page to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write JUnit XML to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write a Markdown summary to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Reading a report is a success whatever the verdict of the run was.
pub(super) fn run(args: &Args, printer: &Printer) -> Result<ExitCode, Failure> {
    let journal = find(&Home::from_env()?, &args.run)?;
    let started = |entry: &Entry| matches!(entry.event, Event::RunStarted(_));
    if !journal::read(&journal)?.iter().any(started) {
        return Err(Failure::user(format!("{}: no run is in it", journal.display()))
            .hint("expected the journal of a run, which begins with its start"));
    }
    let mut run = Run::load(&journal)?;
    if let Some(path) = &args.html {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        write(path, html::page(&run, dir).map_err(Failure::infrastructure)?.as_bytes())?;
        run.reports.push(path.clone());
    }
    if let Some(path) = &args.junit {
        let mut xml = Vec::new();
        junit::write(std::slice::from_ref(&run), &mut xml)?;
        write(path, &xml)?;
        run.reports.push(path.clone());
    }
    if let Some(path) = &args.markdown {
        write(path, markdown::summary(std::slice::from_ref(&run)).as_bytes())?;
        run.reports.push(path.clone());
    }
    printer.line(terminal::summary(&run, printer.colours_results(), printer.width()));
    printer.json(&run);
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| Failure::user(format!("{}: {error}", path.display())))
}

/// A path if there is such a file or folder, else an id under `runs/`.
pub(super) fn find(home: &Home, run: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(run);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let folders = [path.to_owned(), home.runs().join(run)];
    if let Some(journal) = folders.iter().map(|dir| dir.join("journal.jsonl")).find(|file| file.is_file()) {
        return Ok(journal);
    }
    let known: Vec<String> = fs::read_dir(home.runs())
        .map(|dir| dir.flatten().map(|run| run.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let failure = Failure::user(format!("there is no run `{run}`"));
    // Ids begin with the time, so the greatest is the newest.
    let near = diagnostic::closest(run, known.iter().map(String::as_str));
    Err(match (near, known.iter().max()) {
        (Some(near), _) => failure.hint(format!("did you mean `{near}`?")),
        (None, Some(newest)) => failure.hint(format!("the newest run is `{newest}`")),
        (None, None) => failure.hint(format!("there are no runs in {}", home.runs().display())),
    })
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Failure::user(error)
    }
}
