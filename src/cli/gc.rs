//! `ovenproof gc`: remove what nobody owns any more.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

#[cfg(feature = "ec2")]
pub(super) mod ec2;

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

    /// Remove what dead commands left in the AWS account instead: what this home made and nobody works on any more, and
    /// what anyone made once its time is over. AMIs that are whole stay.
    #[arg(long, conflicts_with = "snapshots")]
    ec2: bool,

    /// A region to look in; may be given again. [default: that of the environment, and all that this home has used]
    #[arg(long = "region", value_name = "REGION", requires = "ec2")]
    regions: Vec<String>,

    /// Say what would go, and remove nothing.
    #[arg(long, requires = "ec2")]
    dry_run: bool,
}

pub fn run(args: &GcArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let home = Home::from_env()?;
    if args.ec2 {
        return remote(args, &home, printer);
    }
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

#[cfg(feature = "ec2")]
fn remote(args: &GcArgs, home: &Home, printer: &Printer) -> Result<ExitCode, Failure> {
    let found = super::fleets::block_on(ec2::collect(&args.regions, args.dry_run, home))?;
    for leftover in &found {
        printer.line(ec2::sentence(leftover, args.dry_run));
    }
    if found.is_empty() {
        printer.line("there was nothing to remove");
    }
    printer.json(&json!({ "dry_run": args.dry_run, "removed": found }));
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "ec2"))]
fn remote(args: &GcArgs, _: &Home, _: &Printer) -> Result<ExitCode, Failure> {
    let _ = (&args.regions, args.dry_run);
    Err(super::no_ec2())
}
