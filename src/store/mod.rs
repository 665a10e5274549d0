//! The local registry: layers, images and channels, by content.
//!
//! Everything in it is written aside, synced and renamed into place, so that a crash at any moment leaves
//! either the old state or the new one. Nothing here knows how images are made or what they are used for.
//!
//! ```text
//! layers/ID/                         one step of a bake: tree/ or disk, and layer.json
//! images/ID/                         disk.raw, vmlinuz, initrd.img, manifest.json, files.jsonl
//! names/NAME/latest                  id of the recipe's newest image
//! names/NAME/recipe.json             the recipe that it was baked from, see [`origin`]
//! channels/NAME/CHANNEL.json         the image a channel points at, and the evidence that moved it
//! snapshots/KEY/                     a fleet saved whole, see [`snapshot`]
//! lock                               held by bakes together, and by who collects garbage alone
//! tmp/                               work in progress, see [`workspace`]
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::home::{Home, write_atomically};
use crate::units::Size;

pub mod channel;
pub mod diff;
pub mod digest;
pub mod files;
pub mod gc;
pub mod image;
pub mod origin;
pub mod sbom;
pub mod snapshot;
pub mod workspace;

pub use channel::Promotion;
pub use image::{Digests, Image, ImageId, Input, Manifest, Package};
pub use origin::Origin;
pub use workspace::Workspace;

/// Why the store could not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no image `{reference}`")]
    NoSuchImage {
        reference: String,
        /// Names in the store that are close to it, nearest first.
        close: Vec<String>,
    },
    #[error("`{prefix}` is the beginning of {} image ids: {}", candidates.len(), short_list(candidates))]
    Ambiguous { prefix: String, candidates: Vec<ImageId> },
    #[error("image `{name}` has no channel `{channel}`")]
    NoSuchChannel { name: String, channel: String, known: Vec<String> },
    #[error("channel `{channel}` points at image {}", id.short())]
    Pinned { id: ImageId, channel: String },
    #[error("{0}")]
    BadLimit(String),
    #[error("it takes {takes}, more than the {limit} that all snapshots together may take")]
    NoRoom { takes: Size, limit: Size },
    #[error("`{0}` is not a name, expected lower-case letters, digits and hyphens")]
    BadName(String),
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

fn short_list(ids: &[ImageId]) -> String {
    ids.iter().map(ImageId::short).collect::<Vec<_>>().join(", ")
}

/// Gives an input/output error the path that it is about.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { path: path.to_owned(), source })
    }
}

