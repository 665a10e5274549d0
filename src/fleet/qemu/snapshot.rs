//! A fleet saved at one instant: the memory, devices and disks of every VM, with their identities.
//!
//! A snapshot fits exactly one plan on exactly one hypervisor: its key is a hash of both. Restored memory
//! is mapped copy-on-write from the saved file, and disks are layers on the saved ones, so that any
//! number of fleets can run from one snapshot at once and each pays only for what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};

use super::folder::NodeFolder;
use super::wake::WakeBy;
use crate::disk::Layer;
use crate::fleet::plan::FleetPlan;
use crate::hypervisor::HYPERVISOR;
use crate::hypervisor::accel::Accelerator;
use crate::network::HeldFrame;
use crate::store::{ImageId, Store};

/// Changes whenever the machine that `machine.rs` describes does, or what a snapshot consists of.
const FORMAT: &str = "ovenproof fleet snapshot v5";
/// The frames that were between two nodes.
const FRAMES: &str = "switch.frames";
const RECORD: &str = "snapshot.json";
/// Files up to this are compared byte by byte before they are used; reading all of the memory would take
/// longer than restoring it.
const DIGESTED: u64 = 16 << 20;

/// `snapshot.json`: written last, so that a snapshot without it is none.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: String,
    /// The key under which it lies: whoever moves it makes it another one.
    key: String,
    hypervisor: String,
    images: BTreeSet<ImageId>,
    /// What the machine ids of the nodes are derived from.
    identity: String,
    wake: WakeBy,
    files: BTreeMap<String, SavedFile>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedFile {
    bytes: u64,
    /// BLAKE3, of files that are not too large.
    digest: Option<String>,
}

impl SavedFile {
    fn of(path: &Path) -> io::Result<Self> {
        let bytes = fs::metadata(path)?.len();
        let digest = match bytes <= DIGESTED {
            true => Some(blake3::hash(&fs::read(path)?).to_hex().to_string()),
            false => None,
        };
        Ok(SavedFile { bytes, digest })
    }
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

    /// The volume `name` (`NODE.NAME`).
    pub(crate) fn volume(dir: &Path, name: &str) -> PathBuf {
        dir.join(format!("{name}.volume"))
    }
}

/// The key of the snapshots that fit `plan` on this machine; `None` if there can be none.
pub(crate) fn key(plan: &FleetPlan) -> Option<String> {
    // The name of a fleet is not part of its machines.
    let plan = FleetPlan { name: String::new(), ..plan.clone() };
    let mut hasher = blake3::Hasher::new_derive_key(FORMAT);
    for part in [hypervisor()?.into_bytes(), serde_json::to_vec(&plan).ok()?] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(&part);
    }
    Some(hasher.finalize().to_hex().to_string())
}

/// What the memory of a machine can be restored by: this very QEMU, with this accelerator, on this
/// processor. The file tells versions apart as well as its `--version`, without starting it.
fn hypervisor() -> Option<String> {
    let found = |dir: PathBuf| {
        let path = dir.join(HYPERVISOR);
        fs::metadata(&path).ok().map(|file| (path, file))
    };
    let (path, file) = std::env::split_paths(&std::env::var_os("PATH")?).find_map(found)?;
    let (accelerator, _) = Accelerator::detect();
    let processor = match accelerator {
        Accelerator::Kvm => fs::read_to_string("/proc/cpuinfo").ok()?,
        // An emulated one is the same everywhere.
        Accelerator::Tcg => String::new(),
    };
    let told = |line: &&str| line.starts_with("model name") || line.starts_with("flags");
    let processor: BTreeSet<&str> = processor.lines().filter(told).collect();
    let version = format!("{} {} {}.{}", path.display(), file.len(), file.mtime(), file.mtime_nsec());
    let processor = processor.into_iter().collect::<Vec<_>>().join(" ");
    Some([version, accelerator.options().join(" "), processor].join(" ").trim_end().to_owned())
}

/// Why nobody will ever use the snapshot `key` again; `None` if somebody may.
pub(crate) fn useless(store: &Store, key: &str) -> Option<String> {
    let dir = store.snapshot_dir(key);
    let record = match Record::read(&dir, key) {
        Ok(record) => record,
        Err(why) => return Some(why),
    };
    if hypervisor().is_some_and(|here| here != record.hypervisor) {
        return Some("it was saved by another QEMU, or on another processor".to_owned());
    }
    let gone = record.images.iter().find(|image| store.image(image).is_err())?;
    Some(format!("its image {} is gone", gone.short()))
}

impl Record {
    /// The record of the snapshot that should lie under `key` in `dir`; its files are not looked at.
    fn read(dir: &Path, key: &str) -> Result<Self, String> {
        let text = fs::read(dir.join(RECORD)).map_err(|error| format!("{RECORD}: {error}"))?;
        // The format first: another one need not have the other fields.
        let json: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| format!("{RECORD}: {error}"))?;
        let format = json.get("format").and_then(serde_json::Value::as_str).unwrap_or_default();
        if format != FORMAT {
            return Err(format!("it has the format `{format}`, expected `{FORMAT}`"));
        }
        let record: Record = serde_json::from_value(json).map_err(|error| format!("{RECORD}: {error}"))?;
        match record.key == key {
            true => Ok(record),
            false => Err("it is the snapshot of another fleet".to_owned()),
        }
    }
}

