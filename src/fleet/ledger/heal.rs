//! Undoing what dead processes left behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FleetRecord, Ledger, LedgerError};
use crate::fleet::process::ProcessId;
use crate::fleet::provider::Lifetime;
use crate::fleet::qemu::folder::Folder;
use crate::fleet::qemu::volumes::Made;
use crate::home::{Home, Lock};

/// How long a supervisor may take to clean up by itself after its client died.
const OWN_CLEANUP: Duration = Duration::from_secs(10);

/// Removes everything that the ledger knows and that nobody owns any more; says what it did, one sentence
/// each. With nothing to do it costs one read of a small file.
pub fn heal(home: &Home) -> Result<Vec<String>, LedgerError> {
    let ledger = Ledger::of(home);
    if ledger.fleets()?.is_empty() {
        return Ok(Vec::new());
    }
    // One healer at a time, and the ledger is read again under the lock: what another one has healed may
    // have come back under the same name.
    let path = home.root().join("heal.lock");
    let _lock = Lock::acquire(&path).map_err(|source| LedgerError::Io { path, source })?;
    let mut done = Vec::new();
    for record in ledger.fleets()? {
        if is_owned(&record, &mut done) {
            continue;
        }
        // The supervisor may have cleaned up by itself just now, and the name may be taken again.
        if !ledger.fleets()?.iter().any(|fleet| fleet.id == record.id) {
            continue;
        }
        remove_unused_volumes(&record, &mut done)
            .and_then(|()| remove_leftovers(&record, &mut done))
            .map_err(|source| LedgerError::Io { path: record.folder.clone(), source })?;
        ledger.gone(&record.id)?;
        done.push(format!("removed what was left of the fleet `{}`", record.name));
    }
    Ok(done)
}

/// Whether someone still takes care of the fleet; ends a supervisor that has outlived its purpose.
fn is_owned(record: &FleetRecord, done: &mut Vec<String>) -> bool {
    let Some(supervisor) = &record.supervisor else {
        // If the supervisor starts after its creator died, it finds its entry gone and does nothing.
        return record.creator.is_alive();
    };
    if !supervisor.is_alive() {
        return false;
    }
    if record.lifetime == Lifetime::UntilDown || record.creator.is_alive() {
        return true;
    }
    if supervisor.wait(OWN_CLEANUP) {
        return false;
    }
    let killed = supervisor.kill();
    done.push(format!("killed the supervisor {} of the fleet `{}`", supervisor.pid, record.name));
    !killed
}

/// Removes the volumes that were made for a fleet without a supervisor: no machine of it ever ran.
fn remove_unused_volumes(record: &FleetRecord, done: &mut Vec<String>) -> io::Result<()> {
    // Without a setup it never came so far as to have any.
    let Ok(setup) = Folder::new(record.folder.clone()).setup() else { return Ok(()) };
    if record.supervisor.is_some() || setup.made != Made::All || setup.volumes.are_fresh() {
        return Ok(());
    }
    setup.volumes.remove().map_err(io::Error::other)?;
    done.push(format!("removed the volumes of the fleet `{}`, which it never had", record.name));
    Ok(())
}

/// Removes VMs, kept logs aside, and the folder of a fleet whose supervisor is dead.
pub(crate) fn remove_leftovers(record: &FleetRecord, done: &mut Vec<String>) -> io::Result<()> {
    // They are told to die with their supervisor; this finds one that was being born at that moment.
    for process in processes_in(&record.folder)? {
        if !process.wait(Duration::from_secs(2)) && process.kill() {
            done.push(format!("killed the process {} of the fleet `{}`", process.pid, record.name));
        }
    }
    let folder = Folder::new(record.folder.clone());
    // Losing logs must not keep the rest from being cleaned up.
    if let Err(error) = folder.keep_logs() {
        done.push(format!("could not keep the logs of the fleet `{}`: {error}", record.name));
    }
    folder.remove()
}

/// Machines that run in `folder`: nobody else has business there.
pub(crate) fn processes_in(folder: &Path) -> io::Result<Vec<ProcessId>> {
    let mut found = Vec::new();
    let Ok(folder) = fs::canonicalize(folder) else { return Ok(found) };
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Only what we started runs under this name; a shell that a person opened there is theirs.
        let ours = fs::read_link(entry.path().join("exe")).is_ok_and(is_hypervisor);
        let works_here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        if ours
            && works_here
            && let Ok(process) = ProcessId::of(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

fn is_hypervisor(exe: PathBuf) -> bool {
    exe.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("qemu-"))
}
