//! What nobody owns any more: snapshots that no fleet can be restored from, folders of fleets that no ledger
//! knows.
//!
//! Unlike healing this is never done in passing: all that goes is room, and one look through it takes time.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::folder::Folder;
use super::snapshot;
use super::supervisor::failed;
use super::volumes;
use crate::fleet::ledger::{Ledger, processes_in};
use crate::fleet::provider::FleetError;
use crate::home::Home;
use crate::store::Store;
use crate::units::Size;

/// Snapshots that no fleet can be restored from, each with the reason.
pub fn useless_snapshots(store: &Store) -> Result<Vec<(String, String)>, FleetError> {
    let keys = store.snapshots()?.into_iter();
    Ok(keys.filter_map(|key| snapshot::useless(store, &key).map(|why| (key, why))).collect())
}

/// Removes them; says what went, one sentence each.
pub fn discard_useless_snapshots(store: &Store) -> Result<Vec<String>, FleetError> {
    let mut done = Vec::new();
    for (key, why) in useless_snapshots(store)? {
        store.discard_snapshot(&key)?;
        done.push(format!("removed the snapshot {}: {why}", short(&key)));
    }
    Ok(done)
}

/// Removes it all, and the least recently used snapshots beyond `room`; says what it did, one sentence each.
pub fn collect(home: &Home, store: &Store, room: Size) -> Result<Vec<String>, FleetError> {
    let mut done = discard_useless_snapshots(store)?;
    for key in store.bound_snapshots(room, None)? {
        done.push(format!("removed the snapshot {}: together they take more than {room}", short(&key)));
    }
    for fleet in volumes::unfinished(home)? {
        let known = Ledger::of(home).fleets()?.into_iter().any(|record| record.name == fleet);
        if !known && volumes::sweep(home, &fleet)? {
            done.push(format!("removed half made or half removed volumes of the fleet `{fleet}`"));
        }
    }
    for name in folders(home).map_err(failed("cannot list the fleets' folders"))? {
        // Read anew each time: a fleet is in the ledger before it has a folder.
        let known: BTreeSet<String> =
            Ledger::of(home).fleets()?.into_iter().map(|record| record.name).collect();
        let folder = Folder::of(home, &name);
        // Whoever lost the ledger may still have its machines.
        let running = processes_in(folder.root()).map_err(failed("cannot look for machines"))?;
        if !known.contains(&name) && running.is_empty() {
            folder.remove().map_err(failed("cannot remove a fleet's folder"))?;
            done.push(format!("removed the folder of the fleet `{name}`, which no ledger knows"));
        }
    }
    Ok(done)
}

fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

fn folders(home: &Home) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    match fs::read_dir(home.fleets()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        listing => {
            for entry in listing? {
                names.extend(entry?.file_name().into_string());
            }
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Snapshot;
    use super::super::wake::WakeBy;
    use super::*;
    use crate::home::create_private_dir;

    #[test]
    fn snapshots_that_take_too_much_room_go_and_the_one_that_was_used_last_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let store = Store::open(&home).unwrap();
        for (key, seconds) in [("000000000001", 2), ("000000000002", 3), ("000000000003", 1)] {
            let folder = store.snapshot_dir(key);
            create_private_dir(&folder).unwrap();
            fs::write(folder.join("ram"), vec![1; 1 << 20]).unwrap();
            Snapshot::seal(&folder, key, BTreeSet::new(), "7", WakeBy::Port).unwrap();
            let used = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::open(&folder).unwrap().set_modified(used).unwrap();
        }
        assert_eq!(collect(&home, &store, Size(4 << 20)).unwrap(), [""; 0]);
        assert_eq!(
            collect(&home, &store, Size(3 << 19)).unwrap(),
            [
                "removed the snapshot 000000000003: together they take more than 1.5M",
                "removed the snapshot 000000000001: together they take more than 1.5M",
            ]
        );
        assert_eq!(store.snapshots().unwrap(), ["000000000002"]);
    }

    #[test]
    fn what_nobody_owns_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let store = Store::open(&home).unwrap();
        assert_eq!(collect(&home, &store, Size(0)).unwrap(), [""; 0]);
        create_private_dir(&home.fleets().join("lost/nodes")).unwrap();
        create_private_dir(&store.snapshot_dir("0123456789abcdef")).unwrap();
        assert_eq!(
            collect(&home, &store, Size(1 << 30)).unwrap(),
            [
                "removed the snapshot 0123456789ab: snapshot.json: No such file or directory (os error 2)",
                "removed the folder of the fleet `lost`, which no ledger knows",
            ]
        );
        assert!(!home.fleets().join("lost").exists());
        assert_eq!(collect(&home, &store, Size(0)).unwrap(), [""; 0]);
    }
}
