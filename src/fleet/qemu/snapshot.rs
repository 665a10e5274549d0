//! A fleet saved at one instant: the memory, devices and disks of every VM, with their identities.
//!
//! A snapshot fits exactly one plan on exactly one hypervisor: its key is a hash of both. Restored memory
//! is mapped copy-on-write from the saved file, and disks are layers on the saved ones, so that any
//! number of fleets can run from one snapshot at once and each pays only for what it changes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};

use super::accel::Accelerator;
use super::folder::NodeFolder;
use super::vm::HYPERVISOR;
use super::wake::WakeBy;
use crate::disk::Layer;
use crate::fleet::plan::FleetPlan;

/// Changes whenever the machine that `machine.rs` describes does, or what a snapshot consists of.
const FORMAT: &str = "ovenproof fleet snapshot v3";
const RECORD: &str = "snapshot.json";

/// `snapshot.json`: written last, so that a snapshot without it is none.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: String,
    /// What the machine ids of the nodes are derived from.
    identity: String,
    wake: WakeBy,
    /// Length in bytes of every file.
    files: BTreeMap<String, u64>,
}

/// A snapshot that was found whole.
#[derive(Debug)]
pub(crate) struct Snapshot {
    dir: PathBuf,
    pub(crate) identity: String,
    pub(crate) wake: WakeBy,
}

/// The files of one node's snapshot, under `dir`.
pub(crate) struct SavedNode {
    pub ram: PathBuf,
    pub state: PathBuf,
    pub layer: PathBuf,
}

impl SavedNode {
    pub(crate) fn of(dir: &Path, node: &str) -> Self {
        let file = |what: &str| dir.join(format!("{node}.{what}"));
        SavedNode { ram: file("ram"), state: file("state"), layer: file("root") }
    }
}

/// The key of the snapshots that fit `plan` on this machine; `None` if there can be none.
pub(crate) fn key(plan: &FleetPlan) -> Option<String> {
    let version = Command::new(HYPERVISOR).arg("--version").output().ok()?.stdout;
    let (accelerator, _) = Accelerator::detect();
    // The name of a fleet is not part of its machines.
    let plan = FleetPlan { name: String::new(), ..plan.clone() };
    let mut hasher = blake3::Hasher::new_derive_key(FORMAT);
    for part in [&version, &accelerator.options().join(" ").into_bytes(), &serde_json::to_vec(&plan).ok()?] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    Some(hasher.finalize().to_hex().to_string())
}

impl Snapshot {
    /// Looks whether the snapshot in `dir` is whole.
    pub(crate) fn open(dir: &Path) -> Result<Self, String> {
        let text = fs::read(dir.join(RECORD)).map_err(|error| error.to_string())?;
        let record: Record = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if record.format != FORMAT {
            return Err(format!("it has the format `{}`, expected `{FORMAT}`", record.format));
        }
        for (name, length) in &record.files {
            let found = fs::metadata(dir.join(name)).map_err(|error| format!("{name}: {error}"))?.len();
            if found != *length {
                return Err(format!("{name} has {found} bytes, expected {length}"));
            }
        }
        Ok(Snapshot { dir: dir.to_owned(), identity: record.identity, wake: record.wake })
    }

    /// Describes the files in `dir`, which makes a snapshot of them.
    pub(crate) fn seal(dir: &Path, identity: &str, wake: WakeBy) -> io::Result<()> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
        }
        let record = Record { format: FORMAT.to_owned(), identity: identity.to_owned(), wake, files };
        fs::write(dir.join(RECORD), serde_json::to_vec_pretty(&record)?)
    }

    /// Gives the fleet in `root` its own links to what `node` needs: they stay when the snapshot goes.
    pub(crate) fn link(&self, root: &Path, node: &str) -> io::Result<()> {
        let (from, to) = (SavedNode::of(&self.dir, node), NodeFolder::new(node));
        fs::hard_link(from.ram, root.join(to.saved_ram()))?;
        fs::hard_link(from.state, root.join(to.saved_state()))?;
        link_layer(&from.layer, &root.join(to.saved_layer()))
    }

    pub(crate) fn user_key(&self) -> io::Result<String> {
        fs::read_to_string(user_key(&self.dir))
    }

    pub(crate) fn host_key(&self, node: &str) -> io::Result<String> {
        fs::read_to_string(host_key(&self.dir, node))
    }
}

/// A frozen layer under another name.
pub(crate) fn link_layer(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::hard_link(Layer::map_path(from), Layer::map_path(to))
}

/// Where a snapshot keeps the key that opens every node.
pub(crate) fn user_key(dir: &Path) -> PathBuf {
    dir.join("key")
}

pub(crate) fn host_key(dir: &Path, node: &str) -> PathBuf {
    dir.join(format!("{node}.host_key"))
}

/// Copies the memory of the QEMU process `pid` to `target`, leaving out what was never touched.
pub(crate) fn copy_memory(pid: u32, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let link = fs::read_link(&path).unwrap_or_default();
        if link.to_string_lossy().starts_with("/memfd:memory-backend-memfd") {
            return copy_sparse(&File::open(path)?, &File::create_new(target)?);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the process has no memory of the expected name"))
}

/// Copies data, not holes; pieces that are all zero become holes.
fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    const PIECE: usize = 64 << 10;
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; PIECE];
    let mut position = 0;
    while position < length {
        position = match seek(from, SeekFrom::Data(position)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(position))?.min(length);
        while position < end {
            let piece = usize::try_from(end - position).unwrap_or(PIECE).min(PIECE);
            let Some(buffer) = buffer.get_mut(..piece) else { break };
            from.read_exact_at(buffer, position)?;
            if buffer.iter().any(|byte| *byte != 0) {
                to.write_all_at(buffer, position)?;
            }
            position += piece as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_content_and_holes() {
        let dir = tempfile::tempdir().unwrap();
        let source = File::create_new(dir.path().join("a")).unwrap();
        source.set_len(10 << 20).unwrap();
        source.write_all_at(b"start", 0).unwrap();
        source.write_all_at(b"odd", (7 << 20) + 12_345).unwrap();
        let from = File::open(dir.path().join("a")).unwrap();
        copy_sparse(&from, &File::create_new(dir.path().join("b")).unwrap()).unwrap();
        let (a, b) = (fs::read(dir.path().join("a")).unwrap(), fs::read(dir.path().join("b")).unwrap());
        assert!(a == b, "the copy differs");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(dir.path().join("b")).unwrap());
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
    }

    #[test]
    fn damage_is_seen_before_use() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Snapshot::open(dir.path()).is_err());
        fs::write(dir.path().join("etcd-1.ram"), "memory").unwrap();
        Snapshot::seal(dir.path(), "7", WakeBy::Port).unwrap();
        assert_eq!(Snapshot::open(dir.path()).unwrap().identity, "7");
        fs::write(dir.path().join("etcd-1.ram"), "mem").unwrap();
        assert_eq!(Snapshot::open(dir.path()).unwrap_err(), "etcd-1.ram has 3 bytes, expected 6");
        let record = fs::read_to_string(dir.path().join(RECORD)).unwrap();
        fs::write(dir.path().join(RECORD), record.replace("v3", "v0")).unwrap();
        assert!(Snapshot::open(dir.path()).unwrap_err().contains("format"));
    }
}
