//! The hidden command with which this executable lists a tree that only a namespace shows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use crate::bake::inventory;

#[derive(Debug, Args)]
pub struct InventoryArgs {
    /// The root of the tree.
    tree: PathBuf,
    /// Where the list is written.
    list: PathBuf,
}

pub fn run(args: &InventoryArgs) -> Result<ExitCode, Failure> {
    inventory::write(&args.tree, &args.list)?;
    Ok(ExitCode::SUCCESS)
}
