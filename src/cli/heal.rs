//! `ovenproof heal`: undo what dead processes left behind.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, Printer};
use crate::fleet::{FleetError, ledger};
use crate::home::Home;

/// Remove what a killed command left behind. Other commands do this by themselves when they start.
#[derive(Debug, Args)]
pub struct HealArgs {}

pub fn run(_: &HealArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let done = ledger::heal(&Home::from_env()?).map_err(FleetError::from)?;
    for deed in &done {
        printer.line(deed);
    }
    if done.is_empty() {
        printer.line("there was nothing to heal");
    }
    printer.json(&json!({ "healed": done }));
    Ok(ExitCode::SUCCESS)
}
