//! What lies in an image or a layer: one record a file, sorted by path.
//!
//! Kept as JSON lines, `files.jsonl` beside the disk: a few thousand lines that `grep` and `jq` can read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{At, Image, StoreError};

/// A file, directory, link or device of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Absolute path in the image.
    pub path: String,
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Length of a file in bytes; 0 for all else.
    pub size: u64,
    /// When the content changed: nanoseconds since 1970.
    pub mtime_ns: i64,
    /// BLAKE3 of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Extended attributes, their values in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    Link,
    CharacterDevice,
    BlockDevice,
    Pipe,
    Socket,
}

impl FileRecord {
    /// In what it is not like `other`, which lies at the same path: `content`, `mode`, ...
    pub fn differences(&self, other: &FileRecord) -> Vec<&'static str> {
        let checks = [
            ("kind", self.kind != other.kind),
            ("content", (&self.digest, self.size) != (&other.digest, other.size)),
            ("target", self.target != other.target),
            ("device", self.device != other.device),
            ("mode", self.mode != other.mode),
            ("owner", (self.uid, self.gid) != (other.uid, other.gid)),
            ("attributes", self.xattrs != other.xattrs),
            ("time", self.mtime_ns != other.mtime_ns),
        ];
        checks.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
    }
}

impl Image {
    /// Everything that lies in the image, sorted by path.
    pub fn files(&self) -> Result<Vec<FileRecord>, StoreError> {
        read(&self.files_path())
    }
}

/// Reads a list of files.
pub(crate) fn read(path: &Path) -> Result<Vec<FileRecord>, StoreError> {
    let text = fs::read_to_string(path).at(path)?;
    let records = text.lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line).map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            why: format!("line {}: {error}", index + 1),
        })
    });
    records.collect()
}
