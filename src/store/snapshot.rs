//! Snapshots of whole fleets, kept under a key that says what they are snapshots of.
//!
//! They are a cache: whoever finds one damaged discards it and does the slow thing instead. What is in
//! them is known to the provider that saved them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::workspace::Workspace;
use super::{At, Store, StoreError, entries};
use crate::units::Size;

/// Names the variable that says how much room all snapshots together may take.
pub const LIMIT_VARIABLE: &str = "OVENPROOF_SNAPSHOTS";
/// Without it; a dozen fleets of three small machines.
pub const LIMIT: Size = Size(12 << 30);

/// How much room all snapshots together may take; with none at all, none are made.
pub fn snapshot_limit() -> Result<Size, StoreError> {
    match std::env::var(LIMIT_VARIABLE) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|error| StoreError::BadLimit(format!("{LIMIT_VARIABLE}: {error}")))
        }
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(LIMIT),
        Err(error) => Err(StoreError::BadLimit(format!("{LIMIT_VARIABLE}: {error}"))),
    }
}

impl Store {
    /// The directory of the snapshot `key`, if there is one; counts as using it.
    pub fn snapshot(&self, key: &str) -> Option<PathBuf> {
        let dir = self.snapshot_dir(key);
        let used = fs::File::open(&dir).ok()?;
        // Only decides who is removed first.
        let _ = used.set_modified(SystemTime::now());
        Some(dir)
    }

    /// Starts work on the snapshot `key`, waiting for another process that makes the same one.
    pub fn begin_snapshot(&self, key: &str) -> Result<Workspace, StoreError> {
        Workspace::begin(&self.tmp(), &format!("snapshot-{key}")).at(&self.tmp())
    }

    /// Moves `part` of the workspace into place, and removes the oldest snapshots beyond `limit`; one that
    /// alone takes more is an error, and none are removed for it.
    pub fn publish_snapshot(
        &self,
        key: &str,
        work: Workspace,
        part: &Path,
        limit: Size,
    ) -> Result<(), StoreError> {
        let takes = room(part)?;
        if takes > limit {
            return Err(StoreError::NoRoom { takes, limit });
        }
        let target = self.snapshot_dir(key);
        work.publish(part, &target).at(&target)?;
        self.bound_snapshots(limit, Some(key)).map(drop)
    }

    /// Removes the snapshot `key`; a fleet that runs from it keeps its own links to the files.
    pub fn discard_snapshot(&self, key: &str) -> Result<(), StoreError> {
        let dir = self.snapshot_dir(key);
        let work = Workspace::begin(&self.tmp(), &format!("discard-snapshot-{key}")).at(&dir)?;
        // Out of sight in one step: a crash never leaves half a snapshot under its key.
        match fs::rename(&dir, work.dir().join("snapshot")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.at(&dir),
        }
    }

    /// Keys of all snapshots.
    pub fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        entries(&self.root.join("snapshots"))
    }

    /// Removes snapshots until the others take no more room than `limit`, the one that was used least
    /// recently first and `kept` never; returns what was removed.
    pub fn bound_snapshots(&self, limit: Size, kept: Option<&str>) -> Result<Vec<String>, StoreError> {
        let mut known = Vec::new();
        for key in self.snapshots()? {
            let dir = self.snapshot_dir(&key);
            let used = fs::metadata(&dir).and_then(|meta| meta.modified()).at(&dir)?;
            known.push((used, room(&dir)?.0, key));
        }
        known.sort();
        let mut total: u64 = known.iter().map(|(_, bytes, _)| bytes).sum();
        let mut removed = Vec::new();
        for (_, bytes, key) in known {
            if total <= limit.0 {
                break;
            }
            if kept != Some(key.as_str()) {
                self.discard_snapshot(&key)?;
                total -= bytes;
                removed.push(key);
            }
        }
        Ok(removed)
    }

    /// Where the snapshot `key` lies, whether it is there or not.
    pub fn snapshot_dir(&self, key: &str) -> PathBuf {
        self.root.join("snapshots").join(key)
    }
}

/// What the files in `dir` take on the disk: most of a machine's memory was never written and takes nothing.
fn room(dir: &Path) -> Result<Size, StoreError> {
    let mut bytes = 0;
    for name in entries(dir)? {
        bytes += fs::metadata(dir.join(name)).at(dir)?.blocks() * 512;
    }
    Ok(Size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;

    fn publish(store: &Store, key: &str, bytes: usize, limit: u64) -> Result<(), StoreError> {
        let work = store.begin_snapshot(key).unwrap();
        let part = work.dir().join("snapshot");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("ram"), vec![1; bytes]).unwrap();
        store.publish_snapshot(key, work, &part, Size(limit))
    }

    #[test]
    fn all_together_keep_to_the_limit_whatever_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::at(dir.path())).unwrap();
        for key in ["a", "b", "c", "d"] {
            publish(&store, key, 64 << 10, 150 << 10).unwrap();
        }
        assert_eq!(store.snapshots().unwrap().len(), 2);
        assert!(store.snapshot("d").is_some(), "the one that was just saved");
        // Not at the price of all others, which are of use.
        let refused = publish(&store, "large", 256 << 10, 150 << 10).unwrap_err().to_string();
        let expected = "it takes 256K, more than the 150K that all snapshots together may take";
        assert_eq!(refused, expected);
        assert_eq!(store.snapshots().unwrap().len(), 2);
        assert_eq!(entries(&store.tmp()).unwrap(), [""; 0], "half of it is left");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::at(dir.path())).unwrap();
        for key in ["a", "b", "c"] {
            publish(&store, key, 64 << 10, 1 << 30).unwrap();
        }
        let age = |key: &str, seconds| {
            let file = fs::File::open(store.snapshot_dir(key)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        for (key, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
            age(key, seconds);
        }
        store.snapshot("a").unwrap();
        assert_eq!(store.bound_snapshots(Size(150 << 10), None).unwrap(), ["b"]);
        assert_eq!(store.snapshots().unwrap(), ["a", "c"]);
        assert_eq!(store.bound_snapshots(Size(0), Some("c")).unwrap(), ["a"]);
        assert!(store.snapshot("a").is_none());
        assert_eq!(store.snapshots().unwrap(), ["c"]);
    }
}
