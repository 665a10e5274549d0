//! A fleet saved at one instant: the memory, devices and disks of every VM, with their identities.
//!
//! A snapshot fits exactly one plan on exactly one hypervisor: its key is a hash of both. Restored memory
//! is mapped copy-on-write from the saved file, and disks are layers on the saved ones, so that any
//! number of fleets can run from one snapshot at once and each pays only for what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::key::hypervisor;
pub(crate) use self::key::key;
pub(crate) use self::memory::{copy_memory, copy_sparse};
use super::folder::NodeFolder;
use super::wake::WakeBy;
use crate::disk::Layer;
use crate::network::HeldFrame;
use crate::store::{ImageId, Store};

mod key;
mod memory;

/// Changes whenever the machine that `machine.rs` describes does, or what a snapshot consists of.
const FORMAT: &str = "ovenproof fleet snapshot v7";
/// The frames that were between two nodes.
const FRAMES: &str = "switch.frames";
const RECORD: &str = "snapshot.json";
/// Files up to this are compared byte by byte before they are used. Reading all of the memory would take longer
/// than restoring it; what is larger must be as long and as old as it was, so that whoever wrote to it is
/// noticed.
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
    /// When it was written, in seconds and nanoseconds; of files without a digest.
    written: Option<(i64, i64)>,
}

impl SavedFile {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        let (bytes, digested) = (file.len(), file.len() <= DIGESTED);
        let digest = match digested {
            true => Some(blake3::hash(&fs::read(path)?).to_hex().to_string()),
            false => None,
        };
        let written = (!digested).then_some((file.mtime(), file.mtime_nsec()));
        Ok(SavedFile { bytes, digest, written })
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

/// Why nobody will ever use the snapshot `key` again; `None` if somebody may.
pub(crate) fn useless(store: &Store, key: &str) -> Option<String> {
    let dir = store.snapshot_dir(key);
    let record = match Record::whole(&dir, key) {
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
    /// The record of the snapshot in `dir` if it is whole, and the one that `key` stands for.
    fn whole(dir: &Path, key: &str) -> Result<Self, String> {
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
        Ok(record)
    }

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
        let record = Record::whole(dir, key)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let older = "it has the format `ovenproof fleet snapshot v2`, expected `ovenproof fleet snapshot v7`";
        assert_eq!(opened("k").unwrap_err(), older);
        fs::write(dir.path().join(RECORD), "{").unwrap();
        assert!(opened("k").unwrap_err().contains("snapshot.json"));
    }

    #[test]
    fn whoever_writes_to_what_is_too_large_to_be_read_each_time_is_noticed() {
        use std::os::unix::fs::FileExt;
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("snapshot");
        fs::create_dir(&dir).unwrap();
        let ram = dir.join("etcd-1.ram");
        let file = fs::File::create_new(&ram).unwrap();
        file.set_len(DIGESTED + 1).unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        file.set_modified(long_ago).unwrap();
        seal(&dir, "k");
        // A fleet that runs from it has a link to it.
        fs::hard_link(&ram, root.path().join("link")).unwrap();
        Snapshot::open(&dir, "k").unwrap();
        file.write_all_at(b"x", 7).unwrap();
        assert_eq!(Snapshot::open(&dir, "k").unwrap_err(), "etcd-1.ram is not what was saved");
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
        fs::write(make("torn", BTreeSet::new()).join("more"), "").unwrap();
        assert_eq!(useless(&store, "torn"), None, "what it does not know of does not matter to it");
        let torn = store.snapshot_dir("torn");
        Snapshot::seal(&torn, "torn", BTreeSet::new(), "7", WakeBy::Port).unwrap();
        fs::remove_file(torn.join("more")).unwrap();
        assert!(useless(&store, "torn").unwrap().starts_with("more: "));
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
