//! `ovenproof check-history`: judge a history that was recorded elsewhere.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Failure, Printer};
use crate::units::{Size, Span};
use crate::verify::Budget;
use crate::verify::history::{Model, load, picture};

/// A longer file is not read: everything is judged in memory.
const MAX_BYTES: u64 = 1 << 30;

/// Judge a recorded history: one of Jepsen's in EDN, a journal, or operations as JSON lines.
#[derive(Debug, Args)]
pub struct CheckHistoryArgs {
    /// The history.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What it is a history of.
    #[arg(long, value_enum)]
    model: ModelName,

    /// Values are pairs of key and value, as jepsen.independent makes them.
    #[arg(long)]
    keyed: bool,

    /// What the accounts of a bank hold together.
    #[arg(long, value_name = "AMOUNT")]
    total: Option<i64>,

    /// Time after which the answer is `unknown`.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    time: Span,

    /// Memory for the search, after which the answer is `unknown`.
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    memory: Size,

    /// Draw the smallest piece that proves a violation of a register, key-value store or lock into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModelName {
    #[value(alias = "cas-register")]
    Register,
    KeyValue,
    #[value(alias = "mutex")]
    Lock,
    Set,
    #[value(alias = "list-append")]
    Append,
    Bank,
    Counter,
    UniqueIds,
    #[value(alias = "total-queue")]
    Queue,
}

impl From<ModelName> for Model {
    fn from(name: ModelName) -> Self {
        match name {
            ModelName::Register => Model::Register,
            ModelName::KeyValue => Model::KeyValue,
            ModelName::Lock => Model::Lock,
            ModelName::Set => Model::Set,
            ModelName::Append => Model::Append,
            ModelName::Bank => Model::Bank,
            ModelName::Counter => Model::Counter,
            ModelName::UniqueIds => Model::UniqueIds,
            ModelName::Queue => Model::Queue,
        }
    }
}

pub fn run(args: &CheckHistoryArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let name = args.file.display();
    let cannot = |error: std::io::Error| Failure::user(format!("{name}: {error}"));
    let about = fs::metadata(&args.file).map_err(cannot)?;
    if !about.is_file() {
        return Err(Failure::user(format!("{name}: is not a file")));
    }
    if about.len() > MAX_BYTES {
        return Err(Failure::user(format!("{name}: is longer than {}", Size(MAX_BYTES))));
    }
    let bytes = fs::read(&args.file).map_err(cannot)?;
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::user(format!("{name}: is not text in UTF-8")))?;
    let model = Model::from(args.model);
    let loaded = load(&text, model, args.keyed).map_err(|error| Failure::user(format!("{name}:{error}")))?;
    let memory_bytes = usize::try_from(args.memory.0).unwrap_or(usize::MAX);
    let budget = Budget { time: args.time.0, memory_bytes };
    let finding = model.judge(&loaded, args.total, budget);
    printer.line(format!("{}: {}", finding.verdict, finding.message));
    if !finding.detail.is_empty() {
        printer.line(&finding.detail);
    }
    if let Some(path) = &args.svg {
        match finding.piece.is_empty() {
            true => printer.progress("nothing to draw: no piece of the history proves a violation by itself"),
            false => {
                let picture = picture::svg(&format!("{name}: {}", finding.message), &finding.piece);
                fs::write(path, picture)
                    .map_err(|error| Failure::user(format!("{}: {error}", path.display())))?;
            }
        }
    }
    printer.json(&json!({
        "file": args.file,
        "model": model.name(),
        "operations": loaded.ops.len(),
        "verdict": finding.verdict,
        "message": finding.message,
        "detail": finding.detail,
        "measured": finding.measured,
        "piece": finding.piece,
    }));
    Ok(ExitCode::from(finding.verdict.exit_code()))
}
