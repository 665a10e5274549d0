//! The hidden command with which this executable supervises a fleet.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use crate::fleet::qemu::supervisor;

#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// The fleet's folder.
    folder: PathBuf,
}

pub fn run(args: &SuperviseArgs) -> Result<ExitCode, Failure> {
    supervisor::supervise(&args.folder)?;
    Ok(ExitCode::SUCCESS)
}