impl Snapshot {
    /// Looks whether the snapshot in `dir` is whole, and the one that `key` stands for.
    pub(crate) fn open(dir: &Path, key: &str) -> Result<Self, String> {
        let record = Record::read(dir, key)?;
        for (name, saved) in &record.files {
            let found = SavedFile::of(&dir.join(name)).map_err(|error| format!("{name}: {error}"))?;
            if found.bytes != saved.bytes {
                return Err(format!("{name} has {} bytes, expected {}", found.bytes, saved.bytes));
            }
            if found != *saved {
                return Err(format!("{name} is not what was saved"));
            }
        }
        Ok(Snapshot { dir: dir.to_owned(), identity: record.identity, wake: record.wake })
    }

    /// Describes the files in `dir`, which makes the snapshot `key` of them.
    pub(crate) fn seal(
        dir: &Path,
        key: &str,
        images: BTreeSet<ImageId>,
        identity: &str,
        wake: WakeBy,
    ) -> io::Result<()> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), SavedFile::of(&entry.path())?);
        }
        let (format, key, identity) = (FORMAT.to_owned(), key.to_owned(), identity.to_owned());
        let hypervisor = hypervisor().unwrap_or_default();
        let record = Record { format, key, hypervisor, images, identity, wake, files };
        fs::write(dir.join(RECORD), serde_json::to_vec_pretty(&record)?)
    }

    /// Gives the fleet in `root` its own links to what `node` needs: they stay when the snapshot goes.
    pub(crate) fn link(&self, root: &Path, node: &str) -> io::Result<()> {
        let (from, to) = (SavedNode::of(&self.dir, node), NodeFolder::new(node));
        fs::hard_link(from.ram, root.join(to.saved_ram()))?;
        fs::hard_link(from.state, root.join(to.saved_state()))?;
        link_layer(&from.layer, &root.join(to.saved_layer()))
    }

    pub(crate) fn save_frames(dir: &Path, frames: &[HeldFrame]) -> io::Result<()> {
        fs::write(dir.join(FRAMES), serde_json::to_vec(frames)?)
    }

    pub(crate) fn frames(&self) -> io::Result<Vec<HeldFrame>> {
        Ok(serde_json::from_slice(&fs::read(self.dir.join(FRAMES))?)?)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
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
pub(crate) fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
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

    fn seal(dir: &Path, key: &str) {
        Snapshot::seal(dir, key, BTreeSet::new(), "7", WakeBy::Port).unwrap();
    }

    #[test]
    fn damage_is_seen_before_use() {
        let dir = tempfile::tempdir().unwrap();
        let opened = |key: &str| Snapshot::open(dir.path(), key).map(|snapshot| snapshot.identity);
        assert!(opened("k").unwrap_err().contains("snapshot.json"));
        let ram = dir.path().join("etcd-1.ram");
        fs::write(&ram, "memory").unwrap();
        seal(dir.path(), "k");
        assert_eq!(opened("k").unwrap(), "7");
        assert_eq!(opened("l").unwrap_err(), "it is the snapshot of another fleet");
        fs::write(&ram, "memorz").unwrap();
        assert_eq!(opened("k").unwrap_err(), "etcd-1.ram is not what was saved");
        fs::write(&ram, "mem").unwrap();
        assert_eq!(opened("k").unwrap_err(), "etcd-1.ram has 3 bytes, expected 6");
        fs::remove_file(&ram).unwrap();
        assert!(opened("k").unwrap_err().starts_with("etcd-1.ram: "));
        // What an older version wrote had other fields.
        fs::write(dir.path().join(RECORD), r#"{ "format": "ovenproof fleet snapshot v2" }"#).unwrap();
        let older = "it has the format `ovenproof fleet snapshot v2`, expected `ovenproof fleet snapshot v5`";
        assert_eq!(opened("k").unwrap_err(), older);
        fs::write(dir.path().join(RECORD), "{").unwrap();
        assert!(opened("k").unwrap_err().contains("snapshot.json"));
    }

    #[test]
    fn what_has_lost_its_image_or_its_hypervisor_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&crate::home::Home::at(dir.path())).unwrap();
        let make = |key: &str, images: BTreeSet<ImageId>| {
            let folder = store.snapshot_dir(key);
            fs::create_dir_all(&folder).unwrap();
            Snapshot::seal(&folder, key, images, "7", WakeBy::Port).unwrap();
            folder
        };
        make("good", BTreeSet::new());
        assert_eq!(useless(&store, "good"), None);
        let gone = ImageId::from_hash(blake3::hash(b"gone"));
        make("orphan", BTreeSet::from([gone.clone()]));
        assert_eq!(useless(&store, "orphan").unwrap(), format!("its image {} is gone", gone.short()));
        let record = make("old", BTreeSet::new()).join(RECORD);
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        json["hypervisor"] = "another".into();
        fs::write(&record, json.to_string()).unwrap();
        // Where there is no QEMU at all, nobody can say what another one would be.
        let expected =
            hypervisor().map(|_| "it was saved by another QEMU, or on another processor".to_owned());
        assert_eq!(useless(&store, "old"), expected);
    }
}
