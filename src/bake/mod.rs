//! Baking: a plan becomes layers, layers become a disk, the disk becomes an image in the store.
//!
//! Each layer is made once, in a workspace of the store, and moved into place when it is whole and on disk.
//! A bake that dies leaves the finished layers, on which the next one goes on, and nothing else: see
//! [`sandbox`] for why no process and no mount survives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::recipe::disk::DiskFormat;
use crate::recipe::plan::Root;
use crate::recipe::{Layer, Plan, Work};
use crate::store::{Image, ImageId, Input, Manifest, Store, StoreError};
use crate::userns;

#[cfg(feature = "ec2")]
pub mod ami;
mod disk;
mod error;
pub mod export;
pub mod fsck;
mod in_machine;
mod inodes;
pub mod inventory;
mod layer;
mod machine;
mod packages;
mod process;
mod progress;
mod reproduce;
mod sandbox;
mod seal;
mod secret;
mod verity;
mod versions;

pub use error::BakeError;
pub use progress::{LayerNote, Outcome, Progress, Silent};
pub use reproduce::{Reproduction, reproduce};
pub use secret::Secrets;
pub use versions::{Moved, keep_locks, require_locked};

use error::At;
use in_machine::{PART, machine_failed};
use layer::{Oven, log_path};
use machine::{Machine, Part};
use seal::Sealed;

/// What came of a bake.
#[derive(Debug, Clone, PartialEq)]
pub struct Baked {
    pub image: Image,
    /// The plan with the packages that it came to.
    pub plan: Plan,
    /// Nothing had changed, so nothing was done.
    pub reused: bool,
}

/// `layer.json`: what a layer is and how it came to be.
#[derive(Debug, Serialize, Deserialize)]
struct LayerRecord {
    id: String,
    kind: String,
    about: String,
    baked_at: String,
    took_ms: u64,
    /// Of all that lies in it, see [`inventory`].
    digest: String,
    /// Of a seal: what is in the image.
    sealed: Sealed,
}

/// What a bake may be told besides its plan.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// What steps may be shown.
    pub secrets: Secrets,
    /// Let the person at the terminal into the sandbox of a step that failed.
    pub shell: bool,
}

/// Makes the image that `plan` describes, or finds it in the store.
///
/// Blocks until done; the programs it starts die with the calling thread. Two bakes at once, in this
/// process or in two, wait for each other where they make the same thing.
pub fn bake(
    plan: &Plan,
    options: &Options,
    store: &Store,
    home: &Home,
    progress: &mut dyn Progress,
) -> Result<Baked, BakeError> {
    let mut plan = plan.clone();
    versions::recall_all(&mut plan, store, home)?;
    if plan.open().is_none()
        && let Some(image) = find(store, &ImageId::from_hash(plan.image))?
    {
        store.set_latest(&plan.name, image.id())?;
        return Ok(Baked { image, plan, reused: true });
    }
    require(&plan, store)?;
    require_secrets(&plan, options, store)?;
    let _used = store.in_use()?;
    store.sweep()?;
    let mut timings = BTreeMap::new();
    let mut trees: Vec<PathBuf> = Vec::new();
    let mut machine = None;
    for index in 0..plan.layers.len() {
        let Some(layer) = plan.layers.get(index).cloned() else { break };
        let about = layer.work.about();
        let note = LayerNote { kind: layer.work.kind(), recipe: &layer.recipe, about: &about };
        let kitchen = Kitchen { store, home, options, trees: &trees };
        let outcome = kitchen.ensure(&mut plan, index, &mut machine, &mut || progress.started(&note))?;
        let took = match outcome {
            Outcome::Reused => 0,
            Outcome::Made(took) => millis(took),
        };
        timings.insert(format!("{index:02} {} {about}", note.kind).trim_end().to_owned(), took);
        progress.finished(&note, outcome);
        // What is made in a machine is no tree.
        if plan.disk().is_none_or(|(_, end)| index >= end) {
            machine = None;
            let id = plan.layers.get(index).map(|layer| layer.id.as_str()).unwrap_or_default();
            trees.push(store.layer_dir(id).join("tree"));
        }
    }
    let id = ImageId::from_hash(plan.image);
    if let Some(image) = find(store, &id)? {
        store.set_latest(&plan.name, &id)?;
        return Ok(Baked { image, plan, reused: true });
    }
    let note = LayerNote { kind: "disk", recipe: &plan.name, about: "" };
    progress.started(&note);
    let started = Instant::now();
    let image = make_image(&plan, &id, &trees, timings, store, home)?;
    store.set_latest(&plan.name, &id)?;
    progress.finished(&note, Outcome::Made(started.elapsed()));
    Ok(Baked { image, plan, reused: false })
}

