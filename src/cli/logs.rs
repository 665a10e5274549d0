//! `ovenproof logs`: what a node's console printed.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, Printer, fleets};

/// Show what a server's console printed since it was created, over all boots.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// NODE, or FLEET/NODE.
    node: String,
}

pub fn run(args: &LogsArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let provider = fleets::open(printer)?;
    fleets::block_on(async {
        let (fleet, node) = fleets::find_node(&provider, &args.node).await?;
        let console = fleet.console(&node).await?;
        if printer.is_json() {
            printer.json(&json!({ "node": node, "console": String::from_utf8_lossy(&console) }));
        } else {
            printer.raw(&console, &[]);
        }
        Ok(ExitCode::SUCCESS)
    })
}
