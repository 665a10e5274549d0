//! Garbage: what nobody will ask for again.
//!
//! An image stays while it is the newest of its name, while a channel points at it, or while the caller needs
//! it; a layer stays while an image that stays was made of it. A bake holds the store's lock together with
//! other bakes from its first look at a layer until its image is there, and who collects holds it alone, so
//! that no layer goes between being found and being used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{At, ImageId, Store, StoreError, entries, workspace};
use crate::home::Lock;

/// What can go, or went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Garbage {
    /// Ids and names; the name is missing where the manifest is damaged.
    pub images: Vec<(ImageId, Option<String>)>,
    pub layers: Vec<String>,
    /// Work that was never finished.
    pub unfinished: usize,
    /// Bytes on the disk that come free; what something that stays shares is not counted.
    pub bytes: u64,
}

impl Garbage {
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.layers.is_empty() && self.unfinished == 0
    }
}

impl Store {
    /// Keeps who collects garbage out, for as long as it is held.
    pub fn in_use(&self) -> Result<Lock, StoreError> {
        let path = self.root().join("lock");
        Lock::share(&path).at(&path)
    }

    /// Waits until nobody bakes, and keeps bakes waiting for as long as it is held. `waiting` is called first if
    /// there is somebody to wait for.
    pub fn alone(&self, waiting: impl FnOnce()) -> Result<Lock, StoreError> {
        let path = self.root().join("lock");
        match Lock::try_acquire(&path).at(&path)? {
            Some(lock) => Ok(lock),
            None => {
                waiting();
                Lock::acquire(&path).at(&path)
            }
        }
    }

    /// What can go when `needed` must stay. Holds only while the store is [`Store::alone`].
    pub fn garbage(&self, needed: &BTreeSet<ImageId>) -> Result<Garbage, StoreError> {
        let mut kept = needed.clone();
        for name in self.names()? {
            kept.extend(self.latest(&name)?);
        }
        for name in entries(&self.root().join("channels"))? {
            kept.extend(self.channels(&name)?.into_values().map(|promotion| promotion.image));
        }
        let (mut garbage, mut freed, mut used) = (Garbage::default(), Freed::default(), BTreeSet::new());
        for id in self.ids()? {
            let manifest = self.image(&id).ok().map(|image| image.manifest);
            if kept.contains(&id) {
                used.extend(manifest.into_iter().flat_map(|manifest| manifest.layers));
            } else {
                freed.add(&self.image_dir(&id));
                garbage.images.push((id, manifest.map(|manifest| manifest.name)));
            }
        }
        for id in self.layers()?.into_iter().filter(|id| !used.contains(id)) {
            freed.add(&self.layer_dir(&id));
            garbage.layers.push(id);
        }
        for (work, _lock) in workspace::abandoned(&self.tmp()).at(&self.tmp())? {
            freed.add(&work);
            garbage.unfinished += 1;
        }
        garbage.bytes = freed.bytes();
        Ok(garbage)
    }

    /// Removes garbage. A damaged image goes like any other.
    pub fn collect(&self, garbage: &Garbage) -> Result<(), StoreError> {
        self.sweep()?;
        // Images first: a layer is never gone while what was made of it is there.
        for (id, _) in &garbage.images {
            self.discard_damaged(id)?;
        }
        for id in &garbage.layers {
            self.discard_layer(id)?;
        }
        Ok(())
    }
}

/// Counts what comes free: a file does when its last name goes.
#[derive(Default)]
struct Freed {
    /// By device and inode: bytes, names in all, names seen.
    files: BTreeMap<(u64, u64), (u64, u64, u64)>,
}

impl Freed {
    /// Adds a tree; what cannot be read is not counted.
    fn add(&mut self, tree: &Path) {
        let mut open: Vec<PathBuf> = vec![tree.to_owned()];
        while let Some(path) = open.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            self.count(&meta);
            if meta.is_dir() {
                open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
    }

    fn count(&mut self, meta: &Metadata) {
        let names = if meta.is_dir() { 1 } else { meta.nlink() };
        let file = self.files.entry((meta.dev(), meta.ino())).or_insert((meta.blocks() * 512, names, 0));
        file.2 += 1;
    }

    fn bytes(&self) -> u64 {
        self.files.values().filter(|(_, names, seen)| seen >= names).map(|(bytes, ..)| bytes).sum()
    }
}