/// The image, if it is there and sound; a damaged one is put out of the way.
fn find(store: &Store, id: &ImageId) -> Result<Option<Image>, StoreError> {
    match store.image(id) {
        Ok(image) => Ok(Some(image)),
        Err(StoreError::NoSuchImage { .. }) => Ok(None),
        Err(StoreError::Damaged { .. }) => store.discard_damaged(id).map(|()| None),
        Err(error) => Err(error),
    }
}

/// What every layer is made with.
struct Kitchen<'a> {
    store: &'a Store,
    home: &'a Home,
    options: &'a Options,
    /// Trees of the layers below.
    trees: &'a [PathBuf],
}

impl Kitchen<'_> {
    /// Makes the layer `index` of the plan unless it is there; settles it in the plan if its packages are open.
    /// `machine` is the one in which the layers below were made, if any was.
    fn ensure(
        &self,
        plan: &mut Plan,
        index: usize,
        machine: &mut Option<Machine>,
        started: &mut dyn FnMut(),
    ) -> Result<Outcome, BakeError> {
        let Some(layer) = plan.layers.get(index).cloned() else {
            return Err(BakeError::Incomplete("layers"));
        };
        let (id, open) = (layer.id.as_str(), plan.open() == Some(index));
        if !open && self.store.has_layer(id) {
            return Ok(Outcome::Reused);
        }
        let work = self.store.begin_layer(id)?;
        // Another process may have made it while we waited for the workspace.
        let there = match open {
            true => versions::recall(plan, index, self.store, self.home)?,
            false => self.store.has_layer(id),
        };
        if there {
            return Ok(Outcome::Reused);
        }
        started();
        let (begun, clock) = (Instant::now(), SystemTime::now());
        let oven = Oven::prepare(plan, &layer, work.dir(), self.trees, self.home, self.options)?;
        let in_machine = plan.disk().is_some_and(|(_, end)| index < end);
        let mut sealed = Sealed::default();
        let installed = match &layer.work {
            Work::Disk(disk) => oven.disk(disk).map(|()| Vec::new())?,
            _ if in_machine => oven.make_in(self.machine(plan, index, machine)?)?,
            work => {
                match work {
                    Work::Root { tests } => oven.root(self.machine(plan, index, machine)?, tests)?,
                    _ => sealed = oven.make()?,
                }
                oven.settle(clock)?;
                if work.request().is_some() { oven.installed()? } else { Vec::new() }
            }
        };
        let digest = oven.digest()?;
        let took = begun.elapsed();
        let final_id = match layer.work.request() {
            Some(_) => versions::settle(plan, index, installed, self.home)?,
            None => id.to_owned(),
        };
        let record = LayerRecord {
            id: final_id.clone(),
            kind: layer.work.kind().to_owned(),
            about: layer.work.about(),
            baked_at: jiff::Timestamp::now().to_string(),
            took_ms: millis(took),
            digest,
            sealed,
        };
        let part = work.dir().join("layer");
        let path = part.join("layer.json");
        fs::write(&path, serde_json::to_vec_pretty(&record).map_err(std::io::Error::from).at(&path)?)
            .at(&path)?;
        self.store.publish_layer(&final_id, work, &part)?;
        Ok(Outcome::Made(took))
    }

    /// The machine that runs from what the layers below `index` have made of the disk; boots it if there is none yet.
    fn machine<'m>(
        &self,
        plan: &Plan,
        index: usize,
        machine: &'m mut Option<Machine>,
    ) -> Result<&'m mut Machine, BakeError> {
        if let Some(machine) = machine {
            return Ok(machine);
        }
        let Some((disk, end)) = plan.disk() else { return Err(BakeError::Incomplete("disk")) };
        let parts = plan.layers.iter().take(index.min(end)).map(|layer| {
            let format = if layer.work.kind() == "base" { disk.format } else { DiskFormat::Qcow2 };
            let name = Path::new(PART).file_name().unwrap_or_default();
            Part { path: self.store.layer_dir(layer.id.as_str()).join(name), format }
        });
        let id = plan.layers.get(index).map(|layer| layer.id.to_string()).unwrap_or_default();
        let work = self.store.begin_scratch(&format!("machine-{id}"))?;
        let console = log_path(self.home, &plan.name, "console", &id);
        process::fresh_log(&console).at(&console)?;
        let booted = Machine::boot(parts.collect(), disk.bytes, work, &console);
        let booted = booted.map_err(|error| machine_failed(&plan.name, "its start", error, &console))?;
        Ok(machine.insert(booted))
    }
}

