//! `ovenproof down`: end a fleet and remove all that belonged to it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, Printer, fleets};
use crate::fleet::ledger::Ledger;
use crate::fleet::{FleetError, Provider};
use crate::home::Home;

/// Destroy a fleet: its servers, their disks, its network.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// The fleet; may be left out if there is only one.
    fleet: Option<String>,
    /// Destroy every fleet.
    #[arg(long, conflicts_with = "fleet")]
    all: bool,
}

pub fn run(args: &DownArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let ledger = Ledger::of(&Home::from_env()?);
    let before = ledger.fleets().map_err(FleetError::from)?;
    let provider = fleets::open(printer)?;
    fleets::block_on(async {
        let left = provider.list().await?;
        let wanted = match (&args.fleet, args.all) {
            (_, true) => left,
            // Its supervisor was dead, and healing has just removed what was left of it.
            (Some(name), _) if !left.contains(name) && before.iter().any(|fleet| fleet.name == *name) => {
                Vec::new()
            }
            (name, _) => vec![fleets::find_fleet(&provider, name.as_deref()).await?.plan().name.clone()],
        };
        for name in &wanted {
            provider.attach(name).await?.destroy().await?;
            printer.line(format!("the fleet `{name}` is gone"));
        }
        printer.json(&json!({ "destroyed": wanted }));
        Ok(ExitCode::SUCCESS)
    })
}