/// The store of one home. Any number may be open at once, in any number of processes.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store. One that is not there yet is empty; the first write creates it.
    pub fn open(home: &Home) -> Result<Store, StoreError> {
        Ok(Store { root: home.store() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image that `reference` means: a recipe's name (its newest image), `NAME:CHANNEL`, or at least
    /// the first 4 digits of an id. A name wins over an id that begins alike.
    pub fn resolve(&self, reference: &str) -> Result<Image, StoreError> {
        if let Some((name, channel)) = reference.split_once(':') {
            return self.image(&self.promotion(name, channel)?.image);
        }
        if is_name(reference)
            && let Some(id) = self.latest(reference)?
        {
            return self.image(&id);
        }
        self.by_prefix(reference)
    }

    fn by_prefix(&self, reference: &str) -> Result<Image, StoreError> {
        let hex = reference.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let mut candidates = self.ids()?;
        candidates.retain(|id| hex && reference.len() >= 4 && id.as_str().starts_with(reference));
        match candidates.as_slice() {
            [] => Err(self.no_such(reference)),
            [id] => self.image(id),
            _ => Err(StoreError::Ambiguous { prefix: reference.to_owned(), candidates }),
        }
    }

    fn no_such(&self, reference: &str) -> StoreError {
        let names = self.names().unwrap_or_default();
        let close = crate::diagnostic::closest(reference, names.iter().map(String::as_str));
        StoreError::NoSuchImage {
            reference: reference.to_owned(),
            close: close.map(str::to_owned).into_iter().collect(),
        }
    }

    /// The image with exactly this id.
    pub fn image(&self, id: &ImageId) -> Result<Image, StoreError> {
        let dir = self.image_dir(id);
        let path = Image::manifest_path(&dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            // Images are moved into place whole, so a directory without a manifest lost it later.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => {
                return Err(StoreError::NoSuchImage { reference: id.short().to_owned(), close: Vec::new() });
            }
            Err(error) => return Err(StoreError::Damaged { path, why: error.to_string() }),
        };
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| StoreError::Damaged { path: path.clone(), why: error.to_string() })?;
        if manifest.id != *id {
            let why = format!("it describes image {} but lies under {}", manifest.id.short(), id.short());
            return Err(StoreError::Damaged { path, why });
        }
        let image = Image { manifest, dir };
        for (file, bytes) in [(image.disk(), Some(image.manifest.disk_bytes)), (image.kernel(), None)] {
            match fs::metadata(&file) {
                Ok(meta) if bytes.is_none_or(|bytes| meta.len() == bytes) => {}
                Ok(meta) => {
                    let why = format!("it is {} bytes long and not as its manifest says", meta.len());
                    return Err(StoreError::Damaged { path: file, why });
                }
                Err(error) => return Err(StoreError::Damaged { path: file, why: error.to_string() }),
            }
        }
        Ok(image)
    }

    /// The image with exactly this id, if every byte of it is what its manifest says.
    pub fn check_image(&self, id: &ImageId) -> Result<Image, StoreError> {
        let image = self.image(id)?;
        let digests = &image.manifest.digests;
        let disk = image.disk();
        let mut checks = vec![(disk.clone(), digest::sparse_digest(&disk).at(&disk)?, digests.disk.clone())];
        let mut plain = vec![(image.kernel(), digests.kernel.clone())];
        plain.push((image.files_path(), digests.files.clone()));
        plain.extend(digests.initrd.clone().map(|digest| (image.dir.join("initrd.img"), digest)));
        for (path, expected) in plain {
            let found = match fs::read(&path) {
                Ok(bytes) => blake3::hash(&bytes).to_hex().to_string(),
                Err(error) => return Err(StoreError::Damaged { path, why: error.to_string() }),
            };
            checks.push((path, found, expected));
        }
        match checks.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok(image),
            Some((path, ..)) => Err(StoreError::Damaged {
                path,
                why: "its content has changed since it was baked".to_owned(),
            }),
        }
    }

    /// Names and channels that point at what is not there: `name` or `channel`, which one, and why.
    pub fn dangling(&self) -> Result<Vec<(&'static str, String, String)>, StoreError> {
        let mut found = Vec::new();
        for name in self.names()? {
            let latest = self.latest(&name).map(|id| id.filter(|id| !self.image_dir(id).exists()));
            match latest {
                Ok(None) => {}
                Ok(Some(id)) => found.push(("name", name, format!("there is no image {}", id.short()))),
                Err(error) => found.push(("name", name, error.to_string())),
            }
        }
        for name in entries(&self.root.join("channels"))? {
            match self.channels(&name) {
                Ok(channels) => {
                    let gone = channels.into_iter().filter(|(_, to)| !self.image_dir(&to.image).exists());
                    found.extend(gone.map(|(channel, to)| {
                        let why = format!("there is no image {}", to.image.short());
                        ("channel", format!("{name}:{channel}"), why)
                    }));
                }
                Err(error) => found.push(("channel", name, error.to_string())),
            }
        }
        Ok(found)
    }

    /// All sound images, by name, the newest of each name first. Damaged ones are left out; asking for
    /// one by name or id says what is wrong with it.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let mut images: Vec<Image> = self.ids()?.iter().filter_map(|id| self.image(id).ok()).collect();
        images.sort_by(|a, b| {
            let (a, b) = (&a.manifest, &b.manifest);
            a.name.cmp(&b.name).then_with(|| b.baked_at.cmp(&a.baked_at)).then_with(|| a.id.cmp(&b.id))
        });
        Ok(images)
    }

    /// Names under which images were baked, sorted.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        entries(&self.root.join("names"))
    }

    /// The newest image of a recipe.
    pub fn latest(&self, name: &str) -> Result<Option<ImageId>, StoreError> {
        let path = self.root.join("names").join(good_name(name)?).join("latest");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(id) => Ok(Some(id)),
                Err(error) => Err(StoreError::Damaged { path, why: format!("{error}") }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at(&path),
        }
    }

    /// Makes `id` the newest image of the recipe `name`.
    pub fn set_latest(&self, name: &str, id: &ImageId) -> Result<(), StoreError> {
        if self.latest(name).ok().flatten().as_ref() == Some(id) {
            return Ok(());
        }
        let path = self.root.join("names").join(good_name(name)?).join("latest");
        write_atomically(&path, format!("{id}\n").as_bytes()).at(&path)
    }

    /// Removes an image. Its name points at the newest one left; an image that a channel points at stays.
    pub fn remove(&self, id: &ImageId) -> Result<(), StoreError> {
        let dir = self.image_dir(id);
        if !dir.exists() {
            return Err(StoreError::NoSuchImage { reference: id.short().to_owned(), close: Vec::new() });
        }
        for name in entries(&self.root.join("channels"))? {
            for (channel, promotion) in self.channels(&name)? {
                if promotion.image == *id {
                    return Err(StoreError::Pinned { id: id.clone(), channel: format!("{name}:{channel}") });
                }
            }
        }
        self.sweep()?;
        self.put_away(&dir)?;
        for name in self.names()? {
            if self.latest(&name)?.as_ref() == Some(id) {
                match self.list()?.iter().find(|image| image.manifest.name == name) {
                    Some(newest) => self.set_latest(&name, newest.id())?,
                    None => {
                        let path = self.root.join("names").join(&name);
                        fs::remove_dir_all(&path).at(&path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes what commands that died left in the making. Every command that writes calls this first.
    pub fn sweep(&self) -> Result<usize, StoreError> {
        workspace::sweep(&self.tmp()).at(&self.tmp())
    }

    /// Starts work on the layer `id`, waiting for another process that makes the same one.
    pub fn begin_layer(&self, id: &str) -> Result<Workspace, StoreError> {
        Workspace::begin(&self.tmp(), &format!("layer-{id}")).at(&self.tmp())
    }

    /// Starts work on an image, waiting for another process that makes the same one.
    pub fn begin_image(&self, id: &ImageId) -> Result<Workspace, StoreError> {
        Workspace::begin(&self.tmp(), &format!("image-{id}")).at(&self.tmp())
    }

    /// `layers/ID/`, whether it exists or not.
    pub fn layer_dir(&self, id: &str) -> PathBuf {
        self.root.join("layers").join(id)
    }

    /// Whether the layer is finished: they are moved into place whole.
    pub fn has_layer(&self, id: &str) -> bool {
        self.layer_dir(id).join("layer.json").is_file()
    }

    /// Moves `part` of the workspace into place as the layer `id`.
    pub fn publish_layer(&self, id: &str, work: Workspace, part: &Path) -> Result<(), StoreError> {
        let target = self.layer_dir(id);
        work.publish(part, &target).at(&target)
    }

    /// Moves `part` of the workspace into place as the image `id`.
    pub fn publish_image(&self, id: &ImageId, work: Workspace, part: &Path) -> Result<Image, StoreError> {
        let target = self.image_dir(id);
        work.publish(part, &target).at(&target)?;
        self.image(id)
    }

    /// Starts work on something that stays nowhere.
    pub fn begin_scratch(&self, name: &str) -> Result<Workspace, StoreError> {
        Workspace::begin(&self.tmp(), name).at(&self.tmp())
    }

    /// Puts an unusable image out of the way, so that it can be baked again.
    pub fn discard_damaged(&self, id: &ImageId) -> Result<(), StoreError> {
        self.put_away(&self.image_dir(id))
    }

    /// Puts a layer out of the way; what stands on it stays, for it counts by its own content.
    pub fn discard_layer(&self, id: &str) -> Result<(), StoreError> {
        self.put_away(&self.layer_dir(id))
    }

    /// Removes `dir`: out of sight in one step, so that a crash never leaves half of it under its name.
    fn put_away(&self, dir: &Path) -> Result<(), StoreError> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let work = Workspace::begin(&self.tmp(), &format!("remove-{name}")).at(dir)?;
        match fs::rename(dir, work.dir().join("removed")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.at(dir),
        }
    }

    fn image_dir(&self, id: &ImageId) -> PathBuf {
        self.root.join("images").join(id.as_str())
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Ids of all layers.
    pub fn layers(&self) -> Result<Vec<String>, StoreError> {
        entries(&self.root.join("layers"))
    }

    /// Ids of all images, sound or not.
    pub fn ids(&self) -> Result<Vec<ImageId>, StoreError> {
        Ok(entries(&self.root.join("images"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// Names of recipes and channels become file names, so they are kept plain.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn good_name(text: &str) -> Result<&str, StoreError> {
    is_name(text).then_some(text).ok_or_else(|| StoreError::BadName(text.to_owned()))
}

/// Names of the entries of a directory, sorted; none if there is no such directory.
fn entries(dir: &Path) -> Result<Vec<String>, StoreError> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at(dir),
    };
    let mut names = Vec::new();
    for entry in listing {
        if let Ok(name) = entry.at(dir)?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
