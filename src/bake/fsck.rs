//! Looks whether everything in the store is what it was when it was put there.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::error::{At, BakeError};
use super::layer::execute;
use super::sandbox::Stack;
use super::{LayerRecord, inventory};
use crate::home::Home;
use crate::store::{Store, StoreError, Workspace};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Damage {
    /// `image`, `layer`, `snapshot`, `name` or `channel`.
    pub kind: &'static str,
    pub id: String,
    pub why: String,
    /// Whether it was removed, so that it can be made again.
    pub dropped: bool,
}

/// What a check of the store found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    pub images: usize,
    pub layers: usize,
    pub damages: Vec<Damage>,
}

/// Checks every image, layer, name and channel. With `repair`, what is damaged and can be made again is removed; the
/// next bake makes it.
pub fn fsck(store: &Store, home: &Home, repair: bool) -> Result<Report, BakeError> {
    // First, because what is removed below is made again under its name.
    let dangling = store.dangling()?;
    let mut report = Report::default();
    for id in store.ids()? {
        report.images += 1;
        if let Err(StoreError::Damaged { path, why }) = store.check_image(&id) {
            if repair {
                store.discard_damaged(&id)?;
            }
            let why = format!("{}: {why}", path.display());
            report.damages.push(Damage { kind: "image", id: id.to_string(), why, dropped: repair });
        }
    }
    let work = store.begin_scratch("fsck")?;
    for id in store.layers()? {
        report.layers += 1;
        if let Some(why) = check_layer(store, &id, &work, home)? {
            if repair {
                store.discard_layer(&id)?;
            }
            report.damages.push(Damage { kind: "layer", id, why, dropped: repair });
        }
    }
    for (kind, id, why) in dangling {
        report.damages.push(Damage { kind, id, why, dropped: false });
    }
    Ok(report)
}

/// What is wrong with a layer, if anything is.
fn check_layer(store: &Store, id: &str, work: &Workspace, home: &Home) -> Result<Option<String>, BakeError> {
    let dir = store.layer_dir(id);
    let path = dir.join("layer.json");
    let record = fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<LayerRecord>(&text)?));
    let record = match record {
        Ok(record) => record,
        Err(error) => return Ok(Some(format!("{}: {error}", path.display()))),
    };
    if record.id != id {
        return Ok(Some(format!("{}: it describes the layer {}", path.display(), record.id)));
    }
    match digest(&dir, work, home) {
        Ok(digest) if digest == record.digest => Ok(None),
        Ok(_) => Ok(Some(format!("{}: its content has changed since it was made", dir.display()))),
        // What cannot be read is damaged.
        Err(error @ BakeError::Failed { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// The digest of what lies in a finished layer, as its oven took it.
fn digest(dir: &PathBuf, work: &Workspace, home: &Home) -> Result<String, BakeError> {
    let list = work.dir().join("list");
    let mut command = Stack { work: work.dir(), lower: &[] }.beside();
    command.args(inventory::command_line(dir, &list).at(&list)?);
    let log = super::layer::log_path(home, "store", "fsck", "");
    execute(&mut command, &log, super::layer::PATIENCE, "store", "fsck", &[])?;
    inventory::digest_of_layer(&list).at(&list)
}
