//! Named volumes: data disks that outlive the instances they are attached to.
//!
//! ```text
//! volumes/FLEET/NODE.NAME/     disk.raw  volume.json
//! volumes/.FLEET.new/          the volumes of a fleet that is being created for the first time
//! ```
//!
//! While the fleet runs its block server alone writes to a `disk.raw`: what a guest has not flushed may not be
//! in it yet, and is lost with the guest's power.
//!
//! The volumes of a fleet that was made for one run lie in the fleet's own folder instead, and go with it.
//! A fleet's first volumes come into being all at once or not at all, so that nobody's cluster is ever half
//! new. Who holds the fleet's name in the ledger has its volumes to himself.

mod erofs;
mod format;
mod saved;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::format::Owner;
pub use self::saved::VolumeSnapshots;
use super::snapshot::{SavedNode, copy_sparse};
use crate::disk::Keeping;
use crate::fleet::plan::{FleetPlan, VolumePlan};
use crate::fleet::provider::Lifetime;
use crate::home::{Home, create_private_dir, write_atomically};
use crate::store::{ImageId, Store, StoreError};
use crate::units::Size;
use crate::userns::remove_tree;

const DISK: &str = "disk.raw";
const RECORD: &str = "volume.json";

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the volume `{name}` cannot be made: {source}")]
    Make { name: String, source: io::Error },
    #[error("the volume `{name}` is for {wanted}, but it has {found} already, and volumes do not shrink")]
    Shrink { name: String, wanted: Size, found: Size },
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error("there is no volume `{0}`")]
    NoSuchVolume(String),
    #[error("there is no snapshot of volumes `{0}`")]
    NoSuchSnapshot(String),
    #[error("the snapshot `{snapshot}` has no volume `{name}`")]
    NotInSnapshot { snapshot: String, name: String },
    #[error("a snapshot of volumes `{0}` exists already")]
    SnapshotExists(String),
    #[error("the fleet `{0}` has no volumes")]
    NoVolumes(String),
    #[error("the fleet `{0}` has volumes already")]
    HasVolumes(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

trait At<T> {
    fn at(self, path: &Path) -> Result<T, VolumeError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, VolumeError> {
        self.map_err(|source| VolumeError::Io { path: path.to_owned(), source })
    }
}

/// `volume.json`: written when the disk is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub size: Size,
    /// Where it was mounted first.
    pub mount: String,
    /// The image of the instance that it was made for.
    pub image: ImageId,
    /// RFC 3339.
    pub created_at: String,
}

/// A volume that exists.
#[derive(Debug, Clone)]
pub struct Volume {
    pub fleet: String,
    /// `NODE.NAME`.
    pub name: String,
    pub record: Record,
    /// What is in it, in bytes on this machine's disk.
    pub used: u64,
}

/// The volumes of one fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Volumes {
    root: PathBuf,
    lifetime: Lifetime,
}

/// What new volumes begin as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    Empty,
    /// The volumes of a fleet snapshot in this directory.
    FleetSnapshot(&'a Path),
    VolumeSnapshot(&'a VolumeSnapshots, &'a str),
}

/// Which of the volumes of a fleet were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Made {
    /// None was: what is in them now was put there by this fleet.
    All,
    Some,
}

/// `NODE.NAME`.
pub(crate) fn full_name(node: &str, volume: &VolumePlan) -> String {
    format!("{node}.{}", volume.name)
}

impl Volumes {
    /// Of a fleet called `fleet`, whose folder is `folder`.
    pub(crate) fn of(home: &Home, fleet: &str, lifetime: Lifetime, folder: &Path) -> Self {
        let root = match lifetime {
            Lifetime::Run => folder.join("volumes"),
            Lifetime::UntilDown => home.volumes().join(fleet),
        };
        Volumes { root, lifetime }
    }

    /// Those that outlive their fleet must outlive this machine's power too.
    pub(crate) fn keeping(&self) -> Keeping {
        match self.lifetime {
            Lifetime::Run => Keeping::Guest,
            Lifetime::UntilDown => Keeping::Host,
        }
    }

    /// The disk of one volume, a raw file with nothing but a file system in it.
    pub(crate) fn disk(&self, node: &str, volume: &VolumePlan) -> PathBuf {
        self.root.join(full_name(node, volume)).join(DISK)
    }