fn make_image(
    plan: &Plan,
    id: &ImageId,
    trees: &[PathBuf],
    timings_ms: BTreeMap<String, u64>,
    store: &Store,
    home: &Home,
) -> Result<Image, BakeError> {
    let begun = Instant::now();
    let work = store.begin_image(id)?;
    if let Some(image) = find(store, id)? {
        return Ok(image);
    }
    let Some(seal) = plan.layers.last() else { return Err(BakeError::Incomplete("layers")) };
    let seal_dir = store.layer_dir(seal.id.as_str());
    let path = seal_dir.join("layer.json");
    let record: LayerRecord =
        serde_json::from_slice(&fs::read(&path).at(&path)?).map_err(std::io::Error::from).at(&path)?;
    let part = work.dir().join("image");
    fs::create_dir(&part).at(&part)?;
    let words = match &seal.work {
        Work::Seal { kernel_cmdline, .. } => kernel_cmdline.as_slice(),
        _ => &[],
    };
    let names = disk::Names::of(seal.id.as_str(), words);
    let log = layer::log_path(home, &plan.name, "disk", id.as_str());
    let disk = disk::Disk {
        size: plan.instance.disk,
        names: &names,
        seal: &seal_dir,
        recipe: &plan.name,
        root: plan.root(),
    };
    let made = match twin(plan, store)? {
        Some(twin) => disk.link(&twin, &part)?,
        None => disk.make(work.dir(), trees, &part, &log)?,
    };
    let mut timings_ms = timings_ms;
    timings_ms.insert("disk".to_owned(), millis(begun.elapsed()));
    let manifest = Manifest {
        id: id.clone(),
        name: plan.name.clone(),
        layers: plan.layers.iter().map(|layer| layer.id.to_string()).collect(),
        inputs: inputs(plan).at(&part)?,
        kernel: record.sealed.kernel,
        kernel_cmdline: made.kernel_cmdline,
        disk_bytes: plan.instance.disk.0,
        stored_bytes: made.stored_bytes,
        digests: made.digests,
        packages: record.sealed.packages,
        instance: plan.instance.clone(),
        baked_at: jiff::Timestamp::now().to_string(),
        timings_ms,
    };
    let path = Image::manifest_path(&part);
    let text = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from).at(&path)?;
    fs::write(&path, text).at(&path)?;
    Ok(store.publish_image(id, work, &part)?)
}

fn inputs(plan: &Plan) -> std::io::Result<Vec<Input>> {
    let input = |layer: &Layer| {
        let (id, recipe) = (layer.id.to_string(), layer.recipe.clone());
        Ok(Input { layer: id, recipe, work: serde_json::to_value(&layer.work)? })
    };
    plan.layers.iter().map(input).collect()
}

/// An image with the same disk, which differs only in its name or in what it says of instances.
fn twin(plan: &Plan, store: &Store) -> Result<Option<Image>, StoreError> {
    let seal = plan.layers.last().map(|layer| layer.id.as_str());
    Ok(store.list()?.into_iter().find(|image| {
        let manifest = &image.manifest;
        manifest.layers.last().map(String::as_str) == seal && manifest.disk_bytes == plan.instance.disk.0
    }))
}

/// Programs that a bake runs on the host, with the Debian package of each.
const TOOLS: [(&str, &str); 8] = [
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("bwrap", "bubblewrap"),
    ("mmdebstrap", "mmdebstrap"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.fat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mmd", "mtools"),
];

/// Programs that are needed for baking and not installed, with the Debian package of each.
pub fn missing_tools() -> Vec<(&'static str, &'static str)> {
    missing(&TOOLS)
}

fn missing(tools: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let missing = |(tool, _): &(&str, &str)| {
        !userns::PATH.split(':').any(|folder| Path::new(folder).join(tool).is_file())
    };
    tools.iter().copied().filter(missing).collect()
}

fn require_tools(tools: &[(&'static str, &'static str)]) -> Result<(), BakeError> {
    match missing(tools).into_iter().next() {
        Some((tool, package)) => Err(BakeError::MissingTool { tool, package }),
        None => Ok(()),
    }
}

/// Secrets of steps that are still to be made, so that a bake fails before it begins. What is there already
/// needs none.
fn require_secrets(plan: &Plan, options: &Options, store: &Store) -> Result<(), BakeError> {
    let sure = plan.open().unwrap_or(plan.layers.len());
    let missing = plan.layers.iter().enumerate().find_map(|(index, layer)| match &layer.work {
        Work::Run(step) if index >= sure || !store.has_layer(layer.id.as_str()) => {
            step.secrets.iter().find(|name| options.secrets.get(name).is_none())
        }
        _ => None,
    });
    missing.map_or(Ok(()), |name| Err(BakeError::NoSecret(name.clone())))
}

/// What a bake needs of the machine, so that it fails before it begins.
fn require(plan: &Plan, store: &Store) -> Result<(), BakeError> {
    require_tools(&TOOLS)?;
    if plan.disk().is_some() {
        require_tools(&machine::TOOLS)?;
    }
    if plan.root() == Root::Readonly {
        require_tools(&verity::TOOLS)?;
    }
    if let Some(owner) = userns::other_owner(store.root()) {
        return Err(BakeError::OtherOwner { path: store.root().to_owned(), owner });
    }
    Ok(userns::probe()?)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
