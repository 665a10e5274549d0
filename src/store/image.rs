//! A sealed image: a disk, the kernel for direct boot, and the manifest that says what it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::recipe::InstanceDefaults;

/// The hash of everything that went into an image: 64 hexadecimal digits, shown shortened to 12.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an image id, expected 64 hexadecimal digits")]
pub struct BadImageId(String);

impl ImageId {
    pub fn from_hash(hash: blake3::Hash) -> Self {
        ImageId(hash.to_hex().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits: enough to tell images apart in print.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ImageId {
    type Err = BadImageId;

    fn from_str(text: &str) -> Result<Self, BadImageId> {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        good.then(|| ImageId(text.to_owned())).ok_or_else(|| BadImageId(text.to_owned()))
    }
}

impl TryFrom<String> for ImageId {
    type Error = BadImageId;

    fn try_from(text: String) -> Result<Self, BadImageId> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> String {
        id.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an image is, in words a person and a machine can read; `manifest.json` beside the disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub id: ImageId,
    /// The recipe's name.
    pub name: String,
    /// Ids of the layers, base first.
    pub layers: Vec<String>,
    /// What went in, layer by layer.
    pub inputs: Vec<Input>,
    /// The kernel's release, such as `6.1.0-56-cloud-amd64`.
    pub kernel: String,
    /// Command line for booting the kernel directly, without what a provider adds (`console`, `ip`, ...);
    /// names the root by PARTUUID.
    pub kernel_cmdline: String,
    /// Size of the disk in bytes as the instance sees it, and what of it is not holes.
    pub disk_bytes: u64,
    pub stored_bytes: u64,
    pub digests: Digests,
    pub packages: Vec<Package>,
    pub instance: InstanceDefaults,
    /// When it was baked, in RFC 3339; not part of the id.
    pub baked_at: String,
    /// How long each stage of the bake took, in milliseconds, reused layers 0; not part of the id.
    pub timings_ms: BTreeMap<String, u64>,
}

impl Manifest {
    /// Of an image of which nothing but its id and name is known.
    pub fn blank(id: ImageId, name: &str) -> Self {
        Manifest {
            id,
            name: name.to_owned(),
            layers: Vec::new(),
            inputs: Vec::new(),
            kernel: String::new(),
            kernel_cmdline: String::new(),
            disk_bytes: 0,
            stored_bytes: 0,
            digests: Digests::default(),
            packages: Vec::new(),
            instance: InstanceDefaults::default(),
            baked_at: String::new(),
            timings_ms: BTreeMap::new(),
        }
    }
}

/// What one layer was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub layer: String,
    /// The recipe of the chain that asked for it.
    pub recipe: String,
    /// The rendered definition: what was done, with the digest of every file that was read.
    pub work: serde_json::Value,
}

/// What the files of an image must be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Of the disk, as [`super::digest::sparse_digest`] makes them.
    pub disk: String,
    /// BLAKE3, as of all that follows.
    pub kernel: String,
    pub initrd: Option<String>,
    /// Of the list of files.
    pub files: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// The source package that it was built from, and that one's version: what advisories speak of.
    pub source: String,
    pub source_version: String,
}

/// A sealed image in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    pub manifest: Manifest,
    /// `store/images/ID/`.
    pub dir: PathBuf,
}

impl Image {
    pub fn id(&self) -> &ImageId {
        &self.manifest.id
    }

    /// The raw disk: GPT, EFI system partition, root. Read-only; instances write to layers over it.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.raw")
    }

    /// The kernel for direct boot. With an NVMe disk it needs no initial RAM disk: the drivers for NVMe and
    /// ext4 are built in.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The initial RAM disk for direct boot from a virtio disk, if the image could make one; it mounts what
    /// `root=PARTUUID=` on the kernel command line names.
    pub fn initrd(&self) -> Option<PathBuf> {
        Some(self.dir.join("initrd.img")).filter(|path| path.is_file())
    }

    /// The list of everything in it, see [`super::files`].
    pub fn files_path(&self) -> PathBuf {
        self.dir.join("files.jsonl")
    }

    pub fn manifest_path(dir: &Path) -> PathBuf {
        dir.join("manifest.json")
    }
}