    /// Whether there are none yet.
    pub(crate) fn are_fresh(&self) -> bool {
        !self.root.exists()
    }

    /// Which of the volumes of `plan` there will have to be made.
    pub(crate) fn missing(&self, plan: &FleetPlan) -> Made {
        let any = plan.nodes.iter().any(|node| !node.volumes.is_empty());
        if any && !self.are_fresh() { Made::Some } else { Made::All }
    }

    /// Makes what is missing, and grows what is to be larger.
    pub(crate) fn prepare(
        &self,
        plan: &FleetPlan,
        store: &Store,
        origin: Origin<'_>,
    ) -> Result<(), VolumeError> {
        let any = plan.nodes.iter().any(|node| !node.volumes.is_empty());
        if !any {
            return Ok(());
        }
        // All new ones lie aside until the last is whole.
        let aside = self.root.with_file_name(format!(".{}.new", file_name(&self.root)));
        remove(&aside)?;
        let prepared = self.prepare_aside(&aside, plan, store, origin);
        if prepared.is_err() {
            remove(&aside)?;
        }
        prepared
    }

    fn prepare_aside(
        &self,
        aside: &Path,
        plan: &FleetPlan,
        store: &Store,
        origin: Origin<'_>,
    ) -> Result<(), VolumeError> {
        let fresh = self.are_fresh();
        create_private_dir(aside).at(aside)?;
        for node in &plan.nodes {
            for volume in &node.volumes {
                let name = full_name(&node.name, volume);
                let there = self.root.join(&name);
                match there.exists() {
                    true => grow(&there, &name, volume)?,
                    false => {
                        let image = store.image(&node.image)?;
                        let dir = aside.join(&name);
                        create_private_dir(&dir).at(&dir)?;
                        make(&dir, &name, volume, &image.disk(), origin)?;
                        let record = Record {
                            size: volume.size,
                            mount: volume.mount.clone(),
                            image: node.image.clone(),
                            created_at: jiff::Timestamp::now().to_string(),
                        };
                        write_record(&dir, &record)?;
                    }
                }
            }
        }
        sync(aside)?;
        if fresh {
            fs::rename(aside, &self.root).at(&self.root)?;
        } else {
            for name in entries(aside)? {
                let to = self.root.join(&name);
                fs::rename(aside.join(&name), &to).at(&to)?;
            }
            remove(aside)?;
        }
        sync(self.root.parent().unwrap_or(&self.root))
    }

    /// Removes them all, with all that is in them.
    pub(crate) fn remove(&self) -> Result<(), VolumeError> {
        // Out of sight in one step: half the volumes of a cluster are worse than none.
        let aside = self.root.with_file_name(format!(".{}.gone", file_name(&self.root)));
        remove(&aside)?;
        match fs::rename(&self.root, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => {
                renamed.at(&self.root)?;
                remove(&aside)
            }
        }
    }
}

/// The volumes that outlive their fleets, by fleet, then name.
pub fn list(home: &Home) -> Result<Vec<Volume>, VolumeError> {
    let mut found = Vec::new();
    for fleet in entries(&home.volumes())? {
        found.extend(of_fleet(home, &fleet)?);
    }
    Ok(found)
}

/// Those of one fleet.
pub fn of_fleet(home: &Home, fleet: &str) -> Result<Vec<Volume>, VolumeError> {
    let root = home.volumes().join(fleet);
    let mut found = Vec::new();
    for name in entries(&root)? {
        let dir = root.join(&name);
        let record = read_record(&dir)?;
        let disk = dir.join(DISK);
        let used = fs::metadata(&disk).at(&disk)?.blocks() * 512;
        found.push(Volume { fleet: fleet.to_owned(), name, record, used });
    }
    Ok(found)
}

/// Removes the volumes of a fleet, or one of them (`NODE.NAME`), with all that is in them. The caller makes
/// sure that the fleet does not run.
pub fn remove_of(home: &Home, fleet: &str, name: Option<&str>) -> Result<(), VolumeError> {
    let volumes = Volumes::of(home, fleet, Lifetime::UntilDown, Path::new(""));
    let known = of_fleet(home, fleet)?;
    match name {
        None if known.is_empty() => Err(VolumeError::NoVolumes(fleet.to_owned())),
        None => volumes.remove(),
        Some(name) if known.iter().any(|volume| volume.name == name) => match known.len() {
            // A fleet without any volume is one that may begin anew.
            1 => volumes.remove(),
            _ => remove(&volumes.root.join(name)),
        },
        Some(name) => Err(VolumeError::NoSuchVolume(format!("{fleet}/{name}"))),
    }
}

