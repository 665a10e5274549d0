//! `ovenproof gc`: remove what nobody owns any more.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, Printer};
use crate::fleet::qemu::gc;
use crate::fleet::{FleetError, ledger};
use crate::home::Home;
use crate::store::Store;
use crate::store::snapshot::snapshot_limit;
use crate::units::Size;

/// Remove what nobody owns any more: what killed commands left behind, and snapshots of fleets that cannot be
/// restored from or take too much room. Images, volumes and runs stay.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Room that all snapshots together may take; those that were used least recently go first. Saving one
    /// keeps to OVENPROOF_SNAPSHOTS too, and with 0B none are saved. [default: OVENPROOF_SNAPSHOTS, else 12G]
    #[arg(long, value_name = "SIZE")]
    snapshots: Option<Size>,
}

pub fn run(args: &GcArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let home = Home::from_env()?;
    let room = args.snapshots.map_or_else(snapshot_limit, Ok)?;
    let mut done = ledger::heal(&home).map_err(FleetError::from)?;
    let store = Store::open(&home)?;
    let unfinished = store.sweep()?;
    if unfinished > 0 {
        done.push(format!("removed unfinished work from the store: {unfinished}"));
    }
    done.extend(gc::collect(&home, &store, room)?);
    for deed in &done {
        printer.line(deed);
    }
    if done.is_empty() {
        printer.line("there was nothing to remove");
    }
    printer.json(&json!({ "removed": done }));
    Ok(ExitCode::SUCCESS)
}
