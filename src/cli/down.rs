//! `ovenproof down`: end a fleet and remove all that belonged to it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Failure, Printer, fleets};
use crate::fleet::ledger::Ledger;
use crate::fleet::qemu::volumes;
use crate::fleet::{Fleet, FleetError, InstanceAction, InstanceState, Provider};
use crate::home::Home;

/// For a guest that is up to answer; it needs a second unless the machine is overloaded.
const UP: Duration = Duration::from_secs(10);

/// Destroy a fleet: its servers, their disks, its network. Its volumes stay, with all data in them.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// The fleet; may be left out if there is only one.
    fleet: Option<String>,
    /// Destroy every fleet.
    #[arg(long, conflicts_with = "fleet")]
    all: bool,
    /// Remove the volumes of the fleet as well, with all data in them.
    #[arg(long)]
    volumes: bool,
}

pub fn run(args: &DownArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let home = Home::from_env()?;
    let ledger = Ledger::of(&home);
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
            let fleet = provider.attach(name).await?;
            let has_volumes = fleet.plan().nodes.iter().any(|node| !node.volumes.is_empty());
            if has_volumes && !args.volumes {
                shut_down(&fleet, printer).await;
            }
            fleet.destroy().await?;
            match (has_volumes, args.volumes) {
                (true, true) => {
                    volumes::remove_of(&home, name, None)?;
                    printer.line(format!("the fleet `{name}` is gone, and its volumes"));
                }
                (true, false) => printer.line(format!("the fleet `{name}` is gone; its volumes stay")),
                (false, _) => printer.line(format!("the fleet `{name}` is gone")),
            }
        }
        printer.json(&json!({ "destroyed": wanted }));
        Ok(ExitCode::SUCCESS)
    })
}

/// What the guests have not yet written belongs to the volumes too. One that does not shut down is destroyed
/// all the same: whoever asked for its end gets it.
async fn shut_down(fleet: &Arc<dyn Fleet>, printer: &Printer) {
    printer.progress(format!("shutting down the fleet `{}`, whose volumes stay", fleet.plan().name));
    let mut stopping = JoinSet::new();
    for node in &fleet.plan().nodes {
        let (fleet, node, printer) = (fleet.clone(), node.name.clone(), *printer);
        stopping.spawn(async move { stop(fleet.as_ref(), &node, &printer).await });
    }
    for stopped in stopping.join_all().await {
        if let Err(error) = stopped {
            tracing::warn!("not everything was written to the volumes in order: {error}");
        }
    }
}

/// A guest that is still booting takes no notice of its power button: it is not waited for.
async fn stop(fleet: &dyn Fleet, node: &str, printer: &Printer) -> Result<(), FleetError> {
    if fleet.status(node).await?.state != InstanceState::Running {
        return Ok(());
    }
    match fleet.session(node).exec("true", Instant::now() + UP).await {
        Ok(_) => fleet.act(node, InstanceAction::Stop).await,
        Err(_) => {
            printer.progress(format!("{node} is not up and cannot shut down in order: it is ended at once"));
            Ok(())
        }
    }
}
