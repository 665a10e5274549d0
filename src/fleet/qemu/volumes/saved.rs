//! Snapshots of volumes: all volumes of one fleet as they were at one instant, under a name.
//!
//! ```text
//! volume-snapshots/NAME/     snapshot.json  NODE.NAME.raw
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{At, Record, VolumeError, entries, of_fleet, remove, sync};
use crate::fleet::qemu::snapshot::copy_sparse;
use crate::home::{Home, create_private_dir};

const RECORD: &str = "snapshot.json";

/// `snapshot.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The fleet that it was made of.
    pub fleet: String,
    /// RFC 3339.
    pub created_at: String,
    /// By `NODE.NAME`.
    pub volumes: BTreeMap<String, Record>,
}

/// The snapshots of volumes in one home.
#[derive(Debug, Clone)]
pub struct VolumeSnapshots {
    root: PathBuf,
}

impl VolumeSnapshots {
    pub fn of(home: &Home) -> Self {
        VolumeSnapshots { root: home.volume_snapshots() }
    }

    /// Copies the volumes of `fleet`. The caller makes sure that nobody writes to them meanwhile.
    pub fn save(&self, home: &Home, fleet: &str, name: &str) -> Result<Saved, VolumeError> {
        let target = self.root.join(name);
        if target.exists() {
            return Err(VolumeError::SnapshotExists(name.to_owned()));
        }
        let volumes = of_fleet(home, fleet)?;
        if volumes.is_empty() {
            return Err(VolumeError::NoVolumes(fleet.to_owned()));
        }
        let aside = self.root.join(format!(".{name}.new"));
        remove(&aside)?;
        create_private_dir(&aside).at(&aside)?;
        for volume in &volumes {
            let from = home.volumes().join(fleet).join(&volume.name).join(super::DISK);
            let to = aside.join(file(&volume.name));
            let copied = File::open(&from).and_then(|from| copy_sparse(&from, &File::create_new(&to)?));
            copied.at(&to)?;
        }
        let saved = Saved {
            fleet: fleet.to_owned(),
            created_at: jiff::Timestamp::now().to_string(),
            volumes: volumes.into_iter().map(|volume| (volume.name, volume.record)).collect(),
        };
        let record = aside.join(RECORD);
        let text = serde_json::to_vec_pretty(&saved).map_err(io::Error::from).at(&record)?;
        fs::write(&record, text).at(&record)?;
        sync(&aside)?;
        fs::rename(&aside, &target).at(&target)?;
        sync(&self.root)?;
        Ok(saved)
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<BTreeMap<String, Saved>, VolumeError> {
        let names = entries(&self.root)?;
        names.into_iter().map(|name| Ok((name.clone(), self.get(&name)?))).collect()
    }

    pub fn get(&self, name: &str) -> Result<Saved, VolumeError> {
        let dir = self.dir(name)?;
        let path = dir.join(RECORD);
        let damaged = |why: String| VolumeError::Damaged { path: path.clone(), why };
        let text = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
    }

    pub fn remove(&self, name: &str) -> Result<(), VolumeError> {
        let dir = self.dir(name)?;
        let aside = self.root.join(format!(".{name}.new"));
        remove(&aside)?;
        fs::rename(&dir, &aside).at(&dir)?;
        remove(&aside)
    }

    /// The disk of the volume `volume` (`NODE.NAME`) in the snapshot `name`.
    pub(super) fn disk(&self, name: &str, volume: &str) -> Result<PathBuf, VolumeError> {
        match self.get(name)?.volumes.contains_key(volume) {
            true => Ok(self.root.join(name).join(file(volume))),
            false => Err(VolumeError::NotInSnapshot { snapshot: name.to_owned(), name: volume.to_owned() }),
        }
    }

    fn dir(&self, name: &str) -> Result<PathBuf, VolumeError> {
        let known = entries(&self.root)?.iter().any(|known| known == name);
        let missing = || VolumeError::NoSuchSnapshot(name.to_owned());
        known.then(|| self.root.join(name)).ok_or_else(missing)
    }
}

fn file(volume: &str) -> impl AsRef<Path> {
    format!("{volume}.raw")
}
