//! The versions of packages: what an open layer came to, and the lock files that say so.
//!
//! A layer whose versions nobody has fixed is made once and then has them for good: under its open id it is
//! remembered what it came to, so that the next bake finds it without asking any archive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{At, BakeError};
use crate::home::{Home, write_atomically};
use crate::recipe::{Package, Plan, Recipe, lock};
use crate::store::Store;

/// A lock file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub path: PathBuf,
    /// A line for each package that is another than before; empty if there was no lock file.
    pub changes: Vec<String>,
    /// Why it could not be written, if it could not.
    pub failed: Option<String>,
}

/// Settles the open layers of a plan from below, as far as it is known what they came to.
pub(super) fn recall_all(plan: &mut Plan, store: &Store, home: &Home) -> Result<(), BakeError> {
    while let Some(index) = plan.open() {
        if !recall(plan, index, store, home)? {
            break;
        }
    }
    Ok(())
}

/// Settles an open layer if it is known what it came to and the layer is still there; gives whether it is.
pub(super) fn recall(plan: &mut Plan, index: usize, store: &Store, home: &Home) -> Result<bool, BakeError> {
    let Some(layer) = plan.layers.get(index) else { return Ok(false) };
    // A lock file that was made for other packages is held to where it can.
    if layer.fresh || !layer.hold.is_empty() {
        return Ok(false);
    }
    let path = memory(home, plan, index);
    // Whatever is wrong with it: it is a cache.
    let Some(packages) = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) else {
        return Ok(false);
    };
    let mut settled = plan.clone();
    settled.settle(index, packages).map_err(io::Error::from).at(&path)?;
    let there = settled.layers.get(index).is_some_and(|layer| store.has_layer(layer.id.as_str()));
    if there {
        *plan = settled;
    }
    Ok(there)
}

/// Checks that a layer which was just made is as its lock says, or fixes what an open one came to; gives the
/// id that it now has.
pub(super) fn settle(
    plan: &mut Plan,
    index: usize,
    installed: Vec<Package>,
    home: &Home,
) -> Result<String, BakeError> {
    let Some(layer) = plan.layers.get(index) else { return Err(BakeError::Incomplete("layers")) };
    if let Some(locked) = &layer.lock {
        let section =
            |packages: &[Package]| [lock::Section { request: Vec::new(), packages: packages.to_vec() }];
        let lines = lock::difference(&section(locked), &section(&installed));
        return match lines.is_empty() {
            true => Ok(layer.id.to_string()),
            false => Err(BakeError::Drifted { recipe: layer.recipe.clone(), lines }),
        };
    }
    let path = memory(home, plan, index);
    let text = serde_json::to_vec(&installed).map_err(io::Error::from).at(&path)?;
    plan.settle(index, installed).map_err(io::Error::from).at(&path)?;
    write_atomically(&path, &text).at(&path)?;
    Ok(plan.layers.get(index).map(|layer| layer.id.to_string()).unwrap_or_default())
}

/// Where it is kept what an open layer came to.
fn memory(home: &Home, plan: &Plan, index: usize) -> PathBuf {
    let id = plan.layers.get(index).map(|layer| layer.id.as_str()).unwrap_or_default();
    home.cache().join("resolved").join(id)
}

/// Refuses a recipe whose packages are not all fixed by lock files.
pub fn require_locked(plan: &Plan) -> Result<(), BakeError> {
    let Some(layer) = plan.open().and_then(|index| plan.layers.get(index)) else { return Ok(()) };
    let why = match layer.hold.is_empty() && plan.lock_of(&layer.recipe).is_empty() {
        true => "is missing",
        false => "was made for other packages",
    };
    Err(BakeError::NotLocked { recipe: layer.recipe.clone(), why })
}

/// Writes the lock files of a recipe and those it stands on, where they say something else than `plan`, which
/// must be settled.
pub fn keep_locks(recipe: &Recipe, plan: &Plan) -> Vec<Moved> {
    let moved = recipe.files.iter().filter_map(|file| {
        let name = file.file_stem()?.to_str()?;
        let (path, new) = (lock::path_of(file), plan.lock_of(name));
        let old = lock::read(&path).unwrap_or_default();
        if new.is_empty() && old.is_empty() || new == old {
            return None;
        }
        let failed = replace(&path, &lock::write(name, &new)).err().map(|error| error.to_string());
        let changes = if old.is_empty() { Vec::new() } else { lock::difference(&old, &new) };
        Some(Moved { path, changes, failed })
    });
    moved.collect()
}

/// Writes a file beside a recipe: anybody may read it, like the recipe.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = folder.join(path.file_name().unwrap_or_default());
    write_atomically(&path, text.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
}
