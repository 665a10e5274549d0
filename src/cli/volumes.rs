//! `ovenproof volumes`: the data that outlives fleets.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Failure, Printer, fleets};
use crate::fleet::qemu::volumes::{self, VolumeError, VolumeSnapshots};
use crate::fleet::{Fleet, FleetError, InstanceAction, InstanceState, Provider};
use crate::home::Home;
use crate::units::Size;

/// List, copy or remove the volumes of fleets: their data, which stays when they go.
#[derive(Debug, Args)]
pub struct VolumesArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all volumes and the snapshots of them (the default).
    List,
    /// Copy all volumes of a fleet as they are at one instant. A fleet that runs stands still meanwhile.
    Snapshot {
        fleet: String,
        /// The snapshot's name, for `ovenproof up --from-volume-snapshot`.
        name: String,
    },
    /// Remove volumes with all data in them. The fleet must not run.
    Rm {
        /// All volumes of a fleet (FLEET), or one of them (FLEET/NODE.VOLUME).
        #[arg(required_unless_present = "snapshot", value_name = "FLEET[/NODE.VOLUME]")]
        volumes: Vec<String>,
        /// Remove a snapshot of volumes.
        #[arg(long, value_name = "NAME")]
        snapshot: Vec<String>,
    },
}

pub fn run(args: &VolumesArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let home = Home::from_env()?;
    match &args.action {
        None | Some(Action::List) => list(&home, printer)?,
        Some(Action::Snapshot { fleet, name }) => snapshot(&home, fleet, name, printer)?,
        Some(Action::Rm { volumes, snapshot }) => remove(&home, volumes, snapshot, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(home: &Home, printer: &Printer) -> Result<(), Failure> {
    let found = volumes::list(home)?;
    let snapshots = VolumeSnapshots::of(home).list()?;
    printer.json(&json!({
        "volumes": found.iter().map(|volume| json!({
            "fleet": volume.fleet, "name": volume.name, "size_bytes": volume.record.size.0,
            "used_bytes": volume.used, "mount": volume.record.mount, "created_at": volume.record.created_at,
        })).collect::<Vec<_>>(),
        "snapshots": snapshots,
    }));
    if found.is_empty() && snapshots.is_empty() {
        printer.line("there are no volumes; a role with `volumes` gets some at its first `ovenproof up`");
    }
    if !found.is_empty() {
        let mut rows = vec![["VOLUME", "SIZE", "USED", "MOUNT", "CREATED"].map(str::to_owned).to_vec()];
        rows.extend(found.iter().map(|volume| {
            let record = &volume.record;
            let name = format!("{}/{}", volume.fleet, volume.name);
            let (size, used) = (record.size.to_string(), Size(volume.used).to_string());
            vec![name, size, used, record.mount.clone(), moment(&record.created_at)]
        }));
        fleets::table(&rows).iter().for_each(|line| printer.line(line));
    }
    if !snapshots.is_empty() {
        let mut rows = vec![["SNAPSHOT", "OF", "VOLUMES", "CREATED"].map(str::to_owned).to_vec()];
        rows.extend(snapshots.iter().map(|(name, saved)| {
            let count = saved.volumes.len().to_string();
            vec![name.clone(), saved.fleet.clone(), count, moment(&saved.created_at)]
        }));
        fleets::table(&rows).iter().for_each(|line| printer.line(line));
    }
    Ok(())
}

/// To the second.
fn moment(rfc3339: &str) -> String {
    let seconds: String = rfc3339.chars().take(19).collect();
    format!("{seconds}Z")
}

fn snapshot(home: &Home, fleet: &str, name: &str, printer: &Printer) -> Result<(), Failure> {
    if !crate::store::is_name(name) {
        return Err(Failure::user(format!(
            "`{name}` cannot be a snapshot's name, expected lower-case letters, digits and hyphens"
        )));
    }
    let provider = fleets::open(printer)?;
    let save = || VolumeSnapshots::of(home).save(home, fleet, name);
    let saved = fleets::block_on(async {
        if !provider.list().await?.iter().any(|known| known == fleet) {
            return Ok(save()?);
        }
        // Whatever a machine has been told is written is in the file when it stands still.
        let running = provider.attach(fleet).await?;
        let stopped = all(&running, InstanceState::Running, InstanceAction::Freeze).await;
        let saved = stopped.and_then(|()| save().map_err(FleetError::from));
        // Also those that were stopped before another one could not be.
        let resumed = all(&running, InstanceState::Frozen, InstanceAction::Thaw).await;
        let saved = saved?;
        resumed?;
        Ok(saved)
    })?;
    printer.line(format!("saved {} volumes of the fleet `{fleet}` as `{name}`", saved.volumes.len()));
    printer.progress(format!("`ovenproof up ... --from-volume-snapshot {name}` starts a fleet with them"));
    printer.json(&json!({ "snapshot": name, "volumes": saved.volumes }));
    Ok(())
}

fn remove(home: &Home, names: &[String], snapshots: &[String], printer: &Printer) -> Result<(), Failure> {
    let provider = fleets::open(printer)?;
    let running = fleets::block_on(async { Ok(provider.list().await?) })?;
    for name in names {
        let fleet = name.split_once('/').map_or(name.as_str(), |(fleet, _)| fleet);
        if running.iter().any(|known| known == fleet) {
            return Err(Failure::user(format!("the fleet `{fleet}` runs on its volumes"))
                .hint(format!("`ovenproof down {fleet} --volumes` ends both")));
        }
    }
    for name in names {
        let (fleet, volume) = match name.split_once('/') {
            Some((fleet, volume)) => (fleet, Some(volume)),
            None => (name.as_str(), None),
        };
        volumes::remove_of(home, fleet, volume)?;
        printer.line(format!("removed {name}"));
    }
    for name in snapshots {
        VolumeSnapshots::of(home).remove(name)?;
        printer.line(format!("removed the snapshot {name}"));
    }
    printer.json(&json!({ "removed": names, "removed_snapshots": snapshots }));
    Ok(())
}

/// Does `action` to every instance that is in `state`, at once.
pub(crate) async fn all(
    fleet: &Arc<dyn Fleet>,
    state: InstanceState,
    action: InstanceAction,
) -> Result<(), FleetError> {
    let mut acting = JoinSet::new();
    for node in &fleet.plan().nodes {
        let (fleet, node) = (fleet.clone(), node.name.clone());
        acting.spawn(async move {
            match fleet.status(&node).await?.state == state {
                true => fleet.act(&node, action).await,
                false => Ok(()),
            }
        });
    }
    acting.join_all().await.into_iter().collect()
}

impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        Failure::from(&error)
    }
}

impl From<&VolumeError> for Failure {
    fn from(error: &VolumeError) -> Self {
        match error {
            VolumeError::NoSuchVolume(_) | VolumeError::NoSuchSnapshot(_) | VolumeError::NoVolumes(_) => {
                Failure::user(error).hint("`ovenproof volumes` shows what there is")
            }
            VolumeError::HasVolumes(fleet) => Failure::user(error).hint(format!(
                "`ovenproof volumes rm {fleet}` removes them; another `--name` leaves them alone"
            )),
            VolumeError::SnapshotExists(name) => {
                Failure::user(error).hint(format!("`ovenproof volumes rm --snapshot {name}` removes it"))
            }
            VolumeError::Shrink { .. } | VolumeError::NotInSnapshot { .. } => Failure::user(error),
            VolumeError::Io { .. } | VolumeError::Make { .. } | VolumeError::Damaged { .. } => {
                Failure::infrastructure(error)
            }
            VolumeError::Store(_) => Failure::infrastructure(error),
        }
    }
}