/// Removes what commands that died left half made or half removed; says what that was. The caller makes
/// sure that nobody makes any.
pub(super) fn sweep(home: &Home, fleet: &str) -> Result<bool, VolumeError> {
    let mut found = false;
    for suffix in ["new", "gone"] {
        let path = home.volumes().join(format!(".{fleet}.{suffix}"));
        found |= path.exists();
        remove(&path)?;
    }
    Ok(found)
}

/// Fleets of which something half made or half removed lies about.
pub(super) fn unfinished(home: &Home) -> Result<Vec<String>, VolumeError> {
    let dir = home.volumes();
    let mut fleets = Vec::new();
    for name in listing(&dir)? {
        let name = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
        if let Some((fleet, "new" | "gone")) = name {
            fleets.push(fleet.to_owned());
        }
    }
    fleets.dedup();
    Ok(fleets)
}

fn make(
    dir: &Path,
    name: &str,
    volume: &VolumePlan,
    image: &Path,
    origin: Origin<'_>,
) -> Result<(), VolumeError> {
    let disk = dir.join(DISK);
    let failed = |source| VolumeError::Make { name: name.to_owned(), source };
    let file = File::create_new(&disk).map_err(failed)?;
    let source = match origin {
        Origin::Empty => None,
        Origin::FleetSnapshot(dir) => Some(SavedNode::volume(dir, name)),
        Origin::VolumeSnapshot(snapshots, snapshot) => Some(snapshots.disk(snapshot, name)?),
    };
    match source {
        None => {
            file.set_len(volume.size.0).map_err(failed)?;
            let owner = Owner::of(image, &volume.mount).map_err(failed)?;
            format::make(&disk, &volume.name, owner).map_err(failed)
        }
        Some(source) => {
            let from = File::open(&source).at(&source)?;
            let found = Size(from.metadata().at(&source)?.len());
            copy_sparse(&from, &file).map_err(failed)?;
            resize(&disk, name, volume.size, found)
        }
    }
}

fn grow(dir: &Path, name: &str, volume: &VolumePlan) -> Result<(), VolumeError> {
    let record = read_record(dir)?;
    if record.size == volume.size {
        return Ok(());
    }
    resize(&dir.join(DISK), name, volume.size, record.size)?;
    // Last: whoever dies before does it again.
    write_record(dir, &Record { size: volume.size, ..record })
}

fn resize(disk: &Path, name: &str, wanted: Size, found: Size) -> Result<(), VolumeError> {
    if wanted < found {
        return Err(VolumeError::Shrink { name: name.to_owned(), wanted, found });
    }
    if wanted > found {
        let file = File::options().write(true).open(disk).at(disk)?;
        file.set_len(wanted.0).at(disk)?;
        format::grow(disk).map_err(|source| VolumeError::Make { name: name.to_owned(), source })?;
        file.sync_all().at(disk)?;
    }
    Ok(())
}

fn read_record(dir: &Path) -> Result<Record, VolumeError> {
    let path = dir.join(RECORD);
    let damaged = |why: String| VolumeError::Damaged { path: path.clone(), why };
    let text = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
}

fn write_record(dir: &Path, record: &Record) -> Result<(), VolumeError> {
    let path = dir.join(RECORD);
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::from).at(&path)?;
    write_atomically(&path, &text).at(&path)
}

fn sync(dir: &Path) -> Result<(), VolumeError> {
    File::open(dir).and_then(|file| Ok(rustix::fs::syncfs(file)?)).at(dir)
}

fn remove(dir: &Path) -> Result<(), VolumeError> {
    remove_tree(dir).at(dir)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Names in a directory but for those that begin with a dot, sorted; none if there is no such directory.
fn entries(dir: &Path) -> Result<Vec<String>, VolumeError> {
    let mut names = listing(dir)?;
    names.retain(|name| !name.starts_with('.'));
    Ok(names)
}

fn listing(dir: &Path) -> Result<Vec<String>, VolumeError> {
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.at(dir)?,
    };
    let mut names = Vec::new();
    for entry in listing {
        names.extend(entry.at(dir)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
